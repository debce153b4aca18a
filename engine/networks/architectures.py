"""The networks that can be trained, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from engine.images.grid import Grid
from engine.networks import cnn3d, voxcnn, voxresnet


@dataclass(frozen=True)
class Architecture:
    """A kind of network and how it fits the working grids.

    Attributes:
        network: (shape, pools, dropout, classes) -> the network.
        pools: grid_mm -> by how much each part of it makes the maps smaller.
        footprint: memory of its activations, in those of the network of Rieke et al. 2018.
    """

    network: type[nn.Module]
    pools: Mapping[int, tuple[int, ...]]

    @property
    def footprint(self) -> float:
        """Return the memory of its activations, in those of the network of Rieke et al. 2018."""
        return footprint(self.network)


NETWORKS = {
    "rieke2018": Architecture(cnn3d.CNN3D, cnn3d.POOLS),
    "korolev2017_plain": Architecture(voxcnn.VoxCNN, voxcnn.POOLS),
    "korolev2017_residual": Architecture(voxresnet.VoxResNet, voxresnet.STRIDES),
}
EARLIER_NAMES = {"CNN3D": "rieke2018"}  # in the model cards of earlier runs


def architecture(name: str) -> Architecture:
    """Return the architecture of a name, or of one that it had in earlier runs.

    Raises:
        KeyError: there is none of this name.
    """
    return NETWORKS[EARLIER_NAMES.get(name, name)]


def build_network(
    grid_mm: int, dropout: float = 0.8, seed: int | None = None, name: str = "rieke2018", classes: int = 2
) -> nn.Module:
    """Build the network for a working grid; the same seed gives the same weights."""
    kind = architecture(name)
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        return kind.network(Grid(grid_mm).shape, kind.pools[grid_mm], dropout, classes)


def footprint(network: nn.Module | type[nn.Module]) -> float:
    """Return the memory of the activations of a network, in those of the network of Rieke et al. 2018."""
    return getattr(network, "footprint", 1.0)


def convolution_work(network: nn.Module, grid_mm: int) -> list[float]:
    """Return what each convolution of a forward pass costs, in the order in which they come; nothing is computed.

    A convolution of c by d channels does c * d multiplications for each place and weight of its kernel, but wide ones
    do more of them a second: on the CPU, time grows about as sqrt(c * d), which is what is counted.

    Args:
        network: on the meta device, in eval mode.
        grid_mm: of the grid that it is built for.
    """
    counted = []

    def count(layer: nn.Conv3d, _inputs: tuple, found: torch.Tensor) -> None:
        channels = layer.weight.shape[0] * layer.weight.shape[1]
        counted.append(math.prod(found.shape[2:]) * math.prod(layer.kernel_size) * math.sqrt(channels))

    hooks = [x.register_forward_hook(count) for x in network.modules() if isinstance(x, nn.Conv3d)]
    network(torch.empty(1, 1, *Grid(grid_mm).shape, device="meta"))
    for hook in hooks:
        hook.remove()
    return counted
