"""Scores of heatmaps against a known truth, between their reference and their ceiling.

The truth is what was imposed on a simulated cohort, or the regions whose phenotype is predicted (phenotype_truth.py).

Reference: the same method on networks that know nothing of the disease (truth_references.py); the difference counts.
Ceilings: the score of the truth's own map, and that of the best map there is in the data, the absolute difference of
the groups' means over the training volumes. Scores are of the positive group's scans in test sets; scans of the
negative group, in which nothing was imposed, are scored against the same truth and stand in rows of their own.
Baselines, maps that are the same for any network, stand beside the methods, whether or not the run has stored them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pandas as pd

from engine.analysis.cells import scan_weights
from engine.analysis.distances import mass
from engine.analysis.network_scores import Ensemble, OverNetworks
from engine.analysis.truth import REGION_SCORES, SCORES, RegionTruth, TruthScorer
from engine.analysis.truth_intervals import Interval, MeanMap, MeanScore, Sample, with_intervals
from engine.pipeline.aggregate import explained, scale_for, stored_series
from engine.pipeline.phenotype_truth import PhenotypeTruth
from engine.pipeline.run import Run
from engine.pipeline.truth_references import HELD_OUT, NULL, UNTRAINED, Baselines, References
from engine.relevance import METHODS
from store import RunReader
from store.keys import are_retrained
from store.reading.truth import binary_of, scan_change, visible_change
from store.spec import TRUTH_SCANS, TRUTH_VISIBLE

GROUP_RESAMPLES = 100  # a resample of mean maps costs a score of each network
ENSEMBLE_RESAMPLES = 50
KEPT_BYTES = 3 << 28  # of what scores single scans: 3,000 scans at 4 mm, 50 at 1 mm
LEVELS = {  # resamples; 0: analysis.bootstrap
    "group": GROUP_RESAMPLES, "scan": 0, "signed_group": GROUP_RESAMPLES,
    "ensemble": ENSEMBLE_RESAMPLES, "signed_ensemble": ENSEMBLE_RESAMPLES,
}  # fmt: skip
ENSEMBLES = {"ensemble": "group", "signed_ensemble": "signed_group"}  # level -> the maps that it averages over networks
FEWER_REFERENCES = "fewer reference networks than are averaged"
PREFIX = {UNTRAINED: "", NULL: "null_"}  # of the columns of a kind of reference


def score_run(run: Run, reader: RunReader) -> list[dict]:
    """Return rows of the truth_scores table; none for a cohort without a known truth."""
    truth: Truth | PhenotypeTruth
    if run.config.phenotype:
        truth = PhenotypeTruth(run, reader)
    elif run.cohort.simulated and reader.has_array(TRUTH_VISIBLE.path):
        truth = Truth(run, reader)
    else:
        return []
    references, baselines = References(run), Baselines(run)
    series = stored_series(reader).drop_duplicates(["model_set", "method"])
    more = [name for name in baselines.names if name not in set(series.loc[series["model_set"] == HELD_OUT, "method"])]
    rows = []
    with run.progress.task("truth scores", (len(series) + len(more)) * len(run.groups)) as task:
        for model_set in series["model_set"].drop_duplicates():
            for diagnosis in run.groups:
                scored = Scored(truth, references, model_set, diagnosis)
                for method in series.loc[series["model_set"] == model_set, "method"]:
                    rows += scored.rows(method)
                    task.advance()
                for method in more if model_set == HELD_OUT else ():
                    rows += scored.rows(method, baselines)
                    task.advance()
    return rows


class Truth:
    """What was imposed on a simulated cohort, and on each scan where it is stored.

    Attributes:
        own_group: explained is the evidence for the positive group, in scans of the other, too.
    """

    own_group = False

    def __init__(self, run: Run, reader: RunReader) -> None:
        self.run, self.reader = run, reader
        self.change = visible_change(reader)
        self._regions = self._region_truth(reader.table("truth_regions"))
        self._subtypes: dict[str, RegionTruth] = {}
        self._subtype_of: dict[str, str] = {}
        if reader.has_table("truth_subtypes"):
            tables = reader.table("truth_subtypes").groupby("subtype")
            self._subtypes = {str(subtype): self._region_truth(table) for subtype, table in tables}
            self._subtype_of = reader.table("scans", ["scan", "subtype"]).set_index("scan")["subtype"].to_dict()

    def _region_truth(self, table: pd.DataFrame) -> RegionTruth:
        of_atlas = self.run.atlas.regions["region"]
        regions = table.set_index("region").loc[of_atlas]
        size = np.where(regions["imposed"], np.abs(regions["log_jacobian"].to_numpy(float)), 0.0)
        return RegionTruth(size, (of_atlas != "Unlabelled").to_numpy(bool))

    @cached_property
    def cohort(self) -> TruthScorer:
        """Return what scores maps against the mean visible change."""
        return self._scorer(self.change, self._regions)

    def scan(self, name: str, diagnosis: str) -> TruthScorer:
        """Return what scores a scan's maps against its own change and subtype, or the mean ones if it has none."""
        own = diagnosis == self.run.groups[0] and self.reader.has_array(TRUTH_SCANS.path)
        regions = self._subtypes.get(self._subtype_of.get(name, ""), self._regions)
        return self._scorer(scan_change(self.reader, name), regions) if own else self.cohort

    def own_map(self, name: str | None = None) -> np.ndarray:
        """Return the visible change of the cohort or a scan as a map, (x, y, z)."""
        if name is None or not self.reader.has_array(TRUTH_SCANS.path):
            return self.change
        return scan_change(self.reader, name)

    def own_regions(self) -> np.ndarray:
        """Return the size of the imposed change painted on the regions, (x, y, z)."""
        return np.concatenate([[0.0], self._regions.size])[self.run.atlas.labels]

    def _scorer(self, change: np.ndarray, regions: RegionTruth) -> TruthScorer:
        run = self.run
        return TruthScorer(binary_of(change, run.mask), run.mask, run.atlas.labels, regions, run.config.grid_mm)


@dataclass
class _Samples:
    """All levels of the scores of one network's maps, or of each fold's on its scans."""

    group: MeanMap
    scan: MeanScore
    signed_group: MeanMap
    empty: int = 0


class Scored:
    """The explained scans of one model set and diagnosis, and what is computed for them once, whatever the method."""

    def __init__(self, truth: Truth | PhenotypeTruth, references: References, model_set: str, diagnosis: str) -> None:
        self._truth, self._references, self._run = truth, references, truth.run
        self._model_set, self._diagnosis = model_set, diagnosis
        predictions = explained(truth.reader, model_set)
        self._scans = predictions[predictions["diagnosis"] == diagnosis].reset_index(drop=True)
        self._target = diagnosis if truth.own_group else self._run.groups[0]
        self._weights = scan_weights(self._scans, self._run.config.analysis.weights)
        self._subjects = {name: place for place, name in enumerate(self._scans["subject"].drop_duplicates())}
        self._scorers: dict[str, TruthScorer] = {}

    def _scorer(self, scan: str) -> TruthScorer:
        """Return what scores a scan's maps; made anew each time where those of all scans would fill the memory."""
        found = self._scorers.get(scan)
        if found is None:
            found = self._truth.scan(scan, self._diagnosis)
            if found is self._truth.cohort or (len(self._scorers) + 1) * found.nbytes <= KEPT_BYTES:
                self._scorers[scan] = found
        return found

    def rows(self, method: str, baselines: Baselines | None = None) -> list[dict]:
        """Return the rows of one method.

        Args:
            baselines: what makes its maps; default: they are stored.
        """
        target, reader = self._target, self._truth.reader
        scale = scale_for(self._run, method)
        stored = "margin" if scale == "relative" else scale

        def maps(again: str | None) -> Iterator[np.ndarray]:
            if baselines is not None:
                yield from baselines.maps(method, self._scans)
                return
            for row in self._scans.itertuples():
                yield reader.heatmap(again or row.model, method, row.scan, target=target, scale=stored)

        networks = [self._samples(method, maps(again)) for again in (None, *self._retrained(method))]
        note = self._references.missing(method, self._model_set)
        if self._diagnosis != self._run.groups[0] and METHODS[method].explanation:
            note = "references are of the positive group"
        elif scale == "probability" and METHODS[method].gradient and not note:
            note = "references have no gradients of the probability"
        references = {} if note else self._reference_samples(method, stored)
        analysis = self._run.config.analysis
        rows = []
        for level, resamples in LEVELS.items():
            if level in ENSEMBLES and len(networks) == 1:
                continue
            sample, beside = _sampled(level, networks, references)
            resamples = resamples or analysis.bootstrap
            scores = with_intervals(sample, beside, len(self._subjects), resamples, self._run.config.seed)
            said = FEWER_REFERENCES if references and not beside else note
            rows += self._level_rows(method, level, scores, sum(one.empty for one in networks), said)
        return rows

    def _retrained(self, method: str) -> list[str]:
        """Return the networks that were trained again and explain the same scans otherwise."""
        return self._trained_again if METHODS[method].explanation else []

    @cached_property
    def _trained_again(self) -> list[str]:
        rows = self._truth.reader.table("predictions", model_set=self._model_set)
        return sorted(rows.loc[are_retrained(rows["model"]), "model"].unique())

    def _samples(self, method: str, heatmaps: Iterable[np.ndarray]) -> _Samples:
        """Score signed heatmaps (x, y, z), one for each row of the scans."""
        count, cohort, inside = len(self._subjects), self._truth.cohort, self._run.mask
        gradient, relative = METHODS[method].gradient, scale_for(self._run, method) == "relative"
        signed = MeanMap(cohort, count, partial(mass, gradient=gradient))
        found = _Samples(MeanMap(cohort, count), MeanScore(count), signed)
        for row, heatmap in zip(self._scans.itertuples(), heatmaps, strict=True):
            relevance, subject = mass(heatmap, gradient), self._subjects[row.subject]
            total, weight = relevance.sum(dtype=np.float64), self._weights[row.model, row.scan]
            if not total > 0:
                found.empty += 1
                continue
            size = np.float32(total if relative else 1)
            values, own = relevance[inside], heatmap[inside] / size
            smoothed = cohort.smooth(values)
            found.scan.add(subject, self._scorer(row.scan).score(values, smoothed), weight)
            found.group.add(subject, values / size, smoothed / size, weight)
            found.signed_group.add(subject, own, cohort.smooth(own), weight)
        return found

    def _reference_samples(self, method: str, scale: str) -> dict[str, list[_Samples]]:
        """Return kind -> the scores of the maps of each reference network."""

        def maps(one) -> Iterable[np.ndarray]:
            return (heatmap for _, heatmap in self._references.maps(one, method, scale, self._scans))

        return {
            kind: [self._samples(method, maps(one)) for one in networks]
            for kind, networks in self._references.networks_for(method).items()
        }

    def _level_rows(self, method: str, level: str, scores: Interval, empty: int, note: str) -> list[dict]:
        rows = []
        for i, score in enumerate(SCORES):
            row = {
                "model_set": self._model_set, "method": method, "diagnosis": self._diagnosis, "level": level,
                "score": score, "value": scores.value[i], "value_low": scores.low[i], "value_high": scores.high[i],
                "ceiling": self._ceilings[level][score], "group_difference": self._group_differences[level][score],
                "scans": len(self._scans), "subjects": len(self._subjects), "empty": empty, "note": note,
                "networks": 1 + len(self._retrained(method)),
            }  # fmt: skip
            for kind, prefix in PREFIX.items():
                compared = scores.compared.get(kind)
                of_kind = {
                    f"{prefix}reference": compared and compared.reference[i],
                    f"{prefix}reference_sd": compared and compared.reference_sd[i],
                    f"{prefix}difference": compared and compared.difference[i],
                    f"{prefix}difference_low": compared and compared.low[i],
                    f"{prefix}difference_high": compared and compared.high[i],
                }
                row |= {name: np.nan if value is None else value for name, value in of_kind.items()}
            rows.append(row)
        return rows

    # -- ceilings -----------------------------------------------------------------------------------------------------

    @cached_property
    def _ceilings(self) -> dict[str, dict[str, float]]:
        """Return level -> scores of the truth's own map: the visible change, by region the size of what was imposed."""
        own = self._diagnosis == self._run.groups[0]
        names = self._scans["scan"].drop_duplicates()
        of_scans = ((scan, self._truth.own_map(scan if own else None)) for scan in names)  # one at a time in memory
        return self._of_maps(self._truth.own_map(), of_scans, by_region=self._truth.own_regions())

    @cached_property
    def _group_differences(self) -> dict[str, dict[str, float]]:
        """Return level -> scores of |difference of the groups' means| over each network's training volumes."""
        differences = group_differences(self._run, self._scans["model"].unique())
        if not differences:
            return {level: dict.fromkeys(SCORES, np.nan) for level in LEVELS}
        weights: dict[str, float] = {}
        for row in self._scans.itertuples():
            weights[row.model] = weights.get(row.model, 0.0) + self._weights[row.model, row.scan]
        mean = np.sum([weight * differences[model] for model, weight in weights.items()], axis=0)
        of_scans = dict(zip(self._scans["scan"], self._scans["model"], strict=True))
        return self._of_maps(mean, ((scan, differences[model]) for scan, model in of_scans.items()))

    def _of_maps(
        self, mean: np.ndarray, of_scans: Iterable[tuple[str, np.ndarray]], by_region: np.ndarray | None = None
    ) -> dict[str, dict[str, float]]:
        """Return level -> scores of a mean map, and the mean of those of a map for each scan; maps have no signs.

        Args:
            by_region: scored in their place by region.
        """
        regional = self._truth.cohort(by_region) if by_region is not None else {}
        scores = [self._scorer(scan)(one) for scan, one in of_scans]
        of_levels = {
            "group": self._truth.cohort(mean),
            "scan": {score: float(np.nanmean([s[score] for s in scores] or [np.nan])) for score in SCORES},
        }
        chosen = {score: value for score, value in regional.items() if score in REGION_SCORES}
        of_levels |= dict.fromkeys(["signed_group", *ENSEMBLES], of_levels["group"])
        return {level: of_level | chosen for level, of_level in of_levels.items()}


def _sampled(
    level: str, networks: Sequence[_Samples], references: dict[str, list[_Samples]]
) -> tuple[Sample, dict[str, list[Sample]]]:
    """Return the scores of a level, of several networks as one, and kind of reference -> those beside them.

    An average over networks stands beside the average over as many reference networks, where there are as many: noise
    that differs from network to network cancels out in both.
    """
    maps = ENSEMBLES.get(level, level)
    own = [getattr(one, maps) for one in networks]
    beside = {kind: [getattr(one, maps) for one in samples] for kind, samples in references.items()}
    if level in ENSEMBLES:
        enough = {kind: samples[: len(own)] for kind, samples in beside.items() if len(samples) >= len(own)}
        return Ensemble(own), {kind: [Ensemble(enough[kind], seed)] for seed, kind in enumerate(enough, start=1)}
    return own[0] if len(own) == 1 else OverNetworks(own), beside


def group_differences(run: Run, models: Sequence[str]) -> dict[str, np.ndarray]:
    """Return model -> |mean of the positive - mean of the negative group| of training volumes, (x, y, z) float32.

    Models whose training scans are not known are left out. Every volume is read once.
    """
    jobs = {job.model: set(job.train) for job in run.jobs if job.model in set(models) and job.train}
    groups = run.cohort.scans.set_index("scan")["group"]
    sums: dict[tuple, np.ndarray] = {}
    counts: dict[tuple, int] = {}
    for scan in sorted(set().union(*jobs.values())):
        # Scans that the same models were trained on are added up together: a handful of lots, however many models.
        lot = (groups[scan], tuple(model for model, train in jobs.items() if scan in train))
        volume = run.cache.read([scan])[0][run.mask]
        sums[lot] = sums.get(lot, 0.0) + volume.astype(np.float64)
        counts[lot] = counts.get(lot, 0) + 1
    found = {}
    for model in jobs:
        means = []
        for group in run.groups:
            lots = [lot for lot in sums if lot[0] == group and model in lot[1]]
            means.append(sum(sums[lot] for lot in lots) / sum(counts[lot] for lot in lots))
        found[model] = np.zeros(run.mask.shape, np.float32)
        found[model][run.mask] = np.abs(means[0] - means[1])
    return found
