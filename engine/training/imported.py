"""Networks that were trained elsewhere, from their card and a file of tensors; nothing is ever unpickled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from engine.config.model_card import Card, Constants, Linear
from engine.errors import UserError
from engine.images.grid import Grid
from engine.networks.blocks import sequential_blocks
from engine.training.normalisation import SCAN_WISE, Normalisation
from engine.training.site_effects import Normaliser

NAME = "imported"  # in model cards and the models table
NORMALISATION = "normalisation."  # tensors of this beginning are not the network's
FIRST_MAPS = 8  # channels of the first block of Rieke et al. 2018, in whose memory a footprint is counted


class ImportedNetwork(nn.Module):
    """Layers one after the other, as a card names them.

    `features` are the blocks of convolution, batch norm, ReLU and max-pool at the beginning, `classifier` is all that
    comes after them: so occlusions can be incremental wherever the layers allow it.

    Attributes:
        footprint: memory of its activations, in those of the network of Rieke et al. 2018.
    """

    def __init__(self, layers: Sequence[nn.Module], footprint: float) -> None:
        super().__init__()
        self.footprint = footprint
        last_convolution = max(i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv3d))
        for cut in range(len(layers), last_convolution, -1):
            self.features, self.classifier = nn.Sequential(*layers[:cut]), nn.Sequential(*layers[cut:])
            if sequential_blocks(self) is not None:
                return

    def forward(self, volumes: Tensor) -> Tensor:
        """Return the (n, classes) logits of (n, 1, x, y, z) normalised volumes."""
        return self.classifier(self.features(volumes))


def skeleton(card: Card) -> ImportedNetwork:
    """Return the network of a card without weights, on the meta device.

    Raises:
        UserError: a layer that does not follow from the one before, or a network that is no classifier of two groups.
    """
    layers: list[nn.Module] = []
    maps = torch.empty((1, 1, *Grid(card.grid_mm).shape), device="meta")
    largest = 0
    with torch.device("meta"), torch.no_grad():
        for number, said in enumerate(card.layers, start=1):
            where = _where(number, said)
            try:
                layer = _module(said, maps).eval()
                maps = layer(maps)
            except (RuntimeError, ValueError, IndexError) as error:
                given = "x".join(map(str, maps.shape[1:]))
                raise UserError(f"{where}: does not fit what it is given, {given} ({_first_line(error)})") from None
            if 0 in maps.shape:
                raise UserError(f"{where}: nothing is left of the volume; the input is too small for its size")
            layers.append(layer)
            largest = max(largest, maps.numel())
    _check_classifier(card, layers)
    return ImportedNetwork(layers, largest / (FIRST_MAPS * math.prod(Grid(card.grid_mm).shape)))


def _check_classifier(card: Card, layers: Sequence[nn.Module]) -> None:
    if not any(isinstance(layer, nn.Conv3d) for layer in layers):
        raise UserError("layers: there is no Conv3d; networks of volumes are explained")
    if not any(isinstance(layer, nn.ReLU) for layer in layers):
        raise UserError("layers: there is no ReLU; guided backpropagation needs one, and functions are not seen")
    last = card.layers[-1]
    if not isinstance(last, Linear) or last.out_features > 2:
        raise UserError(
            f"{_where(len(card.layers), last)}: the last layer must be a Linear with 2 outputs, or with 1 for the "
            "second class; leave softmax and sigmoid out"
        )


def _module(said, maps: Tensor) -> nn.Module:
    """Return the layer that a part of a card means.

    Args:
        said: the part; maps: its input.
    """
    values = said.model_dump(exclude={"type", "name"})
    kind = getattr(nn, said.type)
    if said.type == "Linear" and maps.ndim != 2:
        raise ValueError("put a Flatten before it")
    if said.type in ("Conv3d", "BatchNorm3d", "BatchNorm1d", "Linear"):
        return kind(maps.shape[1], **values)
    return kind(**values)


def read_network(card: Card, file: Path) -> tuple[ImportedNetwork, dict[str, Tensor]]:
    """Read (network in eval mode, tensors of its normalisation) from a file; outputs are (negative, positive).

    Raises:
        UserError: not safetensors, or tensors that are not those of the card; names the layer.
    """
    try:
        tensors = load(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{file}: cannot be read as safetensors ({_first_line(error)}); pickled files (.pt, .pth) are never read, "
            "write one with safetensors.torch.save_file(model.state_dict(), FILE)"
        ) from None
    network = skeleton(card)
    used: set[str] = set()
    layers = [*network.features, *network.classifier]
    for number, (said, layer) in enumerate(zip(card.layers, layers, strict=True), start=1):
        used |= _fill(layer, said, tensors, f"{file.name}, {_where(number, said)}")
    left = sorted(name for name in tensors if name not in used and not name.startswith(NORMALISATION))
    if left:
        raise UserError(f"{file.name}: the tensor {left[0]} belongs to no layer of the card ({len(left)} such)")
    last = network.classifier[-1]
    assert isinstance(last, nn.Linear)
    network.classifier[-1] = _two_outputs(last, flipped=card.classes[0] == card.groups[0])
    return network.eval(), {name: tensors[name] for name in tensors if name.startswith(NORMALISATION)}


def _fill(layer: nn.Module, said, tensors: Mapping[str, Tensor], where: str) -> set[str]:
    """Give a layer its tensors; returns their names in the file."""
    wanted = {key: f"{said.name}.{key}" for key in layer.state_dict()} if hasattr(said, "name") else {}
    values = {}
    for key, name in wanted.items():
        shape = tuple(layer.state_dict()[key].shape)
        if key == "num_batches_tracked":
            values[key] = torch.zeros((), dtype=torch.int64)
            continue
        if name not in tensors:
            raise UserError(f"{where}: the file has no tensor {name}; it has {', '.join(sorted(tensors)[:8])}, …")
        found = tensors[name]
        if tuple(found.shape) != shape:
            theirs, ours = ("x".join(map(str, s)) or "one number" for s in (found.shape, shape))
            raise UserError(f"{where}: {name} is {theirs} in the file, and {ours} by the card")
        if not found.is_floating_point() or not torch.isfinite(found).all():
            raise UserError(f"{where}: {name} holds values that are not finite numbers")
        values[key] = found.float()
    layer.load_state_dict(values, assign=True)
    return set(wanted.values())


def _two_outputs(last: nn.Linear, flipped: bool) -> nn.Linear:
    """Return the last layer with the outputs (negative, positive); a single output is the second class's margin."""
    weight = last.weight.detach()
    bias = last.bias.detach() if last.bias is not None else weight.new_zeros(len(weight))
    if len(weight) == 1:
        weight, bias = (torch.cat([torch.zeros_like(part), part]) for part in (weight, bias))
    if flipped:
        weight, bias = weight.flip(0), bias.flip(0)
    layer = nn.Linear(weight.shape[1], 2)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


def normalisation_of(card: Card, tensors: Mapping[str, Tensor], mask: np.ndarray, file: str) -> Normaliser:
    """Return what makes of a preprocessed scan the input of the network.

    Args:
        tensors: of the file; normalisation.mean and normalisation.std, (x, y, z), where the card says voxelwise.
        file: name of the file, for messages.

    Raises:
        UserError: these are missing or have another shape.
    """
    if card.normalisation in SCAN_WISE:
        return SCAN_WISE[card.normalisation](mask)
    if card.normalisation == "voxelwise":
        for key in ("mean", "std"):
            found = tensors.get(NORMALISATION + key)
            if found is None or tuple(found.shape) != mask.shape:
                shape, theirs = "x".join(map(str, mask.shape)), "missing" if found is None else list(found.shape)
                raise UserError(f"{file}: {NORMALISATION}{key} must be {shape} numbers, it is {theirs}")
        mean, std = (tensors[NORMALISATION + key].float().numpy() * mask for key in ("mean", "std"))
        return Normalisation(mean, std, mask)
    constants = card.normalisation if isinstance(card.normalisation, Constants) else Constants(mean=0.0, std=1.0)
    mean, std = (np.where(mask, np.float32(value), 0) for value in (constants.mean, constants.std))
    return Normalisation(mean, std, mask)


def stored_card(card: Card) -> Card:
    """Return the card of the network as `read_network` gives it: outputs (negative, positive)."""
    positive, negative = card.groups
    last = card.layers[-1].model_copy(update={"out_features": 2, "bias": True})
    classes = (negative, positive)
    return card.model_copy(update={"classes": classes, "positive": positive, "layers": (*card.layers[:-1], last)})


def _where(number: int, said) -> str:
    return f"layer {number} ({said.type}{' ' + said.name if hasattr(said, 'name') else ''})"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
