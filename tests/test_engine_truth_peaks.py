"""Scores of the most relevant voxels and regions: by hand on tiny maps, and against a plain loop over voxels."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from engine.analysis.truth import RegionTruth, TruthScorer
from engine.analysis.truth_peaks import region_hits, top_shares

ONE_REGION = RegionTruth(np.ones(1), np.ones(1, bool))


def _by_loop(relevance: np.ndarray, truth: np.ndarray, mask: np.ndarray, mm: float) -> dict[str, float]:
    """The four scores by the words of their definition, one voxel after another; values without ties."""
    sigma = 2.0 / (2 * math.sqrt(2 * math.log(2))) / mm
    radius = int(4 * sigma + 0.5)
    line = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(-radius, radius + 1)]
    line = [weight / sum(line) for weight in line]
    offsets = range(-radius, radius + 1)
    places = list(itertools.product(*(range(n) for n in truth.shape)))
    smooth = {}
    for place in places:
        total = 0.0
        for offset in itertools.product(offsets, repeat=3):
            other = tuple(a + b for a, b in zip(place, offset, strict=True))
            if all(0 <= a < n for a, n in zip(other, truth.shape, strict=True)) and mask[other]:
                total += relevance[other] * math.prod(line[b + radius] for b in offset)
        smooth[place] = total
    real = [place for place in places if truth[place]]
    mirror = [(truth.shape[0] - 1 - x, y, z) for x, y, z in real]

    def away(place: tuple, others: list) -> float:
        return mm * min(math.dist(place, other) for other in others)

    brain = [place for place in places if mask[place]]
    top = sorted(brain, key=smooth.get, reverse=True)[: math.ceil(len(brain) / 100)]
    near = [place for place in brain if away(place, real) <= 2]
    both = [place for place in brain if away(place, real + mirror) <= 2]
    total = sum(smooth[place] for place in top)
    accuracy = sum(smooth[place] for place in top if place in near) / total
    limit = np.percentile([smooth[place] for place in real if mask[place]], 99)
    far = [place for place in brain if away(place, real) > 20]
    return {
        "relevance_mass_accuracy": accuracy,
        "relevance_mass_gain": accuracy / (len(near) / len(brain)),
        "mirrored_mass_accuracy": sum(smooth[place] for place in top if place in both) / total,
        "fpr": float(any(smooth[place] > limit for place in far)) if far else math.nan,
    }


@pytest.mark.parametrize(("mm", "seed", "strength"), [(1, 0, 0.4), (2, 1, 0.3), (2, 2, 0.0), (4, 3, 1.5), (4, 4, 0.2)])
def test_the_scores_are_those_of_a_loop_over_voxels(mm, seed, strength):
    random, shape = np.random.default_rng(seed), (15, 12, 11)
    mask = random.random(shape) > 0.1
    truth = np.zeros(shape, bool)
    truth[2:5, 3:6, 2:5] = True
    truth &= mask
    relevance = (random.random(shape) + strength * truth + 0.2 * truth[::-1]).astype(np.float32)
    found = TruthScorer(truth, mask, mask.astype(int), ONE_REGION, mm)(relevance)
    known = _by_loop(np.where(mask, relevance, 0), truth, mask, mm)
    assert {name: found[name] for name in known} == pytest.approx(known, rel=1e-4, nan_ok=True)


def test_a_line_of_voxels_by_hand():
    """200 voxels of 4 mm in a row: the top 1 % are two. Smoothing by 2 mm gives a neighbour 1.5e-5."""
    shape = (200, 1, 1)
    mask, truth, relevance = np.ones(shape, bool), np.zeros(shape, bool), np.zeros(shape)
    truth[10:20] = True
    relevance[12], relevance[189], relevance[30] = 3.0, 1.0, 0.5  # 189 mirrors 10
    scorer = TruthScorer(truth, mask, mask.astype(int), ONE_REGION, 4)
    found = scorer(relevance)
    assert found["relevance_mass_accuracy"] == pytest.approx(0.75, abs=1e-4)
    assert found["relevance_mass_gain"] == pytest.approx(0.75 * 200 / 10, abs=1e-2)
    assert found["mirrored_mass_accuracy"] == pytest.approx(1)
    assert found["fpr"] == 0  # the 99th percentile of the ten values inside is between 0 and 3, nearly 3
    relevance[25] = 2.9  # 6 voxels, 24 mm from the truth, above the percentile of 2.73
    assert scorer(relevance)["fpr"] == 1
    relevance[25], relevance[24] = 0, 2.9  # 20 mm are not more than 20 mm
    assert scorer(relevance)["fpr"] == 0


def test_no_voxel_far_away_is_no_rate_of_0():
    truth = np.zeros((5, 5, 5), bool)
    truth[2, 2, 2] = True
    mask = np.ones_like(truth)
    assert np.isnan(TruthScorer(truth, mask, mask.astype(int), ONE_REGION, 4)(truth.astype(float))["fpr"])


def test_equal_voxels_share_the_room_whatever_their_order():
    """Of 300 voxels the top 1 % are three: one of 2, and two of the four of 1, of which one is inside."""
    values = np.zeros(300)
    values[[7, 50, 100, 150, 299]] = 2, 1, 1, 1, 1
    inside = np.zeros(300, bool)
    inside[[7, 299]] = True
    known = (2 + 2 * 1 / 4) / (2 + 2)
    assert top_shares(values, [inside, ~inside]) == pytest.approx([known, 1 - known])
    assert top_shares(values[::-1], [inside[::-1]]) == pytest.approx([known])


def test_regions_hit_strongly_weakly_or_not():
    imposed = np.array([False, True, False, False, True])
    assert region_hits(np.array([0.1, 0.9, 0.3, 0.2, 0.0]), imposed) == [1, 1]
    assert region_hits(np.array([0.8, 0.5, 0.9, 0.2, 0.0]), imposed) == [0, 1]
    assert region_hits(np.array([0.8, 0.1, 0.9, 0.2, 0.0]), imposed) == [0, 0]
    labels = np.arange(5).reshape(5, 1, 1) + 1
    mask, truth = np.ones((5, 1, 1), bool), labels == 2
    named = np.array([True, True, False, True, True])  # the third is what is left of the mask: it counts for nothing
    found = TruthScorer(truth, mask, labels, RegionTruth(imposed * 0.2, named), 4)(
        np.array([0.1, 0.5, 0.9, 0.2, 0.0]).reshape(5, 1, 1)
    )
    assert (found["tpr_strong"], found["tpr_weak"]) == (1, 1)
