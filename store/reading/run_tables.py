"""The tables of a run, read by column and row, and what its manifest says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from store.errors import NotInRunError, StoreError
from store.files.bounds import MIB
from store.files.folders import Folder
from store.files.tables import known_table, with_later
from store.reading.region_values import RegionValues
from store.spec import ARRAYS_FOLDER, TABLES_FOLDER, TableSpec

AHEAD = (f"{TABLES_FOLDER}/", *(f"{ARRAYS_FOLDER}/{name}/" for name in ("template", "mask", "grid/mask", "grid/atlas")))
LARGEST_AHEAD = 2 * MIB
KEPT_MATRICES = 4  # regions of scans by a method: 13 MB each for 10 000 scans
SMALL = ("models", "regions", "cells")  # tables that pages ask for again and again: kept when first read
PARTS = f"{TABLES_FOLDER}/parts/heatmaps"


class RunTables:
    """The tables of one run, as frames; keeps open nothing but metadata and small tables."""

    def __init__(
        self, folder: Folder, manifest: Mapping[str, Any], *, published: bool = True, as_persons: bool = False
    ) -> None:
        self._folder = folder
        self._published = published
        self._frames: dict[str, pd.DataFrame] = {}
        self._sound: set[str] = set()
        self._region_values = lru_cache(KEPT_MATRICES)(self._read_region_values)
        self.manifest = dict(manifest)
        self.run_id: str = folder.name
        self.simulated = bool(manifest.get("simulated", False))
        self.groups: tuple[str, str] = tuple(manifest["groups"])
        self.reference_run: str | None = manifest.get("reference_run")
        self.task: str = manifest.get("task", "classification")
        self.target: dict[str, Any] | None = manifest.get("target")
        self.group_level: dict[str, Any] | None = manifest.get("group_level")
        self._as_persons = as_persons

    @property
    def holds_groups_only(self) -> bool:
        """Return whether the run is read as results of groups alone, nothing of a single person."""
        return self.group_level is not None and not self._as_persons

    @property
    def shown(self) -> int:
        """Return how many simulated scans a run of groups shows one by one, to who asks for `of_persons`."""
        return int((self.group_level or {}).get("shown", 0))

    def of_persons(self) -> Self:
        """Return a reader of the scans that a run of groups shows one by one, as if it had no others.

        Without it such a run reads as if it held none, so that nothing of groups is ever computed of these few.
        """
        return type(self)(self._folder, self.manifest, published=self._published, as_persons=self.shown > 0)

    def _hides(self, name: str) -> bool:
        return self.holds_groups_only and not {"scan", "subject"}.isdisjoint(known_table(name).columns)

    @classmethod
    def staging(cls, place: str | Path, groups: Sequence[str], **manifest: Any) -> Self:
        """Make a reader of a folder that is not published yet: a snapshot, so make a new one after more was written."""
        return cls(Folder(place), {"groups": list(groups), **manifest}, published=False)

    def fetch_ahead(self) -> None:
        """Begin to fetch what most questions need, where the run lies behind a server; nothing to wait for."""
        self._folder.fetch_ahead(AHEAD, LARGEST_AHEAD)

    def table(self, name: str, columns: Sequence[str] | None = None, **equals: Any) -> pd.DataFrame:
        """Read rows of a table, e.g. table("predictions", ["scan", "margin"], model="fold-1").

        Args:
            columns: those wanted; all if None.
            equals: column = value that a row must have.
        Raises:
            NotInRunError: the run has no such table or column.
            BrokenRunError: it should have, or the file is unreadable.
        """
        strange = [c for c in (*(columns or ()), *equals) if c not in self._columns(name)]
        if strange:
            raise NotInRunError(f"table {name} has no column {strange[0]}: it has {', '.join(self._columns(name))}")
        if self._published and name in SMALL and self.has_table(name):
            self.whole_table(name)
        if name in self._frames:
            return self._of_kept(name, columns, equals)
        return self._read_table(name, columns, equals)

    def _read_table(self, name: str, columns: Sequence[str] | None, equals: Mapping[str, Any]) -> pd.DataFrame:
        filters = [(column, "=", value) for column, value in equals.items()]
        paths = self._table_paths(name)
        if len(paths) == 1:
            found = self._rows(paths[0], known_table(name), columns, filters)
            return found.iloc[:0] if self._hides(name) else found
        frame = pd.concat([self._folder.table(path, None, filters).to_pandas() for path in paths])
        frame = frame.drop_duplicates(list(known_table(name).key), keep="last", ignore_index=True)
        return frame[list(columns)] if columns is not None else frame

    def _of_kept(self, name: str, columns: Sequence[str] | None, equals: Mapping[str, Any]) -> pd.DataFrame:
        """Return rows of a table that is kept whole, instead of reading its file again."""
        frame = self._frames[name]
        keep = np.ones(len(frame), bool)
        for column, value in equals.items():
            keep &= (frame[column] == value).fillna(False).to_numpy(bool)
        return frame[list(columns or frame.columns)][keep].reset_index(drop=True)

    def region_values(self, model_set: str, method: str, target: str, columns: Sequence[str]) -> RegionValues:
        """Read columns of region_relevance for one method and target as matrices, also of networks trained again.

        The last few are kept: change nothing in them. Errors as for `table`.
        """
        return self._region_values(model_set, method, target, tuple(columns))

    def _read_region_values(self, model_set: str, method: str, target: str, columns: tuple[str, ...]) -> RegionValues:
        filters = [("model_set", "=", model_set), ("method", "=", method), ("target", "=", target)]
        (path,) = self._table_paths("region_relevance")
        found = self._folder.table(path, ["model", "scan", "region", *columns], filters, categories=True)
        found = found.slice(0, 0) if self._hides("region_relevance") else found
        return RegionValues.of_table(found.to_pandas(), self.whole_table("regions")["region"].tolist(), columns)

    def table_parts(self, name: str) -> Iterator[pd.DataFrame]:
        """Read a table piece by piece, at least one, of which memory holds one; errors as for `table`."""
        spec, is_empty = known_table(name), True
        for path in self._table_paths(name) if not self._hides(name) else ():
            for part in self._folder.table_parts(path):
                is_empty = False
                yield with_later(spec, part.to_pandas())[list(spec.columns)]
        if is_empty:
            yield self.table(name)

    def _rows(self, path: str, spec: TableSpec, columns: Sequence[str] | None, filters: list[tuple]) -> pd.DataFrame:
        if not spec.later:
            return self._folder.table(path, columns, filters).to_pandas()
        frame = with_later(spec, self._folder.table(path).to_pandas())  # in the order of the specification
        for column, _, value in filters:
            frame = frame[(frame[column] == value).fillna(False)]
        return frame[list(columns or spec.columns)].reset_index(drop=True)

    def has_table(self, name: str) -> bool:
        """Return whether the run has this table; truth_scores, for example, is for simulated runs only."""
        return bool(self._find_tables(name))

    def _columns(self, name: str) -> list[str]:
        try:
            return list(known_table(name).columns)
        except StoreError as error:
            raise NotInRunError(str(error)) from None

    def _find_tables(self, name: str) -> list[str]:
        path = f"{TABLES_FOLDER}/{name}.parquet"
        paths = [path] if self._folder.exists(path) else []
        if name == "heatmaps" and not self._published:
            paths += [f"{PARTS}/{part}.parquet" for part in self._folder.tables(PARTS)]
        return paths

    def _table_paths(self, name: str) -> list[str]:
        if paths := self._find_tables(name):
            return paths
        if name in self._contents("tables"):
            raise self._folder.missing(f"table {name} is missing")
        raise NotInRunError(f"run {self.run_id} has no table {name}")

    def _contents(self, kind: str) -> Any:
        return self.manifest.get("contents", {}).get(kind, {})

    def whole_table(self, name: str) -> pd.DataFrame:
        """Return a whole table, which is kept: change nothing in it. For callers outside the store there is `table`."""
        if name not in self._frames:
            self._frames[name] = self._read_table(name, None, {})
        return self._frames[name]
