"""The figure of the paper: group averages of each method on coronal slices, as PNG or SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from store.errors import NoRelevanceError, NotInRunError
from store.export.nifti import (
    DISCLAIMER,
    METHOD_TITLES,
    average_of_group,
    file_name,
    group_families,
    paper_model_set,
    paper_statistic,
)
from store.export.sidecar import lines_of
from store.files.atomic import write_bytes
from store.keys import GroupKey
from store.reading.reader import RunReader
from store.reading.settings import AnalysisSettings, average_scale, evidence, scale_words
from store.reading.verdict import verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER_SLICES = (80, 114, 149)  # coronal, of 229 at 1 mm
PAPER_LENGTH = 229


@dataclass(frozen=True)
class Panel:
    """One row of the figure: a method, its maps of both groups on the 1 mm slices, and the range of its colours.

    `missing`: group -> why it has no map.
    """

    method: str
    overlays: dict[str, list[np.ndarray]]
    low: float
    high: float
    counts: dict[str, tuple[int, int]]
    scale: str
    missing: dict[str, str]


def figure_one(
    run: RunReader, *, model_set: str | None = None, target: str | None = None, percentile: float = 70.0,
    methods: Sequence[str] | None = None, kind: str = "png",
) -> bytes:  # fmt: skip
    """Draw a picture like figure 1 of Rieke et al. 2018: group averages of each method on three coronal slices.

    Args:
        model_set: the holdout (as in the paper) where the run has it, else the folds.
        target: whose evidence is shown: true, predicted, or a group; None: as in the run's settings.
        percentile: of the relevance in the brain, below which nothing is drawn.
        methods: rows; all that the model set has if None.
        kind: png or svg.
    Raises:
        NotInRunError: the model set has no group maps.
    """
    model_set, target = model_set or paper_model_set(run), target or AnalysisSettings.of(run).target
    rows = [m for s, m in group_families(run) if s == model_set and (methods is None or m in methods)]
    if not rows:
        raise NotInRunError(f"run {run.run_id} has no group maps for model set {model_set}")
    slices = coronal_slices(run.shape("template")[1])
    panels = [_panel(run, model_set, method, target, slices, percentile) for method in rows]
    return _draw(run, model_set, target, slices, panels, kind)


def coronal_slices(length: int) -> list[int]:
    """Return the slices of the paper in a brain of `length` voxels from back to front."""
    return [min(round(s * length / PAPER_LENGTH), length - 1) for s in PAPER_SLICES]


def coronal(run: RunReader, values: np.ndarray, y: int, *, smooth: bool) -> np.ndarray:
    """Cut slice `y`, (x, z), of the 1 mm grid from a map on the working grid, linear or nearest; 0 beyond it."""
    to_grid = np.linalg.inv(run.affine("grid/mask")) @ run.affine("template")
    nx, _, nz = run.shape("template")
    lines = [np.arange(nx), np.array([y]), np.arange(nz)]
    for axis, voxels in enumerate(lines):
        places = to_grid[axis, axis] * voxels + to_grid[axis, 3]
        values = _resample(values, places, axis, smooth)
    plane = values[:, 0, :]
    plane[run.array("mask")[:, y, :] == 0] = 0
    return plane


def _resample(values: np.ndarray, places: np.ndarray, axis: int, smooth: bool) -> np.ndarray:
    """Interpolate values at fractional places along one axis; places beyond the ends take the last value."""
    places = np.clip(places, 0, values.shape[axis] - 1)
    if not smooth:
        return np.take(values, np.floor(places + 0.5).astype(int), axis=axis)
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, values.shape[axis] - 1)
    share = (places - low).reshape([-1 if a == axis else 1 for a in range(3)])
    return np.take(values, low, axis=axis) * (1 - share) + np.take(values, high, axis=axis) * share


def _panel(run: RunReader, model_set: str, method: str, target: str, slices: list[int], percentile: float) -> Panel:
    statistic, scale = paper_statistic(run, model_set, method), average_scale(run, model_set, method)
    overlays: dict[str, list[np.ndarray]] = {}
    counts, inside, missing = {}, [], {}
    for group in run.groups:
        try:
            found = average_of_group(run, GroupKey(model_set, method, target, scale), group, statistic)
        except NoRelevanceError:
            missing[group] = "no relevance"
            continue
        except NotInRunError:
            missing[group] = "no scans"
            continue
        values = getattr(found, statistic)
        overlays[group] = [coronal(run, values, y, smooth=statistic == "mean_abs") for y in slices]
        counts[group] = (found.scans, found.subjects)
        inside.append(values[run.mask])
    pooled = np.concatenate(inside) if inside else np.zeros(1)
    # A few voxels stand out by noise; positions and regions are few, and each counts.
    low, high = np.percentile(pooled, [percentile, 99.7 if statistic == "mean_abs" else 100])
    return Panel(method, overlays, float(low), float(max(high, low)), counts, scale, missing)


def _draw(run: RunReader, model_set: str, target: str, slices: list[int], panels: list[Panel], kind: str) -> bytes:
    """Draw the figure: rows are methods; columns are the slices of the positive, then of the negative group."""
    from matplotlib import rc_context  # noqa: PLC0415
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    template, mask, trust = run.array("template"), run.array("mask"), lines_of(run)
    window = _window(mask)
    width, height = (part.stop - part.start for part in window)
    count = len(slices)
    left, gap, panel = 1.35, 0.25, 1.55
    row = panel * height / width
    size = (left + 2 * count * panel + gap + 0.75, 1.1 + len(panels) * (row + 0.08) + 0.5)
    figure = Figure(figsize=size, facecolor="white")
    for r, content in enumerate(panels):
        bottom = size[1] - 1.1 - (r + 1) * row - r * 0.08
        for g, group in enumerate(run.groups):
            for c, y in enumerate(slices):
                x = left + (g * count + c) * panel + g * gap
                axes = _place(figure, size, (x, bottom, panel * 0.97, row))
                brain = np.where(mask[:, y, :] > 0, template[:, y, :], 0)[window]
                overlay = content.overlays[group][c][window] if group in content.overlays else None
                _brain(axes, brain, overlay, content, letters=c == 0)
                if overlay is None:
                    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "color": "0.4"}
                    axes.text(0.5, 0.5, content.missing[group], transform=axes.transAxes, **style)
                if r == 0:
                    axes.set_title(f"y = {_millimetres(run, y):g} mm", fontsize=8, color="0.3", pad=3)
        title = METHOD_TITLES.get(content.method, content.method.replace("_", " ").capitalize())
        figure.text((left - 0.15) / size[0], (bottom + row / 2) / size[1], title, ha="right", va="center", fontsize=9.5)
        if content.method in trust:
            words = trust[content.method].marks().replace(" · ", "\n")
            place = ((left - 0.15) / size[0], (bottom + row / 2 - 0.24) / size[1])
            figure.text(*place, words, ha="right", va="top", fontsize=5.5, color="0.3")
        _colour_bar(figure, size, (size[0] - 0.62, bottom + 0.12 * row, 0.09, 0.76 * row))
    _words_around(figure, size, run, model_set, target, panels, (left, count * panel, gap))
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    # Without the version of the software and the date, the same run gives the same bytes.
    unnamed = {"png": {"Software": None}, "svg": {"Creator": None, "Date": None}}[kind]
    with rc_context({"svg.hashsalt": run.run_id}):
        figure.savefig(buffer, format=kind, dpi=200, metadata={**unnamed, "Title": f"Brainwhy {run.run_id}"})
    return buffer.getvalue()


def _window(mask: np.ndarray) -> tuple[slice, slice]:
    """Return the part of every (x, z) slice that holds the brain."""
    window = []
    for axes, size in (((1, 2), mask.shape[0]), ((0, 1), mask.shape[2])):
        inside = np.flatnonzero(mask.any(axis=axes))
        first, last = (inside[0], inside[-1]) if len(inside) else (0, size - 1)
        window.append(slice(max(int(first) - 3, 0), min(int(last) + 4, size)))
    return window[0], window[1]


def _place(figure: Figure, size: tuple[float, float], box: tuple[float, float, float, float]) -> Axes:
    x, y, width, height = box
    axes = figure.add_axes((x / size[0], y / size[1], width / size[0], height / size[1]))
    axes.set_axis_off()
    return axes


def _brain(axes: Axes, brain: np.ndarray, overlay: np.ndarray | None, panel: Panel, *, letters: bool) -> None:
    """Draw one slice (x, z): the brain in grey on white, relevance from transparent to red."""
    top = max(float(brain.max()), 1.0)
    grey = 1 - 0.85 * (1 - brain / top)
    grey[brain == 0] = 1
    options: dict[str, Any] = {"origin": "lower", "interpolation": "bilinear", "aspect": "equal"}
    axes.imshow(grey.T, cmap="gray", vmin=0, vmax=1, **options)
    if overlay is not None and panel.high > panel.low:
        strength = np.clip((overlay - panel.low) / (panel.high - panel.low), 0, 1)
        axes.imshow(strength.T, cmap=_reds(), vmin=0, vmax=1, **{**options, "interpolation": "nearest"})
    if letters:
        style: dict[str, Any] = {"fontsize": 8, "color": "0.25", "va": "top", "transform": axes.transAxes}
        axes.text(0.01, 0.97, "L", ha="left", **style)
        axes.text(0.97, 0.97, "R", ha="right", **style)


def _reds() -> Any:
    from matplotlib.colors import LinearSegmentedColormap  # noqa: PLC0415

    stops = [(1, 0.55, 0.35, 0), (0.98, 0.25, 0.12, 0.65), (0.72, 0, 0.02, 0.95)]
    return LinearSegmentedColormap.from_list("transparent-to-red", stops)


def _colour_bar(figure: Figure, size: tuple[float, float], box: tuple[float, float, float, float]) -> None:
    axes = _place(figure, size, box)
    axes.imshow(np.full((1, 1, 3), 0.8), extent=(0, 1, 0, 1), aspect="auto")
    axes.imshow(np.linspace(0, 1, 128)[:, None], cmap=_reds(), origin="lower", extent=(0, 1, 0, 1), aspect="auto")
    for y, text in ((0, "low"), (1, "high")):
        axes.text(1.5, y, text, fontsize=7, color="0.3", va="center")


def _words_around(  # noqa: PLR0913 - where words go on a figure
    figure: Figure, size: tuple[float, float], run: RunReader, model_set: str, target: str, panels: list[Panel],
    columns: tuple[float, float, float],
) -> None:  # fmt: skip
    """Write the title, the group headings with their numbers, and the small print."""
    left, width, gap = columns
    title = f"{run.manifest.get('name', run.run_id)}: {evidence(target)}, model set {model_set}"
    figure.text(left / size[0], 1 - 0.3 / size[1], title, fontsize=12, weight="bold", va="center")
    if run.simulated:
        badge = {"boxstyle": "round,pad=0.35", "facecolor": "#b3261e", "edgecolor": "none"}
        style: dict[str, Any] = {"color": "white", "weight": "bold", "fontsize": 9, "ha": "right", "va": "center"}
        figure.text(1 - 0.2 / size[0], 1 - 0.3 / size[1], "SIMULATED", bbox=badge, **style)
    for g, group in enumerate(run.groups):
        # Of the row with the most: in others maps without relevance may be left out.
        scans, subjects = max((p.counts[group] for p in panels if group in p.counts), default=(0, 0))
        centre = (left + g * (width + gap) + width / 2) / size[0]
        heading = f"{group}  ({_plural(scans, 'scan')}, {_plural(subjects, 'subject')})"
        figure.text(centre, 1 - 0.7 / size[1], heading, ha="center", va="center", fontsize=10.5, weight="bold")
    lines = (
        "Neurological convention: left is left. Red: mean |relevance|, for occlusions mean positive relevance. One "
        "colour range a method, both groups alike.",
        f"{_averaged(run, panels)} {DISCLAIMER}. Run {run.run_id}.",
    )
    for height, line in zip((0.33, 0.14), lines, strict=True):
        figure.text(left / size[0], height / size[1], line, fontsize=7.5, color="0.3", va="center")
    if (said := verdict(run)) is not None and said.banner:
        style = {"color": "#b3261e", "weight": "bold", "fontsize": 8, "va": "center"}
        figure.text(left / size[0], 1 - 0.5 / size[1], said.banner, **style)


def _averaged(run: RunReader, panels: list[Panel]) -> str:
    """Say how the maps of the figure were averaged."""
    scales, left_out = {}, []
    for panel in panels:
        kind = "gradients" if run.is_gradient(panel.method) else "occlusions"
        scales[kind] = f"{kind} {scale_words(panel.scale)}"
        most = {group: max(p.counts.get(group, (0, 0))[0] for p in panels) for group in panel.counts}
        fewer = [f"{most[g] - n} {g}" for g, (n, _) in panel.counts.items() if n < most[g]]
        if fewer:
            name = METHOD_TITLES.get(panel.method, panel.method).replace("\n", " ")
            left_out.append(f"{name} without {' and '.join(fewer)} that have no relevance")
    said = [f"Averages of {', '.join(scales.values())}", AnalysisSettings.of(run).weighing(), *left_out]
    return f"{'; '.join(said)}."


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _millimetres(run: RunReader, y: int) -> float:
    affine = run.affine("template")
    return float(affine[1, 1] * y + affine[1, 3])


def export_figure(run: RunReader, folder: str | Path) -> Path:
    """Write <run>_figure1.png; returns the file."""
    path = Path(folder) / f"{file_name(run.run_id)}_figure1.png"
    write_bytes(path, figure_one(run))
    return path
