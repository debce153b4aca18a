"""Tables as the specification wants them: check, cast, to and from Parquet."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from store.errors import SpecViolationError
from store.spec import BOOLEAN, FLOAT, INTEGER, STRING, TableSpec, table_spec

IN_PARTS = ("region_relevance",)  # grow with scans x regions: nobody reads them whole
ROWS_OF_GROUP = 1 << 16  # that are read together
_PANDAS = {STRING: "string", FLOAT: "float64", INTEGER: "Int64", BOOLEAN: "boolean"}
_ARROW = {
    STRING: lambda t: pa.types.is_string(t) or pa.types.is_large_string(t),
    FLOAT: pa.types.is_float64,
    INTEGER: pa.types.is_int64,
    BOOLEAN: pa.types.is_boolean,
}


def known_table(name: str) -> TableSpec:
    """Return the spec of a table; SpecViolationError if there is none of this name."""
    try:
        return table_spec(name)
    except KeyError:
        raise SpecViolationError(f"there is no table {name!r} in store/spec.py") from None


def name_of(path: str) -> str:
    """Return which table a file holds: tables/scans.parquet, tables/parts/heatmaps/....parquet."""
    return path.removesuffix(".parquet").split("/")[2 if "/parts/" in path else 1]


def wanted_columns(path: str, columns: Sequence[str] | None) -> list[str]:
    """Return the columns that are asked for, by default all of the specification."""
    return list(known_table(name_of(path)).columns if columns is None else columns)


def conform(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with the columns, order and dtypes of the spec; later columns that it lacks are missing values.

    Raises:
        SpecViolationError: columns missing or unknown, values of another kind, a key that is missing or not unique.
    """
    spec = known_table(name)
    if lines := _column_problems(spec, list(frame.columns)):
        raise SpecViolationError(lines[0])
    frame = with_later(spec, frame)
    columns = {column: _cast(name, column, frame[column], dtype) for column, (dtype, _) in spec.columns.items()}
    conformed = pd.DataFrame(columns).reset_index(drop=True)
    if lines := key_problems(spec, conformed):
        raise SpecViolationError(lines[0])
    return conformed


def with_later(spec: TableSpec, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with the columns of later minor versions that it lacks, all values missing."""
    lacking = [column for column in spec.later if column not in frame.columns]
    nothing = [None] * len(frame)
    return frame.assign(**{c: pd.Series(nothing, frame.index, _PANDAS[spec.columns[c][0]]) for c in lacking})


def to_parquet(frame: pd.DataFrame) -> bytes:
    """Write a table as the bytes of a Parquet file."""
    sink = io.BytesIO()
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table, sink, compression="zstd", row_group_size=ROWS_OF_GROUP)
    return sink.getvalue()


class PartsWriter:
    """Writes a table piece by piece, each as row groups of its own; memory holds one piece.

    That no key is in two pieces, the check before publication finds out.
    """

    def __init__(self, name: str, path: Path) -> None:
        """Open the file; close it by `with`."""
        self._spec, self._path = known_table(name), path
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> PartsWriter:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
        elif kind is None:  # a table without rows is one, too
            empty = pd.DataFrame(columns=list(self._spec.columns))
            self._path.write_bytes(to_parquet(conform(self._spec.name, empty)))

    def add(self, frame: pd.DataFrame) -> None:
        """Write a piece; SpecViolationError as for `conform`."""
        frame = conform(self._spec.name, frame)
        if frame.empty:
            return
        table = pa.Table.from_pandas(frame, preserve_index=False)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table, row_group_size=ROWS_OF_GROUP)


class KeyCheck:
    """Finds keys that are missing or not unique in a table that is read row group by row group: a number a row."""

    def __init__(self, name: str) -> None:
        self._spec = known_table(name)
        self._hashes: list[np.ndarray] = []
        self.problems: list[str] = []

    def add(self, part: pa.Table) -> None:
        """Look at the keys of a row group."""
        frame = part.select(list(self._spec.key)).to_pandas()
        if not self.problems:
            self.problems = key_problems(self._spec, frame)
        self._hashes.append(pd.util.hash_pandas_object(frame, index=False).to_numpy())

    def repeated(self, parts: Iterable[pa.Table]) -> list[str]:
        """Report a key that several row groups hold.

        Args:
            parts: the row groups again, which are read only where two keys may be the same.
        """
        if self.problems or len(self._hashes) < 2:
            return self.problems
        every = np.sort(np.concatenate(self._hashes))
        twice = np.unique(every[1:][every[1:] == every[:-1]])
        if not len(twice):
            return []
        frames = [
            part.select(list(self._spec.key)).to_pandas()[np.isin(hashes, twice)]
            for hashes, part in zip(self._hashes, parts, strict=True)
        ]
        return key_problems(self._spec, pd.concat([frame.astype(object) for frame in frames], ignore_index=True))


def problems(name: str, data: pa.Table, wanted: Sequence[str]) -> list[str]:
    """Say what is wrong with those columns of a table that was read: missing, or of another dtype.

    Unknown columns are left to later versions.
    """
    spec = known_table(name)
    lines = _missing(spec, data.column_names, wanted)
    for column in wanted:
        dtype = spec.columns[column][0]
        if column in data.column_names:
            found = data.schema.field(column).type
            found = found.value_type if pa.types.is_dictionary(found) else found
            if not _ARROW[dtype](found) and not pa.types.is_null(found):
                lines.append(f"table {name}: column {column} is {found}, must be {dtype}")
    return lines


def key_problems(spec: TableSpec, frame: pd.DataFrame) -> list[str]:
    """Report rows whose key is missing or not unique."""
    key = list(spec.key)
    if frame[key].isna().any(axis=None):
        return [f"table {spec.name}: the key ({', '.join(key)}) is missing in some rows"]
    twice = frame.duplicated(key)
    if twice.any():
        first = ", ".join(str(value) for value in frame.loc[twice.idxmax(), key])
        return [f"table {spec.name}: the key ({', '.join(key)}) is not unique, first {first}"]
    return []


def _column_problems(spec: TableSpec, columns: list[str]) -> list[str]:
    unknown = [str(c) for c in columns if c not in spec.columns]
    lines = _missing(spec, columns, list(spec.columns))
    if unknown:
        lines.append(f"table {spec.name}: unknown columns {', '.join(unknown)}")
    return lines


def _missing(spec: TableSpec, columns: Sequence[str], wanted: Sequence[str]) -> list[str]:
    missing = [c for c in wanted if c not in columns and c not in spec.later]
    return [f"table {spec.name}: missing columns {', '.join(missing)}"] if missing else []


def _cast(table: str, column: str, values: pd.Series, dtype: str) -> pd.Series:
    """Cast one column to its dtype; missing values stay missing."""
    try:
        if dtype == STRING:
            return _strings(values)
        if dtype == FLOAT:
            return pd.Series(values.astype("Float64").to_numpy("float64", na_value=np.nan), index=values.index)
        plain = values.astype(object).where(values.notna(), None)
        return pd.Series(pd.array(plain.tolist(), dtype=_PANDAS[dtype]), index=values.index)
    except (TypeError, ValueError) as error:
        raise SpecViolationError(f"table {table}: column {column} must be {dtype} ({error})") from error


def _strings(values: pd.Series) -> pd.Series:
    kind = pd.api.types.infer_dtype(values.astype(object), skipna=True)
    if kind not in ("string", "empty"):
        raise TypeError(f"found {kind}")
    return values.astype("string")
