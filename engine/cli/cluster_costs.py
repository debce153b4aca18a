"""What a cluster would be handed: tasks, hours and storage, from the costs of the run; nothing is computed."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch

from engine.cli.costs import Estimate, seconds_of_a_scan
from engine.cli.network_costs import TWO_MAPS, methods_of
from engine.config.cluster_schema import LOCAL, SLURM, minutes_of
from engine.images.grid import Grid
from engine.parallel.dask import workers_here
from engine.pipeline.explain import CHUNK
from engine.pipeline.inputs import preparer_for
from engine.pipeline.run import Run
from store.words import duration

PICKLED_BYTES = 2000  # of a task, for each scan of the cohort: its row of the tables; and a byte a voxel, of the mask
START_S = 10.0  # of a task, to load what it needs from a shared file system
PRECISION = 2  # decimals of hours in JSON


@dataclass(frozen=True)
class Share:
    """What a stage hands to a cluster.

    Attributes:
        stage: of the job.
        what: a unit for people, in the plural.
        units: how many.
        tasks: that they come in.
        seconds: of computing, of all units together.
    """

    stage: str
    what: str
    units: int
    tasks: int
    seconds: float

    @property
    def task_seconds(self) -> float:
        """Of one task."""
        return START_S + self.seconds / self.tasks


def shares_of(run: Run, estimate: Estimate) -> list[Share]:
    """Return what each stage hands to the cluster; stages that the driver takes itself are not among them."""
    config, jobs, scans = run.config, run.jobs, len(run.cohort.scans)
    size = max(1, config.cluster.block_scans // CHUNK) * CHUNK
    blocks = sum(
        -(-len(job.explain) // size) * sum(1 + (name in TWO_MAPS) for name in methods_of(config, job)) for job in jobs
    )
    seconds = estimate.seconds
    preparer, _ = preparer_for(config, run.store)
    found = (
        [] if getattr(preparer, "quick", False) else [("preprocess", "scans", scans, seconds_of_a_scan(config) * scans)]
    )
    if run.networks_from == "train":
        found.append(("train", "networks", len(jobs), seconds["train"]))
    found.append(("explain", f"blocks of at most {size} scans", blocks, seconds["explain"]))
    found.append(("compare", "sets of tables", 2, seconds["aggregate and compare"]))
    if run.last_stage == "trust":
        found.append(("trust", "measures", len(config.trust.measures), seconds["trust"]))
    most = config.cluster.tasks
    return [Share(stage, what, units, min(units, most), cost) for stage, what, units, cost in found if units]


def cluster_lines(run: Run, estimate: Estimate) -> list[str]:
    """Put what a cluster would be handed into words; nothing where this machine computes alone."""
    cluster = run.config.cluster
    if cluster.engine == LOCAL:
        return []
    shares = shares_of(run, estimate)
    lines = [
        f"    {share.stage}: {share.units} {share.what} in {share.tasks} task{'s' * (share.tasks > 1)} of about "
        f"{duration(share.task_seconds)}" for share in shares
    ]  # fmt: skip
    tasks, hours = sum(share.tasks for share in shares), sum(share.seconds for share in shares) / 3600
    kind, soonest = "GPU" if run.device == "cuda" else "task", duration(_soonest(run, estimate, shares))
    summed = (
        f"  by {cluster.in_words}: {tasks} tasks, about {hours:.3g} {kind} hours in all; at the soonest about "
        f"{soonest} with {_at_once(run) or 'a worker for each'}{' at once' if _at_once(run) else ''}"
    )
    pickled = _pickled_mib(run, shares)
    storage = (
        f"    shared folder: about {estimate.disk_mib + pickled:.0f} MiB, of which {pickled:.0f} MiB for the cluster, "
        "until the run is published"
    )
    return [summed, *lines, *_over_walltime(run, shares), storage]


def cluster_plan(run: Run, estimate: Estimate) -> dict[str, Any]:
    """Return the same for other programs."""
    cluster, shares = run.config.cluster, shares_of(run, estimate)
    if cluster.engine == LOCAL:
        return {"engine": LOCAL}
    return {
        "engine": cluster.engine,
        "tasks": sum(share.tasks for share in shares),
        "hours": round(sum(share.seconds for share in shares) / 3600, PRECISION),
        "soonest_seconds": _soonest(run, estimate, shares),
        "shared_mib": estimate.disk_mib + _pickled_mib(run, shares),
        "shares": [asdict(share) for share in shares],
    }


def _pickled_mib(run: Run, shares: list[Share]) -> float:
    """Return what tasks take in the private folder, MiB; those that prepare scans know of no others."""
    tasks = sum(share.tasks for share in shares if share.stage != "preprocess")
    return tasks * (math.prod(Grid(run.config.grid_mm).shape) + PICKLED_BYTES * len(run.cohort.scans)) / 2**20


def _soonest(run: Run, estimate: Estimate, shares: list[Share]) -> float:
    """Return the seconds that a run takes at least: tasks of a stage at once, and what the driver does itself."""
    handed = {share.stage for share in shares}
    waves = sum(-(-share.tasks // (_at_once(run) or share.tasks)) * share.task_seconds for share in shares)
    own = estimate.seconds["preprocess"] if "preprocess" not in handed else 0.0
    return waves + own


def _at_once(run: Run) -> int | None:
    """Return how many tasks are computed at once; None: as many as a scheduler has workers."""
    cluster = run.config.cluster
    if cluster.engine == SLURM:
        return cluster.at_once
    return None if cluster.scheduler else workers_here(cluster, torch.get_num_threads(), run.device)


def _over_walltime(run: Run, shares: list[Share]) -> list[str]:
    cluster = run.config.cluster
    if cluster.engine != SLURM:
        return []
    limit = minutes_of(cluster.walltime) * 60
    longer = [share.stage for share in shares if share.task_seconds > limit]
    if not longer:
        return []
    return [
        f"    longer than cluster.walltime ({cluster.walltime}): tasks of {', '.join(longer)}; they are put back into "
        "the queue and go on from what is done"
    ]
