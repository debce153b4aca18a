"""Maps of a run as NIfTI files."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from store.errors import NoRelevanceError, NotInRunError
from store.export.csv import csv_text
from store.export.sidecar import lines_of, trust_words, write_sidecar
from store.files.atomic import write_bytes
from store.files.encoding import path_part
from store.keys import GroupKey, ModelName
from store.reading.group_maps import GroupMap
from store.reading.native_space import to_native
from store.reading.reader import RunReader
from store.reading.settings import AnalysisSettings, average_scale, average_unit

DESCRIPTION = "Brainwhy research use only"
DISCLAIMER = "Research use only, not a medical device"
SCANNER, MNI = 1, 4  # codes of these spaces in NIfTI headers
HEADER_LETTERS = 79  # of the field descrip
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
    "sobel": "Edges\n(no explanation)",
    "intensity": "Intensity |z|\n(no explanation)",
    "smooth_random": "Random map\n(no explanation)",
    "t_map": "Welch t map\n(no explanation)",
    "linear_weights": "Linear weights\n(no explanation)",
    "linear_pattern": "Linear pattern\n(no explanation)",
}
STATISTIC_WORDS = {"mean": "mean h", "mean_abs": "mean |h|", "mean_positive": "mean max(h, 0)", "sd": "SD of h"}


# -- NIfTI ------------------------------------------------------------------------------------------------------------


def nifti_bytes(
    values: np.ndarray, affine: np.ndarray, *, simulated: bool = False, space: int = MNI, unit: str = ""
) -> bytes:
    """Make a .nii.gz file of one map (x, y, z), float32; the same input gives the same bytes.

    Args:
        space: MNI or SCANNER.
        unit: what the numbers are, in words; into the header field descrip, which holds 79 letters.
    """
    import nibabel as nib  # noqa: PLC0415

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


def heatmap_native_nifti(  # noqa: PLR0913 - which heatmap, and how it is resampled
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
    """Return the statistic of the paper: |h| for gradients, max(h, 0) for occlusions.

    Raises:
        NotInRunError: there are no group maps.
    """
    average_scale(run, model_set, method)
    return "mean_abs" if run.is_gradient(method) else "mean_positive"


# -- whole runs -------------------------------------------------------------------------------------------------------


AVERAGES = "averages.csv"


def export_nifti(run: RunReader, folder: str | Path) -> list[Path]:
    """Write the average of each group by each method and model set as .nii.gz; returns the files.

    Target, scale and weights are those of the run's settings.
    <run>_<model set>_<method>_<group>_for-<target>_<statistic>_<scale>.nii.gz: scans of that group. averages.csv lists
    them, with their settings, scans and subjects, and the groups that have no average, with the reason. Where the run
    knows how far a method can be trusted, it stands there and in a JSON file of the same name.
    """
    settings = AnalysisSettings.of(run)
    paths, rows, trust = [], [], lines_of(run)
    for model_set, method in group_families(run):
        statistic, scale = paper_statistic(run, model_set, method), average_scale(run, model_set, method)
        for group in run.groups:
            row = {
                "model_set": model_set, "method": method, "group": group, "target": settings.target, "scale": scale,
                "statistic": statistic, "unit": average_unit(run, method, scale), "weights": settings.weights,
            }  # fmt: skip
            try:
                found = average_of_group(run, GroupKey(model_set, method, settings.target, scale), group, statistic)
            except NoRelevanceError as error:
                rows.append({**row, "note": f"not written: {error}"})
                continue
            except NotInRunError:
                rows.append({**row, "note": f"not written: no scan of {group} in model set {model_set}"})
                continue
            name = file_name(run.run_id, model_set, method, group, f"for-{settings.target}", statistic, scale)
            paths.append(Path(folder) / f"{name}.nii.gz")
            unit = average_words(run, method, statistic, scale)
            values = getattr(found, statistic)
            write_bytes(paths[-1], nifti_bytes(values, run.affine(), simulated=run.simulated, unit=unit))
            file = paths[-1].name
            paths += write_sidecar(run, paths[-1], method, model_set, trust)
            counts: dict[str, Any] = {
                "scans": found.scans, "subjects": found.subjects, "without_relevance": found.without_relevance,
                "file": file, "trust": trust_words(run, method, model_set, trust),
            }  # fmt: skip
            rows.append({**row, **counts, "note": ""})
    columns = ["file", "model_set", "method", "group", "target", "scale", "statistic", "unit", "weights", "scans",
               "subjects", "without_relevance", "note", "trust"]  # fmt: skip
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
        NotInRunError: a scan has no native space in this run, or is not in it.
    """
    for scan in scans:
        run.native_geometry(scan)  # all or nothing: a misspelt name costs no waiting
    paths: list[Path] = []
    trust, methods = lines_of(run), {}
    plain = {scan: file_name(run.run_id, scan) for scan in scans}
    if len(set(plain.values())) < len(plain):  # "sub 1" beside "sub-1"
        plain = {scan: f"{file_name(run.run_id)}_{path_part(scan).replace(' ', '%20')}" for scan in scans}
    for scan, part in plain.items():
        rows = run.table("heatmaps", ["model", "method", "target"], scan=scan, scale="margin")
        makers = {f"{part}_mask": functools.partial(mask_native_nifti, run, scan)}
        for row in rows.itertuples():
            name = f"{part}_{file_name(row.model, row.method, row.target)}"
            makers[name] = functools.partial(heatmap_native_nifti, run, row.model, row.method, scan, target=row.target)
            methods[name] = row.method, ModelName(row.model).model_set
        for name, make in makers.items():
            paths.append(Path(folder) / f"{name}.nii.gz")
            write_bytes(paths[-1], make())
            paths += write_sidecar(run, paths[-1], *methods[name], trust) if name in methods else []
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


def paper_model_set(run: RunReader) -> str:
    """Return the holdout, as in the paper, where the run has it, else the folds."""
    return "holdout" if "holdout" in {name for name, _ in group_families(run)} else "folds"


def average_of_group(run: RunReader, key: GroupKey, group: str, statistic: str) -> GroupMap:
    """Read one statistic over the scans of all diagnoses that form a group; errors as for RunReader.group_map."""
    return run.group_map(key, diagnosis=diagnoses_of(run, key.model_set, group), statistics=(statistic,))
