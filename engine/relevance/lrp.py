"""Layer-wise relevance propagation: the margin is handed back from layer to layer until it lies on the voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.networks.blocks import Block, scale_and_shift, sequential_blocks
from engine.networks.cnn3d import margins
from engine.relevance.base import Relevance, RelevanceMethod, check_volumes

Z_PLUS, ALPHA2_BETA1 = "z_plus", "alpha2_beta1"
STABILISER = 1e-6  # of the largest activation of a fully connected layer


@dataclass(frozen=True)
class LayerwiseRelevance(RelevanceMethod):
    """How much of the margin each voxel accounts for, if every layer hands on what it receives.

    Fully connected layers by the epsilon rule, convolutions (batch norm folded in) by z+ or alpha-beta with alpha 2 and
    beta 1, max-pooling to the winner. Biases keep their share: what is on the voxels and what the biases kept add up to
    the margin (`propagate` returns both).
    Source: Bach et al. 2015 (PLoS ONE 10:e0130140), equations 58 to 60; Montavon et al. 2017 (Pattern Recognition
    65:211), for z+; Boehle et al. 2019 used it on Alzheimer's disease.
    Unit:   margin. The sign is that of the margin with z+; alpha-beta shows evidence against the class as negative.
    Cost:   about four forward and four backward passes a scan (alpha-beta: eight).

    Attributes:
        rule: of the convolutions: z_plus or alpha2_beta1.
    """

    name: ClassVar[str] = "lrp"
    antisymmetric: ClassVar[bool] = True
    contribution: ClassVar[bool] = True

    rule: str = Z_PLUS

    def attribute(self, model: nn.Module, volumes: Tensor, explained_class: int) -> Relevance:
        """Return (n, x, y, z) relevance of the margin. See RelevanceMethod.attribute.

        Raises:
            ValueError: the network is not a sequence of convolution blocks and fully connected layers.
        """
        check_volumes(volumes)
        maps = [propagate(model, volume[None], explained_class, self.rule)[0] for volume in volumes]
        return Relevance(torch.cat(maps) if maps else volumes[:, 0].clone())


def propagate(model: nn.Module, volume: Tensor, explained_class: int, rule: str = Z_PLUS) -> tuple[Tensor, float]:
    """Return the (1, x, y, z) relevance of the voxels of a scan, and the relevance that biases and stabilisers kept.

    Args:
        volume: (1, 1, x, y, z).
        explained_class: whose margin is handed back.
        rule: of the convolutions.
    Raises:
        ValueError: the network has other layers, or no such rule.
    """
    blocks, heads = sequential_blocks(model), _linear_layers(model)
    if blocks is None or heads is None:
        raise ValueError("lrp needs a network of convolution, batch norm, ReLU, max-pool and fully connected layers")
    if rule not in (Z_PLUS, ALPHA2_BETA1):
        raise ValueError(f"lrp.rule: {rule}; z_plus or alpha2_beta1")
    with torch.no_grad():
        inputs, maps = [], volume
        for block in blocks:
            inputs.append(maps)
            maps = block(block.bordered(maps))
        vectors, activations = [], maps.flatten(1)
        for number, (weight, bias) in enumerate(heads):
            vectors.append(activations)
            activations = functional.linear(activations, weight, bias)
            activations = activations if number == len(heads) - 1 else activations.relu()
        relevance = margins(activations)[:, explained_class : explained_class + 1]
        whole = float(relevance.double().sum())
        for number, (weight, bias) in reversed(list(enumerate(heads))):
            if number == len(heads) - 1:  # the margin is one output: the difference of two logits
                sign = 1.0 if explained_class == 1 else -1.0
                weight, bias = sign * (weight[1:2] - weight[0:1]), sign * (bias[1:2] - bias[0:1])
            relevance = _through_linear(vectors[number], weight, bias, relevance)
        relevance = relevance.reshape(maps.shape)
        for block, given in zip(reversed(blocks), reversed(inputs), strict=True):
            relevance = _through_pool(_convolved(block, given).relu(), block.pool, relevance)
            relevance = _through_convolution(block, given, relevance, rule)
    found = relevance[:, 0].float()
    return found, whole - float(found.double().sum())


def _linear_layers(model: nn.Module) -> list[tuple[Tensor, Tensor]] | None:
    """Return weights and biases of a classifier's fully connected layers, ReLUs between them.

    Batch norm behind a ReLU is folded into the layer after it. None if the classifier is built in another way.
    """
    head = getattr(model, "classifier", None)
    if not isinstance(head, nn.Sequential):
        return None
    found: list[tuple[Tensor, Tensor]] = []
    norm, awaits_linear = None, True
    for layer in head:
        if isinstance(layer, nn.Flatten | nn.Dropout | nn.Identity):
            continue
        if isinstance(layer, nn.BatchNorm1d) and awaits_linear and layer.running_var is not None:
            norm = layer
        elif isinstance(layer, nn.Linear) and awaits_linear:
            found.append(_folded(layer, norm))
            norm, awaits_linear = None, False
        elif isinstance(layer, nn.ReLU) and not awaits_linear:
            awaits_linear = True
        else:
            return None
    return found if not awaits_linear and len(found[-1][1]) == 2 else None


def _folded(layer: nn.Linear, norm: nn.BatchNorm1d | None) -> tuple[Tensor, Tensor]:
    """Return (weight, bias) of a fully connected layer with the batch norm of its inputs inside."""
    weight = layer.weight.detach()
    bias = layer.bias.detach() if layer.bias is not None else weight.new_zeros(len(weight))
    if norm is None:
        return weight, bias
    factor, shift = scale_and_shift(norm)
    return weight * factor, bias + weight @ shift


def _convolved(block: Block, maps: Tensor) -> Tensor:
    return functional.conv3d(maps, block.weight, block.bias, padding=block.border)


def _through_linear(given: Tensor, weight: Tensor, bias: Tensor, relevance: Tensor) -> Tensor:
    """Hand relevance (1, out) back to the inputs (1, in) of a fully connected layer by the epsilon rule."""
    sums = functional.linear(given, weight, bias)
    stabiliser = STABILISER * sums.abs().max().clamp(min=1e-30)
    sums = sums + torch.where(sums >= 0, stabiliser, -stabiliser)
    return given * ((relevance / sums) @ weight)


def _through_pool(maps: Tensor, pool: int, relevance: Tensor) -> Tensor:
    """Hand relevance back to the largest activation of each window."""
    if pool == 1:
        return relevance
    _, winners = functional.max_pool3d(maps, pool, return_indices=True)
    back = torch.zeros_like(maps).flatten(2)
    return back.scatter_(2, winners.flatten(2), relevance.flatten(2)).reshape(maps.shape)


def _through_convolution(block: Block, given: Tensor, relevance: Tensor, rule: str) -> Tensor:
    """Hand relevance back to the inputs of a convolution, by its positive and its negative contributions."""
    supporting = _contributions(block, given, relevance, positive=True)
    if rule == Z_PLUS:
        return supporting(torch.ones_like(relevance))
    opposing = _contributions(block, given, relevance, positive=False)
    # A unit without negative contributions hands all to the positive ones, so that nothing is handed on twice.
    has_opposing = opposing.sums < 0
    one, none = torch.ones_like(relevance), torch.zeros_like(relevance)
    return supporting(torch.where(has_opposing, 2 * one, one)) - opposing(torch.where(has_opposing, one, none))


@dataclass(frozen=True)
class _Contributions:
    """The contributions of one sign that the inputs of a convolution make to its outputs.

    Attributes:
        sums: (1, out, ...) of each output, its bias of that sign included.
    """

    block: Block
    given: Tensor
    relevance: Tensor
    positive: bool
    sums: Tensor

    def __call__(self, factor: Tensor) -> Tensor:
        """Return (1, in, ...) what the inputs receive if each output hands on `factor` times its relevance."""
        above, below = self.given.clamp(min=0), self.given.clamp(max=0)
        with_above, with_below = _signed_weights(self.block.weight, self.positive)
        share = torch.where(self.sums != 0, factor * self.relevance / self.sums, torch.zeros_like(self.sums))
        back = [functional.conv_transpose3d(share, w, padding=self.block.border) for w in (with_above, with_below)]
        return above * back[0] + below * back[1]


def _contributions(block: Block, given: Tensor, relevance: Tensor, positive: bool) -> _Contributions:
    with_above, with_below = _signed_weights(block.weight, positive)
    bias = block.bias.clamp(min=0) if positive else block.bias.clamp(max=0)
    sums = functional.conv3d(given.clamp(min=0), with_above, bias, padding=block.border)
    sums = sums + functional.conv3d(given.clamp(max=0), with_below, padding=block.border)
    return _Contributions(block, given, relevance, positive, sums)


def _signed_weights(weight: Tensor, positive: bool) -> tuple[Tensor, Tensor]:
    """Return the weights that make contributions of a sign with positive inputs, and with negative ones."""
    above, below = weight.clamp(min=0), weight.clamp(max=0)
    return (above, below) if positive else (below, above)
