"""The benchmark: what it says is measured, compared with the truth first, and refused where there is nothing to say."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from engine.benchmark import card, explaining, others
from engine.benchmark.__main__ import CASES, main
from engine.benchmark.learning import floor
from engine.benchmark.measure import DisagreementError, Result, Setting, agree
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
        work = sample.exactly
        sample.exactly = lambda: (work(), setattr(sample, "recorded", sample.recorded + 0.1))
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


# -- the card -------------------------------------------------------------------------------------------------------


def test_the_figures_of_a_gpu_are_refused_without_one(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main(["gpu"]) == 2
    assert "no CUDA GPU here; --device cpu --grid 4" in capsys.readouterr().err
    assert main(["gpu", "--device", "cpu", "--budget", "0"]) == 2


def test_steps_that_the_time_does_not_suffice_for_are_named(monkeypatch):
    clock = iter([0.0, 0.0, 0.0, 60.0, 60.0, 60.0])  # begun; for each step: left, begun, ended
    monkeypatch.setattr(card.time, "monotonic", lambda: next(clock, 70.0))
    ran = []
    steps = {name: lambda setting, name=name: ran.append(name) or [Result(name, 1.0)] for name in "abc"}
    monkeypatch.setattr(card, "STEPS", steps)
    sheet = card.everything(Setting(CPU, 4, 1, None, say=lambda _: None), budget=100)
    assert ran == ["a"]
    assert [line.split(":")[0] for line in sheet.left_out] == ["b", "c"]
    assert "40 s were left, and a step took up to 60 s" in sheet.left_out[0]


def test_a_step_that_disagrees_is_named_and_the_others_go_on(monkeypatch, capsys):
    def wrong(setting):
        raise DisagreementError("fused steps: the two ways differ by 1, more than 0.001; not timed")

    monkeypatch.setattr(card, "STEPS", {"exact": wrong, "b": lambda setting: [Result("b", 2.0)]})
    assert main(["gpu", "--device", "cpu", "--grid", "4"]) == 1
    said = capsys.readouterr().out
    assert "Not measured:\n- exact: fused steps: the two ways differ" in said
    found = json.loads(said.splitlines()[-1])
    assert [one["name"] for one in found["results"]] == ["b"]
    assert found["left_out"]


def test_quick_ways_are_compared_and_leave_the_scene_as_it_is():
    before = {key: value.clone() for key, value in scene(4, CPU).network.state_dict().items()}
    found = {one.name: one for one in card.exactness(Setting(CPU, 4, 1, None))}
    assert 0 <= found["exact: fused forward pass"].max_difference < 1e-3
    assert len(found) == 4
    for key, value in scene(4, CPU).network.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_the_whole_paper_is_six_networks_and_its_test_scans():
    sheet = card.Sheet([Result("train, a scan, bf16, plain", 2.0), Result("train, a scan, float32, plain", 0.5),
                        Result(card.TOGETHER, 3.0)])  # fmt: skip
    paper = card.whole_paper(sheet)
    assert paper.seconds == pytest.approx(20 * (794 + 4 * 969) * 0.5 + 175 * 3)
    assert paper.details["trained_by"] == "float32, plain"
    assert card.whole_paper(card.Sheet()) is None
