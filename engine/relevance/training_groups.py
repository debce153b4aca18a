"""Maps of the training groups, which say how groups differ and nothing of the network: what three baselines share."""

from __future__ import annotations

from torch import Tensor

from engine.relevance.base import Brain, Relevance, check_volumes


def training_map(name: str, brain: Brain, volumes: Tensor, explained_class: int) -> Relevance:
    """Return the same map of the training groups for each volume, positive where more speaks for the class.

    Args:
        name: one of store.keys.TRAINING_MAPS.
        volumes: (n, 1, x, y, z).
    Raises:
        ValueError: the brain was built without the training groups.
    """
    check_volumes(volumes)
    if name not in brain.training_maps:
        raise ValueError(f"{name} needs training scans of both groups")
    one = brain.training_maps[name].to(volumes)
    return Relevance((one if explained_class == 1 else -one).expand(len(volumes), *one.shape).clone())
