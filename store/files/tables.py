"""Tables as the specification wants them: check, cast, to and from Parquet."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from store.errors import SpecViolationError
from store.spec import BOOLEAN, FLOAT, INTEGER, STRING, TableSpec, table_spec

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
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), sink, compression="zstd")
    return sink.getvalue()


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
