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

from engine.cohort.scans import Cohort, exclusion_table
from engine.cohort.tables import DECISIONS, read_table
from engine.cohort.values import rows_in_words
from engine.config.cohort_schema import CohortConfig
from engine.errors import UserError
from engine.images.hashing import FileMemory, file_hash, image_hash
from engine.images.nifti import (
    UNITS_MM,
    VOXEL_MM,
    TooLarge,
    UnknownOrientation,
    header_file,
    is_sound,
    is_unplaced,
    mended,
    missing_content,
    of_a_head,
    open_scan,
    read_whole,
)
from engine.progress import Progress

FIELD_MM = (120.0, 600.0)  # a brain is 130 mm wide and high
DICOM_MEND = "convert again from DICOM"
UNPLACED = (
    "an Analyze header without an origin, so nobody knows where the head lies: it needs a registration "
    "(preprocessing.registration=affine or syn_quick)"
)
OASIS_MEND = "use the Analyze files of OASIS (.img with .hdr), whose axes are known"
SIDES = "sform and qform disagree about left and right"
_VERSION = 6  # of the rules below: remembered verdicts of other versions are not used


def inspect(path: Path) -> str | None:
    """Why a file cannot be used, in one line, with the mend where there is one; None if it can.

    Reads every voxel once.
    """
    return examine(path)[0]


def examine(path: Path) -> tuple[str | None, str]:
    """Return why a file cannot be used, as `inspect`, and the fingerprint of its image (empty if it cannot).

    Reads every voxel once.
    """
    path = Path(path)
    image = _opened(path)
    if isinstance(image, str):
        return image, ""
    voxels = _voxels(image, path)
    if isinstance(voxels, str):
        return voxels, ""
    reason = _voxel_problem(voxels)
    return reason, "" if reason else image_hash(voxels, image.affine)


def _opened(path: Path) -> nib.Nifti1Pair | str:
    """The image of a file, or why it or its header cannot be used."""
    try:
        if reason := missing_content(path):
            return reason
        if not path.is_file():
            return f"file not found: {path.name}"
        if path.stat().st_size == 0:
            return f"{path.name} is empty (0 bytes); copy it again"
        if path.name.endswith(".img.gz"):
            return f"{path.name} is packed: unpack it and its header (gunzip), or convert them to .nii.gz"
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
    return _header_problem(image) or image


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
    return _affine_problem(image)


def _affine_problem(image: nib.Nifti1Pair) -> str | None:
    if image.header["sform_code"] == 0 and image.header["qform_code"] == 0:
        return (
            "no orientation in the header (sform and qform are 0): left and right are unknown; convert again from DICOM"
        )
    affine = image.affine
    if not is_sound(affine):
        form = "sform" if image.header["sform_code"] > 0 else "qform"
        return f"absurd affine in the header: its {form} cannot be inverted; convert again from DICOM"
    sizes = nib.affines.voxel_sizes(affine)
    if sizes.min() < VOXEL_MM[0] or sizes.max() > VOXEL_MM[1]:
        size = " x ".join(f"{s:.3g}" for s in sizes)
        unit = next((unit for unit, mm in UNITS_MM.items() if of_a_head(mm * affine)), "")
        hint = f"; are they in {unit}s? say so in the header (xyzt_units)" if unit else ""
        return f"absurd affine in the header: voxels of {size} mm, expected {VOXEL_MM[0]:g} to {VOXEL_MM[1]:g}{hint}"
    field = sizes * image.shape[:3]
    if field.min() < FIELD_MM[0] or field.max() > FIELD_MM[1]:
        size = " x ".join(f"{f:.0f}" for f in field)
        return f"absurd field of view: {size} mm, a head needs {FIELD_MM[0]:g} to {FIELD_MM[1]:g}"
    return None


def _voxels(image: nib.Nifti1Pair, path: Path) -> np.ndarray | str:
    try:
        return read_whole(image, path)
    except TooLarge as error:
        return str(error)
    except (OSError, EOFError, ValueError, zlib.error):
        return f"{path.name} is truncated or damaged; copy it again"


def _voxel_problem(voxels: np.ndarray) -> str | None:
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


def sides_in_doubt(path: Path) -> str:
    """Say that the two orientations in a header of NIfTI name opposite sides; empty where they agree or one is set.

    The two may differ by a rotation, which registration makes good; a mirrored brain it cannot.
    """
    try:
        image = nib.load(path)
        header = image.header
        if not isinstance(image, nib.Nifti1Pair) or not (header["sform_code"] > 0 and header["qform_code"] > 0):
            return ""
        forms = header.get_sform(), header.get_qform()
        if not all(map(is_sound, forms)):
            return ""
        sform, qform = (matrix[:3, :3] / nib.affines.voxel_sizes(matrix) for matrix in forms)
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error):
        return ""  # `inspect` says what is wrong with it
    mirrored = np.linalg.det(sform) * np.linalg.det(qform) < 0
    # The first row tells how far to the right a voxel along each axis of the file leads.
    return SIDES if mirrored or sform[0] @ qform[0] < 0 else ""


def inspect_all(
    cohort: Cohort, config: CohortConfig, progress: Progress, memory: Path | None = None, trained_on: bool = True
) -> Cohort:
    """The cohort without unusable, duplicated and rejected scans; `source_hash` is filled in.

    A person's word counts: scans that decisions.csv of the data folder rejects are left out, and those whose left and
    right are in doubt are used only if it accepts them.

    Args:
        cohort: from a reader; its paths are looked at.
        config: where the scans come from.
        progress: where to count.
        memory: JSON file that remembers verdicts of unchanged files; None looks at all files again.
        trained_on: False keeps scans whose left and right are in doubt, with a warning.

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
    if config.reader == "oasis":  # which nobody has as DICOM
        reasons = reasons.str.replace(DICOM_MEND, OASIS_MEND, regex=False)
    decided = accepted(config) if trained_on else frozenset(scans["scan"])
    doubts = {index: scans.loc[index, "scan"] for index, fact in zip(scans.index, facts, strict=True) if fact["sides"]}
    cohort = _say_doubts(cohort, list(doubts.values()), decided, progress)
    cohort = _say_mended(cohort, [fact["mended"] for fact in facts], progress)
    for index, scan in doubts.items():
        if not reasons[index] and scan not in decided:
            reasons[index] = f"{SIDES}; look at it and write accept (the sform is used) or reject into {DECISIONS}"
    for index, reason in _rejected(scans, config).items():
        reasons[index] = reason
    reasons.update(_duplicates(scans, reasons, [fact["image"] for fact in facts]))
    warnings = (*cohort.warnings, *_decided_of_nobody(cohort, config))
    return without(dataclasses.replace(cohort, scans=scans, warnings=warnings), reasons, "ingest")


def without_unplaced(cohort: Cohort, registration: str) -> Cohort:
    """The cohort without images whose place in mm is a guess, where no registration finds it.

    Args:
        cohort: of files that can be opened.
        registration: of the preprocessing.

    Raises:
        UserError: no scan of a group is left.
    """
    if registration != "none":
        return cohort
    reasons = pd.Series(
        [UNPLACED if is_unplaced(Path(path)) else "" for path in cohort.scans["path"]],
        index=cohort.scans.index,
        dtype="object",
    )
    return without(cohort, reasons, "ingest")


def _decided_of_nobody(cohort: Cohort, config: CohortConfig) -> list[str]:
    """Say which rows of decisions.csv name no scan: a scan that a person rejected may be used."""
    table = decisions(config)
    nobody = table.index[~table["scan"].isin([*cohort.scans["scan"], *cohort.exclusions["scan"]])]
    return [f"{DECISIONS}: no scan of the cohort is named by {rows_in_words(nobody)}"] if len(nobody) else []


def _duplicates(scans: pd.DataFrame, reasons: pd.Series, images: list[str]) -> dict[int, str]:
    """Row of `scans` -> why it is left out: its image is another scan's, perhaps in another file or of another person.

    The first of several is used, unless their labels differ: then nobody knows whose image it is, and none is.

    Args:
        scans: with `source_hash`, of the whole file.
        reasons: one text a row; rows that have one do not count.
        images: fingerprint of each row's image.
    """
    found: dict[int, str] = {}
    usable = scans.assign(image=images)[reasons == ""]
    for _, same in usable[usable["image"] != ""].groupby("image", sort=False):
        if len(same) == 1:
            continue
        first = same.iloc[0]
        others = same.iloc[1:]
        labels = list(dict.fromkeys(same["diagnosis"]))
        said = f", but their labels differ ({', '.join(labels)}): find out whose it is" if len(labels) > 1 else ""
        for index, row in others.iterrows():
            alike = "same file content" if row["source_hash"] == first["source_hash"] else "same image"
            found[index] = f"{alike} as scan {first['scan']}{said}"
        if said:
            found[same.index[0]] = f"same image as scan {others['scan'].iloc[0]}{said}"
    return found


def _say_doubts(cohort: Cohort, scans: list[str], decided: frozenset[str], progress: Progress) -> Cohort:
    """Name the scans whose sides are in doubt; the cohort with a warning that counts them."""
    if not scans:
        return cohort
    for scan in scans:
        progress.say(f"  {scan}: {SIDES}; {'its sform is used' if scan in decided else 'left out'}")
    used = sum(scan in decided for scan in scans)
    word = f"{SIDES} in the headers of {len(scans)} scans: {used} used by the sform, {len(scans) - used} left out"
    return dataclasses.replace(cohort, warnings=(*cohort.warnings, word))


def _say_mended(cohort: Cohort, texts: list[str], progress: Progress) -> Cohort:
    """Name the scans whose header is read otherwise than it says; the cohort with a warning that counts them."""
    said = [text for text in texts if text]
    for scan, text in zip(cohort.scans["scan"], texts, strict=True):
        if text:
            progress.say(f"  {scan}: {text}")
    warnings = tuple(f"In the header of {said.count(text)} scans: {text}" for text in dict.fromkeys(said))
    return dataclasses.replace(cohort, warnings=(*cohort.warnings, *warnings))


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
            alike = int((reasons[mine] == reasons[row.name]).sum())
            why += f" ({alike} of them for this reason)" if alike > 1 else ""
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
        reason, image = examine(path)
        known = {"reason": reason, "image": image}
        known["sides"] = "" if reason else sides_in_doubt(path)
        known["mended"] = "" if reason else mended(path)
        try:
            known["hash"] = file_hash(path)
        except OSError:
            known["hash"] = ""
        remembered.put(path, known)
    return known
