"""Deletion and insertion: a network whose best order is known, other ways to the same margins, marks beside a truth."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from engine.analysis.faithfulness import (
    FRACTIONS,
    curve_and_area,
    mean_over_subjects,
    region_steps,
    usable_scans,
    voxel_steps,
)
from engine.analysis.false_positives import beside_truth, marked_voxels
from engine.networks.cnn3d import CNN3D
from engine.pipeline.trust.faithfulness import summarise
from engine.pipeline.trust.replaced import Curves
from engine.relevance import BatchSize
from engine.relevance.replacement import Replacement, replacement_margins

SHAPE = (4, 5, 6)


class Linear(nn.Module):
    """Margin = the sum of weights times voxels."""

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.from_numpy(weights.astype(np.float32)))

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        evidence = (volumes[:, 0] * self.weights).sum(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(evidence), evidence], dim=1)


def _areas(relevance: np.ndarray, weights: np.ndarray, volume: np.ndarray, labels: np.ndarray | None) -> list[float]:
    """The areas of deletion and insertion of the linear network, by region or by voxel."""
    rng = np.random.default_rng(0)
    if labels is None:
        steps = voxel_steps(relevance.ravel(), rng)
    else:
        steps = region_steps(relevance.ravel(), labels.ravel(), rng)
    at = torch.from_numpy(steps.of_voxel.reshape(SHAPE))
    whole, nothing = torch.from_numpy(volume.astype(np.float32)), torch.zeros(SHAPE)
    found = []
    for start, end in ((whole, nothing), (nothing, whole)):
        replacement = Replacement(start, end, at, steps.count)
        margins = replacement_margins(Linear(weights), replacement, 1, BatchSize(4), local=False).numpy()
        ends = (margins[0], margins[-1]) if start is whole else (margins[-1], margins[0])
        curve, area = curve_and_area(margins, steps.fractions, *ends)
        assert (curve[0], curve[-1]) == pytest.approx((1, 0) if start is whole else (0, 1))
        found.append(area)
    return found


@pytest.mark.parametrize("unit", ["voxel", "region"])
def test_of_a_linear_network_the_order_by_contribution_is_the_best_of_all(unit):
    rng = np.random.default_rng(1)
    labels = (np.arange(120) // 24 + 1).reshape(SHAPE) if unit == "region" else None  # five regions of equal size
    weights, volume = rng.normal(size=SHAPE), rng.normal(size=SHAPE)
    contribution = weights * volume
    if contribution.sum() < 0:
        weights, contribution = -weights, -contribution
    best = _areas(contribution, weights, volume, labels)
    if labels is None:
        others = [rng.permutation(contribution.ravel()).reshape(SHAPE) for _ in range(50)]
    else:
        others = [np.array([0, *order])[labels] for order in itertools.permutations(range(5))]
    found = np.array([_areas(other, weights, volume, labels) for other in others])
    assert best[0] == pytest.approx(min(best[0], found[:, 0].min()))
    assert best[1] == pytest.approx(max(best[1], found[:, 1].max()))
    assert found[:, 0].max() > best[0] + 0.1
    assert _areas(-contribution, weights, volume, labels)[0] >= found[:, 0].max() - 1e-9
    if labels is not None:  # in a linear network, deletion in one order is insertion's complement
        sums = np.sort([contribution[labels == region].sum() for region in range(1, 6)])[::-1] / contribution.sum()
        curve = 1 - np.concatenate([[0], np.cumsum(sums)])
        assert best[0] == pytest.approx(np.trapezoid(curve, np.arange(6) / 5), rel=1e-5)


def test_steps_by_hand():
    rng = np.random.default_rng(0)
    steps = region_steps(np.array([1.0, 3, 2, 5, 0, 0]), np.array([4, 4, 4, 2, 7, 7]), rng)
    assert steps.of_voxel.tolist() == [2, 2, 2, 1, 3, 3]  # means 2, 5, 0; the sum would put the first region first
    assert steps.fractions.tolist() == pytest.approx([0, 1 / 6, 4 / 6, 1])
    steps = voxel_steps(np.arange(200.0), rng)
    assert np.flatnonzero(steps.of_voxel == 1).tolist() == [198, 199]  # 1 %
    assert np.flatnonzero(steps.of_voxel == 2).tolist() == [196, 197]  # to 2 %
    assert [(steps.of_voxel <= k).mean() for k in range(14)] == pytest.approx(FRACTIONS.tolist())
    first = np.mean([voxel_steps(np.zeros(100), np.random.default_rng(k)).of_voxel for k in range(200)], axis=0)
    assert np.ptp(first) < 3  # equal voxels have no place by where they lie


def _cnn(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    network = CNN3D((30, 31, 32), (2, 2, 1, 1), 0.5, 2, (3, 4, 5, 6))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.3, 2)
                module.bias.normal_(0, 0.3)
    return network.eval()


@pytest.mark.parametrize("seed", range(3))
def test_local_steps_equal_whole_passes_and_a_loop_over_volumes(seed):
    network, rng = _cnn(seed), np.random.default_rng(seed)
    labels = rng.integers(0, 3, (30, 31, 32)).astype(np.int32) * 4  # scattered over the whole volume
    for step in (1, 2, 3, 6, 7):  # small boxes, also at the borders; 5 replaces nothing
        low = rng.integers(0, 20, 3) * (step != 7)
        labels[tuple(slice(a, a + 6) for a in low)] = step
    volume, fill = (torch.from_numpy(rng.normal(size=labels.shape).astype(np.float32)) for _ in range(2))
    replacement = Replacement(volume, fill, torch.from_numpy(labels), 8)
    local, whole = (replacement_margins(network, replacement, 1, BatchSize(3), local=x).numpy() for x in (True, False))
    expected, current = [], volume.clone()
    with torch.no_grad():
        for step in range(9):
            current = torch.where(torch.from_numpy((labels == step) & (step > 0)), fill, current)
            logits = network(current[None, None])[0]
            expected.append(float(logits[1] - logits[0]))
    assert np.ptp(expected) > 1e-4
    np.testing.assert_allclose(whole, expected, atol=2e-6)
    np.testing.assert_allclose(local, expected, atol=2e-6)


def test_scans_whose_ends_are_nearly_equal_have_no_curve():
    whole, nothing = np.array([3.0, -2.0, 0.1, 4.0, 1.0]), np.array([0.0, 0.0, 0.0, 0.0, 1.0])
    assert usable_scans(whole, nothing).tolist() == [True, True, False, True, False]
    assert not usable_scans(np.ones(3), np.ones(3)).any()


def test_both_directions_of_evidence_fall_from_one_to_nothing():
    """A control: the whole scan is below the mean brain, and what is replaced brings it up."""
    curve, area = curve_and_area(np.array([-4.0, -1.0, 0.0]), np.array([0.0, 0.5, 1.0]), -4.0, 0.0)
    assert (curve[0], curve[-1], area) == pytest.approx((1, 0, 0.5 * (1 + 0.25) / 2 + 0.5 * 0.25 / 2))
    assert curve[FRACTIONS.tolist().index(0.5)] == pytest.approx(0.25)


def test_means_are_over_subjects_and_intervals_need_five():
    few = mean_over_subjects(np.array([[1.0], [3.0], [5.0]]), np.array(["a", "a", "b"]), 100, 0)
    assert few.value[0] == pytest.approx(3.5)
    assert np.isnan([few.low[0], few.high[0]]).all()
    many = mean_over_subjects(np.arange(20.0)[:, None], np.arange(20), 2000, 0)
    error = np.arange(20).std() / np.sqrt(20)
    assert many.low[0] == pytest.approx(9.5 - 1.96 * error, abs=0.3)
    assert many.high[0] == pytest.approx(9.5 + 1.96 * error, abs=0.3)
    assert np.isnan(mean_over_subjects(np.zeros((0, 2)), np.array([]), 100, 0).value).all()


def test_gains_are_paired_and_count_who_is_left_out():
    class Config:
        class analysis:
            bootstrap = 500

        seed = 0

    run = type("Run", (), {"config": Config})
    scans = pd.DataFrame({"subject": [f"s{i}" for i in range(12)], "diagnosis": ["AD"] * 6 + ["NC"] * 6})
    rng = np.random.default_rng(0)
    own, random = Curves.missing(12), Curves.missing(12)
    spread = rng.normal(size=12) * 5
    for curves, better in ((own, 0), (random, 0.2)):
        curves.areas[:11] = (spread[:11] + better)[:, None, None]
        curves.curves[:11] = 0.5
    rows, steps = summarise(run, scans, {"method": own, "random": random})
    table = pd.DataFrame(rows).set_index(["diagnosis", "unit", "direction", "order"])
    row = table.loc["all", "region", "deletion", "random"]
    assert (row["gain"], row["gain_low"], row["gain_high"]) == pytest.approx((0.2, 0.2, 0.2))
    assert row["area_high"] - row["area_low"] > 2  # paired: the gain has nothing of this
    assert table.loc["all", "region", "insertion", "random"]["gain"] == pytest.approx(-0.2)
    assert table.loc["NC", "voxel", "deletion", "method"]["gain"] == 0
    assert row[["scans", "subjects", "left_out"]].tolist() == [11, 11, 1]
    assert table.loc["AD", "region", "deletion", "random"]["left_out"] == 0
    assert len(steps) == 3 * 4 * 2 * len(FRACTIONS)


def test_marks_beside_a_truth_by_hand():
    mask = np.ones((9, 5, 5), bool)
    truth, heatmap = np.zeros(mask.shape, bool), np.zeros(mask.shape, np.float32)
    truth[1, 2, 2] = True  # on the left
    heatmap[1, 2, 2], heatmap[7, 2, 2], heatmap[3, 0, 0], heatmap[6, 4, 4] = -9, 8, -7, 0.1
    marked = marked_voxels(heatmap, mask, grid_mm=4)
    assert marked.sum() == round(0.01 * mask.sum()) == 2
    assert marked[1, 2, 2]
    assert marked[7, 2, 2]
    # The second mark is outside, but its mirror image is the truth itself: it has no control.
    beside = beside_truth(marked, truth, mask, grid_mm=4)
    assert beside.share_outside == 0.5
    assert not beside.marked.any()
    marked[3, 0, 0] = True
    beside = beside_truth(marked, truth, mask, grid_mm=4)
    assert beside.share_outside == pytest.approx(2 / 3)
    assert np.argwhere(beside.marked).tolist() == [[3, 0, 0]]
    assert np.argwhere(beside.mirrored).tolist() == [[5, 0, 0]]
    marked = np.zeros(mask.shape, bool)
    marked[2, 2, 2] = True  # beside the truth: 4 mm away on one grid, within the tolerance on another
    assert beside_truth(marked, truth, mask, grid_mm=4).share_outside == 1
    assert beside_truth(marked, truth, mask, grid_mm=2).share_outside == 0
    assert not marked_voxels(np.zeros(mask.shape), mask, 4).any()
    assert np.isnan(beside_truth(np.zeros(mask.shape, bool), truth, mask, 4).share_outside)
