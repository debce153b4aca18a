"""How alike heatmaps are that should be alike: of a scan by networks trained again, or after a small change of it.

See docs/definitions.md, Stability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from engine.analysis.regions import RegionSums
from store.accuracy import LEAST_SUBJECTS
from store.measures import Z_95, interval_of_draws, most_relevant, ranks

MEASURES = ("rank_correlation", "dice", "top_regions")
LOWEST = np.array([-1.0, 0.0, 0.0])  # of the measures; their highest value is 1
FIRST_REGIONS = 10
INTERVAL_VOXELS = 10_000  # intervals of group averages are computed on at most about as many voxels
CHUNK = 16  # averages of resamples in memory at once


@dataclass(frozen=True)
class MapTraits:
    """What is compared of a heatmap.

    Attributes:
        ranks: (n,) float32 ranks of the signed values, mean 0 and length 1; None where all are equal.
        top: (n,) bool, the 5 % of voxels with the largest m.
        regions: numbers of the first regions by density; fewer where fewer have relevance.
    """

    ranks: np.ndarray | None
    top: np.ndarray
    regions: frozenset[int]


class MapComparer:
    """Compares heatmaps given as values of brain voxels.

    Args:
        labels: (n,) number of the region of each voxel, from 1.
        count: regions 1..count are compared; voxels of others belong to none.
    """

    def __init__(self, labels: np.ndarray, count: int) -> None:
        self.voxels = len(labels)
        self.adder = RegionSums(labels, count)
        self._sizes = np.bincount(labels, minlength=count + 1)[1 : count + 1]

    def traits(self, signed: np.ndarray, relevance: np.ndarray, region_sums: np.ndarray | None = None) -> MapTraits:
        """Return what is compared of a map.

        Args:
            signed: (n,) h; relevance: (n,) m.
            region_sums: (regions,) sums of m, where they are known already or the voxels are not all there.
        """
        sums = self.sums(relevance) if region_sums is None else region_sums
        density = np.divide(sums, self._sizes, out=np.zeros(len(sums)), where=self._sizes > 0)
        first = np.argsort(-density, kind="stable")[:FIRST_REGIONS]
        return MapTraits(
            _standard_ranks(signed), most_relevant(relevance), frozenset(first[density[first] > 0].tolist())
        )

    def sums(self, relevance: np.ndarray) -> np.ndarray:
        """Return the (regions,) sum of (n,) values over each region."""
        return self.adder.sums(self.adder.gather(relevance))


def _standard_ranks(values: np.ndarray) -> np.ndarray | None:
    placed = ranks(values)
    placed -= placed.mean()
    length = np.linalg.norm(placed)
    return (placed / length).astype(np.float32) if length > 0 else None


def agreement(first: MapTraits, second: MapTraits) -> np.ndarray:
    """Return the (MEASURES,) of two maps; nan where one has nothing to compare.

    rank_correlation: Spearman over voxels. dice: 2 |A and B| / (|A| + |B|) of the most relevant voxels. top_regions:
    share of the first regions in common, of the longer list.
    """
    found = np.full(len(MEASURES), np.nan)
    if first.ranks is not None and second.ranks is not None:
        found[0] = np.clip(np.dot(first.ranks, second.ranks), -1, 1)
    sizes = int(first.top.sum()), int(second.top.sum())
    if min(sizes):
        found[1] = 2 * int((first.top & second.top).sum()) / sum(sizes)
    if first.regions and second.regions:
        longer = max(len(first.regions), len(second.regions))
        found[2] = len(first.regions & second.regions) / longer
    return found


def pairs_of(versions: Sequence[MapTraits]) -> np.ndarray:
    """Return the (pairs, MEASURES) of all pairs of maps, in the order of itertools.combinations."""
    return np.array([agreement(*pair) for pair in combinations(versions, 2)])


def known_mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of what is known; nan where nothing is."""
    known = np.isfinite(values)
    return np.divide(
        np.where(known, values, 0).sum(axis=0), known.sum(axis=0),
        out=np.full(values.shape[1:], np.nan), where=known.any(axis=0),
    )  # fmt: skip


# -- intervals over subjects --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class People:
    """Whose scans are compared, in their order.

    Attributes:
        subjects: (scans,) number of the subject of each scan, from 0.
        weights: (scans,) weight of each scan in means.
        groups: (scans,) diagnosis of each scan.
    """

    subjects: np.ndarray
    weights: np.ndarray
    groups: np.ndarray

    @property
    def count(self) -> int:
        """Return the number of subjects."""
        return int(self.subjects.max()) + 1 if len(self.subjects) else 0

    def within(self, group: str | None) -> np.ndarray:
        """Return which scans are of a group, (scans,) bool; None: all are."""
        return (self.groups == group) | (group is None)

    def of(self, chosen: np.ndarray) -> People:
        """Return the people of some scans, (scans,) bool, numbered anew."""
        numbers = np.unique(self.subjects[chosen], return_inverse=True)[1]
        return People(numbers, self.weights[chosen], self.groups[chosen])

    def drawn(self, draws: np.ndarray) -> np.ndarray:
        """Return the (draws, scans) weights where each subject is as often as (draws, subjects) says."""
        return draws[:, self.subjects] * self.weights


def scan_mean(values: np.ndarray, people: People) -> np.ndarray:
    """Return the mean of a measure over scans, (k,) of (scans, k); scans without a value do not count."""
    return _weighted_means(values, people.weights[None])[0]


def scan_interval(values: np.ndarray, people: People, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the 2.5 and 97.5 percentile of the mean over scans, (k,) each; nan below five subjects.

    Args:
        values: (scans, k); draws: (resamples, subjects), how often each is in a draw.
    """
    if people.count < LEAST_SUBJECTS:
        return np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    return interval_of_draws(_weighted_means(values, people.drawn(draws)))


def _weighted_means(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the means of what is known of (scans, k) for each row of weights (draws, scans), (draws, k)."""
    known = np.isfinite(values)
    total = weights @ known
    return np.divide(weights @ np.where(known, values, 0), total, out=np.full(total.shape, np.nan), where=total > 0)


class ScanAgreement:
    """Agreement of several versions of the map of a scan, beside that of maps of different people.

    Args:
        people: of the scans.
        versions: maps of each scan.
    """

    def __init__(self, people: People, versions: int) -> None:
        self._people = people
        self.pairs = np.full((len(people.subjects), versions * (versions - 1) // 2, len(MEASURES)), np.nan)
        self._last: dict[str | None, tuple[int, Sequence[MapTraits]]] = {}
        self._others: dict[str | None, list[np.ndarray]] = {}

    def add(self, scan: int, versions: Sequence[MapTraits]) -> None:
        """Add the versions of a scan, given by its place; scans in random order, since each is set beside the last."""
        self.pairs[scan] = pairs_of(versions)
        subject = self._people.subjects[scan]
        for group in (self._people.groups[scan], None):
            if group in self._last and self._last[group][0] != subject:
                found = [agreement(*pair) for pair in zip(self._last[group][1], versions, strict=True)]
                self._others.setdefault(group, []).extend(found)
            self._last[group] = subject, versions

    def others(self, group: str | None) -> np.ndarray:
        """Return the mean (MEASURES,) of the same version of maps of different people of a group; None: of all."""
        found = self._others.get(group)
        return known_mean(np.array(found)) if found else np.full(len(MEASURES), np.nan)


class GroupMeans:
    """Averages over scans of several versions of their maps, each map divided by its sum of |h| first.

    Holds the sum of each version, and of every scan what its resamples need: some voxels, and its regions.

    Args:
        comparer: of the voxels of the maps.
        people: of the scans.
        versions: maps of each scan, e.g. by several networks.
    """

    def __init__(self, comparer: MapComparer, people: People, versions: int) -> None:
        self._comparer, self._people, self._versions = comparer, people, versions
        scans = len(people.subjects)
        self._step = -(-comparer.voxels // INTERVAL_VOXELS)
        thin, regions = len(range(0, comparer.voxels, self._step)), len(comparer.sums(np.zeros(comparer.voxels)))
        self._thin = np.zeros((2, versions, scans, thin), np.float32)
        self._regions = np.zeros((versions, scans, regions))
        self._has_relevance = np.zeros((versions, scans), bool)
        self._sums: dict[str, np.ndarray] = {}

    def add(self, scan: int, version: int, signed: np.ndarray, relevance: np.ndarray) -> None:
        """Add h and m, (n,) each, of one version of a scan, given by its place."""
        total = np.abs(signed).sum(dtype=np.float64)
        if not total > 0:
            return
        maps, group = np.stack([signed, relevance]) / total, self._people.groups[scan]
        if group not in self._sums:
            self._sums[group] = np.zeros((2, self._versions, self._comparer.voxels))
        self._sums[group][:, version] += self._people.weights[scan] * maps
        self._thin[:, version, scan] = maps[:, :: self._step]
        self._regions[version, scan] = self._comparer.sums(maps[1])
        self._has_relevance[version, scan] = True

    def average(self, group: str | None) -> np.ndarray:
        """Return the averages of h and m of a group (None: of all), (2, versions, n); nan where none has relevance."""
        wanted = [sums for name, sums in self._sums.items() if group in (name, None)]
        weight = (self._has_relevance * self._people.weights)[:, self._people.within(group)].sum(axis=1)
        total = sum(wanted, np.zeros((2, self._versions, self._comparer.voxels)))
        return np.divide(total, weight[:, None], out=np.full(total.shape, np.nan), where=weight[:, None] > 0)

    def pairs(self, group: str | None) -> np.ndarray:
        """Return the (pairs, MEASURES) of the averages of a group; None: of all."""
        averages = np.nan_to_num(self.average(group))
        return pairs_of([self._comparer.traits(*averages[:, version]) for version in range(self._versions)])

    def interval(self, group: str | None, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of the 95 % interval of the mean over pairs, (MEASURES,) each; nan below five subjects.

        The value plus and minus 1.96 standard errors over resamples: an average of a resample is noisier than that of
        all, and so less like others, so that the resamples' spread tells, and not their place.

        Args:
            draws: (resamples, subjects of the group), how often each is in a draw.
        """
        chosen = self._people.within(group)
        people = self._people.of(chosen)
        if people.count < LEAST_SUBJECTS:
            return np.full(len(MEASURES), np.nan), np.full(len(MEASURES), np.nan)
        found = []
        for start in range(0, len(draws), CHUNK):
            weights = people.drawn(draws[start : start + CHUNK])
            own = [weights * self._has_relevance[version, chosen] for version in range(self._versions)]
            thin = [[w @ kind[v][chosen] for v, w in enumerate(own)] for kind in self._thin]
            regions = [w @ self._regions[v][chosen] for v, w in enumerate(own)]
            for draw in range(len(weights)):
                traits = [
                    self._comparer.traits(thin[0][v][draw], thin[1][v][draw], regions[v][draw])
                    for v in range(self._versions)
                ]
                found.append(known_mean(pairs_of(traits)))
        value, spread = known_mean(self.pairs(group)), np.std(found, axis=0, ddof=1)
        return np.maximum(value - Z_95 * spread, LOWEST), np.minimum(value + Z_95 * spread, 1)


def networks_in_agreement(averages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where networks agree: mean of their averages, and share that agree in its sign and in the top 5 %, (n,).

    Args:
        averages: (networks, n) mean h of each; nan where a network has no relevance, which is then in no mean and
            agrees nowhere.
    """
    known = averages[np.isfinite(averages).all(axis=1)]
    if not len(known):
        return np.zeros(averages.shape[1], np.float32), np.zeros(averages.shape[1], np.float32)
    mean = known.mean(axis=0)
    agrees = [(np.sign(one) == np.sign(mean)) & most_relevant(np.abs(one)) for one in known]
    return mean.astype(np.float32), (np.sum(agrees, axis=0) / len(averages)).astype(np.float32)
