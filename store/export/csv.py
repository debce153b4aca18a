"""Tables as CSV for people's spreadsheets, in which texts of a cohort are never formulas.

Source: OWASP, CSV Injection, owasp.org/www-community/attacks/CSV_Injection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from store.files.atomic import replacing, writable

# Spreadsheets take a cell that begins so for a formula; full-width forms, too. A semicolon or a line's end begins a new
# cell where a spreadsheet's language parts cells by them.
_BEGINS = r"=+\-@＝＋－＠"
_FORMULA = re.compile(rf"^(?=[{_BEGINS}\t\r\n])|(?<=[;\t\r\n])(?=[{_BEGINS}])")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def csv_text(frame: pd.DataFrame, float_format: str | None = None) -> str:
    """Return a table as CSV without its index, texts neutralised; the only way in which CSV leaves this project.

    Args:
        frame: any; numbers stay numbers.
        float_format: of numbers, e.g. "%.2f"; default: all digits.
    """
    return neutralised(frame).to_csv(index=False, float_format=float_format)


def write_csv(path: Path, frames: Iterable[pd.DataFrame]) -> None:
    """Write frames with the same columns as one file, one after another, so that memory holds one; as `csv_text`."""
    with writable(path.parent), replacing(path) as temporary, open(temporary, "w", newline="") as file:
        for number, frame in enumerate(frames):
            neutralised(frame).to_csv(file, index=False, header=number == 0)


def neutralised(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with an apostrophe before each text, and name of a column, that a spreadsheet would compute."""
    columns = {name: _column(frame[name]) for name in frame.columns if _may_hold_text(frame[name])}
    renamed = {name: neutral(name) for name in frame.columns if isinstance(name, str)}
    return frame.assign(**columns).rename(columns=renamed)


def neutral(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula; numbers are left as they are."""
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub("'", text)


def _may_hold_text(column: pd.Series) -> bool:
    return not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column))


def _column(column: pd.Series) -> pd.Series:
    texts = {value for value in column.to_numpy(object) if isinstance(value, str)}
    changed = {text: safe for text in texts if (safe := neutral(text)) != text}
    if not changed:
        return column
    return column.astype(object).map(lambda value: changed.get(value, value) if isinstance(value, str) else value)
