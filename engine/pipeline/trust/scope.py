"""Of what trust is measured: the held-out network, those trained again, and some of the scans of the fixed test set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from engine.cohort.splits import Job
from engine.networks.device import choose_device, make_deterministic
from engine.pipeline.aggregate import explained, stored_series
from engine.pipeline.explain import build_brain
from engine.pipeline.explain_again import Explainable, explain_again
from engine.pipeline.run import Run
from engine.pipeline.truth_references import untrained_network
from engine.relevance import METHODS, Brain
from engine.training.checkpoints import load_model
from store import RunReader
from store.spec import MODELS_FOLDER

HELD_OUT = "holdout"  # the network and its model set
ALL = "all"  # in the place of a diagnosis: all test scans together


@dataclass
class TrustScope:
    """What all measures share, read or made when it is first asked for."""

    run: Run

    @cached_property
    def reader(self) -> RunReader:
        """Open what the run has stored so far."""
        return self.run.reader()

    @cached_property
    def job(self) -> Job | None:
        """Return the held-out network's job; None for a run without a fixed test set."""
        return next((job for job in self.run.jobs if job.model == HELD_OUT), None)

    @property
    def target(self) -> str:
        """Return the group that is explained."""
        return self.run.groups[0]

    @cached_property
    def methods(self) -> list[str]:
        """Return the methods that explain the fixed test set, in their order; baselines explain nothing."""
        series = stored_series(self.reader)
        names = series.loc[series["model_set"] == HELD_OUT, "method"].drop_duplicates()
        return [name for name in names if METHODS[name].explanation]

    @cached_property
    def tested(self) -> pd.DataFrame:
        """Return the predictions of the held-out network on the cohort scans of its test set."""
        rows = explained(self.reader, HELD_OUT)
        return rows[rows["group"].isin(self.run.groups)].reset_index(drop=True)

    @cached_property
    def diagnoses(self) -> list[str]:
        """Return the diagnoses of `tested`, then what stands for all of them together."""
        return [*self.tested["diagnosis"].drop_duplicates(), ALL]

    @cached_property
    def scans(self) -> pd.DataFrame:
        """Return the rows of `tested` that costly measures take: trust.scans at most, half of each group, by chance."""
        most, random = self.run.config.trust.scans, np.random.default_rng([self.run.config.seed, 12])
        rows: list[int] = []
        for group, size in zip(self.run.groups, (-(-most // 2), most // 2), strict=True):
            own = np.flatnonzero((self.tested["group"] == group).to_numpy())
            rows += random.permutation(own)[:size].tolist()
        return self.tested.iloc[sorted(rows)].reset_index(drop=True)

    @cached_property
    def device(self) -> torch.device:
        """Return the device that computes."""
        device = torch.device(choose_device(self.run.device))
        make_deterministic(device)
        return device

    def stored_network(self, job: Job) -> Explainable:
        """Load a network of the run."""
        network, normalisation, _ = load_model(
            self.run.staging / MODELS_FOLDER, job.model, self.run.mask, self.run.sites
        )
        return Explainable(network.to(self.device).eval(), normalisation, job)

    @cached_property
    def held_out(self) -> Explainable:
        """Return the held-out network."""
        assert self.job is not None
        return self.stored_network(self.job)

    @cached_property
    def retrained(self) -> list[Job]:
        """Return the jobs of networks like the held-out one, from other seeds."""
        return [job for job in self.run.jobs if job.model_set == HELD_OUT and job.model != HELD_OUT]

    def untrained(self, number: int) -> Explainable:
        """Draw first weights for a network like the held-out one, normalised as it is; the same for the same number."""
        one = untrained_network(self.run, self.held_out.job, self.held_out.normalisation, number)
        return replace(one, network=one.network.to(self.device))

    @cached_property
    def brain(self) -> Brain:
        """Return the space in which the held-out network is explained."""
        return build_brain(self.run, self.held_out.job, self.held_out.normalisation, self.device)

    def stored_map(self, method: str, scan: str, model: str = HELD_OUT) -> np.ndarray:
        """Read a signed heatmap of the margin of the positive group, (x, y, z) float32."""
        return self.reader.heatmap(model, method, scan, target=self.target, scale="margin")

    def maps(self, one: Explainable, method: str, scans: list[str]) -> Iterator[tuple[str, np.ndarray]]:
        """Compute (scan, signed heatmap (x, y, z)) by any network; see explain_again."""
        return explain_again(self.run, one, method, scans)

    def relevance(self, method: str, heatmap: np.ndarray) -> np.ndarray:
        """Return m of a signed map: |h| for gradients, max(h, 0) for drops of evidence."""
        return np.abs(heatmap) if METHODS[method].gradient else np.maximum(heatmap, 0)
