"""Networks whose layers are drawn anew one after the other, from the output on (Adebayo et al. 2018, section 4.1)."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

NAMES = {nn.Conv3d: "conv", nn.Linear: "fc"}


@dataclass(frozen=True)
class Layer:
    """What is drawn anew in one step.

    Attributes:
        name: conv1, conv2, ..., fc1, fc2, ... counted from the input; another kind by the name of its class.
        modules: paths in the network of the layer with the weights, and of the batch norms that go with it.
    """

    name: str
    modules: tuple[str, ...]


def layers_from_output(network: nn.Module) -> list[Layer]:
    """List the layers of a network with weights, the one nearest to the output first.

    A batch norm goes with the layer with weights before it, in the order in which the network holds its modules (the
    first one, where there is none before it, with the next layer), because it only scales what that layer gives.

    Raises:
        ValueError: a module holds weights and has no way to draw them anew.
    """
    found: list[tuple[str, list[str]]] = []
    counted: Counter[str] = Counter()
    waiting: list[str] = []
    for path, module in network.named_modules():
        if not [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
            continue
        if not hasattr(module, "reset_parameters"):
            raise ValueError(f"{type(module).__name__} cannot be drawn anew")
        weight = getattr(module, "weight", None)
        if weight is not None and weight.ndim > 1:
            kind = NAMES.get(type(module), type(module).__name__)
            counted[kind] += 1
            found.append((f"{kind}{counted[kind]}", [path, *waiting]))
            waiting = []
        elif found:
            found[-1][1].append(path)
        else:
            waiting.append(path)
    return [Layer(name, tuple(paths)) for name, paths in reversed(found)]


def drawn_anew(network: nn.Module, layers: Sequence[Layer], seed: int) -> nn.Module:
    """Return a copy of a network in which the weights of some layers are as at the start of a training.

    Batch norms forget their running mean and variance, too (0 and 1): these were measured on what the trained layer
    gave, so they do not fit the new one, and are learned from the data. With all layers the copy is a network that was
    never trained.

    Args:
        layers: whose weights are drawn. Each has its own numbers, which do not depend on what else is drawn.
        seed: 0 or more; the same gives the same weights on every device.
    """
    changed = copy.deepcopy(network)
    device = next(changed.parameters()).device
    changed.cpu()
    places = {layer.name: place for place, layer in enumerate(layers_from_output(network))}
    with torch.random.fork_rng(devices=[]):
        for layer in layers:
            torch.manual_seed(1000 * seed + places[layer.name])
            for path in layer.modules:
                changed.get_submodule(path).reset_parameters()  # type: ignore[operator]  # a method, not a tensor
    return changed.to(device)
