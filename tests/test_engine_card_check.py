"""A GPU that computes wrongly or slowly is found before it works for hours; here with made-up figures."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from engine.errors import UserError
from engine.networks import card_check
from engine.networks.card_check import BlockCheck, check_block, check_card, refuse, slowness
from engine.networks.device import make_deterministic

CPU = torch.device("cpu")


def made_up(error: float = 0.0, seconds: float = 1.0, dtype: torch.dtype = torch.float32) -> BlockCheck:
    return BlockCheck(dtype, error, seconds, 1.0)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(card_check, "TIMED", (1, 8, 12, 12, 12))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_right_device_passes(small, dtype):
    found = check_block(CPU, dtype)
    assert found.is_right
    assert found.error > 0
    assert found.operations_a_second * found.seconds == pytest.approx(6 * 27 * 8 * 16 * 10**3)
    refuse(dtype, 91500, lambda: found)


@pytest.mark.parametrize("wrong", ["a channel", "nan", "gradient"])
def test_a_wrong_device_is_found(small, monkeypatch, wrong):
    """In bfloat16: outputs of one channel doubled, one value that is no number, gradients that are a little off."""
    right = functional.conv3d

    def off(volumes, weight):
        outputs = right(volumes, weight * 1.2 if wrong == "gradient" and weight.dtype != torch.float64 else weight)
        if outputs.dtype == torch.float64:
            return outputs
        factor = torch.ones_like(outputs)
        if wrong == "a channel":
            factor[:, 3] = 2
        elif wrong == "nan":
            factor[0, 0, 0, 0, 0] = float("nan")
        return outputs * factor

    monkeypatch.setattr(card_check.functional, "conv3d", off)
    found = check_block(CPU, torch.bfloat16)
    assert not found.is_right
    with pytest.raises(UserError, match=r"bf16 is refused: .*training\.precision=float32"):
        refuse(torch.bfloat16, 91500, lambda: found)


def test_float32_that_is_wrong_is_refused_too():
    with pytest.raises(UserError, match=r"float32 is refused: .*by 0\.2 .*--device cpu"):
        refuse(torch.float32, 91500, lambda: made_up(0.2))


@pytest.mark.parametrize(("cudnn", "refused"), [(90701, False), (90800, True), (91002, True), (91100, False)])
def test_builds_that_are_known_to_be_wrong_are_refused_unasked(cudnn, refused):
    half = made_up(dtype=torch.bfloat16)
    refuse(torch.float32, cudnn, made_up)
    if refused:
        with pytest.raises(UserError, match=r"cuDNN 9\.(8|10)\."):
            refuse(torch.bfloat16, cudnn, lambda: half)
    else:
        refuse(torch.bfloat16, cudnn, lambda: half)


def test_slow_builds_are_said_in_one_line():
    times = {torch.float32: 1.0, torch.bfloat16: 2.0}
    check = lambda dtype: made_up(seconds=times[dtype], dtype=dtype)  # noqa: E731
    assert "cuDNN 9.13.0 is known to be slow" in slowness("2.9.1", 91300, torch.float32, check)[0]
    assert slowness("2.9.1", 91500, torch.float32, check) == []
    assert "2.0 times as long" in slowness("2.13.0", 91500, torch.bfloat16, check)[0]
    times[torch.bfloat16] = 0.5
    assert slowness("2.13.0", 91500, torch.bfloat16, check) == []


def test_the_cpu_is_not_checked():
    check_card(CPU, "bf16", pytest.fail)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_this_gpu_is_right():
    make_deterministic(torch.device("cuda"))  # as every command does: torch would let convolutions round to TF32
    for precision in ("float32", "bf16"):
        check_card(torch.device("cuda"), precision, print)
