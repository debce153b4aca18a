"""A download of LONI's Image and Data Archive: collection CSVs and ADNI/<PTID>/<description>/<time>/<image id>/."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from engine.cohort import dicom
from engine.cohort.assemble import ReaderNotes, assemble
from engine.cohort.columns import frame_of, our_columns
from engine.cohort.readers.adni.visits import Visits, site_of
from engine.cohort.scans import Cohort
from engine.cohort.tables import plain, read_table
from engine.cohort.values import as_text
from engine.cohort.walking import visible_files
from engine.config.cohort_schema import CohortConfig
from engine.errors import UserError

COLUMNS = {"imagedataid", "subject", "group", "visit", "description"}
OTHER_COLUMNS = ("sex", "age", "modality", "acqdate")
ENDINGS = (".nii", ".nii.gz", dicom.ENDING)
IMAGE_ID = re.compile(r"I?(\d+)")
FILE_ID = re.compile(r"_(I\d+)\.(?:nii|nii\.gz|dcm)$")
MRI = {"", "mri", "mr"}


@dataclass(frozen=True)
class CollectionRow:
    """A row of a collection, and the file that was downloaded for it."""

    image: str  # I45108
    values: dict[str, str]  # by plain column names
    where: str  # adni.csv row 2
    path: Path | None
    rank: int | None  # place of the description in cohort.adni.descriptions

    @property
    def scan(self) -> str:
        return f"{self.values['subject']}_{self.image}"

    @property
    def visit(self) -> tuple[str, str]:
        return self.values["subject"], self.values["visit"]


def read(files: Sequence[Path], folder: Path, config: CohortConfig, visits: Visits | None) -> Cohort:
    """Read the best scan of each visit, by the order of `cohort.adni.descriptions`.

    Args:
        files: collection CSVs.
        folder: with the tree.
        config: of the cohort.
        visits: ADNIMERGE: the diagnosis of each visit. Without it every visit has the Group of its subject, which is
            the diagnosis at screening.

    Raises:
        UserError: a table that contradicts itself, no image at all, see also `assemble`.
    """
    there = _files(folder)
    remarks = list(visits.warnings if visits else ())
    listed = _list_rows(files, there, config.adni.descriptions, remarks)
    if not any(one.path for one in listed):
        raise UserError(
            f"--data {folder}: none of the {len(listed)} images of {files[0].name} is there; files end in _I123456.nii "
            "or lie in a folder I123456"
        )
    reasons = {one.image: reason for one in listed if (reason := _unusable(one))}
    reasons |= _not_the_best([one for one in listed if one.image not in reasons])
    chosen = [one for one in listed if one.image not in reasons]
    rows, unknown = _rows(chosen, visits)
    reasons |= unknown
    left_out = [
        {"scan": one.scan, "subject": one.values["subject"], "reason": reasons[one.image]}
        for one in listed if one.image in reasons
    ]  # fmt: skip
    left_out += [
        {"scan": path.name.split(".")[0], "subject": "", "reason": f"{image} is in no collection table"}
        for image, path in there.items() if image not in {one.image for one in listed}
    ]  # fmt: skip
    if not rows:
        raise UserError(f"{files[0].name}: no scan can be used ({len(left_out)} left out); {left_out[0]['reason']}")
    table = pd.DataFrame(rows, dtype="string")
    paths = [one.path for one in chosen if one.image not in reasons and one.path]
    names = our_columns(table, config, files[0], {name: name for name in table.columns if name not in config.columns})
    frame = frame_of(table, names, paths, files[0], remarks)
    notes = ReaderNotes(files[0].name, _notes(files, listed, there, chosen, visits), left_out, "--data", remarks)
    return assemble(frame, config, folder, notes)


def _notes(
    files: Sequence[Path],
    listed: list[CollectionRow],
    there: dict[str, Path],
    chosen: list[CollectionRow],
    visits: Visits | None,
) -> tuple[str, ...]:
    diagnosis = f"of each visit, from {visits.file.name}" if visits else (
        "the Group of the subject at screening for every visit; put ADNIMERGE.csv there for that of each visit"
    )  # fmt: skip
    return (
        f"{len(listed)} images in {', '.join(file.name for file in files)}, {len(there)} in the folder, "
        f"{len(chosen)} visits",
        f"diagnosis: {diagnosis}",
    )


def _list_rows(
    files: Sequence[Path], there: dict[str, Path], descriptions: Sequence[str], remarks: list[str]
) -> list[CollectionRow]:
    rows: dict[str, CollectionRow] = {}
    for file in files:
        table = read_table(file)
        for column in (name for name in table.columns if plain(name) == "age"):
            table[column] = as_text(table, column, "age", file, remarks)
        table = table.fillna("")
        table.columns = [plain(name) for name in table.columns]
        for row, values in zip(table.index, table.to_dict("records"), strict=True):
            one = _one(values, f"{file.name} row {row}", there, descriptions)
            before = rows.setdefault(one.image, one)
            # Collections overlap; the same image must be the same everywhere.
            for column in ("subject", "group", "visit"):
                if before.values[column] != one.values[column]:
                    raise UserError(
                        f"{one.where}: {one.image} has the {column} {one.values[column]!r}, "
                        f"but {before.values[column]!r} in {before.where}; keep the right one"
                    )
    return list(rows.values())


def _one(values: dict[str, str], where: str, there: dict[str, Path], descriptions: Sequence[str]) -> CollectionRow:
    number = IMAGE_ID.fullmatch(values["imagedataid"])
    if not number:
        raise UserError(f"{where}: Image Data ID is {values['imagedataid']!r}, not a number such as I45108")
    if not values["subject"]:
        raise UserError(f"{where}: no Subject")
    image = f"I{number[1]}"
    values = {name: values.get(name, "") for name in (*COLUMNS, *OTHER_COLUMNS)}
    described = values["description"].lower()
    ranks = (i for i, pattern in enumerate(descriptions) if fnmatch.fnmatchcase(described, pattern.lower()))
    return CollectionRow(image, values, where, there.get(image), next(ranks, None))


def _files(folder: Path) -> dict[str, Path]:
    """Return image id -> its NIfTI file, or the first file of its DICOM series."""
    files_by_image: dict[str, Path] = {}
    for container, files in visible_files(folder):
        for name in (name for name in files if name.endswith(ENDINGS)):
            named, parent = FILE_ID.search(name), container.name
            image = named[1] if named else parent if re.fullmatch(r"I\d+", parent) else ""
            earlier = files_by_image.get(image)
            if image and (earlier is None or (earlier.suffix == dicom.ENDING and not name.endswith(dicom.ENDING))):
                files_by_image[image] = container / name
    return files_by_image


def _unusable(one: CollectionRow) -> str:
    """Say why a listed image cannot be the scan of its visit; empty if it can."""
    if one.values["modality"].lower() not in MRI:
        return f"{one.values['modality']}, not MRI"
    if one.rank is None:
        return f"its description is not in cohort.adni.descriptions: {one.values['description']}"
    if one.path is None:
        return "its image is not in the folder"
    return dicom.cannot(one.path)


def _not_the_best(usable: list[CollectionRow]) -> dict[str, str]:
    """Return image -> the reason, for every image that is not the best of its visit."""
    best: dict[tuple[str, str], CollectionRow] = {}
    for one in usable:
        key = (one.rank, int(one.image[1:]))
        if one.visit not in best or key < (best[one.visit].rank, int(best[one.visit].image[1:])):
            best[one.visit] = one
    return {
        one.image: f"another scan of the visit is used: {used.image}, {used.values['description']}"
        for one in usable
        if (used := best[one.visit]) is not one
    }


def _rows(chosen: list[CollectionRow], visits: Visits | None) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Return the rows under our names, and the reason of every image whose visit is unknown."""
    rows, unknown = [], {}
    for one in chosen:
        values = one.values
        about = {"label": values["group"]}
        if visits:
            facts = visits.facts(*one.visit, values["acqdate"])
            if facts is None:
                unknown[one.image] = f"{visits.file.name} has no visit within {visits.days} days of it"
                continue
            about = facts
        given = {"screening_diagnosis": values["group"], **about, "scan": one.scan, "subject": values["subject"]}
        given |= {"session": values["visit"], "site": site_of(values["subject"], about.get("site"))}
        given |= {name: values[name] for name in ("age", "sex") if values[name]}
        rows.append({"label": "", **given, "description": values["description"]})
    return rows, unknown
