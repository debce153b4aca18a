"""Made-up OASIS downloads: folders and file names as they come, tables with the original's columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

Maker = Callable[[Path], object]
CROSS_HEADER = "ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay"
CROSS = (
    "OAS1_9001_MR1,F,R,74,2,3,29,0,1344,0.743,1.306,N/A",
    "OAS1_9002_MR1,M,R,73,4,3,27,0.5,1454,0.708,1.207,N/A",
    "OAS1_9003_MR1,M,R,28,,,,,1588,0.803,1.105,N/A",
    "OAS1_9004_MR1,F,R,58,5,1,30,0,1264,0.831,1.389,N/A",
    "OAS1_9005_MR1,F,R,80,1,4,20,1,1300,0.7,1.3,N/A",
    "OAS1_9003_MR2,M,R,28,,,,,1590,0.803,1.105,12",
    "OAS1_9006_MR1,F,R,71,2,3,29,0,1344,0.743,1.306,N/A",
)
LONG_HEADER = "Subject ID,MRI ID,Group,Visit,MR Delay,M/F,Hand,Age,EDUC,SES,MMSE,CDR,eTIV,nWBV,ASF"
LONG = (
    "OAS2_9001,OAS2_9001_MR1,Nondemented,1,0,M,R,87,14,2,27,0,1987,0.696,0.883",
    "OAS2_9001,OAS2_9001_MR2,Nondemented,2,457,M,R,88,14,2,30,0.5,2004,0.681,0.876",
    "OAS2_9002,OAS2_9002_MR1,Demented,1,0,F,R,75,12,,23,0.5,1678,0.736,1.046",
    "OAS2_9002,OAS2_9002_MR3,Demented,2,1895,F,R,80,12,,22,1,1698,0.701,1.034",
    "OAS2_9003,OAS2_9003_MR1,Converted,1,0,F,R,88,18,3,28,0,1215,0.71,1.444",
    "OAS2_9003,OAS2_9003_MR2,Converted,2,538,F,R,90,18,3,27,0.5,1200,0.718,1.462",
)


def touch(file: Path) -> None:
    """A file with something in it, and its header."""
    file.write_bytes(file.name.encode())
    if file.suffix == ".img":
        file.with_suffix(".hdr").write_bytes(file.name.encode())


def _make(make: Maker, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    make(file)


def cross_sectional(root: Path, make: Maker = touch, more: int = 0) -> Path:
    """OASIS-1 on two discs; the last person has no folder. `more` people are aged 65 and older, every other one ill."""
    others = [
        f"OAS1_{9100 + i}_MR1,F,R,{65 + i},2,3,25,{(i % 2) / 2:g},1400,0.7,1.2,N/A" for i in range(more)
    ]  # fmt: skip
    rows = [*CROSS, *others]
    for number, row in enumerate(row for row in rows if "9006" not in row):
        session = row.split(",")[0]
        folder = root / f"disc{1 + number % 2}" / session
        processed = folder / "PROCESSED" / "MPRAGE"
        stem = f"{session}_mpr_n4_anon"
        for file in (
            processed / "T88_111" / f"{stem}_111_t88_gfc.img",
            processed / "T88_111" / f"{stem}_111_t88_masked_gfc.img",
            processed / "SUBJ_111" / f"{stem}_sbj_111.img",
            folder / "FSL_SEG" / f"{stem}_111_t88_masked_gfc_fseg.img",
            folder / "RAW" / f"{session}_mpr-1_anon.img",
            folder / "RAW" / f"{session}_mpr-2_anon.img",
        ):
            _make(make, file)
        (processed / "T88_111" / f"{stem}_111_t88_gfc_tra_90.gif").write_bytes(b"GIF89a")
        (folder / f"{session}.txt").write_text(f"SESSION ID:    {session}\n")
    (root / "oasis_cross-sectional.csv").write_text("\n".join([CROSS_HEADER, *rows]))
    return root


def longitudinal(root: Path, make: Maker = touch) -> Path:
    """OASIS-2 in two parts."""
    for number, row in enumerate(LONG):
        raw = root / f"OAS2_RAW_PART{1 + number % 2}" / row.split(",")[1] / "RAW"
        for run in (1, 2, 3):
            _make(make, raw / f"mpr-{run}.nifti.img")
    (root / "oasis_longitudinal.csv").write_text("\n".join([LONG_HEADER, *LONG]))
    return root


def analyze(file: Path, data: np.ndarray, mm: float, orient: int = 0) -> Path:
    """An Analyze 7.5 pair with 16-bit integers, big-endian, as OASIS-1 has them; no affine, a plane at most."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image = nib.AnalyzeImage(data.astype(">i2"), None, nib.AnalyzeHeader(endianness=">"))
    image.header.set_data_dtype(np.int16)
    image.header.set_zooms((mm,) * 3)
    image.header["orient"] = bytes([orient])
    nib.save(image, file)
    return file
