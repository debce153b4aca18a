"""Where networks that were trained alike but for their seeds mark the same voxels, of a group or of one scan.

docs/definitions.md, Agreement of networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from store.errors import NotInRunError
from store.files.encoding import array_path
from store.keys import ModelName
from store.measures import networks_agree
from store.spec import AGREEMENT

if TYPE_CHECKING:
    from store.reading.reader import RunReader

FEWEST_NETWORKS = 3  # of two networks each voxel has a share of 0, 1/2 or 1, which says little
HOW_TO_MAKE = "run again with --set trust.networks=4"


@dataclass(frozen=True)
class Agreement:
    """What several networks show together.

    Attributes:
        mean: (x, y, z) float32, mean over networks of their maps, each divided by its sum of |h|; 0 outside the mask.
        share: (x, y, z) float32, 0 to 1: of the networks, those that agree; see `measures.networks_agree`.
        networks: how many.
    """

    mean: np.ndarray
    share: np.ndarray
    networks: int


def networks_of_scan(run: RunReader, model: str, method: str, scan: str) -> list[str]:
    """Return the networks whose heatmaps of a scan can be set beside that of `model`: it, and those trained again.

    Only the held-out network is trained again; of a network of the folds the list holds nothing else.
    """
    found = _explaining_models(run).get((method, scan), ())
    if ModelName(model).fold is not None:
        return [model] if model in found else []
    return sorted(name for name in found if ModelName(name).fold is None)


@lru_cache(8)
def _explaining_models(run: RunReader) -> dict[tuple[str, str], dict[str, None]]:
    """Return (method, scan) -> the models with a heatmap in units of the margin, in the order of the table."""
    table = run.whole_table("heatmaps")
    own = table[table.scale == "margin"]
    found: dict[tuple[str, str], dict[str, None]] = {}
    for method, scan, model in zip(own.method.tolist(), own.scan.tolist(), own.model.tolist(), strict=True):
        found.setdefault((method, scan), {})[model] = None
    return found


def networks_are_enough(run: RunReader, model: str, method: str, scan: str) -> bool:
    """Return whether enough networks explain a scan by a method to say where they agree."""
    return len(networks_of_scan(run, model, method, scan)) >= FEWEST_NETWORKS


def scan_agreement(run: RunReader, model: str, method: str, scan: str, target: str) -> Agreement:
    """Compute from the stored heatmaps of a scan where the networks trained like `model` agree.

    Args:
        target: as in RunReader.heatmap; "predicted" is what `model` says, for all networks.
    Raises:
        NotInRunError: fewer than three networks explain the scan by this method; says what to run.
    """
    networks = networks_of_scan(run, model, method, scan)
    if len(networks) < FEWEST_NETWORKS:
        raise NotInRunError(
            f"agreement needs at least {FEWEST_NETWORKS} networks that explain this scan by this method, and here is "
            f"{len(networks)}: {HOW_TO_MAKE}"
        )
    group, mask = run.target_of(model, scan, target), run.mask
    maps = np.stack([run.heatmap(name, method, scan, target=group)[mask] for name in networks])
    mean, share = (np.zeros(mask.shape, np.float32) for _ in range(2))
    mean[mask], share[mask] = networks_agree(maps)
    return Agreement(mean, share, len(networks))


def has_group_agreement(run: RunReader) -> bool:
    """Return whether the run has maps of agreement of any group."""
    start = AGREEMENT.path.split("/", maxsplit=1)[0]
    return any(entry["path"].startswith(f"{start}/") for entry in run.manifest.get("contents", {}).get("arrays", []))


def group_agreement(run: RunReader, method: str, target: str, diagnosis: str) -> Agreement:
    """Read where the networks agree on the average of a whole diagnosis in the fixed test set.

    Args:
        target: a group; of a method whose maps for the other group are minus these, either, else the stored one.
    Raises:
        NotInRunError: the run has no such maps; says what to run.
        BrokenRunError: it should, and the numbers are missing or damaged.
    """
    path, sign = _group_path(run, method, target, diagnosis)
    if not run.has_array(path):
        why = "for this diagnosis and evidence" if has_group_agreement(run) else f"of groups: {HOW_TO_MAKE}"
        raise NotInRunError(f"run {run.run_id} has no agreement of networks {why}")
    mean, share = run.array(path)
    return Agreement(sign * mean, share, count_networks(run))


def knows_group_agreement(run: RunReader, method: str, target: str, diagnosis: str) -> bool:
    """Return whether `group_agreement` has something to read."""
    return run.has_array(_group_path(run, method, target, diagnosis)[0])


def _group_path(run: RunReader, method: str, target: str, diagnosis: str) -> tuple[str, int]:
    """Return the array that holds an agreement, and the sign of its mean for this target."""
    path = array_path(AGREEMENT, method=method, target=target, diagnosis=diagnosis)
    if not run.has_array(path) and target in run.groups and run.is_antisymmetric("holdout", method):
        other = run.groups[1 - run.groups.index(target)]
        return array_path(AGREEMENT, method=method, target=other, diagnosis=diagnosis), -1
    return path, 1


def count_networks(run: RunReader) -> int:
    """Count the held-out network and those trained again."""
    return sum(ModelName(name).fold is None for name in run.table("models", ["model"]).model)
