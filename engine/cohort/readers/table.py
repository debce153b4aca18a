"""Reads a cohort from a folder of scans with a CSV or TSV table."""

from __future__ import annotations

import string
from pathlib import Path

import pandas as pd

from engine.cohort.assemble import ReaderNotes, assemble
from engine.cohort.columns import frame_of, our_columns
from engine.cohort.scans import Cohort
from engine.cohort.tables import data_folder, hint, read_table, table_file
from engine.cohort.values import rows_in_words, zeros_lost
from engine.config.cohort_schema import CohortConfig, Join
from engine.errors import UserError


def read(config: CohortConfig) -> Cohort:
    """Read the scans that a table names, with their groups; those that cannot be used are exclusions.

    Raises:
        UserError: a folder, table, column or value that is missing or wrong. One line, with the mend.
    """
    folder = data_folder(config)
    file = table_file(folder, config.table)
    table = read_table(file)
    names = our_columns(table, config, file)
    remarks: list[str] = []
    if config.join:
        remarks += _join(table, names, config.join, folder, file)
    paths = paths_of(table, names, config.path or "{path}", folder, file)
    frame = frame_of(table, names, paths, file, remarks)
    return assemble(frame, config, folder, ReaderNotes(file.name, warnings=remarks))


def _join(table: pd.DataFrame, names: dict[str, str], join: Join, folder: Path, file: Path) -> list[str]:
    """Add columns of a second table in place, under our names; return a line for rows that it lacks."""
    second = read_table(table_file(folder, join.table))
    for column in (join.key, *join.columns.values()):
        if column not in second.columns:
            raise UserError(f"{join.table}: no column {column} (cohort.join){hint(column, second)}")
    if join.matches not in table.columns:
        raise UserError(f"{file.name}: no column {join.matches} (cohort.join.matches){hint(join.matches, table)}")
    second = second[second[join.key].notna()]
    twice = second.loc[second[join.key].duplicated(), join.key]
    if len(twice):
        raise UserError(
            f"{join.table} row {twice.index[0]}: {twice.iloc[0]} is there twice; one row each is needed to join"
        )
    keyed = second.set_index(join.key)
    wanted = table[join.matches].dropna()
    unknown = wanted[~wanted.isin(keyed.index)]
    if len(unknown) == len(wanted):
        first = next(filter(None, (zeros_lost(name, keyed.index) for name in unknown)), "")
        raise UserError(f"{join.table}: no {join.key} equals a {join.matches} of {file.name}{first}")
    for ours, theirs in join.columns.items():
        added = f"{ours} ({join.table})" if ours in table.columns else ours
        table[added] = table[join.matches].map(keyed[theirs])
        names[ours] = added
    return [f"{join.table} says nothing of {rows_in_words(unknown.index)} of {file.name}"] if len(unknown) else []


def paths_of(table: pd.DataFrame, names: dict[str, str], pattern: str, folder: Path, file: Path) -> list[Path]:
    """Return the file of each row, by a pattern with columns in braces: the table's or ours, in any case.

    Raises:
        UserError: a malformed pattern, a column that is not there, a row without a value.
    """
    by_case = {name.lower(): name for name in reversed(table.columns)}
    try:
        fields = list(dict.fromkeys(field for _, field, _, _ in string.Formatter().parse(pattern) if field is not None))
    except ValueError:
        raise UserError(f"cohort.path {pattern}: braces do not match") from None
    columns = {}
    for field in fields:
        column = field if field in table.columns else names.get(field, by_case.get(field.lower()))
        if column is None:
            mend = (
                "give a pattern such as t1/{id}_T1.nii.gz with cohort.path" if field == "path" else "mend cohort.path"
            )
            raise UserError(f"{file.name}: no column {field} for the scans' files; {mend}{hint(field, table)}")
        columns[field] = column
        gap = table.index[table[column].isna()]
        if len(gap):
            raise UserError(f"{file.name} row {gap[0]}: no {column}, which the scan's file needs")
    paths = []
    for _, row in table.iterrows():
        name = pattern
        for field, column in columns.items():
            name = name.replace("{" + field + "}", row[column])
        paths.append(folder / name)
    return paths
