"""A4 pages on which everything is placed in millimetres from the top left."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch
from matplotlib.textpath import text_to_path

from dashboard.drawing.pictures import RISES, Picture

WIDTH, HEIGHT, MARGIN = 210.0, 297.0, 14.0
INNER = WIDTH - 2 * MARGIN
INK, QUIET, FAINT, ACCENT, ALARM = "#1D2528", "#5E696E", "#D5DADC", "#2B6A6E", "#B3261E"
FONT = "DejaVu Sans"  # comes with matplotlib: the same on every computer
MM_PER_POINT = 25.4 / 72
LINE = 1.42  # distance of base lines, in sizes
_ACROSS = {"l": "left", "m": "center", "r": "right"}
# rcParams are shared by all threads; these are read when a figure is saved.
_lock = threading.Lock()
_PARAMETERS: dict[Any, Any] = {"pdf.fonttype": 42, "pdf.compression": 9, "font.family": FONT, "text.usetex": False}


@dataclass(frozen=True)
class Column:
    """A column of a table: heading, width in mm, and l or r."""

    heading: str
    width: float
    side: str = "l"


class Page:
    """A page of a report. Sizes of text are points, everything else is mm; y grows downwards."""

    def __init__(self) -> None:
        self.figure = Figure(figsize=(WIDTH / 25.4, HEIGHT / 25.4), facecolor="white")

    def text(self, x: float, y: float, words: str, size: float = 8, **style: Any) -> None:
        """Write words with their base line at y; style: color, weight, ha, va, rotation."""
        options: dict[str, Any] = {"color": INK, "va": "baseline", "parse_math": False, "family": FONT} | style
        self.figure.text(x / WIDTH, 1 - y / HEIGHT, words, fontsize=size, **options)

    def paragraph(  # noqa: PLR0913 - where and how a text stands
        self, x: float, y: float, words: str, width: float, size: float = 8, weight: str = "normal", color: str = INK
    ) -> float:
        """Write words in lines of `width`; return the base line of what may follow."""
        for line in wrapped(words, width, size, weight):
            self.text(x, y, line, size, color=color, weight=weight)
            y += LINE * size * MM_PER_POINT
        return y

    def rule(self, y: float, x: float = MARGIN, width: float = INNER, color: str = FAINT) -> None:
        """Draw a thin line."""
        line = Line2D([x / WIDTH, (x + width) / WIDTH], [1 - y / HEIGHT] * 2, color=color, linewidth=0.6)
        self.figure.add_artist(line)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Make axes whose upper left corner is at (x, y)."""
        return self.figure.add_axes((x / WIDTH, 1 - (y + height) / HEIGHT, width / WIDTH, height / HEIGHT))

    def badge(self, right: float, y: float, words: str, size: float = 9) -> None:
        """Write white words on red, ending at `right`, with their middle at y."""
        width, height = text_mm(words, size, "bold") + 4.5, 1.9 * size * MM_PER_POINT
        box = FancyBboxPatch(
            ((right - width) / WIDTH, 1 - (y + height / 2) / HEIGHT), width / WIDTH, height / HEIGHT,
            boxstyle="square,pad=0", facecolor=ALARM, edgecolor="none",
        )  # fmt: skip
        self.figure.add_artist(box)
        self.text(right - width / 2, y, words, size, color="white", weight="bold", ha="center", va="center_baseline")

    def picture(self, picture: Picture, x: float, y: float, width: float) -> float:
        """Place a picture with its words as text; return its height."""
        scale = width / picture.width
        height = scale * picture.height
        axes = self.axes(x, y, width, height)
        axes.set_axis_off()
        axes.imshow(picture.pixels, interpolation="none", aspect="auto", extent=(0, 1, 0, 1))
        for text in picture.texts:
            size = text.size * scale / MM_PER_POINT
            down = text.y if text.upright else text.y + RISES[text.anchor[1]] * text.size
            across, rise = ("center", "center") if text.upright else (_ACROSS[text.anchor[0]], "baseline")
            colour = tuple(c / 255 for c in text.colour)
            self.text(
                x + scale * text.x, y + scale * down, text.words, 0.9 * size, color=colour, ha=across, va=rise,
                rotation=90 if text.upright else 0,
            )  # fmt: skip
        return height

    def table(
        self, x: float, y: float, columns: Sequence[Column], rows: Sequence[Sequence[str]], size: float = 8,
        bold: Sequence[int] = (),
    ) -> float:  # fmt: skip
        """Draw a table with its headings at y; return the y below it. `bold`: numbers of rows."""
        step = 1.75 * size * MM_PER_POINT
        self._row((x, y), columns, [c.heading for c in columns], size, QUIET, "normal")
        width = sum(c.width for c in columns)
        self.rule(y + 0.35 * step, x, width, QUIET)
        for number, row in enumerate(rows):
            y += step
            self._row((x, y), columns, row, size, INK, "bold" if number in bold else "normal")
            self.rule(y + 0.38 * step, x, width)
        return y + 1.25 * step

    def _row(
        self, place: tuple[float, float], columns: Sequence[Column], words: Sequence[str], size: float, colour: str,
        weight: str,
    ) -> None:  # fmt: skip
        x, y = place
        for column, word in zip(columns, words, strict=True):
            at, side = (x + column.width - 1, "right") if column.side == "r" else (x, "left")
            self.text(at, y, word, size, color=colour, weight=weight, ha=side)
            x += column.width


def text_mm(words: str, size: float, weight: str = "normal") -> float:
    """Measure the width of words on a page."""
    font = FontProperties(family=FONT, size=size, weight=weight)
    return text_to_path.get_text_width_height_descent(words, font, ismath=False)[0] * MM_PER_POINT


def wrapped(words: str, width: float, size: float, weight: str = "normal") -> list[str]:
    """Break words into lines of at most `width` mm; a word that is longer has a line of its own."""
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_mm(longer, size, weight) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def shortened(words: str, width: float, size: float) -> str:
    """Cut words to what fits `width` mm, with an ellipsis."""
    if text_mm(words, size) <= width:
        return words
    while words and text_mm(f"{words}…", size) > width:
        words = words[:-1]
    return f"{words}…"


def plain_axes(axes: Axes, size: float = 6.5) -> None:
    """Draw only the lower axis, thin and quiet."""
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.patch.set_visible(False)
    axes.tick_params(axis="both", labelsize=size, labelcolor=QUIET, color=FAINT, width=0.6, length=2, pad=1.5)
    axes.tick_params(axis="y", length=0)


def axis_end(values: Sequence[float]) -> float:
    """Return a round number just above all values: 1, 2, 3, 4, 5, 6 or 8 times a power of ten."""
    top = max((v for v in values if np.isfinite(v)), default=1.0)
    if top <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(top))
    return float(next(n * power for n in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if top <= n * power * (1 + 1e-9)))


def pdf(pages: Sequence[Page], title: str, created: str) -> bytes:
    """Write the pages as a PDF file, fonts embedded. `created`: ISO 8601; not read from the clock."""
    stream = io.BytesIO()
    facts = {"Title": title, "Creator": "Brainwhy", "Producer": None, "CreationDate": moment(created), "ModDate": None}
    with _lock, matplotlib.rc_context(_PARAMETERS), PdfPages(stream, metadata=facts) as file:
        for page in pages:
            file.savefig(page.figure)
    return stream.getvalue()


def moment(created: str) -> datetime | None:
    """Read a moment of ISO 8601; None where it is not one."""
    try:
        return datetime.fromisoformat(created)
    except ValueError:
        return None
