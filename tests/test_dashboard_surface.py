"""Maps on the cortical surface: against nilearn, known places, what is seen at a pixel, and the parts of the pages."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
import time
from unittest import mock

import nibabel as nib
import numpy as np
import pytest
from nilearn.datasets import load_fsaverage
from nilearn.surface import InMemoryMesh, vol_to_surf
from starlette.routing import Router
from store_factory import make_run_on_cortex
from test_dashboard_downloads_browser import words_in_pdf

from dashboard import viewer
from dashboard.data.runs import Run
from dashboard.drawing import palette, projection, surface, surface_mesh
from dashboard.drawing.brain_maps import Brain
from dashboard.drawing.colours import Range, Style
from dashboard.shell import page as shell_page
from dashboard.viewer import serving
from dashboard.views.shared import surface_maps, surface_view
from dashboard.views.shared.surface_view import SurfaceMap

GROUP_MAPS, PATIENT = "views/group_maps/page.py", "views/patient/page.py"
TEMPORAL = {"left": (-58.0, -30.0, -4.0), "right": (58.0, -30.0, -4.0)}  # middle temporal gyrus, MNI
ORIGIN = (-96.0, -132.0, -78.0)
SHAPES = {1: (193, 229, 193), 4: (49, 58, 49)}  # mm: the grids of runs
RUN = Run("store", "run", "2026-01-02")
BLANK = Range(0.5, 1.0, "u")


def affine(step: float) -> np.ndarray:
    matrix = np.diag([step, step, step, 1.0])
    matrix[:3, 3] = ORIGIN
    return matrix


def mm_of(step: float) -> np.ndarray:
    """Return (x, y, z, 3) mm of every voxel."""
    return np.stack(np.indices(SHAPES[step]), axis=-1) * step + np.array(ORIGIN)


def brain_of(step: float) -> Brain:
    """Return an ellipsoid about as large as a brain."""
    inside = (((mm_of(step) - [0, -18, 8]) / [76, 92, 74]) ** 2).sum(axis=-1) < 1
    return Brain.of(inside, affine(step))


@pytest.fixture(scope="module")
def brain() -> Brain:
    return brain_of(4)


@pytest.fixture(scope="module")
def sampling(brain) -> surface_mesh.Sampling:
    return surface_mesh.sampling(brain)


@pytest.fixture(scope="module")
def meshes() -> tuple[InMemoryMesh, InMemoryMesh]:
    own = surface_mesh.cortex()
    return InMemoryMesh(own.pial, own.faces), InMemoryMesh(own.white, own.faces)


def vertex_at(mm: tuple[float, float, float]) -> int:
    return int(np.linalg.norm(surface_mesh.cortex().pial - np.array(mm), axis=1).argmin())


# -- the cortex -------------------------------------------------------------------------------------------------------


def test_the_cortex_lies_where_it_should():
    own = surface_mesh.cortex()
    left, right = (own.pial[surface_mesh.of_hemisphere(name)] for name in surface_mesh.HEMISPHERES)
    assert left.shape == right.shape == (surface_mesh.PER_HEMISPHERE, 3)
    assert left[:, 0].max() < 4
    assert right[:, 0].min() > -4
    # FreeSurfer's own example of its affine: (10, -20, 35) in MNI305 is (10.695, -18.409, 36.137) in MNI152.
    matrix = surface_mesh.MNI305_TO_MNI152
    np.testing.assert_allclose(matrix[:, :3] @ [10, -20, 35] + matrix[:, 3], [10.695, -18.409, 36.137], atol=5e-3)
    theirs = load_fsaverage("fsaverage5")["pial"].parts["right"].coordinates
    wanted = nib.affines.apply_affine(np.vstack([matrix, [0, 0, 0, 1]]), theirs)
    np.testing.assert_allclose(right, wanted, atol=1e-3)


def test_the_medial_wall_is_where_no_cortex_is():
    own = surface_mesh.cortex()
    for hemisphere in surface_mesh.HEMISPHERES:
        part = surface_mesh.of_hemisphere(hemisphere)
        wall = own.pial[part][own.medial_wall[part]]
        assert 0.03 < own.medial_wall[part].mean() < 0.1  # FreeSurfer's own label: 0.087
        assert np.abs(wall[:, 0]).max() < 40  # mm from the middle
        corpus_callosum = vertex_at((-2.0 if hemisphere == "left" else 2.0, 10.0, 15.0))
        assert own.medial_wall[corpus_callosum]
    assert not own.medial_wall[[vertex_at(mm) for mm in TEMPORAL.values()]].any()


# -- maps of voxels ---------------------------------------------------------------------------------------------------


def test_a_map_is_that_of_nilearn(brain, sampling, meshes):
    values = np.random.default_rng(0).normal(size=brain.voxels).astype(np.float32)
    pial, white = meshes
    volumes = brain.spread_out(values), brain.mask.astype(np.float32)
    own, inside = (vol_to_surf(nib.Nifti1Image(v, brain.affine), pial, inner_mesh=white) for v in volumes)
    found = sampling.of(values)
    known = np.isfinite(found)
    assert known.sum() > 15_000
    np.testing.assert_allclose(found[known], (own / inside)[known], atol=2e-6)
    np.testing.assert_array_equal(known, (inside >= surface_mesh.LEAST_INSIDE) & ~surface_mesh.cortex().medial_wall)


@pytest.mark.parametrize("side", ["left", "right"])
def test_left_stays_left(brain, sampling, side):
    inside = brain.mask.nonzero()
    mm = np.stack(inside, axis=-1) * 4 + brain.affine[:3, 3]
    blob = np.exp(-(((mm - TEMPORAL[side]) / 12) ** 2).sum(axis=1)).astype(np.float32)
    values = sampling.of(blob)
    strongest = surface.strongest(values)
    part = surface_mesh.of_hemisphere(side)
    assert part.start <= strongest < part.stop
    assert np.linalg.norm(surface_mesh.cortex().pial[strongest] - TEMPORAL[side]) < 8
    # Nothing of it reaches the other hemisphere, and in the picture it is on its side.
    other = surface_mesh.of_hemisphere("right" if side == "left" else "left")
    assert np.nanmax(values[other]) < 1e-3
    for convention, at_left in (("neurological", side == "left"), ("radiological", side == "right")):
        drawn = surface.picture(values, "pial", Style(convention=convention), Range(0.3, 1.0, "u"))
        red = drawn.pixels[: surface.TILE[1], : 2 * surface.TILE[0]].astype(int)
        columns = np.nonzero(red[..., 0] - red[..., 2] > 60)[1]
        assert len(columns) > 100
        assert ((columns < surface.TILE[0]) == at_left).all()


def test_a_map_does_not_fade_at_the_edge_of_the_brain(brain, sampling):
    values = sampling.of(np.ones(brain.voxels, np.float32))
    np.testing.assert_allclose(values[np.isfinite(values)], 1, atol=1e-5)
    assert np.isnan(values[surface_mesh.cortex().medial_wall]).all()


def test_the_difference_on_the_surface_is_that_of_the_maps(brain, sampling):
    a, b = np.random.default_rng(1).normal(size=(2, brain.voxels)).astype(np.float32)
    np.testing.assert_allclose(sampling.of(2 * a - b), 2 * sampling.of(a) - sampling.of(b), atol=1e-5)


def test_outside_the_mask_there_is_no_value():
    right_only = np.zeros(SHAPES[4], bool)
    right_only[25:] = True  # from x = 4 mm
    half = Brain.of(right_only, affine(4))
    values = surface_mesh.sampling(half).of(np.ones(half.voxels, np.float32))
    assert np.isnan(values[surface_mesh.of_hemisphere("left")]).all()
    assert np.isfinite(values[surface_mesh.of_hemisphere("right")]).mean() > 0.8


def test_a_further_map_at_1_mm_is_drawn_within_300_ms():
    brain = brain_of(1)
    sampling = surface_mesh.sampling(brain)
    maps = np.random.default_rng(2).normal(size=(4, brain.voxels)).astype(np.float32)
    taken = []
    for values in maps:
        start = time.perf_counter()
        surface.picture(sampling.of(values), "inflated", Style(signed=True), BLANK).png()
        taken.append(time.perf_counter() - start)
    assert min(taken[1:]) < 0.3


# -- regions ----------------------------------------------------------------------------------------------------------


def boxes() -> np.ndarray:
    """Return an atlas at 4 mm: 1 around the left, 2 around the right temporal lobe, 3 elsewhere above, 4 no area."""
    mm = mm_of(4)
    atlas = np.where(mm[..., 2] > 10, 3, 4)
    for index, centre in enumerate(TEMPORAL.values(), 1):
        atlas[(np.abs(mm - centre) < 24).all(axis=-1)] = index
    return atlas.astype(np.int16)


def test_known_vertices_have_their_region():
    found = surface_mesh.region_of_vertices(boxes(), affine(4), np.array([1, 2, 3]))
    assert found[vertex_at(TEMPORAL["left"])] == 1
    assert found[vertex_at(TEMPORAL["right"])] == 2
    assert found[vertex_at((-30.0, 20.0, 55.0))] == 3
    assert found[vertex_at((-10.0, -95.0, -5.0))] == 0  # 4 is no area of the atlas
    assert not found[surface_mesh.cortex().medial_wall].any()


def test_regions_are_those_of_nilearn(meshes):
    atlas = np.random.default_rng(3).integers(0, 5, SHAPES[4]).astype(np.int16)
    pial, white = meshes
    image = nib.Nifti1Image(atlas, affine(4))
    theirs = vol_to_surf(image, pial, inner_mesh=white, interpolation="nearest_most_frequent")
    found = surface_mesh.region_of_vertices(atlas, affine(4), np.arange(1, 5))
    known = (theirs > 0) & ~surface_mesh.cortex().medial_wall
    assert known.sum() > 10_000
    np.testing.assert_array_equal(found[known], theirs[known])


# -- pixels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", surface_mesh.SURFACES)
@pytest.mark.parametrize("side", surface.SIDES)
@pytest.mark.parametrize("hemisphere", surface_mesh.HEMISPHERES)
def test_the_vertex_of_a_pixel_is_the_one_in_front(shape, hemisphere, side):
    """By brute force: of all triangles that a line through the pixel meets, the corner nearest to the line."""
    own = surface_mesh.cortex()
    part = surface_mesh.of_hemisphere(hemisphere)
    every, points = own.points(shape), own.points(shape)[part].astype(float)
    outwards = 1 if (hemisphere == "right") == (side == "lateral") else -1
    low, high = every.min(axis=0), every.max(axis=0)
    scale = min((surface.TILE[a] - 2 * surface.EDGES[a]) / (high - low)[1 + a] for a in (0, 1))
    middle = (low + high) / 2
    x = outwards * (points[:, 1] - middle[1]) * scale + (surface.TILE[0] - 1) / 2
    y = -(points[:, 2] - middle[2]) * scale + (surface.TILE[1] - 1) / 2
    faces = own.faces[: len(own.faces) // 2]
    seen = surface.view(shape, hemisphere, side)
    for place in np.random.default_rng(4).integers(0, len(seen.pixel), 25):
        column, row = seen.pixel[place] % surface.TILE[0], seen.pixel[place] // surface.TILE[0]
        sides = [
            (x[a] - column) * (y[b] - row) - (x[b] - column) * (y[a] - row)
            for a, b in zip(faces.T, faces[:, [1, 2, 0]].T, strict=True)
        ]
        holds = np.all(np.array(sides) >= -1e-9, axis=0) | np.all(np.array(sides) <= 1e-9, axis=0)
        met = faces[holds]
        front = met[(outwards * points[met, 0]).mean(axis=1).argmax()]
        assert set(seen.vertices[place] - part.start) == set(front)
        corners = np.array([np.hypot(x[v] - column, y[v] - row) for v in seen.vertices[place] - part.start])
        weights = seen.weights[place]
        np.testing.assert_allclose(weights.sum(), 1, atol=1e-5)
        at = (weights @ x[seen.vertices[place] - part.start], weights @ y[seen.vertices[place] - part.start])
        np.testing.assert_allclose(at, (column, row), atol=1e-2)
        assert seen.nearest[place] in seen.vertices[place][corners <= corners.min() + 6]


def test_lateral_views_show_the_outside():
    own = surface_mesh.cortex()
    for hemisphere in surface_mesh.HEMISPHERES:
        outside, inside = (
            np.abs(own.pial[np.unique(surface.view("pial", hemisphere, side).nearest), 0]).mean()
            for side in surface.SIDES
        )
        assert outside > inside + 15


def test_the_index_is_in_the_order_of_the_picture():
    index = surface.index_of_vertices("pial", "radiological")
    width, height = surface.TILE
    assert index.shape == (2 * height, 2 * width)
    lateral_right = index[:height, :width]
    shown = lateral_right[lateral_right != surface.NOTHING]
    assert (shown >= surface_mesh.PER_HEMISPHERE).all()
    seen = surface.view("pial", "right", "lateral")
    np.testing.assert_array_equal(np.sort(shown), np.sort(seen.nearest))
    assert (index[:, [0, -1]] == surface.NOTHING).all()


def pixels_of(values: np.ndarray, style: Style, **options) -> np.ndarray:
    return surface.picture(values, "inflated", style, BLANK, **options).pixels[: surface.TILE[1], : surface.TILE[0]]


def test_colours_are_those_of_the_colour_bar():
    vertices = 2 * surface_mesh.PER_HEMISPHERE
    inside = surface.view("inflated", "left", "lateral").pixel
    grey = pixels_of(np.zeros(vertices, np.float32), Style()).reshape(-1, 3)[inside]
    assert (grey == grey[:, :1]).all()
    below = pixels_of(np.full(vertices, BLANK.low, np.float32), Style()).reshape(-1, 3)[inside]
    np.testing.assert_array_equal(below, grey)
    top = pixels_of(np.full(vertices, 7.0, np.float32), Style()).reshape(-1, 3)[inside]
    colour = palette.lookup("hot", False)[-1]
    wanted = grey / 255 + (colour[:3] - grey / 255) * colour[3]
    np.testing.assert_allclose(top / 255, wanted, atol=0.006)
    # Signs count only where the style has them.
    unsigned = pixels_of(np.full(vertices, -7.0, np.float32), Style()).reshape(-1, 3)[inside]
    np.testing.assert_array_equal(unsigned, top)
    cool = pixels_of(np.full(vertices, -7.0, np.float32), Style(signed=True)).reshape(-1, 3)[inside].astype(int)
    assert (cool[:, 2] > cool[:, 0]).all()
    # Without agreement nothing is seen, and neither is what has no value.
    none = pixels_of(np.full(vertices, 7.0, np.float32), Style(), opacity=np.zeros(vertices, np.float32))
    np.testing.assert_array_equal(none.reshape(-1, 3)[inside], grey)
    missing = pixels_of(np.full(vertices, np.nan, np.float32), Style()).reshape(-1, 3)[inside]
    np.testing.assert_array_equal(missing, grey)


def test_true_values_are_not_interpolated():
    values = np.random.default_rng(5).choice([0.0, 7.0], 2 * surface_mesh.PER_HEMISPHERE).astype(np.float32)
    inside = surface.view("inflated", "left", "lateral").pixel
    grey = pixels_of(np.zeros_like(values), Style()).reshape(-1, 3)[inside].astype(int)
    top = pixels_of(np.full_like(values, 7), Style()).reshape(-1, 3)[inside].astype(int)
    rough = pixels_of(values, Style(smooth=False)).reshape(-1, 3)[inside].astype(int)
    assert ((rough == grey).all(axis=1) | (rough == top).all(axis=1)).all()
    smooth = pixels_of(values, Style()).reshape(-1, 3)[inside].astype(int)
    assert not ((smooth == grey).all(axis=1) | (smooth == top).all(axis=1)).all()


# -- the glass brain --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", projection.AXES)
def test_a_projection_has_the_strongest_value_of_every_line(brain, side):
    values = np.random.default_rng(6).normal(size=brain.voxels).astype(np.float32)
    volume = brain.spread_out(values)
    x = brain.affine[0, 3] + 4 * np.arange(volume.shape[0])
    half = {"left": x <= 0, "right": x >= 0}.get(side, np.ones_like(x, bool))
    axis = projection.AXES[side]
    part = np.moveaxis(volume[half], axis, 0)
    wanted = np.where(part.max(axis=0) >= -part.min(axis=0), part.max(axis=0), part.min(axis=0)).T[::-1]
    wanted = wanted[:, ::-1] if side == "left" else wanted
    found = projection.projected(values, brain, side, "neurological")
    np.testing.assert_array_equal(found.value, wanted)
    assert ((found.thickness > 0) == (np.abs(wanted) > 0)).all()


@pytest.mark.parametrize("convention", ["neurological", "radiological"])
def test_the_voxel_behind_a_cell_is_the_strongest_of_its_line(brain, convention):
    values = np.random.default_rng(7).normal(size=brain.voxels).astype(np.float32)
    behind = projection.voxels_behind(values, brain, convention)
    places = np.argwhere(brain.mask)
    for number, side in enumerate((*surface.order(convention), "coronal", "axial")):
        seen = projection.projected(values, brain, side, convention)
        found = behind[number]
        assert set(found[found >= 0]) <= set(range(brain.voxels))
        strongest = values[np.unique(found[found >= 0])]
        assert set(strongest) == set(seen.value[seen.thickness > 0]), side  # every line has a cell of its own
        if side in ("left", "right"):
            mm = places[found[found >= 0]][:, 0] * 4 + brain.affine[0, 3]
            assert (mm <= 0).all() if side == "left" else (mm >= 0).all()
        # Cells to the right show what is to the right: the picture and its cells agree.
        rows, columns = np.nonzero(found >= 0)
        axis = 1 if side in ("left", "right") else 0
        mm = places[found[rows, columns]][:, axis]
        to_the_right = np.corrcoef(columns, mm)[0, 1]
        flipped = side == "left" or (axis == 0 and convention == "radiological")
        assert (to_the_right < 0) == flipped, side


@pytest.mark.parametrize("side", ["left", "right"])
def test_left_stays_left_in_the_glass_brain(brain, side):
    mm = np.stack(brain.mask.nonzero(), axis=-1) * 4 + brain.affine[:3, 3]
    blob = np.exp(-(((mm - TEMPORAL[side]) / 12) ** 2).sum(axis=1)).astype(np.float32)
    width, height = surface.TILE
    for convention, at_left in (("neurological", side == "left"), ("radiological", side == "right")):
        drawn = projection.picture(blob, brain, Style(convention=convention), Range(0.3, 1.0, "u"))
        pixels = drawn.pixels[: 2 * height, : 2 * width].astype(int)
        red = pixels[..., 0] - pixels[..., 2] > 60
        halves, planes = red[:height], red[height:]
        assert (np.nonzero(halves)[1] < width).all() == at_left
        for plane in (planes[:, :width], planes[:, width:]):
            columns = np.nonzero(plane)[1]
            assert len(columns) > 50
            assert ((columns < width / 2) == at_left).all()


# -- words ------------------------------------------------------------------------------------------------------------


def shown(values: np.ndarray, low: float = 0.5, **style) -> SurfaceMap:
    return SurfaceMap(
        "key", "AD − NC", "SIMULATED · run r.", values, Style(**style), Range(low, 1.0, "drop"), lambda: (values, None)
    )  # fmt: skip


def test_pictures_that_show_nothing_say_why():
    vertices = 2 * surface_mesh.PER_HEMISPHERE
    assert "Nothing of the cortex" in surface_view.empty(shown(np.full(vertices, np.nan, np.float32)))
    assert "no relevance" in surface_view.empty(shown(np.zeros(vertices, np.float32)))
    assert "above the threshold of 0.5" in surface_view.empty(shown(np.full(vertices, 0.4, np.float32)))
    assert surface_view.empty(shown(np.full(vertices, 0.6, np.float32))) == ""


def test_a_picture_is_described_in_words():
    values = np.zeros(2 * surface_mesh.PER_HEMISPHERE, np.float32)
    values[7] = -0.75
    regions = np.zeros(len(values), np.int32)
    regions[7] = 3
    words = surface_view.description(shown(values, signed=True), "pial", regions, {3: "Temporal Mid L"})
    assert "SIMULATED" in words
    assert "pial cortex" in words
    assert "Strongest: −0.750 drop, Temporal Mid L." in words


def test_files_hold_their_words():
    values = np.linspace(-1, 1, 2 * surface_mesh.PER_HEMISPHERE, dtype=np.float32)
    one = shown(values, signed=True)
    files = {
        d.file_name.rsplit(".")[-1]: d for d in surface_view.files("run", RUN, [one, one], "pial", ["A note. " * 40])
    }
    assert set(files) == {"png", "svg", "pdf"}
    svg, pdf = files["svg"].data().decode(), words_in_pdf(files["pdf"].data())
    for words in ("SIMULATED", "Left, lateral", "Right, medial", "A note", "Research use only", "fsaverage5, pial"):
        assert words in svg, words
        assert words in pdf, words
    picture = nib_size(files["png"].data())
    assert picture[0] < 2 * 1.3 * 2 * surface.TILE[0]  # long notes are broken, not cut


def nib_size(png: bytes) -> tuple[int, int]:
    return int.from_bytes(png[16:20]), int.from_bytes(png[20:24])


def test_notes_are_broken_into_lines():
    found = surface.lines("one two three four", 20, 110)
    assert " ".join(found) == "one two three four"
    assert len(found) > 1


# -- the routes -------------------------------------------------------------------------------------------------------


def answer(path: str) -> tuple[int, dict[str, str], bytes]:
    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "http.request"}

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    asyncio.run(Router(viewer.routes(""))(scope, receive, send))
    headers = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(part.get("body", b"") for part in sent[1:])


def test_the_browser_gets_the_vertices_behind_the_pixels():
    status, headers, body = answer(serving.surface_url("pial", "neurological"))
    assert status == 200
    assert "immutable" in headers["cache-control"]
    assert len(body) < 500_000
    plain = gzip.decompress(body)
    index = surface.index_of_vertices("pial", "neurological")
    np.testing.assert_array_equal(np.frombuffer(plain[: 2 * index.size], "<u2"), index.ravel())
    places = np.frombuffer(plain[2 * index.size :], "<i2").reshape(-1, 3) / 10
    np.testing.assert_allclose(places, surface_mesh.cortex().pial, atol=0.051)


def test_other_addresses_of_surfaces_are_refused():
    url = serving.surface_url("pial", "neurological")
    assert answer(url.replace("pial", "white"))[0] == 404
    assert answer(url.replace("/pial", "0/pial"))[0] == 404


# -- the pages --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_run_on_cortex(tmp_path_factory.mktemp("cortex")).parent


@pytest.fixture
def offered(monkeypatch):
    found = {}
    monkeypatch.setattr(
        shell_page.Header, "finish", lambda self, downloads=(): found.update({d.label: d for d in downloads})
    )
    return found


def captions(app) -> str:
    return " ".join(caption.value for caption in app.caption)


@pytest.mark.parametrize(("page", "key"), [(GROUP_MAPS, "g_surface"), (PATIENT, "p_surface")])
def test_a_page_has_the_surface_when_it_is_opened(open_view, place, offered, page, key):
    with mock.patch.object(surface_maps, "sampling", side_effect=AssertionError("not asked for")):
        app = open_view(page, place)
        assert not app.exception
        assert not [label for label in offered if label.startswith("Surface")]
    app = open_view(page, place, **{f"{key}_open": "open", key: "pial"})
    assert not app.exception
    assert not app.error
    assert "fsaverage5" in captions(app)
    picture = nib_size(offered["Surface, PNG"].data())
    assert picture[1] > 2 * surface.TILE[1]
    svg = offered["Surface, SVG"].data().decode()
    assert "SIMULATED" in svg
    assert "made 2026-01-02" in svg
    assert ("group average" in svg) == (page == GROUP_MAPS)
    assert "patient " in svg or page == GROUP_MAPS
    assert "a1" not in offered["Surface, PNG"].file_name
    app = open_view(page, place, **{f"{key}_open": "open", key: "glass"})
    assert not app.exception
    [said] = [one.proto.json for one in app.get("bidi_component") if one.proto.component_name == "brainwhy_surface"]
    assert "through a glass brain" in said
    assert "Strongest:" in said
    assert "Front to back" in offered["Glass brain, SVG"].data().decode()


def test_a_run_without_cortex_says_so(open_view, monkeypatch):
    shown = []
    monkeypatch.setattr(viewer, "show_surface", lambda maps, *_: shown.extend(maps))
    app = open_view(GROUP_MAPS, g_surface_open="open")  # its few voxels lie in a corner of the grid
    assert not app.exception
    assert [one.heading for one in shown] == ["AD", "NC", "AD − NC"]
    for one in shown:
        assert "Nothing of the cortex lies in the brain" in one.caption
        assert "Nothing of the cortex lies in the brain" in one.description


def test_the_web_page_of_a_map_has_the_cortex(open_view, place, offered):
    assert not open_view(GROUP_MAPS, place, method="sensitivity").exception
    text = next(download for label, download in offered.items() if label.endswith("web page")).data()
    assert text.count('<svg role="img" aria-label="') == 1
    assert "on the inflated cortex of fsaverage5" in text
    assert "Right, medial</text>" in text
    assert len(text) < 8e6
    assert text.index("</figure></body>") > text.index("SIMULATED")


def test_a_method_that_is_not_shown_says_so(open_view, place):
    app = open_view(GROUP_MAPS, place, g_surface_open="open", method="sensitivity", g_methods="occlusion")
    assert not app.exception
    assert any("has no map above" in info.value for info in app.info)


def test_pages_do_not_load_surfaces_before_they_are_opened():
    code = (
        "import sys, dashboard.views.shared.surface_view, dashboard.views.shared.surface_maps, dashboard.viewer;"
        "sys.exit(any(name in sys.modules for name in ('nilearn', 'scipy.sparse', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
