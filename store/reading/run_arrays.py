"""The arrays of a run: grids, volumes of scans, and the space of their own files."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from store.errors import BrokenRunError, NotInRunError
from store.files.encoding import array_path, dequantise
from store.files.folders import MEND
from store.files.shards import declared_dimensions
from store.reading.descriptions import FULL_GRID, array_problems, shape_problem
from store.reading.native_space import NativeSpace
from store.reading.run_tables import RunTables
from store.spec import NATIVE


class RunArrays(RunTables):
    """The arrays and tables of one run."""

    def array(self, path: str) -> np.ndarray:
        """Read a whole array as it is stored, e.g. "grid/atlas".

        Raises:
            NotInRunError: the run does not have it.
            BrokenRunError: it should, or a part of it is missing or damaged.
        """
        self._require(path)
        return self._folder.numbers(path)

    def stored_numbers(self, path: str, index: int) -> np.ndarray:
        """Return one leading index of an array as it is stored, without a look at its description."""
        return self._folder.numbers(path, index)

    def has_array(self, path: str) -> bool:
        """Return whether the run has this array; truth/*, for example, is for simulated runs only."""
        return self._folder.array(path) is not None

    def attributes(self, path: str) -> dict[str, Any]:
        """Return the attributes of an array: affine, unit, ...; errors as for `array`."""
        self._require(path)
        return dict(self._folder.existing_array(path).attrs)

    def shape(self, path: str) -> tuple[int, ...]:
        """Return the shape of an array; errors as for `array`."""
        self._require(path)
        return self._folder.existing_array(path).shape

    def affine(self, path: str = "grid/mask") -> np.ndarray:
        """Return the (4, 4) float64 affine of an array, voxel -> mm."""
        return np.array(self.attributes(path)["affine"], dtype=float)

    def _require(self, path: str) -> None:
        if self._folder.array(path) is None:
            if any(entry["path"] == path for entry in self._contents("arrays")):
                raise self._folder.missing(f"array {path} is missing")
            raise NotInRunError(f"run {self.run_id} has no array {path}")
        if path not in self._sound and (problem := self._problem_of(path)):
            raise BrokenRunError(f"run {self.run_id}: {problem}: {MEND}")
        self._sound.add(path)

    def _problem_of(self, path: str) -> str | None:
        """Say what is wrong with the description of an array; None also for arrays of later versions."""
        array = self._folder.existing_array(path)
        dims, attributes = declared_dimensions(array), dict(array.attrs)
        lines = array_problems(path, array.shape, str(array.dtype), dims, attributes)
        if lines:
            return None if lines[0].endswith("not in store/spec.py") else lines[0]
        grid = self._folder.array("mask" if path in FULL_GRID else "grid/mask")
        return None if grid is None else shape_problem(path, array.shape, attributes, grid.shape)

    @cached_property
    def mask(self) -> np.ndarray:
        """Return the brain mask on the working grid, (x, y, z) bool."""
        return _frozen(self.array("grid/mask") > 0)

    @cached_property
    def atlas(self) -> np.ndarray:
        """Return the region index on the working grid, (x, y, z), 0 outside the mask."""
        return _frozen(self.array("grid/atlas"))

    def volume(self, scan: str) -> np.ndarray:
        """Read the preprocessed volume of a scan on the working grid, (x, y, z) float32."""
        row, scale = self._scan_row(scan)
        self._require("scans")
        if pd.isna(scale):
            raise BrokenRunError(f"run {self.run_id}: scan {scan} has no volume_scale: build the run again")
        return dequantise(self._folder.numbers("scans", row), float(scale))

    def scan_slice(self, path: str, scan: str) -> np.ndarray:
        """Read a scan's part, (x, y, z) as stored, of an array with a place for each row of the scans table."""
        row, _ = self._scan_row(scan)
        self._require(path)
        return self._folder.numbers(path, row)

    def _scan_row(self, scan: str) -> tuple[int, float]:
        row = self._row_of_scan.get(scan)
        if row is None:
            raise NotInRunError(f"run {self.run_id} has no scan {scan}")
        return row, self.whole_table("scans").volume_scale.iloc[row]

    @cached_property
    def _row_of_scan(self) -> dict[str, int]:
        """Return scan -> row: averages ask for thousands, one after another."""
        scans = self.whole_table("scans").scan
        return {str(scan): row for row, scan in reversed(list(enumerate(scans)))}

    # -- native space ---------------------------------------------------------------------------------------------

    def has_native(self, scan: str) -> bool:
        """Return whether maps of this scan can be taken to the space of its own file; see store.native."""
        return self.has_array(array_path(NATIVE, scan=scan))

    def native_geometry(self, scan: str) -> tuple[tuple[int, int, int], np.ndarray]:
        """Return (shape, affine) of a scan's own file, from metadata alone; errors as for `native_space`."""
        attributes = self._native_attributes(scan)
        return tuple(attributes["native_shape"]), np.array(attributes["native_affine"], dtype=float)

    def native_space(self, scan: str) -> NativeSpace:
        """Read where the points of a scan's own file lie in MNI space.

        Raises:
            NotInRunError: the run does not hold it; says why.
            BrokenRunError: it should, and the numbers are missing or damaged.
        """
        attributes = self._native_attributes(scan)
        linear, affine = (np.array(attributes[name], dtype=float) for name in ("linear", "affine"))
        displacement = self._folder.numbers(array_path(NATIVE, scan=scan))
        return NativeSpace(*self.native_geometry(scan), linear, displacement, affine)

    def _native_attributes(self, scan: str) -> dict[str, Any]:
        self._scan_row(scan)
        path = array_path(NATIVE, scan=scan)
        if self.has_native(scan) or any(entry["path"] == path for entry in self._contents("arrays")):
            return self.attributes(path)
        if self.simulated:
            raise NotInRunError(
                f"scan {scan} has no native space: the brains of run {self.run_id} are simulated in MNI space"
            )
        raise NotInRunError(
            f"run {self.run_id} does not hold the native space of scan {scan}: run the pipeline again, where the "
            "transforms were not kept with preprocessing.keep_transforms=true and --from preprocess"
        )


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
