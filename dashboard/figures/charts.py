"""Frames -> Plotly charts of a run's cohort and accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.figures import palette
from dashboard.figures.words import CLASSIFIERS, duration, mean_sd, percent, three

FAINT = "rgba(128, 140, 145, 0.22)"
METRIC_NAMES = {"accuracy": "Accuracy", "auc": "AUC"}
MARGINS = {"l": 0, "r": 8, "t": 28, "b": 0}


def finish(figure: go.Figure, height: int, **layout) -> go.Figure:
    """The look that all charts share: no grid, no box, no legend unless asked for."""
    options = {"showlegend": False, "margin": MARGINS, "hoverlabel": {"namelength": -1}} | layout
    figure.update_layout(height=height, paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", **options)
    figure.update_annotations(font_size=13)
    figure.update_xaxes(showgrid=False, zeroline=False, automargin=True, fixedrange=True)
    figure.update_yaxes(showgrid=False, zeroline=False, automargin=True, fixedrange=True)
    return figure


def accuracy(
    metrics: pd.DataFrame,
    summary: Mapping[tuple[str, str], tuple[float | None, float | None]],
    paper: Mapping[str, tuple[float, float]],
) -> go.Figure:
    """A dot a fold, mean and SD: the networks, the linear baselines and the paper, for accuracy and AUC.

    Args:
        metrics: classifier, metric, model, value of the folds.
        summary: (classifier, metric) -> mean, SD over the folds.
        paper: metric -> mean, SD.
    """
    found = list(metrics.classifier.unique())
    classifiers = [c for c in CLASSIFIERS if c in found] + [c for c in found if c not in CLASSIFIERS]
    rows = [*classifiers, "paper"]
    figure = make_subplots(1, 2, shared_yaxes=True, subplot_titles=list(METRIC_NAMES.values()), horizontal_spacing=0.06)
    for column, metric in enumerate(METRIC_NAMES, 1):
        for place, row in enumerate(rows):
            mean, sd = paper[metric] if row == "paper" else summary.get((row, metric), (None, None))
            values = metrics[(metrics.classifier == row) & (metrics.metric == metric)]
            for trace in _accuracy_row(row, place, values, mean, sd):
                figure.add_trace(trace, 1, column)
        figure.add_vline(0.5, line={"color": palette.QUIET, "width": 1, "dash": "dot"}, row=1, col=column)
    names = [*(CLASSIFIERS.get(c, c) for c in classifiers), "Rieke 2018 (ADNI)"]
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=names, range=[len(rows) - 0.4, -0.75], ticks="")
    low = min([0.45, *metrics.value[metrics.metric.isin(METRIC_NAMES)].dropna()])
    figure.update_xaxes(
        range=[low - 0.04, 1.03], tickformat=".1f", dtick=0.2, tick0=0, tickangle=0, ticks="outside", tickcolor=FAINT
    )
    return finish(figure, 96 + 54 * len(rows))


def _accuracy_row(row: str, place: int, values: pd.DataFrame, mean: float | None, sd: float | None) -> list[go.Scatter]:
    """Fold dots, and the mean with its whisker and its number above it."""
    colour = {"cnn": palette.ACCENT, "paper": palette.QUIET}.get(row, "#A68A3C")
    dots = go.Scatter(
        x=values.value, y=[place] * len(values), mode="markers", customdata=values.model,
        marker={"size": 8, "color": palette.faint(colour, 0.45)},
        hovertemplate="%{customdata}: %{x:.3f}<extra></extra>",
    )  # fmt: skip
    if mean is None:
        return [dots]
    spread = 0 if sd is None or not np.isfinite(sd) else sd
    point = go.Scatter(
        x=[mean], y=[place], mode="markers+text", text=[mean_sd(mean, sd)], textposition=_beside(mean),
        marker={"size": 11, "color": colour, "symbol": "diamond-open" if row == "paper" else "diamond"},
        error_x={"array": [spread], "color": colour, "thickness": 1.6, "width": 5}, cliponaxis=False,
        hovertemplate=f"mean ± SD over folds: {mean_sd(mean, sd)}<extra></extra>",
    )  # fmt: skip
    return [dots, point]


def _beside(value: float) -> str:
    """Where the number of a dot between 0.5 and 1 stands, so that it stays within the chart."""
    return "top left" if value > 0.9 else "top right" if value < 0.6 else "top center"


def roc(curves: pd.DataFrame, band: pd.DataFrame | None = None) -> go.Figure:
    """A thick line for all out-of-fold predictions together (or the held-out model); mean ± SD of the folds behind it.

    Args:
        curves: the curves table.
        band: x, mean, low, high over the folds.
    """
    figure = _with_diagonal()
    if band is not None:
        figure.add_scatter(
            x=[*band["x"], *band["x"][::-1]], y=[*band["high"], *band["low"][::-1]], mode="none", fill="toself",
            fillcolor=palette.faint(palette.ACCENT, 0.22), hoverinfo="skip", name="± SD of the folds",
        )  # fmt: skip
        figure.add_scatter(
            x=band["x"], y=band["mean"], mode="lines", name="mean of the folds", hovertemplate="%{x:.2f}, %{y:.2f}",
            line={"color": palette.ACCENT, "width": 1.2, "dash": "dash"},
        )  # fmt: skip
    rows = curves[curves.curve == "roc"].sort_values(["model", "point"])
    main = "folds" if (rows.model == "folds").any() else "holdout"
    line = rows[rows.model == main]
    figure.add_scatter(
        x=line.x, y=line.y, mode="lines", name="all folds together" if main == "folds" else "held-out",
        line={"color": palette.ACCENT, "width": 2.6}, hovertemplate="%{x:.2f}, %{y:.2f}",
    )  # fmt: skip
    return _square(figure, "1 − specificity", "sensitivity")


def calibration(bins: pd.DataFrame, positive: str) -> go.Figure:
    """Observed against predicted share of the positive group with its interval; the area of a dot: number of scans.

    Args:
        bins: x, y, low, high, scans.
    """
    figure = _with_diagonal()
    scans = bins["scans"].astype(float)
    figure.add_scatter(
        x=bins["x"], y=bins["y"], mode="markers", cliponaxis=False, customdata=bins[["scans", "low", "high"]],
        error_y={"array": bins["high"] - bins["y"], "arrayminus": bins["y"] - bins["low"], "symmetric": False,
                 "thickness": 1, "width": 0, "color": palette.faint(palette.ACCENT, 0.7)},
        marker={"color": palette.faint(palette.ACCENT, 0.75), "size": scans, "sizemode": "area", "sizemin": 3,
                "sizeref": 2 * scans.max() / 22**2 if len(scans) else 1, "line": {"width": 0}},
        hovertemplate="predicted %{x:.2f}, observed %{y:.2f}<br>95 % CI %{customdata[1]:.2f} to %{customdata[2]:.2f}"
        "<br>n = %{customdata[0]:.0f} scans<extra></extra>",
    )  # fmt: skip
    return _square(figure, f"predicted p({positive})", f"observed share of {positive}")


def _with_diagonal() -> go.Figure:
    """A figure with the dotted line from (0, 0) to (1, 1)."""
    line = {"color": palette.QUIET, "width": 1, "dash": "dot"}
    return go.Figure(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, hoverinfo="skip"))


def _square(figure: go.Figure, across: str, upwards: str) -> go.Figure:
    """Both axes from 0 to 1 in one scale."""
    figure.update_xaxes(title=across, range=[-0.01, 1.02], dtick=0.5, constrain="domain")
    figure.update_yaxes(title=upwards, range=[-0.01, 1.02], dtick=0.5, scaleanchor="x", constrain="domain")
    return finish(figure, 300)


def learning(training: pd.DataFrame, models: Sequence[str]) -> go.Figure:
    """Loss and accuracy by epoch: training solid, test dashed, one line a model."""
    figure = make_subplots(1, 2, subplot_titles=["Cross-entropy", "Accuracy"], horizontal_spacing=0.12)
    columns = {("loss", "test_loss"): 1, ("accuracy", "test_accuracy"): 2}
    styles = {0: ("training", palette.QUIET, "solid"), 1: ("test", palette.ACCENT, "dash")}
    for (names, column), model in ((item, model) for item in columns.items() for model in models):
        rows = training[training.model == model].sort_values("epoch")
        for i, name in enumerate(names):
            words, colour, dash = styles[i]
            figure.add_scatter(
                x=rows.epoch, y=rows[name], mode="lines", row=1, col=column, name=words, legendgroup=words,
                showlegend=column == 1 and model == models[0], line={"color": colour, "width": 1.6, "dash": dash},
                hovertemplate=f"{model}, {words}, epoch %{{x}}: %{{y:.3f}}<extra></extra>",
            )  # fmt: skip
    figure.update_xaxes(title="epoch")
    if len(training) and training.epoch.max() <= 10:
        figure.update_xaxes(dtick=1)
    legend = {"orientation": "h", "y": -0.28, "x": 0, "title": None}
    figure = finish(figure, 300, showlegend=True, legend=legend)
    return figure.update_yaxes(showgrid=True, gridcolor=FAINT)


def confusion(counts: np.ndarray, groups: Sequence[str], *, links: bool = False) -> go.Figure:
    """Scans by true (row) and predicted (column) group, with the share of the true group.

    Args:
        links: a click on a cell with scans gives its row and column.
    """
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    names = [f"{g}<br>n = {t}" for g, t in zip(groups, totals[:, 0], strict=True)]
    figure = go.Figure(go.Heatmap(
        z=shares, x=list(groups), y=names, zmin=0, zmax=1, showscale=False, xgap=3, ygap=3, hoverinfo="skip",
        colorscale=[[0, palette.faint(palette.ACCENT, 0.1)], [1, palette.faint(palette.ACCENT, 0.65)]],
    ))  # fmt: skip
    for (i, j), number in np.ndenumerate(counts):
        text = f"<b>{number}</b><br>{percent(shares[i, j])}"
        figure.add_annotation(x=groups[j], y=names[i], text=text, showarrow=False)
    if links:
        figure.add_trace(_cell_links(counts, groups, names))
    figure.update_xaxes(title="predicted", side="bottom", ticks="")
    figure.update_yaxes(title="true", autorange="reversed", ticks="")
    return finish(figure, 300)


def _cell_links(counts: np.ndarray, groups: Sequence[str], names: Sequence[str]) -> go.Scatter:
    """Unseen squares over the cells: a heatmap itself does not answer clicks."""
    full = [cell for cell, number in np.ndenumerate(counts) if number]
    texts = [f"{groups[i]} predicted {groups[j]}, {counts[i, j]}<br>Click: open these patients" for i, j in full]
    return go.Scatter(
        x=[groups[j] for _, j in full], y=[names[i] for i, _ in full], mode="markers", customdata=full,
        marker={"symbol": "square", "size": 84, "opacity": 0}, hovertext=texts, hoverinfo="text",
        selected={"marker": {"opacity": 0}}, unselected={"marker": {"opacity": 0}}, cliponaxis=False,
    )  # fmt: skip


def ages(scans: pd.DataFrame, diagnoses: Sequence[str], groups: Sequence[str]) -> go.Figure:
    """Subjects by age, one outline a group."""
    people = scans.drop_duplicates(["subject", "diagnosis"]).dropna(subset=["age"])
    figure = go.Figure()
    if len(people):
        edges = np.arange(5 * np.floor(people.age.min() / 5), people.age.max() + 5.001, 5)
        for dash, diagnosis in zip(("solid", "dash", "dot", "dashdot") * len(diagnoses), diagnoses, strict=False):
            values = people.age[people.diagnosis == diagnosis]
            heights = np.histogram(values, edges)[0]
            colour = palette.group_colour(diagnosis, groups)
            figure.add_scatter(
                x=np.append(edges, edges[-1]), y=[*heights, heights[-1], 0], mode="lines", 
                name=f"{diagnosis}, n = {len(values)}",
                line={"shape": "hv", "color": colour, "dash": dash}, fill="tozeroy",
                fillcolor=palette.faint(colour, 0.12),
                hovertemplate="%{y} subjects",
            )  # fmt: skip
    figure.update_xaxes(title="age in years")
    figure.update_yaxes(title="subjects", rangemode="tozero")
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "title": None}
    return finish(figure, 230, showlegend=True, legend=legend).update_yaxes(showgrid=True, gridcolor=FAINT)


def top_regions(regions: pd.DataFrame, colour: str, groups: Sequence[str], top: float) -> go.Figure:
    """Ranked bars of the positive group with the name above each; a tick where the negative group stands.

    Args:
        regions: region, positive, negative in percent, the first at the top.
        top: end of the axis in percent, to share one scale between methods.
    """
    places = np.arange(len(regions))
    figure = go.Figure()
    figure.add_bar(
        x=regions.positive, y=places, orientation="h", width=0.3, marker={"color": palette.faint(colour, 0.85)},
        customdata=regions.region, hovertemplate=f"%{{customdata}}, {groups[0]}: %{{x:.3g}} %<extra></extra>",
    )  # fmt: skip
    for width, tick in ((6.5, "#FFFFFF"), (3, palette.NEGATIVE)):  # the white rim shows the tick on any bar
        figure.add_scatter(
            x=regions.negative, y=places, mode="markers", customdata=regions.region, cliponaxis=False,
            marker={"symbol": "line-ns", "size": 7 if width == 3 else 8, "line": {"width": width, "color": tick}},
            hovertemplate=f"%{{customdata}}, {groups[1]}: %{{x:.3g}} %<extra></extra>",
        )  # fmt: skip
    texts = []
    for place, row in zip(places, regions.itertuples(), strict=True):
        common = {"y": place - 0.36, "showarrow": False, "yanchor": "middle"}
        texts.append({"x": 0, "xanchor": "left", "text": row.region, "xshift": -2, **common})
        texts.append({"x": top, "xanchor": "right", "text": f"{three(row.positive)} %", **common})
    figure.update_layout(annotations=texts)  # at once: one after the other takes plotly ten times as long
    figure.update_xaxes(range=[0, top], visible=False)
    figure.update_yaxes(range=[len(regions) - 0.6, -0.75], visible=False)
    return finish(figure, 20 + 34 * max(len(regions), 1), margin={"l": 2, "r": 2, "t": 2, "b": 2}, bargap=0)


def timings(seconds: Mapping[str, float]) -> go.Figure:
    """Time of each stage, in the order of the pipeline, with its duration written beside it."""
    names, values = list(seconds), [float(v) for v in seconds.values()]
    figure = go.Figure(go.Bar(
        x=values, y=names, orientation="h", marker={"color": palette.faint(palette.ACCENT, 0.85)}, width=0.5,
        text=[duration(v) for v in values], textposition="outside", cliponaxis=False, hoverinfo="skip",
    ))  # fmt: skip
    figure.update_xaxes(visible=False, range=[0, 1.25 * max([*values, 1e-9])])
    figure.update_yaxes(autorange="reversed", ticks="")
    return finish(figure, 30 + 30 * max(len(values), 1), margin={"l": 0, "r": 8, "t": 4, "b": 4})
