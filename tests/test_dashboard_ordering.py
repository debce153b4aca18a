"""Clusters, similarity maps and outliers against SciPy and against what is known beforehand."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from scipy.cluster import hierarchy
from scipy.spatial.distance import cdist, squareform

from dashboard.drawing.ordering import hierarchical_order, leaf_order, linkage, outliers, similarity_map


def points(count: int, dimensions: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimensions))


# -- clusters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "dimensions"), [(2, 1), (3, 2), (4, 3), (30, 2), (200, 120)])
def test_the_tree_is_scipys(count, dimensions):
    for seed in range(3):
        distances = cdist(*[points(count, dimensions, seed)] * 2)
        expected = hierarchy.linkage(squareform(distances, checks=False), "average")
        found = linkage(distances)
        np.testing.assert_array_equal(found[:, [0, 1, 3]], expected[:, [0, 1, 3]])
        np.testing.assert_allclose(found[:, 2], expected[:, 2])
        np.testing.assert_array_equal(leaf_order(found), hierarchy.leaves_list(expected))


def test_ties_are_taken_in_order():
    corners = np.array([[x, y] for x in range(4) for y in range(4)])
    distances = cdist(corners, corners, "cityblock")
    expected = hierarchy.linkage(squareform(distances), "average")
    np.testing.assert_allclose(linkage(distances), expected)
    assert hierarchy.is_valid_linkage(linkage(np.zeros((7, 7))))


def test_distances_are_left_as_they_were():
    distances = cdist(*[points(6, 2)] * 2)
    before = distances.copy()
    linkage(distances)
    np.testing.assert_array_equal(distances, before)


def test_clusters_stand_together():
    kinds = np.random.default_rng(1).permutation(np.repeat([0, 1, 2], 20))
    order = hierarchical_order(points(60, 5) + 100 * kinds[:, None])
    assert sorted(order) == list(range(60))
    assert (np.diff(kinds[order]) != 0).sum() == 2


def test_the_order_is_that_of_the_exact_distances():
    features = 1e6 + points(100, 20)
    expected = hierarchy.leaves_list(hierarchy.linkage(features, "average"))
    np.testing.assert_array_equal(hierarchical_order(features), expected)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_equal_rows_keep_their_order(count):
    order = hierarchical_order(np.full((count, 3), 0.1))
    assert sorted(order) == list(range(count))
    np.testing.assert_array_equal(order, hierarchical_order(np.full((count, 3), 0.1)))


def test_two_thousand_scans_take_less_than_two_seconds():
    features = points(2000, 124)
    seconds = []
    for _ in range(2):
        start = time.process_time()
        hierarchical_order(features)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 2


@pytest.mark.parametrize("features", [np.zeros(3), np.array([[1.0, np.nan]]), np.zeros((2, 2, 2))])
def test_features_must_be_a_table_of_numbers(features):
    for question in (hierarchical_order, similarity_map):
        with pytest.raises(ValueError, match="finite numbers"):
            question(features)


@pytest.mark.parametrize(
    "distances",
    [np.zeros((2, 3)), np.zeros((0, 0)), [[0, np.nan], [np.nan, 0]], [[0, 1], [2, 0]], [[0, -1], [-1, 0]], np.zeros(3)],
)
def test_distances_must_be_distances(distances):
    with pytest.raises(ValueError, match="must be symmetric, finite and not negative"):
        linkage(distances)


@pytest.mark.parametrize("count", [1, 2])
def test_few_methods_have_a_tree_too(count):
    tree = linkage(1 - np.eye(count))
    assert tree.shape == (count - 1, 4)
    assert leaf_order(tree).tolist() == list(range(count))


# -- similarity map ---------------------------------------------------------------------------------------------------


def test_points_in_a_plane_are_found_again():
    plane = points(40, 2) * [3, 1]
    found = similarity_map(plane)
    np.testing.assert_allclose(cdist(found.points, found.points), cdist(plane, plane), atol=1e-6)
    assert found.explained.sum() == pytest.approx(1)
    assert found.explained[0] > found.explained[1]
    np.testing.assert_allclose(found.points.mean(axis=0), 0, atol=1e-9)


def test_the_share_explained_is_that_of_principal_components():
    cloud = points(50, 6) * [6, 4, 2, 1, 1, 1]
    variances = np.sort(np.linalg.eigvalsh(np.cov(cloud.T)))[::-1]
    found = similarity_map(cloud)
    np.testing.assert_allclose(found.explained, variances[:2] / variances.sum())


def test_distances_are_those_of_classical_scaling():
    cloud = points(30, 4)
    squares = cdist(cloud, cloud) ** 2
    middle = np.eye(30) - 1 / 30
    values = np.linalg.eigvalsh(-0.5 * middle @ squares @ middle)[::-1]
    found = similarity_map(cloud)
    np.testing.assert_allclose((found.points**2).sum(axis=0), values[:2])


def test_signs_do_not_depend_on_chance():
    cloud = points(30, 4)
    found = similarity_map(cloud).points
    assert (found[np.abs(found).argmax(axis=0), [0, 1]] > 0).all()
    mirrored = similarity_map(-cloud).points
    np.testing.assert_allclose(found, mirrored, atol=1e-9)


@pytest.mark.parametrize(("count", "spread"), [(1, 0), (2, 1), (4, 0)])
def test_few_or_equal_scans_have_a_map_too(count, spread):
    found = similarity_map(spread * np.arange(count, dtype=float)[:, None])
    assert found.points.shape == (count, 2)
    assert np.isfinite(found.points).all()
    assert found.explained.sum() == pytest.approx(spread)
    assert np.ptp(found.points[:, 0]) == pytest.approx(spread)


# -- outliers ---------------------------------------------------------------------------------------------------------


def test_outliers_are_measured_within_their_group():
    distances = pd.Series([1.0, 2, 3, 4, 100, 10, 20, 30], index=list("abcdefgh"))
    groups = pd.Series(["AD"] * 5 + ["NC"] * 3, index=list("abcdefgh"))
    expected = np.array([-2, -1, 0, 1, 97, -1, 0, 1]) / 1.4826
    pd.testing.assert_series_equal(outliers(distances, groups), pd.Series(expected, index=distances.index))


def test_normal_numbers_have_a_spread_of_one():
    numbers = pd.Series(points(20_000, 1)[:, 0] * 7 + 3)
    found = outliers(numbers, pd.Series("AD", index=numbers.index))
    assert found.std() == pytest.approx(1, abs=0.03)


def test_without_a_spread_there_are_no_outliers():
    distances = pd.Series([1.0, 5, 5, 9, np.nan, 2, 4])
    groups = pd.Series(["single", "same", "same", "same", "some", "some", "some"])
    found = outliers(distances, groups)
    assert found[:5].isna().all()
    np.testing.assert_allclose(found[5:], [-1 / 1.4826, 1 / 1.4826])
