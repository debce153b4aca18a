"""Networks trained at once in several processes: the same networks, progress as it happens, clear failures."""

from __future__ import annotations

import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine import parallel
from engine.cohort.splits import Job
from engine.config.schema import TrainingConfig
from engine.errors import RunError
from engine.images.grid import Grid
from engine.preprocessing.volume_cache import pack, write_part
from engine.training import parallel as training_parallel
from engine.training.objective import Classification
from engine.training.parallel import Training, processes_for, train_all
from engine.training.trainer import TrainingSetup

IDS = [f"s{i}" for i in range(8)]


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("cohort"), np.random.default_rng(0)
    for number, scan in enumerate(IDS):
        volume = rng.normal(1, 0.1, Grid(4).shape).astype(np.float32)
        volume[10:25, 10:25, 10:25] += 0.3 * (number % 2)
        write_part(folder / "parts", scan, volume, {})
    cache = pack(folder / "parts", dict.fromkeys(IDS, ""), folder / "volumes.h5", "made")
    mask = np.zeros(Grid(4).shape, bool)
    mask[5:45, 5:50, 5:45] = True
    config = TrainingConfig(epochs=2, batch_size=3, learning_rate=1e-3)
    positive = {scan: number % 2 == 1 for number, scan in enumerate(IDS)}
    return TrainingSetup(Classification(positive), cache.read, mask, 4, config, torch.device("cpu"), folder)


JOBS = [
    Job(f"fold-{k}", "folds", k, tuple(IDS[:3] + IDS[4:7]), (IDS[3], IDS[7]), (IDS[3], IDS[7])) for k in range(1, 4)
]


def _train(setup: TrainingSetup, folder, processes: int, epochs: list):
    config = setup.config.model_copy(update={"processes": processes})
    return train_all(JOBS, replace(setup, config=config, folder=folder), Training(lambda: epochs.append(1), print))


def test_processes_train_the_same_networks(setup, tmp_path):
    epochs: list[int] = []
    alone, together = (_train(setup, tmp_path / str(n), n, epochs) for n in (1, 2))
    assert len(epochs) == 2 * 3 * 2
    assert [one.job.model for one in together] == ["fold-1", "fold-2", "fold-3"]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one.margin, other.margin, rtol=1e-3, atol=1e-4)
        assert [row["epoch"] for row in other.curve] == [1, 2]
    again = _train(setup, tmp_path / "2", 2, epochs)  # from the checkpoints
    assert [one.weights for one in again] == [one.weights for one in together]


def test_few_processes_where_there_is_little_to_gain_or_no_room(setup):
    jobs, voxels = JOBS * 3, setup.mask.size
    assert processes_for(jobs, setup.config, voxels, "cpu") == 1
    long = setup.config.model_copy(update={"epochs": 1000})
    assert processes_for(jobs, long, voxels, "cpu") == min(len(jobs), torch.get_num_threads())
    assert processes_for(jobs, long, math.prod(Grid(1).shape), "cpu") == 1
    wide = long.model_copy(update={"network": "korolev2017_residual", "batch_size": 5})
    assert processes_for(jobs, wide, voxels, "cpu") == 1
    assert processes_for(jobs, long, voxels, "cuda") == 1
    assert processes_for(jobs[:1], long, voxels, "cpu") == 1


def test_a_training_process_that_is_killed(setup, tmp_path, monkeypatch):
    monkeypatch.setattr(training_parallel, "train_one", _die)
    with pytest.raises(RunError, match=r"training process ended.*finished epochs are kept.*training.processes=1"):
        _train(setup, tmp_path, 2, [])


def _die(setup: TrainingSetup, job: Job) -> None:
    os._exit(9)


def _twice(number: int) -> int:
    parallel.tell(f"had {number}")
    return 2 * number


@pytest.mark.parametrize("processes", [1, 2])
def test_workers_tell_while_they_work(processes):
    heard: list[str] = []
    assert sorted(parallel.run(_twice, [1, 2, 3], processes, heard.append)) == [2, 4, 6]
    assert sorted(heard) == ["had 1", "had 2", "had 3"]
    parallel.tell("nobody listens")
