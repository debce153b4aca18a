"""How the training groups of a network differ, computed once a network: what three baselines show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.analysis.contrast import contrast_groups
from engine.cohort.splits import Job
from engine.errors import RunError
from engine.pipeline.run import Run
from engine.training.site_effects import Normaliser, normalised
from store.files.atomic import replacing
from store.keys import TRAINING_MAPS

FOLDER = "training_maps"  # in the working folder of the run, until it is published


def training_maps(run: Run, job: Job, normalisation: Normaliser) -> dict[str, np.ndarray]:
    """Return t_map, linear_weights and linear_pattern of the training scans of a network, (x, y, z) float32 each.

    Of volumes as the network sees them. Kept in the working folder: networks are asked for them again and again.

    Raises:
        RunError: a group has fewer than two training scans.
        UserError: the training scans are not known.
    """
    file = run.work / FOLDER / f"{job.model}.npy"
    if file.exists():
        return dict(zip(TRAINING_MAPS, np.load(file), strict=True))
    groups, read = run.training_scans(job)

    def inside(scans: Sequence[str]) -> np.ndarray:
        return np.stack([normalised(normalisation, read, [scan])[0][run.mask] for scan in scans])

    try:
        found = contrast_groups(inside, *(groups[group] for group in run.groups))
    except ValueError as error:
        raise RunError(f"{job.model}: {error}: take the baselines out of explain.holdout and explain.folds") from error
    maps = np.zeros((len(TRAINING_MAPS), *run.mask.shape), np.float32)
    for place, name in enumerate(TRAINING_MAPS):
        maps[place, run.mask] = found[name]
    with replacing(file) as temporary, open(temporary, "wb") as opened:
        np.save(opened, maps)
    return dict(zip(TRAINING_MAPS, maps, strict=True))
