"""All networks of a run: one a GPU, several at once on the CPU where memory allows, or all at once on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

from engine.cohort.splits import Job
from engine.config.schema import TrainingConfig
from engine.errors import RunError
from engine.networks.architectures import architecture
from engine.networks.card_check import check_card
from engine.networks.cnn3d import parameter_count
from engine.networks.device import choose_device, make_deterministic, trainings_that_fit
from engine.parallel import Engine, LocalEngine, Work, WorkerDiedError, tell
from engine.training.checkpoints import pack_model, sites_card
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
        sites: what its card says of the sites whose effects are taken out.
    """

    job: Job
    weights: bytes
    parameters: int
    curve: list[dict]
    margin: np.ndarray
    objective: Objective
    sites: dict = field(default_factory=dict)

    @property
    def card(self) -> dict:
        """Return what the model card has of this network alone."""
        return self.objective.card() | self.sites


@dataclass(frozen=True)
class Training:
    """How networks are trained together.

    Attributes:
        on_epoch: called after each epoch of each.
        say: given sentences for the user.
        engine: where they are trained.
        label: what kind of networks, in one word.
    """

    on_epoch: Callable[[], None]
    say: Callable[[str], None]
    engine: Engine = field(default_factory=LocalEngine)
    label: str = "train"


def train_all(jobs: Sequence[Job], setup: TrainingSetup, training: Training) -> list[PackedNetwork]:
    """Train every network, in the order of the jobs; each goes on from its checkpoint.

    The CPU's cores serve networks of small volumes better one by one than all together. On a cluster each network has
    as many threads as it would have here, so that it is the same.

    Raises:
        RunError: a training process ended, for example for want of memory.
        TasksFailedError: networks that a cluster failed to train in every attempt.
    """
    processes = processes_for(jobs, setup.config, setup.mask.size, setup.device.type)
    threads = max(1, torch.get_num_threads() // processes)
    if processes > 1:
        setup = replace(setup, threads=threads, share=1 / processes)
    if setup.device.type == "cuda":
        processes = min(len(jobs), training.engine.places("cuda"))

    def heard(message: str) -> None:
        training.on_epoch() if message == EPOCH else training.say(message)

    names, gpu = [job.model for job in jobs], setup.device.type == "cuda"
    function = partial(train_elsewhere if training.engine.remote else train_one, setup)
    work = Work(training.label, function, jobs, names, threads, processes, gpu)
    try:
        with closing(training.engine.run(work, heard)) as results:
            trained = {one.job.model: one for one in results}
    except WorkerDiedError as died:
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


def train_elsewhere(setup: TrainingSetup, job: Job) -> PackedNetwork:
    """Train one network on a machine whose card nobody has looked at yet."""
    check_card(choose_device(setup.device.type), setup.config.precision, tell)
    return train_one(setup, job)


def train_one(setup: TrainingSetup, job: Job) -> PackedNetwork:
    """Train one network, from its checkpoint on, and let it predict; in a worker, tell the run of the progress."""
    before = torch.get_num_threads()
    if setup.threads is not None:
        torch.set_num_threads(setup.threads)
    try:
        make_deterministic(setup.device)
        trained = Trainer(setup, job, on_epoch=partial(tell, EPOCH), say=tell).train()
        volumes = Volumes(setup.read, job.explain, trained.normalisation, setup.device, STREAMED)
        margin = predict_margins(trained.network, volumes, job.explain)
    finally:
        torch.set_num_threads(before)
    packed = PackedNetwork(
        job, pack_model(trained.network, trained.normalisation), parameter_count(trained.network), trained.curve,
        margin, trained.objective, sites_card(trained.normalisation),
    )  # fmt: skip
    del trained, volumes
    if setup.device.type == "cuda":
        torch.cuda.empty_cache()
    return packed
