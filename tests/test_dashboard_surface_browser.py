"""The cortical surface in a browser: the region and the values under the cursor, with the mouse, by tap and by keys."""

from __future__ import annotations

import re

import numpy as np
import pytest
from browser import open_page, problems, settled, shot
from store_factory import REGIONS, make_run_on_cortex

from dashboard.drawing import surface, surface_mesh
from dashboard.drawing.brain_maps import Brain
from dashboard.text import formatting
from store import open_run
from store.keys import GroupKey

SURFACE = ".surface"
HINT = "Move over the cortex"
NUMBER = re.compile(r"[−\d.e-]+")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_run_on_cortex(tmp_path_factory.mktemp("cortex"))


@pytest.fixture(scope="module")
def known(folder):
    """The regions and the values of AD on the cortex, computed apart from the page."""
    run = open_run(folder.parent, folder.name)
    regions = run.table("regions")
    index = surface_mesh.region_of_vertices(
        run.array("atlas"), run.affine("template"), regions["index"][regions.in_atlas].to_numpy()
    )  # fmt: skip
    average = run.group_map(GroupKey("holdout", "sensitivity", "AD", "relative"), diagnosis=["AD"]).mean_abs
    brain = Brain.of(run.mask, run.affine())
    values = surface_mesh.sampling(brain).of(brain.inside(average))
    return index, values


def point_of(page, vertex: int, shape: str = "inflated", picture: int = 0) -> tuple[float, float]:
    """Return where on the page a pixel of this vertex is."""
    index = surface.index_of_vertices(shape, "neurological")
    rows, columns = np.nonzero(index == vertex)
    image = page.locator(f"{SURFACE} img").nth(picture)
    image.scroll_into_view_if_needed()
    box = image.bounding_box()
    scale = box["width"] / int(image.get_attribute("width"))
    middle = len(rows) // 2
    return box["x"] + (columns[middle] + 0.5) * scale, box["y"] + (rows[middle] + 0.5) * scale


def vertex_of(page) -> int:
    return int(page.locator(SURFACE).get_attribute("data-vertex") or -1)


def reading(page) -> str:
    return page.locator(f"{SURFACE} .reading").inner_text()


def open_surface(page, url: str, view: str = "group_maps?g_surface_open=open"):
    open_page(page, f"{url}/{view}")
    page.locator(f"{SURFACE}[data-ready=true]").wait_for()
    return page


def some_vertex(index: np.ndarray, values: np.ndarray, shape: str = "inflated") -> int:
    """Return a vertex of a region that the lateral view of the left hemisphere shows in the middle."""
    shown = surface.index_of_vertices(shape, "neurological")[100:240, 60:300]
    vertices = np.unique(shown[shown != surface.NOTHING])
    return int(vertices[(index[vertices] > 0) & np.isfinite(values[vertices])][40])


def test_region_and_values_under_the_cursor(page, server, folder, known):
    index, values = known
    open_surface(page, server(folder.parent).url)
    assert HINT in reading(page)
    vertex = some_vertex(index, values)
    page.mouse.move(*point_of(page, vertex))
    found = vertex_of(page)
    # The page may be scrolled by a part of a pixel: the vertex or its neighbour.
    pial = surface_mesh.cortex().pial
    assert np.linalg.norm(pial[found] - pial[vertex]) < 6
    said = reading(page)
    assert formatting.region_name(REGIONS[index[found] - 1]) in said
    assert "left hemisphere" in said
    mm = re.search(r"\((.*?)\) mm", said)[1].replace("−", "-").split(",")
    np.testing.assert_allclose([float(part) for part in mm], pial[found], atol=0.56)
    first, second, difference = (float(NUMBER.findall(part)[0].replace("−", "-")) for part in parts_of(said))
    unit = 100 / (16**3 / 1000)  # shares of relevance per voxel -> percent per cm3
    assert first == pytest.approx(values[found] * unit, rel=0.01)
    assert difference == pytest.approx(first - second, abs=0.02 * max(first, second))
    assert page.locator(f"{SURFACE} .mark:visible").count() == 3  # the same place in every picture
    assert page.locator(f"{SURFACE} .tip:visible").count() == 1
    shot(page, "surface-hover")
    page.mouse.move(5, 5)
    assert HINT in reading(page)
    assert problems(page) == []


def parts_of(said: str) -> list[str]:
    """Return what is said of AD, NC and the difference, without their names."""
    values = said.splitlines()[1].rsplit("(", 1)[0].split("·")
    names = ("AD − NC", "AD", "NC")
    return [next(part.replace(name, "") for name in names if part.strip().startswith(name)) for part in values]


def test_the_medial_wall_says_that_it_is_none(page, server, folder):
    open_surface(page, server(folder.parent).url)
    wall = surface_mesh.cortex().medial_wall
    index = surface.index_of_vertices("inflated", "neurological")
    shown = index[surface.TILE[1] + 140 : surface.TILE[1] + 190, 180:280]
    vertex = next(int(v) for v in np.unique(shown) if v != surface.NOTHING and wall[v])
    page.mouse.move(*point_of(page, vertex))
    assert "No cortex of this brain" in reading(page)
    assert "medial wall" in reading(page)


def test_a_click_keeps_the_place_and_another_lets_it_go(page, server, folder, known):
    open_surface(page, server(folder.parent).url)
    place = point_of(page, some_vertex(*known))
    page.mouse.click(*place)
    kept = reading(page)
    # The slices of the page follow: three around the place.
    page.wait_for_function("location.search.includes('g_n=3&')")
    settled(page)
    page.mouse.move(place[0] + 60, place[1] + 25)
    assert reading(page) == kept
    assert page.locator(f"{SURFACE} .mark[data-kept=true]").count() == 3
    page.mouse.click(*place)
    page.mouse.move(5, 5)
    assert HINT in reading(page)


def test_the_glass_brain_names_the_region_behind_the_cursor(page, server, folder):
    open_surface(page, server(folder.parent).url, "group_maps?g_surface_open=open&g_surface=glass")
    page.locator(f"{SURFACE} .picture").first.focus()
    page.keyboard.press("ArrowRight")  # the strongest place
    said = reading(page)
    assert "strongest on this line of sight" in said
    assert all(name in said for name in ("AD", "NC", "AD − NC", " mm"))
    page.keyboard.press("Enter")
    page.wait_for_function("location.search.includes('g_n=3&')")
    settled(page)
    assert reading(page) == said  # kept
    assert problems(page) == []


def test_keys_move_over_the_cortex(page, server, folder):
    open_surface(page, server(folder.parent).url)
    page.locator(f"{SURFACE} .picture").first.focus()
    page.keyboard.press("ArrowRight")
    first = vertex_of(page)
    assert first >= 0  # the strongest place
    for _ in range(6):
        page.keyboard.press("ArrowUp")
    assert vertex_of(page) not in (first, -1)
    page.keyboard.press("Escape")
    assert HINT in reading(page)


@pytest.mark.parametrize(("width", "height", "colours"), [(390, 844, "dark"), (1024, 768, "light")])
def test_a_patient_on_any_screen(fresh_page, server, folder, known, width, height, colours):
    page = fresh_page(width=width, height=height, colours=colours)
    url = server(folder.parent).url
    open_surface(page, url, "patient?p_surface_open=open&p_surface=pial&set=folds")
    picture = page.locator(f"{SURFACE} img")
    assert picture.count() == 1
    box = picture.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    page.mouse.click(*point_of(page, some_vertex(*known, "pial"), "pial"))
    assert vertex_of(page) >= 0
    assert "SIMULATED" in page.locator(f"{SURFACE} figcaption").inner_text()
    words = page.locator(f"{SURFACE} .picture-words").get_attribute("aria-label")
    assert "pial cortex" in words
    settled(page)
    shot(page, f"surface-patient-{width}-{colours}")
    assert problems(page) == []
