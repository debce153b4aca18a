"""Frames -> Plotly charts of a run's cohort and accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dashboard.drawing import palette
from dashboard.drawing.chart import FAINT, GRID, Chart
from dashboard.text.formatting import CLASSIFIERS, duration, mean_sd, percent, three
from dashboard.text.region_names import within

METRIC_NAMES = {"accuracy": "Accuracy", "auc": "AUC"}
LEARNT = {"Cross-entropy": "loss", "Accuracy": "accuracy"}
NAME_LETTERS = 28  # that stand beside a number in a quarter of the page
CHANCE: dict[str, Any] = {"color": palette.QUIET, "width": 1, "dash": "dot"}


def accuracy(
    metrics: pd.DataFrame,
    summary: Mapping[tuple[str, str], tuple[float | None, float | None]],
    paper: Mapping[str, tuple[float, float]],
    shown: Sequence[str] = tuple(METRIC_NAMES),
) -> Chart:
    """Draw a dot a fold, mean and SD: the networks, the linear baselines and the paper, for accuracy and AUC.

    Args:
        metrics: classifier, metric, model, value of the folds.
        summary: (classifier, metric) -> mean, SD over the folds.
        paper: metric -> mean, SD.
        shown: metrics, a column each.
    """
    found = list(metrics.classifier.unique())
    classifiers = [c for c in CLASSIFIERS if c in found] + [c for c in found if c not in CLASSIFIERS]
    rows = [*classifiers, "paper"]
    chart = Chart(len(shown))
    for column, metric in enumerate(shown, 1):
        for place, row in enumerate(rows):
            mean, sd = paper[metric] if row == "paper" else summary.get((row, metric), (None, None))
            values = metrics[(metrics.classifier == row) & (metrics.metric == metric)]
            for trace in folds_row(row, place, values, mean, sd, _beside(mean)):
                chart.add(column, **trace)
        chart.line(column, x=0.5, **CHANCE)
    names = [*(CLASSIFIERS.get(c, c) for c in classifiers), "Rieke 2018 (ADNI)"]
    chart.y(tickvals=list(range(len(rows))), ticktext=names, range=[len(rows) - 0.4, -0.75])
    low = min([0.45, *metrics.value[metrics.metric.isin(METRIC_NAMES)].dropna()])
    chart.x(range=[low - 0.04, 1.03], tickformat=".1f", dtick=0.2, tick0=0, ticks="outside", tickcolor=FAINT)
    return chart.column_titles([METRIC_NAMES[metric] for metric in shown]).finish(96 + 54 * len(rows))


def folds_row(
    row: str, place: int, values: pd.DataFrame, mean: float | None, sd: float | None, beside: str
) -> list[dict[str, Any]]:
    """Draw fold dots, and the mean with its whisker and its number above it.

    Args:
        beside: where the number stands.
    """
    colour = {"cnn": palette.ACCENT, "paper": palette.QUIET}.get(row, "#A68A3C")
    dots = {
        "x": values.value, "y": [place] * len(values), "mode": "markers", "customdata": values.model,
        "marker": {"size": 8, "color": palette.faint(colour, 0.45)},
        "hovertemplate": "%{customdata}: %{x:.3f}<extra></extra>",
    }  # fmt: skip
    if mean is None:
        return [dots]
    spread = 0 if sd is None or not np.isfinite(sd) else sd
    point = {
        "x": [mean], "y": [place], "mode": "markers+text", "text": [mean_sd(mean, sd)], "textposition": beside,
        "marker": {"size": 11, "color": colour, "symbol": "diamond-open" if row == "paper" else "diamond"},
        "error_x": {"array": [spread], "color": colour, "thickness": 1.6, "width": 5}, "cliponaxis": False,
        "hovertemplate": f"mean ± SD over folds: {mean_sd(mean, sd)}<extra></extra>",
    }  # fmt: skip
    return [dots, point]


def _beside(value: float | None) -> str:
    """Return where the number of a dot between 0.5 and 1 stands, so that it stays within the chart."""
    value = 0.75 if value is None else value
    return "top left" if value > 0.9 else "top right" if value < 0.6 else "top center"


def roc(curves: pd.DataFrame, band: pd.DataFrame | None = None) -> Chart:
    """Draw a thick line for all out-of-fold predictions together (or the held-out model), over mean ± SD of the folds.

    Args:
        curves: the curves table.
        band: x, mean, low, high over the folds.
    """
    chart = _with_diagonal()
    if band is not None:
        chart.add(
            x=[*band["x"], *band["x"][::-1]], y=[*band["high"], *band["low"][::-1]], mode="none", fill="toself",
            fillcolor=palette.faint(palette.ACCENT, 0.22), hoverinfo="skip", name="± SD of the folds",
        )  # fmt: skip
        chart.add(
            x=band["x"], y=band["mean"], mode="lines", name="mean of the folds", hovertemplate="%{x:.2f}, %{y:.2f}",
            line={"color": palette.ACCENT, "width": 1.2, "dash": "dash"},
        )  # fmt: skip
    rows = curves[curves.curve == "roc"].sort_values(["model", "point"])
    main = "folds" if (rows.model == "folds").any() else "holdout"
    line = rows[rows.model == main]
    chart.add(
        x=line.x, y=line.y, mode="lines", name="all folds together" if main == "folds" else "held-out",
        line={"color": palette.ACCENT, "width": 2.6}, hovertemplate="%{x:.2f}, %{y:.2f}",
    )  # fmt: skip
    return _square(chart, "1 − specificity", "sensitivity")


def calibration(bins: pd.DataFrame, positive: str) -> Chart:
    """Draw the observed against the predicted share of the positive group; the area of a dot is its number of scans.

    Args:
        bins: x, y, low, high, scans.
    """
    chart = _with_diagonal()
    scans = bins["scans"].astype(float)
    chart.add(
        x=bins["x"], y=bins["y"], mode="markers", cliponaxis=False,
        customdata=bins[["scans", "low", "high"]].to_numpy(float),
        error_y={"array": bins["high"] - bins["y"], "arrayminus": bins["y"] - bins["low"], "symmetric": False,
                 "thickness": 1, "width": 0, "color": palette.faint(palette.ACCENT, 0.7)},
        marker={"color": palette.faint(palette.ACCENT, 0.75), "size": scans, "sizemode": "area", "sizemin": 3,
                "sizeref": 2 * scans.max() / 22**2 if len(scans) else 1, "line": {"width": 0}},
        hovertemplate="predicted %{x:.2f}, observed %{y:.2f}<br>95 % CI %{customdata[1]:.2f} to %{customdata[2]:.2f}"
        "<br>n = %{customdata[0]:.0f} scans<extra></extra>",
    )  # fmt: skip
    return _square(chart, f"predicted p({positive})", f"observed share of {positive}")


def _with_diagonal() -> Chart:
    """Return a chart with the dotted line from (0, 0) to (1, 1)."""
    return Chart().add(x=[0, 1], y=[0, 1], mode="lines", line=CHANCE, hoverinfo="skip")


def _square(chart: Chart, across: str, upwards: str) -> Chart:
    """Let both axes go from 0 to 1 in one scale."""
    common = {"range": [-0.01, 1.02], "tickvals": [0, 0.5, 1], "ticktext": ["0", "0.5", "1"], "constrain": "domain"}
    return chart.x(title=across, **common).y(title=upwards, scaleanchor="x", **common).finish(300)


def learning(training: pd.DataFrame, models: Sequence[str], learnt: Mapping[str, str] = LEARNT) -> Chart:
    """Draw loss and accuracy by epoch: training solid, test dashed, one line a model.

    Args:
        learnt: title of each column of the chart -> column of the training table.
    """
    chart = Chart(len(learnt), gap=0.12, own_y=True).column_titles(learnt)
    columns = {(name, f"test_{name}"): number for number, name in enumerate(learnt.values(), 1)}
    styles = {0: ("training", palette.QUIET, "solid"), 1: ("test", palette.ACCENT, "dash")}
    for (names, column), model in ((item, model) for item in columns.items() for model in models):
        rows = training[training.model == model].sort_values("epoch")
        for i, name in enumerate(names):
            words, colour, dash = styles[i]
            chart.add(
                column, x=rows.epoch, y=rows[name], mode="lines", name=words, legendgroup=words,
                showlegend=column == 1 and model == models[0], line={"color": colour, "width": 1.6, "dash": dash},
                hovertemplate=f"{model}, {words}, epoch %{{x}}: %{{y:.3f}}<extra></extra>",
            )  # fmt: skip
    chart.x(title="epoch", **({"dtick": 1} if len(training) and training.epoch.max() <= 10 else {}))
    return chart.y(**GRID).finish(312, legend="below")


def confusion(counts: np.ndarray, groups: Sequence[str], *, links: bool = False) -> Chart:
    """Draw scans by true (row) and predicted (column) group, with the share of the true group.

    Args:
        links: a click on a cell with scans gives its row and column.
    """
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    names = [f"{g}<br>n = {t}" for g, t in zip(groups, totals[:, 0], strict=True)]
    chart = Chart().add(
        type="heatmap", z=shares, x=list(groups), y=names, zmin=0, zmax=1, showscale=False, xgap=3, ygap=3,
        colorscale=[[0, palette.faint(palette.ACCENT, 0.1)], [1, palette.faint(palette.ACCENT, 0.65)]],
        hoverinfo="skip",
    )  # fmt: skip
    for (i, j), number in np.ndenumerate(counts):
        chart.annotate(x=groups[j], y=names[i], text=f"<b>{number}</b><br>{percent(shares[i, j])}")
    if links:
        chart.add(**_cell_links(counts, groups, names))
    chart.x(title="predicted").y(title="true", autorange="reversed", tickvals=names, ticktext=names)
    return chart.finish(300)


def _cell_links(counts: np.ndarray, groups: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """Put unseen squares over the cells: a heatmap itself does not answer clicks."""
    full = [cell for cell, number in np.ndenumerate(counts) if number]
    texts = [f"{groups[i]} predicted {groups[j]}, {counts[i, j]}<br>Click: open these patients" for i, j in full]
    return {
        "x": [groups[j] for _, j in full], "y": [names[i] for i, _ in full], "mode": "markers", "customdata": full,
        "marker": {"symbol": "square", "size": 84, "opacity": 0}, "hovertext": texts, "hoverinfo": "text",
        "cliponaxis": False,
    }  # fmt: skip


def ages(scans: pd.DataFrame, diagnoses: Sequence[str], groups: Sequence[str]) -> Chart:
    """Draw subjects by age, one outline a group."""
    people = scans.drop_duplicates(["subject", "diagnosis"]).dropna(subset=["age"])
    chart = Chart()
    if len(people):
        edges = np.arange(5 * np.floor(people.age.min() / 5), people.age.max() + 5.001, 5)
        for dash, diagnosis in zip(("solid", "dash", "dot", "dashdot") * len(diagnoses), diagnoses, strict=False):
            values = people.age[people.diagnosis == diagnosis]
            heights = np.histogram(values, edges)[0]
            colour = palette.group_colour(diagnosis, groups)
            chart.add(
                x=np.append(edges, edges[-1]), y=[*heights, heights[-1], 0], mode="lines",
                name=f"{diagnosis}, n = {len(values)}",
                line={"shape": "hv", "color": colour, "dash": dash}, fill="tozeroy",
                fillcolor=palette.faint(colour, 0.12),
                hovertemplate="%{y} subjects",
            )  # fmt: skip
    chart.x(title="age in years").y(title="subjects", rangemode="tozero", **GRID)
    return chart.finish(230, legend="above")


def top_regions(regions: pd.DataFrame, colour: str, groups: Sequence[str], top: float) -> Chart:
    """Draw ranked bars of the positive group, the name above each, with a tick where the negative group stands.

    Args:
        regions: region, positive, negative in percent, the first at the top.
        top: end of the axis in percent, to share one scale between methods.
    """
    places = np.arange(len(regions))
    chart = Chart()
    chart.add(
        type="bar", x=regions.positive, y=places, orientation="h", width=0.3, customdata=regions.region,
        marker={"color": palette.faint(colour, 0.85)},
        hovertemplate=f"%{{customdata}}, {groups[0]}: %{{x:.3g}} %<extra></extra>",
    )  # fmt: skip
    for width, tick in ((6.5, "#FFFFFF"), (3, palette.NEGATIVE)):  # the white rim shows the tick on any bar
        chart.add(
            x=regions.negative, y=places, mode="markers", customdata=regions.region, cliponaxis=False,
            marker={"symbol": "line-ns", "size": 7 if width == 3 else 8, "line": {"width": width, "color": tick}},
            hovertemplate=f"%{{customdata}}, {groups[1]}: %{{x:.3g}} %<extra></extra>",
        )  # fmt: skip
    for place, row in zip(places, regions.itertuples(), strict=True):
        common = {"y": place - 0.36, "yanchor": "middle"}
        chart.annotate(x=0, xanchor="left", text=within(row.region, NAME_LETTERS), xshift=-2, **common)
        chart.annotate(x=top, xanchor="right", text=f"{three(row.positive)} %", **common)
    chart.x(range=[0, top], visible=False).y(range=[len(regions) - 0.6, -0.75], visible=False)
    return chart.finish(20 + 34 * max(len(regions), 1), margin={"l": 2, "r": 2, "t": 2, "b": 2}, bargap=0)


def timings(seconds: Mapping[str, float]) -> Chart:
    """Draw the time of each stage, in the order of the pipeline, with its duration written beside it."""
    names, values = list(seconds), [float(v) for v in seconds.values()]
    chart = Chart().add(
        type="bar", x=values, y=names, orientation="h", marker={"color": palette.faint(palette.ACCENT, 0.85)},
        width=0.5, text=[duration(v) for v in values], textposition="outside", cliponaxis=False, hoverinfo="skip",
    )  # fmt: skip
    chart.x(visible=False, range=[0, 1.45 * max([*values, 1e-9])])
    chart.y(autorange="reversed", tickvals=names, ticktext=names)
    return chart.finish(30 + 30 * max(len(values), 1), margin={"t": 4})
