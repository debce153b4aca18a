"""The contract between the engine, which writes runs, and the dashboard, which shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from store.errors import (
    BrokenRunError,
    NewerSpecError,
    NotInRunError,
    NotWritableError,
    RunGoneError,
    RunNotFoundError,
    SpecViolationError,
    StoreError,
    StoreNotFoundError,
    UnreachableError,
)
from store.keys import GroupKey, HeatmapKey
from store.reading.group_maps import GroupMap
from store.reading.listing import RunInfo, list_runs
from store.reading.reader import RunReader, open_run
from store.spec import SPEC_VERSION
from store.writing.validate import damage

if TYPE_CHECKING:
    from store.writing.writer import RunWriter

__all__ = [
    "SPEC_VERSION",
    "BrokenRunError",
    "GroupKey",
    "GroupMap",
    "HeatmapKey",
    "NewerSpecError",
    "NotInRunError",
    "NotWritableError",
    "RunGoneError",
    "RunInfo",
    "RunNotFoundError",
    "RunReader",
    "RunWriter",
    "SpecViolationError",
    "StoreError",
    "StoreNotFoundError",
    "UnreachableError",
    "damage",
    "list_runs",
    "open_run",
]


def __getattr__(name: str) -> Any:
    # The writer is loaded when it is asked for: who only reads does not wait for it.
    if name == "RunWriter":
        from store.writing.writer import RunWriter  # noqa: PLC0415

        return RunWriter
    raise AttributeError(f"module 'store' has no attribute {name!r}")
