"""The same occlusions by other software, on a sample of the places: one whole forward pass each, so that time scales.

Each function returns a `Sample`; `apart` puts it into a process of its own. Its model takes a part of the scan only and
puts it into the whole scan, within a border of zeros, so that the windows lie exactly where ours do, also where they
reach over the edge.
"""

from __future__ import annotations

import copy
import functools
import importlib
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.benchmark.scene import Scene, scene
from engine.errors import UserError
from engine.networks.cnn3d import margins

TARGET = 1


@dataclass
class Sample:
    """Work of other software on some of the places.

    Attributes:
        work: does it once, and fills `recorded`.
        places: how many places it occludes.
        passes: forward passes in all, the intact scan included.
        recorded: (places,) margins with each place occluded, in the order asked for.
        exactly: the work as it is compared, where that is not as it is timed: by default torch lets the convolutions
            of a GPU round to TF32.
    """

    work: Callable[[], None]
    places: int
    passes: int
    recorded: Tensor = field(default_factory=lambda: torch.empty(0))
    exactly: Callable[[], None] | None = None

    def record(self) -> Tensor:
        """Do the work once, exactly, and return what it recorded."""
        (self.exactly or self.work)()
        return self.recorded


def apart(factory: Callable[..., Sample], grid_mm: int, device: torch.device, *arguments: Any) -> Sample:
    """Make the sample of factory(scene, *arguments) in a process of its own.

    There the other software runs as its user would have it: what we set for ourselves (how memory is kept,
    deterministic algorithms) is not in force.
    """
    process = _other_process()

    def work(exactly: bool = False) -> None:
        sample.recorded, sample.passes = process.submit(_work, exactly).result()

    sample = Sample(work, *process.submit(_begin, factory.__name__, grid_mm, device, arguments).result())
    sample.exactly = functools.partial(work, True)
    return sample


@functools.cache
def _other_process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


_sample: Sample | None = None  # in the other process


def _begin(factory: str, grid_mm: int, device: torch.device, arguments: Sequence[Any]) -> tuple[int, int]:
    global _sample
    _sample = globals()[factory](scene(grid_mm, device), *arguments)
    return _sample.places, _sample.passes


def _work(exactly: bool) -> tuple[Tensor, int]:
    assert _sample is not None
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = before and not exactly
    try:
        (_sample.exactly or _sample.work)() if exactly else _sample.work()
    finally:
        torch.backends.cudnn.allow_tf32 = before
    return _sample.recorded.cpu(), _sample.passes


class Part(nn.Module):
    """Margins of a scan, a part of which is the input; every answer is kept."""

    def __init__(self, network: nn.Module, padded: Tensor, low: Sequence[int], border: int, shape: Sequence[int]):
        super().__init__()
        self.network, self.padded, self.low, self.border, self.shape = network, padded, low, border, shape
        self.seen: list[Tensor] = []

    def forward(self, part: Tensor) -> Tensor:
        """Return the (n, 1) margins of TARGET for parts (n, 1, a, b, c) of the scan."""
        whole = self.padded.expand(len(part), *self.padded.shape[1:]).clone()
        _crop(whole, self.low, part.shape[2:])[:] = part
        inside = _crop(whole, [self.border] * 3, self.shape)
        with torch.no_grad():
            found = margins(self.network(inside.contiguous()))[:, [TARGET]]
        self.seen.append(found[:, 0].double())
        return found


def _crop(volumes: Tensor, low: Sequence[int], size: Sequence[int]) -> Tensor:
    """Return a view of a box of (n, c, x, y, z)."""
    x, y, z = (slice(a, a + n) for a, n in zip(low, size, strict=True))
    return volumes[:, :, x, y, z]


def require(name: str) -> ModuleType:
    """Import a module of software to compare with, which Brainwhy itself does not need.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.split(".")[0]
        raise UserError(f"--against {package}: it is not installed here: pip install {package}") from None


def _part(scene: Scene, first: Sequence[int], counts: Sequence[int], half: int, stride: int) -> tuple[Part, Tensor]:
    """Return the model, and its input that holds the cubes at positions first .. first + counts in full."""
    shape = scene.scan.shape[2:]
    sizes = [2 * half + stride * (n - 1) for n in counts]
    padded = functional.pad(scene.scan, [half] * 6)  # a cube around centre c begins at c in the padded scan
    low = [stride * p for p in first]
    part = _crop(padded, low, sizes).clone()
    return Part(scene.network, padded, low, half, shape), part


def captum_occlusion(scene: Scene, first: Sequence[int], counts: Sequence[int], half: int, stride: int) -> Sample:
    """Prepare captum.attr.Occlusion on the cubes at positions first .. first + counts along each axis, in C order."""
    attr = require("captum.attr")
    model, part = _part(scene, first, counts, half, stride)
    places = counts[0] * counts[1] * counts[2]

    def work() -> None:
        model.seen.clear()
        attr.Occlusion(model).attribute(
            part, sliding_window_shapes=(1, *(2 * half,) * 3), strides=(1, *(stride,) * 3), baselines=0.0, target=0
        )
        changed = torch.cat(model.seen[1:])  # the first axis runs fastest
        sample.recorded = changed.reshape(tuple(reversed(counts))).permute(2, 1, 0).reshape(-1)

    sample = Sample(work, places, places + 1)
    return sample


def captum_areas(scene: Scene, regions: Sequence[int]) -> Sample:
    """Prepare captum.attr.FeatureAblation on some regions; all that is in none of them is a feature of its own."""
    attr = require("captum.attr")
    labels = torch.zeros_like(scene.brain.labels, dtype=torch.int64)
    for number, region in enumerate(regions, start=1):
        labels[scene.brain.labels == region] = number
    model = Part(scene.network, scene.scan, (0, 0, 0), 0, scene.scan.shape[2:])

    def work() -> None:
        model.seen.clear()
        attr.FeatureAblation(model).attribute(scene.scan, baselines=0.0, target=0, feature_mask=labels[None, None])
        sample.recorded = torch.cat(model.seen[2:])

    sample = Sample(work, len(regions), len(regions) + 2)
    return sample


def captum_gradients(scene: Scene) -> Sample:
    """Prepare captum.attr.Saliency and GuidedBackprop: `recorded` are both maps, (2, x, y, z); exactly: float64."""
    attr = require("captum.attr")

    class Margin(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, volumes: Tensor) -> Tensor:
            return margins(self.network(volumes))[:, TARGET]

    def work(dtype: torch.dtype = torch.float32) -> None:
        scan, network = scene.scan.to(dtype, copy=True).requires_grad_(), scene.network
        model = Margin(network if dtype == torch.float32 else copy.deepcopy(network).to(dtype))
        maps = attr.Saliency(model).attribute(scan, abs=False), attr.GuidedBackprop(model).attribute(scan)
        sample.recorded = torch.stack([one[0, 0].detach() for one in maps])

    sample = Sample(work, 2, 2, exactly=functools.partial(work, torch.float64))
    return sample


def monai_occlusion(scene: Scene, first: Sequence[int], counts: Sequence[int], half: int, stride: int) -> Sample:
    """Prepare monai.visualize.OcclusionSensitivity on that part; its cubes lie otherwise, so its pace alone counts."""
    visualize = require("monai.visualize")
    model, part = _part(scene, first, counts, half, stride)
    explain = visualize.OcclusionSensitivity(
        model, mask_size=2 * half, n_batch=1, overlap=1 - stride / (2 * half), mode=0.0, verbose=False
    )

    def work() -> None:
        model.seen.clear()
        explain(part)
        sample.passes = sum(len(found) for found in model.seen)

    sample = Sample(work, 0, 1)
    return sample
