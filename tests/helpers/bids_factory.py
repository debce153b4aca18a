"""Made-up BIDS datasets, named as the specification wants."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

Maker = Callable[[Path], object]
SPACE = "MNI152NLin2009cAsym"
PEOPLE = """participant_id\tage\tsex\tdx\thandedness
sub-01\t71\tF\t1\tR
sub-02\t89+\tM\t1\tR
sub-03\t68\tF\t2\tn/a
sub-04\t70\tM\t2\tL
sub-05\tn/a\tF\t3\tR
sub-06\t66\tF\t2\tR
"""
LEVELS = {
    "dx": {
        "Description": "clinical diagnosis at enrolment",
        "Levels": {"1": "Alzheimer's disease", "2": {"Description": "Healthy control"}, "3": "MCI"},
    },
    "sex": {"Levels": {"F": "female", "M": "male"}},
}
IMAGES = (
    "sub-01/ses-M00/anat/sub-01_ses-M00_run-1_T1w.nii.gz",
    "sub-01/ses-M00/anat/sub-01_ses-M00_run-2_T1w.nii.gz",
    "sub-01/ses-M12/anat/sub-01_ses-M12_T1w.nii.gz",
    "sub-02/anat/sub-02_acq-mprage_T1w.nii.gz",
    "sub-02/anat/sub-02_T2w.nii.gz",
    "sub-03/anat/sub-03_T1w.nii",
    "sub-04/ses-M00/anat/sub-04_ses-M00_T1w.nii.gz",
    "sub-04/ses-M12/anat/sub-04_ses-M12_T1w.nii.gz",
    "sub-05/anat/sub-05_T1w.nii.gz",
    "sub-07/anat/sub-07_T1w.nii.gz",
)
SESSIONS = "session_id\tacq_time\tDX\tage\tMMSE\nses-M00\t2010-01-02\t2\t70\t29\nses-M12\t2011-01-03\tMCI\t71\t26\n"


def touch(file: Path) -> None:
    """A file with something in it."""
    file.write_bytes(file.name.encode())


def dataset(root: Path, make: Maker = touch, more: int = 0) -> Path:
    """Six participants, one without an image; one person more has an image alone. sub-04 becomes MCI after a year.

    Args:
        root: its folder.
        make: writes one image.
        more: further people, every other one of them ill.
    """
    others = [f"sub-{number}" for number in range(50, 50 + more)]
    for name in (*IMAGES, *(f"{person}/anat/{person}_T1w.nii.gz" for person in others)):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        make(file)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "made up", "BIDSVersion": "1.10.0"}))
    rows = "".join(f"{person}\t{65 + i}\tF\t{i % 2 + 1}\tR\n" for i, person in enumerate(others))
    (root / "participants.tsv").write_text(PEOPLE + rows)
    (root / "participants.json").write_text(json.dumps(LEVELS))
    (root / "sub-04" / "sub-04_sessions.tsv").write_text(SESSIONS)
    (root / "sessions.json").write_text(json.dumps({"DX": LEVELS["dx"]}))
    return root


def derivatives(root: Path, make: Maker = touch, more: int = 0) -> Path:
    """What fMRIPrep leaves of the people above, beside its brain masks; `more` as for `dataset`."""
    for person in (f"sub-{number:02d}" for number in (*range(1, 6), *range(50, 50 + more))):
        for name in (f"space-{SPACE}_desc-preproc_T1w", f"space-{SPACE}_desc-brain_mask", "desc-preproc_T1w"):
            file = root / "derivatives" / "fmriprep" / person / "anat" / f"{person}_{name}.nii.gz"
            file.parent.mkdir(parents=True, exist_ok=True)
            make(file)
    return root
