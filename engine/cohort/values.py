"""Cells of people's tables as values: numbers in several spellings, what a score can be, codes for missing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from engine.errors import UserError

OLDEST = 120  # years
SEXES = {"f": "F", "female": "F", "woman": "F", "m": "M", "male": "M", "man": "M"}
RANGES = {"age": (0, OLDEST), "mmse": (0, 30), "cdr_sb": (0, 18)}
CDR = (0, 0.5, 1, 2, 3)
# What studies write for a score that was not taken, e.g. -4 in ADNI and AIBL, 88 and 95 to 98 in NACC.
MISSING_CODES = (66, 77, 88, *range(95, 100), 666, 777, 888, *range(995, 1000), 7777, 8888, 9999, 99999)
CODED = ("mmse", "cdr", "cdr_sb", "icv")  # an age has no codes: one that cannot be is refused
ROWS_SHOWN = 5

_NUMBER = r"\d+(?:\.\d+)?"
_TOP_CODED = rf"(?:>=?|≥)\s*{_NUMBER}|{_NUMBER}\s*\+"
_DECIMAL_COMMA = r"^([+-]?\d+),(\d+)$"
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_RANGE = re.compile(rf"{_NUMBER}\s*(?:-|–|to)\s*{_NUMBER}")


def as_numbers(texts: pd.Series) -> pd.Series:
    """Return texts as numbers (float64); what is none becomes missing.

    Besides plain numbers: a decimal comma (70,5) unless it may part thousands (1,344), and top-coded values (89+, >89,
    ≥90), which count as the number they name.
    """
    text = texts.astype("string").str.strip()
    text = text.mask(text.str.fullmatch(_THOUSANDS.pattern).fillna(False))
    text = text.str.replace(_DECIMAL_COMMA, r"\1.\2", regex=True)
    text = text.mask(text.str.fullmatch(_TOP_CODED).fillna(False), text.str.strip(">=≥+ "))
    values = pd.to_numeric(text, errors="coerce").astype("float64")
    return values.where(np.isfinite(values))


def numbers(table: pd.DataFrame, column: str, ours: str, file: Path, remarks: list[str] | None = None) -> pd.Series:
    """Return a column as numbers, those that the score cannot have checked.

    Args:
        table: as text; the index is the row of the user's table, for messages.
        column: of the table.
        ours: our name of it, which says what values there can be; empty for other columns.
        file: the table's, for messages.
        remarks: gets a line for codes that were taken as missing and for top-coded values.

    Raises:
        UserError: what is not a number, or is none that this score can have; with its row.
    """
    values = as_numbers(table[column])
    wrong = table.index[values.isna() & table[column].notna()]
    if len(wrong):
        text = str(table.loc[wrong[0], column])
        raise UserError(f"{file.name} row {wrong[0]}: {column} is {_shown(text)}, {_not_a_number(text)}")
    remarks = [] if remarks is None else remarks
    impossible = ~_possible(values, ours) & values.notna()
    is_code = ((values < 0) & (values == values.round())) | values.isin(MISSING_CODES)
    coded = impossible & is_code & (ours in CODED)
    if (impossible & ~coded).any():
        row = table.index[impossible & ~coded][0]
        raise UserError(
            f"{file.name} row {row}: {column} {values[row]:g} is {_bounds(ours)}; leave it empty if it is not known"
        )
    if coded.any():
        codes = ", ".join(f"{code:g}" for code in sorted(values[coded].unique()))
        remarks.append(f"{file.name}: {column} is {codes} in {rows_in_words(table.index[coded])}: taken as missing")
    top = table[column].astype("string").str.strip().str.fullmatch(_TOP_CODED).fillna(False)
    if ours == "age" and top.any():
        texts = ", ".join(sorted(table.loc[top, column].unique()))
        rows = rows_in_words(table.index[top])
        remarks.append(f"{file.name}: {column} is top-coded ({texts}) in {rows}: read as the number")
    return values.mask(coded)


def as_text(table: pd.DataFrame, column: str, ours: str, file: Path, remarks: list[str] | None = None) -> pd.Series:
    """Return a column of numbers as text that `numbers` reads without remarks; for tables that are joined later.

    Raises:
        UserError: as `numbers`.
    """
    values = numbers(table, column, ours, file, remarks)
    plain = pd.to_numeric(table[column], errors="coerce").astype("float64") == values
    return table[column].where(plain, values.astype("string"))


def sexes(table: pd.DataFrame, column: str, file: Path, remarks: list[str] | None = None) -> pd.Series:
    """Return a column as F, M or empty; `remarks` gets a line that names the words that mean neither."""
    words = table[column].astype("string")
    sex = words.str.lower().map(SEXES)
    unknown = words[sex.isna() & words.notna()].value_counts(sort=False)
    if len(unknown) and remarks is not None:
        named = ", ".join(f"{_shown(word)} ({count} x)" for word, count in list(unknown.items())[:ROWS_SHOWN])
        more = f" and {len(unknown) - ROWS_SHOWN} more" if len(unknown) > ROWS_SHOWN else ""
        remarks.append(f"{file.name}: {column} is {named}{more}: taken as missing; write F and M")
    return sex.fillna("")


def rows_in_words(rows: pd.Index) -> str:
    """Say how many rows, and which the first ones are: "2 rows (3, 7)"."""
    named = ", ".join(map(str, rows[:ROWS_SHOWN])) + (", …" if len(rows) > ROWS_SHOWN else "")
    return f"{len(rows)} row{'s' * (len(rows) > 1)} ({named})"


def without_zeros(name: str) -> str:
    """Return a name in lower case whose numbers have no leading zeros: ses-M048 and ses-m48 are alike."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", name.lower())


def alike(name: str, others: Mapping[str, str]) -> str | None:
    """Return what is stored under a name, else under the only one that is alike but for leading zeros and case.

    Args:
        name: looked for.
        others: key -> value.
    """
    if name in others:
        return others[name]
    same = [key for key in others if without_zeros(key) == without_zeros(name)]
    return others[same[0]] if len(same) == 1 else None


def zeros_lost(name: str, others: Iterable[str]) -> str:
    """Say which of the other names may be meant, for a message; empty if none is alike.

    Alike are names that differ in leading zeros, case, punctuation or the prefix (sub-001, sub-1, subj-01).
    """
    wanted = _bare(name)
    twin = next((other for other in others if _bare(other) == wanted), None)
    return "" if twin is None else f"; there is {twin}: were zeros or a prefix lost?"


def _bare(name: str) -> str:
    name = re.sub(r"^sub-", "", name.lower())
    return without_zeros(re.sub(r"[^a-z0-9]", "", re.sub(r"^subj?[-_]?(?=[a-z0-9])", "", name)))


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _not_a_number(text: str) -> str:
    if _THOUSANDS.fullmatch(text):
        whole, with_point = text.replace(",", ""), text.replace(",", ".", 1)
        choice = f"write {whole} or {with_point}" if text.count(",") == 1 and "." not in text else f"write {whole}"
        return f"which may be thousands or a decimal comma; {choice}"
    if _RANGE.fullmatch(text):
        return "a range; write one number, or leave it empty"
    return "not a number; leave it empty if it is not known"


def _possible(values: pd.Series, ours: str) -> pd.Series:
    if ours == "cdr":
        return values.isin(CDR)
    if ours == "icv":
        return values > 0
    low, high = RANGES.get(ours, (-np.inf, np.inf))
    return values.between(low, high)


def _bounds(ours: str) -> str:
    if ours == "cdr":
        return f"none of {', '.join(f'{value:g}' for value in CDR)}"
    if ours == "icv":
        return "not above 0"
    low, high = RANGES[ours]
    return f"outside {low:g} to {high:g}{' years' if ours == 'age' else ''}"
