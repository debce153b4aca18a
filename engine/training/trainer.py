"""Training of one network, epoch by epoch, resumable; and prediction with a trained one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from engine.cohort.splits import Job
from engine.config.schema import TrainingConfig
from engine.errors import RunFailure
from engine.images.grid import Grid
from engine.networks.architectures import build_network, footprint
from engine.networks.cnn3d import margins
from engine.networks.device import is_out_of_memory, volumes_that_fit
from engine.networks.fused_step import fused_logits, fuses
from engine.training.augmentation import left_right
from engine.training.checkpoints import load_progress, save_progress
from engine.training.normalisation import Normalisation, ScanScaling, fit_normalisation
from engine.training.objective import Objective
from engine.training.stopping import chosen_epoch, is_finished
from engine.training.volumes import Read, Volumes, chunked

EVALUATION_BATCH = 16
Augment = Callable[[Tensor, Sequence[str], int], Tensor]  # (volumes, their scans, epoch) -> volumes


@dataclass
class Trained:
    """A trained network with its normalisation and learning curve (rows of the training table, less the model)."""

    network: nn.Module
    normalisation: Normalisation | ScanScaling
    objective: Objective
    curve: list[dict] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(row["seconds"] for row in self.curve)


def train(
    job: Job,
    objective: Objective,
    read: Read,
    mask: np.ndarray,
    grid_mm: int,
    config: TrainingConfig,
    device: torch.device,
    checkpoint: Path,
    share: float = 1.0,
    on_epoch: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda text: None,
) -> Trained:
    """Train one network, going on from `checkpoint` if it exists.

    Adam; the last epoch's weights (design, section 6), or those of the chosen one (stopping.py).

    Args:
        objective: what is learned; fitted to the training scans here.
        read: scan ids -> (n, x, y, z) float32 intensities.
        mask: (x, y, z) bool brain mask on the working grid.
        share: of the memory that resident volumes may take, if several networks are trained at once.
        on_epoch: called after each epoch, and once for each that a checkpoint already holds.
    Raises:
        RunFailure: out of memory even when the cohort is streamed.
    """
    normalisation, objective = _normalisation(job, read, mask, config), objective.fitted(job.train)
    network = build_network(grid_mm, config.dropout, job.seed, config.network).to(device)
    channels_last = config.channels_last or _is_fused(config, network)
    if channels_last:
        network = network.to(memory_format=torch.channels_last_3d)
    optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    torch.manual_seed(job.seed)
    kept = load_progress(checkpoint, network, optimiser)
    if kept is None:
        kept = {"curve": []}, {}
        save_progress(checkpoint, network, optimiser, *kept)
    curve, best = kept[0]["curve"], kept[1]
    for _ in curve:
        on_epoch()
    if not is_finished(curve, config):
        dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        scans = list(dict.fromkeys([*job.train, *job.validation, *job.test]))
        volumes = Volumes(read, scans, normalisation, device, config.resident, dtype, channels_last, share)
        augment = _augmentation(job, mask, grid_mm, config, device)
    while not is_finished(curve, config):
        curve.append(_epoch(len(curve), job, objective, volumes, augment, network, optimiser, config, checkpoint, say))
        if config.patience is not None and chosen_epoch(curve, config) == len(curve):
            best = {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}
        save_progress(checkpoint, network, optimiser, {"curve": curve}, best)
        on_epoch()
    for _ in range(len(curve), config.epochs):  # spared by early stopping
        on_epoch()
    if best:
        network.load_state_dict(best)
    return Trained(network.eval(), normalisation, objective, curve)


def _augmentation(job: Job, mask: np.ndarray, grid_mm: int, config: TrainingConfig, device: torch.device) -> Augment:
    if config.augmentation == "none":
        return lambda volumes, scans, epoch: volumes
    brain, shift = torch.from_numpy(mask.copy()).to(device), Grid(grid_mm).voxels(config.shift_mm)
    return lambda volumes, scans, epoch: left_right(volumes, scans, brain, shift, job.seed, epoch)


def _normalisation(job: Job, read: Read, mask: np.ndarray, config: TrainingConfig) -> Normalisation | ScanScaling:
    if config.normalisation == "scan":
        return ScanScaling(mask)
    scans = np.array(job.train)
    if config.normalisation_scans and config.normalisation_scans < len(scans):
        scans = np.random.default_rng([job.seed, 5]).permutation(scans)[: config.normalisation_scans]
    return fit_normalisation(read, scans.tolist(), mask, config.normalisation_epsilon)


def _epoch(
    epoch: int,
    job: Job,
    objective: Objective,
    volumes: Volumes,
    augment: Augment,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    config: TrainingConfig,
    checkpoint: Path,
    say: Callable[[str], None],
) -> dict:
    started = time.monotonic()
    while True:
        try:
            loss, accuracy = _pass_over(epoch, job, objective, volumes, augment, network, optimiser, config)
            break
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if not volumes.resident:
                raise RunFailure(
                    "out of memory while training; finished epochs are kept. Use a coarser grid_mm, "
                    "--set training.precision=bf16 or a smaller training.batch_size (which changes the result)"
                ) from None
            say("  out of memory with the whole cohort resident: streaming it from disk instead")
            volumes.release()
            load_progress(checkpoint, network, optimiser)
    row = {"epoch": epoch + 1, "loss": loss, "accuracy": accuracy}
    for part, scans in (("validation", job.validation), ("test", job.test)):
        row |= {f"{part}_{name}": value for name, value in evaluate(network, volumes, scans, objective).items()}
    return row | {"seconds": time.monotonic() - started}


def _pass_over(
    epoch: int,
    job: Job,
    objective: Objective,
    volumes: Volumes,
    augment: Augment,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    config: TrainingConfig,
) -> tuple[float, float]:
    """(mean loss, accuracy) over the training batches of one epoch; the order depends on seed and epoch alone."""
    network.train()
    order = np.random.default_rng([job.seed, 6, epoch]).permutation(np.array(job.train)).tolist()
    chunks = training_batches(order, config.batch_size, network)
    device = next(network.parameters()).device
    fused = _is_fused(config, network)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16" and device.type == "cuda")
    total, right = torch.zeros((), device=device), torch.zeros((), device=device)
    for number, (chunk, batch) in enumerate(zip(chunks, volumes.batches(chunks), strict=True)):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, epoch + number / len(chunks))
        batch = augment(batch, chunk, epoch)
        truth = objective.truth(chunk, device)
        optimiser.zero_grad(set_to_none=True)
        with autocast:
            logits = fused_logits(network, batch, volumes.box) if fused else network(batch).float()
            loss = objective.loss(logits, truth)
        loss.backward()
        optimiser.step()
        total += loss.detach() * len(chunk)
        right += objective.right(logits, truth)
    if not torch.isfinite(total):
        raise RunFailure(f"{job.model}: training diverged in epoch {epoch + 1}: use a smaller training.learning_rate")
    return float(total) / len(order), float(right) / len(order)


def _is_fused(config: TrainingConfig, network: nn.Module) -> bool:
    return config.engine == "auto" and next(network.parameters()).device.type == "cpu" and fuses(network)


def training_batches(order: Sequence[str], size: int, network: nn.Module) -> list[list[str]]:
    """Lists of at most `size` scans; a single last scan joins those before where batch norm needs more than one."""
    chunks = chunked(order, size)
    several = any(isinstance(layer, nn.BatchNorm1d) for layer in network.modules())
    if several and len(chunks) > 1 and len(chunks[-1]) == 1:
        chunks[-2:] = [chunks[-2] + chunks[-1]]
    return chunks


def learning_rate(config: TrainingConfig, epochs_done: float) -> float:
    """At a point of the training; a function of it alone, so that an interrupted training goes on the same."""
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * (1 + math.cos(math.pi * epochs_done / config.epochs)) / 2


def evaluate(network: nn.Module, volumes: Volumes, scans: Sequence[str], objective: Objective) -> dict:
    """loss, accuracy and auc of the network as it is; missing where there are no scans."""
    if not scans:
        return {"loss": np.nan, "accuracy": np.nan, "auc": np.nan}
    return objective.judge(predict_margins(network, volumes, scans), scans)


@torch.no_grad()
def predict_margins(
    network: nn.Module, volumes: Volumes, scans: Sequence[str], batch: int = EVALUATION_BATCH
) -> np.ndarray:
    """(n,) float64 margin of the positive group, d = log p - log(1 - p), float32 arithmetic, dropout off."""
    network.eval()
    size = volumes_that_fit(volumes.voxels * footprint(network), next(network.parameters()).device, batch)
    parts: list[Tensor] = [
        margins(network(part))[:, 1].double().cpu() for part in volumes.batches(chunked(scans, size))
    ]
    return torch.cat(parts).numpy() if parts else np.zeros(0)


def probability(margin: np.ndarray) -> np.ndarray:
    """p = 1 / (1 + exp(-d)) without overflow."""
    return np.exp(-np.logaddexp(0, -np.asarray(margin, float)))
