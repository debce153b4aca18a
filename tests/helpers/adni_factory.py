"""Made-up ADNI downloads: folders, files and columns are named as LONI names them, the people are nobody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

Maker = Callable[[Path], object]
HEADER = (
    "Image Data ID,Subject,Group,Sex,Age,Visit,Modality,Description,Type,Acq Date,Format,Downloaded"
)  # fmt: skip
SCALED = "MPR; GradWarp; B1 Correction; N3; Scaled"
REPEAT = "MPR-R; GradWarp; B1 Correction; N3; Scaled"
# image, subject, group, sex, age, visit, modality, description, date
IMAGES = (
    ("900101", "900_S_9001", "AD", "M", "74", "sc", "MRI", REPEAT, "1/15/2006"),
    ("900102", "900_S_9001", "AD", "M", "74", "sc", "MRI", SCALED, "1/15/2006"),
    ("900103", "900_S_9001", "AD", "M", "74", "sc", "MRI", SCALED + "_2", "1/15/2006"),
    ("900104", "900_S_9001", "AD", "M", "74", "sc", "MRI", "Localizer", "1/15/2006"),
    ("900105", "900_S_9001", "AD", "M", "74", "sc", "PET", "FDG", "1/16/2006"),
    ("900106", "900_S_9001", "AD", "M", "75", "m12", "MRI", SCALED + "_2", "1/20/2007"),
    ("900201", "900_S_9002", "CN", "F", "70", "sc", "MRI", SCALED, "2/1/2006"),
    ("900202", "900_S_9002", "CN", "F", "71", "m12", "MRI", "MP-RAGE", "2/3/2007"),
    ("900301", "900_S_9003", "MCI", "F", "68", "sc", "MRI", SCALED, "3/1/2006"),
    ("900302", "900_S_9003", "MCI", "F", "70", "ADNI1/GO Month 24", "MRI", REPEAT, "3/5/2008"),
    ("900401", "901_S_9004", "CN", "M", "66", "sc", "MRI", SCALED, "4/1/2006"),
    ("900501", "901_S_9005", "AD", "M", "80", "sc", "MRI", SCALED, "5/1/2006"),
)
NOT_DOWNLOADED = "900501"
MERGE_HEADER = "RID,PTID,VISCODE,SITE,DX_bl,EXAMDATE,AGE,PTGENDER,CDRSB,MMSE,ICV,DX,Years_bl,Month_bl"
MERGE = (
    "9001,900_S_9001,bl,900,AD,2006-02-01,74.3,Male,4.5,22,1500000,Dementia,0,0",
    "9001,900_S_9001,m12,900,AD,2007-02-02,74.3,Male,6,19,1500000,Dementia,1.0,11.9",
    "9002,900_S_9002,bl,900,CN,2006-02-20,70.1,Female,0,30,1400000,CN,0,0",
    "9002,900_S_9002,m12,900,CN,2007-02-22,70.1,Female,0,29,1400000,CN,1.0,11.9",
    "9003,900_S_9003,bl,900,LMCI,2006-03-20,68.2,Female,1.5,27,1300000,MCI,0,0",
    "9003,900_S_9003,m24,900,LMCI,2008-03-20,68.2,Female,5,23,1300000,Dementia,2.0,23.9",
    "9004,901_S_9004,m48,901,CN,2010-04-20,66.0,Male,0,30,1450000,CN,4.0,47.8",
)
MERGED_HEADER = "RID,PTID,VISCODE,DX,EXAMDATE,Image.ID,Scan.Date,Sequence,Visit,Month_bl,Screen.Diagnosis"
MERGED = (
    "9001,900_S_9001,bl,Dementia,2006-02-01,900102,1/15/2006,MPR,ADNI Screening,0,AD",
    "9001,900_S_9001,m12,Dementia,2007-02-02,900106,1/20/2007,MPR,ADNI1/GO Month 12,11.9,AD",
    "9002,900_S_9002,bl,CN,2006-02-20,900201,2/1/2006,MPR,ADNI Screening,0,NL",
    "9003,900_S_9003,bl,MCI,2006-03-20,900301,3/1/2006,MPR,ADNI Screening,0,MCI",
    "9003,900_S_9003,m24,Dementia,2008-03-20,900302,3/5/2008,MPR,ADNI1/GO Month 24,23.9,MCI",
    "9004,901_S_9004,bl,CN,2006-04-20,900401,4/1/2006,MPR,ADNI Screening,0,NL",
    "9004,901_S_9004,m06,,2006-10-20,900402,10/1/2006,MPR,ADNI1/GO Month 6,5.9,NL",
)


def touch(file: Path) -> None:
    """A file with something in it."""
    file.write_bytes(file.name.encode())


def _make(make: Maker, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    make(file)


def image_file(root: Path, image: str, subject: str, description: str, day: str, ending: str = ".nii") -> Path:
    """Where LONI puts an image: what is neither letter nor digit becomes _ in the description."""
    plain = "".join(c if c.isalnum() or c in "-." else "_" for c in description)
    month, date, year = day.split("/")
    moment = f"{year}-{int(month):02d}-{int(date):02d}_08_20_30.0"
    name = f"ADNI_{subject}_MR_{plain}_Br_20070216235505428_S13408_I{image}{ending}"
    return root / "ADNI" / subject / plain / moment / f"I{image}" / name


def more_images(more: int) -> list[tuple[str, ...]]:
    """One image each of further people, every other one of them ill."""
    people = [(f"91{i:04d}", f"902_S_{9100 + i}", ("CN", "AD")[i % 2], "MF"[i % 2], str(65 + i)) for i in range(more)]
    return [(*person, "sc", "MRI", SCALED, "6/1/2006") for person in people]


def download(root: Path, make: Maker = touch, more: int = 0) -> Path:
    """A tree with two overlapping collections; one image of the list was not downloaded."""
    images = [*IMAGES, *more_images(more)]
    rows = []
    for image, subject, group, sex, age, visit, modality, description, day in images:
        if image != NOT_DOWNLOADED:
            _make(make, image_file(root, image, subject, description, day))
        cells = (
            f"I{image}",
            subject,
            group,
            sex,
            age,
            visit,
            modality,
            description,
            "Processed",
            day,
            "NiFTI",
            "7/1/2026",
        )
        rows.append(",".join(f'"{cell}"' for cell in cells))
    header = ",".join(f'"{name}"' for name in HEADER.split(","))
    (root / "ADNI1_1_07_2026.csv").write_text("\n".join([header, *rows[:8]]))
    (root / "ADNI1_2_07_2026.csv").write_text("\n".join([header, *rows[6:]]))
    return root


def adnimerge(root: Path) -> Path:
    """ADNIMERGE beside them: 900_S_9003 has converted; 901_S_9004 has no visit near the scan."""
    file = root / "ADNIMERGE.csv"
    file.write_text("\n".join([MERGE_HEADER, *MERGE]))
    return file


def merged(root: Path, make: Maker = touch, missing: str = "900401", rows: Sequence[str] = ()) -> Path:
    """The original study's table, with further rows, and its files; the image of one row is missing."""
    for row in (*MERGED, *rows):
        _, person, _, dx, _, image, day, _, visit, *_ = row.split(",")
        visit = visit.replace(" ", "")
        name = f"{person}_{day.replace('/', '-')}_{visit}_{image}_{dx}_Warped.nii.gz"
        if image != missing and dx:
            _make(make, root / person / visit / name)
    (root / "visits.csv").write_text("\n".join([MERGED_HEADER, *MERGED, *rows]))
    return root
