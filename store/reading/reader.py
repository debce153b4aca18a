"""Plain questions to a store -> NumPy arrays and data frames. Never needs torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from store.errors import (
    BrokenRunError,
    MissingManifestError,
    NotInRunError,
    RunNotFoundError,
    StoreError,
    UnreachableError,
)
from store.files.bounds import LARGEST_FIGURE, LARGEST_FILE, MIB
from store.files.encoding import array_path, dequantise
from store.files.folders import MEND, Folder
from store.files.geometry import to_voxels
from store.files.manifest import is_inside
from store.files.shards import declared_dimensions
from store.files.tables import known_table, with_later
from store.keys import GroupKey, HeatmapKey
from store.reading import heatmaps, streaming
from store.reading.descriptions import FULL_GRID, array_problems, shape_problem
from store.reading.group_maps import STATISTICS, CellFamily, Filters, GroupMap
from store.reading.listing import check_manifest, list_runs
from store.reading.native_space import NativeSpace
from store.reading.region_values import RegionValues
from store.spec import (
    ARRAYS_FOLDER,
    FIGURES_FOLDER,
    MANIFEST,
    NATIVE,
    TABLES_FOLDER,
    TableSpec,
)

AHEAD = (f"{TABLES_FOLDER}/", *(f"{ARRAYS_FOLDER}/{name}/" for name in ("template", "mask", "grid/mask", "grid/atlas")))
LARGEST_AHEAD = 2 * MIB
KEPT_MATRICES = 4  # regions of scans by a method: 13 MB each for 10 000 scans
SMALL = ("models", "regions", "cells")  # tables that pages ask for again and again: kept when first read
PARTS = f"{TABLES_FOLDER}/parts/heatmaps"


def open_run(store: str | Path, run: str | None = None) -> RunReader:
    """Open a run by its identifier or its name (then the newest of that name); None: the newest that can be opened.

    Raises:
        StoreNotFoundError, RunNotFoundError, NewerSpecError, BrokenRunError.
    """
    folder = Folder(store)
    if run and "/" not in run and not run.startswith("."):
        child = folder.child(run)
        with suppress(MissingManifestError):
            if not folder.is_local or child.exists(MANIFEST):
                return _open(child)
    infos = list_runs(store)
    matches = [i for i in infos if (i.name == run if run is not None else i.problem is None)]
    if matches:
        return _open(folder.child(matches[0].run))
    if run is not None:
        known = ", ".join(i.run for i in infos[:5]) or "none"
        raise RunNotFoundError(f"there is no run {run} in {store}: it has {known}")
    if infos:
        raise (UnreachableError if infos[0].unreachable else BrokenRunError)(infos[0].problem)
    raise RunNotFoundError(f"there is no run in {store} yet: make one with run_pipeline.py")


def _open(folder: Folder) -> RunReader:
    manifest = folder.manifest()
    check_manifest(folder, manifest)
    return RunReader(folder, manifest)


class RunReader:
    """One run. Answers with arrays and frames; keeps open nothing but metadata and small tables."""

    def __init__(self, folder: Folder, manifest: Mapping[str, Any], *, published: bool = True) -> None:
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
        self._as_persons = False

    @property
    def holds_groups_only(self) -> bool:
        """Return whether the run is read as results of groups alone, nothing of a single person."""
        return self.group_level is not None and not self._as_persons

    @property
    def shown(self) -> int:
        """Return how many simulated scans a run of groups shows one by one, to who asks for `of_persons`."""
        return int((self.group_level or {}).get("shown", 0))

    def of_persons(self) -> RunReader:
        """Return a reader of the scans that a run of groups shows one by one, as if it had no others.

        Without it such a run reads as if it held none, so that nothing of groups is ever computed of these few.
        """
        reader = RunReader(self._folder, self.manifest, published=self._published)
        reader._as_persons = self.shown > 0
        return reader

    def _hides(self, name: str) -> bool:
        return self.holds_groups_only and not {"scan", "subject"}.isdisjoint(known_table(name).columns)

    @classmethod
    def staging(cls, place: str | Path, groups: Sequence[str], **manifest: Any) -> RunReader:
        """Make a reader of a folder that is not published yet: a snapshot, so make a new one after more was written."""
        return cls(Folder(place), {"groups": list(groups), **manifest}, published=False)

    def fetch_ahead(self) -> None:
        """Begin to fetch what most questions need, where the run lies behind a server; nothing to wait for."""
        self._folder.fetch_ahead(AHEAD, LARGEST_AHEAD)

    # -- tables ---------------------------------------------------------------------------------------------------

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

    # -- arrays ---------------------------------------------------------------------------------------------------

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

    # -- heatmaps -------------------------------------------------------------------------------------------------

    def heatmap(
        self, model: str, method: str, scan: str, *, target: str, scale: str = "margin", full: bool = True
    ) -> np.ndarray:
        """Read the signed relevance of a scan, (x, y, z) float32, 0 outside the mask.

        Args:
            target: a group, or "true" or "predicted".
            scale: margin or probability.
            full: False for the method's native grid, e.g. (regions,).
        Raises:
            NotInRunError: the run does not hold this heatmap, or the target is unknown for this scan.
            BrokenRunError: it should, and the numbers are missing or not what was written.
        """
        group = self.target_of(model, scan, target)
        place = heatmaps.locate(self, HeatmapKey(model, method, group, scale), scan)
        values = heatmaps.values(self, place)
        return self.full(values, self.attributes(place.path)) if full else values

    def target_of(self, model: str, scan: str, target: str) -> str:
        """Return the group that "true" or "predicted" means for a model and scan; a group stands for itself."""
        if target in self.groups:
            return target
        if target == "true":
            group = self.whole_table("scans").group.iloc[self._scan_row(scan)[0]]
            if pd.isna(group) or group not in self.groups:
                raise NotInRunError(
                    f"scan {scan} belongs to no group, so it has no true target: choose {self._choices()}"
                )
            return str(group)
        if target == "predicted":
            return str(self.prediction(model, scan)["predicted"])
        raise NotInRunError(f"run {self.run_id} has no target {target!r}: choose {self._choices()}, true or predicted")

    def _choices(self) -> str:
        return ", ".join(self.groups)

    def is_antisymmetric(self, model: str, method: str) -> bool:
        """Return whether the heatmap for the negative group is minus the one for the positive group."""
        path = HeatmapKey(model, method, self.groups[0]).path
        return self.has_array(path) and bool(self.attributes(path)["antisymmetric"])

    def is_antisymmetric_in(self, model_set: str, method: str) -> bool:
        """Return the same of the networks of a model set; False where none explains by this method."""
        if self.group_level is not None:
            return self._method_of_groups(method).get("antisymmetric") is True
        frame = self.whole_table("heatmaps")
        models = frame.model[(frame.model_set == model_set) & (frame.method == method)].unique()
        return len(models) > 0 and self.is_antisymmetric(models[0], method)

    def _method_of_groups(self, method: str) -> dict[str, Any]:
        """Return what the manifest of a run without persons says of the heatmaps that were averaged."""
        found = (self.group_level or {}).get("methods", {}).get(method, {})
        return found if isinstance(found, dict) else {}

    def is_gradient(self, method: str) -> bool:
        """Return whether relevance is a gradient, of which |h| counts, or a drop of evidence, of which max(h, 0) does.

        Of gradients only the margin is stored: the map of the probability is p (1 - p) times it.
        """
        if self.group_level is not None:
            return self._method_of_groups(method).get("gradient") is True
        return (method, "margin") in self._stored_scales and (method, "probability") not in self._stored_scales

    @cached_property
    def _stored_scales(self) -> frozenset[tuple[str, str]]:
        """Return the (method, scale) of all heatmaps."""
        found = self.table("heatmaps", ["method", "scale"]).drop_duplicates()
        return frozenset(zip(found["method"], found["scale"], strict=True))

    @cached_property
    def heatmap_rows(self) -> dict[tuple[str, ...], tuple[int, float, float, str]]:
        """Map (model, method, target, scan, scale) to row, value_scale, absolute_sum and checksum."""
        frame = self.whole_table("heatmaps")
        keys = ("model", "method", "target", "scan", "scale")
        values = ("row", "value_scale", "absolute_sum", "checksum")
        # As lists: walking through columns of texts themselves takes five times as long.
        found = (zip(*(frame[name].tolist() for name in names), strict=True) for names in (keys, values))
        return dict(zip(*found, strict=True))

    @cached_property
    def _predictions(self) -> dict[tuple[str, str], dict[str, Any]]:
        rows = self.whole_table("predictions")[["model", "scan", "probability", "predicted"]].to_dict("records")
        return {(row["model"], row["scan"]): row for row in rows}

    def prediction(self, model: str, scan: str) -> dict[str, Any]:
        """Return probability and predicted group of a scan by a model; NotInRunError where there is none."""
        try:
            return self._predictions[model, scan]
        except KeyError:
            raise NotInRunError(f"run {self.run_id} has no prediction of scan {scan} by model {model}") from None

    def full(self, values: np.ndarray, attributes: Mapping[str, Any]) -> np.ndarray:
        """Put numbers of a native grid on the working grid, (..., x, y, z); `attributes` are those of their array."""
        return to_voxels(
            values, attributes["native_grid"], stride=attributes.get("stride"), shape=self.mask.shape, atlas=self.atlas,
            mask=self.mask,
        )  # fmt: skip

    # -- groups ---------------------------------------------------------------------------------------------------

    def group_map(
        self, key: GroupKey, *, diagnosis: Sequence[str] | None = None, predicted: Sequence[str] | None = None,
        correct: bool | None = None, statistics: Sequence[str] = STATISTICS,
    ) -> GroupMap:  # fmt: skip
        """Average the heatmaps of the scans that pass the filters, from the group cells.

        Args:
            key: with a group as target, or "true" (scans of no group are left out) or "predicted".
            diagnosis, predicted: those allowed; None: all.
            correct: only scans that are (True) or are not (False) predicted as their group.
            statistics: which of mean, mean_abs, mean_positive, sd; only what they need is read.
        Raises:
            NotInRunError: no such cells, or no scan passes the filters.
            BrokenRunError: a cell is missing or damaged.
        """
        family = CellFamily(self, key)
        chosen = family.choose(Filters(diagnosis, predicted, correct))
        averaged = family.averaged(chosen)
        if averaged.as_in_cells:
            return family.combine(chosen, averaged, statistics)
        # The cells hold the scans of a subject with the weights of all of them, and here is a part of them.
        pairs = family.pairs(chosen)
        return self.subset_map(key, pairs, statistics=statistics)

    def cells_answer(self, key: GroupKey, **filters: Any) -> bool:
        """Return whether `group_map` follows from the group cells alone, without reading the heatmaps of the scans.

        It does not where a filter takes some of the scans of a subject. True also where it ends in an error.

        Args:
            filters: diagnosis, predicted, correct, as in `group_map`.
        """
        try:
            family = CellFamily(self, key)
            return family.averaged(family.choose(Filters(**filters))).as_in_cells
        except NotInRunError:
            return True

    def subset_map(
        self, key: GroupKey, pairs: Sequence[tuple[str, str]], *, statistics: Sequence[str] = STATISTICS,
        progress: Callable[[int, int], None] | None = None,
    ) -> GroupMap:  # fmt: skip
        """Average the heatmaps of any set of scans, one after another; for a union of cells the same as `group_map`.

        Heatmaps are read a few at a time, so that memory does not grow with the set.

        Args:
            key: with a group as target, or "true" (scans of no group are left out) or "predicted".
            pairs: (model, scan), each once whatever their number; not of retrained models.
            statistics: which of mean, mean_abs, mean_positive, sd.
            progress: called as progress(done, all) after each scan, in this thread; what it raises ends the reading.
        Raises:
            NotInRunError: no scan, an unknown one, or one without such a heatmap.
            BrokenRunError: a heatmap is missing or damaged.
        """
        return streaming.subset_map(self, key, pairs, statistics, progress)

    def subject_maps(
        self, key: GroupKey, pairs: Sequence[tuple[str, str]], *, statistic: str = "mean_abs", block_mm: float = 4.0,
        progress: Callable[[int, int], None] | None = None,
    ) -> streaming.SubjectMaps:  # fmt: skip
        """Read one map a subject, the mean over its scans, as coarse as a test over subjects can tell.

        Args:
            key, pairs, progress: as for `subset_map`.
            statistic: mean_abs, mean_positive or mean: what is averaged of each scan.
            block_mm: voxels of a fine grid are averaged in cubes with at most this edge.
        Raises:
            NotInRunError, BrokenRunError: as for `subset_map`.
        """
        return streaming.subject_maps(self, key, pairs, statistic, block_mm, progress)

    def group_of(self, model_set: str, diagnosis: str) -> str | None:
        """Return the group of a diagnosis; None where it is of no group (apply scans)."""
        if diagnosis in self.groups:
            return diagnosis
        frame = self.whole_table("group_counts" if self.holds_groups_only else "predictions")
        found = frame.group[(frame.model_set == model_set) & (frame.diagnosis == diagnosis)].dropna().unique()
        groups = [g for g in found if g in self.groups]
        return groups[0] if len(groups) == 1 else None

    # -- models and figures ---------------------------------------------------------------------------------------

    @property
    def local_folder(self) -> Path | None:
        """Return the folder of the run on this machine; None where it is behind a server."""
        return Path(self._folder.root) if self._folder.is_local else None

    def file(self, path: str) -> bytes:
        """Read a file of the run as it is, e.g. "models/fold-1.safetensors" or "figures/contact.png".

        Raises:
            NotInRunError: there is no such file.
        """
        if not is_inside(path) or not self._folder.exists(path):
            raise NotInRunError(f"run {self.run_id} has no file {path}")
        return self._folder.read(path, LARGEST_FIGURE if path.startswith(f"{FIGURES_FOLDER}/") else LARGEST_FILE)


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
