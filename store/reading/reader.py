"""Plain questions to a store -> NumPy arrays and data frames. Never needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from store.errors import (
    BrokenRunError,
    MissingManifestError,
    NotInRunError,
    RunNotFoundError,
    UnreachableError,
)
from store.files.bounds import LARGEST_FIGURE, LARGEST_FILE
from store.files.folders import Folder
from store.files.geometry import to_voxels
from store.files.manifest import is_inside
from store.keys import GroupKey, HeatmapKey
from store.reading import heatmaps, streaming
from store.reading.group_maps import STATISTICS, CellFamily, Filters, GroupMap
from store.reading.listing import check_manifest, list_runs
from store.reading.run_arrays import RunArrays
from store.spec import FIGURES_FOLDER, MANIFEST


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


class RunReader(RunArrays):
    """One run. Answers with arrays and frames; keeps open nothing but metadata and small tables."""

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
