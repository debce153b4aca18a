"""What the specification is made of: arrays and tables, and the types of columns."""

from __future__ import annotations

from dataclasses import dataclass

STRING, FLOAT, INTEGER, BOOLEAN = "string", "float64", "int64", "bool"


@dataclass(frozen=True)
class ArraySpec:
    """One array, or one family of arrays whose path has fields in braces."""

    path: str
    dims: tuple[str, ...]
    dtype: str
    meaning: str
    attributes: tuple[str, ...] = ()
    optional: bool = False


@dataclass(frozen=True)
class TableSpec:
    """One Parquet table: its key and its columns (name -> (dtype, meaning)).

    dtypes: "string", "float64", "int64", "bool". Every column is nullable except those in the key. Columns in `later`
    came with a minor version: runs of earlier ones lack them, and read as if every value were missing.
    """

    name: str
    key: tuple[str, ...]
    columns: dict[str, tuple[str, str]]
    meaning: str
    optional: bool = False
    later: tuple[str, ...] = ()
