"""Does deleting what a heatmap marks change the decision: deletion, insertion, and marks beside the known truth.

See docs/definitions.md, Trust, Faithfulness. Each heatmap's own order of voxels and regions stands beside three others:
by chance, by how the groups of the training scans differ, and by the same method's map of an untrained network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from engine.analysis.faithfulness import DIRECTIONS, FRACTIONS, UNITS, mean_over_subjects
from engine.pipeline.run import Run
from engine.pipeline.trust.false_positives import false_positive_rows
from engine.pipeline.trust.replaced import Curves, MapOfUnits, ReplacedScans
from engine.pipeline.trust.scope import HELD_OUT, TrustScope
from engine.pipeline.truth_references import too_slow
from engine.pipeline.truth_scores import group_differences

RANDOM_DRAWS = 3  # of each scan; the mean over scans has many more
ALL = "all"


def write_faithfulness(scope: TrustScope) -> None:
    """Write the tables of faithfulness and, of simulated runs, false_positives."""
    if scope.scans.empty:
        return
    rows: list[dict] = []
    curves: list[dict] = []
    of_scans: list[dict] = []
    for method, orders in measured_orders(scope):
        summary, own_curves = summarise(scope.run, scope.scans, orders)
        key = {"model_set": HELD_OUT, "method": method, "target": scope.target}
        rows += [{**key, **row} for row in summary]
        curves += [{**key, **row} for row in own_curves]
        of_scans += [{**key, **row} for row in _scan_rows(scope.scans["scan"].tolist(), orders)]
    put = scope.run.writer.put_table
    put("faithfulness", pd.DataFrame(rows))
    put("faithfulness_curves", pd.DataFrame(curves))
    put("faithfulness_scans", pd.DataFrame(of_scans))
    if found := false_positive_rows(scope):
        put("false_positives", pd.DataFrame(found))


# -- orders -----------------------------------------------------------------------------------------------------------


def measured_orders(scope: TrustScope) -> Iterator[tuple[str, dict[str, Curves]]]:
    """Measure (method, order -> curves of the scans), the order method first; orders that there are not are left out.

    Every order of every method is kept as it is done, so that an interrupted run goes on with the next.
    """
    replaced = ReplacedScans(scope)
    orders = _Orders(scope, replaced)
    shared = ["random", *(["group_difference"] if orders.has_training else [])]
    own = {method: ["method", *(["untrained"] if orders.has_untrained(method) else [])] for method in scope.methods}
    total = len(replaced.usable) * (len(shared) + sum(map(len, own.values())))
    with scope.run.progress.task("faithfulness, orders of scans", total) as task:

        def curves_of(order: str, method: str = "") -> Curves:
            part = f"{order}-{method}" if method else order
            if (known := replaced.known(part)) is not None:
                task.advance(len(replaced.usable))
                return known
            return replaced.measure(part, orders.relevance(order, method), task.advance)

        of_all = {order: curves_of(order) for order in shared}
        for method, names in own.items():
            found = {name: curves_of(name, method) for name in names}
            yield method, {"method": found.pop("method"), **of_all, **found}


class _Orders:
    """The maps whose largest values are replaced first, of each usable scan."""

    def __init__(self, scope: TrustScope, replaced: ReplacedScans) -> None:
        self._scope, self._replaced, self._run = scope, replaced, scope.run
        assert scope.job is not None
        self.has_training = bool(scope.job.train)  # of an imported network it is not known who was trained on

    def has_untrained(self, method: str) -> bool:
        """Return whether an untrained network explains the scans by a method, which takes too long for some."""
        return self.has_training and not too_slow(self._run, method, self._scope.held_out.network)

    def relevance(self, order: str, method: str) -> Iterator[Sequence[MapOfUnits]]:
        """Return the maps of an order for each usable scan."""
        if order == "random":
            return self._random()
        if order == "group_difference":
            difference = group_differences(self._run, [HELD_OUT])[HELD_OUT][self._run.mask]
            return ([(difference, difference)] for _ in self._replaced.usable)
        return self._of_method(method, untrained=order == "untrained")

    def _random(self) -> Iterator[Sequence[MapOfUnits]]:
        labels = self._run.atlas.labels[self._run.mask]
        for scan in self._replaced.usable:
            rng = np.random.default_rng([self._run.config.seed, 14, self._replaced.scans.index(scan)])
            # A number each for regions, too: means of voxels' would put large regions in the middle.
            yield [(rng.random(labels.max() + 1)[labels], rng.random(len(labels))) for _ in range(RANDOM_DRAWS)]

    def _of_method(self, method: str, untrained: bool) -> Iterator[Sequence[MapOfUnits]]:
        scope, usable = self._scope, self._replaced.usable
        if untrained:
            maps = scope.maps(scope.untrained(0), method, usable)
        else:
            maps = ((scan, scope.stored_map(method, scan)) for scan in usable)
        for scan, heatmap in maps:
            relevance = scope.relevance(method, self._replaced.direction[scan] * heatmap)[self._run.mask]
            yield [(relevance, relevance)]


# -- tables -----------------------------------------------------------------------------------------------------------


def summarise(run: Run, scans: pd.DataFrame, orders: dict[str, Curves]) -> tuple[list[dict], list[dict]]:
    """Return the rows of faithfulness and of faithfulness_curves of a method.

    Args:
        scans: rows of the predictions table, in the order of the curves.
        orders: name -> curves; the order method is that of the heatmap.
    """
    subjects, analysis = scans["subject"].to_numpy(), run.config.analysis
    rows, curves = [], []
    for diagnosis in (*scans["diagnosis"].drop_duplicates(), ALL):
        of_diagnosis = ((scans["diagnosis"] == diagnosis) | (diagnosis == ALL)).to_numpy()
        for at in np.ndindex(len(UNITS), len(DIRECTIONS)):
            own = orders["method"].areas[:, *at]
            for order, found in orders.items():
                area = found.areas[:, *at]
                used = of_diagnosis & np.isfinite(own) & np.isfinite(area)
                gain = area - own if DIRECTIONS[at[1]] == "deletion" else own - area
                values = np.column_stack([area, gain, found.curves[:, *at]])[used]
                mean = mean_over_subjects(values, subjects[used], analysis.bootstrap, run.config.seed)
                key = {"diagnosis": diagnosis, "unit": UNITS[at[0]], "direction": DIRECTIONS[at[1]], "order": order}
                counts = {"scans": int(used.sum()), "subjects": len(set(subjects[used]))}
                area_of, gain_of, *margins = zip(mean.value, mean.low, mean.high, strict=True)
                rows.append(
                    key
                    | dict(zip(("area", "area_low", "area_high"), area_of, strict=True))
                    | dict(zip(("gain", "gain_low", "gain_high"), gain_of, strict=True))
                    | counts
                    | {"left_out": int((of_diagnosis & ~used).sum())}
                )
                for step, (fraction, margin) in enumerate(zip(FRACTIONS, margins, strict=True)):
                    of_step = dict(zip(("margin", "margin_low", "margin_high"), margin, strict=True))
                    curves.append(key | {"step": step, "fraction": fraction, "scans": counts["scans"]} | of_step)
    return rows, curves


def _scan_rows(scans: Sequence[str], orders: dict[str, Curves]) -> list[dict]:
    """Return the rows of faithfulness_scans of a method."""
    return [
        {"scan": scan, "unit": unit, "direction": direction, "order": order, "area": found.areas[row, u, d]}
        for order, found in orders.items()
        for row, scan in enumerate(scans)
        for u, unit in enumerate(UNITS)
        for d, direction in enumerate(DIRECTIONS)
    ]
