"""The residual network of Korolev et al. 2017 (VoxResNet): six VoxRes blocks between strided convolutions."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor, nn

STEM = 32
STAGES = (64, 64, 128)  # channels; each stage is a strided convolution and two VoxRes blocks
LAST = 2  # places of the pooled map along each axis
HIDDEN = 128
STRIDES = dict.fromkeys((1, 2, 3, 4), (2, 2, 2))


class VoxRes(nn.Module):
    """x + convolutions(x), both behind batch norm and ReLU. Source: Chen, Dou, Yu & Heng 2016, arXiv 1608.05895."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.BatchNorm3d(channels), nn.ReLU(), _convolution(channels, channels),
            nn.BatchNorm3d(channels), nn.ReLU(), _convolution(channels, channels),
        )  # fmt: skip

    def forward(self, maps: Tensor) -> Tensor:
        """Return the (n, c, x, y, z) outputs of maps of the same shape."""
        return maps + self.residual(maps)


class VoxResNet(nn.Module):
    """Classifier of volumes.

    Two convolutions of 32 channels, then three stages (64, 64, 128 channels) of a convolution with stride 2 and two
    VoxRes blocks; batch norm and ReLU before each of the following convolutions; max-pool, flatten, FC 128 with ReLU,
    dropout, classes. All convolutions are 3x3x3 and padded by 1. Source: Korolev, Safiullin, Belyaev & Dodonova 2017,
    Residual and plain convolutional neural networks for 3D brain MRI classification, ISBI, figure 1
    (arXiv 1701.06643).

    What the publication leaves open, and what it is here:
    - Its scans were 110 x 110 x 110, its last map 14 x 14 x 14, pooled by 7. On every grid of ours the last map is
      pooled by half of its size along each axis, so that 2 x 2 x 2 places are left as there, and the parameters are
      the same in number.
    - Dropout of 0.7 is named for both networks; it stands behind FC 128, as in the plain one.
    - Weights are initialised as PyTorch does.
    Every ReLU is a module of its own and never in place, so that relevance methods can replace its backward pass. It is
    no plain sequence of convolutions: occlusions go by whole forward passes.

    Args:
        shape: of the volumes.
        strides: of the first convolution of each stage.
    """

    footprint: ClassVar[float] = 16.0  # of its activations, in those of the network of Rieke et al. 2018

    def __init__(
        self, shape: tuple[int, int, int], strides: tuple[int, ...], dropout: float = 0.7, classes: int = 2
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(1, STEM), nn.BatchNorm3d(STEM), nn.ReLU(), _convolution(STEM, STEM)]
        source = STEM
        for channels, stride in zip(STAGES, strides, strict=True):
            layers += [nn.BatchNorm3d(source), nn.ReLU(), _convolution(source, channels, stride)]
            layers += [VoxRes(channels), VoxRes(channels)]
            source, shape = channels, tuple(-(-n // stride) for n in shape)
        layers.append(nn.MaxPool3d(tuple(n // LAST for n in shape)))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(source * math.prod((LAST,) * 3), HIDDEN),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(HIDDEN, classes),
        )

    def forward(self, volumes: Tensor) -> Tensor:
        """Return the (n, classes) logits of (n, 1, x, y, z) normalised volumes."""
        return self.classifier(self.features(volumes))


def _convolution(source: int, target: int, stride: int = 1) -> nn.Conv3d:
    return nn.Conv3d(source, target, 3, stride=stride, padding=1)
