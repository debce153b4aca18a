"""What a method marks without knowledge of the disease: the references that truth scores are compared with.

Chance is not 0.5: networks that have learned nothing still favour some places, for their architecture and for the
anatomy that they are shown. Two kinds, explained by the same method with the same settings on the same scans:

untrained: first weights drawn again, normalised as the trained network.
null: trained as the run's network for the fixed test set is, on the same people, groups and settings, but with every
    patient's scan replaced by its twin without the imposed change (imposed_truth.py). The groups of such a cohort are
    the same, so these networks know brains and learning by heart, and no disease. (Labels permuted over the scans as
    they are would leave the disease in the pictures, where it most tells people apart, and so is what to remember.)
    They are normalised as the trained network, too: by statistics of the twins a patient's change would be further
    from the mean than anything seen in training, and maps that follow the input would mark it, learned or not.

Both are computed for the patients of the fixed test set: of the folds' scans they would cost as much again as the whole
cross-validation. Occlusions have them on coarse grids, where a map takes a fraction of a second, and of fewer networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from engine.cohort.splits import Job
from engine.networks.architectures import build_network
from engine.networks.device import choose_device, make_deterministic
from engine.pipeline.explain import build_method, space, takes_whole_passes
from engine.pipeline.explain_again import Explainable, explain_again
from engine.pipeline.imposed_truth import twins
from engine.pipeline.reference_networks import train_references
from engine.pipeline.run import Run
from engine.preprocessing.volume_cache import VolumeCache
from engine.relevance import METHODS, BatchSize
from engine.training.checkpoints import load_model
from engine.training.objective import Classification
from engine.training.site_effects import Normaliser
from store.keys import BASELINES, TRAINING_MAPS
from store.spec import MODELS_FOLDER

UNTRAINED, NULL = "untrained", "null"
HELD_OUT = "holdout"  # the network that references stand beside, and its model set
OCCLUSIONS_FROM_MM = 3
OCCLUDED_NETWORKS = 2  # of each kind


@dataclass(frozen=True)
class NullVolumes:
    """The volumes of a cohort on which nothing was imposed: twins where there are twins; picklable."""

    cohort: VolumeCache
    twins: VolumeCache

    def read(self, scans: Sequence[str]) -> np.ndarray:
        """Return the volumes, (n, x, y, z) float32, in the order of `scans`."""
        return np.stack([(self.twins if scan in self.twins else self.cohort).read([scan])[0] for scan in scans])


class References:
    """The reference networks of a run, made when they are first asked for."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._job = next((job for job in run.jobs if job.model == HELD_OUT), None)

    @property
    def _own_job(self) -> Job:
        assert self._job is not None
        return self._job

    @cached_property
    def networks(self) -> dict[str, list[Explainable]]:
        """Return kind -> networks; kinds of which none are asked for are left out."""
        if self._job is None or not self._job.train:  # imported: how it was trained is not known
            return {}
        device = torch.device(choose_device(self._run.device))
        make_deterministic(device)
        analysis, own = self._run.config.analysis, (self._run, self._own_job, held_out_normalisation(self._run))
        found = {
            UNTRAINED: [untrained_network(*own, number) for number in range(analysis.untrained_networks)],
            NULL: self._null(analysis.null_networks) if analysis.null_networks and self._run.cohort.simulated else [],
        }
        for network in (one.network for networks in found.values() for one in networks):
            network.to(device)
        return {kind: networks for kind, networks in found.items() if networks}

    def networks_for(self, method: str) -> dict[str, list[Explainable]]:
        """Return kind -> the networks that a method explains; occlusions some of them."""
        count = None if METHODS[method].gradient else OCCLUDED_NETWORKS
        return {kind: networks[:count] for kind, networks in self.networks.items()}

    def missing(self, method: str, model_set: str) -> str:
        """Return why there are no references of a method; empty where there are."""
        if not METHODS[method].explanation:
            return "the map is the same for any network"
        if self._job is None:
            return "the run has no fixed test set, of which references are"
        if model_set != HELD_OUT:
            return "references are of the fixed test set"
        if not self._job.train:
            return "how the network was trained is not known"
        if not self.networks:
            return "none were asked for"
        return too_slow(self._run, method, next(iter(self.networks.values()))[0].network)

    def maps(self, one: Explainable, method: str, scale: str, scans: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
        """Compute (scan, signed heatmap (x, y, z)) for the positive group, in the order of `scans`.

        Args:
            scale: margin or probability, of occlusions.
        """
        return explain_again(self._run, one, method, scans["scan"].tolist(), scale)

    def _null(self, count: int) -> list[Explainable]:
        """Train networks where nothing was imposed; they go on from their checkpoints."""
        run = self._run
        volumes = NullVolumes(run.cache, twins(run))
        groups = run.cohort.scans.set_index("scan")["group"]
        objective = Classification((groups == run.groups[0]).to_dict())
        jobs = [self._null_job(number) for number in range(count)]
        trained = train_references(run, NULL, jobs, objective, volumes.read, held_out_normalisation(run))
        return [Explainable(*found, self._own_job, trained=False) for found in trained]

    def _null_job(self, number: int) -> Job:
        """Return the held-out network's job with another seed, without test scans; it explains what it is asked.

        The name tells its checkpoint from those of versions that normalised by the twins.
        """
        seed = 2_000_000 + 1000 * self._run.config.seed + number
        return replace(self._own_job, model=f"{NULL}-as-trained-{number + 1}", seed=seed, test=(), explain=())


class Baselines:
    """Maps of the fixed test set that are the same for any network, made when they are asked for and not stored."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._job = next((job for job in run.jobs if job.model == HELD_OUT), None)

    @property
    def names(self) -> list[str]:
        """Return the baselines that can be made; none without a fixed test set."""
        if self._job is None:
            return []
        trained = bool(self._job.train)  # imported networks: on what is not known
        return [name for name in BASELINES if trained or name not in TRAINING_MAPS]

    @cached_property
    def _held_out(self) -> Explainable:
        assert self._job is not None
        network, normalisation, _ = load_model(
            self._run.staging / MODELS_FOLDER, HELD_OUT, self._run.mask, self._run.sites
        )
        device = torch.device(choose_device(self._run.device))
        return Explainable(network.to(device).eval(), normalisation, self._job)

    def maps(self, method: str, scans: pd.DataFrame) -> Iterator[np.ndarray]:
        """Compute a map (x, y, z) for each row of the predictions of the held-out network, in order."""
        return (found for _, found in explain_again(self._run, self._held_out, method, scans["scan"].tolist()))


def untrained_network(run: Run, job: Job, normalisation: Normaliser, number: int) -> Explainable:
    """Return a network like the held-out one with weights drawn at random, on the CPU; the same for the same number.

    Args:
        job, normalisation: the held-out network's.
    """
    config = run.config
    seed = 1_000_000 + 1000 * config.seed + number
    network = build_network(config.grid_mm, seed=seed, name=config.training.network).eval()
    return Explainable(network, normalisation, job, trained=False)


def held_out_normalisation(run: Run) -> Normaliser:
    """Read how the held-out network normalises its volumes."""
    _, normalisation, _ = load_model(run.staging / MODELS_FOLDER, HELD_OUT, run.mask, run.sites)
    return normalisation


def too_slow(run: Run, method: str, network: torch.nn.Module) -> str:
    """Return why a method takes too long to explain reference networks; empty where it does not."""
    if METHODS[method].gradient:
        return ""
    if run.config.grid_mm < OCCLUSIONS_FROM_MM:
        return f"occlusions of reference networks take too long below {OCCLUSIONS_FROM_MM} mm"
    if takes_whole_passes(build_method(method, run.config, space(run, torch.device("cpu")), BatchSize(1)), network):
        return "occlusions of this network by reference networks take too long"
    return ""
