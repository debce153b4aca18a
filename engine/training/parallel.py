"""All networks of a run: one after the other on a GPU, several at once on the CPU where memory allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from engine import parallel
from engine.cohort.splits import Job
from engine.config.schema import TrainingConfig
from engine.errors import RunError
from engine.networks.architectures import architecture
from engine.networks.cnn3d import parameter_count
from engine.networks.device import make_deterministic, trainings_that_fit
from engine.training.checkpoints import pack_model
from engine.training.objective import Objective
from engine.training.trainer import Trainer, TrainingSetup, predict_margins
from engine.training.volumes import STREAMED, Volumes

EPOCH = "epoch done"
WORTH_VOXELS = 3e8  # seen in all epochs; below it, starting processes takes longer than they save


@dataclass(frozen=True)
class PackedNetwork:
    """A trained network as it goes from the training into the run.

    Attributes:
        weights: with its normalisation, as safetensors.
        curve: rows of the training table, less the model.
        margin: (n,) float64 of the positive group, for job.explain.
        objective: what it has learned, as fitted to its training scans.
    """

    job: Job
    weights: bytes
    parameters: int
    curve: list[dict]
    margin: np.ndarray
    objective: Objective


def train_all(
    jobs: Sequence[Job], setup: TrainingSetup, on_epoch: Callable[[], None], say: Callable[[str], None]
) -> list[PackedNetwork]:
    """Train every network, in the order of the jobs; each goes on from its checkpoint.

    The CPU's cores serve networks of small volumes better one by one than all together.

    Raises:
        RunError: a training process ended, for example for want of memory.
    """
    processes = processes_for(jobs, setup.config, setup.mask.size, setup.device.type)
    if processes > 1:
        threads = max(1, torch.get_num_threads() // processes)
        setup = replace(setup, threads=threads, share=1 / processes)

    def heard(message: str) -> None:
        on_epoch() if message == EPOCH else say(message)

    try:
        trainings = parallel.run(partial(train_one, setup), jobs, processes, heard)
        with closing(trainings) as results:  # type: ignore[type-var]  # a generator
            trained = {one.job.model: one for one in results}
    except parallel.WorkerDiedError as died:
        raise RunError(
            f"a training process ended (code {died.exit_code}); finished epochs are kept, the same command goes on. "
            "If memory ran out: --set training.processes=1 or a coarser grid_mm"
        ) from None
    return [trained[job.model] for job in jobs]


def processes_for(jobs: Sequence[Job], config: TrainingConfig, voxels: int, device: str) -> int:
    """Return how many networks are trained at once.

    Args:
        voxels: of a volume.
        device: cpu or cuda.
    """
    if device != "cpu" or not jobs:
        return 1
    fit = trainings_that_fit(config.batch_size * voxels * architecture(config.network).footprint)
    worth = config.epochs * sum(len(job.train) for job in jobs) * voxels > WORTH_VOXELS
    return min(len(jobs), config.processes or (min(torch.get_num_threads(), fit) if worth else 1))


def train_one(setup: TrainingSetup, job: Job) -> PackedNetwork:
    """Train one network, from its checkpoint on, and let it predict; in a worker, tell the run of the progress."""
    if setup.threads is not None:
        torch.set_num_threads(setup.threads)
    make_deterministic(setup.device)
    trained = Trainer(setup, job, on_epoch=partial(parallel.tell, EPOCH), say=parallel.tell).train()
    volumes = Volumes(setup.read, job.explain, trained.normalisation, setup.device, STREAMED)
    margin = predict_margins(trained.network, volumes, job.explain)
    packed = PackedNetwork(
        job, pack_model(trained.network, trained.normalisation), parameter_count(trained.network), trained.curve,
        margin, trained.objective,
    )  # fmt: skip
    del trained, volumes
    if setup.device.type == "cuda":
        torch.cuda.empty_cache()
    return packed
