"""What all relevance methods share: the contract, the brain they work in, and batches that fit in memory."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from threading import Lock
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from engine.errors import RunError
from engine.networks.architectures import footprint
from engine.networks.blocks import sequential_blocks
from engine.networks.cnn3d import margins
from engine.networks.device import is_out_of_memory, volumes_that_fit

Item, Result = TypeVar("Item"), TypeVar("Result")
REFERENCES = ("mean", "nc_mean", "blurred", "other_subject")
BLUR_MM = 6.0


class ShapeError(ValueError):
    """Volumes that are not (n, 1, x, y, z)."""


@dataclass(frozen=True)
class Relevance:
    """Signed relevance of n scans in a method's native grid.

    Attributes:
        margin: (n, *native) float32; gradient of, or drop in, the margin of the target.
        probability: (n, *native) float32 drop in the probability, for occlusions; None for gradients, whose
            probability map is p (1 - p) times the margin map.
    """

    margin: Tensor
    probability: Tensor | None = None


@dataclass(frozen=True)
class Brain:
    """What methods need to know of the cohort's space; tensors on the device of the network.

    Attributes:
        mask: (x, y, z) bool.
        labels: (x, y, z) int16 region index.
        regions: atlas regions, numbered 1..regions.
        grid_mm: voxel size.
        negative_mean: (x, y, z) z-scored mean of the negative group's training scans.
        other_subject: (x, y, z) a z-scored training scan of the negative group.
        mean, spread: (x, y, z) of the z-scores; None where volumes are intensities already.
    """

    mask: Tensor
    labels: Tensor
    regions: int
    grid_mm: int
    negative_mean: Tensor | None = None
    other_subject: Tensor | None = None
    mean: Tensor | None = None
    spread: Tensor | None = None

    def intensities(self, volume: Tensor) -> Tensor:
        """(x, y, z) of one volume before the normalisation, as far as it can be undone."""
        return volume if self.mean is None or self.spread is None else volume * self.spread + self.mean


@dataclass(frozen=True)
class Patch:
    """Other values for a box of a volume.

    Attributes:
        box: its voxels, inside the volume.
        values: () -> (a, b, c) what replaces those of the scan.
        constant: the value, where it is the same for all of them.
    """

    box: tuple[slice, slice, slice]
    values: Callable[[], Tensor]
    constant: float | None = None


class BatchSize:
    """How much goes through the network at once; halved when memory runs out, which is said once.

    Attributes:
        at_most: volumes asked for; what fits may be fewer.
        share: of what should fit, after the halvings.
    """

    def __init__(self, at_most: int, say: Callable[[str], None] = lambda text: None) -> None:
        self.at_most, self.share, self._say, self._lock = at_most, 1.0, say, Lock()

    @property
    def volumes(self) -> int:
        """Whole volumes that go through at once."""
        return self._size(self.at_most)

    def _size(self, fits: int) -> int:
        return max(1, int(fits * self.share))

    def run(self, count: int, part: Callable[[int, int], Tensor], fits: int) -> Tensor:
        """Concatenate part(start, stop) over 0..count, in batches of at most `fits`, fewer once memory has run out."""
        found, start = None, 0
        while start < count:
            share, size = self.share, self._size(fits)
            try:
                result = part(start, min(start + size, count))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(share, size)
                continue
            if (
                found is None
            ):  # small results kept one by one would lie between the large blocks that the next batch needs
                found = result.new_empty((count, *result.shape[1:]))
            found[start : start + len(result)] = result
            start += len(result)
        return found

    def _halve(self, share: float, size: int) -> None:
        if size == 1:
            raise RunError(
                "out of memory with a single volume: use a coarser grid_mm or another device; heatmaps already "
                "computed are kept"
            )
        with self._lock:
            if self.share < share:
                return  # another thread has met the same limit
            if self.share == 1:
                self._say("  out of memory: going on with smaller batches")
            self.share = share / 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


@dataclass(frozen=True)
class RelevanceMethod(ABC):
    """A way to say which parts of a volume speak for a class. A subclass is final and one file.

    Class attributes:
        name: key in METHODS and in the store.
        native_grid: voxels, positions or regions: how the store keeps it.
        antisymmetric: for two classes, the map of the other class is minus this one.
        gradient: relevance is a gradient, of which |h| counts; else a drop of evidence, of which max(h, 0) counts.
    """

    name: ClassVar[str]
    native_grid: ClassVar[str]
    antisymmetric: ClassVar[bool]
    gradient: ClassVar[bool]

    brain: Brain = field(repr=False, compare=False)
    batch: BatchSize = field(repr=False, compare=False)

    @abstractmethod
    def attribute(self, model: nn.Module, volumes: Tensor, target: int) -> Relevance:
        """Explain the evidence for `target` in each volume.

        Args:
            model: classifier in eval mode, (n, 1, x, y, z) -> logits (n, classes).
            volumes: (n, 1, x, y, z) float32, RAS+, z-scored over the training set, 0 outside the brain.
            target: index of the class to explain; 1 is the positive group.
        Raises:
            ShapeError: `volumes` is not five-dimensional with one channel.
        """

    def parameters(self) -> dict:
        """The method's own settings, for provenance."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in {"brain", "batch"}}


def each_volume(volumes: Tensor, explain: Callable[[Tensor], Result]) -> list[Result]:
    """explain(volume) for every volume of (n, 1, x, y, z), in order; on the CPU several at once."""
    return [explain(volumes[0, 0])] if len(volumes) == 1 else in_threads(explain, volumes[:, 0])


def in_threads(work: Callable[[Item], Result], items: Sequence[Item] | Tensor) -> list[Result]:
    """work(item) for every item, in order.

    On the CPU several are worked on at once, with one thread each: operations on small boxes are too short to be shared
    between threads.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(items) == 1 or (isinstance(items, Tensor) and items.is_cuda):
        return [work(item) for item in items]
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, items))
    finally:
        torch.set_num_threads(threads)


def check_volumes(volumes: Tensor) -> None:
    """Raise ShapeError unless (n, 1, x, y, z)."""
    if volumes.ndim != 5 or volumes.shape[1] != 1:
        raise ShapeError(f"volumes must be (n, 1, x, y, z), not {tuple(volumes.shape)}")


def input_gradients(model: nn.Module, volumes: Tensor, target: int, batch: BatchSize) -> Tensor:
    """(n, x, y, z) gradients of each volume, in batches that fit."""
    voxels = math.prod(volumes.shape[1:]) * footprint(model)
    fits = volumes_that_fit(voxels, volumes.device, batch.at_most, backward=True) if len(volumes) else 1
    return batch.run(len(volumes), lambda a, b: input_gradient(model, volumes[a:b], target), fits)


def input_gradient(model: nn.Module, volumes: Tensor, target: int) -> Tensor:
    """(n, x, y, z) gradient of the margin of `target` with respect to each volume; the network's own rules apply."""
    if volumes.is_cuda or sequential_blocks(model) is None:
        return _gradient(model, volumes, target)[:, 0]
    # The backward pass of a convolution of one channel is a convolution with mirrored weights, and on the CPU several
    # times as slow as that.
    first, *others = model.features
    with torch.no_grad():
        maps = first(volumes).contiguous(memory_format=torch.channels_last_3d)
    behind = _gradient(nn.Sequential(*others, model.classifier), maps, target)
    mirrored = first.weight.detach().flip(2, 3, 4).transpose(0, 1)
    found = nn.functional.conv3d(behind, mirrored, padding=[k - 1 for k in first.kernel_size])
    border = [(a - b) // 2 for a, b in zip(found.shape[2:], volumes.shape[2:], strict=True)]  # of a padded convolution
    return found[(slice(None), 0, *(slice(m, m + n) for m, n in zip(border, volumes.shape[2:], strict=True)))]


def _gradient(model: nn.Module, inputs: Tensor, target: int) -> Tensor:
    leaf = inputs.detach().clone().requires_grad_()
    with torch.enable_grad():
        evidence = margins(model(leaf))[:, target].sum()
        (gradient,) = torch.autograd.grad(evidence, leaf)
    return gradient


def reference_volume(reference: str | float, volume: Tensor, brain: Brain) -> Tensor:
    """(x, y, z) what replaces the tissue of one z-scored volume, 0 outside the brain.

    mean: 0, of z-scores the training mean. nc_mean: mean of the negative group. blurred: the scan itself, smoothed by
    6 mm. other_subject: a training scan of the negative group. A number: that value after normalisation.
    """
    if reference == "mean":
        return torch.zeros_like(volume)
    if reference == "blurred":
        filled = _blur(volume, BLUR_MM / brain.grid_mm / 2.3548)
    elif reference in REFERENCES:
        filled = brain.negative_mean if reference == "nc_mean" else brain.other_subject
        if filled is None:
            raise ValueError(f"the reference {reference} needs training scans of the negative group")
        filled = filled.to(volume)
    else:
        filled = torch.full_like(volume, float(reference))
    return torch.where(brain.mask, filled, torch.zeros_like(filled))


def _blur(volume: Tensor, sigma: float) -> Tensor:
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=volume.dtype, device=volume.device)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    blurred = volume[None, None]
    for axis in range(3):
        shape, padding = [1, 1, 1, 1, 1], [0, 0, 0]
        shape[2 + axis], padding[axis] = len(offsets), radius
        blurred = nn.functional.conv3d(blurred, kernel.reshape(shape), padding=padding)
    return blurred[0, 0]


def drops(intact: Tensor, changed: Tensor) -> tuple[Tensor, Tensor]:
    """((n,), (n,)) drop in margin and in probability, intact minus changed, float32.

    Margins are float32 arithmetic; their differences and probabilities are taken in double precision.

    Args:
        intact: (1,) float64 margin; changed: (n,) float64 margins.
    """
    return (intact - changed).float(), (torch.sigmoid(intact) - torch.sigmoid(changed)).float()
