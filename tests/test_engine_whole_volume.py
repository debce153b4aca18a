"""Distances over the whole volume against gradients by autograd over whole volumes, which the store does not hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.preprocessing.volume_cache import VolumeCache
from engine.training.checkpoints import load_model
from store import open_run
from store.files.geometry import positions_to_voxels

SETTINGS = [
    "cohort.simulation.positive=6", "cohort.simulation.negative=6", "training.epochs=1", "training.models=[holdout]",
    "explain.occlusion.stride_mm=40", "explain.holdout=[sensitivity, guided_backprop, occlusion, area_occlusion]",
    "analysis.untrained_networks=0", "analysis.distance_volume=whole", "analysis.target=predicted",
    "analysis.gradient_scale=probability", "analysis.occlusion_scale=probability", "analysis.weights=scan",
    "trust={networks: 0, measures: []}",
]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    sets = [part for value in SETTINGS for part in ("--set", value)]
    command = [sys.executable, "run_pipeline.py", "--preset", "smoke", "--store", str(folder), "--device", "cpu", *sets]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def gradient(run, scan: str, store: Path, sign: int) -> np.ndarray:
    """(x, y, z) gradient of the margin by plain autograd, over the whole volume."""
    network, normalisation, _ = load_model(store / run.run_id / "models", "holdout", run.mask)
    (file,) = (store / ".cache").glob("*/volumes.h5")  # not those of other simulations inside
    volume = torch.from_numpy(normalisation(VolumeCache(file).read([scan])).astype(np.float32))[None]
    volume.requires_grad_(True)
    logits = network(volume)
    ((logits[:, 1] - logits[:, 0]) * sign).sum().backward()
    return volume.grad[0, 0].numpy()


def distance(first: np.ndarray, second: np.ndarray) -> float:
    first, second = (m.astype(float).ravel() / m.sum(dtype=float) for m in (first, second))
    return float(np.sqrt(((first - second) ** 2).sum()) / 4**1.5 * 1e4)


def test_distances_are_of_whole_volumes(store):
    run = open_run(store)
    rows = run.table("predictions")
    sizes, drops = {}, {}
    attributes = run.attributes("heatmaps/holdout/occlusion/AD/probability")
    for row in rows.itertuples():
        size = np.abs(gradient(run, row.scan, store, 1 if row.predicted == "AD" else -1))
        stored = np.abs(run.heatmap("holdout", "sensitivity", row.scan, target="predicted"))
        np.testing.assert_allclose(stored[run.mask], size[run.mask], atol=1e-4 * size.max())
        assert size[~run.mask].sum() > 0.05 * size.sum()  # much lies outside the brain
        sizes[row.scan] = size * row.probability * (1 - row.probability)
        native = run.heatmap("holdout", "occlusion", row.scan, target="predicted", scale="probability", full=False)
        drops[row.scan] = np.maximum(positions_to_voxels(native, attributes["stride"], run.mask.shape), 0)
    pair = {"method_a": "sensitivity", "method_b": "occlusion"}
    of_scans = run.table("scan_distances", **pair).set_index("scan")["distance"]
    for row in rows.itertuples():
        if drops[row.scan].any():
            assert of_scans[row.scan] == pytest.approx(distance(sizes[row.scan], drops[row.scan]), rel=1e-3)
    for diagnosis in run.groups:
        mine = rows["scan"][rows["diagnosis"] == diagnosis]
        averages = [sum(maps[scan] for scan in mine) for maps in (sizes, drops)]
        (found,) = run.table("distances", level="group", diagnosis=diagnosis, **pair)["distance"]
        assert found == pytest.approx(distance(*averages), rel=1e-3)
        inside = distance(*(average[run.mask] for average in averages))
        assert abs(found - inside) > 0.01 * inside  # the option does something


def test_what_is_stored_stays_inside_the_brain(store):
    run = open_run(store)
    scan = run.table("predictions")["scan"].iloc[0]
    for method in ("sensitivity", "guided_backprop", "occlusion"):
        assert not run.heatmap("holdout", method, scan, target="predicted")[~run.mask].any()
