"""Stability: maps made by hand, resamples by brute force, changes of scans and what undoes them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from engine.analysis.stability import (
    GroupMeans,
    MapComparer,
    People,
    ScanAgreement,
    agreement,
    known_mean,
    networks_in_agreement,
    scan_interval,
    scan_mean,
)
from engine.images.template import brain_mask, template_brain, white_matter_level
from engine.pipeline.trust import changed_scans
from engine.pipeline.trust.parts import once
from store.measures import draw_subjects, most_relevant

LABELS = np.repeat(np.arange(1, 16), 40)  # fifteen regions of forty voxels; the five last belong to none
COMPARER = MapComparer(LABELS, 12)


def traits(signed: np.ndarray, relevance: np.ndarray | None = None):
    return COMPARER.traits(signed, np.abs(signed) if relevance is None else relevance)


def maps(count: int, seed: int = 0) -> np.ndarray:
    """Random signed maps with ties, (count, n)."""
    return np.round(np.random.default_rng(seed).normal(size=(count, len(LABELS))), 2).astype(np.float32)


def test_a_map_agrees_with_itself_and_its_opposite_in_size_alone():
    one = maps(1)[0]
    assert agreement(traits(one), traits(one)) == pytest.approx([1, 1, 1])
    assert agreement(traits(one), traits(-one)) == pytest.approx([-1, 1, 1])


def test_rank_correlation_is_scipys_also_with_ties():
    for seed in range(5):
        one, two = maps(2, seed)
        two = np.round(one + two, 1)
        found = agreement(traits(one), traits(two))[0]
        assert found == pytest.approx(stats.spearmanr(one, two).statistic, abs=1e-6)


def test_dice_and_first_regions_by_hand():
    # Thirty of 600 voxels are the 5 %. The first map has them in region 1, the second half in 1 and half in 2.
    one, two = np.full((2, len(LABELS)), 0.01)
    one[:30] = 1
    two[15:30] = two[40:55] = 1
    # By density, region 1 is first; of the others eleven are alike, and the first nine of them are in the list.
    found = agreement(traits(one), traits(two))
    assert found[1] == pytest.approx(2 * 15 / 60)
    assert found[2] == 1  # regions 1 and 2, and 3 to 10 after them in both lists
    one[40 * 11 : 40 * 12] = 0.02  # region 12 enters the list of the first map, and region 10 leaves it
    assert agreement(traits(one), traits(two))[2] == pytest.approx(0.9)


def test_a_large_region_comes_before_a_dense_one_by_sum_but_not_by_density():
    labels = np.array([1] * 90 + [2] * 10)
    comparer = MapComparer(labels, 2)
    dense = np.where(labels == 2, 2.0, 0.5)
    first = comparer.traits(dense, dense)
    assert first.regions == {0, 1}
    many = MapComparer(np.repeat(np.arange(1, 12), [5] + [50] * 10), 11)
    small = np.repeat(np.arange(1, 12), [5] + [50] * 10) == 1
    assert 0 in many.traits(small + 0.9, small + 0.9).regions  # 9.5 in all, against 45 in any other


def test_what_has_nothing_to_compare_is_missing():
    empty, one = np.zeros(len(LABELS)), maps(1)[0]
    assert np.isnan(agreement(traits(empty), traits(one))).all()
    drops = -np.abs(one)  # an occlusion where all drops speak against the group
    found = agreement(traits(drops, np.maximum(drops, 0)), traits(one))
    assert np.isfinite(found[0])
    assert np.isnan(found[1:]).all()
    outside = np.where(LABELS > 12, 1.0, 0)  # relevance in no region
    assert np.isnan(agreement(traits(outside), traits(one))[2])


def test_maps_of_other_people_are_the_same_version_of_the_last_scan_of_another_subject():
    versions = maps(8).reshape(4, 2, -1)
    people = People(np.array([0, 0, 1, 2]), np.ones(4), np.array(["AD", "AD", "AD", "NC"], object))
    gathered = ScanAgreement(people, 2)
    own = [[traits(one) for one in two] for two in versions]
    for scan in (0, 1, 3, 2):
        gathered.add(scan, own[scan])
    assert gathered.pairs[:, 0] == pytest.approx(np.array([agreement(*two) for two in own]))
    pairs = {"AD": [(1, 2)], None: [(1, 3), (3, 2)]}  # 0 and 1 are of one person
    for group, expected in pairs.items():
        direct = [agreement(own[a][v], own[b][v]) for a, b in expected for v in (0, 1)]
        assert gathered.others(group) == pytest.approx(np.mean(direct, axis=0))
    assert np.isnan(gathered.others("NC")).all()


def test_means_over_scans_weigh_people_and_leave_out_what_is_missing():
    values = np.array([[1.0], [3.0], [4.0], [np.nan], [0.0], [2.0]])
    people = People(np.array([0, 0, 1, 2, 3, 4]), np.array([0.5, 0.5, 1, 1, 1, 1]), np.full(6, "AD", object))
    draws = draw_subjects(5, 400, 1)
    assert scan_mean(values, people)[0] == pytest.approx((2 + 4 + 0 + 2) / 4)
    low, high = (end[0] for end in scan_interval(values, people, draws))
    of_subjects = np.array([2, 4, np.nan, 0, 2])
    direct = [np.nanmean(np.repeat(of_subjects, draw)) for draw in draws]
    assert [low, high] == pytest.approx(np.percentile(direct, [2.5, 97.5]))
    few = people.of(np.arange(6) < 3)
    assert scan_mean(values[:3], few)[0] == pytest.approx(3)
    assert np.isnan(scan_interval(values[:3], few, draw_subjects(2, 10, 0))).all()


def test_group_averages_and_their_resamples_by_brute_force():
    versions, subjects = 3, np.array([0, 0, 1, 2, 3, 4, 5])
    weights = np.array([0.5, 0.5, 1, 1, 1, 1, 1])
    groups = np.array(["AD"] * 6 + ["NC"], object)
    people = People(subjects, weights, groups)
    signed = maps(versions * 7).reshape(versions, 7, -1) + maps(1, 9)[0]  # something in common
    signed[1, 2] = 0  # one network has no map of one scan
    means = GroupMeans(COMPARER, people, versions)
    for scan in range(7):
        for version in range(versions):
            means.add(scan, version, signed[version, scan], np.maximum(signed[version, scan], 0))

    def direct(group: str | None, times: np.ndarray) -> np.ndarray:
        chosen = [s for s in range(7) if group in (groups[s], None)]
        found = []
        for own in signed:
            used = [s for s in chosen if np.abs(own[s]).sum() > 0]
            w = np.array([weights[s] * times[subjects[s]] for s in used])
            parts = np.array([own[s] / np.abs(own[s]).sum() for s in used], dtype=float)
            found.append(traits(w @ parts, w @ np.maximum(parts, 0)))
        return known_mean(np.array([agreement(found[a], found[b]) for a, b in ((0, 1), (0, 2), (1, 2))]))

    for group, count in (("AD", 5), (None, 6)):
        assert known_mean(means.pairs(group)) == pytest.approx(direct(group, np.ones(6)), abs=1e-5)
        draws = draw_subjects(count, 30, 2)
        away = 1.959964 * np.std([direct(group, np.append(draw, 0)) for draw in draws], axis=0, ddof=1)
        low, high = means.interval(group, draws)
        value = known_mean(means.pairs(group))
        assert low == pytest.approx(np.maximum(value - away, [-1, 0, 0]), abs=2e-3)
        assert high == pytest.approx(np.minimum(value + away, 1), abs=2e-3)
    assert np.isnan(means.interval("NC", draw_subjects(1, 30, 2))).all()
    parts = [one / np.abs(one).sum() for one in signed[0, :6]]
    expected = (0.5 * (parts[0] + parts[1]) + parts[2] + parts[3] + parts[4] + parts[5]) / 5
    assert means.average("AD")[0, 0] == pytest.approx(expected, abs=1e-7)


def test_two_equal_networks_agree_fully_on_scans_and_groups():
    people = People(np.arange(6), np.ones(6), np.full(6, "AD", object))
    means, scans = GroupMeans(COMPARER, people, 2), ScanAgreement(people, 2)
    for scan, one in enumerate(maps(6)):
        scans.add(scan, [traits(one), traits(one)])
        for version in (0, 1):
            means.add(scan, version, one, np.abs(one))
    assert scans.pairs == pytest.approx(np.ones((6, 1, 3)))
    assert means.pairs(None) == pytest.approx(np.ones((1, 3)))
    assert np.array(means.interval(None, draw_subjects(6, 20, 0))) == pytest.approx(np.ones((2, 3)))
    assert (scans.others(None) < 1).all()


def test_where_networks_agree_by_hand():
    # Forty voxels, the 5 % are two. 0: both networks; 1: both, with other signs; 2: neither.
    one, two = np.full((2, 40), 0.001)
    one[:3], two[:3] = (0.5, 0.4, 0.01), (0.3, -0.25, 0.2)
    mean, share = networks_in_agreement(np.array([one, two]))
    assert mean[:4] == pytest.approx([0.4, 0.075, 0.105, 0.001])
    assert share[:4].tolist() == [1, 0.5, 0, 0]
    mean, share = networks_in_agreement(np.array([one, np.full(40, np.nan)]))  # a network without relevance
    assert mean == pytest.approx(one, rel=1e-6)
    assert share[:3].tolist() == [0.5, 0.5, 0]
    assert most_relevant(np.abs(one)).sum() == 2


# -- changes of scans ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def brain():
    mask = brain_mask(4)
    return template_brain(4) * mask, mask


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("step", [-1, 1])
def test_a_shifted_brain_is_found_again_where_it_was(brain, axis, step):
    volume, mask = brain
    moved = changed_scans.shift_brain(volume, mask, axis, step)
    inside = changed_scans.comparable(mask)
    assert 0.5 < inside.sum() / mask.sum() < 1
    back = changed_scans.shift(moved, axis, -step)
    assert (back[inside] == volume[inside]).all()
    assert (moved[inside] != volume[inside]).mean() > 0.9
    assert (moved[~mask] == 0)[~changed_scans.shift(mask, axis, step)[~mask]].all()
    rim = mask & ~changed_scans.shift(mask, axis, step)
    assert rim.any()
    assert (moved[rim] == volume[rim]).all()


def test_shifted_maps_lose_what_leaves_the_volume():
    volume = np.arange(1, 5, dtype=float).reshape(4, 1, 1)
    assert changed_scans.shift(volume, 0, 1).ravel().tolist() == [0, 1, 2, 3]
    assert changed_scans.shift(volume, 0, -1).ravel().tolist() == [2, 3, 4, 0]


def test_noise_and_bias_field_have_the_size_they_say_in_any_unit(brain):
    volume, mask = brain
    bright = mask & (volume > 0.4)  # nowhere near 0, where noise is cut off
    for unit in (1, 500):
        scan = (volume * unit).astype(np.float32)
        noisy = changed_scans.add_noise(scan, mask, np.random.default_rng(0))
        level = white_matter_level(scan, mask)
        assert np.std((noisy - scan)[bright]) / level == pytest.approx(0.03, rel=0.03)
        assert (noisy[~mask] == scan[~mask]).all()
        assert noisy.min() >= 0
        biased = changed_scans.add_bias_field(scan, mask, 4, np.random.default_rng(0))
        field = np.log(biased[bright] / scan[bright])
        assert np.std(field) == pytest.approx(0.04, rel=0.1)
        assert white_matter_level(biased, mask) == pytest.approx(level, rel=1e-5)


# -- parts ---------------------------------------------------------------------------------------------------------


def test_what_is_done_of_a_measure_is_not_done_again(tmp_path):
    run, made = type("Run", (), {"work": tmp_path})(), []

    def make():
        made.append(1)
        return {"table": [{"scan": "a/b", "value": np.float64(0.1 + 0.2), "n": np.int64(3), "none": float("nan")}]}

    first, second = once(run, "stability", "grad cam/AD", make), once(run, "stability", "grad cam/AD", make)
    assert len(made) == 1
    row, again = first["table"][0], second["table"][0]
    assert row["value"] == again["value"] == 0.1 + 0.2
    assert row["n"] == 3
    assert np.isnan(again["none"])
    once(run, "stability", "other", make)
    assert len(made) == 2
