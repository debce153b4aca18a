"""DeepLIFT, rescale rule: contributions by differences of activations instead of gradients. Computed by Captum."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from engine.networks.cnn3d import margins
from engine.relevance.base import Relevance, RelevanceMethod, check_volumes
from engine.relevance.fills import fill_volume


@dataclass(frozen=True)
class DeepLift(RelevanceMethod):
    """Contribution of each voxel to the margin's change from a baseline, through the activations of both.

    Source: Shrikumar et al. 2017 (arXiv 1704.02685), section 3.5.1, rescale rule, as in Captum.
    Unit:   margin. Sign kept; the map adds up to the change of the margin.
    Cost:   one forward and backward pass of two volumes a scan, and a copy of the network's layers.

    Attributes:
        reference: the baseline: mean (0, the training mean), nc_mean, blurred, other_subject or a number.
    """

    name: ClassVar[str] = "deeplift"
    antisymmetric: ClassVar[bool] = True
    contribution: ClassVar[bool] = True

    reference: str | float = "mean"

    def attribute(self, model: nn.Module, volumes: Tensor, explained_class: int) -> Relevance:
        """Return (n, x, y, z) DeepLIFT contributions. See RelevanceMethod.attribute.

        Raises:
            ValueError: the network applies one activation module more than once, which the rule cannot follow.
        """
        check_volumes(volumes)
        import captum.attr  # noqa: PLC0415

        # Captum adds hooks to the modules; a copy keeps the network of the caller as it is, also after an error.
        explainer = captum.attr.DeepLift(_MarginOf(copy.deepcopy(model), explained_class))
        maps = []
        for volume in volumes[:, 0]:
            baseline = fill_volume(self.reference, volume, self.brain)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # says that it sets hooks
                try:
                    found = explainer.attribute(volume[None, None].clone(), baselines=baseline[None, None])
                except (AssertionError, RuntimeError) as error:
                    if isinstance(error, torch.cuda.OutOfMemoryError):
                        raise
                    raise ValueError(f"DeepLIFT cannot follow this network: {_line(error)}") from error
            maps.append(found[0, 0].detach())
        return Relevance(torch.stack(maps) if maps else volumes[:, 0].clone())


class _MarginOf(nn.Module):
    """A network whose only output is the margin of one class."""

    def __init__(self, network: nn.Module, explained_class: int) -> None:
        super().__init__()
        self.network, self.explained_class = network, explained_class

    def forward(self, volumes: Tensor) -> Tensor:
        """Return (n,) margins of the class."""
        return margins(self.network(volumes))[:, self.explained_class]


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
