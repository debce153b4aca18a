"""Results for other programs: NIfTI, CSV, and the figure of the paper as PNG."""

from __future__ import annotations

import functools
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from store.accuracy import metrics_of
from store.errors import NoRelevance, NotInRun, StoreError
from store.export.csv import csv_text
from store.files.atomic import write_bytes
from store.files.encoding import path_part
from store.keys import GroupKey
from store.reading.group_maps import GroupMap
from store.reading.native_space import to_native
from store.reading.reader import RunReader
from store.reading.settings import AnalysisSettings, average_scale, average_unit, evidence, scale_words
from store.reading.verdict import verdict
from store.spec import TABLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DESCRIPTION = "Brainwhy research use only"
DISCLAIMER = "Research use only, not a medical device"
SCANNER, MNI = 1, 4  # codes of these spaces in NIfTI headers
HEADER_LETTERS = 79  # of the field descrip
STATISTIC_WORDS = {"mean": "mean h", "mean_abs": "mean |h|", "mean_positive": "mean max(h, 0)", "sd": "SD of h"}
PAPER_SLICES = (80, 114, 149)  # coronal, of 229 at 1 mm
PAPER_LENGTH = 229
METHOD_TITLES = {
    "sensitivity": "Sensitivity\nanalysis",
    "guided_backprop": "Guided\nbackpropagation",
    "occlusion": "Occlusion",
    "area_occlusion": "Brain area\nocclusion",
    "segment_occlusion": "Segment\nocclusion",
    "input_x_gradient": "Input x\ngradient",
    "integrated_gradients": "Integrated\ngradients",
    "smoothgrad": "SmoothGrad",
    "deeplift": "DeepLIFT",
    "lrp": "LRP",
    "grad_cam": "Grad-CAM",
    "guided_grad_cam": "Guided\nGrad-CAM",
}


# -- NIfTI ------------------------------------------------------------------------------------------------------------


def nifti_bytes(
    values: np.ndarray, affine: np.ndarray, *, simulated: bool = False, space: int = MNI, unit: str = ""
) -> bytes:
    """Make a .nii.gz file of one map (x, y, z), float32; the same input gives the same bytes.

    Args:
        space: MNI or SCANNER.
        unit: what the numbers are, in words; into the header field descrip, which holds 79 letters.
    """
    import nibabel as nib

    image = nib.Nifti1Image(np.asarray(values, dtype=np.float32), np.asarray(affine, dtype=float))
    image.set_sform(affine, code=space)
    image.set_qform(affine, code=space)
    if not np.allclose(image.get_qform(), affine, atol=1e-3):  # shear, which a qform cannot say
        image.set_qform(None, code=0)
    image.header.set_xyzt_units("mm")
    words = "; ".join(part for part in (DESCRIPTION, "SIMULATED" if simulated else "", unit) if part)
    image.header["descrip"] = words.encode("ascii", "replace")[:HEADER_LETTERS]
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def volume_nifti(run: RunReader, scan: str) -> bytes:
    """Make a .nii.gz file of the preprocessed volume of a scan."""
    return nifti_bytes(run.volume(scan), run.affine(), simulated=run.simulated, unit="intensity")


def heatmap_nifti(run: RunReader, model: str, method: str, scan: str, *, target: str, scale: str = "margin") -> bytes:
    """Make a .nii.gz file of one heatmap on the working grid; errors as for RunReader.heatmap."""
    values = run.heatmap(model, method, scan, target=target, scale=scale)
    return nifti_bytes(values, run.affine(), simulated=run.simulated, unit=_unit_of_heatmap(run, method, scale))


def heatmap_native_nifti(
    run: RunReader, model: str, method: str, scan: str, *, target: str, scale: str = "margin", order: str | None = None
) -> bytes:
    """Make a .nii.gz file of a heatmap in a scan's own shape and affine; errors as for RunReader.heatmap, to_native.

    Args:
        order: linear or nearest; None: linear for gradients, nearest for occlusions.
    """
    values = run.heatmap(model, method, scan, target=target, scale=scale)
    if order is None:
        order = "linear" if run.is_gradient(method) else "nearest"
    moved, affine = to_native(run, scan, values, order=order)
    unit = _unit_of_heatmap(run, method, scale)
    return nifti_bytes(moved, affine, simulated=run.simulated, space=SCANNER, unit=unit)


def _unit_of_heatmap(run: RunReader, method: str, scale: str) -> str:
    return f"h, {average_unit(run, method, scale)}"


def mask_native_nifti(run: RunReader, scan: str) -> bytes:
    """Make a .nii.gz file of the brain mask over a scan's own file, to check the way; errors as for to_native."""
    moved, affine = to_native(run, scan, run.array("grid/mask"), order="nearest")
    return nifti_bytes(moved, affine, simulated=run.simulated, space=SCANNER, unit="1 in the brain mask")


def group_nifti(
    run: RunReader, model_set: str, method: str, *, target: str | None = None, statistic: str | None = None,
    **filters: Any,
) -> bytes:  # fmt: skip
    """Make a .nii.gz file of one statistic of a group map on the working grid; errors as for RunReader.group_map.

    Args:
        target: whose evidence; None: as in the run's settings.
        statistic: mean, mean_abs, mean_positive or sd; None: the one of the paper for this method.
        filters: scale (if left out, that of the run's settings), diagnosis, predicted, correct.
    """
    statistic = statistic or paper_statistic(run, model_set, method)
    target = target or AnalysisSettings.of(run).target
    scale = filters.pop("scale", None) or average_scale(run, model_set, method)
    found = run.group_map(GroupKey(model_set, method, target, scale), statistics=(statistic,), **filters)
    unit = average_words(run, method, statistic, scale)
    return nifti_bytes(getattr(found, statistic), run.affine(), simulated=run.simulated, unit=unit)


def average_words(run: RunReader, method: str, statistic: str, scale: str) -> str:
    """Say what the numbers of a group map are: "mean |h|, share of relevance per voxel"."""
    return f"{STATISTIC_WORDS[statistic]}, {average_unit(run, method, scale)}"


def paper_statistic(run: RunReader, model_set: str, method: str) -> str:
    """Return the statistic of the paper: |h| for gradients, max(h, 0) for occlusions; NotInRun without group maps."""
    average_scale(run, model_set, method)
    return "mean_abs" if run.is_gradient(method) else "mean_positive"


# -- whole runs -------------------------------------------------------------------------------------------------------


def export_csv(run: RunReader, folder: str | Path) -> list[Path]:
    """Write every table as <table>.csv; returns the files."""
    paths = []
    for spec in TABLES:
        if run.has_table(spec.name):
            paths.append(Path(folder) / f"{spec.name}.csv")
            table = metrics_of(run) if spec.name == "metrics" else run.table(spec.name)
            write_bytes(paths[-1], csv_text(table).encode())
    return paths


AVERAGES = "averages.csv"


def export_nifti(run: RunReader, folder: str | Path) -> list[Path]:
    """Write the average of each group by each method and model set as .nii.gz; returns the files.

    Target, scale and weights are those of the run's settings.
    <run>_<model set>_<method>_<group>_for-<target>_<statistic>_<scale>.nii.gz: scans of that group. averages.csv lists
    them, with their settings, scans and subjects, and the groups that have no average, with the reason.
    """
    settings = AnalysisSettings.of(run)
    paths, rows = [], []
    for model_set, method in group_families(run):
        statistic, scale = paper_statistic(run, model_set, method), average_scale(run, model_set, method)
        for group in run.groups:
            row = {
                "model_set": model_set, "method": method, "group": group, "target": settings.target, "scale": scale,
                "statistic": statistic, "unit": average_unit(run, method, scale), "weights": settings.weights,
            }  # fmt: skip
            try:
                found = _group(run, model_set, method, settings.target, group, statistic, scale)
            except NoRelevance as error:
                rows.append({**row, "note": f"not written: {error}"})
                continue
            except NotInRun:
                rows.append({**row, "note": f"not written: no scan of {group} in model set {model_set}"})
                continue
            name = file_name(run.run_id, model_set, method, group, f"for-{settings.target}", statistic, scale)
            paths.append(Path(folder) / f"{name}.nii.gz")
            unit = average_words(run, method, statistic, scale)
            values = getattr(found, statistic)
            write_bytes(paths[-1], nifti_bytes(values, run.affine(), simulated=run.simulated, unit=unit))
            counts = {
                "scans": found.scans, "subjects": found.subjects, "without_relevance": found.without_relevance,
                "file": paths[-1].name,
            }  # fmt: skip
            rows.append({**row, **counts, "note": ""})
    columns = ["file", "model_set", "method", "group", "target", "scale", "statistic", "unit", "weights", "scans",
               "subjects", "without_relevance", "note"]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    table = table.astype(dict.fromkeys(["scans", "subjects", "without_relevance"], "Int64"))
    paths.append(Path(folder) / AVERAGES)
    write_bytes(paths[-1], csv_text(table).encode())
    return paths


def missing_averages(paths: Sequence[Path]) -> list[str]:
    """Read from averages.csv which averages were not written, and why."""
    missing = []
    for path in paths:
        if path.name == AVERAGES:
            table = pd.read_csv(path)
            missing += [f"{r.model_set}, {r.method}: {r.note}" for r in table[table["file"].isna()].itertuples()]
    return missing


def file_name(*parts: str) -> str:
    """Join parts to the name of a file without blanks: run, model set, method, ..."""
    return "_".join(path_part("-".join(part.split())) for part in parts)


def export_native(run: RunReader, folder: str | Path, scans: Sequence[str]) -> list[Path]:
    """Write every stored heatmap (margin) of some scans over their own files; returns the files.

    <run>_<scan>_<model>_<method>_<target>.nii.gz, and <run>_<scan>_mask.nii.gz: the template's brain mask.

    Raises:
        NotInRun: a scan has no native space in this run, or is not in it.
    """
    for scan in scans:
        run.native_geometry(scan)  # all or nothing: a misspelt name costs no waiting
    paths = []
    plain = {scan: file_name(run.run_id, scan) for scan in scans}
    if len(set(plain.values())) < len(plain):  # "sub 1" beside "sub-1"
        plain = {scan: f"{file_name(run.run_id)}_{path_part(scan).replace(' ', '%20')}" for scan in scans}
    for scan, part in plain.items():
        rows = run.table("heatmaps", ["model", "method", "target"], scan=scan, scale="margin")
        makers = {f"{part}_mask": functools.partial(mask_native_nifti, run, scan)}
        for row in rows.itertuples():
            name = f"{part}_{file_name(row.model, row.method, row.target)}"
            makers[name] = functools.partial(heatmap_native_nifti, run, row.model, row.method, scan, target=row.target)
        for name, make in makers.items():
            paths.append(Path(folder) / f"{name}.nii.gz")
            write_bytes(paths[-1], make())
    return paths


def group_families(run: RunReader) -> list[tuple[str, str]]:
    """List the (model set, method) of every group map of a run, methods in the order of the paper, then by name."""
    cells = run.table("cells", ["model_set", "method"]).drop_duplicates()
    order = list(METHOD_TITLES)
    place = {m: (order.index(m) if m in order else len(order), m) for m in cells.method}
    return sorted(zip(cells.model_set, cells.method, strict=True), key=lambda pair: (pair[0], place[pair[1]]))


def diagnoses_of(run: RunReader, model_set: str, group: str) -> list[str]:
    """List the diagnoses whose scans form a group."""
    found = run.table("cells", ["diagnosis"], model_set=model_set)["diagnosis"].unique()
    return [d for d in found if run.group_of(model_set, d) == group]


# -- figure 1 ---------------------------------------------------------------------------------------------------------


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
        NotInRun: the model set has no group maps.
    """
    model_set, target = model_set or paper_model_set(run), target or AnalysisSettings.of(run).target
    rows = [m for s, m in group_families(run) if s == model_set and (methods is None or m in methods)]
    if not rows:
        raise NotInRun(f"run {run.run_id} has no group maps for model set {model_set}")
    slices = coronal_slices(run.shape("template")[1])
    panels = [_panel(run, model_set, method, target, slices, percentile) for method in rows]
    return _draw(run, model_set, target, slices, panels, kind)


def paper_model_set(run: RunReader) -> str:
    """Return the holdout, as in the paper, where the run has it, else the folds."""
    return "holdout" if "holdout" in {name for name, _ in group_families(run)} else "folds"


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
            found = _group(run, model_set, method, target, group, statistic, scale)
        except NoRelevance:
            missing[group] = "no relevance"
            continue
        except NotInRun:
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


def _group(
    run: RunReader, model_set: str, method: str, target: str, group: str, statistic: str, scale: str
) -> GroupMap:
    key = GroupKey(model_set, method, target, scale)
    return run.group_map(key, diagnosis=diagnoses_of(run, model_set, group), statistics=(statistic,))


def _draw(run: RunReader, model_set: str, target: str, slices: list[int], panels: list[Panel], kind: str) -> bytes:
    """Draw the figure: rows are methods; columns are the slices of the positive, then of the negative group."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    template, mask = run.array("template"), run.array("mask")
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
                    style = {"ha": "center", "va": "center", "fontsize": 8, "color": "0.4", "transform": axes.transAxes}
                    axes.text(0.5, 0.5, content.missing[group], **style)
                if r == 0:
                    axes.set_title(f"y = {_millimetres(run, y):g} mm", fontsize=8, color="0.3", pad=3)
        title = METHOD_TITLES.get(content.method, content.method.replace("_", " ").capitalize())
        figure.text((left - 0.15) / size[0], (bottom + row / 2) / size[1], title, ha="right", va="center", fontsize=9.5)
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
    return tuple(window)


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
    options = {"origin": "lower", "interpolation": "bilinear", "aspect": "equal"}
    axes.imshow(grey.T, cmap="gray", vmin=0, vmax=1, **options)
    if overlay is not None and panel.high > panel.low:
        strength = np.clip((overlay - panel.low) / (panel.high - panel.low), 0, 1)
        axes.imshow(strength.T, cmap=_reds(), vmin=0, vmax=1, **{**options, "interpolation": "nearest"})
    if letters:
        style = {"fontsize": 8, "color": "0.25", "va": "top", "transform": axes.transAxes}
        axes.text(0.01, 0.97, "L", ha="left", **style)
        axes.text(0.97, 0.97, "R", ha="right", **style)


def _reds() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    stops = [(1, 0.55, 0.35, 0), (0.98, 0.25, 0.12, 0.65), (0.72, 0, 0.02, 0.95)]
    return LinearSegmentedColormap.from_list("transparent-to-red", stops)


def _colour_bar(figure: Figure, size: tuple[float, float], box: tuple[float, float, float, float]) -> None:
    axes = _place(figure, size, box)
    axes.imshow(np.full((1, 1, 3), 0.8), extent=(0, 1, 0, 1), aspect="auto")
    axes.imshow(np.linspace(0, 1, 128)[:, None], cmap=_reds(), origin="lower", extent=(0, 1, 0, 1), aspect="auto")
    for y, text in ((0, "low"), (1, "high")):
        axes.text(1.5, y, text, fontsize=7, color="0.3", va="center")


def _words_around(
    figure: Figure, size: tuple[float, float], run: RunReader, model_set: str, target: str, panels: list[Panel],
    columns: tuple[float, float, float],
) -> None:  # fmt: skip
    """Write the title, the group headings with their numbers, and the small print."""
    left, width, gap = columns
    title = f"{run.manifest.get('name', run.run_id)}: {evidence(target)}, model set {model_set}"
    figure.text(left / size[0], 1 - 0.3 / size[1], title, fontsize=12, weight="bold", va="center")
    if run.simulated:
        badge = {"boxstyle": "round,pad=0.35", "facecolor": "#b3261e", "edgecolor": "none"}
        style = {"color": "white", "weight": "bold", "fontsize": 9, "ha": "right", "va": "center"}
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


def export_all(
    run: RunReader, folder: str | Path, *, csv: bool = True, nifti: bool = True, figure: bool = True,
    paper: bool = False, native: Sequence[str] = (),
) -> list[Path]:  # fmt: skip
    """Write what is asked for; returns the files.

    Args:
        paper: tables 1 and 2 and figure 1 in the paper's format, into paper/.
        native: scans whose heatmaps are written in their own space, into native/.

    Raises:
        NotWritable: no space or no permission.
        StoreError: the run is broken or lacks what is asked for.
    """
    from store.export.paper_tables import export_paper

    try:
        paths = export_native(run, Path(folder) / "native", native)
        paths += export_csv(run, folder) if csv else []
        paths += export_nifti(run, Path(folder) / "nifti") if nifti else []
        paths += [export_figure(run, folder)] if figure else []
        paths += export_paper(run, Path(folder) / "paper") if paper else []
    except FileExistsError as error:
        raise StoreError(f"{folder} is a file: choose a folder") from error
    return paths
