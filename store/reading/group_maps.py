"""Statistics over groups of scans, as sums of the stored group cells.

docs/definitions.md, Group cells and averages.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from store.errors import NotInRunError
from store.keys import ALL, GroupKey
from store.reading import weights
from store.reading.open_run import OpenRun
from store.spec import CELL_QUANTITIES

STATISTICS = ("mean", "mean_abs", "mean_positive", "sd")
_NEEDS = {"mean": {"sum"}, "mean_abs": {"sum_abs"}, "mean_positive": {"sum", "sum_abs"}, "sd": {"sum", "sum_sq"}}


@dataclass(frozen=True)
class GroupMap:
    """Statistics over a group of scans, each (x, y, z) float32, 0 outside the mask; None where not asked for.

    Every subject weighs the same, whatever its number of scans (every scan, where the run's settings say so).

    Attributes:
        scans, subjects: that are averaged.
        weight: the sum of w.
        without_relevance: scans that pass the filters and are left out, because each map is divided by its sum and
            theirs is 0 everywhere.
    """

    mean: np.ndarray | None
    mean_abs: np.ndarray | None
    mean_positive: np.ndarray | None
    sd: np.ndarray | None
    scans: int
    subjects: int
    weight: float
    without_relevance: int = 0


@dataclass(frozen=True)
class Averaged:
    """The scans of some cells that are averaged.

    Attributes:
        scans, subjects: how many.
        weight: the sum of their w.
        as_in_cells: whether the stored cells weigh them so; they do not where a filter takes a part of the scans of a
            subject.
        without_relevance: scans left out.
    """

    scans: int
    subjects: int
    weight: float
    as_in_cells: bool
    without_relevance: int


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
    """The group cells from which the averages of a key follow."""

    def __init__(self, run: OpenRun, key: GroupKey) -> None:
        """Find the cells.

        Raises:
            NotInRunError: the run has none of this model set, method and scale.
        """
        self.run, self.key, (model_set, method, _, scale) = run, key, key
        cells = run.whole_table("cells")
        self.rows = cells[(cells.model_set == model_set) & (cells.method == method) & (cells.scale == scale)]
        if self.rows.empty:
            raise NotInRunError(f"run {run.run_id} has no group maps of {method} ({scale}) for model set {model_set}")

    def choose(self, filters: Filters) -> list[Choice]:
        """Return the pairs that pass the filters; NotInRunError names the filter that leaves nothing."""
        target = self.key.target
        if target not in (*self.run.groups, "true", "predicted"):
            choices = ", ".join(self.run.groups)
            raise NotInRunError(f"run {self.run.run_id} has no target {target!r}: choose {choices}, true or predicted")
        pairs = list(dict.fromkeys(zip(self.rows.diagnosis, self.rows.predicted, strict=True)))
        groups = {diagnosis: self.run.group_of(self.key.model_set, diagnosis) for diagnosis, _ in pairs}
        right = {pair: groups[pair[0]] is not None and groups[pair[0]] == pair[1] for pair in pairs}
        passing = {}
        if filters.diagnosis is not None:
            passing[f"diagnosis {_words(filters.diagnosis)}"] = {p for p in pairs if p[0] in filters.diagnosis}
        if filters.predicted is not None:
            passing[f"predicted {_words(filters.predicted)}"] = {p for p in pairs if p[1] in filters.predicted}
        if filters.correct is not None:
            known = {pair for pair in pairs if groups[pair[0]] is not None}
            passing[f"correct {filters.correct}"] = {pair for pair in known if right[pair] == filters.correct}
        if target == "true":
            passing["target true"] = {pair for pair in pairs if groups[pair[0]] is not None}
        for words, those in passing.items():
            pairs = [pair for pair in pairs if pair in those]
            if not pairs:
                raise NotInRunError(f"the filter {words} leaves no scan of model set {self.key.model_set}: widen it")
        own = {(d, p): {"true": groups[d], "predicted": target if p == ALL else p}.get(target) for d, p in pairs}
        return [Choice(d, p, own[d, p] or target) for d, p in pairs]

    def averaged(self, chosen: Sequence[Choice]) -> Averaged:
        """Find the scans of the chosen cells that are averaged, and whether the cells hold their average.

        Raises:
            NotInRunError: no map has any relevance, and each would be divided by its sum.
        """
        if self.run.holds_groups_only:
            return self._counted(chosen)
        rows = weights.explained(self.run, self.key.model_set)
        by_scan = weights.scans_weigh_alike(self.run, self.key.model_set)
        pairs = pd.MultiIndex.from_frame(rows[["diagnosis", "predicted"]])
        inside, contributes, in_cells = np.zeros(len(rows), bool), np.zeros(len(rows), bool), np.zeros((2, len(rows)))
        for target in {choice.target for choice in chosen}:
            mine = pairs.isin([(c.diagnosis, c.predicted) for c in chosen if c.target == target])
            has_share = np.ones(len(rows), bool)
            if self.key.scale == "relative":
                has_share = ~weights.without_relevance(self.run, self.key.method, rows, target)
            inside |= mine
            contributes |= mine & has_share
            in_cells[:, mine] = np.array(weights.cell_weights(rows, has_share, by_scan))[:, mine]
        left_out = int(rows["scan"][inside & ~contributes].nunique())
        if not contributes.any():
            raise weights.nothing_to_average(self.run, self.key.method, left_out)
        w = weights.equal_weights(rows[contributes], by_scan)
        stored = np.array([self._cell(choice)[2].weight for choice in chosen], float)
        as_in_cells = False
        for candidate in in_cells:  # which of them the cells hold, their sums say
            sums = pd.Series(candidate).groupby(pairs).sum()
            if np.allclose([sums.get((c.diagnosis, c.predicted), np.nan) for c in chosen], stored):
                as_in_cells = np.allclose(candidate[contributes], w)
                break
        scans, subjects = (int(rows[name][contributes].nunique()) for name in ("scan", "subject"))
        return Averaged(scans, subjects, float(w.sum()), as_in_cells, left_out)

    def _counted(self, chosen: Sequence[Choice]) -> Averaged:
        """Return what the cells of a run without persons say of themselves.

        Raises:
            NotInRunError: subjects are in several of the diagnoses, and would weigh more than the others.
        """
        cells = [self._cell(choice)[2] for choice in chosen]
        shared = self.run.table("group_counts", model_set=self.key.model_set).set_index("diagnosis")["shared"]
        if len(cells) > 1 and shared.reindex([choice.diagnosis for choice in chosen]).fillna(False).any():
            raise NotInRunError(
                f"run {self.run.run_id} holds averages of whole diagnoses alone, and some subjects have scans of "
                "several: choose one diagnosis"
            )
        without = sum(int(cell.without_relevance) for cell in cells if pd.notna(cell.without_relevance))
        scans, subjects = (int(sum(getattr(cell, name) for cell in cells)) for name in ("scans", "subjects"))
        return Averaged(scans, subjects, float(sum(cell.weight for cell in cells)), True, without)

    def pairs(self, chosen: Sequence[Choice]) -> list[tuple[str, str]]:
        """List the (model, scan) of every scan of the chosen cells."""
        rows, wanted = weights.explained(self.run, self.key.model_set), {(c.diagnosis, c.predicted) for c in chosen}
        inside = [pair in wanted for pair in zip(rows["diagnosis"], rows["predicted"], strict=True)]
        return list(zip(rows["model"][inside], rows["scan"][inside], strict=True))

    def combine(self, chosen: Sequence[Choice], averaged: Averaged, statistics: Sequence[str]) -> GroupMap:
        """Compute the statistics over all chosen cells together; only the quantities that they need are read."""
        sums, attributes = self.sums(chosen, quantities_for(statistics))
        maps = {
            name: self._full(values.astype(np.float32), attributes)
            for name, values in statistics_of(sums, averaged.weight, statistics).items()
        }
        return GroupMap(
            **{s: maps.get(s) for s in STATISTICS}, scans=averaged.scans, subjects=averaged.subjects,
            weight=averaged.weight, without_relevance=averaged.without_relevance,
        )  # fmt: skip

    def sums(self, chosen: Sequence[Choice], quantities: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Add up cells: quantity of spec.CELL_QUANTITIES -> sum, float64, and the attributes of the arrays.

        A sum holds the voxels of the brain where the native grid is voxels, else the whole native grid.
        """
        sums: dict[str, Any] = dict.fromkeys(quantities, 0.0)
        attributes: dict[str, Any] = {}
        for choice in chosen:
            path, sign, _ = self._cell(choice)
            attributes = self.run.attributes(path)
            for quantity in quantities:
                numbers = self.run.stored_numbers(path, CELL_QUANTITIES.index(quantity))
                values = self._kept(numbers, attributes).astype(np.float64)
                sums[quantity] = sums[quantity] + (sign * values if quantity == "sum" else values)
        return sums, attributes

    def _kept(self, numbers: np.ndarray, attributes: Mapping[str, Any]) -> np.ndarray:
        """Return the numbers that are added: those of the brain's voxels, or the whole native grid."""
        return numbers[self.run.mask] if attributes["native_grid"] == "voxels" else numbers

    def _full(self, values: np.ndarray, attributes: Mapping[str, Any]) -> np.ndarray:
        """Put what `_kept` kept back into (x, y, z)."""
        if attributes["native_grid"] != "voxels":
            return self.run.full(values, attributes)
        volume = np.zeros(self.run.mask.shape, values.dtype)
        volume[self.run.mask] = values
        return volume

    def _cell(self, choice: Choice) -> tuple[str, int, Any]:
        """Find path, sign and row of a cell. The sign is -1 where only the other group's map is stored."""
        same = self.rows[(self.rows.diagnosis == choice.diagnosis) & (self.rows.predicted == choice.predicted)]
        targets = [(choice.target, 1)]
        if choice.target == self.run.groups[1] and self.run.is_antisymmetric_in(self.key.model_set, self.key.method):
            targets.append((self.run.groups[0], -1))
        for target, sign in targets:
            row = same[same.target == target]
            if len(row):
                return self.key._replace(target=target).cell_path(choice.diagnosis, choice.predicted), sign, row.iloc[0]
        raise NotInRunError(
            f"run {self.run.run_id} has no group map of {self.key.method} ({self.key.scale}) for {choice.target} "
            f"in {choice.diagnosis} predicted {choice.predicted}"
        )


def quantities_for(statistics: Sequence[str]) -> set[str]:
    """Return which of spec.CELL_QUANTITIES the statistics need; NotInRunError: there is no such statistic."""
    if unknown := [name for name in statistics if name not in STATISTICS]:
        raise NotInRunError(f"there is no statistic {unknown[0]!r}: choose from {', '.join(STATISTICS)}")
    return set().union(*(_NEEDS[name] for name in statistics))


def statistics_of(sums: Mapping[str, Any], weight: float, wanted: Sequence[str]) -> dict[str, np.ndarray]:
    """Compute the statistics from the sums of w h, w |h| and w h^2, in their grid."""
    formulas = {
        "mean": lambda: sums["sum"] / weight,
        "mean_abs": lambda: sums["sum_abs"] / weight,
        "mean_positive": lambda: (sums["sum_abs"] + sums["sum"]) / (2 * weight),
        "sd": lambda: np.sqrt(np.maximum(sums["sum_sq"] / weight - (sums["sum"] / weight) ** 2, 0)),
    }
    return {name: formulas[name]() for name in wanted}


def _words(values: Sequence[str]) -> str:
    return ", ".join(values) if values else "(none)"
