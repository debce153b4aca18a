"""Networks on disk as safetensors and JSON; nothing is ever pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import nn

from engine.config.model_card import Card
from engine.config.schema import TrainingConfig
from engine.errors import RunError
from engine.images.grid import Grid
from engine.networks.architectures import architecture
from engine.training import imported
from engine.training.normalisation import SCAN_WISE, Normalisation
from engine.training.site_effects import BySite, Normaliser, PlainNormaliser, SiteEffects
from store.files.atomic import replacing

SITES = "harmonised_sites"  # in cards: names; of tensors: the beginning of their effects


def save_progress(
    file: Path, network: nn.Module, optimiser: torch.optim.Optimizer, progress: dict, best: dict[str, torch.Tensor]
) -> None:
    """Save all that training needs to go on: weights, optimiser, random state; replace the file in one step.

    Args:
        progress: JSON values, stored beside the tensors (epochs done, learning curve).
        best: weights of the chosen epoch so far; empty where it is always the last.
    """
    tensors = {f"network.{k}": v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v).detach().cpu().contiguous() for k, v in state.items()}
    tensors |= {f"best.{k}": v.contiguous() for k, v in best.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if next(network.parameters()).is_cuda:
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    with replacing(file) as partial:
        partial.write_bytes(save_bytes(tensors, metadata={"progress": json.dumps(progress)}))


def load_progress(
    file: Path, network: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[dict, dict[str, torch.Tensor]] | None:
    """Put back what save_progress kept: (progress, best); None where there is nothing to go on from."""
    if not file.exists():
        return None
    device = next(network.parameters()).device
    try:
        with safe_open(file, "pt") as handle:
            progress = json.loads(handle.metadata()["progress"])
            tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, KeyError, ValueError):
        return None
    network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    state = optimiser.state_dict()
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".", 2)
            state["state"].setdefault(int(index), {})[name] = value if name == "step" else value.to(device)
    optimiser.load_state_dict(state)
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and device.type == "cuda":
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return progress, {k.removeprefix("best."): v for k, v in tensors.items() if k.startswith("best.")}


def pack_model(network: nn.Module, normalisation: Normaliser) -> bytes:
    """Return a trained network and its normalisation (brain voxels only) as safetensors."""
    tensors = {f"network.{k}": v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    if isinstance(normalisation, BySite):
        effects = normalisation.effects
        numbers = {"shift": list(effects.shift.values()), "scale": list(effects.scale.values())}
        for key, values in (numbers | {"centre": [effects.centre]}).items():
            tensors[f"{SITES}.{key}"] = torch.tensor(values, dtype=torch.float64)
        normalisation = normalisation.inner
    if isinstance(normalisation, Normalisation):
        tensors["normalisation.mean"] = torch.from_numpy(normalisation.mean[normalisation.mask])
        tensors["normalisation.std"] = torch.from_numpy(normalisation.std[normalisation.mask])
    return save_bytes(tensors)


def sites_card(normalisation: Normaliser) -> dict:
    """Return what a card says of the sites whose effects are taken out, in the order of the numbers; often nothing."""
    return {SITES: list(normalisation.effects.shift)} if isinstance(normalisation, BySite) else {}


def write_model(folder: Path, name: str, weights: bytes, card: dict) -> None:
    """Write the weights of a packed model and its card where load_model finds them."""
    for suffix, content in (("safetensors", weights), ("json", json.dumps(card).encode())):
        with replacing(folder / f"{name}.{suffix}") as partial:
            partial.write_bytes(content)


def model_card(grid_mm: int, training: TrainingConfig, groups: tuple[str, str]) -> dict:
    """Return what is needed to rebuild a network around its weights; kept as JSON beside them."""
    return {
        "network": training.network,
        "shape": list(Grid(grid_mm).shape),
        "pools": list(architecture(training.network).pools[grid_mm]),
        "dropout": training.dropout,
        "classes": [groups[1], groups[0]],
        "normalisation": training.normalisation,
        "normalisation_epsilon": training.normalisation_epsilon,
    }


def load_model(
    folder: Path, name: str, mask: np.ndarray, sites: Mapping[str, str] | None = None
) -> tuple[nn.Module, Normaliser, dict]:
    """Load the network in eval mode, its normalisation and its card.

    Args:
        sites: scan -> site, of the scans that it will be shown.
    Raises:
        RunError: a file is missing or damaged, or the network is of a kind that is not known here.
    """
    try:
        card = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        tensors = load_bytes((folder / f"{name}.safetensors").read_bytes())
    except (OSError, ValueError, SafetensorError) as error:
        raise RunError(f"model {name} cannot be read ({error}); train it again with --from train --force") from None
    network = _empty_network(name, card)
    network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    plain = _plain_normaliser(card, tensors, mask)
    if SITES not in card:
        return network.eval(), plain, card
    shift, scale = (
        dict(zip(card[SITES], tensors[f"{SITES}.{key}"].tolist(), strict=True)) for key in ("shift", "scale")
    )
    effects = SiteEffects(tensors[f"{SITES}.centre"].item(), shift, scale)
    return network.eval(), BySite(plain, effects, sites or {}), card


def _plain_normaliser(card: dict, tensors: dict[str, torch.Tensor], mask: np.ndarray) -> PlainNormaliser:
    if card.get("normalisation") in SCAN_WISE:
        return SCAN_WISE[card["normalisation"]](mask)

    def spread(values: torch.Tensor) -> np.ndarray:
        volume = np.zeros(mask.shape, np.float32)
        volume[mask] = values.numpy()
        return volume

    return Normalisation(
        spread(tensors["normalisation.mean"]), spread(tensors["normalisation.std"]), mask, card["normalisation_epsilon"]
    )


def _empty_network(name: str, card: dict) -> nn.Module:
    """Return the network of a card, before it gets its weights."""
    if card.get("network") == imported.NAME:
        return imported.skeleton(Card.model_validate(card["card"])).to_empty(device="cpu")
    try:
        kind = architecture(card["network"]).network
    except KeyError:
        kind = card.get("network")
        raise RunError(f"model {name}: the network {kind!r} is not known here; use a later version") from None
    return kind(tuple(card["shape"]), tuple(card["pools"]), card["dropout"], len(card["classes"]))
