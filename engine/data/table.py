"""Reads a cohort from a folder of scans with a CSV or TSV table."""

from __future__ import annotations

import csv
import difflib
import re
import string
from pathlib import Path

import pandas as pd

from engine.config import CohortConfig, Join
from engine.data import groups
from engine.data.scan import COLUMNS, Cohort, exclusion_table, scan_table
from engine.errors import UserError

# Names under which a table may hold our columns, best first; compared without case, spaces and punctuation.
AUTOMATIC = {
    "scan": ("scan", "scanid"),
    "subject": ("subject", "subjectid", "participantid", "participant", "ptid", "patientid", "patient", "id"),
    "session": ("session", "sessionid", "visit", "viscode", "timepoint"),
    "label": ("label", "diagnosis", "dx", "group", "class"),
    "age": ("age", "ageatscan", "ageyears"),
    "sex": ("sex", "gender", "mf"),
    "site": ("site", "siteid", "centre", "center", "scanner"),
    "mmse": ("mmse", "mmsetotal"),
    "cdr": ("cdr", "cdrglobal", "cdglobal"),
    "icv": ("icv", "etiv", "tiv"),
    "path": ("path", "filepath", "file", "filename", "image", "nifti"),
}
NUMBERS = ("age", "mmse", "cdr", "icv")
SEXES = {"f": "F", "female": "F", "woman": "F", "m": "M", "male": "M", "man": "M"}
MISSING = {"", "na", "n/a", "nan", "null", "none"}
TABLE_ENDINGS = (".csv", ".tsv")
OLDEST = 120  # years


def read(config: CohortConfig) -> Cohort:
    """The scans that a table names, with their groups; those that cannot be used are exclusions.

    Raises:
        UserError: a folder, table, column or value that is missing or wrong. One line, with the mend.
    """
    folder = _folder(config)
    file = _table_file(folder, config.table)
    table = read_table(file)
    names = _our_columns(table, config, file)
    if config.join:
        _join(table, names, config.join, folder, file)
    frame = _frame(table, names, config, file)
    frame = groups.assign(frame, config)
    _refuse_duplicates(frame, file)
    frame = _drop_missing_files(frame, folder)
    groups.check_both_groups(frame, config, "after leaving out files that are not there")
    keep = frame["reason"] == ""
    left_out = frame.loc[~keep].assign(stage="ingest")
    return Cohort(
        name=config.name or folder.resolve().name,
        scans=scan_table(frame.loc[keep, [c for c in COLUMNS if c in frame]].to_dict("records")),
        exclusions=exclusion_table(left_out[["scan", "subject", "stage", "reason"]].to_dict("records")),
        groups=tuple(config.diagnosis or config.groups),
        defining=groups.defining_columns(config),
    )


def read_table(file: Path) -> pd.DataFrame:
    """A CSV (comma or semicolon) or TSV as text; the index is the row as a spreadsheet counts it (header 1).

    Raises:
        UserError: not there, not text, or without rows.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            header = stream.readline()
            separator = "\t" if file.suffix.lower() == ".tsv" else ";" if header.count(";") > header.count(",") else ","
            stream.seek(0)
            rows = list(csv.reader(stream, delimiter=separator))
    except FileNotFoundError:
        raise UserError(f"{file}: no such table") from None
    except (UnicodeDecodeError, csv.Error):
        raise UserError(f"{file.name}: not a text table in UTF-8; save it as CSV") from None
    except OSError as error:
        raise UserError(f"{file.name}: cannot be read ({error.strerror})") from None
    names = [name.strip() for name in rows[0]] if rows else []
    if not any(names):
        raise UserError(f"{file.name}: the table is empty")
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice:
        raise UserError(f"{file.name}: two columns are called {twice}; rename one")
    body = {n: row for n, row in enumerate(rows[1:], start=2) if any(cell.strip() for cell in row)}
    if not body:
        raise UserError(f"{file.name}: the table has a header and no rows")
    for n, row in body.items():
        if len(row) > len(names) and any(cell.strip() for cell in row[len(names) :]):
            raise UserError(f"{file.name} row {n}: {len(row)} cells under {len(names)} column names")
    cells = [[cell.strip() for cell in row[: len(names)]] + [""] * (len(names) - len(row)) for row in body.values()]
    table = pd.DataFrame(cells, columns=names, index=list(body), dtype="string")
    return table.mask(table.apply(lambda column: column.str.lower().isin(MISSING)))


def _folder(config: CohortConfig) -> Path:
    if config.data is None:
        raise UserError("the scans are missing: give their folder with --data FOLDER")
    folder = Path(config.data)
    if not folder.is_dir():
        what = "is a file; give the folder it lies in" if folder.exists() else "no such folder"
        raise UserError(f"--data {folder}: {what}")
    if not any(folder.iterdir()):
        raise UserError(f"--data {folder}: the folder is empty")
    return folder


def _table_file(folder: Path, name: str | None) -> Path:
    tables = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in TABLE_ENDINGS and p.name != "decisions.csv")
    there = f"there are {', '.join(tables)}" if tables else "there is no CSV or TSV in it"
    if name is None:
        if len(tables) == 1:
            return folder / tables[0]
        mend = "name one with cohort.table" if tables else "put a table with one row a scan there"
        raise UserError(f"--data {folder}: which table describes the scans? {there}; {mend}")
    if not (folder / name).is_file():
        raise UserError(f"cohort.table {name}: not in {folder}; {there}")
    if Path(name).suffix.lower() in {".xlsx", ".xls", ".ods"}:
        raise UserError(f"cohort.table {name}: spreadsheets are not read; save it as CSV")
    return folder / name


def _our_columns(table: pd.DataFrame, config: CohortConfig, file: Path) -> dict[str, str]:
    """Our column name -> the table's, from the configuration and, where it says nothing, by likeness."""
    for ours, theirs in config.columns.items():
        if ours not in AUTOMATIC:
            raise UserError(f"cohort.columns: {ours} is none of our columns: {', '.join(AUTOMATIC)}")
        if theirs not in table.columns:
            raise UserError(f"{file.name}: no column {theirs} (cohort.columns.{ours}){_hint(theirs, table)}")
    names = dict(config.columns)
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(table.columns)}
    for ours, candidates in AUTOMATIC.items():
        free = [plain[c] for c in candidates if c in plain and plain[c] not in config.columns.values()]
        if ours not in names and free:
            names[ours] = free[0]
    if config.diagnosis and "label" not in names:
        raise UserError(
            f"{file.name}: no column with the label; name it with cohort.columns.label; "
            f"the columns are {', '.join(table.columns)}"
        )
    return names


def _hint(name: str, table: pd.DataFrame) -> str:
    by_case = {column.lower(): column for column in reversed(table.columns)}
    close = difflib.get_close_matches(name.lower(), by_case, n=1)
    return f"; did you mean {by_case[close[0]]}?" if close else f"; the columns are {', '.join(table.columns)}"


def _join(table: pd.DataFrame, names: dict[str, str], join: Join, folder: Path, file: Path) -> None:
    """Adds columns of a second table in place, under our names."""
    second = read_table(_table_file(folder, join.table))
    for column in (join.key, *join.columns.values()):
        if column not in second.columns:
            raise UserError(f"{join.table}: no column {column} (cohort.join){_hint(column, second)}")
    if join.matches not in table.columns:
        raise UserError(f"{file.name}: no column {join.matches} (cohort.join.matches){_hint(join.matches, table)}")
    second = second[second[join.key].notna()]
    twice = second.loc[second[join.key].duplicated(), join.key]
    if len(twice):
        raise UserError(
            f"{join.table} row {twice.index[0]}: {twice.iloc[0]} is there twice; one row each is needed to join"
        )
    keyed = second.set_index(join.key)
    if not table[join.matches].isin(keyed.index).any():
        raise UserError(f"{join.table}: no {join.key} equals a {join.matches} of {file.name}")
    for ours, theirs in join.columns.items():
        added = f"{ours} ({join.table})" if ours in table.columns else ours
        table[added] = table[join.matches].map(keyed[theirs])
        names[ours] = added


def _frame(table: pd.DataFrame, names: dict[str, str], config: CohortConfig, file: Path) -> pd.DataFrame:
    """Our columns, then those of the table that rules may read and that have no name of ours."""
    frame = pd.DataFrame({"row": table.index}, index=table.index)
    frame["path"] = [str(path) for path in _paths(table, names, config, file)]
    for ours in ("subject", "session", "label", "site"):
        frame[ours] = table[names[ours]].fillna("") if ours in names else ""
    for ours in NUMBERS:
        frame[ours] = _numbers(table, names[ours], ours, file) if ours in names else float("nan")
    icv = frame["icv"].median()
    if 500 < icv < 3000:  # given in ml
        frame["icv"] *= 1000
    sex = table[names["sex"]].str.lower().map(SEXES) if "sex" in names else pd.Series("", index=table.index)
    frame["sex"] = sex.fillna("")
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


def _paths(table: pd.DataFrame, names: dict[str, str], config: CohortConfig, file: Path) -> list[Path]:
    by_case = {name.lower(): name for name in reversed(table.columns)}
    try:
        fields = list(
            dict.fromkeys(field for _, field, _, _ in string.Formatter().parse(config.path) if field is not None)
        )
    except ValueError:
        raise UserError(f"cohort.path {config.path}: braces do not match") from None
    columns = {}
    for field in fields:
        column = field if field in table.columns else names.get(field, by_case.get(field.lower()))
        if column is None:
            mend = (
                "give a pattern such as t1/{id}_T1.nii.gz with cohort.path" if field == "path" else "mend cohort.path"
            )
            raise UserError(f"{file.name}: no column {field} for the scans' files; {mend}{_hint(field, table)}")
        columns[field] = column
        gap = table.index[table[column].isna()]
        if len(gap):
            raise UserError(f"{file.name} row {gap[0]}: no {column}, which the scan's file needs")
    paths = []
    for _, row in table.iterrows():
        name = config.path
        for field, column in columns.items():
            name = name.replace("{" + field + "}", row[column])
        paths.append(Path(config.data) / name)
    return paths


def _numbers(table: pd.DataFrame, column: str, ours: str, file: Path) -> pd.Series:
    numbers = pd.to_numeric(table[column], errors="coerce").astype("float64")
    wrong = table.index[numbers.isna() & table[column].notna()]
    if len(wrong):
        raise UserError(
            f"{file.name} row {wrong[0]}: {column} is {table.loc[wrong[0], column]!r}, not a number; "
            "leave it empty if it is not known"
        )
    if ours == "age":
        odd = table.index[(numbers < 0) | (numbers > OLDEST)]
        if len(odd):
            raise UserError(f"{file.name} row {odd[0]}: {column} {numbers[odd[0]]:g} is outside 0 to {OLDEST} years")
    return numbers


def safe_name(text: str) -> str:
    """A text as a file name on every system: [A-Za-z0-9_.-], at most 100 characters."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")[:100] or "scan"


def _scan_ids(table: pd.DataFrame, frame: pd.DataFrame, names: dict[str, str], file: Path) -> list[str]:
    """Identifiers that are unique, without regard to case, and safe as file names."""
    if "scan" in names:
        given = table[names["scan"]].fillna("")
        if (given == "").any():
            raise UserError(
                f"{file.name} row {given.index[given == ''][0]}: no {names['scan']} (the scan's identifier)"
            )
        return [safe_name(text) for text in given]
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


def _refuse_duplicates(frame: pd.DataFrame, file: Path) -> None:
    """Raises UserError for an identifier or a file that two rows share."""
    for key, what in (("path", "file"), ("scan", "identifier")):
        same = frame[key].str.lower() if key == "scan" else frame[key]
        if same.duplicated().any():
            rows = frame[same == same[same.duplicated()].iloc[0]]
            raise UserError(
                f"{file.name} rows {', '.join(map(str, rows['row']))}: the same {what} "
                f"({rows['scan'].iloc[0]}); keep one row a scan"
            )


def _drop_missing_files(frame: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Rows whose file is not there get a reason.

    Raises:
        UserError: none of the files is there.
    """
    wanted = frame["reason"] == ""
    paths = frame.loc[wanted, "path"].map(Path)
    there = paths.map(Path.is_file).astype(bool)
    if not there.any():
        first = paths.iloc[0]
        shown = first.relative_to(folder) if first.is_relative_to(folder) else first.name
        raise UserError(
            f"none of the {len(paths)} files that the table names is in {folder}; the first is {shown}; see cohort.path"
        )
    missing = there.index[~there]
    frame.loc[missing, "reason"] = [f"file not found: {paths[i].name}" for i in missing]
    return frame
