"""How much relevance falls on each region: scans -> rankings with intervals, agreement of methods, one region.

The definitions are those of the run (design, section 6). Frames and arrays in, frames out, without Streamlit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dashboard.text.formatting import plain
from store.accuracy import LEAST_SUBJECTS

INTERVAL = (2.5, 97.5)
INTERVAL_WORDS = f"95 % CI, bootstrap over subjects, this model (none of fewer than {LEAST_SUBJECTS} subjects)"
DRAWS_KEPT = 4


@dataclass(frozen=True)
class Measure:
    """What regions are ranked by. `factor` takes the stored number to `unit`; an empty unit is that of the method."""

    label: str
    axis: str
    unit: str
    factor: float
    means: str
    formula: str


MEASURES = {
    "share_of_average": Measure(
        "Share of the atlas", "share of the atlas", "%", 100,
        "The share that a region has in the group's average map, of all atlas regions together: the paper's measure.",
        r"\frac{\sum_{v \in r} \bar m_v}{\sum_{v \in \mathrm{atlas}} \bar m_v}",
    ),
    "share": Measure(
        "Share of the brain", "share of the brain", "%", 100,
        "The share of a patient's relevance in the whole brain that falls on a region, averaged over subjects.",
        r"\frac{1}{S} \sum_s \frac{\sum_{v \in r} m_{sv}}{\sum_{v \in \mathrm{brain}} m_{sv}}",
    ),
    "density": Measure(
        "Density", "density", "% per cm³", 1,
        "The share of the brain divided by the volume of the region: large regions have no advantage.",
        r"\frac{1}{V_r S} \sum_s \frac{\sum_{v \in r} m_{sv}}{\sum_{v \in \mathrm{brain}} m_{sv}}",
    ),
    "gain": Measure(
        "Gain", "gain", "×", 1,
        "How much larger a region's share of the brain is in the positive group than in the negative one.",
        r"\frac{\overline{\mathrm{share}}_{r,+}}{\overline{\mathrm{share}}_{r,-}}",
    ),
    "sum": Measure(
        "Sum", "sum", "", 1,
        "The relevance of all voxels of a region added up, averaged over subjects, in the unit of the method: sure "
        "decisions weigh more, and methods cannot be compared.",
        r"\frac{1}{S} \sum_s \sum_{v \in r} m_{sv}",
    ),
}  # fmt: skip
OF_A_SCAN = {"share_of_average": "share_atlas", "gain": "share"}  # the measure of one scan that comes nearest


def people(rows: pd.DataFrame, diagnoses: Sequence[str]) -> str:
    """How many subjects of each diagnosis, in words: 80 AD, 80 NC and 19 MCI subjects."""
    parts = [f"{rows['subject'][rows['diagnosis'] == d].nunique()} {plain(d)}" for d in diagnoses]
    listed = " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)
    return f"{listed or 'no'} subject{'' if rows['subject'].nunique() == 1 else 's'}"


@dataclass(frozen=True)
class Bootstrap:
    """Draws of subjects with replacement, as in the run's own ranking."""

    resamples: int
    seed: int

    def counts(self, subjects: int, stream: Sequence[int] = ()) -> np.ndarray:
        """(resamples, subjects) how often each subject is drawn."""
        return _counts(self.resamples, self.seed, subjects, tuple(stream))


@functools.lru_cache(DRAWS_KEPT)
def _counts(resamples: int, seed: int, subjects: int, stream: tuple[int, ...]) -> np.ndarray:
    generator = np.random.default_rng([seed, 7, *stream])
    return generator.multinomial(subjects, np.full(subjects, 1 / subjects), resamples).astype(np.int32)


def over(values: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    """values / divisor, NaN where the divisor is 0: what has no relevance has no share."""
    divisor = np.broadcast_to(divisor, values.shape)
    return np.divide(values, divisor, out=np.full(values.shape, np.nan), where=divisor > 0)


def shares(sums: np.ndarray) -> np.ndarray:
    """(scans, regions) share of the brain; all regions together are the brain mask."""
    return over(sums, sums.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Areas:
    """The rows of a ranking: atlas regions, or left and right together.

    Attributes:
        names: (k,); inside: (k,) bool, in the atlas; cm3: (k,) volumes.
        adding: (regions, k) 0 or 1: which regions make a row.
    """

    names: tuple[str, ...]
    inside: np.ndarray
    cm3: np.ndarray
    adding: np.ndarray

    @classmethod
    def of(cls, regions: pd.DataFrame, merged: bool) -> Areas:
        """From the regions table, in its order."""
        by = regions["merged" if merged else "region"]
        names = tuple(dict.fromkeys(by))
        adding = (by.to_numpy()[:, None] == np.array(names)[None]).astype(float)
        inside = (adding * ~regions["in_atlas"].to_numpy(bool)[:, None]).sum(axis=0) == 0
        return cls(names, inside, regions["volume_cm3"].to_numpy(float) @ adding, adding)


def per_scan(sums: np.ndarray, areas: Areas, measure: str) -> np.ndarray:
    """(scans, k) one measure of every scan: share, share_atlas, density or sum.

    NaN in shares of a scan without any relevance, and in a region without voxels on the grid.

    Args:
        sums: (scans, regions) sum of m; 0 in regions without voxels.
    """
    merged = np.where(areas.cm3 > 0, sums @ areas.adding, np.nan)
    if measure == "sum":
        return merged
    if measure == "share_atlas":
        whole = np.nansum(merged[:, areas.inside], axis=1, keepdims=True)
        return np.where(areas.inside, over(merged, whole), np.nan)
    share = over(merged, sums.sum(axis=1, keepdims=True))
    return over(100 * share, areas.cm3) if measure == "density" else share


def _by_subject(values: np.ndarray, subjects: pd.Series, mean: bool) -> np.ndarray:
    """(subjects, k) mean or sum over the scans of each subject, in the engine's order: that of their first scans."""
    grouped = pd.DataFrame(values).groupby(subjects.to_numpy(), sort=False)
    return (grouped.mean() if mean else grouped.sum(min_count=1)).to_numpy()


def _normalised(totals: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(n, k) each row divided by its sum over the atlas; NaN outside."""
    return np.where(inside, over(totals, np.nansum(totals[:, inside], axis=1, keepdims=True)), np.nan)


@dataclass(frozen=True)
class Group:
    """The heatmaps of one diagnosis: of a new scan one for each model of the set.

    Attributes:
        sums: (heatmaps, regions) sum of m.
        average: (heatmaps, regions) sum of what enters the group average: m, or m divided by its sum.
        weight: (heatmaps,) w of the group cells.
        subjects: (heatmaps,) subject of each.
        scans: how many.
    """

    sums: np.ndarray
    average: np.ndarray
    weight: np.ndarray
    subjects: pd.Series
    scans: int

    def matrix(self, areas: Areas, measure: str) -> np.ndarray:
        """(subjects, k) what is averaged over subjects; those without relevance have no share and are left out."""
        if measure == "share_of_average":
            average = np.where(areas.cm3 > 0, self.average @ areas.adding, np.nan)
            found = _by_subject(self.weight[:, None] * average, self.subjects, mean=False)
        else:
            measure = OF_A_SCAN.get(measure, measure)
            found = _by_subject(per_scan(self.sums, areas, measure), self.subjects, mean=True)
        return found[np.isfinite(found).any(axis=1)]

    def values(self, areas: Areas, measure: str) -> np.ndarray:
        """(k,) the measure of the group; NaN where nobody has it."""
        matrix = self.matrix(areas, measure)
        mean = matrix.mean(axis=0, keepdims=True) if len(matrix) else np.full((1, len(areas.names)), np.nan)
        return (_normalised(mean, areas.inside) if measure == "share_of_average" else mean)[0]

    def draws(self, areas: Areas, measure: str, bootstrap: Bootstrap, stream: Sequence[int] = ()) -> np.ndarray:
        """(resamples, k) the measure of each draw of subjects."""
        values = self.matrix(areas, measure)
        if not len(values):
            return np.full((1, len(areas.names)), np.nan)
        drawn = bootstrap.counts(len(values), stream) @ values / len(values)
        return _normalised(drawn, areas.inside) if measure == "share_of_average" else drawn

    @property
    def size(self) -> int:
        """Subjects with relevance in any scan."""
        return int(self.subjects[self.sums.sum(axis=1) > 0].nunique())

    @property
    def without_relevance(self) -> int:
        """Subjects whose maps are 0 everywhere."""
        return int(self.subjects.nunique()) - self.size


def _interval(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """2.5 and 97.5 percentiles of each column; NaN where no draw has a value."""
    known = np.isfinite(draws).all(axis=0)
    low, high = np.full((2, draws.shape[1]), np.nan)
    if known.any():
        low[known], high[known] = np.percentile(draws[:, known], INTERVAL, axis=0)
    return low, high


def _gain(groups: Mapping[str, Group], names: Sequence[str], areas: Areas, bootstrap: Bootstrap) -> tuple:
    """(value, low, high) of mean share in the positive / in the negative group; NaN where one of them is missing."""
    missing = np.full(len(areas.names), np.nan)
    if not all(name in groups for name in names):
        return missing, missing, missing
    positive, negative = (groups[name] for name in names)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = positive.values(areas, "share") / negative.values(areas, "share")
        value = np.where(np.isfinite(value), value, np.nan)
        if min(positive.size, negative.size) < LEAST_SUBJECTS:
            return value, missing, missing
        ratio = positive.draws(areas, "share", bootstrap) / negative.draws(areas, "share", bootstrap, (1,))
    return value, *_interval(ratio)


def ranking(
    groups: Mapping[str, Group], regions: pd.DataFrame, measure: str, merged: bool, names: Sequence[str],
    bootstrap: Bootstrap,
) -> pd.DataFrame:  # fmt: skip
    """Every region of every diagnosis with its interval over subjects; none of fewer than LEAST_SUBJECTS.

    Args:
        groups: diagnosis -> its scans, in the order of the page.
        names: positive and negative group, for the gain.
    Returns:
        diagnosis, region, in_atlas, value, low, high, rank (among atlas regions, from 1), scans, subjects (with
        relevance), without_relevance (subjects). Values as the store has them: shares as fractions.
    """
    areas, frames = Areas.of(regions, merged), []
    gain = _gain(groups, names, areas, bootstrap) if measure == "gain" else None
    for diagnosis, group in groups.items():
        value, low, high = gain or (group.values(areas, measure), *np.full((2, len(areas.names)), np.nan))
        if gain is None and group.size >= LEAST_SUBJECTS:
            low, high = _interval(group.draws(areas, measure, bootstrap))
        frames.append(pd.DataFrame({
            "diagnosis": diagnosis, "region": areas.names, "in_atlas": areas.inside, "value": value, "low": low,
            "high": high, "scans": group.scans, "subjects": group.size,
            "without_relevance": group.without_relevance,
        }))  # fmt: skip
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=RANKING)
    return with_ranks(frame)


RANKING = ["diagnosis", "region", "in_atlas", "value", "low", "high", "scans", "subjects", "without_relevance"]


def left_out(rankings: Mapping[str, pd.DataFrame], say: Callable[[str], str]) -> str:
    """Say who has no relevance and is in no mean: "Guided backpropagation: 64 of 100 NC"; empty where all have some."""
    parts = []
    for method, frame in rankings.items():
        counts = frame.drop_duplicates("diagnosis")
        said = [
            f"{row.without_relevance} of {row.subjects + row.without_relevance} {row.diagnosis}"
            for row in counts.itertuples()
            if row.without_relevance > 0
        ]
        if said:
            parts.append(f"{say(method)} {', '.join(said)}")
    if not parts:
        return ""
    return f"Subjects whose heatmaps are 0 everywhere have no share and are left out: {'; '.join(parts)}."


def with_ranks(frame: pd.DataFrame) -> pd.DataFrame:
    """Ranks by value among the atlas regions of each diagnosis, from 1."""
    values = frame["value"].where(frame["in_atlas"].astype(bool)).astype(float)
    ranks = values.groupby(frame["diagnosis"]).rank(ascending=False, method="first")
    return frame.assign(rank=ranks.astype("Int64"))


def with_stored(frame: pd.DataFrame, stored: pd.DataFrame, regions: pd.DataFrame, measure: str, merged: bool):
    """The ranking with the run's own numbers where it stored them: values, and intervals of share and density.

    Args:
        frame: from `ranking`.
        stored: rows of group_regions of the model set, method and target.
    """
    if measure not in stored:
        return frame
    areas = Areas.of(regions, merged)
    own = stored[stored["merged"].astype(bool) == merged].set_index(["diagnosis", "region"])
    own = own.reindex(pd.MultiIndex.from_frame(frame[["diagnosis", "region"]]))
    frame = frame.assign(value=own[measure].to_numpy(float))
    if measure in ("share", "density"):
        per = np.ones(len(areas.names)) if measure == "share" else over(np.full(len(areas.cm3), 100.0), areas.cm3)
        factor = frame["region"].map(dict(zip(areas.names, per, strict=True))).to_numpy(float)
        # Earlier versions stored intervals of two subjects and more.
        factor = np.where(frame["subjects"].to_numpy(float) >= LEAST_SUBJECTS, factor, np.nan)
        frame = frame.assign(
            low=own["share_low"].to_numpy(float) * factor, high=own["share_high"].to_numpy(float) * factor
        )
    return with_ranks(frame)


def shown(frame: pd.DataFrame, sort_by: str, count: int | None) -> list[str]:
    """The first atlas regions of a diagnosis by rank; all where `count` is None. Regions without a value come last."""
    rows = frame[(frame["diagnosis"] == sort_by) & frame["in_atlas"].astype(bool)].sort_values("rank")
    return rows["region"].tolist()[:count]


def agreement(rankings: Mapping[str, pd.DataFrame], diagnosis: str) -> pd.DataFrame:
    """(methods, methods) Spearman correlation of the atlas regions' values between methods; NaN for a constant one."""
    wide = {
        method: frame[(frame["diagnosis"] == diagnosis) & frame["in_atlas"].astype(bool)].set_index("region")["value"]
        for method, frame in rankings.items()
    }
    return pd.DataFrame(wide).rank().corr()


SIZE_FREE = ("density", "gain")  # measures that do not grow with the volume of a region
AGREES, AGREES_IN_PART = 0.7, 0.4  # median rank correlation from which methods are said to agree


def by_size_alone(rankings: Mapping[str, pd.DataFrame], diagnosis: str, volumes: pd.Series) -> pd.Series:
    """Return method -> Spearman correlation of its shares with the volumes of the atlas regions.

    Shares of any two methods correlate because large regions hold more of everything; this is how much of it.

    Args:
        rankings: of shares.
        volumes: region -> cm3.
    """
    found = {}
    for method, frame in rankings.items():
        rows = frame[(frame["diagnosis"] == diagnosis) & frame["in_atlas"].astype(bool)]
        found[method] = spearman(rows["value"], rows["region"].map(volumes))[0]
    return pd.Series(found, dtype=float)


def verdict_on_agreement(correlations: pd.DataFrame) -> str:
    """Say in a sentence whether methods agree, from the median over their pairs; empty where none is known."""
    upper = correlations.to_numpy(float)[np.triu_indices(len(correlations), 1)]
    known = upper[np.isfinite(upper)]
    if not known.size:
        return ""
    middle = float(np.median(known))
    said = "agree" if middle >= AGREES else "agree in part" if middle >= AGREES_IN_PART else "do not agree"
    return f"The methods {said} (median {middle:.2f}, {known.min():.2f} to {known.max():.2f}).".replace("-", "−")


def of_region(sums: np.ndarray, rows: pd.DataFrame, regions: pd.DataFrame, region: str, measure: str) -> pd.DataFrame:
    """One region in every scan: scan, subject, diagnosis, age, value.

    Args:
        sums: (scans, regions) in the order of `rows`.
        region: name of the atlas, or without _L/_R for both sides.
        measure: of a scan, see `per_scan`.
    """
    areas = Areas.of(regions, merged=region not in set(regions["region"]))
    values = per_scan(sums, areas, measure)[:, areas.names.index(region)]
    table = rows[["scan", "subject", "diagnosis", "age"]].assign(value=values)
    if table["scan"].duplicated().any():  # a new scan, explained by several models
        return table.groupby("scan", sort=False, as_index=False).agg(dict.fromkeys(table, "first") | {"value": "mean"})
    return table


def choices(regions: pd.DataFrame) -> list[str]:
    """Regions to choose from: left and right together first, then each side; every name once."""
    return list(dict.fromkeys([*regions["merged"], *regions["region"]]))


def spread(table: pd.DataFrame, diagnoses: Sequence[str]) -> pd.DataFrame:
    """Of one region by diagnosis: diagnosis, scans, subjects, median, lower and upper quartile, mean, SD (ddof 1)."""
    rows = []
    for diagnosis in diagnoses:
        part = table[table["diagnosis"] == diagnosis]
        if part.empty:
            continue
        low, median, high = part["value"].quantile([0.25, 0.5, 0.75])
        rows.append({
            "diagnosis": diagnosis, "scans": len(part), "subjects": part["subject"].nunique(), "median": median,
            "lower": low, "upper": high, "mean": part["value"].mean(), "sd": part["value"].std(ddof=1),
        })  # fmt: skip
    return pd.DataFrame(rows)


def spearman(first: pd.Series, second: pd.Series) -> tuple[float, int]:
    """(rho, n) of the pairs that are known; NaN below three of them or where one side is constant."""
    pairs = pd.DataFrame({"a": first.to_numpy(float), "b": second.to_numpy(float)}).dropna()
    if len(pairs) < 3 or pairs.nunique().min() < 2:
        return float("nan"), len(pairs)
    return float(pairs.rank().corr().iloc[0, 1]), len(pairs)
