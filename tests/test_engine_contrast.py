"""Maps of the training groups against scikit-learn and SciPy on all voxels at once, and where their signal lies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.svm import SVC

from engine.analysis import contrast
from engine.analysis.contrast import contrast_groups
from engine.cohort.splits import Job
from engine.config.schema import RunConfig
from engine.errors import RunError
from engine.pipeline.inputs import needs_training_scans
from engine.pipeline.training_maps import training_maps
from store.keys import TRAINING_MAPS

VOXELS = 300


@pytest.fixture(scope="module")
def scans() -> dict[str, np.ndarray]:
    """24 scans with noise that voxels share, ten of them with more in the first half of the voxels."""
    random, found = np.random.default_rng(3), {}
    for number in range(24):
        values = random.standard_normal(VOXELS) * 0.3
        values += random.standard_normal()
        values[: VOXELS // 2] += 1.0 if number < 10 else -1.0
        values[0] = 0.25  # never varies
        found[f"s{number}"] = values.astype(np.float32)
    return found


@pytest.mark.parametrize("block", [2**28, 4 * VOXELS * 5])
def test_maps_are_those_of_the_libraries_however_many_scans_are_in_memory(scans, monkeypatch, block):
    monkeypatch.setattr(contrast, "BLOCK_BYTES", block)
    names = list(scans)
    positive, negative, values = names[:10], names[10:], np.stack(list(scans.values())).astype(float)
    largest = []

    def read(some):
        largest.append(len(some))
        return np.stack([scans[name] for name in some])

    found = contrast_groups(read, positive, negative)
    assert max(largest) == min(24, block // (4 * VOXELS))
    welch = stats.ttest_ind(values[:10, 1:], values[10:, 1:], equal_var=False).statistic
    np.testing.assert_allclose(found["t_map"][1:], welch, rtol=1e-4)
    machine = SVC(kernel="linear", C=1.0, class_weight="balanced", tol=1e-6).fit(values, np.arange(24) < 10)
    np.testing.assert_allclose(found["linear_weights"], machine.coef_[0], atol=2e-4 * np.abs(machine.coef_).max())
    decision = values @ machine.coef_[0]
    pattern = [np.cov(voxel, decision)[0, 1] / decision.var(ddof=1) for voxel in values.T]
    np.testing.assert_allclose(found["linear_pattern"], pattern, atol=2e-3 * np.abs(pattern).max())
    assert [found[name][0] for name in found] == pytest.approx([0, 0, 0], abs=1e-4)


def test_weights_cancel_what_is_no_signal_and_the_pattern_does_not_mark_it():
    """Haufe et al. 2014: the distractor has a large weight although the groups do not differ there."""
    random = np.random.default_rng(5)
    shared, group = random.standard_normal(400) * 2, np.where(np.arange(400) < 150, 1.0, -1.0)
    noise = random.standard_normal((400, 3)) * 0.1
    values = (noise + np.stack([group + shared, shared, 0 * shared], axis=1)).astype(np.float32)
    names = [str(number) for number in range(400)]
    found = contrast_groups(lambda some: values[[int(name) for name in some]], names[:150], names[150:])
    weights, pattern = found["linear_weights"], found["linear_pattern"]
    assert weights[0] > 0.5
    assert weights[1] == pytest.approx(-weights[0], rel=0.1)
    assert abs(pattern[1]) < 0.2 * pattern[0]


def test_a_group_of_one_scan_is_refused(scans):
    with pytest.raises(ValueError, match="at least two training scans of each group"):
        contrast_groups(lambda some: np.stack([scans[name] for name in some]), ["s0"], ["s1", "s2"])


class Cohort:
    """As much of a run as maps of its training groups need; it counts how often scans are read."""

    groups = ("AD", "NC")

    def __init__(self, folder, scans: dict[str, np.ndarray]) -> None:
        self.work, self.reads, self._scans = folder, 0, scans
        self.mask = np.ones((10, 6, 5), bool)
        self.mask[0] = False

    def training_scans(self, job: Job):
        def read(names):
            self.reads += len(names)
            return np.stack([self._scans[name].reshape(self.mask.shape) for name in names])

        return {"AD": [s for s in job.train if int(s[1:]) < 10], "NC": [s for s in job.train if int(s[1:]) >= 10]}, read


def _job(model: str, train) -> Job:
    return Job(model, "holdout", 0, tuple(train), (), ())


def test_maps_of_a_network_are_made_once_of_its_own_training_scans(tmp_path, scans):
    run = Cohort(tmp_path, scans)
    found = training_maps(run, _job("holdout", scans), lambda volumes: 2 * volumes)
    reads = run.reads
    again = training_maps(run, _job("holdout", scans), lambda volumes: 2 * volumes)
    assert run.reads == reads > 0
    assert tuple(found) == tuple(again) == TRAINING_MAPS
    direct = contrast_groups(
        lambda names: np.stack([2 * scans[n].reshape(run.mask.shape)[run.mask] for n in names]),
        list(scans)[:10], list(scans)[10:],
    )  # fmt: skip
    for name in TRAINING_MAPS:
        np.testing.assert_array_equal(found[name], again[name])
        np.testing.assert_array_equal(found[name][run.mask], direct[name])
        assert not found[name][~run.mask].any()
    other = training_maps(run, _job("fold-1", list(scans)[2:20]), lambda volumes: volumes)
    assert not np.allclose(other["t_map"], found["t_map"])
    with pytest.raises(RunError, match=r"fold-2: .* take the baselines out of explain"):
        training_maps(run, _job("fold-2", list(scans)[9:20]), lambda volumes: volumes)


def test_training_scans_are_needed_only_where_a_method_of_a_trained_network_asks():
    asked = {"holdout": ["sensitivity", "sobel"], "folds": ["t_map"]}
    assert needs_training_scans(RunConfig(explain=asked))
    assert not needs_training_scans(RunConfig(explain=asked, training={"models": ["holdout"]}))
    assert needs_training_scans(RunConfig(explain={"occlusion": {"reference": "nc_mean"}}))
    assert not needs_training_scans(RunConfig())
