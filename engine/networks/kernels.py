"""What a CUDA GPU computes by kernels of our own, and the same by torch where it cannot.

Triton is part of torch for CUDA on Linux; elsewhere, and where its kernels do not compile or compute otherwise than
torch (`usable`), torch's own operations are taken, which give the same numbers up to rounding.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv3d_weight

PLACES = 128  # of an output that a program computes
MOST_CHANNELS, MOST_KERNEL = 64, 5  # of the first convolution: what a program holds in its registers, and unrolls
STEP, ROWS, COLUMNS = 32, 32, 16  # of the products of matrices behind the gradient of weights: places, rows, columns
SPLITS = 16  # programs for each multiprocessor
WARPS = 4  # of each of these programs
PRECISION = "ieee"  # of their products
ATOL = 1e-5  # of the largest value: some dozen roundings of float32


def takes_first(maps: Tensor, weight: Tensor) -> bool:
    """Return whether `first_block` computes a valid convolution of maps: of one channel, by a small cube."""
    _, channels, *kernel = weight.shape
    small = len(weight) <= MOST_CHANNELS and kernel[0] <= MOST_KERNEL and len(set(kernel)) == 1
    return channels == 1 and small and by_kernels(maps)


def by_kernels(tensor: Tensor) -> bool:
    """Return whether our kernels compute on the device of a tensor."""
    return tensor.is_cuda and tensor.dtype == torch.float32 and usable(tensor.device)


def usable(device: torch.device) -> bool:
    """Return whether our kernels compute on a device what torch does."""
    return not why_not(device)


@functools.cache
def why_not(device: torch.device) -> str:
    """Return why our kernels cannot be used on a device, in a few words; nothing where they can. Asked once."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    try:
        apart = largest_difference(device)
    except Exception as error:  # Triton's own have no common kind: no C compiler, an unknown GPU, a driver too old
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason'}"
    return "" if apart <= ATOL else f"they differ from float64 by {apart:.1g} of the largest value"


def largest_difference(device: torch.device) -> float:
    """Return by how much our kernels differ from torch in float64 on the CPU, of the largest value."""
    random = torch.Generator().manual_seed(0)
    apart = []
    for channels, out in ((1, 8), (8, 16)):
        maps = torch.randn(2, channels, 13, 12, 11, generator=random)
        weight, bias = torch.randn(out, channels, 3, 3, 3, generator=random), torch.randn(out, generator=random)
        behind = torch.randn(2, out, 11, 10, 9, generator=random)
        pairs = [(_weight_gradient(maps.to(device), behind.to(device), 3),
                  conv3d_weight(maps.double(), weight.shape, behind.double()))]  # fmt: skip
        if channels == 1:
            for pool in (1, 2):
                wanted = functional.max_pool3d(functional.conv3d(maps.double(), weight.double(), bias.double()), pool)
                found = first_block(maps.to(device), weight.to(device), bias.to(device), pool, relu=True)
                pairs.append((found, wanted.relu()))
        apart += [float((a.cpu().double() - b).abs().max() / b.abs().max()) for a, b in pairs]
    apart.append(_crops_apart(device))
    return max(one if one == one else math.inf for one in apart)


def _crops_apart(device: torch.device) -> float:
    """Return by how much crops of two maps, one of them with a changed box, differ from slices: 0 where right."""
    maps = torch.arange(2 * 6 * 5 * 4 * 3, dtype=torch.float32).reshape(2, 6, 5, 4, 3)
    box = -torch.arange(1, 1 + 2 * 3 * 2 * 3, dtype=torch.float32).reshape(2, 3, 2, 3)
    wanted = maps.clone()
    wanted[1, 2:4, 1:4, 2:4] = box
    start, second = maps[..., 0].numel(), maps[0, ..., 0].numel()
    rows = torch.tensor([[1, 0, 1, 0, 0, 0, 0, 0, 0, start, 6, 2, 1, 0],
                         [1, 0, 1, 2, 1, 2, 4, 4, 4, start, 6, 2, 1, second]], dtype=torch.int32)  # fmt: skip
    cells = torch.cat([maps.reshape(-1, 3), box.reshape(-1, 3)])
    found = gather_crops(cells.to(device), rows.to(device), (4, 5, 3), maps.shape[1:4])
    return float((found.cpu() - wanted[:, 1:5, :, 1:].movedim(-1, 1)).abs().max())


def first_block(
    volumes: Tensor, weight: Tensor, bias: Tensor | None = None, pool: int = 1, relu: bool = False
) -> Tensor:
    """Return a valid convolution of volumes of one channel, the largest of each pooling window, perhaps after a ReLU.

    Nothing but the result is written: (n, c, x', y', z'), channels last.

    Args:
        volumes: (n, 1, x, y, z) float32 on a GPU, also a view.
        weight: (c, 1, k, k, k).
        bias: (c,); None for 0.
    """
    from engine.networks import triton_kernels  # noqa: PLC0415  # Triton is there on a GPU alone

    channels, kernel = len(weight), weight.shape[-1]
    shape = [(n - kernel + 1) // pool for n in volumes.shape[2:]]
    found = volumes.new_empty((len(volumes), *shape, channels)).movedim(-1, 1)
    given = weight.new_zeros(channels) if bias is None else bias.contiguous()
    triton_kernels.first_block[(-(-math.prod(shape) // PLACES), len(volumes))](
        volumes, weight.contiguous(), given, found, volumes.stride(0), *volumes.stride()[2:], *found.stride(), *shape,
        kernel, pool, channels, _power(channels), relu, PLACES,
    )  # fmt: skip
    return found


def weight_gradient(maps: Tensor, behind: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of the weights of a valid convolution, (c', c, k, k, k) float32.

    Args:
        maps: (n, c, x, y, z) that it saw, float32 or bfloat16.
        behind: (n, c', x', y', z') gradient of its outputs, of the same kind.
        weight: of whose shape it is.
    """
    if (
        maps.is_cuda
        and len(set(weight.shape[2:])) == 1
        and maps.dtype in (torch.float32, torch.bfloat16)
        and usable(maps.device)
    ):
        return _weight_gradient(maps, behind, weight.shape[-1])
    _, found, _ = torch.ops.aten.convolution_backward(
        behind, maps, weight.to(maps.dtype), None, [1] * 3, [0] * 3, [1] * 3, False, [0] * 3, 1, [False, True, False]
    )
    return found.to(weight.dtype)


def _weight_gradient(maps: Tensor, behind: Tensor, kernel: int) -> Tensor:
    from engine.networks import triton_kernels  # noqa: PLC0415  # Triton is there on a GPU alone

    channels, out, shape = maps.shape[1], behind.shape[1], behind.shape[2:]
    places, weights = len(maps) * math.prod(shape), kernel**3 * channels
    rows = min(ROWS, _power(weights))
    step = _step(places, maps.device)
    parts = maps.new_empty((-(-places // step), weights, out), dtype=torch.float32)
    triton_kernels.weight_gradient[(len(parts), -(-weights // rows))](
        maps, behind, parts, *maps.stride(), *behind.stride(), *shape, places, step,
        kernel, channels, out, rows, max(COLUMNS, _power(out)), STEP, PRECISION,
        num_warps=WARPS,
    )  # fmt: skip
    return parts.sum(0).view(*[kernel] * 3, channels, out).permute(4, 3, 0, 1, 2)


def _step(places: int, device: torch.device) -> int:
    """Return how many places a program sums over: a part for each of SPLITS programs a multiprocessor."""
    units = torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
    return max(1, -(-places // (SPLITS * units * STEP))) * STEP


def gather_crops(cells: Tensor, rows: Tensor, size: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Return (n, c, *size) crops of maps with changes, (m, c) cells of both; `rows` as of the kernel.

    Args:
        rows: (n, 14) int32 on the device.
        shape: (x, y, z) of the map.
    """
    from engine.networks import triton_kernels  # noqa: PLC0415  # Triton is there on a GPU alone

    channels = cells.shape[1]
    found = cells.new_empty((len(rows), channels, *size))
    triton_kernels.gather_crops[(-(-math.prod(size) // PLACES), len(rows))](
        cells, rows, found, *size, *shape[1:], channels, _power(channels), PLACES
    )
    return found


def _power(number: int) -> int:
    """Return the least power of two that is no less."""
    return 1 << (number - 1).bit_length()
