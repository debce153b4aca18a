"""How relevance is coloured: the choices, the range, and the colour bar beside every picture."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from dashboard.drawing import palette
from dashboard.drawing.cuts import PLANES
from dashboard.drawing.pictures import Picture, Text, text_width
from store import StoreError

CONVENTIONS = ("neurological", "radiological")
TEXT = 23  # pixels; pictures are shown at about half their size
BACKGROUND_OF_BAR = 0.32
BAR_WIDTH = 6.4  # in sizes of its words
WIDER = 1.2


@dataclass(frozen=True)
class Style:
    """The look of heatmaps in pictures.

    Args:
        plane: coronal, sagittal or axial.
        smooth: interpolated between voxels; else true voxels.
        colours: hot, paper, viridis or cividis.
        signed: negative relevance in its own colours; else the size of the relevance, whatever its sign.
        opacity: 0 to 1, of the strongest relevance.
        convention: neurological (left of the subject at the left) or radiological.
    Raises:
        StoreError: one of them is unknown.
    """

    plane: str = "coronal"
    smooth: bool = True
    colours: str = "hot"
    signed: bool = False
    opacity: float = 1.0
    convention: str = CONVENTIONS[0]

    def __post_init__(self) -> None:
        choices: dict[str, Collection[str]] = {"plane": PLANES, "colours": palette.SCALES, "convention": CONVENTIONS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise StoreError(f"there is no {name} {getattr(self, name)!r}: choose {', '.join(allowed)}")


@dataclass(frozen=True)
class Range:
    """The range of a colour bar, in `unit`: transparent up to `low`, the last colour from `high`."""

    low: float
    high: float
    unit: str


def coloured(values: np.ndarray, style: Style, scale: Range) -> np.ndarray:
    """Colour relevance: (..., 4) float32 red, green, blue and alpha, 0 to 1."""
    return table(style)[levels(values, scale) + palette.LEVELS]


def levels(values: np.ndarray, scale: Range) -> np.ndarray:
    """Return the int16 steps above the threshold, negative for negative values."""
    span = max(scale.high - scale.low, 1e-30)
    level = np.clip((np.abs(values) - scale.low) * (palette.LEVELS / span), 0, palette.LEVELS)
    return np.rint(np.copysign(level, values)).astype(np.int16)


def table(style: Style) -> np.ndarray:
    """Return red, green, blue and alpha by level, (2 LEVELS + 1, 4)."""
    return palette.lookup(style.colours, style.signed) * np.array([1, 1, 1, style.opacity], np.float32)


def colour_bar(height: int, style: Style, scale: Range, text: float = TEXT) -> Picture:
    """Draw an upright colour bar of a height: the ends and the threshold marked, the unit along it."""
    top, bottom, width = round(0.1 * height), round(0.9 * height), round(0.87 * text)
    end = -scale.high if style.signed else 0.0
    values = np.linspace(scale.high, end, max(bottom - top, 2), dtype=np.float32)
    colours = coloured(values, style, scale)
    column = BACKGROUND_OF_BAR + (colours[:, :3] - BACKGROUND_OF_BAR) * colours[:, 3:]
    left = round(0.7 * text)
    marks = _marks(style, scale, 1.25 * text * (scale.high - end) / (bottom - top))
    # The unit stands beside the longest number; letters of a browser are somewhat wider than those of pixels.
    widest = WIDER * max(text_width(words, 0.87 * text) for _, words in marks)
    unit_at = max(5.6 * text, left + width + widest + 1.1 * text)
    pixels = np.zeros((height, max(round(BAR_WIDTH * text), round(unit_at + 0.8 * text)), 3), np.uint8)
    pixels[top : top + len(column), left : left + width] = np.round(255 * column)[:, None]
    long = WIDER * text_width(scale.unit, 0.78 * text) / height  # a long unit is written smaller, not cut
    texts = [Text(round(unit_at), (top + bottom) / 2, scale.unit, 0.78 * text / max(long, 1), "mm", upright=True)]

    def row(value: float) -> int:
        return top + round((scale.high - value) / (scale.high - end) * (bottom - top))

    for value in (scale.low, -scale.low) if style.signed else (scale.low,):
        pixels[row(value) - 1 : row(value) + 2, left - 6 : left + width + 6] = 255
    for value, words in marks:
        texts.append(Text(left + width + 0.4 * text, row(value), words, 0.87 * text, "lm"))
    return Picture(pixels, tuple(texts))


def _marks(style: Style, scale: Range, apart: float) -> list[tuple[float, str]]:
    """Choose values and words beside a colour bar, none closer than `apart` to another; the ends come first."""
    low, high = scale.low, scale.high
    if not style.signed:
        wanted = [(high, short(high, high)), (low, short(low, high))]
    elif 0.02 * high < 2 * low < apart:
        wanted = [(high, short(high, high)), (-high, short(-high, high)), (0.0, f"±{short(low, high)}")]
    else:
        wanted = [(v, short(v, high)) for v in (high, -high, low, -low)]
    marks: list[tuple[float, str]] = []
    for value, words in wanted:
        if all(abs(value - other) >= apart for other, _ in marks):
            marks.append((value, words))
    return marks


def short(value: float, high: float) -> str:
    """Write two digits, without an exponent where that is short: 0.045, .0071; 0 where it is next to nothing."""
    words = f"{abs(value):.2g}" if abs(value) > 0.01 * high else "0"
    words = words.removeprefix("0") if len(words) > 5 and "e" not in words else words
    return f"-{words}" if value < 0 and words != "0" else words
