"""How the engine's functions see the made-up run: heatmaps made again instead of read, at chosen voxels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from big_numbers import Numbers, Space
from store_factory import METHODS

from store import GroupMap, RunReader, RunWriter
from store.keys import GroupKey
from store.reading.group_maps import STATISTICS
from store.spec import TABLES_FOLDER
from store.writing.writer import MapArray


class Flat:
    """Numbers at all brain voxels, as vectors."""

    def __init__(self, space: Space) -> None:
        self.mask, self.labels, self.mm = np.ones(len(space.inside), bool), space.labels, space.mm

    def take(self, vector: np.ndarray) -> np.ndarray:
        return vector


class Coarse:
    """Numbers at some of the voxels, as small volumes."""

    def __init__(self, space: Space, step: int) -> None:
        every = (slice(None, None, step),) * 3
        self.mask, self.labels, self.mm = space.mask[every], space.atlas.labels[every], space.mm * step
        self._places = space.volume(np.arange(len(space.inside)))[every][self.mask]

    def take(self, vector: np.ndarray) -> np.ndarray:
        volume = np.zeros(self.mask.shape, vector.dtype)
        volume[self.mask] = vector[self._places]
        return volume


class View(RunReader):
    """The staging folder, stored heatmaps made again instead of read, at chosen points and of chosen models."""

    def see(self, numbers: Numbers, points: Flat | Coarse, models: list[str]) -> View:
        """Set what is seen; returns itself."""
        self._numbers, self._points, self._models = numbers, points, models
        self._plain = RunReader(self._folder, self.manifest, published=False)
        return self

    def table(self, name: str, columns: Any = None, **equals: Any) -> pd.DataFrame:
        frame = super().table(name, None, **equals)
        if "model" in frame:
            frame = frame[frame["model"].isin(self._models)].reset_index(drop=True)
        return frame[list(columns)] if columns is not None else frame

    def heatmap(self, model: str, method: str, scan: str, *, target: str, scale: str = "margin", full: bool = True):
        values = self._numbers.heatmap(model, method, target, scale, scan)
        return self._points.take(self._numbers.space.spread(values, METHODS[method].native_grid)) if full else values

    def full(self, values: np.ndarray, attributes: Any) -> np.ndarray:
        space, native_grid = self._numbers.space, attributes["native_grid"]
        return self._points.take(space.gather(values) if native_grid == "voxels" else space.spread(values, native_grid))

    def group_map(self, key: GroupKey, **filters: Any) -> GroupMap:
        found = self._plain.group_map(key, **filters)
        maps = {name: getattr(found, name) for name in STATISTICS}
        seen = {name: self._points.take(self._numbers.space.gather(m)) for name, m in maps.items() if m is not None}
        return replace(found, **seen)

    def array(self, path: str) -> np.ndarray:
        return self._points.take(self._numbers.space.gather(super().array(path)))


class Writer:
    """Writes cells as volumes, and adds to tables instead of replacing them."""

    def __init__(self, writer: RunWriter, space: Space) -> None:
        self._writer, self._space, self._frames = writer, space, {}

    def put_table(self, name: str, frame: pd.DataFrame) -> None:
        self._frames[name] = pd.concat([self._frames[name], frame]) if name in self._frames else frame
        self._writer.put_table(name, self._frames[name])

    def put_table_parts(self, name: str, parts: Iterator[pd.DataFrame]) -> None:
        file = self._writer.staging / TABLES_FOLDER / f"{name}.parquet"
        before = (group.to_pandas() for group in _row_groups(file)) if file.exists() else ()
        self._writer.put_table_parts(name, itertools.chain(before, parts))

    def put_cell(self, key: GroupKey, diagnosis: str, predicted: str, values: np.ndarray, array: MapArray) -> None:
        values = self._space.volume(values) if array.native_grid == "voxels" else values
        self._writer.put_cell(key, diagnosis, predicted, values, array)


def _row_groups(file: Path) -> Iterator[pa.Table]:
    opened = pq.ParquetFile(file)
    for group in range(opened.num_row_groups):
        yield opened.read_row_group(group)
