"""Regions ranked by a measure, with intervals over subjects, by the definitions of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dashboard.views.shared.region_values import Bootstrap, Group, RegionSizes
from store.accuracy import LEAST_SUBJECTS
from store.measures import density, interval_of_draws, rank_largest_first

INTERVAL_WORDS = f"95 % CI, bootstrap over subjects, this model (none of fewer than {LEAST_SUBJECTS} subjects)"


@dataclass(frozen=True)
class Measure:
    """What regions are ranked by.

    `factor` takes the stored number to `unit`; an empty unit is that of the method.
    """

    label: str
    unit: str
    factor: float
    means: str
    formula: str


MEASURES = {
    "share_of_average": Measure(
        "Share of the atlas", "%", 100,
        "The share that a region has in the group's average map, of all atlas regions together: the paper's measure.",
        r"\frac{\sum_{v \in r} \bar m_v}{\sum_{v \in \mathrm{atlas}} \bar m_v}",
    ),
    "share": Measure(
        "Share of the brain", "%", 100,
        "The share of a patient's relevance in the whole brain that falls on a region, averaged over subjects.",
        r"\frac{1}{S} \sum_s \frac{\sum_{v \in r} m_{sv}}{\sum_{v \in \mathrm{brain}} m_{sv}}",
    ),
    "density": Measure(
        "Density", "% per cm³", 1,
        "The share of the brain divided by the volume of the region: large regions have no advantage.",
        r"\frac{1}{V_r S} \sum_s \frac{\sum_{v \in r} m_{sv}}{\sum_{v \in \mathrm{brain}} m_{sv}}",
    ),
    "gain": Measure(
        "Gain", "×", 1,
        "How much larger a region's share of the brain is in the positive group than in the negative one.",
        r"\frac{\overline{\mathrm{share}}_{r,+}}{\overline{\mathrm{share}}_{r,-}}",
    ),
    "sum": Measure(
        "Sum", "", 1,
        "The relevance of all voxels of a region added up, averaged over subjects, in the unit of the method: sure "
        "decisions weigh more, and methods cannot be compared.",
        r"\frac{1}{S} \sum_s \sum_{v \in r} m_{sv}",
    ),
}  # fmt: skip

RANKING = ["diagnosis", "region", "in_atlas", "value", "low", "high", "scans", "subjects", "without_relevance"]


def ranking(
    groups: Mapping[str, Group], regions: pd.DataFrame, measure: str, merged: bool, names: Sequence[str],
    bootstrap: Bootstrap,
) -> pd.DataFrame:  # fmt: skip
    """Rank every region of every diagnosis, with intervals over subjects; none of fewer than LEAST_SUBJECTS.

    Args:
        groups: diagnosis -> its scans, in the order of the page.
        names: positive and negative group, for the gain.
    Returns:
        diagnosis, region, in_atlas, value, low, high, rank (among atlas regions, from 1), scans, subjects (with
        relevance), without_relevance (subjects). Values as the store has them: shares as fractions.
    """
    areas, frames = RegionSizes.of(regions, merged), []
    gain = _gain(groups, names, areas, bootstrap) if measure == "gain" else None
    for diagnosis, group in groups.items():
        value, low, high = gain or (group.values(areas, measure), *np.full((2, len(areas.names)), np.nan))
        if gain is None and group.size >= LEAST_SUBJECTS:
            low, high = interval_of_draws(group.draws(areas, measure, bootstrap))
        frames.append(pd.DataFrame({
            "diagnosis": diagnosis, "region": areas.names, "in_atlas": areas.inside, "value": value, "low": low,
            "high": high, "scans": group.scans, "subjects": group.size,
            "without_relevance": group.without_relevance,
        }))  # fmt: skip
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=RANKING)
    return add_ranks(frame)


def add_ranks(frame: pd.DataFrame) -> pd.DataFrame:
    """Add ranks by value among the atlas regions of each diagnosis, from 1."""
    values = frame["value"].where(frame["in_atlas"].astype(bool)).astype(float)
    return frame.assign(rank=rank_largest_first(values, frame["diagnosis"]))


def use_stored(frame: pd.DataFrame, stored: pd.DataFrame, regions: pd.DataFrame, measure: str, merged: bool):
    """Replace the numbers of a ranking by the run's own where it stored them.

    Values, and intervals of share and density.

    Args:
        frame: from `ranking`.
        stored: rows of group_regions of the model set, method and target.
    """
    if measure not in stored:
        return frame
    areas = RegionSizes.of(regions, merged)
    own = stored[stored["merged"].astype(bool) == merged].set_index(["diagnosis", "region"])
    own = own.reindex(pd.MultiIndex.from_frame(frame[["diagnosis", "region"]]))
    frame = frame.assign(value=own[measure].to_numpy(float))
    if measure in ("share", "density"):
        per = np.ones(len(areas.names)) if measure == "share" else density(np.ones(len(areas.cm3)), areas.cm3)
        factor = frame["region"].map(dict(zip(areas.names, per, strict=True))).to_numpy(float)
        # Earlier versions stored intervals of two subjects and more.
        factor = np.where(frame["subjects"].to_numpy(float) >= LEAST_SUBJECTS, factor, np.nan)
        frame = frame.assign(
            low=own["share_low"].to_numpy(float) * factor, high=own["share_high"].to_numpy(float) * factor
        )
    return add_ranks(frame)


def published(stored: pd.DataFrame, regions: pd.DataFrame, measure: str, merged: bool) -> pd.DataFrame:
    """Return the ranking of a run without persons, as `ranking` makes it but for the number of scans.

    Args:
        stored: rows of group_regions of the model set, method and target, with all intervals.
    """
    areas = RegionSizes.of(regions, merged)
    own = stored[stored["merged"].astype(bool) == merged]
    known = {name: number for number, name in enumerate(areas.names)}
    own = own[own["region"].isin(known)]
    place = own["region"].map(known).to_numpy(int)
    of = "share" if measure == "density" else measure
    frame = own[["diagnosis", "region"]].assign(
        in_atlas=areas.inside[place], value=own[measure].to_numpy(float), low=own[f"{of}_low"].to_numpy(float),
        high=own[f"{of}_high"].to_numpy(float), scans=pd.NA, subjects=own["subjects"],
        without_relevance=own["without_relevance"].fillna(0),
    )  # fmt: skip
    if measure == "density":
        per = density(np.ones(len(areas.cm3)), areas.cm3)[place]
        frame = frame.assign(low=frame["low"] * per, high=frame["high"] * per)
    frame = frame.assign(place=place).sort_values(["diagnosis", "place"], kind="stable").drop(columns="place")
    return add_ranks(frame.reset_index(drop=True))


def first_by_rank(frame: pd.DataFrame, sort_by: str, count: int | None) -> list[str]:
    """Return the first atlas regions of a diagnosis by rank; all where `count` is None, those without a value last."""
    rows = frame[(frame["diagnosis"] == sort_by) & frame["in_atlas"].astype(bool)].sort_values("rank")
    return rows["region"].tolist()[:count]


def _gain(groups: Mapping[str, Group], names: Sequence[str], areas: RegionSizes, bootstrap: Bootstrap) -> tuple:
    """Return (value, low, high) of the mean share in the positive divided by that in the negative group.

    NaN where one of them is missing.
    """
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
    return value, *interval_of_draws(ratio)
