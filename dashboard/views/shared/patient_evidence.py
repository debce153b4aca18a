"""What speaks for and against a group in one scan, and how sure that is, as numbers. Straight from a run."""

from __future__ import annotations

import functools
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

READERS_KEPT = 4
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

    @functools.cached_property
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
    said = _predictions(run, one.scan)
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
    for name in counts:
        people = _people_of_group(one.people_run, (one.model_set, one.method, group), name, tuple(mine.index))
        theirs = people.values[people.subjects != subject]
        counts[name] = len(theirs)
        table[f"percentile_{name}"] = _percentiles(theirs, mine.to_numpy(float))
    return table, counts


@dataclass(frozen=True)
class _People:
    """Subjects (n,), and their mean signed shares of some regions (n, regions)."""

    subjects: np.ndarray
    values: np.ndarray

    @property
    def nbytes(self) -> int:
        return int(self.values.nbytes) + 64 * len(self.subjects)


@byte_cache.kept_within(shares.LIMIT)
def _people_of_group(
    run: RunReader | None, what: tuple[str, str, str], name: str, regions: tuple[str, ...]
) -> _People:  # fmt: skip
    """Return the subjects of a group that have relevance in one of the regions; kept.

    Args:
        what: model set, method and group of the evidence.
    """
    everyone = _people(run, *what)
    own = everyone[everyone["group"] == name]
    values = own.reindex(columns=list(regions)).to_numpy(float)
    known = np.isfinite(values).any(axis=1)
    return _People(own["subject"].to_numpy(object)[known], values[known])


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
    # From the tables of all scans, which the other sentences need too: the file is not read again for each scan.
    methods = sorted(_methods(one.run).get((one.model, one.scan), ()))
    known = [_densities(one.run, one.model_set, method, one.target) for method in methods]
    of_scan = [table.of(one.model, one.scan) for table in known]
    wide = pd.DataFrame({number: values for number, values in enumerate(of_scan) if values is not None}).to_numpy(float)
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
    own, theirs = _densities(one.run, *what), _densities(run, *what)
    mine = own.of(one.model, one.scan)
    if mine is None:
        return empty
    subject, subjects = _subjects(one.run)[one.scan], everyone.subject.to_numpy(object)
    places = np.array([theirs.rows.get(key, -1) for key in zip(everyone.model, everyone.scan, strict=True)], int)
    others = np.full((len(everyone), len(mine)), np.nan)
    others[places >= 0] = theirs.of_regions(own.regions)[places[places >= 0]]
    others[subjects == subject] = np.nan
    found = _correlations(mine.to_numpy(float), others)
    order = np.argsort(-found, kind="stable")[: np.isfinite(found).sum()]
    first = list(dict.fromkeys(subjects[order]))[:count]
    chosen = [next(place for place in order if subjects[place] == person) for person in first]
    return everyone.iloc[chosen].assign(similarity=found[chosen]).reset_index(drop=True) if chosen else empty


@functools.lru_cache(READERS_KEPT)
def _subjects(run: RunReader) -> dict[str, str]:
    """Return scan -> subject."""
    table = run.table("scans", ["scan", "subject"])
    return dict(zip(table.scan.tolist(), table.subject.tolist(), strict=True))


@functools.lru_cache(READERS_KEPT)
def _methods(run: RunReader) -> dict[tuple[str, str], set[str]]:
    """Return (model, scan) -> the methods that explain it."""
    table = run.table("heatmaps", ["model", "scan", "method"])
    found: dict[tuple[str, str], set[str]] = {}
    for model, scan, method in zip(*(table[name].tolist() for name in table.columns), strict=True):
        found.setdefault((model, scan), set()).add(method)
    return found


@functools.lru_cache(READERS_KEPT)
def _all_predictions(run: RunReader) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    table = run.table("predictions")
    return table, table.groupby("scan", sort=False).indices


def _predictions(run: RunReader, scan: str) -> pd.DataFrame:
    """Return the rows of a scan, of the table of all that is read once."""
    table, rows = _all_predictions(run)
    return table.iloc[rows.get(scan, [])].reset_index(drop=True)


@dataclass(frozen=True)
class Densities:
    """Densities of the atlas regions, in percent per cm3, (scans, regions); `rows`: (model, scan) -> its row."""

    values: np.ndarray
    regions: pd.Index
    rows: dict[tuple[str, str], int]

    @property
    def nbytes(self) -> int:
        """The bytes of the numbers, and about those of the names."""
        return int(self.values.nbytes) + 200 * len(self.rows)

    def of(self, model: str, scan: str) -> pd.Series | None:
        """Return those of a scan by region; None where it has none."""
        row = self.rows.get((model, scan))
        return None if row is None else pd.Series(self.values[row], self.regions)

    def of_regions(self, regions: pd.Index) -> np.ndarray:
        """Return those of other regions of all scans, (scans, regions); NaN for regions that are not known here."""
        if regions.equals(self.regions):
            return self.values
        places = self.regions.get_indexer(regions)
        return np.where(places >= 0, self.values[:, places], np.nan)


@byte_cache.kept_within(shares.LIMIT)
def _densities(run: RunReader, model_set: str, method: str, target: str) -> Densities:
    """Return the densities of the atlas regions in every scan; kept."""
    wide = shares.region_shares(run, model_set, method, target)
    regions = run.table("regions", ["region", "in_atlas", "volume_cm3"])
    regions = regions[regions.in_atlas.astype(bool) & (regions.volume_cm3 > 0)].set_index("region").volume_cm3
    kept = [region for region in wide.columns if region in regions.index]
    found = 100 * wide[kept] / regions[kept]
    rows = {key: row for row, key in enumerate(found.index)}
    return Densities(found.to_numpy(float), found.columns, rows)


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
