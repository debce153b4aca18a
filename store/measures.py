"""What heatmaps are measured by, once for the engine and the dashboard: shares, ranks, draws of subjects, correlations.

Arrays in, arrays out. docs/definitions.md defines them: Share and density, Trust, Accuracy and intervals.
"""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd

# scipy.stats takes a second to load, so it is loaded inside functions: pages and commands start without it.

ENDS = (2.5, 97.5)  # percentiles of a 95 % interval
Z_95 = 1.959963984540054
FEWEST = 10  # subjects, below which no correlation with a score is given
FLAT = 1e-9  # of a column's spread: what is left of less than this has no direction
DRAWS_KEPT = 4
TOP = 0.05  # of the brain: the voxels with the largest |h|, on which networks agree or not


# -- shares ---------------------------------------------------------------------------------------------------------


def divide(values: np.ndarray, divisor: np.ndarray | float) -> np.ndarray:
    """Divide values, with NaN where the divisor is not above 0: what has no relevance has no share."""
    divisor = np.broadcast_to(np.asarray(divisor, float), values.shape)
    return np.divide(values, divisor, out=np.full(values.shape, np.nan), where=divisor > 0)


def to_shares(sums: np.ndarray) -> np.ndarray:
    """Divide the relevance of regions by that of all of them together, (scans, regions); NaN counts as none."""
    return divide(sums, np.nansum(sums, axis=1, keepdims=True))


def density(share: np.ndarray, cm3: np.ndarray) -> np.ndarray:
    """Return shares of regions with these volumes in percent per cm3; NaN in a region without voxels."""
    return divide(100 * share, cm3)


def percent_per_cm3(affine: np.ndarray) -> float:
    """Return what a voxel's share of the relevance is multiplied by to become percent per cm3.

    Args:
        affine: (4, 4), voxel -> mm.
    """
    return 100 * 1000 / abs(float(np.linalg.det(affine[:3, :3])))


def rank_largest_first(values: pd.Series, within: pd.Series | None = None) -> pd.Series:
    """Rank values from 1, equal ones in their order; a missing value has no rank.

    Args:
        within: of each value the list in which it is ranked.
    """
    lists = values if within is None else values.groupby(within)
    return lists.rank(ascending=False, method="first").astype("Int64")


# -- agreement of networks ---------------------------------------------------------------------------------------------


def most_relevant(size: np.ndarray, top: float = TOP) -> np.ndarray:
    """Mark the values among the largest `top` of (n,), ties with the last of them included; a value of 0 never is."""
    if not size.size:
        return np.zeros(0, bool)
    rank = max(round(top * size.size), 1)
    return (size >= np.partition(size, size.size - rank)[size.size - rank]) & (size > 0)


def networks_agree(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of the maps of several networks, and the share of the networks that agree on each voxel.

    Each map is divided by its sum of |h| first. A network agrees on a voxel where its h has the sign of the mean and is
    among the 5 % of the voxels with its largest |h|. A map that is 0 everywhere is in no mean and agrees nowhere.

    Args:
        maps: (networks, voxels) signed relevance of the voxels of the brain mask.
    Returns:
        Two arrays (voxels,), float32: the mean, 0 where no map has relevance; the share, 0 to 1.
    """
    sums = np.abs(maps).sum(axis=1, dtype=np.float64)
    relative = maps[sums > 0] / sums[sums > 0, None]
    mean = relative.mean(axis=0) if len(relative) else np.zeros(maps.shape[1])
    agree = np.zeros(maps.shape[1])
    for one in relative:
        agree += (np.sign(one) == np.sign(mean)) & most_relevant(np.abs(one))
    return mean.astype(np.float32), (agree / max(len(maps), 1)).astype(np.float32)


# -- intervals over subjects ------------------------------------------------------------------------------------------


@functools.lru_cache(DRAWS_KEPT)
def draw_subjects(subjects: int, resamples: int, seed: int, stream: tuple[int, ...] = ()) -> np.ndarray:
    """Draw subjects with replacement: how often each is in a draw, (resamples, subjects), always the same draws.

    Their means are one product of matrices. scipy.stats.bootstrap takes 2.5 times as long (120 regions, 100 subjects),
    keeps no draws for the next question, and its other draws would change the intervals of every run.

    Args:
        stream: numbers that name independent draws with the same seed.
    """
    counts = np.random.default_rng([seed, 7, *stream]).multinomial(subjects, np.full(subjects, 1 / subjects), resamples)
    counts.setflags(write=False)
    return counts


def interval_of_draws(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the 2.5 and 97.5 percentiles of each column of (resamples, k); NaN where a draw has no value."""
    known = np.isfinite(draws).all(axis=0)
    low, high = np.full((2, draws.shape[1]), np.nan)
    if known.any():
        low[known], high[known] = np.percentile(draws[:, known], ENDS, axis=0)
    return low, high


# -- rank correlations ------------------------------------------------------------------------------------------------


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks within each column of (n,) or (n, k) from 1; ties share their mean."""
    from scipy.stats import rankdata  # noqa: PLC0415

    return rankdata(values, axis=0)


def correlation_of_ranks(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rho of ranks (n,), which are taken once for many pairs; NaN where one side is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def rank_correlation(first: np.ndarray, second: np.ndarray, fewest: int = 2) -> float:
    """Return Spearman's correlation of the pairs that are known; NaN below `fewest`, or where one side is constant."""
    known = np.isfinite(first) & np.isfinite(second)
    if known.sum() < fewest:
        return float("nan")
    # scipy.stats.spearmanr differs in the last digit, which runs made before do not have, and takes 1.5 times as long.
    return correlation_of_ranks(ranks(first[known]), ranks(second[known]))


def spearman(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    """Return the rank correlation of a column (n,) with each of (n, k), (k,); NaN where either is constant."""
    return _pearson(_centre(ranks(one)), _centre(ranks(many)))


def partial_spearman(one: np.ndarray, many: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Return the rank correlation of a column (n,) with each of (n, k), both less a line in the controls' ranks, (k,).

    Args:
        controls: (n, c). A column of two values enters as it is: its ranks are a line in it.
    Returns:
        Pearson correlation of the residuals; NaN where the controls leave nothing.
    """
    first, others = _centre(ranks(one)), _centre(ranks(many))
    design = _centre(ranks(controls))
    left = [part - design @ (np.linalg.pinv(design) @ part) for part in (first, others)]
    return _pearson(*(_without_flat(a, b) for a, b in zip(left, (first, others), strict=True)))


def _centre(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=0)


def _without_flat(left: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Set residuals to 0 where rounding is all that is left of them."""
    return left * (np.linalg.norm(left, axis=0) > FLAT * np.linalg.norm(before, axis=0))


def _pearson(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    size = np.linalg.norm(one) * np.linalg.norm(many, axis=0)
    found = np.divide(one @ many, size, out=np.full(many.shape[1], np.nan), where=size > 0)
    return np.clip(found, -1, 1)


def spearman_interval(rho: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 95 % confidence interval of rank correlations over n subjects.

    Fisher's z with the standard error sqrt((1 + rho^2 / 2) / (n - 3)). Source: Bonett & Wright 2000, Sample size
    requirements for estimating Pearson, Kendall and Spearman correlations, Psychometrika 65, 23-28.
    """
    z = np.arctanh(np.clip(rho, -1 + 1e-15, 1 - 1e-15))
    away = Z_95 * np.sqrt((1 + rho**2 / 2) / (n - 3))
    return np.tanh(z - away), np.tanh(z + away)


def p_values(rho: np.ndarray, degrees: int) -> np.ndarray:
    """Return the two-sided p of correlations, by Student's t = rho sqrt(degrees / (1 - rho^2)).

    Args:
        degrees: n - 2, less one for each control. Source: Kendall & Stuart, The advanced theory of statistics, 31.19.
    """
    from scipy.stats import t  # noqa: PLC0415

    with np.errstate(divide="ignore"):
        return 2 * t.sf(np.abs(rho) * np.sqrt(degrees / ((1 - rho) * (1 + rho))), degrees)


def false_discovery_rate(p: np.ndarray) -> np.ndarray:
    """Return of each p its q: the smallest false discovery rate at which it is still called. NaN are no tests.

    Source: Benjamini & Hochberg 1995, Journal of the Royal Statistical Society B 57, 289-300.
    """
    from scipy.stats import false_discovery_control  # noqa: PLC0415

    q, tests = np.full(len(p), np.nan), np.isfinite(p)
    if tests.any():
        q[tests] = false_discovery_control(p[tests])
    return q
