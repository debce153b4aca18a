"""The benchmark: what it says is measured, compared with the truth first, and refused where there is nothing to say."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from engine.benchmark import explaining, others
from engine.benchmark.__main__ import CASES, main
from engine.benchmark.learning import floor
from engine.benchmark.measure import DisagreementError, Setting, agree
from engine.benchmark.scene import scene
from engine.errors import UserError

CPU = torch.device("cpu")


def asked(capsys, *arguments: str) -> dict:
    assert main([*arguments, "--grid", "4", "--repeats", "1", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("what", ["area", "gradients"])
def test_captum_gives_the_same_and_its_time_is_scaled(capsys, what):
    found = asked(capsys, what, "--against", "captum")
    (result,) = found["results"]
    assert result["ratio"] == pytest.approx(result["against_seconds"] / result["seconds"])
    assert 0 <= result["max_difference"] < 1e-4
    assert found["grid_mm"] == 4
    assert found["repeats"] == 1


def test_both_ways_to_count_the_cubes_are_given(capsys):
    every, touching = asked(capsys, "occlusion", "--against", "captum")["results"]
    assert every["details"]["places"] == 17 * 20 * 17
    assert touching["details"]["places"] < every["details"]["places"]
    passes = every["ratio"] / touching["ratio"]
    assert passes == pytest.approx((17 * 20 * 17 + 1) / (touching["details"]["places"] + 1))
    assert "9 forward passes timed" in every["notes"][0]


@pytest.mark.parametrize("what", ["store", "aggregate"])
def test_what_is_kept_is_right_before_it_is_timed(capsys, what):
    for result in asked(capsys, what)["results"]:
        assert result["seconds"] > 0
        assert result["max_difference"] < 1e-4


def test_two_ways_that_differ_are_not_timed(monkeypatch, capsys):
    right = others.apart

    def off(*arguments):
        sample = right(*arguments)
        work = sample.work
        sample.work = lambda: (work(), setattr(sample, "recorded", sample.recorded + 0.1))
        return sample

    monkeypatch.setattr(explaining.others, "apart", off)
    assert main(["area", "--grid", "4", "--against", "captum"]) == 1
    assert "differ" in capsys.readouterr().err
    with pytest.raises(DisagreementError):
        agree("not a number", float("nan"), 1.0)


def test_the_places_of_captum_are_ours(monkeypatch):
    """Three cubes along one axis: each margin is that of a scan with exactly that cube at zero."""
    at, half, stride = scene(4, CPU), 5, 3
    sample = others.captum_occlusion(at, (0, 9, 8), (3, 1, 1), half, stride)
    sample.work()
    for number, found in enumerate(sample.recorded):
        scan = at.scan.clone()
        scan[..., max(0, stride * number - half) : stride * number + half, 22:32, 19:29] = 0
        with torch.no_grad():
            logits = at.network(scan)[0].double()
        np.testing.assert_allclose(float(found), float(logits[1] - logits[0]), atol=1e-5)


@pytest.mark.parametrize("what", sorted(set(CASES) - {"occlusion", "area"}))
def test_what_cannot_be_compared_is_refused_in_one_line(capsys, what):
    assert main([what, "--grid", "4", "--against", "monai"]) == 2
    assert capsys.readouterr().err.startswith("error: --against monai: ")


def test_software_that_is_missing_is_named():
    with pytest.raises(UserError, match="pip install nowhere_to_be_found"):
        others.require("nowhere_to_be_found")


def test_the_floor_counts_every_output():
    moved, operations = floor((10, 10, 10), (2,), 2)
    assert moved == 7 * 2 * 8 * 8**3
    assert operations == 6 * 27 * 8 * 8**3


def test_pairs_are_timed_one_after_the_other():
    order: list[str] = []
    Setting(CPU, 4, 2, None).pairs(lambda: order.append("a"), lambda: order.append("b"))
    assert order == ["a", "b"] * 3
