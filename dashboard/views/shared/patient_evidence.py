"""What speaks for and against a group in one scan, and how sure that is, as numbers. Straight from a run."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dashboard.data import byte_cache, shares
from dashboard.text.outputs import answer_of
from dashboard.views.shared.patient_words import FEWEST, Facts
from store import NotInRunError, RunReader
from store.keys import are_retrained
from store.measures import rank_correlation
from store.reading.trust import NO_EXPLANATION, TrustLine
from store.reading.trust_figures import NOT_MEASURED
from store.reading.verdict import Verdict

SIMILAR = 5  # scans that are shown as the most alike
SIMULATED_NETWORKS = "The networks were trained on simulated change: what they say of a real scan is no evidence."


@dataclass(frozen=True)
class Explained:
    """One scan, explained by a model and a method, and the run of the people that it is set among.

    Attributes:
        target: a group, true or predicted.
        people_run: of a new scan the run whose networks explained it; None where that is not at hand.
        simulated_networks: they were trained on simulated change, and the scan is real.
        judged: do these networks separate the groups; None where that is not known.
        trust: how the method came out where heatmaps of these networks were measured; None where they were not.
    """

    run: RunReader
    model: str
    method: str
    scan: str
    target: str
    people_run: RunReader | None
    simulated_networks: bool = False
    judged: Verdict | None = None
    trust: TrustLine | None = None

    @property
    def model_set(self) -> str:
        """The set of the explaining model."""
        return str(self.run.table("models", ["model_set"], model=self.model).model_set.iloc[0])


@byte_cache.kept_within(shares.LIMIT)
def signed_shares(run: RunReader, model_set: str, method: str, group: str) -> pd.DataFrame:
    """Return the sum of h in each region / the sum of |h| in the brain, by scan (index model, scan) and region.

    The table is kept: change nothing in it. Evidence for `group`. float32; NaN for a map that is 0 everywhere and a
    region without voxels on the grid.
    """
    found = run.region_values(model_set, method, group, ("signed_sum",))
    regions = pd.Index(run.whole_table("regions")["region"], name="region")
    wide = pd.DataFrame(found.values["signed_sum"], found.pairs(), regions).sort_index()
    rows = run.table("heatmaps", ["model", "scan", "target", "absolute_sum"], method=method, scale="margin")
    # Of antisymmetric methods one group's map is stored, and |h| is the same for the other.
    rows = rows.sort_values("target", key=lambda targets: targets != group, kind="stable")
    whole = rows.drop_duplicates(["model", "scan"]).set_index(["model", "scan"]).absolute_sum.reindex(wide.index)
    return wide.div(whole.where(whole > 0), axis=0).astype(np.float32)


def facts_of(one: Explained) -> Facts:
    """Return the numbers that the sentences on a scan are made of.

    Raises:
        NotInRunError: the run holds no prediction or no regions of this scan, or the target means no group for it.
    """
    run, answer = one.run, answer_of(one.run.manifest)
    group = run.target_of(one.model, one.scan, one.target)
    said = run.table("predictions", scan=one.scan)
    own = said[said.model == one.model]
    wide = signed_shares(run, one.model_set, one.method, group)
    if own.empty or (one.model, one.scan) not in wide.index:
        raise NotInRunError(f"run {run.run_id} has no regions of this scan by {one.method} and model {one.model}")
    row = own.iloc[0]
    mine = wide.loc[(one.model, one.scan)]
    regions, people = _among_groups(one, mine, group, str(row.subject))
    compared, middle = _agreement_of_methods(one)
    return Facts(
        evidence=group, other=next(g for g in run.groups if g != group), method=one.method, regions=regions,
        people=people, answer=answer, value=float(row[answer.column]), margin=float(row.margin),
        decided=str(row.predicted), label="" if pd.isna(row.group) or answer.is_value else str(row.group),
        networks=tuple(said[answer.column].astype(float)), methods=compared, agreement=middle,
        observed=float(row.observed) if pd.notna(row.observed) else float("nan"), warning=_warning(one),
        trust=_trust(one),
    )  # fmt: skip


def _among_groups(one: Explained, mine: pd.Series, group: str, subject: str) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the atlas regions of a scan with their percentiles among the subjects of both groups, and how many."""
    known = one.run.table("regions", ["region", "in_atlas"])
    mine = mine[[r for r in known.region[known.in_atlas.astype(bool)] if r in mine.index]]
    table = pd.DataFrame({"region": mine.index, "share": mine.to_numpy(float)})
    counts = dict.fromkeys(one.run.groups, 0)
    others = _people(one.people_run, one.model_set, one.method, group)
    for name in counts:
        theirs = others[(others["group"] == name) & (others["subject"] != subject)].reindex(columns=mine.index)
        theirs = theirs[theirs.notna().any(axis=1)]
        counts[name] = len(theirs)
        table[f"percentile_{name}"] = _percentiles(theirs.to_numpy(float), mine.to_numpy(float))
    return table, counts


@byte_cache.kept_within(shares.LIMIT)
def _people(run: RunReader | None, model_set: str, method: str, group: str) -> pd.DataFrame:
    """Return the mean signed shares of each subject of the groups, with the columns subject and group; kept."""
    empty = pd.DataFrame(columns=["subject", "group"])
    if run is None or group not in run.groups:
        return empty
    wide = signed_shares(run, model_set, method, group)
    said = run.table("predictions", ["model", "scan", "subject", "group"])
    said = said[~are_retrained(said.model) & said["group"].isin(run.groups)].set_index(["model", "scan"])
    joined = wide.join(said, how="inner")
    return (
        joined.groupby(["subject", "group"], sort=False).mean(numeric_only=True).reset_index() if len(joined) else empty
    )


def _percentiles(others: np.ndarray, mine: np.ndarray) -> np.ndarray:
    """Return the mid-rank percentile of each region among the others; NaN below ten, or where a value is missing."""
    if len(others) < FEWEST:
        return np.full(len(mine), np.nan)
    found = 100 * ((others < mine).mean(axis=0) + 0.5 * (others == mine).mean(axis=0))
    return np.where(np.isfinite(mine) & np.isfinite(others).all(axis=0), found, np.nan)


def _agreement_of_methods(one: Explained) -> tuple[int, float]:
    """Return how many methods explain this scan by this model, and the median rank correlation of their densities."""
    methods = one.run.table("heatmaps", ["method"], model=one.model, scan=one.scan).method
    # From the tables of all scans, which the other sentences need too: the file is not read again for each scan.
    known = {method: _densities(one.run, one.model_set, method, one.target) for method in sorted(set(methods))}
    of_scan = {m: table.loc[one.model, one.scan] for m, table in known.items() if (one.model, one.scan) in table.index}
    wide = pd.DataFrame(of_scan).to_numpy(float)
    wide = wide[:, np.isfinite(wide).any(axis=0)]
    pairs = [
        rank_correlation(wide[:, a], wide[:, b], fewest=3) for a, b in itertools.combinations(range(wide.shape[1]), 2)
    ]
    known_pairs = [value for value in pairs if np.isfinite(value)]
    return wide.shape[1], float(np.median(known_pairs)) if known_pairs else float("nan")


def _trust(one: Explained) -> str:
    """Say how the method came out where heatmaps of these networks were measured; empty where nothing is known."""
    line = one.trust
    if line is None:
        return ""
    if not line.figures:
        return f"this method gives {NO_EXPLANATION}"
    found = [f"{figure.name} {figure.verdict}" for figure in line.figures if figure.verdict != NOT_MEASURED]
    return f"of the method’s trust figures, {', '.join(found)}" if found else ""


def _warning(one: Explained) -> str:
    """Say why nothing of this should be relied on; empty where nothing is known against it."""
    parts = [one.judged.banner] if one.judged is not None and one.judged.banner else []
    return " ".join([*parts, *([SIMULATED_NETWORKS] if one.simulated_networks else [])])


def similar_scans(one: Explained, everyone: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the scans of other people whose relevance lies most alike over the regions, the most similar first.

    Similarity is Pearson's correlation of the densities of the atlas regions. Of each person the most similar scan.

    Args:
        everyone: explained scans of `one.people_run`: model, scan, subject, and what is to be shown of them.
    Returns:
        Rows of `everyone` with the column similarity; none where the scan has no relevance or nobody else has.
    """
    run, empty = one.people_run, everyone.head(0).assign(similarity=pd.Series(dtype=float))
    if run is None:
        return empty
    what = (one.model_set, one.method, one.target)
    own, theirs = _densities(one.run, *what).reindex([(one.model, one.scan)]), _densities(run, *what)
    subject = one.run.table("scans", ["subject"], scan=one.scan).subject.iloc[0]
    rows = everyone[everyone.subject != subject]
    theirs = theirs.reindex(pd.MultiIndex.from_frame(rows[["model", "scan"]]), columns=own.columns)
    mine, others = own.to_numpy(float)[0], theirs.to_numpy(float)
    found = _correlations(mine, others)
    ranked = (
        rows.assign(similarity=found)
        .dropna(subset="similarity")
        .sort_values("similarity", ascending=False, kind="stable")
    )
    return ranked.drop_duplicates("subject").head(count).reset_index(drop=True) if len(ranked) else empty


@byte_cache.kept_within(shares.LIMIT)
def _densities(run: RunReader, model_set: str, method: str, target: str) -> pd.DataFrame:
    """Return the densities of the atlas regions by scan (index model, scan), in percent per cm3; kept."""
    wide = shares.region_shares(run, model_set, method, target)
    regions = run.table("regions", ["region", "in_atlas", "volume_cm3"])
    regions = regions[regions.in_atlas.astype(bool) & (regions.volume_cm3 > 0)].set_index("region").volume_cm3
    kept = [region for region in wide.columns if region in regions.index]
    return 100 * wide[kept] / regions[kept]


def _correlations(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of (k,) with each row of (n, k), (n,), over the regions that both know.

    NaN below three regions, or where one side is constant. At once: one by one, 10 000 scans take half a second.
    """
    known = np.isfinite(one) & np.isfinite(many)
    count = known.sum(axis=1)
    first, second = np.where(known, one, 0.0), np.where(known, many, 0.0)
    varies = [_span(side, known) > 0 for side in (one, many)]
    first, second = (np.where(known, s - (s.sum(axis=1) / np.maximum(count, 1))[:, None], 0) for s in (first, second))
    size = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    usable = (count >= 3) & varies[0] & varies[1] & (size > 0)
    return np.divide((first * second).sum(axis=1), size, out=np.full(len(many), np.nan), where=usable)


def _span(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the largest less the smallest known value of each row, (n,); 0 where none is known."""
    values = np.broadcast_to(values, known.shape)
    span = np.where(known, values, -np.inf).max(axis=1) - np.where(known, values, np.inf).min(axis=1)
    return np.where(np.isfinite(span), span, 0)
