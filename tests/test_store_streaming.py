"""Averages over hand-picked scans against the group cells and against the direct computation."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from store_factory import METHODS, SCANS, copy_of_shared_store, shared_store
from test_store_groups import FILTERS

from store import BrokenRunError, NotInRunError, open_run
from store.keys import GroupKey
from store.reading import streaming
from store.reading.group_maps import STATISTICS
from store.reading.read_ahead import WORKERS, ahead
from store.spec import CELL_SCALES

PICKED = [("fold-1", "a1-1"), ("fold-2", "n1-2"), ("fold-1", "a1-3"), ("fold-1", "m1-1"), ("fold-2", "a2-1")]
PICKED_WEIGHTS = [1 / 2, 1, 1 / 2, 1, 1]  # two of the three scans of a1, one of the two of n1


@pytest.fixture(scope="module")
def run():
    return open_run(shared_store())


def pairs_of(run, model_set: str, *, diagnosis=None, predicted=None, correct=None) -> list[tuple[str, str]]:
    """The scans that a filter of group_map leaves."""
    rows = run.table("predictions", model_set=model_set)
    rows = rows[~rows.model.str.contains("seed")]
    if diagnosis is not None:
        rows = rows[rows.diagnosis.isin(diagnosis)]
    if predicted is not None:
        rows = rows[rows.predicted.isin(predicted)]
    if correct is not None:
        rows = rows[rows.group.notna() & ((rows.group == rows.predicted) == correct)]
    return list(zip(rows.model, rows.scan, strict=True))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", ["AD", "NC", "true", "predicted"])
@pytest.mark.parametrize("scale", CELL_SCALES)
def test_a_union_of_cells_equals_the_group_map(run, method, target, scale):
    for number, filters in enumerate(FILTERS[::3] + FILTERS[1:3]):
        model_set = ("folds", "holdout")[number % 2]
        key = GroupKey(model_set, method, target, scale)
        pairs = pairs_of(run, model_set, **filters)
        try:
            expected = run.group_map(key, **filters)
        except NotInRunError:
            with pytest.raises(NotInRunError):
                run.subset_map(key, pairs)
            continue
        found = run.subset_map(key, pairs)
        # The cells are of numbers that were not yet 16-bit integers.
        size = np.abs(expected.mean_abs).max()
        for name in STATISTICS:
            values = getattr(found, name)
            assert values.dtype == np.float32
            np.testing.assert_allclose(values, getattr(expected, name), atol=1e-3 * size, err_msg=f"{name} {filters}")
        assert (found.scans, found.subjects) == (expected.scans, expected.subjects)
        assert found.weight == pytest.approx(expected.weight)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", ["AD", "NC", "predicted"])
@pytest.mark.parametrize("scale", CELL_SCALES)
def test_hand_picked_scans_equal_the_direct_computation(run, method, target, scale):
    found = run.subset_map(GroupKey("folds", method, target, scale), PICKED)
    stored = "margin" if scale == "relative" else scale
    stack = np.stack([run.heatmap(m, method, s, target=target, scale=stored) for m, s in PICKED]).astype(float)
    if scale == "relative":
        stack /= np.abs(stack).sum((1, 2, 3), keepdims=True)
    weights = np.array(PICKED_WEIGHTS)[:, None, None, None] / sum(PICKED_WEIGHTS)
    mean = (weights * stack).sum(0)
    expected = {
        "mean": mean,
        "mean_abs": (weights * np.abs(stack)).sum(0),
        "mean_positive": (weights * np.maximum(stack, 0)).sum(0),
        "sd": np.sqrt((weights * (stack - mean) ** 2).sum(0)),
    }
    for name, values in expected.items():
        # The sums of |h| in the table are of the numbers before they became integers.
        np.testing.assert_allclose(getattr(found, name), values, rtol=1e-4, atol=1e-5 * np.abs(stack).max())
        assert (getattr(found, name)[~run.mask] == 0).all()
    assert (found.scans, found.subjects) == (5, 4)
    assert found.weight == pytest.approx(sum(PICKED_WEIGHTS))


def test_many_blocks_of_voxels_add_up_like_one(run, monkeypatch):
    whole = run.subset_map(GroupKey("folds", "guided_backprop", "predicted"), PICKED)
    monkeypatch.setattr(streaming, "_BLOCK", 7)
    cut = run.subset_map(GroupKey("folds", "guided_backprop", "predicted"), PICKED)
    for name in STATISTICS:
        np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name))


def test_a_scan_counts_once_however_often_it_is_named(run):
    once = run.subset_map(GroupKey("folds", "sensitivity", "AD"), PICKED)
    often = run.subset_map(GroupKey("folds", "sensitivity", "AD"), [*PICKED, *PICKED[:3]])
    np.testing.assert_array_equal(once.mean, often.mean)
    assert (often.scans, often.weight) == (once.scans, once.weight)


def test_scans_weigh_the_same_where_they_do_in_the_cells(tmp_path):
    table = copy_of_shared_store(tmp_path) / "tables/cells.parquet"
    cells = pd.read_parquet(table)
    cells.assign(weight=cells.scans.astype(float)).to_parquet(table)
    run = open_run(tmp_path)
    found = run.subset_map(GroupKey("folds", "occlusion", "AD"), PICKED, statistics=["mean"])
    stack = [run.heatmap(model, "occlusion", scan, target="AD") for model, scan in PICKED]
    np.testing.assert_allclose(found.mean, np.mean(stack, axis=0), rtol=1e-5, atol=1e-6)
    assert found.weight == 5


@pytest.mark.parametrize("statistic", STATISTICS)
def test_only_what_is_asked_for_is_made(run, statistic):
    found = run.subset_map(GroupKey("folds", "sensitivity", "AD"), PICKED, statistics=[statistic])
    every = run.subset_map(GroupKey("folds", "sensitivity", "AD"), PICKED)
    np.testing.assert_array_equal(getattr(found, statistic), getattr(every, statistic))
    assert [getattr(found, name) is not None for name in STATISTICS] == [name == statistic for name in STATISTICS]


def test_progress_is_told_after_each_scan(run):
    steps = []
    run.subset_map(GroupKey("folds", "sensitivity", "AD"), PICKED, progress=lambda *step: steps.append(step))
    assert steps == [(n, 5) for n in range(1, 6)]


def test_what_progress_raises_ends_the_reading(run):
    steps = []

    def cancel(done: int, total: int) -> None:
        steps.append(done)
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.subset_map(GroupKey("folds", "sensitivity", "AD"), PICKED, progress=cancel)
    assert steps == [1, 2]


def test_few_heatmaps_are_in_memory_at_a_time(run, monkeypatch):
    started = []
    read = streaming.stored_numbers
    monkeypatch.setattr(streaming, "WORKERS", 1)
    monkeypatch.setattr(streaming, "stored_numbers", lambda *place: started.append(place) or read(*place))
    ahead = []

    def look(done: int, total: int) -> None:
        time.sleep(0.05)
        ahead.append(len(started) - done)

    pairs = pairs_of(run, "folds")
    run.subset_map(GroupKey("folds", "sensitivity", "AD"), pairs, progress=look)
    assert len(started) == len(pairs) == len(SCANS)
    assert max(ahead) <= 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pairs": []}, "choose at least one"),
        ({"pairs": [("fold-1", "a2-1")]}, "folds has no scan a2-1 explained by model fold-1"),
        ({"pairs": [*PICKED, ("fold-9", "a1-1")]}, "by model fold-9"),
        ({"model_set": "seeds"}, "model set seeds has no scan"),
        ({"model_set": "holdout", "pairs": [("holdout-seed-2", "a1-1")]}, "by model holdout-seed-2"),
        ({"method": "magic"}, "no magic heatmap"),
        ({"target": "MCI"}, "no target 'MCI'"),
        ({"target": "true", "pairs": [("fold-1", "m1-1")]}, "none of these scans belongs to a group"),
        ({"scale": "logit"}, r"\(logit\)"),
        ({"statistics": ["median"]}, "no statistic 'median': choose from mean"),
    ],
)
def test_what_is_not_there_is_said(run, change, words):
    key = GroupKey("folds", "occlusion", "AD")
    key = key._replace(**{field: value for field, value in change.items() if field in key._fields})
    others = {"pairs": PICKED} | {name: value for name, value in change.items() if name not in key._fields}
    with pytest.raises(NotInRunError, match=words) as caught:
        run.subset_map(key, **others)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_or_exchanged_heatmap_is_an_error(tmp_path, method):
    top = copy_of_shared_store(tmp_path) / f"arrays.zarr/heatmaps/holdout/{method}/AD/margin/c"
    mine, other = (next(p for p in (top / row).rglob("*") if p.is_file()) for row in ("0", "1"))
    pairs = [("holdout", "a1-2"), ("holdout", "a1-1")]
    mine.write_bytes(other.read_bytes())
    with pytest.raises(BrokenRunError, match=r"the heatmap of a1-1 .* is damaged"):
        open_run(tmp_path).subset_map(GroupKey("holdout", method, "AD"), pairs)
    mine.unlink()
    with pytest.raises(BrokenRunError, match="lacks the file"):
        open_run(tmp_path).subset_map(GroupKey("holdout", method, "AD"), pairs)


def test_reading_ahead_keeps_order_and_holds_a_handful():
    begun: list[int] = []
    found = ahead(lambda n: begun.append(n) or n * n, range(20))
    assert [next(found) for _ in range(3)] == [0, 1, 4]
    assert len(begun) <= 3 + WORKERS
    found.close()
    assert list(ahead(str, [])) == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("statistic", "size"), [("mean", lambda h: h), ("mean_abs", np.abs),
                                                 ("mean_positive", lambda h: np.maximum(h, 0))])  # fmt: skip
def test_subjects_have_the_mean_of_their_scans_in_blocks(run, method, statistic, size):
    found = run.subject_maps(GroupKey("folds", method, "AD", "margin"), PICKED, statistic=statistic)
    assert found.subjects == ("a1", "n1", "m1", "a2")
    assert found.models == ("fold-1", "fold-2", "fold-1", "fold-2")
    maps = [size(run.heatmap("fold-1", method, scan, target="AD")) for scan in ("a1-1", "a1-3")]
    volume = found.to_volume(found.values[0])
    inside = run.mask != 0
    expected = np.mean(maps, axis=0)
    if METHODS[method].native_grid == "voxels":  # of 2 mm: blocks of two voxels a side
        corners = np.indices(inside.shape) // 2
        labels = np.ravel_multi_index(tuple(corners), tuple(corners.reshape(3, -1).max(axis=1) + 1))
        sums, counts = (np.bincount(labels[inside], w) for w in (expected[inside], np.ones(inside.sum())))
        expected = np.where(inside, (sums / np.maximum(counts, 1))[labels.clip(max=len(sums) - 1)], 0)
    if statistic == "mean" or METHODS[method].native_grid != "positions":  # sizes of positions, then spread out
        assert volume[inside] == pytest.approx(expected[inside], abs=1e-5)
