"""Does a heatmap change when what the network learned is taken from it? Adebayo et al. 2018; table `randomisation`.

Two kinds, on the scans of trust.scans, each against the stored map of the network as it was trained:

cascade: layers of the held-out network are drawn anew one after the other, from the output on.
shuffled_labels: networks trained on labels that were dealt out anew.

Beside each value stands what maps of different scans have in common (Arun et al. 2021). docs/definitions.md,
Randomisation.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from engine.analysis.regions import bootstrap_interval
from engine.analysis.similarity import SIMILARITIES, similarities
from engine.errors import RunError
from engine.networks.cascade import Layer, drawn_anew, layers_from_output
from engine.pipeline.explain import build_method, takes_whole_passes
from engine.pipeline.explain_again import Explainable
from engine.pipeline.trust.parts import Rows, once
from engine.pipeline.trust.scope import HELD_OUT, TrustScope
from engine.pipeline.trust.shuffled_labels import shuffled_networks
from engine.relevance import METHODS, BatchSize

CASCADE, SHUFFLED_LABELS = "cascade", "shuffled_labels"
PAIRS = 50  # of maps of different scans, as in Arun et al. 2021
FULL_OCCLUSIONS_FROM_MM = 3
OCCLUDED_SCANS = 6  # on finer grids, half of each group; from five subjects on there is an interval
SEED = 5_000


@dataclass(frozen=True)
class Alteration:
    """One way in which what the network learned is taken from it.

    Attributes:
        kind: cascade or shuffled_labels.
        step: how many layers are drawn anew; 0 for shuffled_labels.
        layer: the last of them.
        number: of the network, of those with the same kind and step; from 0.
    """

    kind: str
    step: int
    layer: str = ""
    number: int = 0


class Altered:
    """The altered networks of a run, made when they are first asked for."""

    def __init__(self, scope: TrustScope) -> None:
        self._scope = scope
        self._seed = SEED + scope.run.config.seed

    @cached_property
    def alterations(self) -> list[Alteration]:
        """List what is done to the network, in the order of the table."""
        assert self._scope.job is not None
        steps = [Alteration(CASCADE, step, layer.name) for step, layer in enumerate(self._layers, start=1)]
        # How an imported network was trained is not known.
        count = self._scope.run.config.trust.shuffled_networks if self._scope.job.train else 0
        return [*steps, *(Alteration(SHUFFLED_LABELS, 0, number=number) for number in range(count))]

    def network(self, alteration: Alteration) -> Explainable:
        """Return a network, on the device."""
        if alteration.kind == SHUFFLED_LABELS:
            return self._shuffled[alteration.number]
        held_out = self._scope.held_out
        network = drawn_anew(held_out.network, self._layers[: alteration.step], self._seed)
        return replace(held_out, network=network, trained=False)

    @cached_property
    def _layers(self) -> list[Layer]:
        try:
            return layers_from_output(self._scope.held_out.network)
        except ValueError as error:
            raise RunError(f"{error}: take randomisation out of trust.measures") from error

    @cached_property
    def _shuffled(self) -> list[Explainable]:
        return shuffled_networks(self._scope)


def write_randomisation(scope: TrustScope) -> None:
    """Write the table `randomisation`: similarity of every method's maps before and after, with intervals.

    What is compared is kept by method and step under the run's work folder, so that an interrupted run goes on from it.
    """
    altered, rows = Altered(scope), []
    for method in scope.methods:
        scans = scans_for(scope, method)
        if scans.empty:
            continue
        compared = _compare_method(scope, altered, method, scans["scan"].tolist())
        rows += _rows_of(scope, method, scans, compared, reference_similarity(scope, method))
    if rows:
        scope.run.writer.put_table("randomisation", pd.DataFrame(rows))


def scans_for(scope: TrustScope, method: str) -> pd.DataFrame:
    """Return the rows of scope.scans that a method explains again; fewer, or none, where that takes too long."""
    scans, config, say = scope.scans, scope.run.config, scope.run.progress.say
    if METHODS[method].gradient:
        return scans
    explainer = build_method(method, config, scope.brain, BatchSize(1))
    if config.explain.engine == "dense" or takes_whole_passes(explainer, scope.held_out.network):
        say(f"  {method}: not randomised, occlusions of this network by whole forward passes take too long")
        return scans.iloc[:0]
    if config.grid_mm >= FULL_OCCLUSIONS_FROM_MM or len(scans) <= OCCLUDED_SCANS:
        return scans
    say(f"  {method}: randomised on {OCCLUDED_SCANS} scans, occlusions below {FULL_OCCLUSIONS_FROM_MM} mm take long")
    each = OCCLUDED_SCANS // 2
    return scans.groupby("group", sort=False).head(each).reset_index(drop=True)


def reference_similarity(scope: TrustScope, method: str) -> np.ndarray:
    """Return the (SIMILARITIES,) mean over pairs of maps of different subjects by the network as it was trained.

    PAIRS pairs drawn from all of them, or all where there are fewer; nan where no pair has a similarity.
    """
    pairs = draw_pairs(scope.scans["subject"].tolist(), scope.run.config.seed)
    names, mask = scope.scans["scan"].tolist(), scope.run.mask
    found = [
        similarities(scope.stored_map(method, names[i]), scope.stored_map(method, names[j]), mask) for i, j in pairs
    ]
    return _mean_of_known(np.array(found).reshape(-1, len(SIMILARITIES)))


def draw_pairs(subjects: Sequence[str], seed: int) -> list[tuple[int, int]]:
    """Draw pairs of places of different subjects, none twice, at most PAIRS."""
    pairs = [(i, j) for i, j in itertools.combinations(range(len(subjects)), 2) if subjects[i] != subjects[j]]
    chosen = np.random.default_rng([seed, 14]).permutation(len(pairs))[:PAIRS]
    return [pairs[i] for i in sorted(chosen)]


def _compare_method(
    scope: TrustScope, altered: Altered, method: str, scans: list[str]
) -> dict[tuple[str, int, str], np.ndarray]:
    """Return (kind, step, layer) -> (networks, scans, SIMILARITIES) of one method."""
    compared: dict[tuple[str, int, str], list[np.ndarray]] = {}
    total = len(altered.alterations) * len(scans)
    with scope.run.progress.task(f"randomisation {method}, maps", total) as task:
        for number, alteration in enumerate(altered.alterations, start=1):

            def compare(alteration: Alteration = alteration) -> Rows:
                one, rows = altered.network(alteration), []
                for scan, heatmap in scope.maps(one, method, scans):
                    found = similarities(scope.stored_map(method, scan), heatmap, scope.run.mask)
                    rows.append(dict(zip(SIMILARITIES, found, strict=True)))
                    task.advance()
                return {method: rows}

            part = f"{method}-{alteration.kind}-{alteration.step}-{alteration.number}"
            rows = once(scope.run, "randomisation", part, compare)[method]
            task.advance(number * len(scans) - task.done)  # of an earlier attempt
            key = (alteration.kind, alteration.step, alteration.layer)
            compared.setdefault(key, []).append(pd.DataFrame(rows)[list(SIMILARITIES)].to_numpy())
    return {key: np.array(found) for key, found in compared.items()}


def _rows_of(
    scope: TrustScope,
    method: str,
    scans: pd.DataFrame,
    compared: dict[tuple[str, int, str], np.ndarray],
    reference: np.ndarray,
) -> list[dict]:
    """Return the rows of a method: means over subjects, each with the mean over its scans and networks."""
    analysis, rows = scope.run.config.analysis, []
    for (kind, step, layer), found in compared.items():
        for place, measure in enumerate(SIMILARITIES):
            values = found[:, :, place]
            of_scans = pd.Series(_mean_of_known(values), scans["subject"])
            of_subjects = of_scans.groupby(level=0, sort=False).mean().dropna().to_numpy()[:, None]
            low, high = bootstrap_interval(of_subjects, analysis.bootstrap, scope.run.config.seed)
            rows.append(
                {
                    "model_set": HELD_OUT, "method": method, "target": scope.target, "kind": kind, "step": step,
                    "layer": layer, "measure": measure, "value": of_subjects.mean() if len(of_subjects) else np.nan,
                    "value_low": low[0], "value_high": high[0], "reference": reference[place],
                    "scans": int(of_scans.notna().sum()), "subjects": len(of_subjects),
                    "empty": int(np.isnan(values).sum()),
                }
            )  # fmt: skip
    return rows


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis without nan; nan where nothing is known."""
    known = np.isfinite(values)
    total, count = np.where(known, values, 0).sum(axis=0), known.sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
