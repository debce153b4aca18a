"""Statistics over groups of scans, as sums of the stored group cells (design, section 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from store.encoding import array_path
from store.errors import NotInRun
from store.spec import CELL_QUANTITIES, CELLS

if TYPE_CHECKING:
    from store.reader import RunReader

STATISTICS = ("mean", "mean_abs", "mean_positive", "sd")
_NEEDS = {"mean": {"sum"}, "mean_abs": {"sum_abs"}, "mean_positive": {"sum", "sum_abs"}, "sd": {"sum", "sum_sq"}}


@dataclass(frozen=True)
class GroupMap:
    """Statistics over a group of scans, each (x, y, z) float32, 0 outside the mask; None where not asked for.

    Every subject weighs the same, whatever its number of scans. `weight` is the sum of w.
    """

    mean: np.ndarray | None
    mean_abs: np.ndarray | None
    mean_positive: np.ndarray | None
    sd: np.ndarray | None
    scans: int
    subjects: int
    weight: float


@dataclass(frozen=True)
class Filters:
    """Which scans: allowed diagnoses, allowed predicted groups, correct or not; None lets all pass."""

    diagnosis: Sequence[str] | None = None
    predicted: Sequence[str] | None = None
    correct: bool | None = None


@dataclass(frozen=True)
class Choice:
    """One pair of diagnosis and predicted group, and the group whose evidence is explained."""

    diagnosis: str
    predicted: str
    target: str


class CellFamily:
    """The cells of one model set, method and scale."""

    def __init__(self, run: RunReader, model_set: str, method: str, scale: str) -> None:
        """Raises NotInRun: the run has no such cells."""
        self.run, self.model_set, self.method, self.scale = run, model_set, method, scale
        cells = run._frame("cells")
        self.rows = cells[(cells.model_set == model_set) & (cells.method == method) & (cells.scale == scale)]
        if self.rows.empty:
            raise NotInRun(f"run {run.run_id} has no group maps of {method} ({scale}) for model set {model_set}")

    def choose(self, filters: Filters, target: str) -> list[Choice]:
        """The pairs that pass the filters; NotInRun names the filter that leaves nothing."""
        if target not in (*self.run.groups, "true", "predicted"):
            choices = ", ".join(self.run.groups)
            raise NotInRun(f"run {self.run.run_id} has no target {target!r}: choose {choices}, true or predicted")
        pairs = list(dict.fromkeys(zip(self.rows.diagnosis, self.rows.predicted, strict=True)))
        groups = {diagnosis: self.run.group_of(self.model_set, diagnosis) for diagnosis, _ in pairs}
        tests = {
            f"diagnosis {_words(filters.diagnosis)}": lambda d, p: filters.diagnosis is None or d in filters.diagnosis,
            f"predicted {_words(filters.predicted)}": lambda d, p: filters.predicted is None or p in filters.predicted,
            f"correct {filters.correct}": lambda d, p: (
                filters.correct is None or (groups[d] is not None and (groups[d] == p) == filters.correct)
            ),
            "target true": lambda d, p: target != "true" or groups[d] is not None,
        }
        for words, passes in tests.items():
            pairs = [pair for pair in pairs if passes(*pair)]
            if not pairs:
                raise NotInRun(f"the filter {words} leaves no scan of model set {self.model_set}: widen it")
        return [Choice(d, p, {"true": groups[d], "predicted": p}.get(target, target)) for d, p in pairs]

    def combine(self, chosen: Sequence[Choice], statistics: Sequence[str]) -> GroupMap:
        """The statistics over all chosen cells together; reads only the quantities that they need."""
        needed = quantities_for(statistics)
        sums: dict[str, Any] = dict.fromkeys(needed, 0.0)
        weight, attributes = 0.0, {}
        for choice in chosen:
            path, sign, row = self._cell(choice)
            attributes = self.run.attributes(path)
            for quantity in needed:
                numbers = self.run._folder.numbers(path, CELL_QUANTITIES.index(quantity))
                values = self._kept(numbers, attributes).astype(np.float64)
                sums[quantity] = sums[quantity] + (sign * values if quantity == "sum" else values)
            weight += float(row.weight)
        maps = {
            name: self._full(values.astype(np.float32), attributes)
            for name, values in statistics_of(sums, weight, statistics).items()
        }
        scans, subjects = self._people(chosen)
        return GroupMap(**{s: maps.get(s) for s in STATISTICS}, scans=scans, subjects=subjects, weight=weight)

    def _kept(self, numbers: np.ndarray, attributes: Mapping[str, Any]) -> np.ndarray:
        """The numbers that are added: those of the brain's voxels, or the whole native grid."""
        return numbers[self.run.mask] if attributes["native_grid"] == "voxels" else numbers

    def _full(self, values: np.ndarray, attributes: Mapping[str, Any]) -> np.ndarray:
        """(x, y, z) of what `_kept` kept."""
        if attributes["native_grid"] != "voxels":
            return self.run.full(values, attributes)
        volume = np.zeros(self.run.mask.shape, values.dtype)
        volume[self.run.mask] = values
        return volume

    def _cell(self, choice: Choice) -> tuple[str, int, Any]:
        """Path, sign and row of a cell. The sign is -1 where only the other group's map is stored."""
        same = self.rows[(self.rows.diagnosis == choice.diagnosis) & (self.rows.predicted == choice.predicted)]
        targets = [(choice.target, 1)]
        if choice.target == self.run.groups[1] and self._antisymmetric():
            targets.append((self.run.groups[0], -1))
        for target, sign in targets:
            row = same[same.target == target]
            if len(row):
                path = array_path(
                    CELLS, model_set=self.model_set, method=self.method, target=target, scale=self.scale,
                    diagnosis=choice.diagnosis, predicted=choice.predicted,
                )  # fmt: skip
                return path, sign, row.iloc[0]
        raise NotInRun(
            f"run {self.run.run_id} has no group map of {self.method} ({self.scale}) for {choice.target} "
            f"in {choice.diagnosis} predicted {choice.predicted}"
        )

    def _antisymmetric(self) -> bool:
        frame = self.run._frame("heatmaps")
        models = frame.model[(frame.model_set == self.model_set) & (frame.method == self.method)].unique()
        return len(models) > 0 and self.run.is_antisymmetric(models[0], self.method)

    def _people(self, chosen: Sequence[Choice]) -> tuple[int, int]:
        """(scans, subjects) counted from the predictions: a subject, and a new scan of several models, may be in two
        cells."""
        frame = self.run._frame("predictions")
        # Retrained models explain the same scans again; the cells are of the first model.
        frame = frame[(frame.model_set == self.model_set) & ~frame.model.str.contains("-seed-", regex=False)]
        pairs = {(c.diagnosis, c.predicted) for c in chosen}
        inside = [pair in pairs for pair in zip(frame.diagnosis, frame.predicted, strict=True)]
        return int(frame.scan[inside].nunique()), int(frame.subject[inside].nunique())


def quantities_for(statistics: Sequence[str]) -> set[str]:
    """Which of spec.CELL_QUANTITIES the statistics follow from; NotInRun: there is no such statistic."""
    if unknown := [name for name in statistics if name not in STATISTICS]:
        raise NotInRun(f"there is no statistic {unknown[0]!r}: choose from {', '.join(STATISTICS)}")
    return set().union(*(_NEEDS[name] for name in statistics))


def statistics_of(sums: Mapping[str, Any], weight: float, wanted: Sequence[str]) -> dict[str, np.ndarray]:
    """The statistics from the sums of w h, w |h| and w h^2, in their grid."""
    formulas = {
        "mean": lambda: sums["sum"] / weight,
        "mean_abs": lambda: sums["sum_abs"] / weight,
        "mean_positive": lambda: (sums["sum_abs"] + sums["sum"]) / (2 * weight),
        "sd": lambda: np.sqrt(np.maximum(sums["sum_sq"] / weight - (sums["sum"] / weight) ** 2, 0)),
    }
    return {name: formulas[name]() for name in wanted}


def _words(values: Sequence[str] | None) -> str:
    return ", ".join(values) if values else "(none)"
