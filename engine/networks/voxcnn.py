"""The plain network of Korolev et al. 2017 (VoxCNN): groups of padded 3x3x3 convolutions and three fully connected."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor, nn

GROUPS = ((8, 8), (16, 16), (32, 32, 32), (64, 64, 64, 64))
KERNEL, PADDING = 3, 1
HIDDEN = (128, 64)
POOLS = {1: (4, 2, 2, 2), 2: (2, 2, 2, 2), 3: (2, 2, 2, 2), 4: (2, 2, 2, 2)}


class VoxCNN(nn.Module):
    """Classifier of volumes.

    Each convolution: batch norm, ReLU; a max-pool behind each group. Then flatten, FC 128 with ReLU, batch norm and
    dropout, FC 64 with ReLU, classes. Source: Korolev, Safiullin, Belyaev & Dodonova 2017, Residual and plain
    convolutional neural networks for 3D brain MRI classification, ISBI, figure 1 (arXiv 1701.06643).

    What the publication leaves open, and what it is here:
    - Its scans were 110 x 110 x 110. Eleven valid convolutions do not fit our grids of 2 to 4 mm, so all are padded by
      1; at 1 mm the first pool is 4 instead of 2, which leads to the last map of the 2 mm grid, 6 x 7 x 6.
    - The two fully connected layers come "with batch normalization and dropout"; as in the authors' code, both stand
      behind the first of them. (That code has a convolution of 64 less and no batch norm behind convolutions.)
    - Weights are initialised as PyTorch does.
    Every ReLU is a module of its own and never in place, so that relevance methods can replace its backward pass.

    Args:
        shape: of the volumes.
        pools: behind each group.
    """

    footprint: ClassVar[float] = 2.5  # of its activations, in those of the network of Rieke et al. 2018

    def __init__(
        self, shape: tuple[int, int, int], pools: tuple[int, ...], dropout: float = 0.7, classes: int = 2
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        source = 1
        for group, pool in zip(GROUPS, pools, strict=True):
            for target in group:
                layers += [nn.Conv3d(source, target, KERNEL, padding=PADDING), nn.BatchNorm3d(target), nn.ReLU()]
                source = target
            layers.append(nn.MaxPool3d(pool))
            shape = tuple(n // pool for n in shape)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(source * math.prod(shape), HIDDEN[0]),
            nn.ReLU(),
            nn.BatchNorm1d(HIDDEN[0]),
            nn.Dropout(dropout),
            nn.Linear(HIDDEN[0], HIDDEN[1]),
            nn.ReLU(),
            nn.Linear(HIDDEN[1], classes),
        )

    def forward(self, volumes: Tensor) -> Tensor:
        """Return the (n, classes) logits of (n, 1, x, y, z) normalised volumes."""
        return self.classifier(self.features(volumes))
