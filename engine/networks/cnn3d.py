"""The network of Rieke et al. 2018: four valid 3x3x3 convolutions and three fully connected layers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

CHANNELS = (8, 16, 32, 64)
KERNEL = 3
HIDDEN = (128, 64)
POOLS = {1: (2, 3, 2, 3), 2: (2, 2, 2, 2), 3: (2, 2, 2, 1), 4: (2, 2, 2, 1)}


class CNN3D(nn.Module):
    """Classifier of volumes.

    Each block: valid convolution, batch norm, ReLU, max-pool. Then flatten, dropout, FC 128, 64, classes with ReLU.
    737,026 parameters and 5,120 features at 1 mm. Source: Rieke et al. 2018, section 2.2 (after Hosseini-Asl 2016).
    Every ReLU is a module of its own and never in place, so that relevance methods can replace its backward pass.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        pools: tuple[int, ...],
        dropout: float = 0.8,
        classes: int = 2,
        channels: tuple[int, ...] = CHANNELS,
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for source, target, pool in zip((1, *channels[:-1]), channels, pools, strict=True):
            blocks += [nn.Conv3d(source, target, KERNEL), nn.BatchNorm3d(target), nn.ReLU(inplace=False)]
            if pool > 1:
                blocks.append(nn.MaxPool3d(pool))
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(channels[-1] * math.prod(feature_shape(shape, pools)), HIDDEN[0]),
            nn.ReLU(inplace=False),
            nn.Linear(HIDDEN[0], HIDDEN[1]),
            nn.ReLU(inplace=False),
            nn.Linear(HIDDEN[1], classes),
        )

    def forward(self, volumes: Tensor) -> Tensor:
        """Return the (n, classes) logits of (n, 1, x, y, z) z-scored volumes."""
        return self.classifier(self.features(volumes))


def feature_shape(shape: tuple[int, ...], pools: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the last feature map for an input shape."""
    for pool in pools:
        shape = tuple((n - KERNEL + 1) // pool for n in shape)
    if min(shape) < 1:
        raise ValueError("the volume is too small for this network")
    return shape


def margins(logits: Tensor) -> Tensor:
    """Return the (n, classes) margins d_c = log p_c - log(1 - p_c); with two classes, differences of the logits."""
    if logits.shape[1] == 2:
        difference = logits[:, 1] - logits[:, 0]
        return torch.stack([-difference, difference], dim=1)
    others = [
        torch.logsumexp(torch.cat([logits[:, :c], logits[:, c + 1 :]], dim=1), dim=1) for c in range(logits.shape[1])
    ]
    return logits - torch.stack(others, dim=1)


def parameter_count(network: nn.Module) -> int:
    """Return how many trainable parameters a network has."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
