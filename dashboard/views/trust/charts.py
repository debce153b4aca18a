"""Frames -> Plotly charts of how far heatmaps can be trusted."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from dashboard.drawing import palette
from dashboard.drawing.chart import FAINT, GRID, Chart
from dashboard.text.formatting import method_name, signed, three
from dashboard.views.trust.tables import EXPLAINS_NOTHING, Measure
from store.keys import explains

ROW, APART = 27, 0.9  # pixels of a row; rows between methods and what explains nothing
NAME, LABEL = 12, 11  # pixels of names and of numbers
NUMBERS_ROOM = 46  # pixels at the right, for the numbers
CHANCE: dict[str, Any] = {"color": palette.QUIET, "width": 1, "dash": "dot"}
REFERENCES = {"reference": "{}-open", "null_reference": "diamond-open"}  # circle, or square of the second series
SIDES = ("circle", "square")


def dots(
    series: Sequence[pd.DataFrame], methods: Sequence[str], measure: Measure,
    ends: Sequence[float] = (),
) -> Chart:  # fmt: skip
    """Draw one row a method: dot, interval as a thin line, its references as open marks, its number at the right.

    Maps that explain nothing stand below the methods, apart from them and named as such.

    Args:
        series: rows of one measure (tables.COLUMNS); two for two sides of the brain.
        methods: in the order of the rows; those that explain nothing last.
        ends: of the axis, where charts share one.
    """
    places = _places(methods)
    chart = Chart()
    spread = [(number - (len(series) - 1) / 2) * 0.34 for number in range(len(series))]
    for rows, offset, symbol in zip(series, spread, SIDES, strict=False):
        own = rows.set_index("method").reindex(list(methods))
        for name, mark in REFERENCES.items():
            chart.add(**_reference(own[name], [place + offset for place in places], mark.format(symbol)))
        chart.add(**_values(own, [place + offset for place in places], symbol))
    numbers = [rows.set_index("method")["value"].reindex(list(methods)) for rows in series]
    for method, place in zip(methods, places, strict=True):
        texts = [_number(values[method], measure.zero) for values in numbers]
        chart.annotate(
            x=1, xref="paper", xanchor="left", xshift=6, y=place, text="<br>".join(texts), align="left",
            font={"size": LABEL if len(texts) == 1 else LABEL - 1},
        )  # fmt: skip
    if measure.zero:
        chart.line(x=0, **CHANCE)
    last = places[-1] if places else 0
    names = [bare_name(method) for method in methods]
    nothing = [place for method, place in zip(methods, places, strict=True) if not explains(method)]
    ticks = [*places, *(place - 0.9 for place in nothing[:1])]
    chart.y(
        tickvals=ticks, ticktext=[*names, f"<i>{EXPLAINS_NOTHING}</i>"][: len(ticks)], range=[last + 0.6, -0.6],
        tickfont={"size": NAME},
    )  # fmt: skip
    low, high = list(ends) or axis_range(series)
    marks = round_numbers(low, high)
    chart.x(range=[low, high], tickvals=marks, ticktext=[f"{mark:g}".replace("-", "−") for mark in marks], **GRID)
    words = [measure.axis, *([measure.marks] if measure.marks else [])]
    # The title of an axis would be centred under the plot, which is narrow beside long names, and cut off.
    chart.annotate(
        x=1, xref="paper", xanchor="right", xshift=NUMBERS_ROOM - 4, y=0, yref="paper", yanchor="top", yshift=-22,
        text="<br>".join(words), align="right", font={"size": LABEL},
    )  # fmt: skip
    return chart.finish(plot=ROW * (last + 1.2), margin={"r": NUMBERS_ROOM, "b": 26 + 15 * len(words)})


def _places(methods: Sequence[str]) -> list[float]:
    """Return the row of each method; a gap stands before what explains nothing."""
    return [place + APART * (not explains(method)) for place, method in enumerate(methods)]


def bare_name(method: str) -> str:
    """Return the name of a method without the words that say that it is no explanation, where its place says so."""
    return method_name(method).removesuffix(" (no explanation)")


def axis_range(series: Sequence[pd.DataFrame]) -> list[float]:
    """Return the range of an axis that holds values, intervals and references, and a little more."""
    columns = ["value", "low", "high", *REFERENCES]
    known = pd.concat([rows[columns] for rows in series]).to_numpy(float)
    known = known[known == known]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    room = 0.06 * ((high - low) or 1)
    return [low - room, high + room]


def round_numbers(low: float, high: float) -> list[float]:
    """Return three or four round numbers on an axis, for charts too narrow for more."""
    span = max(high - low, 1e-9)
    size = 10.0 ** math.floor(math.log10(span))
    step = next(step for step in (size * part for part in (0.25, 0.5, 1.0, 2.0, 2.5)) if span / step <= 4)
    return [round(number * step, 10) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _number(value: float, with_sign: bool) -> str:
    if pd.isna(value):
        return "–"
    return signed(value)[:5] if with_sign else f"{value:.2f}".replace("-", "−")


def _reference(values: pd.Series, places: Sequence[float], symbol: str) -> dict[str, Any]:
    kept = values.notna().to_numpy(bool)
    return {
        "x": values[kept].tolist(), "y": [p for p, known in zip(places, kept, strict=True) if known],
        "mode": "markers", "hovertemplate": "%{x:.3f}<extra></extra>", "cliponaxis": False,
        "marker": {"symbol": symbol, "size": 8, "color": palette.QUIET, "line": {"width": 1.5}},
    }  # fmt: skip


def _values(own: pd.DataFrame, places: Sequence[float], symbol: str) -> dict[str, Any]:
    kept = own["value"].notna().to_numpy(bool)
    rows, at = own[kept], [p for p, known in zip(places, kept, strict=True) if known]
    colours = [palette.method_colour(m) if explains(m) else palette.QUIET for m in rows.index]
    texts = [pointer(str(method), row) for method, row in rows.iterrows()]
    return {
        "x": rows["value"].tolist(), "y": at, "mode": "markers", "cliponaxis": False, "hovertext": texts,
        "hoverinfo": "text", "marker": {"size": 9, "color": colours, "symbol": symbol},
        "error_x": {
            "symmetric": False, "array": (rows["high"] - rows["value"]).fillna(0).clip(lower=0).tolist(),
            "arrayminus": (rows["value"] - rows["low"]).fillna(0).clip(lower=0).tolist(), "thickness": 1.3,
            "width": 0, "color": palette.QUIET,
        },
    }  # fmt: skip


def pointer(method: str, row: pd.Series) -> str:
    """Write the lines for the pointer: value with interval, references, difference, n."""
    lines = [f"<b>{method_name(method)}</b>: {three(row['value'])}"]
    if pd.notna(row["low"]):
        lines.append(f"95 % CI {three(row['low'])} to {three(row['high'])}")
    for name, words in (("reference", "reference"), ("null_reference", "nothing imposed")):
        if pd.notna(row[name]):
            lines.append(f"{words} {three(row[name])}")
    if pd.notna(row["difference"]):
        interval = (
            f" ({signed(row['difference_low'])} to {signed(row['difference_high'])})"
            if pd.notna(row["difference_low"])
            else ""
        )
        lines.append(f"difference {signed(row['difference'])}{interval}")
    if pd.notna(row["subjects"]):
        lines.append(f"n = {int(row['subjects'])} subjects")
    return "<br>".join(lines)


ORDER_LOOKS: Mapping[str, tuple[str, str, str | None]] = {
    "method": ("own order", "solid", None),
    "random": ("random", "dot", palette.QUIET),
    "group_difference": ("groups’ difference", "dash", "#A68A3C"),
    "untrained": ("untrained", "longdashdot", palette.ACCENT),
}  # order -> words, kind of line, colour


def curves(rows: pd.DataFrame, method: str, direction: str) -> Chart:
    """Draw the margin against the share replaced or shown: a line an order, its interval as a band, named at its end.

    Args:
        rows: order, step, fraction, margin, margin_low, margin_high of one method, unit, direction and diagnosis.
    """
    chart, named = Chart(), []
    for order, (words, dash, colour) in ORDER_LOOKS.items():
        own = rows[rows["order"] == order].sort_values("step")
        if own.empty:
            continue
        colour = colour or palette.method_colour(method)
        x = (100 * own["fraction"]).tolist()
        low, high = own["margin_low"].tolist(), own["margin_high"].tolist()
        chart.add(
            x=[*x, *x[::-1]], y=[*high, *low[::-1]], mode="lines", fill="toself", hoverinfo="skip",
            fillcolor=palette.faint(colour, 0.14), line={"width": 0, "color": colour}, showlegend=False,
        )  # fmt: skip
        chart.add(
            x=x, y=own["margin"].tolist(), mode="lines", name=words, line={"color": colour, "width": 2, "dash": dash},
            hovertemplate=f"{words}: %{{y:.3f}} at %{{x:.3g}} %<extra></extra>",
        )  # fmt: skip
        named.append(own)
    top = max([1.0, *(float(own["margin_high"].max()) for own in named)])
    bottom = min([0.0, *(float(own["margin_low"].min()) for own in named)])
    verb = "replaced" if direction == "deletion" else "shown"
    chart.x(title=f"brain {verb}, % of its voxels", range=[0, 100], ticks="outside", tickcolor=FAINT)
    chart.y(title="margin, 1: the whole scan", range=[bottom - 0.04, top + 0.04], **GRID)
    return chart.finish(350, legend="above", toggles=False)


def regions(rows: pd.DataFrame, names: Sequence[str], marked: Collection[str]) -> Chart:
    """Draw a dot a region with its interval, the first at the top; marked regions stand out by colour and shape.

    Args:
        rows: region, correlation, correlation_low, correlation_high, subjects.
        names: of the regions in words, in the order of the rows.
        marked: keys of regions.
    """
    places = list(range(len(rows)))
    strong = [region in marked for region in rows["region"]]
    texts = [
        f"<b>{name}</b>: {three(row.correlation)}<br>95 % CI {three(row.correlation_low)} to "
        f"{three(row.correlation_high)}<br>n = {int(row.subjects)} subjects"
        for name, row in zip(names, rows.itertuples(), strict=True)
    ]
    high, low = rows["correlation_high"] - rows["correlation"], rows["correlation"] - rows["correlation_low"]
    chart = Chart().add(
        x=rows["correlation"].tolist(), y=places, mode="markers", hovertext=texts, hoverinfo="text", cliponaxis=False,
        marker={
            "size": [11 if s else 8 for s in strong], "symbol": ["diamond" if s else "circle" for s in strong],
            "color": [palette.POSITIVE if s else palette.ACCENT for s in strong],
        },
        error_x={
            "symmetric": False, "array": high.fillna(0).clip(lower=0).tolist(), "width": 0, "thickness": 1.3,
            "arrayminus": low.fillna(0).clip(lower=0).tolist(), "color": palette.QUIET,
        },
    )  # fmt: skip
    said = [f"<b>{name}</b>" if s else name for name, s in zip(names, strong, strict=True)]
    chart.y(tickvals=places, ticktext=said, range=[len(places) - 0.4, -0.6], tickfont={"size": NAME})
    chart.x(
        title={"text": "correlation of relevance<br>and tissue volume", "font": {"size": NAME}}, range=[-1.04, 1.04],
        tickvals=[-1, -0.5, 0, 0.5, 1], **GRID,
    )  # fmt: skip
    return chart.line(x=0, **CHANCE).finish(plot=(24 if len(places) <= 24 else 19) * max(len(places), 1))
