"""Whether the convolutions of this device are right and quick, asked once before it works for hours.

Builds of cuDNN have computed 3D convolutions of bfloat16 wrongly (9.8 to 9.10), or sent them down a path that takes
many times as long (torch 2.9 without cuDNN 9.15). One convolution, forwards and backwards, is compared with float64
on the CPU, and a larger one is timed; that takes about a second.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engine.errors import UserError
from engine.networks.kernels import why_not

SOURCE, TARGET, KERNEL = 8, 16, 3  # channels and kernel of the second block of the paper's network
CHECKED, TIMED = (2, SOURCE, 20, 21, 22), (2, SOURCE, 64, 64, 64)
REPEATS = 5
# Largest difference to float64, of the largest value: some hundred roundings of float32, two dozen of bfloat16.
AT_MOST = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
NAMES = {torch.float32: "float32", torch.bfloat16: "bf16"}
WRONG_BF16 = (90800, 91100)  # versions of cuDNN, from and below
SLOW_TORCH, QUICK_CUDNN = "2.9.", 91500
SLOWER = 1.5  # times as long as float32


@dataclass(frozen=True)
class BlockCheck:
    """One convolution block on a device.

    Attributes:
        error: largest difference of outputs and gradients to float64 on the CPU, of the largest value.
        seconds: of a larger one, forwards and backwards, the median.
        operations_a_second: floating-point operations that this makes.
    """

    dtype: torch.dtype
    error: float
    seconds: float
    operations_a_second: float

    @property
    def is_right(self) -> bool:
        return self.error <= AT_MOST[self.dtype]


def check_block(device: torch.device, dtype: torch.dtype) -> BlockCheck:
    """Compare a convolution in a precision with float64 on the CPU, and time a larger one."""
    random = torch.Generator().manual_seed(0)
    volumes = torch.randn(CHECKED, generator=random, dtype=torch.float64)
    weight = torch.randn(TARGET, SOURCE, *[KERNEL] * 3, generator=random, dtype=torch.float64) / 15
    wanted = _step(volumes, weight)
    found = _step(volumes.to(device, dtype), weight.to(device, dtype))
    error = max(
        float((a.double().cpu() - b).abs().max() / b.abs().max()) for a, b in zip(found, wanted, strict=True)
    )  # fmt: skip
    if error != error:
        error = float("inf")
    large, kernel = torch.randn(TIMED).to(device, dtype), weight.to(device, dtype)
    times = [_timed(lambda: _step(large, kernel), device) for _ in range(REPEATS)]
    seconds = sorted(times)[REPEATS // 2]
    places = TIMED[0] * (TIMED[2] - KERNEL + 1) ** 3
    return BlockCheck(dtype, error, seconds, 6 * KERNEL**3 * SOURCE * TARGET * places / seconds)


def _step(volumes: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the outputs of a convolution, and the gradients of volumes and weights for a fixed gradient of these."""
    volumes, weight = volumes.detach().requires_grad_(), weight.detach().requires_grad_()
    outputs = functional.conv3d(volumes, weight)
    places = torch.linspace(-1, 1, outputs[0].numel(), device=outputs.device).view(outputs.shape[1:])
    outputs.backward(places.expand(outputs.shape).to(outputs.dtype))
    assert volumes.grad is not None
    assert weight.grad is not None
    return outputs.detach(), volumes.grad, weight.grad


def _timed(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def check_card(device: torch.device, precision: str, say: Callable[[str], None]) -> None:
    """Check the convolutions of a GPU before it is used; say in one line where they are slow.

    On the CPU nothing is checked. What was found is kept for this process.

    Args:
        precision: float32 or bf16, as in `training.precision`.
    Raises:
        UserError: the GPU computes wrongly in this precision; names the way out.
    """
    if device.type != "cuda":
        return
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    refuse(dtype, torch.backends.cudnn.version() or 0, lambda: kept_check(device, dtype))
    for line in slowness(
        torch.__version__, torch.backends.cudnn.version() or 0, dtype, lambda d: kept_check(device, d)
    ):
        say(f"  {line}")
    for line in kernels_left_aside(device):
        say(f"  {line}")


def kernels_left_aside(device: torch.device) -> list[str]:
    """Say in at most one line that the kernels of our own are not used, and why."""
    why = why_not(device)
    return [f"without kernels of our own ({why}): training and occlusion take longer"] if why else []


@functools.cache
def kept_check(device: torch.device, dtype: torch.dtype) -> BlockCheck:
    """Return the check of a device in a precision, made once in a process."""
    return check_block(device, dtype)


def refuse(dtype: torch.dtype, cudnn: int, check: Callable[[], BlockCheck]) -> None:
    """Raise UserError for a precision in which this build is known, or found, to compute wrongly.

    Args:
        cudnn: its version as a number: 91002 is 9.10.2; 0: none.
    Raises:
        UserError: names what is wrong and the way out.
    """
    way_out = {
        torch.bfloat16: "use --set training.precision=float32, or a torch with another cuDNN",
        torch.float32: "use --device cpu, or another build of torch or driver",
    }[dtype]
    if dtype == torch.bfloat16 and WRONG_BF16[0] <= cudnn < WRONG_BF16[1]:
        raise UserError(
            f"bf16 is refused: cuDNN {_version(cudnn)} computes 3D convolutions of bfloat16 wrongly (9.8 to 9.10 do); "
            f"{way_out}"
        )
    found = check()
    if not found.is_right:
        raise UserError(
            f"{NAMES[dtype]} is refused: on this GPU a 3D convolution differs from float64 by {found.error:.1g} of its "
            f"largest value, where {AT_MOST[dtype]:g} is rounding (cuDNN {_version(cudnn)}); {way_out}"
        )


def slowness(
    torch_version: str, cudnn: int, dtype: torch.dtype, check: Callable[[torch.dtype], BlockCheck]
) -> list[str]:
    """Say in at most one line that 3D convolutions of this build are slow, known or measured."""
    if torch_version.startswith(SLOW_TORCH) and cudnn < QUICK_CUDNN:
        return [
            f"torch {torch_version} with cuDNN {_version(cudnn)} is known to be slow in 3D convolutions: install "
            "nvidia-cudnn-cu12 9.15 or newer, or another torch"
        ]
    if dtype == torch.bfloat16:
        half, whole = check(torch.bfloat16).seconds, check(torch.float32).seconds
        if half > SLOWER * whole:
            return [
                f"3D convolutions of bf16 take {half / whole:.1f} times as long as those of float32 here: "
                "--set training.precision=float32 is the quicker one"
            ]
    return []


def _version(cudnn: int) -> str:
    return f"{cudnn // 10000}.{cudnn // 100 % 100}.{cudnn % 100}" if cudnn else "(none)"
