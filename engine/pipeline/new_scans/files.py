"""New scans from the files that a user names, with what a table says of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from engine.cohort.checks import inspect_all, without_unplaced
from engine.cohort.columns import automatic, frame_of
from engine.cohort.groups import in_groups
from engine.cohort.scans import COLUMNS, Cohort, exclusion_table, scan_table
from engine.cohort.tables import read_table
from engine.config.cohort_schema import CohortConfig
from engine.errors import UserError
from engine.progress import Progress

UNKNOWN = "unknown"


def read_files(files: Sequence[Path], table: Path | None, config: CohortConfig, groups: tuple[str, str]) -> Cohort:
    """Return the scans of these files, of no group, explained and never trained on.

    Args:
        files: NIfTI or Analyze images.
        table: with a column of file names; optional columns as in a cohort's table (subject, age, sex, diagnosis, …).
        config: labels of the diagnosis.
        groups: of the networks.

    Raises:
        UserError: a file that is given twice, a table without a row for a file, or a value that is wrong.
    """
    twice = next((file for file in files if sum(file.resolve() == other.resolve() for other in files) > 1), None)
    if twice:
        raise UserError(f"{twice}: given twice; give each scan once")
    rows, names, source = _rows(files, table)
    remarks: list[str] = []
    frame = frame_of(rows, names, files, source, remarks)
    again = frame["scan"][frame["scan"].str.lower().duplicated()]
    if len(again):
        raise UserError(f"{source}: the identifier {again.iloc[0]} stands for two files; give each scan its own")
    label = frame["label"].astype("string").fillna("").str.strip()
    label = in_groups(label, config) if config.diagnosis else label
    frame = frame.assign(diagnosis=label.mask(label == "", UNKNOWN), group="", role="apply")
    kept = frame[[column for column in COLUMNS if column in frame]]
    scans = scan_table(kept.to_dict("records"))
    assert config.name is not None  # ReferenceRun.configuration names it
    return Cohort(config.name, scans, exclusion_table([]), groups, warnings=tuple(remarks))


def _rows(files: Sequence[Path], table: Path | None) -> tuple[pd.DataFrame, dict[str, str], Path]:
    """Return (a row a file as text, our column -> its column, where they are from)."""
    if table is None:
        rows = pd.DataFrame({"file": [str(file) for file in files]}, index=range(1, len(files) + 1), dtype="string")
        return rows, {"path": "file"}, Path("the files")
    found = read_table(table)
    names = automatic(list(found.columns))
    if "path" not in names:
        raise UserError(f"{table.name}: no column file; it has {', '.join(found.columns)}")
    return found.loc[[_row_of(file, found[names["path"]], table) for file in files]], names, table


def _row_of(file: Path, cells: pd.Series, table: Path) -> int:
    """Find the row that speaks of a file: by its path, relative to the table or as it is, else by its name."""
    paths = cells.dropna().map(Path)
    wanted = file.resolve()
    same = [row for row, path in paths.items() if wanted in ((table.parent / path).resolve(), path.resolve())]
    same = same or [row for row, path in paths.items() if path.name == file.name]
    if len(same) != 1:
        where = f"rows {', '.join(map(str, same))} have it" if same else "no row has it"
        raise UserError(f"{table.name}: one row for {file.name} is needed in the column {cells.name}; {where}")
    return same[0]


def inspected(cohort: Cohort, config: CohortConfig, registration: str, progress: Progress, memory: Path) -> Cohort:
    """Add the fingerprints of its files to a cohort; `registration` is that of the preprocessing.

    Raises:
        UserError: a file that cannot be used.
    """
    found = inspect_all(cohort, config, progress, memory, trained_on=False)
    found = without_unplaced(found, registration)
    if len(found.exclusions):
        row = found.exclusions.iloc[0]
        path = cohort.scans.set_index("scan")["path"][row["scan"]]
        raise UserError(f"{path}: {row['reason']}")
    return found
