"""Networks that are trained as the run's networks are, to be compared with them; they are not stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from engine.cohort.splits import Job
from engine.networks.device import choose_device, make_deterministic
from engine.pipeline.run import Run
from engine.training.checkpoints import load_model, model_card, write_model
from engine.training.objective import Classification
from engine.training.parallel import Training, train_all
from engine.training.site_effects import Normaliser
from engine.training.trainer import TrainingSetup


def train_references(
    run: Run,
    kind: str,
    jobs: Sequence[Job],
    objective: Classification,
    read: Callable[[Sequence[str]], np.ndarray],
    normalisation: Normaliser | None = None,
) -> list[tuple[torch.nn.Module, Normaliser]]:
    """Train a network for each job by the run's settings: (network in eval mode on the CPU, its normalisation) each.

    Their checkpoints lie beside those of the run's networks, so that an interrupted training goes on, and a later run
    with the same networks has these, too.

    Args:
        kind: a word for them in the progress, and for their folder.
        objective: what they learn; read: scans -> volumes (n, x, y, z).
        normalisation: of the volumes; default: fitted to each network's training scans.
    """
    device, config = torch.device(choose_device(run.device)), run.config
    make_deterministic(device)
    setup = TrainingSetup(
        objective, read, run.mask, config.grid_mm, config.training, device, run.networks_folder,
        normalisation=normalisation, sites=run.harmonised_sites,
    )  # fmt: skip
    with run.progress.task(f"training {kind} networks, epochs", len(jobs) * config.training.epochs) as task:
        trained = train_all(jobs, setup, Training(task.advance, run.progress.say))
    card, folder = model_card(config.grid_mm, config.training, run.groups), run.work / kind
    for one in trained:
        write_model(folder, one.job.model, one.weights, card | one.card)
    return [load_model(folder, job.model, run.mask, run.sites)[:2] for job in jobs]
