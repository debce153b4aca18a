"""DICOM series become NIfTI by dcm2niix, of the package in the extra `dicom` or on the PATH."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import pandas as pd

from engine.cohort.scans import Cohort, exclude
from engine.progress import Progress

ENDING = ".dcm"
PROGRAM = "dcm2niix"
TIMEOUT_S = 600


def cannot(path: Path) -> str:
    """Say why a file that may be of a DICOM series cannot be used here; empty if it can."""
    if path.suffix != ENDING or _find_program():
        return ""
    return f"a DICOM series, and {PROGRAM} is not installed: pip install 'brainwhy[dicom]', or download NIfTI"


def convert_series(cohort: Cohort, folder: Path, progress: Progress) -> Cohort:
    """Put NIfTI files in the place of a cohort's DICOM series; what cannot be converted becomes an exclusion.

    Args:
        cohort: a path that ends in .dcm stands for all files beside it.
        folder: where the NIfTI files go; those of unchanged series are taken from there.
        progress: where to count.
    """
    scans = cohort.scans.copy()
    series = scans.index[scans["path"].str.endswith(ENDING)]
    if not len(series):
        return cohort
    reasons = pd.Series("", index=scans.index, dtype="object")
    folder.mkdir(parents=True, exist_ok=True)
    with progress.task("converting DICOM series", len(series)) as task:
        for index in series:
            source = Path(scans.loc[index, "path"]).parent
            target = folder / f"{scans.loc[index, 'scan']}-{_state(source)}.nii.gz"
            reasons[index] = "" if target.is_file() else _convert(source, target)
            scans.loc[index, "path"] = str(target)
            task.advance()
    return exclude(dataclasses.replace(cohort, scans=scans), reasons, "ingest")


def _find_program() -> str | None:
    """Return the path of dcm2niix: of the Python package where it is installed, else on the PATH; None if neither."""
    try:
        import dcm2niix  # noqa: PLC0415
    except ImportError:
        return shutil.which(PROGRAM)
    return str(dcm2niix.bin)


def _state(source: Path) -> str:
    """Return twelve digits that change with the files of a series."""
    files = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in source.glob(f"[!.]*{ENDING}"))
    return hashlib.sha256(repr(files).encode()).hexdigest()[:12]


def _convert(source: Path, target: Path) -> str:
    """Convert a series; return why it did not work, or an empty text."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        command = [_find_program() or PROGRAM, "-z", "y", "-b", "n", "-f", "scan", "-o", scratch, str(source)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{PROGRAM} did not run ({type(error).__name__})"
        made = sorted(Path(scratch).glob("*.nii.gz"))
        if done.returncode or len(made) != 1:
            output = (done.stderr or done.stdout).strip().splitlines()
            return f"{PROGRAM} made {len(made)} images of {source.name}" + (f": {output[-1]}" if output else "")
        made[0].replace(target)
    return ""
