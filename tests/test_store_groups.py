"""Group maps from cells against the direct weighted computation over the heatmaps."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from store_factory import METHODS, MODELS, PREDICTED, SCANS, copy_of_shared_store, explained, shared_store

from store import BrokenRunError, NotInRunError, open_run
from store.keys import GroupKey

FILTERS = [
    {"diagnosis": d, "predicted": p, "correct": c}
    for d, p, c in itertools.product(
        (None, ["AD"], ["NC"], ["MCI"], ["AD", "NC"]), (None, ["AD"], ["NC"]), (None, True, False)
    )
]


@pytest.fixture(scope="module")
def run():
    return open_run(shared_store())


@functools.cache
def heatmap(model: str, method: str, scan: str, target: str, scale: str) -> np.ndarray:
    return open_run(shared_store()).heatmap(model, method, scan, target=target, scale=scale).astype(float)


def direct(run, model_set: str, method: str, target: str, scale: str, filters: dict):
    """Straight from design section 8: every subject weighs the same, whatever its number of scans."""
    pairs = [(m, s) for m, kind in MODELS.items() if kind == model_set and "seed" not in m for s in explained(m)]
    maps, people = [], []
    for model, scan in pairs:
        subject, diagnosis = SCANS[scan][:2]
        known = diagnosis in run.groups
        right = diagnosis == PREDICTED[scan]
        if (
            (filters["diagnosis"] is not None and diagnosis not in filters["diagnosis"])
            or (filters["predicted"] is not None and PREDICTED[scan] not in filters["predicted"])
            or (filters["correct"] is not None and (not known or right != filters["correct"]))
            or (target == "true" and not known)
        ):
            continue
        h = heatmap(model, method, scan, target, "margin" if scale == "relative" else scale)
        maps.append(h / np.abs(h).sum() if scale == "relative" else h)
        people.append(subject)
    if not maps:
        return None
    weights = [1 / people.count(subject) for subject in people]  # of the scans that pass, not of all
    stack, w = np.stack(maps), np.array(weights)[:, None, None, None] / sum(weights)
    mean = (w * stack).sum(0)
    return {
        "mean": mean, "mean_abs": (w * np.abs(stack)).sum(0), "mean_positive": (w * np.maximum(stack, 0)).sum(0),
        "sd": np.sqrt((w * (stack - mean) ** 2).sum(0)),
        "scans": len(maps), "subjects": len(set(people)), "weight": sum(weights),
    }  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", ["AD", "NC", "true", "predicted"])
def test_every_filter_equals_the_direct_computation(run, method, target):
    scales = {
        "sensitivity": "margin",
        "guided_backprop": "probability",
        "occlusion": "probability",
        "area_occlusion": "margin",
    }
    for number, filters in enumerate(FILTERS):
        compare(run, "holdout" if number % 4 == 1 else "folds", method, target, scales[method], filters)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", ["NC", "predicted"])
def test_relative_maps_equal_the_direct_computation(run, method, target):
    if METHODS[method].antisymmetric or target == "NC":
        for filters in FILTERS[::4]:
            compare(run, "folds", method, target, "relative", filters)


def compare(run, model_set, method, target, scale, filters):
    expected = direct(run, model_set, method, target, scale, filters)
    if expected is None:
        with pytest.raises(NotInRunError, match="leaves no scan"):
            run.group_map(GroupKey(model_set, method, target, scale), **filters)
        return
    found = run.group_map(GroupKey(model_set, method, target, scale), **filters)
    size = np.abs(expected["mean_abs"]).max()
    for name in ("mean", "mean_abs", "mean_positive", "sd"):
        np.testing.assert_allclose(getattr(found, name), expected[name], atol=2e-3 * size, err_msg=f"{name} {filters}")
        assert (getattr(found, name)[~run.mask] == 0).all()
    assert (found.scans, found.subjects) == (expected["scans"], expected["subjects"])
    assert found.weight == pytest.approx(expected["weight"])


def test_all_subjects_together_weigh_their_number(run):
    found = run.group_map(GroupKey("folds", "sensitivity", "AD"))
    assert (found.scans, found.subjects) == (8, 5)
    assert found.weight == pytest.approx(5)


def test_only_what_is_asked_for_is_read(tmp_path):
    path = copy_of_shared_store(tmp_path)
    for file in (path / "arrays.zarr/cells").rglob("c/2/*"):  # sum wh^2
        if file.is_file():
            file.unlink()
        else:
            next(p for p in file.rglob("*") if p.is_file()).unlink()
    run = open_run(tmp_path)
    found = run.group_map(GroupKey("folds", "sensitivity", "AD"), statistics=("mean_abs",))
    assert found.mean_abs is not None
    assert found.mean is None
    assert found.sd is None
    with pytest.raises(BrokenRunError, match="lacks the file"):
        run.group_map(GroupKey("folds", "sensitivity", "AD"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("folds", "magic", "AD", "margin"), "no group maps of magic"),
        (("seeds", "occlusion", "AD", "margin"), "for model set seeds"),
        (("folds", "occlusion", "MCI", "margin"), "no target 'MCI'"),
        (("folds", "occlusion", "AD", "logit"), r"\(logit\)"),
    ],
)
def test_what_is_not_there_is_said(run, arguments, words):
    model_set, method, target, scale = arguments
    with pytest.raises(NotInRunError, match=words):
        run.group_map(GroupKey(model_set, method, target, scale))


def test_an_empty_selection_names_its_filter(run):
    with pytest.raises(NotInRunError, match="diagnosis SMC leaves no scan"):
        run.group_map(GroupKey("folds", "occlusion", "AD"), diagnosis=["SMC"])
    with pytest.raises(NotInRunError, match="correct True leaves no scan"):
        run.group_map(GroupKey("folds", "occlusion", "AD"), diagnosis=["MCI"], correct=True)
    with pytest.raises(NotInRunError, match="target true leaves no scan"):
        run.group_map(GroupKey("folds", "occlusion", "true"), diagnosis=["MCI"])
