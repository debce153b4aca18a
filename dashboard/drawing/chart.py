"""A Plotly chart as plain data: quick to make, and laid out by the browser in one go.

Plotly's own classes check every property whenever a chart is made, which takes longer than all else on a page; the
tests check them once. In the browser, margins that are left to Plotly make it draw everything twice; here they follow
from what is written beside the axes.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

FAINT = "rgba(128, 140, 145, 0.22)"
GRID = {"showgrid": True, "gridcolor": FAINT}
CLEAR = "rgba(0,0,0,0)"
AXIS = {
    "showgrid": False, "zeroline": False, "automargin": False, "ticklabeloverflow": "allow", "fixedrange": True,
    "tickangle": 0, "ticks": "",
}  # fmt: skip
LEGEND = {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}
TICK, TITLE, LINE = 11.5, 13.5, 1.3  # pixels of the words beside axes, as the theme has them; of a line, in letters
PAD, TICK_LENGTH = 8, 9  # pixels from the plot to tick labels, without and with ticks
STANDOFF = 15  # pixels to the title of an axis, on top of the depth of its tick labels
LEGEND_ROW, COLUMN_TITLE = 42, 26  # with the 12 pixels that Plotly keeps free beyond a legend
EDGES = {"l": 4, "r": 14, "t": 10, "b": 4}  # at least; half of the last tick label stands at the right
FEW_DOTS, THINNING_SEED = 50, 0  # traces of so few are never thinned
KINDS = {"bar": "Bar chart", "box": "Box plot", "heatmap": "Heatmap"}  # of traces, in words; scatter: Chart
NARROW, WIDE = frozenset("fijlrtI .,:;'()[]|-/"), frozenset("mwMW%@±×−=+")


def text_width(text: str, size: float) -> float:
    """Estimate the pixels of the longest line of a text, in the widest of the fonts that a page may be shown in."""
    lines = [re.sub("<.*?>", "", line) for line in text.split("<br>")]
    return size * max(sum(0.4 if c in NARROW else 0.96 if c in WIDE else 0.64 for c in line) for line in lines)


def _text_height(text: str, size: float) -> float:
    return size * LINE * (1 + text.count("<br>"))


OUR_TAGS = re.compile(r"<(?!/?(?:b|i|sub|sup|extra)>|br>|br/>)")


def _tame(value: Any) -> Any:
    """Return a trace or layout whose texts hold no tag but ours: names from a run make no link in a chart."""
    if isinstance(value, str):
        return OUR_TAGS.sub("&lt;", value)
    if isinstance(value, dict):
        return {key: _tame(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return value if value and isinstance(value[0], int | float) else [_tame(part) for part in value]
    if isinstance(value, pd.Series):
        return _tame(value.tolist()) if value.dtype == object or str(value.dtype).startswith("str") else value
    if isinstance(value, np.ndarray) and value.dtype == object:
        return np.array([_tame(part) for part in value.ravel()], dtype=object).reshape(value.shape)
    return value


class Chart:
    """The traces and layout of a figure in Plotly's own schema, in one column or several side by side.

    Attributes:
        data: the traces.
        layout: axes, annotations, shapes and all else.
    """

    def __init__(self, columns: int = 1, *, widths: Sequence[float] = (), gap: float = 0.06, own_y: bool = False):
        """Make empty axes.

        Args:
            widths: shares of the columns, sum 1; none: all alike.
            gap: between two columns, of the whole width.
            own_y: each column has a y axis of its own; else they share the one at the left.
        """
        self.data: list[dict[str, Any]] = []
        self.layout: dict[str, Any] = {"yaxis": {}}
        self._own_y = own_y
        self._written: tuple[str, str] | None = None
        start, free = 0.0, 1 - gap * (columns - 1)
        for column, width in enumerate(widths or [1 / columns] * columns, 1):
            self.layout[f"xaxis{_suffix(column)}"] = {"domain": [start, min(start + width * free, 1)]}
            if own_y and column > 1:
                self.layout[f"xaxis{column}"]["anchor"] = f"y{column}"
                self.layout[f"yaxis{column}"] = {"anchor": f"x{column}"}
            start += width * free + gap

    def axes(self, letter: str) -> list[dict[str, Any]]:
        """Return the x or y axes, from left to right."""
        return [axis for name, axis in self.layout.items() if name.startswith(f"{letter}axis")]

    def _references(self, column: int) -> tuple[str, str]:
        return f"x{_suffix(column)}", f"y{_suffix(column)}" if self._own_y else "y"

    def add(self, column: int = 1, /, **trace: Any) -> Chart:
        """Put a trace, a scatter unless `type` says otherwise, into a column."""
        x, y = self._references(column)
        self.data.append({"type": "scatter", "xaxis": x, "yaxis": y} | trace)
        return self

    def x(self, column: int | None = None, /, **properties: Any) -> Chart:
        """Set properties of the x axis of a column, or of every one; `title` may be a text."""
        return self._set("x", column, properties)

    def y(self, column: int | None = None, /, **properties: Any) -> Chart:
        """Set properties of the y axis, as `x` does of the x axis."""
        return self._set("y", column, properties)

    def _set(self, letter: str, column: int | None, properties: dict[str, Any]) -> Chart:
        if isinstance(properties.get("title"), str):
            properties["title"] = {"text": properties["title"]}
        for axis in self.axes(letter) if column is None else [self.axes(letter)[column - 1]]:
            axis.update(properties)
        return self

    def annotate(self, **annotation: Any) -> Chart:
        """Write a text without an arrow."""
        common = {"showarrow": False, "font": {"size": 13}}
        self.layout.setdefault("annotations", []).append(common | annotation)
        return self

    def line(self, column: int = 1, /, *, x: float | None = None, y: float | None = None, **look: Any) -> Chart:
        """Draw a line through the whole column, upright at `x` or across at `y`."""
        across, upwards = self._references(column)
        place = (
            {"x0": x, "x1": x, "y0": 0, "y1": 1, "xref": across, "yref": f"{upwards} domain"}
            if y is None
            else {"x0": 0, "x1": 1, "y0": y, "y1": y, "xref": f"{across} domain", "yref": upwards}
        )
        self.layout.setdefault("shapes", []).append({"type": "line", "line": look} | place)
        return self

    def column_titles(self, titles: Iterable[str]) -> Chart:
        """Write a title above each column; above a single one in the middle of the chart, which has room for it."""
        titles = list(titles)
        if len(titles) == 1:
            self.layout["title"] = {
                "text": titles[0], "font": {"size": 13}, "x": 0.5, "xanchor": "center", "xref": "container", "y": 1,
                "yref": "paper", "yanchor": "bottom", "pad": {"b": 4},
            }  # fmt: skip
            titles = []
        for title, axis in zip(titles, self.axes("x"), strict=bool(titles)):
            place = {"x": sum(axis["domain"]) / 2, "y": 1, "xref": "paper", "yref": "paper", "yanchor": "bottom"}
            self.annotate(text=title, yshift=4, **place)
        self.layout["margin"] = {"t": COLUMN_TITLE}
        return self

    def finish(
        self, height: float | None = None, *, plot: float = 0, legend: Literal["above", "below"] | None = None,
        toggles: bool = True, margin: dict[str, float] | None = None, **layout: Any,
    ) -> Chart:  # fmt: skip
        """Give the look that all charts share, and the room for what stands around them.

        Args:
            height: of all, in pixels; None: that of the `plot` and what stands around it.
            legend: where it stands, if there is one.
            toggles: a click on an entry of the legend hides its trace.
            margin: of the sides (l, r, t, b) that are known better, in pixels.
            layout: further properties.
        """
        for axis in (*self.axes("x"), *self.axes("y")):
            axis.update(AXIS | axis)
            if "title" in axis:
                axis["title"] = {"standoff": STANDOFF} | axis["title"]
        room = self._room()
        if legend == "above":
            room["t"] += LEGEND_ROW - EDGES["t"]
        beneath = room["b"]
        if legend == "below":
            room["b"] += LEGEND_ROW
        room |= margin or {}
        height = height or plot + room["t"] + room["b"]
        self.layout |= {
            "height": height, "margin": room, "showlegend": legend is not None, "paper_bgcolor": CLEAR,
            "plot_bgcolor": CLEAR, "hoverlabel": {"namelength": -1},
        } | layout  # fmt: skip
        if legend is not None:
            place = {"y": -beneath / max(height - room["t"] - room["b"], 1), "yanchor": "top"}
            clicks = {} if toggles else {"itemclick": False, "itemdoubleclick": False}
            own = self.layout.get("legend", {})
            self.layout["legend"] = LEGEND | (place if legend == "below" else {}) | clicks | own
        return self

    def dots(self) -> int:
        """Count the dots of all traces that draw nothing else."""
        return sum(len(trace["x"]) for trace in self.data if _is_dots(trace))

    def thinned(self, most: int) -> Chart:
        """Return the chart with about `most` of its dots, drawn at random and always the same, and every other trace.

        Dots that stand out, larger than others of their trace, are all kept.
        """
        share, random, other = most / max(self.dots(), 1), np.random.default_rng(THINNING_SEED), copy.copy(self)
        other.data = [_thin(trace, share, random) if _is_dots(trace) and share < 1 else trace for trace in self.data]
        return other.ready()

    def _room(self) -> dict[str, float]:
        """Return the pixels from each edge to the plot."""
        room = EDGES | self.layout.get("margin", {})
        for letter, usual in (("x", "bottom"), ("y", "left")):
            for axis in self.axes(letter)[: None if letter == "x" else 1]:
                side, labels = axis.get("side", usual)[0], axis.get("ticktext")
                if labels is None:
                    labels = [self._longest_number()] if letter == "y" else ["0"]
                room[side] = max(room[side], _depth(axis, letter, labels) + EDGES["l"])
        return room

    def _longest_number(self) -> str:
        """Return about the longest number that Plotly writes beside the first y axis."""
        values = np.concatenate([[], *(np.asarray(t["y"], float) for t in self.data if t["yaxis"] == "y")])
        known = values[np.isfinite(values)]
        low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
        decimals = max(0, 1 - math.floor(math.log10(max(high - low, 1e-4))))
        return max((f"{end:.{decimals}f}" for end in (low, high)), key=len)

    def plotly(self) -> go.Figure:
        """Return the figure for the page, unchecked; the browser gives its words the ink of the theme."""
        layout = self.layout | {"template": {}}  # a template of Plotly's own would be sent too
        return go.Figure(data=_tame(self.data), layout=_tame(layout), _validate=False)

    def ready(self) -> Chart:
        """Write the figure now and return the chart, which is shown to many and must not be changed any more."""
        self._written = self._write()
        return self

    def written(self) -> tuple[str, str]:
        """Return the figure as JSON, and what is drawn in words."""
        return self._written or self._write()

    def _write(self) -> tuple[str, str]:
        return self.plotly().to_json(), self.in_words()

    def in_words(self) -> str:
        """Say what is drawn, for those who do not see it: kind, axes, columns and series."""
        kinds = dict.fromkeys(KINDS.get(trace["type"], "Chart") for trace in self.data)
        across, upwards = ([title for axis in self.axes(letter) if (title := _title(axis))] for letter in "xy")
        columns = [note["text"] for note in self.layout.get("annotations", []) if note.get("yref") == "paper"]
        columns += [self.layout["title"]["text"]] if "title" in self.layout else []
        shown = dict.fromkeys(trace["name"] for trace in self.data if trace.get("name"))
        about = " against ".join(" and ".join(dict.fromkeys(titles)) for titles in (upwards, across) if titles)
        words = next((kind for kind in kinds if kind != "Chart"), "Chart") + (f" of {about}" if about else "")
        lists = [", ".join(map(str, names)) for names in (columns, shown) if names]
        return re.sub("<.*?>", " ", f"{'. '.join([words, *lists])}.")


def _title(axis: dict[str, Any]) -> str:
    return "" if axis.get("visible") is False else axis.get("title", {}).get("text", "")


def _is_dots(trace: dict[str, Any]) -> bool:
    return trace["type"] == "scatter" and trace.get("mode") == "markers" and len(trace["x"]) > FEW_DOTS


def _thin(trace: dict[str, Any], share: float, random: np.random.Generator) -> dict[str, Any]:
    """Return a trace with a share of its dots, and those that are larger than the smallest."""
    count = len(trace["x"])
    keep = random.random(count) < share
    size = trace.get("marker", {}).get("size")
    if isinstance(size, list | np.ndarray):
        keep |= np.asarray(size) > min(size)

    def taken(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: taken(inner) for name, inner in value.items()}
        if isinstance(value, str) or not hasattr(value, "__len__") or len(value) != count:
            return value
        return np.asarray(value)[keep] if isinstance(value, np.ndarray | pd.Series) else list(compress(value, keep))

    return {name: taken(value) for name, value in trace.items()}


def _suffix(column: int) -> str:
    return "" if column == 1 else str(column)


def _depth(axis: dict[str, Any], letter: str, labels: Sequence[str]) -> float:
    """Estimate the pixels that the tick labels and the title of an axis take up beside the plot."""
    if axis.get("visible") is False:
        return 0
    depth = float(TICK_LENGTH * (axis["ticks"] == "outside"))
    if len(labels) and axis.get("showticklabels", True):
        size = axis.get("tickfont", {}).get("size", TICK)
        wide, high = (max(measure(text, size) for text in labels) for measure in (text_width, _text_height))
        angle = math.radians(abs(axis["tickangle"]))
        depth += wide if letter == "y" else math.sin(angle) * wide + math.cos(angle) * high
    if "title" not in axis:
        return depth + PAD
    title = axis["title"]
    return depth + title["standoff"] + _text_height(title["text"], title.get("font", {}).get("size", TITLE))
