"""CSV and TSV tables as text, and where they lie."""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from engine.cohort.walking import is_hidden
from engine.config.cohort_schema import CohortConfig
from engine.errors import UserError
from engine.images.nifti import missing_content

MISSING = {"", "na", "n/a", "nan", "null", "none"}
TABLE_ENDINGS = (".csv", ".tsv")
DECISIONS = "decisions.csv"
MOST_BYTES = 128 << 20  # ADNIMERGE has 13 MB
MOST_CELLS = 5_000_000  # ADNIMERGE has 2 million; each takes some hundred bytes of memory


def plain(name: str) -> str:
    """Return a column's name without case, spaces and punctuation."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def read_table(file: Path) -> pd.DataFrame:
    """Read a CSV (comma, semicolon, tab) or TSV as text; the index is the spreadsheet's row (header 1).

    In tables with semicolons a comma between digits is a decimal point.

    Raises:
        UserError: not there, not text, without rows, or larger than a table of scans can be.
    """
    text = read_text(file)
    separator = _separator(file, io.StringIO(text, newline="").readline())
    rows = _rows(file, text, separator)
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
        if separator == "\t" and len(row) < len(names) == sum(len(cell.split()) for cell in row):
            what = "is a space there instead of a tab?"
            raise UserError(f"{file.name} row {n}: {len(row)} cells under {len(names)} column names; {what}")
    cells = [[cell.strip() for cell in row[: len(names)]] + [""] * (len(names) - len(row)) for row in body.values()]
    table = pd.DataFrame(cells, columns=names, index=list(body), dtype="string")
    if separator == ";":
        table = table.apply(lambda column: column.str.replace(r"^([+-]?\d+),(\d+)$", r"\1.\2", regex=True))
    return table.mask(table.apply(lambda column: column.str.lower().isin(MISSING)))


def read_text(file: Path) -> str:
    """Read the text of a file that a person wrote: UTF-8, or UTF-16 with its mark.

    Raises:
        UserError: not there, not a file, not text, or larger than such a file can be.
    """
    if absent := missing_content(file):
        raise UserError(absent)
    if not file.exists():
        raise UserError(f"{file}: no such table")
    try:
        if not file.is_file():
            raise UserError(f"{file.name}: not a file")
        if file.stat().st_size > MOST_BYTES:
            size, most = file.stat().st_size >> 20, MOST_BYTES >> 20
            raise UserError(f"{file.name}: {size} MB, a table has at most {most}; keep the rows and columns you need")
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file.name}: cannot be read ({error.strerror})") from None
    if data.startswith(b"PK"):
        raise UserError(f"{file.name}: a spreadsheet in spite of its name; open it and save it as CSV")
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        if wide or b"\0" in data:
            raise UserError(f"{file.name}: not a text table in UTF-8; save it as CSV") from None
        row = len(data[: error.start + 1].splitlines())
        raise UserError(
            f"{file.name} row {row}: not in UTF-8, perhaps in Latin-1; save it again as CSV with the encoding UTF-8"
        ) from None
    if "\0" in text or (wide and not ("\n" in text or "\r" in text)):
        raise UserError(f"{file.name}: not a text table in UTF-8; save it as CSV")
    return text


def _separator(file: Path, header: str) -> str:
    """Return what parts the cells: tabs where the header of a TSV has any, else what is most frequent in it."""
    usual = "\t" if file.suffix.lower() == ".tsv" else ","
    if usual == "\t" in header:
        return usual
    return max((usual, ",", ";", "\t"), key=header.count)


def _rows(file: Path, text: str, separator: str) -> list[list[str]]:
    rows: list[list[str]] = []
    cells = 0
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            cells += max(len(row), len(rows[0]) if rows else 0)  # short rows are filled up
            if cells > MOST_CELLS:
                raise UserError(
                    f"{file.name}: more than {MOST_CELLS // 10**6} million cells; keep the rows and columns you need"
                )
            rows.append(row)
    except csv.Error:
        raise UserError(
            f"{file.name} row {len(rows) + 1}: a cell of more than {csv.field_size_limit()} characters; is a quote "
            "not closed?"
        ) from None
    return rows


def is_there(file: Path) -> bool:
    """Return whether an optional file exists.

    Raises:
        UserError: a link or pointer to a file that is not here, as datasets have them before they are fetched.
    """
    if absent := missing_content(file):
        raise UserError(absent)
    return file.is_file()


def data_folder(config: CohortConfig) -> Path:
    """Return the folder of the scans.

    Raises:
        UserError: not given, not there, not a folder, or empty.
    """
    if config.data is None:
        raise UserError("the scans are missing: give their folder with --data FOLDER")
    folder = Path(config.data)
    if not folder.is_dir():
        what = "is a file; give the folder it lies in" if folder.exists() else "no such folder"
        raise UserError(f"--data {folder}: {what}")
    if not any(folder.iterdir()):
        raise UserError(f"--data {folder}: the folder is empty")
    return folder


def tables_in(folder: Path) -> list[Path]:
    """List the tables in a folder, by name, without decisions.csv and hidden files."""
    files = [p for p in folder.iterdir() if p.suffix.lower() in TABLE_ENDINGS and p.is_file() and p.name != DECISIONS]
    files = [p for p in files if not is_hidden(p.name)]
    return sorted(files, key=lambda p: p.name)


def columns_of(file: Path) -> list[str]:
    """Return the names of a table's columns; none if it cannot be read."""
    try:
        return list(read_table(file).columns)
    except UserError:
        return []


def find_tables(folder: Path, kind: set[str], named: Sequence[Path] | None = None) -> list[Path]:
    """Find the tables (of the folder, unless some are named) with all columns of a kind, in plain spelling."""
    files = tables_in(folder) if named is None else named
    return [file for file in files if kind <= {plain(column) for column in columns_of(file)}]


def find_table(folder: Path, name: str | None, *kinds: set[str]) -> Path:
    """Find the table of that name, or else the only one with all columns of one of the kinds.

    Args:
        folder: of the scans.
        name: of the table, if the user names one.
        kinds: names of columns in plain spelling.

    Raises:
        UserError: there is none, there are several, or the named one is of no such kind.
    """
    named = [table_file(folder, name)] if name else None
    fitting = sorted({file for kind in kinds for file in find_tables(folder, kind, named)})
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(file.name for file in fitting)
        raise UserError(f"--data {folder}: which table describes the scans, {names}? name one with --table")
    raise no_table(folder, named, *kinds)


def no_table(folder: Path, named: Sequence[Path] | None, *kinds: set[str]) -> UserError:
    """Make the error for want of a table of one of the kinds; it says why a named one cannot be read."""
    wanted = " or ".join(", ".join(sorted(kind)) for kind in kinds)
    if named:
        read_table(named[0])
        return UserError(f"{named[0].name}: not a table of this kind of data; it needs the columns {wanted}")
    return UserError(f"--data {folder}: no table with the columns {wanted}; name it with --table")


def table_file(folder: Path, name: str | None) -> Path:
    """Return the table of that name, relative to the folder; without a name the only one there.

    Raises:
        UserError: it is not there, it is a spreadsheet, or there are several and none is named.
    """
    tables = [p.name for p in tables_in(folder)]
    there = f"there are {', '.join(tables)}" if tables else "there is no CSV or TSV in it"
    if name is None:
        if len(tables) == 1:
            return folder / tables[0]
        mend = "name one with cohort.table" if tables else "put a table with one row a scan there"
        raise UserError(f"--data {folder}: which table describes the scans? {there}; {mend}")
    if absent := missing_content(folder / name):
        raise UserError(f"cohort.table {absent}")
    if not (folder / name).is_file():
        raise UserError(f"cohort.table {name}: not in {folder}; {there}")
    if Path(name).suffix.lower() in {".xlsx", ".xls", ".ods"}:
        raise UserError(f"cohort.table {name}: spreadsheets are not read; save it as CSV")
    return folder / name


def hint(name: str, table: pd.DataFrame) -> str:
    """Say what a column may have been meant, or which there are; begins with a semicolon."""
    by_case = {column.lower(): column for column in reversed(table.columns)}
    close = difflib.get_close_matches(name.lower(), by_case, n=1)
    return f"; did you mean {by_case[close[0]]}?" if close else f"; the columns are {', '.join(table.columns)}"
