"""The columns of a user's table under our names, as numbers and words that we know."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from engine.cohort.tables import hint, plain
from engine.cohort.values import numbers, sexes
from engine.config.cohort_schema import CohortConfig
from engine.errors import UserError

# Names under which a table may hold our columns, best first; compared without case, spaces and punctuation.
AUTOMATIC = {
    "scan": ("scan", "scanid"),
    "subject": ("subject", "subjectid", "participantid", "participant", "ptid", "patientid", "patient", "id"),
    "session": ("session", "sessionid", "visit", "viscode", "timepoint"),
    "label": ("label", "diagnosis", "dx", "group", "class"),
    "age": ("age", "ageatscan", "ageyears"),
    "sex": ("sex", "gender", "mf", "ptgender"),
    "site": ("site", "siteid", "centre", "center", "scanner"),
    "mmse": ("mmse", "mmsetotal"),
    "cdr": ("cdr", "cdrglobal", "cdglobal"),
    "cdr_sb": ("cdrsb", "cdrsumofboxes"),
    "screening_diagnosis": ("screeningdiagnosis", "screendiagnosis", "diagnosissc", "dxbl"),
    "icv": ("icv", "etiv", "tiv"),
    "phenotype": ("phenotype",),
    "path": ("path", "filepath", "file", "filename", "image", "nifti"),
}
NUMBERS = ("age", "mmse", "cdr", "cdr_sb", "icv", "phenotype")


def alias(name: str) -> str | None:
    """Return our name of a table's column, guessed from its name; None if it is like none of ours."""
    return next((ours for ours, candidates in AUTOMATIC.items() if plain(name) in candidates), None)


def automatic(columns: Sequence[str]) -> dict[str, str]:
    """Return for each column of ours the one of these columns that is most like it, where there is one."""
    by_plain = {plain(name): name for name in reversed(list(columns))}
    best = {ours: [by_plain[c] for c in candidates if c in by_plain] for ours, candidates in AUTOMATIC.items()}
    return {ours: columns[0] for ours, columns in best.items() if columns}


def our_columns(
    table: pd.DataFrame, config: CohortConfig, file: Path, given: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return our column name -> the table's, from the configuration or else by likeness.

    Args:
        table: as text.
        config: of the cohort.
        file: the table's, for messages.
        given: what the reader of a known kind of data knows; it goes over both.

    Raises:
        UserError: a column of the configuration that is not there, or none that could hold the label.
    """
    for ours, theirs in config.columns.items():
        if ours not in AUTOMATIC:
            raise UserError(f"cohort.columns: {ours} is none of our columns: {', '.join(AUTOMATIC)}")
        if theirs not in table.columns:
            raise UserError(f"{file.name}: no column {theirs} (cohort.columns.{ours}){hint(theirs, table)}")
    names = automatic([name for name in table.columns if name not in config.columns.values()]) | config.columns
    names |= given or {}
    if config.diagnosis and "label" not in names:
        raise UserError(
            f"{file.name}: no column with the label; name it with cohort.columns.label; "
            f"the columns are {', '.join(table.columns)}"
        )
    return names


def frame_of(
    table: pd.DataFrame, names: dict[str, str], paths: Sequence[Path], file: Path, remarks: list[str] | None = None
) -> pd.DataFrame:
    """Return our columns, then those of the table that rules may read and that have no name of ours.

    Args:
        table: one row a scan, as text; the index is the row of the user's table, for messages.
        names: our column -> the table's.
        paths: the file of each row.
        file: the table's, for messages.
        remarks: gets a line for each kind of value that was not taken as it is written.

    Raises:
        UserError: a value that is not what its column holds, with its row.
    """
    frame = pd.DataFrame({"row": table.index}, index=table.index)
    frame["path"] = [str(path) for path in paths]
    for ours in ("subject", "session", "label", "site", "screening_diagnosis"):
        frame[ours] = table[names[ours]].fillna("") if ours in names else ""
    for ours in NUMBERS:
        frame[ours] = numbers(table, names[ours], ours, file, remarks) if ours in names else float("nan")
    icv = frame["icv"].median()
    if 500 < icv < 3000:  # given in ml
        frame["icv"] *= 1000
    frame["sex"] = sexes(table, names["sex"], file, remarks) if "sex" in names else ""
    if "subject" in names and (frame["subject"] == "").any():
        raise UserError(
            f"{file.name} row {frame.index[frame['subject'] == ''][0]}: no {names['subject']} (the subject)"
        )
    frame["scan"] = _scan_ids(table, frame, names, file)
    if "subject" not in names:
        frame["subject"] = frame["scan"]
    frame["simulated"] = False
    ours = {name.lower() for name in frame.columns}
    other = [name for name in table.columns if name and name.lower() not in ours]
    return pd.concat([frame, table[other]], axis=1).reset_index(drop=True)


def safe_name(text: str) -> str:
    """Turn a text into a file name for every system: [A-Za-z0-9_.-], at most 100 characters."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")[:100] or "scan"


def _scan_ids(table: pd.DataFrame, frame: pd.DataFrame, names: dict[str, str], file: Path) -> list[str]:
    """Return identifiers that are unique, without regard to case, and safe as file names."""
    if "scan" in names:
        given = table[names["scan"]].fillna("")
        if (given == "").any():
            raise UserError(
                f"{file.name} row {given.index[given == ''][0]}: no {names['scan']} (the scan's identifier)"
            )
        ids = given.map(safe_name)
        again = ids[ids.duplicated(keep=False) & ~given.duplicated(keep=False)]
        if len(again):
            same = given[ids == again.iloc[0]]
            raise UserError(
                f"{file.name} rows {', '.join(map(str, same.index))}: the identifiers {' and '.join(same)} differ only "
                f"in characters that file names cannot have (both become {again.iloc[0]}); rename one"
            )
        return ids.tolist()
    if "subject" not in names:
        given = frame["path"].map(lambda path: Path(path).name.removesuffix(".gz").removesuffix(".nii"))
    else:
        given = frame["subject"].where(frame["session"] == "", frame["subject"] + "_" + frame["session"])
    ids, taken, first = [], set(), {}
    for text, path in zip(given, frame["path"], strict=True):
        # The same file twice keeps its name, so that the duplicate is seen and reported.
        if path not in first:
            base = name = safe_name(text)
            number = 1
            while name.lower() in taken:
                number += 1
                name = f"{base}_{number}"
            taken.add(name.lower())
            first[path] = name
        ids.append(first[path])
    return ids
