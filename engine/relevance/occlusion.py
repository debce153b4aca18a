"""Occlusion: how the evidence drops when a cube of brain is replaced."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor, nn

from engine.relevance.base import Relevance, RelevanceMethod, check_volumes, drops, reference_volume


@dataclass(frozen=True)
class Occlusion(RelevanceMethod):
    """How much the evidence for the target drops when a cube of brain is replaced.

    Source: Zeiler & Fergus 2014, section 4.2; in 3D as in Rieke et al. 2018, section 2.3.
    Unit:   drop of margin and of probability, one pair a cube position. Positive: spoke for the target.
    Cost:   one forward pass for each cube that changes a voxel; the others are exact zeros and skipped.

    Attributes:
        half_width: voxels; the cube is [c - half_width, c + half_width), clipped at the border.
        stride: voxels between cube centres, which start at 0.
        reference: what replaces the tissue, see reference_volume.
    """

    name: ClassVar[str] = "occlusion"
    native_grid: ClassVar[str] = "positions"
    antisymmetric: ClassVar[bool] = True

    half_width: int = 20
    stride: int = 12
    reference: str | float = "mean"

    def attribute(self, model: nn.Module, volumes: Tensor, target: int) -> Relevance:
        """(n, px, py, pz) drops at every cube position. See RelevanceMethod.attribute."""
        check_volumes(volumes)
        grid = position_shape(volumes.shape[2:], self.stride)
        margin = torch.zeros((len(volumes), *grid))
        probability = torch.zeros_like(margin)
        for n, volume in enumerate(volumes[:, 0]):
            reference = reference_volume(self.reference, volume, self.brain)
            positions = changing_positions(volume != reference, self.half_width, self.stride)

            def occluded(start: int, stop: int, volume=volume, reference=reference, positions=positions) -> Tensor:
                batch = volume.expand(stop - start, 1, *volume.shape).clone()
                for row, position in enumerate(positions[start:stop]):
                    cube = cube_at(position, self.half_width, self.stride)
                    batch[row, 0][cube] = reference[cube]
                return batch

            if positions:
                at = tuple(torch.tensor(positions).T)
                found = drops(model, volume, target, len(positions), occluded, self.batch)
                margin[n][at], probability[n][at] = found[0].cpu(), found[1].cpu()
        return Relevance(margin, probability)


def position_shape(shape: tuple[int, ...], stride: int) -> tuple[int, ...]:
    """Cube positions along each axis: centres range(0, n, stride)."""
    return tuple(len(range(0, n, stride)) for n in shape)


def cube_at(position: tuple[int, ...], half_width: int, stride: int) -> tuple[slice, ...]:
    """The voxels of the cube around centre stride * position; slicing clips it at the far border."""
    return tuple(slice(max(0, stride * p - half_width), stride * p + half_width) for p in position)


def changing_positions(changed: Tensor, half_width: int, stride: int) -> list[tuple[int, int, int]]:
    """Positions whose cube holds a voxel that would change; at all others occlusion does nothing.

    Args:
        changed: (x, y, z) bool.
    """
    cumulated = torch.nn.functional.pad(changed.cpu().int(), (1, 0, 1, 0, 1, 0)).cumsum(0).cumsum(1).cumsum(2)
    found = []
    for position in product(*(range(p) for p in position_shape(changed.shape, stride))):
        spans = [
            (s.start, min(s.stop, n)) for s, n in zip(cube_at(position, half_width, stride), changed.shape, strict=True)
        ]
        inside = sum(
            (-1) ** sum(corner) * int(cumulated[tuple(spans[axis][1 - corner[axis]] for axis in range(3))])
            for corner in product((0, 1), repeat=3)
        )
        if inside:
            found.append(position)
    return found
