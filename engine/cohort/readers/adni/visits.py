"""ADNIMERGE: what is known of a subject's visit; dates and ages of ADNI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import pandas as pd

from engine.cohort.tables import plain, read_table
from engine.cohort.values import as_text, without_zeros
from engine.errors import UserError

VISITS = {"ptid", "viscode", "examdate", "dx", "dxbl"}
DATES = ("%Y-%m-%d", "%m/%d/%Y", "%m/%d/%y")
SCREENING = {"sc": "bl", "scmri": "bl", "f": "bl"}  # visits that ADNIMERGE counts as the baseline
# Our columns, and the columns of ADNIMERGE that hold them.
FACTS = {
    "label": "dx", "screening_diagnosis": "dxbl", "sex": "ptgender", "site": "site", "mmse": "mmse", "cdr_sb": "cdrsb",
    "icv": "icv",
}  # fmt: skip
# Columns of numbers, and ours that they become.
NUMBERS = {"age": "age", "yearsbl": "", "monthbl": "", "mmse": "mmse", "cdrsb": "cdr_sb", "icv": "icv"}


@dataclass(frozen=True)
class Visits:
    """The rows of ADNIMERGE, by subject; columns in plain spelling (`tables.plain`)."""

    file: Path
    by_subject: Mapping[str, pd.DataFrame]
    days: int
    warnings: tuple[str, ...] = ()

    @staticmethod
    def read(file: Path, days: int) -> Visits:
        """Read ADNIMERGE from its CSV.

        Args:
            file: the CSV.
            days: a scan belongs to the nearest visit if it is not further away.

        Raises:
            UserError: columns are missing, or what should be a number is none.
        """
        table = read_table(file)
        table.columns = [plain(name) for name in table.columns]
        missing = VISITS - set(table.columns)
        if missing:
            raise UserError(f"{file.name}: not ADNIMERGE; it lacks the columns {', '.join(sorted(missing))}")
        warnings = clean_numbers(table, file)
        return Visits(file, dict(list(table.groupby("ptid"))), days, tuple(warnings))

    def facts(self, subject: str, visit: str, when: str) -> dict[str, str] | None:
        """Return what is known of a visit, under our names; None if there is no such visit.

        Args:
            subject: PTID, e.g. 002_S_0001.
            visit: a VISCODE, or the name of a visit: then the nearest by date counts.
            when: date of the scan.
        """
        rows = self.by_subject.get(subject)
        if rows is None:
            return None
        row = self._row(rows, visit, when)
        if row is None:
            return None
        known = {ours: row[theirs] for ours, theirs in FACTS.items() if theirs in row and pd.notna(row[theirs])}
        age = age_at(row)
        return known | ({"age": age} if age else {})

    def _row(self, rows: pd.DataFrame, visit: str, when: str) -> pd.Series | None:
        code = without_zeros(plain(visit))
        same = rows[rows["viscode"].map(without_zeros, na_action="ignore") == SCREENING.get(code, code)]
        if len(same):
            return same.iloc[0]
        scanned = read_date(when)
        if scanned is None:
            return None
        apart = rows["examdate"].map(lambda text: abs((d - scanned).days) if (d := read_date(text)) else None)
        apart = pd.to_numeric(apart, errors="coerce")
        return rows.loc[apart.idxmin()] if apart.min() <= self.days else None


def clean_numbers(table: pd.DataFrame, file: Path) -> list[str]:
    """Take codes for missing out of ADNI's columns of numbers, in place; returns what was found, a line each.

    Raises:
        UserError: what is not a number, or is none that the score can have; names column and row.
    """
    remarks: list[str] = []
    for column in table.columns:
        if plain(column) in NUMBERS:
            table[column] = as_text(table, column, NUMBERS[plain(column)], file, remarks)
    return remarks


def read_date(text: object) -> date | None:
    """Read a date of ADNI's tables, year first or month first; None if it is none."""
    for pattern in DATES:
        try:
            return datetime.strptime(str(text).split(" ")[0], pattern).date()
        except ValueError:
            continue
    return None


def age_at(row: Mapping[str, str]) -> str | None:
    """Return the age at a visit, years: ADNIMERGE's AGE is that at baseline, Years_bl or Month_bl the time since.

    Args:
        row: columns in plain spelling.
    """
    values = {name: pd.to_numeric(row.get(name), errors="coerce") for name in ("age", "yearsbl", "monthbl")}
    if pd.isna(values["age"]):
        return None
    since = values["yearsbl"] if pd.notna(values["yearsbl"]) else values["monthbl"] / 12
    return f"{values['age'] + (0 if pd.isna(since) else since):.2f}"


def site_of(subject: str, site: object = None) -> str:
    """Return ADNI's centre as three digits, from the column SITE, else from the start of the PTID."""
    return str(site).zfill(3) if site is not None and pd.notna(site) else subject.split("_")[0]
