"""Training of one network, epoch by epoch, resumable; and prediction with a trained one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from engine.cohort.splits import Job
from engine.config.schema import TrainingConfig
from engine.errors import RunError
from engine.images.grid import Grid
from engine.networks.architectures import build_network, footprint
from engine.networks.blocks import logits_through_blocks
from engine.networks.cnn3d import margins
from engine.networks.device import is_out_of_memory, volumes_that_fit
from engine.networks.fused_step import fused_logits, fuses
from engine.networks.kernels import usable
from engine.training.augmentation import left_right
from engine.training.checkpoints import load_progress, save_progress
from engine.training.normalisation import ScanScaling, fit_normalisation
from engine.training.objective import Objective
from engine.training.site_effects import BySite, Normaliser, PlainNormaliser, fit_site_effects, harmonised
from engine.training.stopping import chosen_epoch, is_finished
from engine.training.volumes import Read, Residence, Volumes, chunked

EVALUATION_BATCH = 16


@dataclass(frozen=True)
class TrainingSetup:
    """What all networks of a run are trained with.

    Attributes:
        objective: what they learn; each network fits it to its training scans.
        read: scan ids -> (n, x, y, z) float32 intensities; picklable where networks are trained by processes.
        mask: (x, y, z) bool brain mask on the working grid.
        folder: of the checkpoints.
        threads: of the CPU for each network; None: as torch has it.
        share: of the memory for resident volumes that each network may take.
        normalisation: of the volumes; None: fitted to each network's training scans.
        sites: scan -> site, whose effects on the intensities are fitted to each network's training scans and taken out;
            None: nothing is taken out.
    """

    objective: Objective
    read: Read
    mask: np.ndarray
    grid_mm: int
    config: TrainingConfig
    device: torch.device
    folder: Path
    threads: int | None = None
    share: float = 1.0
    normalisation: Normaliser | None = None
    sites: Mapping[str, str] | None = None


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network in eval mode.

    Attributes:
        objective: what it has learned, as fitted to its training scans.
        curve: rows of the training table, less the model.
    """

    network: nn.Module
    normalisation: Normaliser
    objective: Objective
    curve: list[dict]


class Trainer:
    """One network in training, which goes on from its checkpoint in the folder of the setup if there is one.

    Adam; the weights kept are those of the last epoch, or of the chosen one (stopping.py). The order of the scans, the
    augmentation and the learning rate depend on seed and epoch alone, so that an interrupted training ends the same.

    Args:
        on_epoch: called after each epoch, and once for each that the checkpoint already holds or that was spared.
        say: given sentences for the user.

    Attributes:
        curve: rows of the training table, less the model, of the epochs done.
        best: weights of the chosen epoch so far; empty where it is always the last.
    """

    def __init__(
        self,
        setup: TrainingSetup,
        job: Job,
        on_epoch: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.setup, self.job, self._on_epoch, self._say = setup, job, on_epoch, say
        config = setup.config
        self.normalisation = setup.normalisation or _fit_normaliser(setup, job)
        if isinstance(self.normalisation, BySite) and not self.normalisation.effects.shift:
            self._say(f"{job.model}: the effects of sites on intensities cannot be told, and are not taken out")
        self.objective = setup.objective.fitted(job.train)
        network = build_network(setup.grid_mm, config.dropout, job.seed, config.network).to(setup.device)
        quicker = setup.device.type == "cpu" or usable(setup.device)
        wanted = config.engine == "fused" or (config.engine == "auto" and quicker)
        self._fused = wanted and fuses(network)
        self._channels_last = config.channels_last or self._fused
        self.network = network.to(memory_format=torch.channels_last_3d) if self._channels_last else network  # type: ignore[call-overload]  # no stub has it
        self._optimiser = torch.optim.Adam(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        torch.manual_seed(job.seed)
        self.curve: list[dict] = []
        self.best: dict[str, Tensor] = {}
        kept = self._load_checkpoint()
        if kept is None:
            self._save_checkpoint()
        else:
            self.curve, self.best = kept[0]["curve"], kept[1]

    @property
    def _checkpoint(self) -> Path:
        return self.setup.folder / f"{self.job.model}.safetensors"

    def _load_checkpoint(self) -> tuple[dict, dict[str, Tensor]] | None:
        return load_progress(self._checkpoint, self.network, self._optimiser)

    def _save_checkpoint(self) -> None:
        save_progress(self._checkpoint, self.network, self._optimiser, {"curve": self.curve}, self.best)

    def train(self) -> TrainedNetwork:
        """Train until the last epoch, or until the validation loss has stopped falling.

        Raises:
            RunError: out of memory even when the cohort is streamed, or a loss that is not finite.
        """
        config = self.setup.config
        for _ in self.curve:
            self._on_epoch()
        if not is_finished(self.curve, config):
            volumes = self._open_volumes()
        while not is_finished(self.curve, config):
            self.curve.append(self._run_epoch(volumes))
            if config.patience is not None and chosen_epoch(self.curve, config) == len(self.curve):
                self.best = {key: value.detach().cpu().clone() for key, value in self.network.state_dict().items()}
            self._save_checkpoint()
            self._on_epoch()
        for _ in range(len(self.curve), config.epochs):  # spared by early stopping
            self._on_epoch()
        if self.best:
            self.network.load_state_dict(self.best)
        return TrainedNetwork(self.network.eval(), self.normalisation, self.objective, self.curve)

    def _open_volumes(self) -> Volumes:
        setup, job = self.setup, self.job
        dtype = torch.bfloat16 if setup.config.precision == "bf16" else torch.float32
        residence = Residence(setup.config.resident, dtype, self._channels_last, setup.share)
        scans = list(dict.fromkeys([*job.train, *job.validation, *job.test]))
        return Volumes(setup.read, scans, self.normalisation, setup.device, residence)

    def _run_epoch(self, volumes: Volumes) -> dict:
        """Train for one epoch and judge the network: a row of the learning curve."""
        started = time.monotonic()
        while True:
            try:
                loss, accuracy = self.pass_over(volumes)
                break
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if not volumes.resident:
                    raise RunError(
                        "out of memory while training; finished epochs are kept. Use a coarser grid_mm, "
                        "--set training.precision=bf16 or a smaller training.batch_size (which changes the result)"
                    ) from None
                self._say("  out of memory with the whole cohort resident: streaming it from disk instead")
                volumes.release()
                self._load_checkpoint()
        row = {"epoch": len(self.curve) + 1, "loss": loss, "accuracy": accuracy}
        for part, scans in (("validation", self.job.validation), ("test", self.job.test)):
            judged = evaluate(self.network, volumes, scans, self.objective)
            row |= {f"{part}_{name}": value for name, value in judged.items()}
        return row | {"seconds": time.monotonic() - started}

    def pass_over(self, volumes: Volumes) -> tuple[float, float]:
        """Take the steps of one epoch: (mean loss, accuracy) over its training batches."""
        config, network, device, epoch = self.setup.config, self.network, self.setup.device, len(self.curve)
        network.train()
        order = np.random.default_rng([self.job.seed, 6, epoch]).permutation(np.array(self.job.train)).tolist()
        chunks = training_batches(order, config.batch_size, network)
        half = config.precision == "bf16" and device.type == "cuda"
        total, right = torch.zeros((), device=device), torch.zeros((), device=device)
        for number, (chunk, batch) in enumerate(zip(chunks, volumes.batches(chunks), strict=True)):
            for group in self._optimiser.param_groups:
                group["lr"] = learning_rate(config, epoch + number / len(chunks))
            batch = self._augment(batch, chunk)
            truth = self.objective.truth(chunk, device)
            self._optimiser.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=half and not self._fused):
                logits = fused_logits(network, batch, volumes.box, half) if self._fused else network(batch).float()
                loss = self.objective.loss(logits, truth)
            loss.backward()
            self._optimiser.step()
            total += loss.detach() * len(chunk)
            right += self.objective.right(logits, truth)
        if not torch.isfinite(total):
            raise RunError(
                f"{self.job.model}: training diverged in epoch {epoch + 1}: use a smaller training.learning_rate"
            )
        return float(total) / len(order), float(right) / len(order)

    def _augment(self, batch: Tensor, scans: Sequence[str]) -> Tensor:
        config = self.setup.config
        if config.augmentation == "none":
            return batch
        shift = Grid(self.setup.grid_mm).voxels(config.shift_mm)
        return left_right(batch, scans, self._brain, shift, self.job.seed, len(self.curve))

    @cached_property
    def _brain(self) -> Tensor:
        return torch.from_numpy(self.setup.mask.copy()).to(self.setup.device)


def _fit_normaliser(setup: TrainingSetup, job: Job) -> Normaliser:
    """Return how the volumes of a network are normalised, fitted to its training scans."""
    if setup.sites is None:
        return _fit_plain(setup, job, setup.read)
    label = setup.objective.label(job.train)
    effects = fit_site_effects(setup.read, job.train, setup.mask, setup.sites, label)
    read = harmonised(effects, setup.sites, setup.mask, setup.read)
    return BySite(_fit_plain(setup, job, read), effects, setup.sites)


def _fit_plain(setup: TrainingSetup, job: Job, read: Read) -> PlainNormaliser:
    """Return the normalisation of what is read, fitted to the training scans, or some of them."""
    config = setup.config
    if config.normalisation == "scan":
        return ScanScaling(setup.mask)
    scans = np.array(job.train)
    if config.normalisation_scans and config.normalisation_scans < len(scans):
        scans = np.random.default_rng([job.seed, 5]).permutation(scans)[: config.normalisation_scans]
    return fit_normalisation(read, scans.tolist(), setup.mask, config.normalisation_epsilon)


def training_batches(order: Sequence[str], size: int, network: nn.Module) -> list[list[str]]:
    """Divide scans into lists of at most `size`; a last one alone joins those before it where batch norm needs two."""
    chunks = chunked(order, size)
    several = any(isinstance(layer, nn.BatchNorm1d) for layer in network.modules())
    if several and len(chunks) > 1 and len(chunks[-1]) == 1:
        chunks[-2:] = [chunks[-2] + chunks[-1]]
    return chunks


def learning_rate(config: TrainingConfig, epochs_done: float) -> float:
    """Return the learning rate after so many epochs, perhaps a part of one."""
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * (1 + math.cos(math.pi * epochs_done / config.epochs)) / 2


def evaluate(network: nn.Module, volumes: Volumes, scans: Sequence[str], objective: Objective) -> dict:
    """Return loss, accuracy and auc of the network as it is; missing where there are no scans."""
    if not scans:
        return {"loss": np.nan, "accuracy": np.nan, "auc": np.nan}
    return objective.judge(predict_margins(network, volumes, scans), scans)


@torch.no_grad()
def predict_margins(
    network: nn.Module, volumes: Volumes, scans: Sequence[str], batch: int = EVALUATION_BATCH
) -> np.ndarray:
    """Return the (n,) float64 margins d = log p - log(1 - p) of the positive group; float32 arithmetic, dropout off."""
    network.eval()
    size = volumes_that_fit(volumes.voxels * footprint(network), next(network.parameters()).device, batch)
    parts: list[Tensor] = [
        margins(logits_through_blocks(network, part))[:, 1].double().cpu()
        for part in volumes.batches(chunked(scans, size))
    ]
    return torch.cat(parts).numpy() if parts else np.zeros(0)


def probability(margin: np.ndarray) -> np.ndarray:
    """Return p = 1 / (1 + exp(-d)) of margins d, without overflow."""
    return np.exp(-np.logaddexp(0, -np.asarray(margin, float)))
