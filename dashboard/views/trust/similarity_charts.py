"""Frames -> Plotly charts of what heatmaps share: with maps of a network that forgets, and between networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from dashboard.drawing import palette
from dashboard.drawing.chart import GRID, Chart
from dashboard.text.formatting import method_name
from dashboard.views.trust.charts import CHANCE, LABEL, NAME, bare_name

STRIP = [[0, palette.faint(palette.ACCENT, 0.0)], [1, palette.faint(palette.ACCENT, 0.75)]]
CELL = 26  # pixels of a row of a matrix


def strip(table: pd.DataFrame, methods: Sequence[str], low: float) -> Chart:
    """Draw how alike maps stay, one row a method, one column a layer more drawn anew; strong colour: alike.

    The last column is of networks trained on labels that were dealt out anew, where the run has them.

    Args:
        table: method, kind, step, layer, value, reference of one measure.
        low: lower end of the colours; 1 is the upper one.
    """
    cascade = table[table["kind"] == "cascade"]
    steps = sorted(cascade["step"].unique())
    layers = cascade.drop_duplicates("step").set_index("step")["layer"]
    wide = cascade.pivot_table(index="method", columns="step", values="value").reindex(list(methods))
    z: list[list[float | None]] = [[float(value) for value in wide.loc[method, steps]] for method in methods]
    names = [str(step) for step in steps]
    said = [[f"{step} layers drawn anew, up to {layers[step]}" for step in steps] for _ in methods]
    shuffled = table[table["kind"] == "shuffled_labels"].drop_duplicates("method").set_index("method")["value"]
    if len(shuffled):
        z = [[*row, None, float(shuffled.get(method, float("nan")))] for method, row in zip(methods, z, strict=True)]
        names += ["", "labels"]
        said = [[*row, "", "trained on labels dealt out anew"] for row in said]
    chart = Chart().add(
        type="heatmap", z=z, zmin=low, zmax=1, colorscale=STRIP, showscale=False, xgap=2, ygap=2, hoverongaps=False,
        customdata=said, text=[[method_name(method)] * len(names) for method in methods],
        hovertemplate="%{text}<br>%{customdata}: %{z:.3f}<extra></extra>",
    )  # fmt: skip
    cells = [(i, j, value) for i, row in enumerate(z) for j, value in enumerate(row) if value == value and value]
    chart.add(
        x=[j for _, j, _ in cells], y=[i for i, _, _ in cells], mode="text", hoverinfo="skip",
        text=[_short(value) for *_, value in cells], textfont={"size": 10},
    )  # fmt: skip
    common = {"tickfont": {"size": LABEL}}
    chart.x(
        tickvals=list(range(len(names))), ticktext=names, side="top", range=[-0.5, len(names) - 0.5],
        title={"text": "layers drawn anew, from the output on", "font": {"size": LABEL}}, **common,
    ).y(
        tickvals=list(range(len(methods))), ticktext=[bare_name(m) for m in methods],
        range=[len(methods) - 0.5, -0.5], tickfont={"size": NAME},
    )  # fmt: skip
    return chart.finish(plot=CELL * max(len(methods), 1))


def _short(value: float) -> str:
    """Write two decimals without the 0 before them: .46, −.05, 1."""
    text = f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 0.995 else f"{value:.0f}"
    return text.replace("-", "−")


def cascade(rows: pd.DataFrame, method: str) -> Chart:
    """Draw the similarity of one method against the layers drawn anew, its interval as a band, and its reference.

    Args:
        rows: kind, step, layer, value, value_low, value_high, reference of one method and measure.
    """
    own = rows[rows["kind"] == "cascade"].sort_values("step")
    colour, x = palette.method_colour(method), own["step"].tolist()
    band = [*own["value_high"], *own["value_low"][::-1]]
    chart = Chart()
    chart.add(
        x=[*x, *x[::-1]], y=band, mode="lines", fill="toself", hoverinfo="skip", line={"width": 0, "color": colour},
        fillcolor=palette.faint(colour, 0.16), showlegend=False,
    )  # fmt: skip
    chart.add(
        x=x, y=own["value"].tolist(), mode="lines+markers", line={"color": colour, "width": 2}, marker={"size": 7},
        customdata=own["layer"].tolist(), hovertemplate="%{x} layers, up to %{customdata}: %{y:.3f}<extra></extra>",
    )  # fmt: skip
    shuffled = rows[rows["kind"] == "shuffled_labels"]
    ticks, texts = x, [str(step) for step in x]
    if len(shuffled):
        one, at = shuffled.iloc[0], max(x, default=0) + 1
        chart.add(
            x=[at], y=[one["value"]], mode="markers", marker={"size": 9, "symbol": "diamond", "color": colour},
            error_y=_whisker(one), hovertemplate="labels dealt out anew: %{y:.3f}<extra></extra>",
        )  # fmt: skip
        ticks, texts = [*x, at], [*texts, "labels"]
    reference = own["reference"].dropna()
    if len(reference):
        chart.line(y=float(reference.iloc[0]), **CHANCE)
        chart.annotate(
            x=0, xref="x domain", xanchor="left", y=float(reference.iloc[0]), yanchor="bottom",
            text="maps of different scans", font={"size": LABEL, "color": palette.QUIET},
        )  # fmt: skip
    chart.x(tickvals=ticks, ticktext=texts, title="layers drawn anew, from the output on")
    values = rows[["value_low", "value_high", "value", "reference"]].to_numpy(float)
    low = float(pd.Series(values.ravel()).min()) if values.size else 0.0
    chart.y(title="similarity to the map before", range=[min(low, 0.0) - 0.05, 1.05], **GRID)
    return chart.finish(330)


def _whisker(row: pd.Series) -> dict[str, Any]:
    return {
        "symmetric": False, "array": [max(row["value_high"] - row["value"], 0)],
        "arrayminus": [max(row["value"] - row["value_low"], 0)], "thickness": 1.3, "width": 4,
        "color": palette.QUIET,
    }  # fmt: skip


def networks(values: pd.DataFrame, low: float, high: float) -> Chart:
    """Draw networks against networks, how alike their maps of the same scans are; the diagonal is empty.

    Args:
        values: (networks, networks), symmetric; NaN is an empty cell.
        low, high: ends of the colours.
    """
    names, size = list(values.columns), len(values)
    z: list[list[float | None]] = [
        [None if i == j else float(values.iloc[i, j]) for j in range(size)] for i in range(size)
    ]
    chart = Chart().add(
        type="heatmap", z=z, zmin=low, zmax=high, colorscale=STRIP, showscale=False, xgap=3, ygap=3,
        hoverongaps=False, customdata=[[f"{a} – {b}" for b in names] for a in names],
        hovertemplate="%{customdata}: %{z:.3f}<extra></extra>",
    )  # fmt: skip
    cells = [(i, j, v) for i, row in enumerate(z) for j, v in enumerate(row) if v is not None and v == v]
    chart.add(
        x=[j for _, j, _ in cells], y=[i for i, _, _ in cells], mode="text", hoverinfo="skip",
        text=[f"{value:.2f}".replace("-", "−") for *_, value in cells], textfont={"size": 12 if size <= 6 else 10},
    )  # fmt: skip
    edges = [-0.5, size - 0.5]
    common = {"tickvals": list(range(size)), "tickfont": {"size": LABEL}}
    chart.x(ticktext=[str(number) for number in range(1, size + 1)], side="top", range=edges, **common)
    chart.y(ticktext=[f"{number}: {name}" for number, name in enumerate(names, 1)], range=edges[::-1], **common)
    return chart.finish(plot=44 * max(size, 1))
