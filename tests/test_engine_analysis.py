"""Averages, regions, distances: hand-computed, and against slow direct computation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine.analysis.cells import accumulate, scan_weights
from engine.analysis.distances import distance, mass, normalised
from engine.analysis.regions import Bootstrap, RegionSums, bootstrap_interval, group_frame, region_frame
from engine.analysis.truth import _descending
from store.measures import rank_correlation
from store.reading.region_values import RegionValues

REGIONS = pd.DataFrame(
    {
        "region": ["A_L", "A_R", "B", "Unlabelled"],
        "merged": ["A", "A", "B", "Unlabelled"],
        "in_atlas": [True, True, True, False],
        "volume_cm3": [1.0, 2.0, 0.5, 4.0],
    }
)


def test_mass_by_kind_of_method():
    h = np.array([-2.0, 0.0, 3.0])
    assert mass(h, gradient=True).tolist() == [2, 0, 3]
    assert mass(h, gradient=False).tolist() == [0, 0, 3]


def test_distance_by_hand():
    a, b = np.array([1.0, 0, 0, 3.0]), np.array([0, 2.0, 2.0, 0])
    expected = np.sqrt(0.25**2 + 0.5**2 + 0.5**2 + 0.75**2) * 1e4
    assert distance(a, b, 1) == pytest.approx(expected)
    assert distance(a, b, 4) == pytest.approx(expected / 8)
    assert distance(a, 7 * a, 2) == pytest.approx(0)
    assert not normalised(np.zeros(3)).any()


def test_distance_compares_grids():
    """The same two smooth maps, sampled at 1 and at 2 mm, are about equally far apart."""
    fine = [np.exp(-((np.indices((40, 40, 40)) - c) ** 2).sum(0) / 200) for c in (15, 24)]
    coarse = [m[::2, ::2, ::2] for m in fine]
    assert distance(*coarse, 2) == pytest.approx(distance(*fine, 1), rel=0.05)


def test_region_frame_by_hand():
    frame = region_frame(np.array([[1.0, -1.0, 0.5, 0.0]]), np.array([[1.0, 2.0, 1.0, 4.0]]), REGIONS).set_index(
        "region"
    )
    assert frame["share"].to_dict() == {"A_L": 0.125, "A_R": 0.25, "B": 0.125, "Unlabelled": 0.5}
    assert frame["share_atlas"].to_list()[:3] == [0.25, 0.5, 0.25]
    assert np.isnan(frame.loc["Unlabelled", "share_atlas"])
    assert frame["density"].to_list() == [12.5, 12.5, 25.0, 12.5]
    empty = region_frame(np.zeros((1, 4)), np.zeros((1, 4)), REGIONS)
    assert not empty["share"].any()


def test_region_sums():
    adder = RegionSums(np.array([[[0, 1, 1, 3]]]), 3)
    assert adder.sums(adder.gather(np.array([[[9.0, 1.0, 2.0, 5.0]]]))).tolist() == [3, 0, 5]


def test_region_sums_of_a_coarser_grid_are_those_of_its_voxels():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (6, 7, 8))
    owner = rng.integers(0, 11, labels.shape)
    values = rng.normal(size=(2, 5)).astype(np.float32)
    full = np.concatenate([[0], values.ravel()])[owner]
    coarse, fine = RegionSums(labels, 4, owner), RegionSums(labels, 4)
    np.testing.assert_allclose(coarse.sums(coarse.gather(values)), fine.sums(fine.gather(full)), rtol=1e-6)
    np.testing.assert_allclose(fine.sums(fine.gather(full)), [full[labels == r].sum() for r in (1, 2, 3, 4)])


def test_bootstrap_interval_covers_the_mean_and_is_seeded():
    values = np.random.default_rng(0).normal(5, 1, (400, 2))
    low, high = bootstrap_interval(values, 2000, 0)
    assert (low < values.mean(0)).all()
    assert (values.mean(0) < high).all()
    np.testing.assert_allclose(high - low, 2 * 1.96 / np.sqrt(400), rtol=0.15)
    assert np.array_equal(low, bootstrap_interval(values, 2000, 0)[0])
    assert np.isnan(bootstrap_interval(values[:1], 100, 0)[0]).all()
    assert np.isnan(bootstrap_interval(values[:4], 100, 0)).all()
    assert np.isfinite(bootstrap_interval(values[:5], 100, 0)).all()


def rows_of(sums: list[float], scan: str, model: str) -> pd.DataFrame:
    """Rows of region_relevance of one scan."""
    return region_frame(np.zeros((1, 4)), np.array([sums], float), REGIONS).assign(scan=scan, model=model)


def values_of(rows: list[pd.DataFrame], regions: pd.DataFrame = REGIONS) -> RegionValues:
    """The same as matrices."""
    return RegionValues.of_table(pd.concat(rows), regions["region"], ("share", "share_atlas"))


def test_several_models_of_one_scan_are_averaged_not_added():
    rows = [rows_of([1, 0, 1, 2], "s1", "fold-1"), rows_of([3, 0, 1, 0], "s1", "fold-2")]
    frame = group_frame(values_of(rows), np.ones(4), REGIONS, pd.Series({"s1": "p1"}), True, Bootstrap(100, 0))
    frame = frame.set_index("region")
    assert frame.loc["A", "share"] == pytest.approx((1 / 4 + 3 / 4) / 2)
    assert frame.loc["B", "share"] == pytest.approx((1 / 4 + 1 / 4) / 2)
    assert frame["subjects"].tolist() == [1, 1, 1]


def test_group_frame_each_subject_weighs_the_same_and_sides_add_up():
    scans = {"s1": "p1", "s2": "p1", "s3": "p2"}
    sums = {"s1": [1, 0, 1, 2], "s2": [3, 0, 1, 0], "s3": [0, 2, 0, 2]}
    rows = [rows_of(v, s, "m") for s, v in sums.items()]
    average = np.array([1.0, 3.0, 4.0, 50.0])
    frame = group_frame(values_of(rows), average, REGIONS, pd.Series(scans), True, Bootstrap(100, 0)).set_index(
        "region"
    )
    # p1: A is (1/4 + 3/4) / 2 = 1/2; p2: 2/4. Mean 1/2.
    assert frame.loc["A", "share"] == pytest.approx(0.5)
    assert frame.loc["B", "share"] == pytest.approx(((1 / 4 + 1 / 4) / 2 + 0) / 2)
    assert frame.loc["A", "share_atlas"] == pytest.approx(((1 / 2 + 3 / 4) / 2 + 1) / 2)
    assert frame.loc["A", "share_of_average"] == pytest.approx(0.5)
    assert frame.loc["A", "density"] == pytest.approx(100 * 0.5 / 3)
    assert frame["rank"].to_dict() == {"A": 1, "B": 2, "Unlabelled": pd.NA} or frame.loc["A", "rank"] == 1
    assert frame["subjects"].tolist() == [2, 2, 2]


def test_cells_are_additive_and_weigh_subjects():
    rng = np.random.default_rng(0)
    rows, maps = [], []
    for i, (subject, diagnosis) in enumerate(
        [("p", "AD"), ("p", "AD"), ("p", "AD"), ("q", "AD"), ("r", "NC"), ("r", "NC")]
    ):
        rows.append(
            {
                "model": "m",
                "scan": f"s{i}",
                "subject": subject,
                "diagnosis": diagnosis,
                "predicted": "AD" if i % 2 else "NC",
            }
        )
        maps.append(rng.normal(size=(2, 3)).astype(np.float32))
    weights = scan_weights(pd.DataFrame(rows), "subject")
    assert weights["m", "s0"] == pytest.approx(1 / 3)
    cells = accumulate(zip(rows, maps, strict=True), weights)
    ad = [cells[key] for key in cells if key[0] == "AD"]
    assert sum(c.weight for c in ad) == pytest.approx(2)
    mean = sum(c.sums[0] for c in ad) / sum(c.weight for c in ad)
    np.testing.assert_allclose(mean, (np.mean(maps[:3], axis=0) + maps[3]) / 2, rtol=1e-6)
    assert set(scan_weights(pd.DataFrame(rows), "scan").values()) == {1.0}


def test_the_order_of_relevance_is_that_of_a_stable_sort():
    values = np.random.default_rng(0).integers(0, 50, 4000).astype(np.float32) / 7
    values[::9] = -0.0
    values[1::9] = 1e-42  # subnormal
    np.testing.assert_array_equal(_descending(values), np.argsort(-values, kind="stable"))


def test_rank_correlation():
    assert rank_correlation(np.array([1, 2, 3]), np.array([10, 20, 90])) == 1
    assert np.isnan(rank_correlation(np.ones(3), np.array([1, 2, 3])))


def test_a_scan_without_relevance_has_no_share_and_is_in_no_mean():
    empty = region_frame(np.zeros((1, 4)), np.zeros((1, 4)), REGIONS)
    assert empty[["share", "share_atlas", "density"]].isna().all(axis=None)
    assert (empty["sum"] == 0).all()
    scans = {"s1": "p1", "s2": "p1", "s3": "p2", "s4": "p3"}
    sums = {"s1": [1, 0, 1, 2], "s2": [0, 0, 0, 0], "s3": [0, 0, 0, 0], "s4": [0, 2, 0, 2]}
    rows = pd.concat([rows_of(v, s, "m") for s, v in sums.items()])
    frame = group_frame(values_of([rows]), np.ones(4), REGIONS, pd.Series(scans), True, Bootstrap(100, 0)).set_index(
        "region"
    )
    # p1 by its one scan with relevance: A 1/4, B 1/4; p3: A 1/2, B 0; p2 has none.
    assert frame.loc["A", "share"] == pytest.approx((1 / 4 + 1 / 2) / 2)
    assert frame.loc["B", "share"] == pytest.approx(1 / 8)
    assert frame["share_low"].isna().all()  # of two subjects there is no interval
    assert (frame["subjects"] == 2).all()
    assert (frame["without_relevance"] == 1).all()


def test_a_region_without_voxels_has_no_relevance_and_no_rank():
    regions = REGIONS.assign(volume_cm3=[1.0, 0.0, 0.0, 4.0])
    frame = region_frame(np.zeros((1, 4)), np.array([[1.0, 0.0, 0.0, 3.0]]), regions)
    missing = frame["region"].isin(["A_R", "B"])
    assert frame.loc[missing, ["signed_sum", "sum", "share", "share_atlas", "density"]].isna().all(axis=None)
    assert frame.set_index("region")["share"]["A_L"] == pytest.approx(0.25)
    rows = values_of([frame.assign(scan="s", model="m")], regions)
    split = group_frame(rows, np.array([1.0, 0, 0, 3.0]), regions, pd.Series({"s": "p"}), False, Bootstrap(100, 0))
    ranks = split.set_index("region")["rank"]
    assert ranks["A_L"] == 1
    assert ranks[["A_R", "B", "Unlabelled"]].isna().all()
    merged = group_frame(rows, np.array([1.0, 0, 0, 3.0]), regions, pd.Series({"s": "p"}), True, Bootstrap(100, 0))
    merged = merged.set_index("region")
    assert merged.loc["A", "share"] == pytest.approx(0.25)
    assert np.isnan(merged.loc["B", "share"])
    assert np.isnan(merged.loc["B", "share_of_average"])


def test_an_empty_average_ranks_nothing():
    frame = group_frame(
        values_of([rows_of([0, 0, 0, 0], "s", "m")]),
        np.zeros(4),
        REGIONS,
        pd.Series({"s": "p"}),
        True,
        Bootstrap(100, 0),
    )
    assert frame[["share", "share_of_average", "rank"]].isna().all(axis=None)
    assert (frame["subjects"] == 0).all()


def test_a_map_without_relevance_has_no_distance():
    one = np.array([1.0, 2.0])
    assert np.isnan(distance(one, np.zeros(2), 1))
    assert np.isnan(distance(np.zeros(2), np.zeros(2), 1))
    assert rank_correlation(np.array([1, 2, np.nan, 3]), np.array([1, 2, 9, 3])) == 1
    assert np.isnan(rank_correlation(np.full(3, np.nan), np.ones(3)))


def test_a_subject_weighs_one_in_each_of_its_diagnoses():
    rows = pd.DataFrame({
        "model": "m", "scan": list("abc"), "subject": "p", "diagnosis": ["NC", "NC", "AD"], "predicted": "AD",
    })  # fmt: skip
    assert scan_weights(rows, "subject") == {("m", "a"): 0.5, ("m", "b"): 0.5, ("m", "c"): 1.0}
    assert scan_weights(rows, "scan", [True, False, True]) == {("m", "a"): 1, ("m", "b"): 0, ("m", "c"): 1}
