"""Grad-CAM: the last feature maps, weighted by how much the evidence rises with them; coarse, upsampled linearly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.networks.blocks import border_of
from engine.networks.cnn3d import margins
from engine.relevance.base import Relevance, RelevanceMethod, check_volumes


@dataclass(frozen=True)
class GradCam(RelevanceMethod):
    """Where the last convolution finds what speaks for the class.

    Source: Selvaraju et al. 2017 (arXiv 1610.02391), equations 1 and 2: maps of the last convolution after its ReLU,
    weighted by their mean gradient of the margin, negative sums cut off. Each number lies at the centre of what its
    unit sees of the scan; between them it is interpolated linearly.
    Unit:   margin per activation, from 0.
    Cost:   one forward pass and the backward pass of the classifier a scan and class.
    """

    name: ClassVar[str] = "grad_cam"
    antisymmetric: ClassVar[bool] = False

    def attribute(self, model: nn.Module, volumes: Tensor, explained_class: int) -> Relevance:
        """Return (n, x, y, z) upsampled class activation map. See RelevanceMethod.attribute.

        Raises:
            ValueError: the network has no part `features` with a convolution.
        """
        check_volumes(volumes)
        return Relevance(torch.cat([self._one(model, volume[None], explained_class) for volume in volumes]).float())

    def _one(self, model: nn.Module, volume: Tensor, explained_class: int) -> Tensor:
        """Return (1, x, y, z) the map of one scan."""
        before, after = split_at_last_convolution(model)
        classifier = cast(nn.Module, model.classifier)
        with torch.no_grad():
            maps = before(volume)
        maps = maps.detach().requires_grad_()
        with torch.enable_grad():
            evidence = margins(classifier(after(maps)))[:, explained_class].sum()
            (gradients,) = torch.autograd.grad(evidence, maps)
        weights = gradients.mean(dim=(2, 3, 4), keepdim=True)
        coarse = (weights * maps.detach()).sum(dim=1, keepdim=True).relu()
        return upsampled(coarse, before, volume.shape[2:])[:, 0]


def split_at_last_convolution(model: nn.Module) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the layers up to the last convolution and its ReLU, and those between that and the classifier.

    A network of other modules than plain layers (residual blocks) is split behind its last feature map.

    Raises:
        ValueError: the network has no sequence `features` with a convolution.
    """
    features = getattr(model, "features", None)
    if not isinstance(features, nn.Sequential) or not any(isinstance(m, nn.Conv3d) for m in features.modules()):
        raise ValueError("Grad-CAM needs a network with a sequence `features` of convolutions and a `classifier`")
    layers = list(features)
    if all(not list(layer.children()) for layer in layers):  # plain layers
        last = max(i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv3d))
        relu = next((i for i in range(last, len(layers)) if isinstance(layers[i], nn.ReLU)), last)
        return nn.Sequential(*layers[: relu + 1]), nn.Sequential(*layers[relu + 1 :])
    return nn.Sequential(*layers), nn.Sequential()


def upsampled(coarse: Tensor, layers: nn.Sequential, shape: torch.Size) -> Tensor:
    """Return (n, 1, x, y, z) values of feature maps at the voxels of a scan, by linear interpolation.

    Args:
        coarse: (n, 1, a, b, c) one number a unit.
        layers: those that made the maps; they say where in the scan a unit lies.
        shape: (x, y, z) of the scan.
    """
    grids = []
    for axis, (size, units) in enumerate(zip(shape, coarse.shape[2:], strict=True)):
        first, step = centre_and_step(layers, axis, size, units)
        index = (torch.arange(size, dtype=coarse.dtype, device=coarse.device) - first) / step
        grids.append(2 * index / max(units - 1, 1) - 1)  # from -1 at the first unit to 1 at the last
    x, y, z = torch.meshgrid(*grids, indexing="ij")
    places = torch.stack([z, y, x], dim=-1)[None].expand(len(coarse), -1, -1, -1, -1)
    return functional.grid_sample(coarse, places, mode="bilinear", padding_mode="border", align_corners=True)


def centre_and_step(layers: nn.Sequential, axis: int, size: int, units: int) -> tuple[float, float]:
    """Return the voxel at the centre of what the first unit sees along an axis, and the voxels between two units.

    Layers whose geometry is not known (residual blocks) are taken to cover the whole axis evenly.
    """
    first, step = 0.0, 1.0
    for layer in layers:
        if isinstance(layer, nn.Conv3d):
            first += step * ((layer.kernel_size[axis] - 1) * layer.dilation[axis] / 2 - border_of(layer)[axis])
            step *= layer.stride[axis]
        elif isinstance(layer, nn.MaxPool3d | nn.AvgPool3d):
            kernel, stride = _along(layer.kernel_size, axis), _along(layer.stride, axis)
            first += step * ((kernel - 1) / 2 - _along(layer.padding, axis))
            step *= stride
        elif list(layer.children()):
            step = size / units
            return (step - 1) / 2, step
    return first, step


def _along(value: int | tuple[int, ...], axis: int) -> int:
    return value[axis] if isinstance(value, tuple) else value
