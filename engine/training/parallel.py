"""All networks of a run: one after the other on a GPU, several at once on the CPU where memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from engine import parallel
from engine.cohort.splits import Job
from engine.config.schema import TrainingConfig
from engine.errors import RunFailure
from engine.networks.architectures import architecture
from engine.networks.cnn3d import parameter_count
from engine.networks.device import make_deterministic, trainings_that_fit
from engine.preprocessing.volume_cache import VolumeCache
from engine.training.checkpoints import pack_model
from engine.training.objective import Objective
from engine.training.trainer import predict_margins, train
from engine.training.volumes import Volumes

EPOCH = "epoch done"
WORTH_VOXELS = 3e8  # seen in all epochs; below it, starting processes takes longer than they save


@dataclass(frozen=True)
class Course:
    """What all networks of a run are trained with.

    Attributes:
        objective: what they learn.
        mask: (x, y, z) bool brain mask on the working grid.
        folder: of the checkpoints.
        threads: of the CPU for each network; None: as torch has it.
        share: of the memory for resident volumes.
    """

    objective: Objective
    cache: VolumeCache
    mask: np.ndarray
    grid_mm: int
    config: TrainingConfig
    device: torch.device
    folder: Path
    threads: int | None = None
    share: float = 1.0


@dataclass(frozen=True)
class Learnt:
    """A trained network.

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
    jobs: Sequence[Job], course: Course, on_epoch: Callable[[], None], say: Callable[[str], None]
) -> list[Learnt]:
    """Every network, in the order of the jobs; each goes on from its checkpoint.

    The CPU's cores serve networks of small volumes better one by one than all together.

    Raises:
        RunFailure: a training process ended, for example for want of memory.
    """
    processes = processes_for(jobs, course.config, course.mask.size, course.device.type)
    if processes > 1:
        threads = max(1, torch.get_num_threads() // processes)
        course = replace(course, threads=threads, share=1 / processes)

    def heard(message: str) -> None:
        on_epoch() if message == EPOCH else say(message)

    results: Iterator[Learnt] = parallel.run(partial(train_one, course), jobs, processes, heard)
    try:
        learnt = {one.job.model: one for one in results}
    except parallel.WorkerDied as died:
        raise RunFailure(
            f"a training process ended (code {died.exit_code}); finished epochs are kept, the same command goes on. "
            "If memory ran out: --set training.processes=1 or a coarser grid_mm"
        ) from None
    finally:
        results.close()
    return [learnt[job.model] for job in jobs]


def processes_for(jobs: Sequence[Job], config: TrainingConfig, voxels: int, device: str) -> int:
    """How many networks are trained at once.

    Args:
        voxels: of a volume.
        device: cpu or cuda.
    """
    if device != "cpu" or not jobs:
        return 1
    fit = trainings_that_fit(config.batch_size * voxels * architecture(config.network).footprint)
    worth = config.epochs * sum(len(job.train) for job in jobs) * voxels > WORTH_VOXELS
    return min(len(jobs), config.processes or (min(torch.get_num_threads(), fit) if worth else 1))


def train_one(course: Course, job: Job) -> Learnt:
    """One network, from its checkpoint on; in a worker, progress is told to the run."""
    if course.threads is not None:
        torch.set_num_threads(course.threads)
    make_deterministic(course.device)
    config, read = course.config, course.cache.read
    trained = train(
        job, course.objective, read, course.mask, course.grid_mm, config, course.device,
        course.folder / f"{job.model}.safetensors", course.share,
        on_epoch=partial(parallel.tell, EPOCH), say=parallel.tell,
    )  # fmt: skip
    volumes = Volumes(read, job.explain, trained.normalisation, course.device, resident="never")
    margin = predict_margins(trained.network, volumes, job.explain)
    learnt = Learnt(
        job, pack_model(trained.network, trained.normalisation), parameter_count(trained.network), trained.curve,
        margin, trained.objective,
    )  # fmt: skip
    del trained, volumes
    if course.device.type == "cuda":
        torch.cuda.empty_cache()
    return learnt
