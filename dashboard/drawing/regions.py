"""Frames -> Plotly charts of the relevance of regions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dashboard.drawing import palette
from dashboard.drawing.chart import GRID, PAD, Chart, text_width
from dashboard.text.formatting import NONE, count, method_name, region_name, region_with_code, three
from store.accuracy import LEAST_SUBJECTS

SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")  # in the order of the diagnoses
LOBES = {
    "temporal": ("Temporal", "#C2611F"),
    "cortical": ("Other cerebral cortex", "#3B8C90"),
    "other": ("Basal ganglia, cerebellum, other", "#8A7FA8"),
    "unknown": ("Lobe not known", "#8C8C8C"),
}
DRAWN = ["region", "value", "low", "high", "rank", "subjects"]
APART, MOST_APART = 0.3, 0.6  # of a row: between two diagnoses of a region, between the first and the last
NODE, NAME = 22, 12  # pixels: a row of the bump chart, the size of names
LOBES_ROOM = 84  # pixels of the legend of lobes on two rows
DOT_EDGE = 0.075  # of the way between two methods
PAST_DOT = "\u2002" * 3  # between a dot and its label


def symbol(diagnosis: str, diagnoses: Sequence[str]) -> str:
    """Return the marker of a diagnosis, so that groups differ by shape too."""
    return SYMBOLS[list(diagnoses).index(diagnosis) % len(SYMBOLS)]


def _row_height(rows: int, diagnoses: int) -> int:
    return (30 if rows <= 10 else 24 if rows <= 20 else 19) + 6 * max(diagnoses - 2, 0)


def ranking(  # noqa: PLR0913 - the options of a chart
    frame: pd.DataFrame, regions: Sequence[str], diagnoses: Sequence[str], groups: Sequence[str], *, axis: str,
    unit: str, factor: float, end: float | None = None, room: float | None = None,
) -> Chart:  # fmt: skip
    """Draw a dot a region and diagnosis with its interval as a thin line; the first region at the top.

    Args:
        frame: diagnosis, region, value, low, high, rank, subjects.
        regions: those that are drawn, in order.
        axis, unit: of the measure; factor: takes the values to the unit.
        end: of the axis, in the unit, where charts share one scale.
        room: pixels at the left, where charts are to be aligned.
    """
    places = np.arange(len(regions))
    apart = min(APART * (len(diagnoses) - 1), MOST_APART)
    chart = Chart()
    for diagnosis, offset in zip(diagnoses, np.linspace(-apart / 2, apart / 2, len(diagnoses)), strict=True):
        rows = frame.loc[frame["diagnosis"] == diagnosis, DRAWN].set_index("region").reindex(list(regions))
        look = palette.group_colour(diagnosis, groups), symbol(diagnosis, diagnoses)
        chart.add(**_dots(rows, places + offset, diagnosis, look, unit, factor))
    names = [region_name(region) for region in regions]
    chart.y(tickvals=places, ticktext=names, range=[len(regions) - 0.4, -0.6], tickfont={"size": NAME})
    title = {"text": f"{axis}, {unit}" if unit and unit != "×" else axis, "font": {"size": NAME}}
    chart.x(title=title, rangemode="tozero", **({} if end is None else {"range": [0, end]}), **GRID)
    height = 78 + _row_height(len(regions), len(diagnoses)) * max(len(regions), 1)
    return chart.finish(height, legend="above", toggles=False, margin={} if room is None else {"l": room})


def room(regions: Iterable[str]) -> float:
    """Return the pixels at the left of charts that show these regions and are to be aligned."""
    return max((text_width(region_name(region), NAME) for region in regions), default=NAME) + PAD


def _dots(
    rows: pd.DataFrame, places: np.ndarray, name: str, look: tuple[str, str], unit: str, factor: float
) -> dict[str, Any]:
    """Draw the dots of one diagnosis; `look` is their colour and symbol."""
    value, low, high = (rows[c].to_numpy(float) * factor for c in ("value", "low", "high"))
    ends = [np.nan_to_num(np.maximum(part, 0)) for part in (high - value, value - low)]
    subjects = rows["subjects"].dropna()
    n = int(subjects.iloc[0]) if len(subjects) else LEAST_SUBJECTS
    few = f"<br>{count(n, 'subject')}: too few for an interval" if n < LEAST_SUBJECTS else ""
    texts = [
        f"{region_with_code(region)}, {name}: {f'{three(mean)} {unit}'.strip() if np.isfinite(mean) else NONE}"
        + (f"<br>95 % CI {three(start)} to {three(end)}" if np.isfinite(start) else few)
        + (f"<br>rank {rank}" if pd.notna(rank) else "")
        for region, mean, start, end, rank in zip(rows.index, value, low, high, rows["rank"], strict=True)
    ]
    return {
        "x": value, "y": places, "mode": "markers", "customdata": list(rows.index),
        "name": f"{name}, n = {int(subjects.iloc[0])}" if len(subjects) else name,
        "hovertext": texts, "hoverinfo": "text", "cliponaxis": False,
        "marker": {"size": 9, "color": look[0], "symbol": look[1]},
        "error_x": {
            "array": ends[0], "arrayminus": ends[1], "symmetric": False, "thickness": 1.3, "width": 0,
            "color": palette.faint(look[0], 0.75),
        },
    }  # fmt: skip


def gains(
    frame: pd.DataFrame, regions: Sequence[str], groups: Sequence[str], axis: str, room: float | None = None
) -> Chart:
    """Draw `ranking` for a ratio: one dot a region on a logarithmic axis, and a line where the groups are alike."""
    chart = ranking(frame, regions, [frame["diagnosis"].iloc[0]], groups, axis=axis, unit="×", factor=1, room=room)
    known = frame[frame["region"].isin(list(regions)) & (frame["value"] > 0)]
    values = known[["value", "low", "high"]].to_numpy(float)
    values = values[np.isfinite(values) & (values > 0)]
    low, high = (values.min(initial=0.8), values.max(initial=1.25))
    ticks = [t for t in (0.05, 0.1, 0.2, 0.5, 0.7, 1, 1.4, 2, 3, 5, 10, 20) if low * 0.9 <= t <= high * 1.1]
    chart.x(
        type="log", rangemode="normal", range=[np.log10(low * 0.95), np.log10(high * 1.05)], tickvals=ticks,
        ticktext=[f"{t:g}" for t in ticks],
    )  # fmt: skip
    dots = chart.data[0]
    dots["marker"] |= {"color": palette.ACCENT, "symbol": "circle"}
    dots["error_x"]["color"] = palette.ACCENT
    chart.layout |= {"showlegend": False, "margin": chart.layout["margin"] | {"t": PAD}}
    return chart.line(x=1, color=palette.QUIET, width=1, dash="dot")


def bump(
    rankings: Mapping[str, pd.DataFrame], diagnosis: str, count: int, lobes: Mapping[str, str], marked: str | None
) -> Chart:
    """Draw how the first regions of each method rank in the others: a line a region, methods from left to right.

    A region is drawn if it is among the first `count` of any method. Its height is its place among the drawn ones,
    so that nothing overlaps; the number in the dot is its true rank.

    Args:
        rankings: method -> diagnosis, region, rank, of atlas regions.
        lobes: region -> temporal, cortical, other or unknown.
        marked: a region that is drawn strongly.
    """
    ranks = pd.DataFrame({
        method: frame[(frame["diagnosis"] == diagnosis)].set_index("region")["rank"].dropna().astype(int)
        for method, frame in rankings.items()
    })  # fmt: skip
    ranks = ranks[(ranks <= count).any(axis=1)].dropna()
    places = ranks.rank()
    own = {region: lobes.get(region, "other") for region in places.index}
    chart = Chart()
    for trace in (
        *_lines(places, own, marked), _nodes(ranks, places, [LOBES[lobe][1] for lobe in own.values()], count),
        *(_end_labels(places, column, marked) for column in ((0, -1) if len(places) else ())),
    ):  # fmt: skip
        chart.add(**trace)
    names = [method_name(m) for m in ranks.columns]
    chart.x(
        tickvals=list(range(len(names))), ticktext=names, side="top", tickangle=-30, tickfont={"size": NAME},
        range=[-0.1, len(names) - 0.9],
    ).y(range=[len(places) + 0.7, 0.2], visible=False)  # fmt: skip
    beside = room(places.index) + PAD
    margin = {"l": beside, "r": beside, "b": LOBES_ROOM}
    return chart.finish(plot=NODE * max(len(places), 1), legend="below", toggles=False, margin=margin)


def _lines(places: pd.DataFrame, lobes: Mapping[str, str], marked: str | None) -> list[dict[str, Any]]:
    """Draw a trace a lobe, and one for the marked region; from dot to dot, so that no line strikes out a number."""
    steps = places.shape[1] - 1
    x = [at for i in range(steps) for at in (i + DOT_EDGE, i + 1 - DOT_EDGE, None)]
    kinds = [(lobe, name, colour, False) for lobe, (name, colour) in LOBES.items()]
    if marked is not None and marked in lobes:
        kinds.append((lobes[marked], "", LOBES[lobes[marked]][1], True))
    traces = []
    for lobe, name, colour, strong in kinds:
        regions = [marked] if strong else [r for r, own in lobes.items() if own == lobe]
        if regions:
            heights = [places.loc[region].tolist() for region in regions]
            y = [at for line in heights for i in range(steps) for at in (line[i], line[i + 1], None)]
            traces.append({
                "x": x * len(regions), "y": y, "mode": "lines", "name": name, "hoverinfo": "skip",
                "line": {"color": palette.faint(colour, 1 if strong else 0.6), "width": 4 if strong else 1.6},
                "showlegend": not strong,
            })  # fmt: skip
    return traces


def _nodes(ranks: pd.DataFrame, places: pd.DataFrame, colours: Sequence[str], count: int) -> dict[str, Any]:
    """Draw a dot a region and method with the rank in it; full where the region is among the first."""
    methods = list(ranks.columns)
    cells = [(i, j) for i in range(len(ranks)) for j in range(len(methods))]
    rank, place = ranks.to_numpy(), places.to_numpy()
    first = [rank[i, j] <= count for i, j in cells]
    return {
        "mode": "markers+text", "x": [j for _, j in cells], "y": [place[cell] for cell in cells],
        "text": [str(rank[cell]) for cell in cells], "textfont": {"size": 10}, "showlegend": False,
        "customdata": [ranks.index[i] for i, _ in cells], "hoverinfo": "text",
        "hovertext": [
            f"{region_with_code(ranks.index[i])}, {method_name(methods[j])}: rank {rank[i, j]}" for i, j in cells
        ],
        "marker": {
            "size": 19, "opacity": 1, "symbol": "circle",
            "color": [
                palette.faint(colours[i], 0.5 if full else 0.1) for (i, _), full in zip(cells, first, strict=True)
            ],
            "line": {"color": [colours[i] for i, _ in cells], "width": [1.6 if full else 0.6 for full in first]},
        },
        "cliponaxis": False,
    }  # fmt: skip


def _end_labels(places: pd.DataFrame, column: int, marked: str | None) -> dict[str, Any]:
    """Write the names at the left (column 0) or right (column -1) end of the lines."""
    names = [region_name(region) for region in places.index]
    texts = [f"<b>{name}</b>" if r == marked else name for name, r in zip(names, places.index, strict=True)]
    return {
        "mode": "text", "x": [column % places.shape[1]] * len(places),
        "y": places.iloc[:, column].tolist(), "hoverinfo": "skip", "showlegend": False, "cliponaxis": False,
        "text": [f"{text}{PAST_DOT}" if column == 0 else f"{PAST_DOT}{text}" for text in texts],
        "textfont": {"size": NAME},
        "textposition": "middle left" if column == 0 else "middle right",
    }  # fmt: skip
