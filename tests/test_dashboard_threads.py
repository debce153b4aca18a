"""Pages take one thread for products of matrices, tests by voxel all."""

from __future__ import annotations

import os

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from dashboard.data import permutations, threads


def taken() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == threads.BLAS}


@pytest.fixture(autouse=True)
def _as_before():
    with threadpool_limits(2, user_api=threads.BLAS):
        yield


def test_one_thread_stays_one_but_where_all_are_asked_for(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert taken() == {2}
    threads.use_one()
    assert taken() == {1}
    with threads.all_used():
        assert taken() == {2}
    assert taken() == {1}


def test_tests_by_voxel_take_all(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    threads.use_one()
    seen = []
    rng = np.random.default_rng(0)
    dealt = np.array([rng.permutation(8) for _ in range(4)])
    values = rng.normal(size=(8, 5))
    permutations.t_of_difference(np.arange(8) % 2.0, values, None, dealt, lambda *_: seen.append(taken()))
    assert seen == [{2}]
    assert taken() == {1}
