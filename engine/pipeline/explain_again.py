"""Heatmaps of a stored method by any network, made again and not stored: for references and for trust."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from engine.cohort.splits import Job
from engine.pipeline.explain import build_brain, build_method
from engine.pipeline.run import Run
from engine.relevance import BatchSize, IntegratedGradients
from engine.training.site_effects import Normaliser
from engine.training.volumes import STREAMED, Volumes, chunked

CHUNK = 8  # scans explained together


@dataclass(frozen=True)
class Explainable:
    """A network in eval mode on its device, and how it wants its volumes.

    Attributes:
        job: whose training scans fill what occlusions take away.
        trained: on what is explained. The margin of a network that was not hardly changes, so that sums of its maps
            miss the change by much of it: integrated gradients do not take more steps for that.
    """

    network: torch.nn.Module
    normalisation: Normaliser
    job: Job
    trained: bool = True

    @property
    def device(self) -> torch.device:
        """Return the device of the weights."""
        return next(self.network.parameters()).device


def explain_again(
    run: Run,
    one: Explainable,
    method: str,
    scans: Sequence[str],
    scale: str = "margin",
    read: Callable[[Sequence[str]], np.ndarray] | None = None,
) -> Iterator[tuple[str, np.ndarray]]:
    """Compute (scan, signed heatmap (x, y, z) float32, 0 outside the brain) for the positive group, in order.

    Args:
        method: one by which the held-out network is explained in the run, or one of voxels.
        scale: margin or probability, of occlusions.
        read: what gives the volumes (n, x, y, z) of scans in the place of the cohort's own.
    """
    brain = build_brain(run, one.job, one.normalisation, one.device, [method])
    explainer = build_method(method, run.config, brain, BatchSize(run.config.explain.batch_size))
    if isinstance(explainer, IntegratedGradients) and not one.trained:
        explainer = replace(explainer, most_steps=explainer.steps)
    reader, names, chunks = run.reader(), list(scans), chunked(list(scans), CHUNK)
    on_voxels = explainer.native_grid == "voxels"  # as they are, whether or not the run has stored some
    attributes = {} if on_voxels else reader.attributes(f"heatmaps/{one.job.model}/{method}/{run.groups[0]}/margin")
    volumes = Volumes(read or run.cache.read, names, one.normalisation, one.device, STREAMED)
    for chunk, batch in zip(chunks, volumes.batches(chunks), strict=True):
        found = explainer.attribute(one.network, batch, 1)
        values = found.probability if scale == "probability" and found.probability is not None else found.margin
        for scan, value in zip(chunk, values.cpu().numpy().astype(np.float32), strict=True):
            yield scan, np.where(run.mask, value if on_voxels else reader.full(value, attributes), 0)
