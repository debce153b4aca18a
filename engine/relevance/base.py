"""What all relevance methods share: the contract, and the brain they work in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from engine.relevance.batching import BatchSize

Box = tuple[slice, ...]


class ShapeError(ValueError):
    """Volumes that are not (n, 1, x, y, z)."""


@dataclass(frozen=True)
class Relevance:
    """Signed relevance of n scans in a method's native grid.

    Attributes:
        margin: (n, *native) float32; gradient of, or drop in, the margin of the explained class.
        probability: (n, *native) float32 drop in the probability, for occlusions; None for gradients, whose
            probability map is p (1 - p) times the margin map.
        completeness_error: (n,) share of the margin's change that a sum misses; of methods that should add up.
    """

    margin: Tensor
    probability: Tensor | None = None
    completeness_error: Tensor | None = None


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
        training_maps: name -> (x, y, z) how the training groups differ; empty where no baseline asks for it.
        whole: whether relevance outside the mask is asked for, too; gradients there need not be right otherwise.
    """

    mask: Tensor
    labels: Tensor
    regions: int
    grid_mm: int
    negative_mean: Tensor | None = None
    other_subject: Tensor | None = None
    mean: Tensor | None = None
    spread: Tensor | None = None
    training_maps: Mapping[str, Tensor] = field(default_factory=dict)
    whole: bool = False

    @cached_property
    def box(self) -> Box:
        """Return the bounding box (x, y, z) of the mask."""
        return bounding_box(self.mask)

    def intensities(self, volume: Tensor) -> Tensor:
        """Return one volume (x, y, z) as before the normalisation, as far as that can be undone."""
        return volume if self.mean is None or self.spread is None else volume * self.spread + self.mean


def bounding_box(mask: Tensor) -> Box:
    """Return the box (x, y, z) of the voxels of a mask; all of them for an empty one."""
    found = []
    for axis in range(mask.dim()):
        hit = mask.any(dim=[other for other in range(mask.dim()) if other != axis]).nonzero()
        found.append(slice(int(hit[0]), int(hit[-1]) + 1) if len(hit) else slice(0, mask.shape[axis]))
    return tuple(found)


@dataclass(frozen=True)
class Patch:
    """Other values for a box of a volume.

    Attributes:
        box: its voxels, inside the volume.
        values: () -> (a, b, c) what replaces those of the scan.
        constant: the value, where it is the same for all of them.
    """

    box: Box
    values: Callable[[], Tensor]
    constant: float | None = None


@dataclass(frozen=True)
class RelevanceMethod(ABC):
    """A way to say which parts of a volume speak for a class. A method is one file.

    Class attributes:
        name: key in METHODS and in the store.
        native_grid: voxels, positions or regions: how the store keeps it.
        antisymmetric: for two classes, the map of the other class is minus this one.
        gradient: relevance is a gradient or a contribution by gradients, of which |h| counts; else a drop of evidence,
            of which max(h, 0) counts.
        contribution: relevance is a part of the margin itself, not the margin per unit of input.
        explanation: relevance says something of the network. Else it is a baseline, a map that would be the same for
            any network, beside which explanations stand; marked as no explanation wherever it is shown.
        own_unit: of a baseline.
    """

    name: ClassVar[str]
    native_grid: ClassVar[str] = "voxels"
    antisymmetric: ClassVar[bool]
    gradient: ClassVar[bool] = True
    contribution: ClassVar[bool] = False
    explanation: ClassVar[bool] = True
    own_unit: ClassVar[str] = ""

    brain: Brain = field(repr=False, compare=False)
    batch: BatchSize = field(repr=False, compare=False)

    @abstractmethod
    def attribute(self, model: nn.Module, volumes: Tensor, explained_class: int) -> Relevance:
        """Explain the evidence for `explained_class` in each volume.

        Args:
            model: classifier in eval mode, (n, 1, x, y, z) -> logits (n, classes).
            volumes: (n, 1, x, y, z) float32, RAS+, z-scored over the training set, 0 outside the brain.
            explained_class: index of the class to explain; 1 is the positive group.
        Raises:
            ShapeError: `volumes` is not five-dimensional with one channel.
        """

    def parameters(self) -> dict[str, Any]:
        """Return the settings of the method, for provenance."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in {"brain", "batch"}}


def check_volumes(volumes: Tensor) -> None:
    """Raise ShapeError unless (n, 1, x, y, z)."""
    if volumes.ndim != 5 or volumes.shape[1] != 1:
        raise ShapeError(f"volumes must be (n, 1, x, y, z), not {tuple(volumes.shape)}")


def drops(intact: Tensor, changed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ((n,), (n,)) drop in margin and in probability, intact minus changed, float32.

    Margins are float32 arithmetic; their differences and probabilities are taken in double precision.

    Args:
        intact: (1,) float64 margin; changed: (n,) float64 margins.
    """
    return (intact - changed).float(), (torch.sigmoid(intact) - torch.sigmoid(changed)).float()
