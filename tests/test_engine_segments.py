"""Segments of a scan: they follow its intensities, are nested, and are the same every time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from engine.cli.network_costs import method_passes, network_cost
from engine.config.loading import load_config
from engine.errors import UserError
from engine.pipeline.explain import build_method
from engine.relevance import BatchSize, Brain, SegmentOcclusion
from engine.relevance.segments import segmentations

SHAPE = (30, 34, 28)
LEVELS = (2, 6, 40)


@pytest.fixture(scope="module")
def head() -> tuple[np.ndarray, np.ndarray]:
    """(intensities, mask): a bright ball beside the middle of a dark ellipsoid, with noise."""
    x, y, z = (np.indices(SHAPE).T - (np.array(SHAPE) - 1) / 2).T
    mask = (x / 13) ** 2 + (y / 15) ** 2 + (z / 12) ** 2 < 1
    ball = (x - 3) ** 2 + (y + 2) ** 2 + z**2 < 36
    noise = np.random.default_rng(0).normal(0, 0.05, SHAPE)
    return np.where(mask, 1.0 + ball + noise, 0.0), mask


@pytest.fixture(scope="module")
def levels(head) -> np.ndarray:
    return segmentations(*head, 2, LEVELS, 0.2)


def test_every_voxel_of_the_brain_is_in_one_segment_of_each_level(levels, head):
    _, mask = head
    assert levels.shape == (len(LEVELS), *SHAPE)
    assert not levels[:, ~mask].any()
    for level, count in zip(levels, LEVELS, strict=True):
        assert np.unique(level[mask]).tolist() == list(range(1, count + 1))


def test_each_level_lies_in_the_one_before(levels, head):
    _, mask = head
    for coarse, fine in itertools.pairwise(levels):
        for segment in np.unique(fine[mask]):
            assert len(np.unique(coarse[fine == segment])) == 1


def test_segments_follow_the_intensities(levels, head):
    intensities, mask = head
    inside = mask & (intensities > 1.5)
    two = levels[0]
    shares = [inside[two == segment].mean() for segment in (1, 2)]
    assert max(shares) > 0.9
    assert min(shares) < 0.1
    rounder = segmentations(intensities, mask, 2, LEVELS, 20.0)[0]
    assert max(inside[rounder == segment].mean() for segment in (1, 2)) < 0.6


def test_intensities_in_other_units_give_the_same_segments(levels, head):
    intensities, mask = head
    np.testing.assert_array_equal(segmentations(40 * intensities + 7 * mask, mask, 2, LEVELS, 0.2), levels)


def test_a_small_or_empty_scan_has_as_many_segments_as_it_can():
    mask = np.zeros((4, 4, 4), bool)
    mask[1, 1, 1:3] = True
    assert segmentations(np.ones(mask.shape), mask, 4, (5,), 0.5).max() <= 2
    mask[1, 1, 2] = False
    assert segmentations(np.zeros(mask.shape), mask, 4, (5,), 0.5).max() == 1


def test_the_scan_is_cut_before_the_normalisation(head):
    """Where every training scan has the ball, the z-scores do not show it; the scan does."""
    intensities, mask = (torch.from_numpy(part) for part in head)
    mean = torch.where(mask & (intensities > 1.5), 2.0, 1.0)
    spread = torch.full(SHAPE, 0.05)
    brain = Brain(mask, mask.to(torch.int16), 1, 2, mean=mean, spread=spread)
    scores = torch.where(mask, (intensities - mean) / spread, torch.zeros(())).float()
    method = SegmentOcclusion(brain, BatchSize(4), levels=LEVELS, compactness=0.2)
    two = method.segmentations(scores)[0]
    ball = (intensities > 1.5).float()
    assert max(ball[two == segment].mean() for segment in (1, 2)) > 0.9
    blind = SegmentOcclusion(Brain(mask, mask.to(torch.int16), 1, 2), BatchSize(4), levels=LEVELS, compactness=0.2)
    assert max(ball[blind.segmentations(scores)[0] == segment].mean() for segment in (1, 2)) < 0.8


def test_settings_reach_the_method():
    given = {"levels": [4, 9], "compactness": 1.5, "reference": "blurred"}
    config = load_config(overrides={f"explain.segment_occlusion.{key}": value for key, value in given.items()})
    mask = torch.ones(2, 2, 2, dtype=torch.bool)
    method = build_method("segment_occlusion", config, Brain(mask, mask.to(torch.int16), 1, 4), BatchSize(1))
    assert method.parameters() == given | {"levels": (4, 9), "engine": "incremental"}
    of_segments, of_areas = (
        method_passes(config, network_cost(config), f"{kind}_occlusion") for kind in ("segment", "area")
    )
    assert of_segments == pytest.approx(13 / 120 * of_areas)


@pytest.mark.parametrize("levels", [[9, 4], [4, 4], [], [1]])
def test_levels_that_are_no_hierarchy_are_refused(levels):
    with pytest.raises(UserError, match=r"explain\.segment_occlusion"):
        load_config(overrides={"explain.segment_occlusion.levels": levels})


def test_it_is_computed_only_where_it_is_asked_for():
    assert "segment_occlusion" not in load_config().explain.folds
    chosen = load_config(overrides={"explain.folds": ["sensitivity", "segment_occlusion"]})
    assert chosen.explain.folds == ["sensitivity", "segment_occlusion"]
