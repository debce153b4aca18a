"""Heatmaps over anatomy in any plane, as pictures."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from dashboard.drawing import cuts, glass, palette, pictures, planes
from dashboard.drawing.planes import Range, Style
from dashboard.text import paper
from store import StoreError

SHAPE_MM = (193, 229, 193)
ORIGIN = (-96, -132, -78)
RANGE = Range(0.1, 1.0, "share")


def affine(step: float) -> np.ndarray:
    matrix = np.diag([step, step, step, 1.0])
    matrix[:3, 3] = ORIGIN
    return matrix


@pytest.fixture(scope="module")
def anatomy() -> planes.Anatomy:
    """A grey box of brain, wider at the left, behind and below than at the right, in front and above."""
    mask = np.zeros(SHAPE_MM, bool)
    mask[20:160, 20:190, 15:150] = True
    return planes.Anatomy(np.where(mask, 100, 0).astype(np.uint8), mask, affine(1))


def place_in(values: np.ndarray, mm: tuple[float, float, float], step: float = 4) -> None:
    """Sets a cube of 3 voxels around a place to 1."""
    i, j, k = (round((m - o) / step) for m, o in zip(mm, ORIGIN, strict=True))
    values[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2] = 1


def centre_of_colour(pixels: np.ndarray, warm: bool = True) -> tuple[float, float]:
    """(row, column) of the pixels that are more red than blue, or more blue than red."""
    red, blue = pixels[..., 0].astype(int), pixels[..., 2].astype(int)
    rows, columns = np.nonzero((red - blue if warm else blue - red) > 60)
    return rows.mean(), columns.mean()


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("plane", cuts.PLANES)
def test_a_cut_lies_at_its_millimetre(plane, smooth):
    """A volume that holds its own mm gives them back, on both grids."""
    across, up, through = cuts.PLANES[plane]
    for step in (1, 4):
        shape = tuple(-(-n // step) for n in SHAPE_MM)
        mm = [step * np.arange(n) + o for n, o in zip(shape, ORIGIN, strict=True)]
        volume = np.broadcast_to(np.expand_dims(mm[through], [a for a in range(3) if a != through]), shape)
        found = planes.cut(volume, affine(step), plane, -17.0, smooth=smooth)
        nearest = min(mm[through], key=lambda m: (abs(m + 17), -m))
        assert found.values.shape == (shape[across], shape[up])
        assert found.values == pytest.approx(-17 if smooth else nearest)
        assert found.across_mm == pytest.approx(mm[across])
        assert found.up_mm == pytest.approx(mm[up])


@pytest.mark.parametrize("convention", planes.CONVENTIONS)
@pytest.mark.parametrize("plane", cuts.PLANES)
@pytest.mark.parametrize("smooth", [True, False])
def test_relevance_is_drawn_where_it_is(anatomy, plane, convention, smooth):
    """One place in mm is found at its pixels: from the left (or mirrored), from the top, two pixels a mm."""
    place = (-40.0, 20.0, 30.0)
    volume = np.zeros((49, 58, 49), np.float32)
    place_in(volume, place)
    across, up, through = cuts.PLANES[plane]
    style = Style(plane, smooth=smooth, convention=convention)
    sections = planes.sections(anatomy, plane, [place[through]])
    heat = planes.cut_all(volume, affine(4), plane, [place[through]], smooth=smooth)
    tile = planes.tiles(sections, heat, affine(4), style, RANGE, pixels_per_mm=2)[0]
    row, column = centre_of_colour(tile)
    from_left = 2 * (place[across] - sections.across_mm[0])
    if convention == "radiological" and plane != "sagittal":
        from_left = tile.shape[1] - 1 - from_left
    assert column == pytest.approx(from_left, abs=2)
    assert row == pytest.approx(tile.shape[0] - 1 - 2 * (place[up] - sections.up_mm[0]), abs=2)


def letters(picture: pictures.Picture) -> str:
    """Single letters on a picture, from left to right."""
    return "".join(t.words for t in sorted(picture.texts, key=lambda t: t.x) if len(t.words) == 1)


def test_letters_and_positions_say_what_is_shown(anatomy):
    volume = np.zeros((49, 58, 49), np.float32)
    for plane, convention, wanted in (
        ("coronal", "neurological", "LR"), ("axial", "radiological", "RL"), ("sagittal", "radiological", "PA")
    ):  # fmt: skip
        style = Style(plane, convention=convention, smooth=False)
        picture = planes.picture(anatomy, volume, affine(4), [-18, 0], style, RANGE, bar=False)
        assert letters(picture) == 2 * wanted
        words = " ".join(t.words for t in picture.texts)
        axis = "xyz"[cuts.PLANES[plane][2]]
        assert f"{axis} -18 mm" in words
        assert f"{axis} 0 mm" in words
        assert "heatmap 4 mm, true voxels" in words
        assert (convention in words) == (plane != "sagittal")


def test_outside_the_brain_is_black_and_below_the_threshold_grey(anatomy):
    volume = np.full((49, 58, 49), 0.1, np.float32)
    volume[:25] = 0.9
    style = Style("axial")
    sections = planes.sections(anatomy, "axial", [10])
    tile = planes.tiles(sections, planes.cut_all(volume, affine(4), "axial", [10]), affine(4), style, RANGE, 1)[0]
    outside = ~sections.mask[0].T[::-1].astype(bool)
    assert tile[outside].max() == 0
    half = tile[:, tile.shape[1] // 2 + 10 :]
    assert (half == half[..., :1]).all()
    assert (tile[:, :40].astype(int)[..., 0] - tile[:, :40, 2])[~outside[:, :40]].min() > 60


def bluer(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., 2].astype(int) - pixels[..., 0] > 60


@pytest.mark.parametrize("colours", palette.SCALES)
def test_signed_pictures_cool_what_is_negative_and_absolute_ones_do_not(anatomy, colours):
    """A positive place at the left and a negative one at the right."""
    volume, negative = np.zeros((49, 58, 49), np.float32), np.zeros((49, 58, 49), np.float32)
    place_in(volume, (-40, 0, 10))
    place_in(negative, (30, 0, 10))
    drawn = {}
    for signed in (True, False):
        style = Style(colours=colours, signed=signed)
        sections = planes.sections(anatomy, "coronal", [0])
        heat = planes.cut_all(volume - negative, affine(4), "coronal", [0], absolute=not signed)
        drawn[signed] = planes.tiles(sections, heat, affine(4), style, RANGE, 1)[0]
    left, right = (slice(None, drawn[True].shape[1] // 2 - 10), slice(drawn[True].shape[1] // 2 + 10, None))
    assert bluer(drawn[True][:, right]).sum() > 50
    assert not bluer(drawn[True][:, left]).any()
    if colours in ("hot", "paper"):
        assert not bluer(drawn[False]).any()
        assert drawn[False][:, right].max() == drawn[False][:, left].max()


def test_opacity_lets_the_anatomy_through(anatomy):
    volume = np.ones((49, 58, 49), np.float32)
    sections = planes.sections(anatomy, "coronal", [0])
    heat = planes.cut_all(volume, affine(4), "coronal", [0])
    strong, weak, none = (
        planes.tiles(sections, heat, affine(4), Style(opacity=o), RANGE, 1)[0].astype(int) for o in (1, 0.4, 0)
    )
    redness = [(t[..., 0] - t[..., 2]).max() for t in (strong, weak, none)]
    assert redness[0] > redness[1] + 30 > redness[2] + 60
    assert redness[2] == 0


def test_a_lookup_table_says_what_the_scales_say():
    for name, scale in palette.SCALES.items():
        table = palette.lookup(name, False)
        colour, alpha = scale(np.array([0.0, 1.0]), 0, 1)
        assert table[[palette.LEVELS, -1]] == pytest.approx(np.column_stack([colour, alpha]), abs=1e-6)
        assert (table == table[::-1]).all()
        assert (palette.lookup(name, True)[:, 3] == palette.lookup(name, True)[::-1, 3]).all()
        assert table[palette.LEVELS, 3] == 0


def test_what_is_unknown_is_said():
    for wrong in ({"plane": "oblique"}, {"colours": "jet"}, {"convention": "surgical"}):
        with pytest.raises(StoreError, match=f"{next(iter(wrong.values()))}.*choose"):
            Style(**wrong)


def words_beside(picture: pictures.Picture) -> list[str]:
    return [t.words for t in picture.texts if not t.upright]


def test_a_colour_bar_marks_its_ends_and_the_threshold():
    assert words_beside(planes.colour_bar(400, Style(), Range(0.02, 0.5, "u"))) == ["0.5", "0.02"]
    signed = planes.colour_bar(400, Style(signed=True), Range(0.2, 0.5, "u"))
    assert words_beside(signed) == ["0.5", "-0.5", "0.2", "-0.2"]
    # Thresholds that nearly meet share their words; those at the top give way to it.
    assert words_beside(planes.colour_bar(400, Style(signed=True), Range(0.01, 0.5, "u"))) == ["0.5", "-0.5", "±0.01"]
    assert words_beside(planes.colour_bar(400, Style(), Range(0.499, 0.5, "u"))) == ["0.5"]
    rows = {t.words: t.y for t in signed.texts}
    assert rows["0.2"] - rows["0.5"] == pytest.approx(0.3 * (rows["-0.5"] - rows["0.5"]), abs=1)
    assert [t.words for t in signed.texts if t.upright] == ["u"]


def test_a_long_unit_is_written_smaller_beside_a_low_bar():
    def size(height: int, unit: str) -> float:
        return next(t.size for t in planes.colour_bar(height, Style(), Range(0.1, 0.5, unit)).texts if t.upright)

    long = "SD, % of relevance / cm³"
    assert size(400, long) == size(400, "u") == size(90, "u")
    assert pictures.text_width(long, size(90, long)) < 90 < pictures.text_width(long, size(90, "u"))


def test_rows_crosshair_and_positions(anatomy):
    volume = np.zeros((49, 58, 49), np.float32)
    positions = [-78.0, -44.0, -10.0, 24.0]
    one = planes.picture(anatomy, volume, affine(4), positions, Style(), RANGE, bar=False)
    two = planes.picture(anatomy, volume, affine(4), positions, Style(), RANGE, bar=False, columns=2)
    assert two.width == one.width // 2
    crossed = planes.picture(
        anatomy, volume, affine(4), [0], Style(), RANGE, bar=False, pixels_per_mm=1, cross_mm=(-20, 0, 40)
    )  # fmt: skip
    plain = planes.picture(anatomy, volume, affine(4), [0], Style(), RANGE, bar=False, pixels_per_mm=1)
    rows, columns = np.nonzero((crossed.pixels != plain.pixels).any(axis=-1))
    column, row = np.bincount(columns).argmax(), np.bincount(rows).argmax()
    height = plain.height - round(1.6 * planes.TEXT) - round(1.2 * planes.TEXT)
    assert column == -20 + 96 - anatomy.box[0].start
    assert row == height - 1 - (40 + 78 - anatomy.box[2].start)
    assert (crossed.pixels[row - 4 : row + 4, column - 4 : column + 4] == 85).all()


def test_svg_keeps_words_as_text_and_both_files_open(anatomy):
    volume = np.zeros((49, 58, 49), np.float32)
    picture = planes.picture(anatomy, volume, affine(4), [0], Style(), Range(0.1, 1, "a < b & c"))
    picture = pictures.titled(picture, "AD & NC", 20, "research")
    root = ElementTree.fromstring(picture.svg())
    found = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"L", "R", "y 0 mm", "a < b & c", "AD & NC", "research"} <= set(found)
    image = Image.open(io.BytesIO(picture.png()))
    assert image.size == (picture.width, picture.height) == (int(root.get("width")), int(root.get("height")))
    assert (np.asarray(image) != picture.pixels).any()


def test_pictures_join_with_their_words():
    one, two = (
        pictures.Picture(np.full(shape, 9, np.uint8), (pictures.Text(1, 2, "a", 10),))
        for shape in ((4, 6, 3), (8, 5, 3))
    )
    across, down = pictures.beside([one, two]), pictures.below([one, two])
    assert across.pixels.shape == (8, 11, 3)
    assert down.pixels.shape == (12, 6, 3)
    assert [(t.x, t.y) for t in across.texts] == [(1, 2), (7, 2)]
    assert [(t.x, t.y) for t in down.texts] == [(1, 2), (1, 6)]
    assert across.pixels[4:, :6].max() == 0


def test_the_paper_in_numbers():
    assert paper.TABLE_1["AD"]["area_occlusion"][0] == ("TemporalMid", 29.7)
    assert all(len(rows) == 4 for table in paper.TABLE_1.values() for rows in table.values())
    for rows in (rows for table in paper.TABLE_1.values() for rows in table.values()):
        assert [value for _, value in rows] == sorted((value for _, value in rows), reverse=True)
    assert paper.distance("occlusion", "sensitivity", "NC") == 4.09
    assert paper.distance("occlusion", "gradient", "NC") is None
    assert len(paper.TABLE_2) == 6


# -- in 3D --------------------------------------------------------------------------------------------------------


def ball(step: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """(mask, affine) of an ellipsoid like a brain."""
    matrix = affine(step)
    shape = [round(n / step) + 1 for n in (192, 228, 192)]
    mm = [matrix[a, a] * np.arange(n) + matrix[a, 3] for a, n in enumerate(shape)]
    x, y, z = np.meshgrid(*mm, indexing="ij")
    return (x / 70) ** 2 + ((y + 18) / 88) ** 2 + ((z - 10) / 70) ** 2 < 1, matrix


def surface(figure):
    """The trace of the heatmap; None where there is none."""
    return next((t for t in figure.data if t.type == "isosurface" and t.showscale), None)


def test_block_means_keep_their_place():
    volume = np.zeros((9, 8, 7), np.float32)
    volume[2:4, 4:6, 0:2] = 1  # one block of 2 voxels
    means, centres = glass.blocks(volume, affine(2), 4.0)
    assert means.shape == (7, 6, 6)
    assert means.sum() == 1
    place = np.unravel_index(means.argmax(), means.shape)
    assert [float(c[i]) for c, i in zip(centres, place, strict=True)] == [-91.0, -123.0, -77.0]
    odd, _ = glass.blocks(np.ones((5, 5, 5)), np.diag([1.0, 1, 1, 1]), 2.0)
    assert odd[1, 1, 1] == 1
    assert odd[3, 1, 1] == 0.5


def test_surfaces_lie_at_the_threshold_on_both_sides():
    mask, matrix = ball()
    volume = np.where(mask, np.linspace(-1, 1, mask.shape[0])[:, None, None], 0).astype(np.float32)
    figure = glass.glass_brain(volume, mask, matrix, 0.2, "drop", "Occlusion")
    trace = surface(figure)
    assert (trace.isomin, trace.isomax, trace.surface.count) == (-5000, 5000, 6)
    assert trace.colorbar.ticktext[trace.colorbar.tickvals.index(1000)] == "0.2"
    x, value = np.asarray(trace.x, float), np.asarray(trace.value)
    edge = -96 + 192 * 0.6  # where the map is 0.2
    assert x[value >= 1000].min() == pytest.approx(edge, abs=4)
    assert x[value <= -1000].max() == pytest.approx(-edge, abs=4)
    assert figure.layout.scene.xaxis.visible is False
    letters = next(t for t in figure.data if t.type == "scatter3d")
    at = dict(zip(letters.text, zip(letters.x, letters.y, letters.z, strict=True), strict=True))
    assert at["L"][0] < at["R"][0]
    assert at["P"][1] < at["A"][1]
    assert at["I"][2] < at["S"][2]


def test_a_map_of_one_sign_has_one_scale():
    mask, matrix = ball()
    trace = surface(glass.glass_brain(mask * np.float32(0.5), mask, matrix, 0.2, "u", ""))
    assert trace.isomin == 1000
    assert trace.cmin == 0
    assert not any(text.startswith("-") for text in trace.colorbar.ticktext)
    assert surface(glass.glass_brain(mask * np.float32(-0.5), mask, matrix, 0.2, "u", "")).cmax == 0


@pytest.mark.parametrize(("value", "threshold"), [(0.0, 0.1), (0.05, 0.1), (0.0, 0.0)])
def test_an_empty_map_shows_the_brain_and_says_so(value, threshold):
    mask, matrix = ball()
    figure = glass.glass_brain(mask * np.float32(value), mask, matrix, threshold, "u", "t")
    assert surface(figure) is None
    assert "Nothing lies above the threshold" in figure.layout.annotations[0].text


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_brain_in_3d_stays_small(step):
    mask, matrix = ball(step)
    noise = np.random.default_rng(0).normal(size=mask.shape).astype(np.float32)
    figure = glass.glass_brain(np.where(mask, noise, 0), mask, matrix, 0.01, "u", "t")
    assert surface(figure) is not None
    assert len(figure.to_json()) < 1e6


def test_words_of_a_picture_on_the_page_are_text_with_their_signs(anatomy):
    volume = np.zeros((49, 58, 49), np.float32)
    scale = Range(0.01, 0.2, "% / cm3")
    made = planes.picture(anatomy, volume, affine(4), [-52.0, 17.0], Style(signed=True), scale)
    shown = pictures.ScreenPicture.of(made)
    with Image.open(io.BytesIO(shown.jpeg)) as pixels:
        bare = np.asarray(pixels.convert("RGB")).astype(int)
    assert np.abs(bare - made.pixels).max() < 30  # no words are in the pixels
    html = shown.overlay('Occlusion <of "AD">.')
    assert 'role="img" aria-label="Occlusion &lt;of &quot;AD&quot;&gt;."' in html
    for words in ("y −52 mm", "y +17 mm", "−0.2", "% / cm³", ">L<"):
        assert words in html
    assert "-52" not in html


def test_the_unit_of_a_colour_bar_stands_beside_its_longest_number():
    bar = planes.colour_bar(300, Style(signed=True), Range(0.000243, 0.000711, "margin"), 18)
    unit = next(text for text in bar.texts if text.upright)
    numbers = [text for text in bar.texts if not text.upright]
    assert len(numbers) >= 3
    for text in numbers:
        assert text.x + pictures.text_width(text.words, text.size) < unit.x - unit.size / 2
    assert unit.x + unit.size / 2 < bar.width
    rows = sorted(text.y for text in numbers)
    assert min(b - a for a, b in pairwise(rows)) >= numbers[0].size
