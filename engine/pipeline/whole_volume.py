"""Relevance over the whole volume, also outside the brain mask, as Rieke et al. 2018 measured distances.

The store keeps relevance inside the mask. Outside it the input of the network is 0 everywhere, but its gradient is not.
For `analysis.distance_volume=whole` gradient maps are computed again, scan by scan, and never stored; occlusions follow
from their stored positions, whose blocks reach over the edge of the brain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
import torch

from engine.analysis.distances import has_relevance, mass
from engine.networks.device import choose_device, make_deterministic
from engine.pipeline.explain import CHUNK, build_brain, build_method
from engine.pipeline.run import Run
from engine.relevance import METHODS, BatchSize
from engine.training.checkpoints import load_model
from engine.training.volumes import STREAMED, Volumes, chunked
from store import RunReader
from store.files.geometry import to_voxels
from store.spec import MODELS_FOLDER


def whole_masses(
    run: Run, reader: RunReader, methods: list[dict], rows: list[dict]
) -> Iterator[tuple[dict, dict[str, np.ndarray]]]:
    """Compute (row, method -> (voxels,) float32 m over the whole volume), in the order of the rows.

    Args:
        methods: method and native_grid of each.
        rows: of the predictions table, with `target`: the group that is explained.
    """
    device = choose_device(run.device)
    make_deterministic(device)
    networks: dict[str, tuple] = {}
    for (model, target), part in groupby(rows, key=lambda row: (row["model"], row["target"])):
        if model not in networks:
            network, normalisation, _ = load_model(run.staging / MODELS_FOLDER, model, run.mask, run.sites)
            network, job = network.to(torch.device(device)).eval(), next(job for job in run.jobs if job.model == model)
            brain = replace(build_brain(run, job, normalisation, torch.device(device)), whole=True)
            networks[model] = network, normalisation, brain
        for chunk in chunked(list(part), CHUNK):
            gradients = _gradients(run, methods, networks[model], chunk, target)
            for number, row in enumerate(chunk):
                yield (
                    row,
                    {
                        one["method"]: mass(gradients[one["method"]][number].ravel(), gradient=True)
                        if one["method"] in gradients
                        else _drops(run, reader, one["method"], row)
                        for one in methods
                    },
                )


def _gradients(run: Run, methods: list[dict], network: tuple, chunk: list[dict], target: str) -> dict[str, np.ndarray]:
    """Return method -> (scans, x, y, z) signed gradients of the margin."""
    model, normalisation, brain = network
    device, scans = next(model.parameters()).device, [row["scan"] for row in chunk]
    (batch,) = Volumes(run.cache.read, scans, normalisation, device, STREAMED).batches([scans])
    size = BatchSize(run.config.explain.batch_size)
    index = 1 if target == run.groups[0] else 0
    names = [one["method"] for one in methods if METHODS[one["method"]].gradient]
    return {
        name: build_method(name, run.config, brain, size).attribute(model, batch, index).margin.cpu().numpy()
        for name in names
    }


def _drops(run: Run, reader: RunReader, method: str, row: dict) -> np.ndarray:
    """Return the (voxels,) positive drops, each position painted on its whole block."""
    options = {"target": row["target"], "scale": run.config.analysis.occlusion_scale}
    native = reader.heatmap(row["model"], method, row["scan"], full=False, **options)
    path = f"heatmaps/{row['model']}/{method}/{run.groups[0]}/{options['scale']}"
    attributes = reader.attributes(path)
    everywhere = np.ones(run.mask.shape, bool)
    full = to_voxels(
        native, attributes["native_grid"], stride=attributes.get("stride"), shape=run.mask.shape,
        atlas=run.atlas.labels, mask=everywhere,
    )  # fmt: skip
    return mass(full.ravel(), gradient=False)


@dataclass
class WholeAverages:
    """Group averages of m over the whole volume, added up scan by scan.

    Attributes:
        weights: (model, scan) -> w, each subject 1 in its diagnosis, or each scan.
    """

    run: Run
    weights: dict[tuple[str, str], float]
    _sums: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)

    def add(self, row: dict, maps: dict[str, np.ndarray]) -> None:
        """Add one scan, each map in the scale of the averages."""
        weight, p = self.weights[row["model"], row["scan"]], row["probability"]
        for method, values in maps.items():
            scale = self.run.config.analysis.gradient_scale if METHODS[method].gradient else "drop"
            factor = {"probability": p * (1 - p)}.get(scale, 1.0)
            if scale == "relative":
                factor = 1 / values.sum(dtype=np.float64) if has_relevance(values) else 0.0
            key = (method, row["diagnosis"])
            if key not in self._sums:
                self._sums[key] = np.zeros(values.size)
            self._sums[key] += (weight * factor) * values

    def of(self, series: dict, diagnosis: str) -> np.ndarray:
        """Return the (voxels,) average up to a constant factor, which is lost when a map is divided by its sum."""
        return self._sums[series["method"], diagnosis]
