"""Do heatmaps stay when the network is trained again, or the scan changes a little.

Tables stability, stability_scans, stability_pairs, arrays agreement/*. See docs/definitions.md, Stability, Agreement of
networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from itertools import combinations

import numpy as np
import pandas as pd

from engine.analysis.cells import scan_weights
from engine.analysis.stability import (
    MEASURES,
    GroupMeans,
    MapComparer,
    People,
    ScanAgreement,
    known_mean,
    networks_in_agreement,
    scan_interval,
    scan_mean,
)
from engine.images.grid import Grid
from engine.pipeline.explain import build_method, takes_whole_passes
from engine.pipeline.explain_again import explain_again
from engine.pipeline.trust.changed_scans import CHANGES, SHIFT, ChangedScans, comparable
from engine.pipeline.trust.parts import Rows, once
from engine.pipeline.trust.scope import ALL, HELD_OUT, TrustScope
from engine.relevance import METHODS, BatchSize
from store.files.encoding import array_path
from store.measures import draw_subjects
from store.spec import AGREEMENT

RETRAINED = "retrained"
GROUP_RESAMPLES = 100  # a resample costs the averages of all networks
UNTRAINED = 3  # networks whose group averages are the reference
UNTRAINED_OCCLUSIONS = 2  # where a method occludes
OCCLUSIONS_FROM_MM = 3  # finer, they take too long for a reference


def write_stability(scope: TrustScope) -> None:
    """Write the tables and the maps of agreement; what is done of a method is not done again."""
    found: Rows = {}
    for method in scope.methods:
        parts = {RETRAINED: partial(_of_networks, scope, method)} if scope.retrained else {}
        if not scope.scans.empty:
            parts |= {change: partial(_of_change, scope, method, change) for change in CHANGES}
        for change, make in parts.items():
            for table, rows in once(scope.run, "stability", f"{method}.{change}", make).items():
                found.setdefault(table, []).extend(rows)
    for table, rows in found.items():
        scope.run.writer.put_table(table, pd.DataFrame(rows))


def _of_networks(scope: TrustScope, method: str) -> Rows:
    """Compare the maps of all tested scans by the held-out network and those trained again."""
    models = [HELD_OUT, *(job.model for job in scope.retrained)]
    compared = Comparison(scope, method, RETRAINED, scope.tested, len(models), scope.run.mask)
    with scope.run.progress.task(f"stability of {method}, trained again", len(scope.tested)) as task:
        for place in compared.order:
            scan = compared.scan(place)
            compared.add(place, [scope.stored_map(method, scan, model) for model in models])
            task.advance()
    _write_agreement(scope, method, compared.averages)
    rows = compared.rows(_untrained_reference(scope, method))
    rows["stability_pairs"] = compared.pair_rows(models)
    return rows


def _of_change(scope: TrustScope, method: str, change: str) -> Rows:
    """Compare the maps of some scans with those of the same scans after a small change, by the held-out network."""
    scans, changed = scope.scans, ChangedScans(scope.run, change)
    # Regions stay where they are when a scan is moved, and so does their relevance.
    moved = change == SHIFT and METHODS[method].native_grid != "regions"
    inside = comparable(scope.run.mask) if moved else scope.run.mask
    compared = Comparison(scope, method, change, scans, 2, inside)
    names = [compared.scan(place) for place in compared.order]
    maps = explain_again(scope.run, scope.held_out, method, names, read=changed.read)
    with scope.run.progress.task(f"stability of {method}, {change}", len(names)) as task:
        for place, (scan, heatmap) in zip(compared.order, maps, strict=True):
            own = changed.undo(scan, heatmap) if moved else heatmap
            compared.add(place, [scope.stored_map(method, scan), own])
            task.advance()
    return compared.rows({})


class Comparison:
    """Versions of the maps of some scans, gathered scan by scan, and what is written of them.

    Args:
        scans: rows of the predictions table.
        versions: maps of each scan.
        inside: (x, y, z) bool, the voxels that are compared.
    """

    def __init__(
        self, scope: TrustScope, method: str, change: str, scans: pd.DataFrame, versions: int, inside: np.ndarray
    ) -> None:
        self._scope, self._change, self._scans, self._versions = scope, change, scans, versions
        self._method, self._inside = method, inside
        self._comparer = MapComparer(scope.run.atlas.labels[inside], scope.run.atlas.count)
        self._people = people_of(scope, scans)
        self._agreement = ScanAgreement(self._people, versions)
        self.averages = GroupMeans(self._comparer, self._people, versions)

    @cached_property
    def order(self) -> list[int]:
        """Return the places of the scans in random order, so that one is beside any other."""
        return np.random.default_rng([self._scope.run.config.seed, 13]).permutation(len(self._scans)).tolist()

    def scan(self, place: int) -> str:
        """Return the name of a scan."""
        return str(self._scans["scan"].iloc[place])

    def add(self, place: int, maps: Sequence[np.ndarray]) -> None:
        """Add the signed maps (x, y, z) of a scan."""
        traits = []
        for version, heatmap in enumerate(maps):
            signed = heatmap[self._inside]
            relevance = self._scope.relevance(self._method, signed)
            traits.append(self._comparer.traits(signed, relevance))
            self.averages.add(place, version, signed, relevance)
        self._agreement.add(place, traits)

    def rows(self, group_reference: dict[str, np.ndarray]) -> Rows:
        """Return the rows of stability and stability_scans.

        Args:
            group_reference: diagnosis -> (MEASURES,) between group averages of untrained networks.
        """
        found: Rows = {"stability": [], "stability_scans": []}
        of_scans = known_mean(self._agreement.pairs.transpose(1, 0, 2))
        for scan, values in zip(self._scans["scan"], of_scans, strict=True):
            found["stability_scans"] += self._rows({"change": self._change, "scan": scan}, value=values)
        for diagnosis, group in _groups(self._scope):
            chosen = self._people.within(group)
            people, config = self._people.of(chosen), self._scope.run.config
            if not chosen.any():
                continue
            draws = draw_subjects(people.count, config.analysis.bootstrap, config.seed)
            value = scan_mean(of_scans[chosen], people)
            low, high = scan_interval(of_scans[chosen], people, draws)
            counts = {
                "networks": 1 if self._change != RETRAINED else self._versions,
                "scans": int(chosen.sum()),
                "subjects": people.count,
            }
            key = {"change": self._change, "diagnosis": diagnosis}
            others = self._agreement.others(group)
            found["stability"] += self._rows(
                {**key, "level": "scan", **counts}, value=value, value_low=low, value_high=high, reference=others
            )
            value = known_mean(self.averages.pairs(group))
            low, high = self.averages.interval(group, draws[:GROUP_RESAMPLES])
            reference = group_reference.get(diagnosis, np.full(len(MEASURES), np.nan))
            found["stability"] += self._rows(
                {**key, "level": "group", **counts}, value=value, value_low=low, value_high=high, reference=reference
            )
        return found

    def pair_rows(self, models: Sequence[str]) -> list[dict]:
        """Return the rows of stability_pairs."""
        rows = []
        for diagnosis, group in _groups(self._scope):
            chosen = self._people.within(group)
            people = self._people.of(chosen)
            for number, (first, second) in enumerate(combinations(models, 2)):
                values = scan_mean(self._agreement.pairs[chosen, number], people)
                rows += self._rows({"diagnosis": diagnosis, "model_a": first, "model_b": second}, value=values)
        return rows

    def _rows(self, key: dict, **columns: np.ndarray) -> list[dict]:
        """Return a row for each measure, from (MEASURES,) columns."""
        own = {"model_set": HELD_OUT, "method": self._method, "target": self._scope.target, **key}
        return [
            {**own, "measure": measure, **{name: float(values[number]) for name, values in columns.items()}}
            for number, measure in enumerate(MEASURES)
        ]


def people_of(scope: TrustScope, scans: pd.DataFrame) -> People:
    """Return whose scans some rows of the predictions table are, weighted as in all averages of the run."""
    weights = scan_weights(scans, scope.run.config.analysis.weights)
    of_rows = [weights[row] for row in zip(scans["model"], scans["scan"], strict=True)]
    numbers = pd.factorize(scans["subject"])[0]
    return People(numbers, np.array(of_rows, float), scans["diagnosis"].to_numpy(object))


def _groups(scope: TrustScope) -> Iterator[tuple[str, str | None]]:
    """Yield each diagnosis as tables name it, and as the analysis does: None for all together."""
    for diagnosis in scope.diagnoses:
        yield diagnosis, None if diagnosis == ALL else diagnosis


def _untrained_reference(scope: TrustScope, method: str) -> dict[str, np.ndarray]:
    """Return the agreement of group averages of untrained networks on some scans; none where it takes too long."""
    count = _untrained_networks(scope, method)
    if not count or scope.scans.empty:
        return {}
    comparer = MapComparer(scope.run.atlas.labels[scope.run.mask], scope.run.atlas.count)
    means = GroupMeans(comparer, people_of(scope, scope.scans), count)
    names = scope.scans["scan"].tolist()
    with scope.run.progress.task(f"stability of {method}, untrained", count * len(names)) as task:
        for version in range(count):
            for place, (_, heatmap) in enumerate(scope.maps(scope.untrained(version), method, names)):
                signed = heatmap[scope.run.mask]
                means.add(place, version, signed, scope.relevance(method, signed))
                task.advance()
    return {diagnosis: known_mean(means.pairs(group)) for diagnosis, group in _groups(scope)}


def _untrained_networks(scope: TrustScope, method: str) -> int:
    """Return how many untrained networks are explained; 0 of an imported network, and where it takes too long."""
    run, job = scope.run, scope.job
    assert job is not None
    if not job.train:
        return 0
    if METHODS[method].gradient:
        return UNTRAINED
    explainer = build_method(method, run.config, scope.brain, BatchSize(1))
    whole = takes_whole_passes(explainer, scope.held_out.network)
    return 0 if whole or run.config.grid_mm < OCCLUSIONS_FROM_MM else UNTRAINED_OCCLUSIONS


def _write_agreement(scope: TrustScope, method: str, averages: GroupMeans) -> None:
    """Write where the networks agree on the average of each diagnosis."""
    run = scope.run
    for diagnosis in scope.diagnoses[:-1]:
        values = np.zeros((2, *run.mask.shape), np.float32)
        values[:, run.mask] = networks_in_agreement(averages.average(diagnosis)[0])
        path = array_path(AGREEMENT, method=method, target=scope.target, diagnosis=diagnosis)
        run.writer.put_array(
            path, values, affine=Grid(run.config.grid_mm).affine, unit="share of the relevance in the brain; share"
        )
