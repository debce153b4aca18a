"""Writes one run into a staging folder and publishes it. Every method may be called again after an interruption."""

from __future__ import annotations

import glob
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from store.errors import NotWritableError, SpecViolationError
from store.files import atomic, tables
from store.files.encoding import (
    LARGEST_INTEGER,
    array_path,
    checksum,
    dimension_names,
    hexadecimal,
    layout,
    path_part,
    quantise,
)
from store.keys import GroupKey, HeatmapKey, ModelName
from store.reading.descriptions import array_problems
from store.reading.native_space import NativeSpace
from store.reading.truth import SCAN_UNIT
from store.spec import (
    ARRAYS_FOLDER,
    FIGURES_FOLDER,
    MODELS_FOLDER,
    NATIVE,
    SCANS,
    TABLES_FOLDER,
    TRUTH_SCANS,
    array_spec,
)
from store.writing.publication import publish_folder

PARTS_FOLDER = f"{TABLES_FOLDER}/parts/heatmaps"


@dataclass(frozen=True)
class MapArray:
    """How the maps of an array are to be read.

    Attributes:
        native_grid: of spec.NATIVE_GRIDS.
        unit: of a number.
        affine: of the working grid, voxel -> mm.
        stride: voxels between positions; needed for that native grid.
    """

    native_grid: str
    unit: str
    affine: np.ndarray
    stride: int | None = None

    def __post_init__(self) -> None:
        """Check the stride.

        Raises:
            SpecViolationError: maps on positions have none.
        """
        if self.native_grid == "positions" and not self.stride:
            raise SpecViolationError("maps on positions need their stride")


@dataclass(frozen=True, kw_only=True)
class HeatmapArray(MapArray):
    """Room for the heatmaps of one key, and how they are to be read.

    Attributes:
        count: rows along the scan axis.
        shape: of one heatmap in the native grid.
        parameters: of the method.
        antisymmetric: whether the heatmap for the other group is minus this one.
    """

    count: int
    shape: Sequence[int]
    parameters: dict[str, Any]
    antisymmetric: bool


class RunWriter:
    """The only way into a store. One writer at a time for one staging folder, but for heatmaps of different scans."""

    def __init__(self, staging: str | Path, sweep: bool = True) -> None:
        """Make the folder if there is none; take away what an interrupted writer left behind.

        Args:
            sweep: False where others write heatmaps into the folder at this time: then `compact` takes it away.
        """
        self.staging = Path(staging)
        with atomic.writable(self.staging):
            self.staging.mkdir(parents=True, exist_ok=True)
            if sweep:
                atomic.sweep(self.staging)
        self._sources: dict[HeatmapKey, dict[str, Path]] = {}
        self._arrays: dict[str, zarr.Array] = {}  # opened again for every map, they take half of its time

    # -- arrays ---------------------------------------------------------------------------------------------------

    def put_array(self, path: str, values: np.ndarray, **attributes: Any) -> None:
        """Write one whole array of the specification, in place of an older one.

        Args:
            path: e.g. "grid/mask".
            values: with the dtype and the dimensions of its spec.
            attributes: at least those of its spec; `affine` as 4 x 4 numbers.
        Raises:
            SpecViolationError: path, dtype, dimensions or attributes are not those of the spec.
        """
        values = np.asarray(values)
        array = self._create(path, values.shape, str(values.dtype), attributes)
        with atomic.writable(self.staging):
            array[...] = values

    def start_scans(self, count: int, shape: Sequence[int], affine: np.ndarray, unit: str = "intensity") -> None:
        """Make room for the preprocessed volumes; those that are there stay."""
        self._start(SCANS.path, (count, *shape), "int16", {"affine": affine, "unit": unit})

    def put_scan(self, row: int, volume: np.ndarray) -> float:
        """Write one preprocessed volume (x, y, z); returns its `volume_scale` for the scans table."""
        integers, scale = quantise(self._checked(SCANS.path, row, volume))
        self._put_row(SCANS.path, row, integers)
        return scale

    def start_scan_changes(self, count: int, shape: Sequence[int], affine: np.ndarray) -> None:
        """Make room for the visible change of every scan of a simulated run; those that are there stay."""
        unit = f"{SCAN_UNIT:g} of white matter intensity"
        self._start(TRUTH_SCANS.path, (count, *shape), "int16", {"affine": affine, "unit": unit})

    def put_scan_change(self, row: int, change: np.ndarray) -> None:
        """Write the visible change (x, y, z) of the scan in a row of the scans table, white matter intensity 1."""
        steps = np.rint(self._checked(TRUTH_SCANS.path, row, change) / np.float32(SCAN_UNIT))
        self._put_row(TRUTH_SCANS.path, row, np.clip(steps, 0, LARGEST_INTEGER).astype(np.int16))

    def put_native_space(self, scan: str, space: NativeSpace) -> None:
        """Write where the points of a scan's own file lie in MNI space, in place of an older one."""
        self.put_array(
            array_path(NATIVE, scan=scan), space.displacement, affine=space.field_affine, unit="0.01 mm",
            linear=space.linear, native_affine=space.affine, native_shape=space.shape,
        )  # fmt: skip

    def start_heatmaps(self, key: HeatmapKey, array: HeatmapArray) -> None:
        """Make room for the heatmaps of a key; those that are there stay.

        Raises:
            SpecViolationError: the array is there with another shape, dtype or meaning.
        """
        attributes = {
            "affine": array.affine, "unit": array.unit, "native_grid": array.native_grid, "stride": array.stride,
            "parameters": array.parameters, "antisymmetric": bool(array.antisymmetric),
        }  # fmt: skip
        dtype = "int16" if array.native_grid == "voxels" else "float32"
        self._start(key.path, (array.count, *array.shape), dtype, attributes)

    def put_heatmaps(
        self, key: HeatmapKey, *, rows: Sequence[int], scans: Sequence[str], values: np.ndarray,
        absolute_sums: Sequence[float], completeness_errors: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        """Write heatmaps of some scans; they count as completed once the last of them is on the disk.

        Args:
            rows: place of each scan along the scan axis.
            scans: identifiers, in the same order.
            values: (n, *native) float32.
            absolute_sums: of |h| in the brain mask, on the full grid.
            completeness_errors: of maps that should add up; default unknown.
        """
        self._withdraw(key, scans)
        path, (model, method, target, scale), model_set = key.path, key, ModelName(key.model).model_set
        errors = completeness_errors if completeness_errors is not None else [np.nan] * len(scans)
        native_grid = self._open(path).attrs["native_grid"]
        records = []
        for row, scan, value, total, error in zip(rows, scans, values, absolute_sums, errors, strict=True):
            stored, value_scale = self._checked(path, row, value), 1.0
            if native_grid == "voxels":
                stored, value_scale = quantise(stored)
            self._put_row(path, row, stored)
            crc = hexadecimal(checksum(stored))
            kept = (native_grid, row, value_scale, total, crc, error)
            records.append((model, model_set, method, target, scan, scale, *kept))
        if records:
            frame = pd.DataFrame(records, columns=list(tables.known_table("heatmaps").columns))
            part = self.staging / PARTS_FOLDER / f"{_part_prefix(key)}{rows[0]:06d}.parquet"
            atomic.write_bytes(part, tables.to_parquet(tables.conform("heatmaps", frame)))
            self._sources_of(key).update(dict.fromkeys(scans, part))

    def completed(self, key: HeatmapKey) -> set[str]:
        """Return the scans whose heatmap is on the disk, table row and file."""
        self._sources.pop(key, None)
        frames = [_rows_of(source, key) for source in set(self._sources_of(key).values())]
        if not frames:
            return set()
        array, rows = self._open(key.path), pd.concat(frames)
        return {s for s, row in zip(rows.scan, rows.row, strict=True) if self._file(key.path, array, row).is_file()}

    def put_cell(self, key: GroupKey, diagnosis: str, predicted: str, values: np.ndarray, array: MapArray) -> None:
        """Write one group cell, (3, *native): sum wh, sum w|h|, sum wh^2. Its weight belongs into the cells table."""
        numbers = np.asarray(values, dtype=np.float32)
        self.put_array(
            key.cell_path(diagnosis, predicted), numbers, native_grid=array.native_grid, unit=array.unit,
            affine=array.affine, stride=array.stride,
        )  # fmt: skip

    # -- tables and files -----------------------------------------------------------------------------------------

    def put_table(self, name: str, frame: pd.DataFrame) -> None:
        """Write one table in place of an older one.

        Raises:
            SpecViolationError: the table or a column is unknown, a column is missing or of another kind, the key
                repeats.
        """
        data = tables.to_parquet(tables.conform(name, frame))
        atomic.write_bytes(self.staging / TABLES_FOLDER / f"{name}.parquet", data)

    def put_table_parts(self, name: str, parts: Iterable[pd.DataFrame]) -> None:
        """Write one table piece by piece, in place of an older one: for tables that grow with scans times regions.

        Args:
            parts: whose rows together are the table; memory holds one at a time.
        Raises:
            SpecViolationError: as for `put_table`, but for a key in two parts, which `publish` finds.
        """
        path = self.staging / TABLES_FOLDER / f"{name}.parquet"
        with (
            atomic.writable(path.parent),
            atomic.replacing(path) as temporary,
            tables.PartsWriter(name, temporary) as file,
        ):
            for part in parts:
                file.add(part)

    def put_model(self, name: str, weights: bytes, card: dict[str, Any]) -> None:
        """Write the weights (safetensors) of a model and its card (normalisation, pools, groups)."""
        folder, part = self.staging / MODELS_FOLDER, path_part(name)
        atomic.write_bytes(folder / f"{part}.safetensors", weights)
        atomic.write_bytes(folder / f"{part}.json", json.dumps(card, indent=2).encode())

    def put_figure(self, name: str, png_bytes: bytes) -> None:
        """Write a quality picture; `name` without ending."""
        atomic.write_bytes(self.staging / FIGURES_FOLDER / f"{path_part(name.removesuffix('.png'))}.png", png_bytes)

    def compact(self) -> None:
        """Gather the rows of all heatmaps in one table; their parts go, and what an interrupted writer left behind."""
        atomic.sweep(self.staging)
        parts = sorted((self.staging / PARTS_FOLDER).glob("*.parquet"))
        table = self.staging / TABLES_FOLDER / "heatmaps.parquet"
        if parts:
            # A part may already be in the table if an earlier call was killed; it is never older than the table.
            gathered = [pq.read_table(p).to_pandas() for p in ([table] if table.exists() else []) + parts]
            rows = pd.concat(gathered, ignore_index=True)
            rows = rows.drop_duplicates(list(tables.known_table("heatmaps").key), keep="last")
            self.put_table("heatmaps", rows)
            self._sources.clear()
        for part in parts:
            part.unlink()
        for folder in (self.staging / PARTS_FOLDER, (self.staging / PARTS_FOLDER).parent):
            if folder.is_dir():
                folder.rmdir()

    def publish(
        self, destination_store: str | Path, run_id: str, manifest: dict[str, Any], replace: bool = False
    ) -> Path:
        """Make the run visible in a store, whole or not at all; returns its folder.

        Args:
            destination_store: on the same file system as the staging folder.
            manifest: the keys of spec.MANIFEST_KEYS, less spec_version, run and contents, which are added here; also
                those of spec.OPTIONAL_MANIFEST_KEYS where they apply.
            replace: put it in the place of a published run of the same identifier.
        Raises:
            SpecViolationError: the run is not what the specification says; names the first problem.
            NotWritableError: no space, no permission, or published before and not `replace`.
        """
        if self.staging.is_dir() and any(p.is_file() for p in self.staging.rglob("*")):
            self.compact()
        return publish_folder(self.staging, Path(destination_store), run_id, manifest, replace)

    # -- helpers --------------------------------------------------------------------------------------------------

    def _create(self, path: str, shape: Sequence[int], dtype: str, attributes: dict[str, Any]) -> zarr.Array:
        attributes = _plain({k: v for k, v in attributes.items() if v is not None})
        dims = self._dims(path, attributes)
        if lines := array_problems(path, shape, dtype, dims, attributes):
            raise SpecViolationError(lines[0])
        self._arrays.pop(path, None)
        with atomic.writable(self.staging):
            return zarr.create_array(
                store=str(self.staging / ARRAYS_FOLDER), name=path, shape=tuple(shape), dtype=dtype, fill_value=0,
                dimension_names=list(dims), attributes=attributes, overwrite=True, zarr_format=3,
                config={"write_empty_chunks": True}, **layout(shape, dims),
            )  # fmt: skip

    @staticmethod
    def _dims(path: str, attributes: dict[str, Any]) -> tuple[str, ...]:
        try:
            return dimension_names(array_spec(path), attributes.get("native_grid"))
        except KeyError:
            raise SpecViolationError(f"there is no array {path!r} in store/spec.py") from None

    def _start(self, path: str, shape: Sequence[int], dtype: str, attributes: dict[str, Any]) -> None:
        try:
            array = self._open(path)
        except SpecViolationError:
            self._create(path, shape, dtype, attributes)
            return
        expected = _plain({k: v for k, v in attributes.items() if v is not None})
        if array.shape != tuple(shape) or str(array.dtype) != dtype or dict(array.attrs) != expected:
            raise SpecViolationError(
                f"{path} was started with another shape or meaning: remove {self.staging} and run again"
            )

    def _open(self, path: str) -> zarr.Array:
        if path not in self._arrays:
            # The setting is read when the array is opened; without it an all-zero map would leave no file.
            with zarr.config.set({"array.write_empty_chunks": True}):
                try:
                    self._arrays[path] = zarr.open_array(
                        store=str(self.staging / ARRAYS_FOLDER), path=path, mode="r+", zarr_format=3
                    )
                except FileNotFoundError:
                    raise SpecViolationError(
                        f"{path} was not started: call start_heatmaps or start_scans first"
                    ) from None
        return self._arrays[path]

    def _checked(self, path: str, row: int, value: np.ndarray) -> np.ndarray:
        array, value = self._open(path), np.asarray(value, dtype=np.float32)
        if not 0 <= row < array.shape[0] or value.shape != array.shape[1:]:
            raise SpecViolationError(f"{path}: row {row} of shape {value.shape} does not fit into {array.shape}")
        if not np.isfinite(value).all():
            raise SpecViolationError(f"{path}: row {row} holds numbers that are not finite: mend what computed it")
        return value

    def _put_row(self, path: str, row: int, stored: np.ndarray) -> None:
        array = self._open(path)
        with atomic.writable(self.staging):
            array[row] = stored
            atomic.flush(self._file(path, array, row))

    def _file(self, path: str, array: zarr.Array, row: int) -> Path:
        encoding = array.metadata.chunk_key_encoding  # type: ignore[union-attr]  # Zarr 3 only
        key = encoding.encode_chunk_key((int(row),) + (0,) * (array.ndim - 1))
        return self.staging / ARRAYS_FOLDER / path / key

    def _sources_of(self, key: HeatmapKey) -> dict[str, Path]:
        """Find for each scan the table that vouches for its heatmap."""
        if key not in self._sources:
            table = self.staging / TABLES_FOLDER / "heatmaps.parquet"
            parts = sorted((self.staging / PARTS_FOLDER).glob(f"{glob.escape(_part_prefix(key))}*.parquet"))
            found = ([table] if table.exists() else []) + parts
            self._sources[key] = {scan: source for source in found for scan in _rows_of(source, key).scan}
        return self._sources[key]

    def _withdraw(self, key: HeatmapKey, scans: Sequence[str]) -> None:
        """Take back the rows of heatmaps that are about to be overwritten."""
        sources = self._sources_of(key)
        for source in {sources[scan] for scan in scans if scan in sources}:
            frame = pq.read_table(source).to_pandas()
            stale = _is_of(frame, key) & frame.scan.isin(list(scans))
            atomic.write_bytes(source, tables.to_parquet(frame[~stale]))
        for scan in scans:
            sources.pop(scan, None)


def _part_prefix(key: HeatmapKey) -> str:
    return ".".join(path_part(name) for name in key) + "."


def _is_of(frame: pd.DataFrame, key: HeatmapKey) -> pd.Series:
    return (frame[list(key._fields)] == list(key)).all(axis=1).astype(bool)


def _rows_of(source: Path, key: HeatmapKey) -> pd.DataFrame:
    columns = [*key._fields, "scan", "row"]
    try:
        frame = pq.read_table(source, columns=columns).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise NotWritableError(f"{source} is unreadable: delete it and run the same command again") from error
    return frame[_is_of(frame, key)]


def _plain(value: Any) -> Any:
    """Turn a value into the types of JSON, as it will be read back."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
