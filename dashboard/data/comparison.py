"""Where the heatmaps of two sets of scans differ by more than chance: permutations of subjects.

docs/definitions.md, Two sets of scans.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dashboard.data import byte_cache, permutations, runs
from dashboard.data.anatomy import brain
from dashboard.data.averages import MIB, Average, measured
from dashboard.drawing import brain_maps
from dashboard.drawing.brain_maps import BrainMap
from dashboard.text import formatting
from store.errors import NotInRunError
from store.keys import GroupKey

PERMUTATIONS, SEED = 1000, 0
LEAST_SUBJECTS = 5  # in each set: 252 ways to deal ten subjects out, so that p can fall below 0.05
ALPHA = 0.05
BLOCK_MM = 4.0
LIMIT = 24 * MIB
Progress = Callable[[int, int, str], None]


class CannotCompareError(Exception):
    """Two sets cannot be tested against each other; the message says why and what to choose."""


@dataclass(frozen=True)
class Difference:
    """A t test of every unit of a map, with family-wise error by the largest |t| of each permutation.

    Attributes:
        t: above 0 the first set has more.
        p: share of permutations whose largest |t| is as large.
        critical: |t| that p < 0.05 needs.
        smallest: p of the largest |t|.
        units: tested; significant: of these with p < 0.05.
        subjects: of each set; in_both: left out, as they have scans in both sets.
        adjusted: whether the networks that explain the subjects are taken out as a confound.
    """

    t: BrainMap
    p: BrainMap
    critical: float
    smallest: float
    units: int
    significant: int
    subjects: tuple[int, int]
    in_both: int
    adjusted: bool
    permutations: int = PERMUTATIONS

    @property
    def bytes(self) -> int:
        return self.t.bytes + self.p.bytes


_kept = functools.partial(byte_cache.shared, "tests of two sets", LIMIT)  # ByteCache[Difference]


def sets_of(first: Average, second: Average) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Return the explained scans of two sets without the subjects that have scans in both, and how many those are.

    Raises:
        CannotCompareError: fewer than LEAST_SUBJECTS are left in a set.
    """
    rows = [average.selection.rows() for average in (first, second)]
    both = set(rows[0]["subject"]) & set(rows[1]["subject"])
    a, b = (frame[~frame["subject"].isin(both)].reset_index(drop=True) for frame in rows)
    counts = a["subject"].nunique(), b["subject"].nunique()
    if min(counts) < LEAST_SUBJECTS:
        more = f", and {formatting.count(len(both), 'subject')} with scans in both are left out" if both else ""
        raise CannotCompareError(
            f"a test needs at least {LEAST_SUBJECTS} subjects in each set; these have {counts[0]} and "
            f"{counts[1]}{more}: widen the filters at the left"
        )
    return a, b, len(both)


def is_known(first: Average, second: Average) -> bool:
    """Return whether a test is kept, so that `difference` computes nothing."""
    return (first, second) in _kept()


def difference(first: Average, second: Average, progress: Progress) -> Difference:
    """Test two averages of one run, method, target, value and scale against each other.

    A subject counts once, by the mean of its maps in blocks of 4 mm. Networks that explain different subjects (folds)
    are confounds. Two-sided; 1,000 permutations after Freedman and Lane 1983 (`permutations`), the same ones for the
    same question.

    Args:
        progress: called as progress(done, all, what is done).
    Raises:
        CannotCompareError: too few subjects, or a spread instead of a mean.
    """
    return _kept().get((first, second), lambda: _tested(first, second, progress))


def _tested(first: Average, second: Average, progress: Progress) -> Difference:
    if first.value not in ("size", "signed"):
        raise CannotCompareError("means are tested: choose the magnitude or the signed mean under More")
    a, b, in_both = sets_of(first, second)
    chosen, (scale, statistic, _) = first.selection, measured(first)
    key = GroupKey(chosen.model_set, chosen.method, chosen.target, scale)
    pairs = [*zip(a["model"], a["scan"], strict=True), *zip(b["model"], b["scan"], strict=True)]
    try:
        maps = runs.opened(chosen.run).subject_maps(
            key, pairs, statistic=statistic, block_mm=BLOCK_MM,
            progress=lambda done, count: progress(done, count, "Reading heatmaps"),
        )  # fmt: skip
    except NotInRunError as error:
        raise CannotCompareError(str(error)) from None
    is_first = np.isin(maps.subjects, a["subject"].astype(str).unique()).astype(float)
    counts = int(is_first.sum()), int((1 - is_first).sum())
    if min(counts) < LEAST_SUBJECTS:
        raise CannotCompareError(
            f"after scans without relevance were left out, {counts[0]} and {counts[1]} subjects remain"
        )
    varies = maps.values.std(axis=0) > 0
    if not varies.any():
        raise CannotCompareError("these maps do not differ between subjects at all")
    networks = _networks(maps.models)
    t, largest = permutations.t_of_difference(
        is_first, maps.values[:, varies], networks, permutations.draw(len(is_first), PERMUTATIONS, SEED),
        lambda done, count: progress(done, count, f"Testing units, {PERMUTATIONS:,} permutations each"),
    )  # fmt: skip
    null = np.sort(largest)
    p = (1 + len(null) - np.searchsorted(null, np.abs(t) - 1e-6)) / (1 + len(null))
    own, people = brain(chosen.run), sum(counts)
    t_map, p_map = (
        brain_maps.pack(maps.to_volume(_spread(values, varies, other)), own, len(pairs), people)
        for values, other in ((t, 0.0), (p, 1.0))
    )
    return Difference(
        t_map, p_map, float(np.quantile(null, 1 - ALPHA)), float(p.min()), int(varies.sum()), int((p < ALPHA).sum()),
        counts, in_both, networks is not None,
    )  # fmt: skip


def _networks(models: tuple[str, ...]) -> np.ndarray | None:
    """Return a column for each network but one, 1 for the subjects that it explains; None where all have the same."""
    names = sorted(set(models))
    if len(names) < 2:
        return None
    return np.array([[float(model == name) for name in names[1:]] for model in models])


def _spread(values: np.ndarray, where: np.ndarray, other: float) -> np.ndarray:
    found = np.full(where.shape, other, np.float32)
    found[where] = values
    return found


def regions(first: Average, second: Average, sums: np.ndarray, rows: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """Test the share of every region, Welch's t over subjects, with the false discovery rate of Benjamini-Hochberg.

    Args:
        sums: (rows, regions) what enters the average of each explained scan, in the order of `rows`.
        rows: `explained_scans` of the model set.
        names: the regions table; areas that are none of the atlas (ventricles, the rest) are not tested.

    Returns: regions from the smallest p on: region, the means first and second, their 95 % intervals (t over subjects),
        difference with its interval low to high, t, p, q, and the subjects of both sets.

    Raises:
        CannotCompareError: too few subjects.
    """
    from scipy import stats  # noqa: PLC0415 - for this alone

    a, b, _ = sets_of(first, second)
    values = [_by_subject(part, sums, rows) for part in (a, b)]
    if min(len(part) for part in values) < LEAST_SUBJECTS:
        raise CannotCompareError("too few subjects have relevance in the regions")
    found = stats.ttest_ind(values[0], values[1], equal_var=False)
    interval, p = found.confidence_interval(), np.asarray(found.pvalue)
    known = np.isfinite(p) & names["in_atlas"].to_numpy(bool)
    q = np.full(len(p), np.nan)
    q[known] = stats.false_discovery_control(p[known])
    mean = [part.mean(axis=0) for part in values]
    table = pd.DataFrame({
        "region": names["region"], "first": mean[0], "second": mean[1], "difference": mean[0] - mean[1],
        "low": interval.low, "high": interval.high, "t": found.statistic, "p": p, "q": q,
    })  # fmt: skip
    for name, part in zip(("first", "second"), values, strict=True):
        half = stats.t.ppf(0.975, len(part) - 1) * part.std(axis=0, ddof=1) / np.sqrt(len(part))
        middle = part.mean(axis=0)
        table[f"{name}_low"], table[f"{name}_high"] = middle - half, middle + half
        table[f"{name}_subjects"] = len(part)
    return table[known].sort_values("p", ignore_index=True)


def _by_subject(part: pd.DataFrame, sums: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
    """Return (subjects, regions): the mean share of relevance over the scans of each subject, those that have any."""
    wanted = pd.MultiIndex.from_frame(part[["model", "scan"]])
    keep = pd.MultiIndex.from_frame(rows[["model", "scan"]]).isin(wanted)
    kept = sums[keep]
    total = kept.sum(axis=1, keepdims=True)
    has = np.isfinite(total[:, 0]) & (total[:, 0] > 0)
    shares = pd.DataFrame(kept[has] / total[has])
    return shares.groupby(rows["subject"][keep][has].to_numpy()).mean().to_numpy()
