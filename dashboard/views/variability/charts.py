"""Frames -> Plotly charts of how patients differ. Dots and bars carry subject and scan, so that a click finds them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dashboard.drawing import palette
from dashboard.drawing.chart import GRID, LEGEND_ROW, PAD, Chart, text_width
from dashboard.drawing.ordering import SimilarityMap
from dashboard.drawing.regions import symbol
from dashboard.text.formatting import count, mean_sd, three

SHARES = "Cividis"
AWAY = [[0, "#5E3C99"], [0.25, "#B2ABD2"], [0.5, "#F4F4F2"], [0.75, "#FDB863"], [1, "#B35806"]]  # purple to orange
FARTHEST = 3  # SD from the mean: the ends of the colours of z-scores
NUMBERS = "Viridis"  # covariates that are numbers
KINDS = ("#009E73", "#CC79A7", "#56B4E9", "#F0E442", "#8C6BB1", "#7F5F3F")  # of other covariates; none of a group
TALLEST, LOWEST = 26, 3  # pixels of a row
BODY = 760  # pixels that the rows share, as far as a row stays within these
LEGIBLE = 12  # pixels of a row that has its name beside it
LONGEST_NAME = 20  # letters of a name beside its row
STRIP, GAP = 0.034, 0.006  # of the width
NAME = 11  # pixels, of a region
BARS = 84  # pixels of the bars of colours above the map
BAR = {"orientation": "h", "y": 1, "yanchor": "bottom", "thickness": 9, "tickangle": 0}
BAR_ROOM = 84  # pixels of a bar of colours at the right
JITTER_SEED = 0
RIM = "#1D2528"  # of a dot that stands out


@dataclass(frozen=True)
class Covariate:
    """What dots or a strip are coloured by: a name in words, and one number (NaN: unknown) or text a row."""

    name: str
    values: pd.Series
    kinds: Sequence[str] = ()

    @property
    def is_number(self) -> bool:
        """Say whether the values are numbers."""
        return not self.kinds

    def colours(self, groups: Sequence[str]) -> list[str]:
        """Return one colour a row, for texts."""
        known = kind_colours(self.kinds, groups)
        return [known.get(str(v), palette.UNKNOWN) for v in self.values]


def kind_colours(kinds: Sequence[str], groups: Sequence[str]) -> dict[str, str]:
    """Return value -> colour: diagnoses have their own, of other texts the first six are told apart."""
    if set(kinds) & set(groups):
        return {kind: palette.group_colour(kind, groups) for kind in kinds}
    return {k: KINDS[i] if i < len(KINDS) else palette.UNKNOWN for i, k in enumerate(kinds)}


# -- patients x regions -----------------------------------------------------------------------------------------------


def short_name(name: str) -> str:
    """Leave out the middle of a long name, which would take the room of the map; under the pointer it stands whole."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME // 2 - 1]}…{name[-(LONGEST_NAME // 2) :]}"


def patients_by_regions(
    values: np.ndarray, regions: Sequence[str], rows: pd.DataFrame, strips: Sequence[Covariate], groups: Sequence[str],
    *, z: bool,
) -> Chart:  # fmt: skip
    """Draw one row a patient, one column a region, and beside it a strip of colours for each covariate.

    Args:
        values: (rows, regions) share in percent, or z-score.
        rows: subject, scan, name (every name once) and line (for the pointer), in the order of `values`, the first at
            the top.
        strips: one or two covariates, the diagnosis first.
        z: the values are z-scores.
    """
    names = rows["name"].tolist()
    chart = Chart(len(strips) + 1, widths=[*[STRIP] * len(strips), 1 - STRIP * len(strips)], gap=GAP)
    for column, strip in enumerate(strips, 1):
        chart.add(column, **_strip(strip, rows, groups))
        chart.x(column, tickvals=[0.5], ticktext=[strip.name], range=[0, 1], tickfont={"size": 10})
    last = len(strips) + 1
    chart.add(last, **_cells(values, regions, names, z))
    chart.x(last, tickfont={"size": NAME})
    for strip in strips:
        for kind, colour in kind_colours(strip.kinds, groups).items():
            chart.add(
                last, x=[None], y=[None], mode="markers", marker={"symbol": "square", "size": 10, "color": colour},
                name=f"{kind}, {int((strip.values.astype(str) == kind).sum())}",
            )  # fmt: skip
    height = int(np.clip(BODY // max(len(names), 1), LOWEST, TALLEST))  # of a row
    chart.x(tickangle=-90).y(
        type="category", autorange="reversed", tickvals=list(names), ticktext=[*map(short_name, names)],
        showticklabels=height >= LEGIBLE, tickfont={"size": 11 if height >= 14 else 10},
    )  # fmt: skip
    chart.layout["legend"] = {"y": 1 + BARS / (height * max(len(names), 1))}
    longest = max((text_width(text, NAME) for text in (*regions, *(s.name for s in strips))), default=0)
    margin = {"t": BARS + LEGEND_ROW, "r": 6, "b": longest + PAD + 4}
    return chart.finish(plot=height * len(names), legend="above", toggles=False, margin=margin, bargap=0)


def _strip(strip: Covariate, rows: pd.DataFrame, groups: Sequence[str]) -> dict[str, Any]:
    """Return bars of the same length; a click on one finds its patient."""
    if strip.is_number:
        known = strip.values.dropna().astype(float)
        ends = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
        ticks, decimals = np.linspace(*ends, 3), max(0, 1 - math.floor(math.log10(max(ends[1] - ends[0], 0.1))))
        bar = BAR | {
            "x": 0, "xanchor": "left", "len": 0.36, "title": {"text": strip.name, "side": "top"}, "tickvals": ticks,
            "ticktext": [f"{tick:.{decimals}f}" for tick in ticks],
        }  # fmt: skip
        marker = {
            "color": strip.values.astype(float).tolist(), "colorscale": NUMBERS, "showscale": True, "cmin": ends[0],
            "cmax": ends[1], "colorbar": bar,
        }  # fmt: skip
    else:
        marker = {"color": strip.colours(groups)}
    return {
        "type": "bar", "x": [1] * len(rows), "y": rows["name"].tolist(), "orientation": "h", "width": 1,
        "showlegend": False, "marker": {**marker, "line": {"width": 0}},
        "customdata": rows[["subject", "scan"]].to_numpy(object), "hovertext": _pointer_texts(rows["line"], strip),
        "hoverinfo": "text",
    }  # fmt: skip


def _pointer_texts(lines: Sequence[str], strip: Covariate) -> list[str]:
    """Add the covariate, and what a click does, to the lines for the pointer."""
    texts = [three(v) if strip.is_number else str(v) for v in strip.values]
    return [f"{line}<br>{strip.name}: {text}<br>Click: open" for line, text in zip(lines, texts, strict=True)]


def _cells(values: np.ndarray, regions: Sequence[str], names: Sequence[str], z: bool) -> dict[str, Any]:
    """Return the map of colours of shares or z-scores."""
    if z:
        look = {"colorscale": AWAY, "zmin": -FARTHEST, "zmax": FARTHEST}
        title, unit = "SD from the mean<br>of the diagnosis", "SD"
    else:
        top = float(np.percentile(values, 99)) if values.size else 1.0
        look = {"colorscale": SHARES, "zmin": 0, "zmax": top or 1.0}
        title, unit = "share of the brain, %", "%"
    bar = BAR | {"x": 1, "xanchor": "right", "len": 0.5, "title": {"text": title, "side": "top"}, "nticks": 5}
    return {
        "type": "heatmap", "z": np.round(values, 4), "x": list(regions), "y": list(names), "colorbar": bar,
        "hoverongaps": False, "hovertemplate": f"%{{y}}<br>%{{x}}: %{{z:.3g}} {unit}<extra></extra>", **look,
    }  # fmt: skip


# -- dots -------------------------------------------------------------------------------------------------------------


def temporal_cortical(
    table: pd.DataFrame, diagnoses: Sequence[str], groups: Sequence[str], who: Sequence[str]
) -> Chart:
    """Draw one dot a patient, temporal against cortical share; mean and SD of each diagnosis as a cross.

    Args:
        table: subject, scan, diagnosis, temporal_share, cortical_share (fractions).
    """
    chart = Chart()
    lines = pd.Series(list(who), index=table.index)
    for diagnosis in diagnoses:
        part = table[table["diagnosis"] == diagnosis]
        x, y = 100 * part["temporal_share"], 100 * part["cortical_share"]
        colour = palette.group_colour(diagnosis, groups)
        _dots(chart, part, (x, y), lines[part.index], f"{diagnosis}, n = {len(part)}", {
            "color": palette.faint(colour, 0.6), "symbol": symbol(diagnosis, diagnoses),
        })  # fmt: skip
        _mean_cross(chart, x, y, diagnosis, colour)
    chart.x(title="temporal share of the brain, %")
    chart.y(title="other cerebral cortex, share of the brain, %", **GRID)
    return chart.finish(540, legend="above", toggles=False)


def _mean_cross(chart: Chart, x: pd.Series, y: pd.Series, diagnosis: str, colour: str) -> None:
    """Add mean ± SD of a diagnosis on both axes."""
    if len(x) < 2:
        return
    bars = [{"array": [float(v.std(ddof=1))], "color": colour, "thickness": 1.6, "width": 5} for v in (x, y)]
    text = "<br>".join(
        f"{name} {mean_sd(float(v.mean()), float(v.std(ddof=1)))} %" for name, v in (("temporal", x), ("cortical", y))
    )
    chart.add(
        x=[x.mean()], y=[y.mean()], mode="markers", error_x=bars[0], error_y=bars[1], showlegend=False,
        marker={"symbol": "x-thin", "size": 12, "line": {"width": 3, "color": colour}},
        hovertext=[f"{diagnosis}, mean ± SD, n = {len(x)}<br>{text}"], hoverinfo="text",
    )  # fmt: skip


def similarity(
    found: SimilarityMap, table: pd.DataFrame, covariate: Covariate, diagnoses: Sequence[str], groups: Sequence[str],
    who: Sequence[str],
) -> Chart:  # fmt: skip
    """Draw patients as dots on two axes in one scale; the shape is the diagnosis, the colour a covariate.

    Args:
        found: the points of the rows of `table`.
        who: a line about each row.
    """
    chart = Chart()
    shapes = np.array([symbol(d, diagnoses) for d in table["diagnosis"]], object)
    for name, mine, colour in _series(covariate, table, diagnoses, groups):
        part, marker = table[mine], {"symbol": shapes[mine].tolist(), "color": colour, "opacity": 0.85}
        marker |= {"coloraxis": "coloraxis"} if covariate.is_number else {}
        lines = [f"{line}<br>{covariate.name}: {three(v) if covariate.is_number else v}" for line, v in zip(
            np.array(who, object)[mine], covariate.values[mine], strict=True)]  # fmt: skip
        _dots(chart, part, found.points[mine].T, lines, f"{name}, n = {int(mine.sum())}", marker)
    for axis, number in ((chart.x, 0), (chart.y, 1)):
        axis(title=f"axis {number + 1}, {three(100 * found.explained[number])} % of the variance", showticklabels=False)
    chart.y(scaleanchor="x")
    margin: dict[str, float] = {}
    if covariate.is_number:
        bar = {"title": {"text": covariate.name, "side": "right"}, "thickness": 10, "len": 0.8, "x": 1, "xpad": 8}
        chart.layout["coloraxis"] = {"colorscale": NUMBERS, "colorbar": bar}
        margin = {"r": BAR_ROOM}
    return chart.finish(600, legend="above", toggles=False, margin=margin)


def _series(
    covariate: Covariate, table: pd.DataFrame, diagnoses: Sequence[str], groups: Sequence[str]
) -> list[tuple[str, np.ndarray, list]]:
    """Return (name, rows, colours) of each entry of the legend.

    An entry is a diagnosis where numbers colour, else a text.
    """
    if covariate.is_number:
        values, own = covariate.values.to_numpy(float), table["diagnosis"].to_numpy(object)
        found = [(d, (own == d) & np.isfinite(values)) for d in diagnoses]
        numbered = [(name, mine, values[mine].tolist()) for name, mine in found if mine.any()]
        unknown = ~np.isfinite(values)
        return [*numbered, *([("unknown", unknown, [np.nan] * int(unknown.sum()))] if unknown.any() else [])]
    texts, known = covariate.values.astype(str).to_numpy(object), kind_colours(covariate.kinds, groups)
    named = [(kind, texts == kind, [colour] * int((texts == kind).sum())) for kind, colour in known.items()]
    unknown = ~np.isin(texts, list(known))
    named.append(("unknown", unknown, [palette.UNKNOWN] * int(unknown.sum())))
    return [entry for entry in named if entry[1].any()]


def distances(
    table: pd.DataFrame, diagnoses: Sequence[str], groups: Sequence[str], who: Sequence[str], limit: float
) -> Chart:
    """Draw one dot a scan, its distance to the others of its diagnosis; beyond `limit` it stands out.

    Args:
        table: subject, scan, diagnosis, distance, z.
        limit: robust z.
    """
    chart, medians, rng = Chart(), [], np.random.default_rng(JITTER_SEED)
    lines = pd.Series(list(who), index=table.index) + "<br>robust z " + table["z"].map(three)
    for place, diagnosis in enumerate(diagnoses):
        part = table[(table["diagnosis"] == diagnosis) & table["distance"].notna()]
        far, colour = (part["z"] > limit).to_numpy(), palette.group_colour(diagnosis, groups)
        y = place + rng.uniform(-0.26, 0.26, len(part))
        _dots(chart, part, (part["distance"], y), lines[part.index], diagnosis, {
            "color": [palette.faint(colour, 0.95 if f else 0.4) for f in far], "symbol": symbol(diagnosis, diagnoses),
            "size": [12 if f else 7 for f in far], "line": {"width": [1.5 if f else 0 for f in far], "color": RIM},
        })  # fmt: skip
        if len(part):
            median = part["distance"].median()
            medians.append({
                "type": "line", "xref": "x", "yref": "y", "x0": median, "x1": median, "y0": place - 0.34,
                "y1": place + 0.34, "line": {"color": colour, "width": 2},
            })  # fmt: skip
    chart.layout["shapes"] = medians
    names = [f"{d}<br>{count(int((table['diagnosis'] == d).sum()), 'scan')}" for d in diagnoses]
    chart.y(tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.5, -0.5])
    chart.x(title="distance to the others of the diagnosis,<br>× 10⁴, per mm<sup>1.5</sup>", **GRID)
    return chart.finish(86 + 110 * max(len(names), 1))


def _dots(
    chart: Chart, part: pd.DataFrame, places: Sequence, lines: Iterable[str], name: str, marker: dict[str, Any]
) -> None:
    """Add dots that carry subject and scan; `places` are their x and y."""
    chart.add(
        x=places[0], y=places[1], mode="markers", name=name, customdata=part[["subject", "scan"]].to_numpy(object),
        hovertext=[f"{line}<br>Click: open" for line in lines], hoverinfo="text", marker={"size": 9, **marker},
        cliponaxis=False,
    )  # fmt: skip
