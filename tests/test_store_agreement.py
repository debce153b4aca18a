"""Where networks agree: the arithmetic by hand and by brute force, of a scan and of a group."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import store_factory

from store import NotInRunError, open_run
from store.measures import most_relevant, networks_agree
from store.reading import agreement


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agreement")
    store_factory.make_run_of_four_networks(folder, methods=("sensitivity", "occlusion"))
    return open_run(folder)


def brute_force(maps: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The definition, voxel by voxel."""
    maps = [one / np.abs(one).sum() for one in maps]
    count = max(round(0.05 * maps[0].size), 1)
    mean, share = np.zeros(maps[0].size), np.zeros(maps[0].size)
    for v in range(maps[0].size):
        mean[v] = sum(one[v] for one in maps) / len(maps)
        for one in maps:
            larger = sum(abs(other) > abs(one[v]) for other in one)
            if larger < count and one[v] != 0 and (one[v] > 0) == (mean[v] > 0):
                share[v] += 1 / len(maps)
    return mean, share


def test_agreement_by_hand():
    # Forty voxels: the two largest are the 5 %. Voxel 0: both say so. 1: the signs differ. 2: one network alone.
    one, two = np.full((2, 40), 0.01)
    one[:3], two[:3] = (5, 4, 0.1), (6, -1, 4)
    mean, share = networks_agree(np.array([one, two]))
    assert share[:4].tolist() == [1.0, 0.5, 0.5, 0.0]
    first, second = (np.abs(m).sum() for m in (one, two))
    np.testing.assert_allclose(
        mean[:3],
        [(5 / first + 6 / second) / 2, (4 / first - 1 / second) / 2, (0.1 / first + 4 / second) / 2],
        rtol=1e-6,
    )


def test_a_map_without_relevance_agrees_nowhere_and_is_in_no_mean():
    one = np.zeros(20)
    one[3] = 2.0
    mean, share = networks_agree(np.array([one, one, np.zeros(20), one]))
    assert mean[3] == 1
    assert share[3] == 0.75
    assert mean.sum() == 1
    assert share.sum() == 0.75
    assert all((part == 0).all() for part in networks_agree(np.zeros((3, 20))))


def test_ties_are_marked_together_and_zeros_never():
    assert most_relevant(np.array([3.0, 3, 3, 1] + [0] * 16)).tolist() == [True] * 3 + [False] * 17
    assert not most_relevant(np.zeros(100)).any()
    assert most_relevant(np.arange(100.0)).sum() == 5


def test_agreement_of_a_scan_is_the_definition_over_its_networks(run):
    found = agreement.scan_agreement(run, "holdout", "sensitivity", "a1-1", "AD")
    assert found.networks == 4
    maps = [
        run.heatmap(f"holdout{end}", "sensitivity", "a1-1", target="AD")[run.mask]
        for end in ("", *(f"-seed-{k}" for k in (1, 2, 3)))
    ]
    mean, share = brute_force(maps)
    np.testing.assert_allclose(found.mean[run.mask], mean, atol=1e-9)
    np.testing.assert_allclose(found.share[run.mask], share, atol=1e-6)
    assert (found.share[~run.mask] == 0).all()
    assert (found.mean[~run.mask] == 0).all()


def test_the_other_group_has_the_other_sign_and_the_same_agreement(run):
    one, other = (agreement.scan_agreement(run, "holdout", "sensitivity", "n1-1", group) for group in ("AD", "NC"))
    np.testing.assert_array_equal(one.mean, -other.mean)
    np.testing.assert_array_equal(one.share, other.share)
    # What the held-out network predicts holds for all, also for those that predict the other group.
    predicted = agreement.scan_agreement(run, "holdout", "sensitivity", "n1-1", "predicted")
    np.testing.assert_array_equal(predicted.mean, other.mean)


def test_networks_of_the_folds_and_methods_of_one_network_have_no_agreement(run):
    assert agreement.networks_of_scan(run, "fold-1", "sensitivity", "a1-1") == ["fold-1"]
    with pytest.raises(NotInRunError, match=r"at least 3 networks.*trust\.networks=4"):
        agreement.scan_agreement(run, "fold-1", "sensitivity", "a1-1", "AD")
    with pytest.raises(NotInRunError, match="here is 1"):
        agreement.scan_agreement(run, "holdout", "occlusion", "a1-1", "AD")


def test_agreement_of_a_group_is_read_as_stored(run):
    stored = run.array("agreement/sensitivity/AD/NC")
    found = agreement.group_agreement(run, "sensitivity", "AD", "NC")
    np.testing.assert_array_equal(found.mean, stored[0])
    np.testing.assert_array_equal(found.share, stored[1])
    assert found.networks == 4
    np.testing.assert_array_equal(agreement.group_agreement(run, "sensitivity", "NC", "NC").mean, -stored[0])
    for method, target, diagnosis in (
        ("occlusion", "AD", "AD"),
        ("sensitivity", "predicted", "AD"),
        ("sensitivity", "AD", "MCI"),
    ):
        with pytest.raises(NotInRunError, match="for this diagnosis and evidence"):
            agreement.group_agreement(run, method, target, diagnosis)


def test_a_run_of_one_network_says_what_to_run():
    run = open_run(store_factory.shared_store())
    assert not agreement.has_group_agreement(run)
    with pytest.raises(NotInRunError, match=r"trust\.networks=4"):
        agreement.group_agreement(run, "sensitivity", "AD", "AD")
