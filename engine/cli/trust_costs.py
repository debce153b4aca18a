"""About how long the stage trust takes: a function for each measure, in MEASURE_COSTS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from engine.analysis.faithfulness import DIRECTIONS, FRACTIONS
from engine.cli.network_costs import PATCHED, SEGMENTING_S, NetworkCost, method_passes, methods_of, training_step
from engine.cohort.splits import Job
from engine.networks.architectures import build_network
from engine.networks.cascade import layers_from_output
from engine.pipeline.run import Run
from engine.pipeline.trust.changed_scans import CHANGES
from engine.pipeline.trust.faithfulness import RANDOM_DRAWS
from engine.pipeline.trust.randomisation import FULL_OCCLUSIONS_FROM_MM, OCCLUDED_SCANS, PAIRS
from engine.pipeline.trust.scope import HELD_OUT
from engine.pipeline.trust.stability import OCCLUSIONS_FROM_MM, UNTRAINED, UNTRAINED_OCCLUSIONS
from engine.training.imported import skeleton

COMPARE_S = {1: 1.5, 2: 0.15, 3: 0.04, 4: 0.02}  # two maps: rank correlations and structural similarity, on the CPU


@dataclass(frozen=True)
class MeasureCost:
    """What a measure of trust costs: forward passes, and seconds on the CPU that no network takes."""

    passes: float = 0.0
    seconds: float = 0.0


def trust_seconds(run: Run, cost: NetworkCost, forward: float) -> float:
    """Estimate the seconds of the stage trust of a run whose cohort is read and split.

    Networks that are trained again are in the stages train and explain: they are among run.jobs.

    Args:
        forward: seconds of a forward pass of the network of Rieke et al. 2018 on the run's device.
    """
    job = next((job for job in run.jobs if job.model == HELD_OUT), None)
    if job is None or run.cohort.target:
        return 0.0
    asked = [MEASURE_COSTS[name](run, job, cost) for name in run.config.trust.measures if name in MEASURE_COSTS]
    return sum(measure.passes * forward + measure.seconds for measure in asked)


def randomisation_cost(run: Run, job: Job, cost: NetworkCost) -> MeasureCost:
    """Estimate the cost of drawing layers anew and of networks on shuffled labels: pipeline/trust/randomisation.py."""
    config, passes, seconds = run.config, 0.0, 0.0
    shuffled = config.trust.shuffled_networks if job.train else 0
    alterations = _layer_count(run) + shuffled
    scans = min(config.trust.scans, len(job.test))
    whole_passes = config.explain.engine == "dense" or cost.wider is None
    for method in methods_of(config, job):
        explained = scans
        if method in PATCHED:
            fine = config.grid_mm < FULL_OCCLUSIONS_FROM_MM
            explained = 0 if whole_passes else min(scans, OCCLUDED_SCANS) if fine else scans
        passes += alterations * explained * method_passes(config, cost, method)
        pairs = min(PAIRS, scans * (scans - 1) // 2) if explained else 0
        seconds += (alterations * explained + pairs) * COMPARE_S[config.grid_mm]
        if method == "segment_occlusion":
            seconds += alterations * explained * SEGMENTING_S[config.grid_mm]
    step = training_step(cost, config.grid_mm, run.device)
    return MeasureCost(passes + shuffled * len(job.train) * step * config.training.epochs, seconds)


def stability_cost(run: Run, job: Job, cost: NetworkCost) -> MeasureCost:
    """Estimate the cost of maps of changed scans and by untrained networks: pipeline/trust/stability.py."""
    config, passes, seconds = run.config, 0.0, 0.0
    scans, networks = min(config.trust.scans, len(job.test)), 1 + config.trust.networks
    whole_passes = config.explain.engine == "dense" or cost.wider is None
    for method in methods_of(config, job):
        untrained = UNTRAINED
        if method in PATCHED:
            untrained = 0 if whole_passes or config.grid_mm < OCCLUSIONS_FROM_MM else UNTRAINED_OCCLUSIONS
        again = len(CHANGES) + (untrained if job.train and config.trust.networks else 0)
        passes += again * scans * method_passes(config, cost, method)
        stored = networks * len(job.test) if config.trust.networks else 0
        seconds += (stored + 2 * len(CHANGES) * scans) * COMPARE_S[config.grid_mm]
        if method == "segment_occlusion":
            seconds += again * scans * SEGMENTING_S[config.grid_mm]
    return MeasureCost(passes, seconds)


def faithfulness_cost(run: Run, job: Job, cost: NetworkCost) -> MeasureCost:
    """Estimate the cost of replacing parts of scans: pipeline/trust/replaced.py and false_positives.py."""
    config = run.config
    scans, methods = min(config.trust.scans, len(job.test)), methods_of(config, job)
    local = config.explain.engine == "incremental" and cost.wider is not None
    # Regions one after the other cost what occluding each of them does.
    an_order = len(DIRECTIONS) * (method_passes(config, cost, "area_occlusion") + len(FRACTIONS))
    orders, passes = len(methods), 0.0
    if job.train:
        orders += 1
        for method in methods:
            slow = method in PATCHED and (config.grid_mm < OCCLUSIONS_FROM_MM or not local)
            orders += not slow
            passes += 0 if slow else method_passes(config, cost, method)
    passes += (orders + RANDOM_DRAWS) * an_order + 3 * len(methods)
    return MeasureCost(scans * passes)


def _layer_count(run: Run) -> int:
    """Count the layers that are drawn anew one after the other."""
    with torch.device("meta"):
        imported, config = run.config.imported, run.config
        network = skeleton(imported.card) if imported else build_network(config.grid_mm, name=config.training.network)
    return len(layers_from_output(network))


# What trust.measures may name -> its cost; a measure that takes seconds has none.
MEASURE_COSTS: dict[str, Callable[[Run, Job, NetworkCost], MeasureCost]] = {
    "randomisation": randomisation_cost,
    "faithfulness": faithfulness_cost,
    "stability": stability_cost,
}
