"""Looks at every file before anything is computed: which scans cannot be used, and why."""

from __future__ import annotations

import dataclasses
import math
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from engine.config import CohortConfig
from engine.data.hashing import FileMemory, file_hash
from engine.data.images import TooLarge, UnknownOrientation, header_file, missing_content, open_scan, read_whole
from engine.data.scan import Cohort, exclusion_table
from engine.data.tabular import DECISIONS, read_table
from engine.errors import UserError
from engine.progress import Progress

SMALLEST_AXIS = 32  # voxels; a head at 6 mm
VOXEL_MM = (0.3, 6.0)
FIELD_MM = (80.0, 600.0)
_VERSION = 3  # of the rules below: remembered verdicts of other versions are not used


def inspect(path: Path) -> str | None:
    """Why a file cannot be used, in one line, with the mend where there is one; None if it can.

    Reads every voxel once.
    """
    path = Path(path)
    try:
        if reason := missing_content(path):
            return reason
        if not path.is_file():
            return f"file not found: {path.name}"
        if path.stat().st_size == 0:
            return f"{path.name} is empty (0 bytes); copy it again"
        header = header_file(path)
        if header and not header.is_file():
            return f"{path.name} has no header beside it ({header.name}); copy both"
        image = open_scan(path)
    except (UnknownOrientation, TooLarge) as error:
        return str(error)
    except PermissionError:
        return f"{path.name} may not be read; change its permissions"
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
        return _unreadable(path, error)
    if not isinstance(image, nib.Nifti1Pair):
        return f"{path.name} is {type(image).__name__.removesuffix('Image')}, not NIfTI; convert it to .nii.gz"
    return _header_problem(image) or _voxel_problem(image, path)


def _unreadable(path: Path, error: Exception) -> str:
    if path.name.endswith((".nii", ".nii.gz")) and isinstance(error, EOFError | zlib.error):
        return f"{path.name} is truncated or damaged; copy it again"
    if path.name.endswith(".gz"):
        with open(path, "rb") as stream:
            if stream.read(2) != b"\x1f\x8b":
                return f"{path.name} is not gzip although its name ends in .gz; convert it to NIfTI"
    return f"{path.name} is not a NIfTI file; convert it, e.g. with dcm2niix"


def _header_problem(image: nib.Nifti1Pair) -> str | None:
    shape = image.shape
    if len(shape) == 4 and shape[3] > 1:
        return f"4D with {shape[3]} volumes; keep one, e.g. the T1"
    if len([n for n in shape if n > 1]) < 3 or len([n for n in shape[3:] if n > 1]):
        return f"not 3D (shape {'x'.join(map(str, shape))})"
    if image.get_data_dtype().kind not in "iuf":
        return "voxels are colours or complex numbers, not intensities"
    if min(shape[:3]) < SMALLEST_AXIS:
        return f"only {min(shape[:3])} voxels along an axis, {SMALLEST_AXIS} are needed"
    return _affine_problem(image)


def _affine_problem(image: nib.Nifti1Pair) -> str | None:
    if image.header["sform_code"] == 0 and image.header["qform_code"] == 0:
        return (
            "no orientation in the header (sform and qform are 0): left and right are unknown; convert again from DICOM"
        )
    affine = image.affine
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        return "absurd affine in the header: it cannot be inverted; convert again from DICOM"
    sizes = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    if sizes.min() < VOXEL_MM[0] or sizes.max() > VOXEL_MM[1]:
        size = " x ".join(f"{s:.3g}" for s in sizes)
        return f"absurd affine in the header: voxels of {size} mm, expected {VOXEL_MM[0]:g} to {VOXEL_MM[1]:g}"
    field = sizes * image.shape[:3]
    if field.min() < FIELD_MM[0] or field.max() > FIELD_MM[1]:
        size = " x ".join(f"{f:.0f}" for f in field)
        return f"absurd field of view: {size} mm, a head needs {FIELD_MM[0]:g} to {FIELD_MM[1]:g}"
    return None


def _voxel_problem(image: nib.Nifti1Pair, path: Path) -> str | None:
    try:
        voxels = read_whole(image, path)
    except TooLarge as error:
        return str(error)
    except (OSError, EOFError, ValueError, zlib.error):
        return f"{path.name} is truncated or damaged; copy it again"
    # Cheap on good files: one sum tells whether all voxels are finite.
    with np.errstate(all="ignore"):
        total = float(voxels.sum(dtype=np.float64))
    if not math.isfinite(total):
        bad = int((~np.isfinite(voxels)).sum())
        if bad:
            return f"{bad} voxels are NaN or infinite; set them to 0"
    if voxels.min() == voxels.max():
        return f"constant: every voxel is {voxels.flat[0]:g}"
    return None


def inspect_all(cohort: Cohort, config: CohortConfig, progress: Progress, memory: Path | None = None) -> Cohort:
    """The cohort without unusable, duplicated and rejected scans; `source_hash` is filled in.

    A person's word counts: scans that decisions.csv of the data folder rejects are left out.

    Args:
        cohort: from a reader; its paths are looked at.
        config: where the scans come from.
        progress: where to count.
        memory: JSON file that remembers verdicts of unchanged files; None looks at all files again.

    Raises:
        UserError: no scan of a group can be used; names the first reason.
    """
    scans = cohort.scans.copy()
    remembered = FileMemory(memory, _VERSION)
    facts = []
    with progress.task("Looking at the scans", len(scans)) as task:
        try:
            for path in scans["path"]:
                facts.append(_facts(Path(path), remembered))
                task.advance()
        finally:
            remembered.save()
    scans["source_hash"] = pd.array([fact["hash"] for fact in facts], dtype="string")
    reasons = pd.Series([fact["reason"] or "" for fact in facts], index=scans.index, dtype="object")
    for index, reason in _rejected(scans, config).items():
        reasons[index] = reason
    first: dict[str, str] = {}
    for index, row in scans[reasons == ""].iterrows():
        scan = first.setdefault(row["source_hash"], row["scan"])
        if scan != row["scan"]:
            reasons[index] = f"same file content as scan {scan}"
    return without(dataclasses.replace(cohort, scans=scans), reasons, "ingest")


def without(cohort: Cohort, reasons: pd.Series, stage: str) -> Cohort:
    """The cohort without the scans that have a reason; they become exclusions.

    Args:
        cohort: any.
        reasons: one text a row of `cohort.scans`, empty to keep it.
        stage: ingest or preprocess.

    Raises:
        UserError: a group that had scans has none left.
    """
    bad = (reasons != "").to_numpy(dtype=bool)
    if not bad.any():
        return cohort
    scans = cohort.scans
    for group in cohort.groups:
        mine = (scans["group"] == group).to_numpy(dtype=bool)
        if mine.any() and bad[mine].all():
            row = scans[mine].iloc[0]
            why = f"the first, {row['scan']}: {reasons[row.name]}"
            raise UserError(f"no scan of group {group} can be used ({mine.sum()} left out); {why}")
    rows = [
        {"scan": row["scan"], "subject": row["subject"], "stage": stage, "reason": reasons[index]}
        for index, row in scans[bad].iterrows()
    ]
    exclusions = pd.concat([cohort.exclusions, exclusion_table(rows)], ignore_index=True)
    return dataclasses.replace(cohort, scans=scans[~bad].reset_index(drop=True), exclusions=exclusions)


def decisions(config: CohortConfig) -> pd.DataFrame:
    """decisions.csv of the data folder: columns scan, decision (accept or reject), note; empty if there is none.

    Raises:
        UserError: a missing column or another word.
    """
    file = Path(config.data) / DECISIONS if config.data else None
    if file is None or not file.is_file():
        return pd.DataFrame({"scan": [], "decision": [], "note": []}, dtype="string")
    table = read_table(file)
    table.columns = [name.lower() for name in table.columns]
    for column in ("scan", "decision"):
        if column not in table.columns:
            raise UserError(f"{DECISIONS}: no column {column}; it needs scan and decision (accept or reject)")
    if "note" not in table.columns:
        table["note"] = ""
    table = table[["scan", "decision", "note"]].fillna("")
    table["decision"] = table["decision"].str.lower()
    odd = table.index[~table["decision"].isin(["accept", "reject"]).astype(bool)]
    if len(odd):
        raise UserError(
            f"{DECISIONS} row {odd[0]}: decision is {table.loc[odd[0], 'decision']!r}; write accept or reject"
        )
    return table


def accepted(config: CohortConfig) -> frozenset[str]:
    """Scans that decisions.csv accepts: quality limits of the preprocessing do not exclude them."""
    table = decisions(config)
    return frozenset(table.loc[table["decision"] == "accept", "scan"])


def _rejected(scans: pd.DataFrame, config: CohortConfig) -> dict[int, str]:
    table = decisions(config)
    notes = table[table["decision"] == "reject"].drop_duplicates("scan", keep="last").set_index("scan")["note"]
    return {
        index: f"rejected in {DECISIONS}" + (f": {notes[scan]}" if notes[scan] else "")
        for index, scan in scans["scan"].items()
        if scan in notes.index
    }


def _facts(path: Path, remembered: FileMemory) -> dict:
    known = remembered.get(path)
    if known is None:
        known = {"reason": inspect(path)}
        try:
            known["hash"] = file_hash(path)
        except OSError:
            known["hash"] = ""
        remembered.put(path, known)
    return known
