"""What a scenario imposes on its patients, place by place: where, how much was asked for, how much was reached.

The reached change is measured apart from the solver of the deformation (atrophy.py): the tissue of a region is carried
along by the deformation that patients get, and its volume after it is compared with that before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage

from engine.atlas.aal import Atlas, load_atlas
from engine.config.schema import AtlasConfig
from engine.images.geometry import bounding_box
from engine.images.grid import coarsen_labels
from engine.images.template import template_brain
from engine.simulation.atrophy import tissue_that_changes
from engine.simulation.cohort import SimulatedPreparer, base_anatomy, mark_reached
from engine.simulation.scenarios import Pattern, scenario_of

HALF = 0.5  # of a region that must be asked to change for it to count as one on which something was imposed
TENTH = 0.1  # of a place that follows no regions, which a region must hold to count
BORDER = 12  # voxels around a region that a deformation may carry its tissue to


@dataclass(frozen=True)
class ChangedPlaces:
    """Where a change of volume is asked for, on one grid.

    Attributes:
        anywhere: (x, y, z) bool.
        blobs: places that follow no regions, (x, y, z) bool each; empty where the change is by regions.
    """

    anywhere: np.ndarray
    blobs: tuple[np.ndarray, ...] = ()


def changed_places(preparer: SimulatedPreparer, pattern: Pattern, mm: int) -> ChangedPlaces:
    """Mark where a pattern asks for a change of volume on the `mm` grid, in the atlas of the simulation."""
    scenario, atlas = scenario_of(preparer.simulation), load_atlas(AtlasConfig(), mm)
    places = scenario.places(pattern.change, atlas.mask, mm)
    blobs = tuple(place for name, place in places.items() if name in scenario.blobs)
    return ChangedPlaces(np.any(list(places.values()), axis=0), blobs)


def imposed_regions(atlas: Atlas, log_jacobian: np.ndarray, changed: ChangedPlaces) -> pd.DataFrame:
    """Gather what was imposed on each region: region, imposed, log_jacobian.

    A region counts as imposed on where at least half of it is asked to change. What a shrinking region loses, its
    surroundings gain; that is in the log-Jacobian of other regions and was not imposed on them. Blobs cover no region
    by half, and their surroundings lie in the same regions: a region counts where it holds at least a tenth of a blob,
    with the log-Jacobian inside the blobs alone.

    Args:
        atlas: labels (x, y, z) and regions of the run.
        log_jacobian: (x, y, z) imposed.
        changed: where, on the same grid.
    """
    index = atlas.regions["index"].to_numpy(int)
    length = index.max() + 1
    labels = atlas.labels.ravel()

    def count(weights: np.ndarray) -> np.ndarray:
        return np.bincount(labels, weights.ravel(), minlength=length)[index]

    voxels = np.maximum(count(np.ones(labels.shape)), 1)
    if changed.blobs:
        imposed = np.any([count(blob) >= TENTH * blob.sum() for blob in changed.blobs], axis=0)
        log_jacobian = np.where(changed.anywhere, log_jacobian, 0)
    else:
        imposed = count(changed.anywhere) / voxels >= HALF
    return pd.DataFrame(
        {"region": atlas.regions["region"], "imposed": imposed, "log_jacobian": count(log_jacobian) / voxels}
    )


def measure_change(preparer: SimulatedPreparer, pattern: Pattern, atlas: Atlas, regions: list[str]) -> pd.DataFrame:
    """Measure the change of volume of regions at severity 1, of their tissue or fluid that is asked to change.

    Args:
        atlas: of the run.
        regions: whose change to measure.
    Returns:
        region, requested, achieved: relative changes of volume, missing where nothing of the region is to change.
    """
    base = base_anatomy(preparer.simulation, preparer.grid_mm)
    labels = coarsen_labels(atlas.labels_1mm, 1, base.solve_mm)
    asked, pulled = _asked_for(preparer, pattern), base.imposed[pattern.name].displacement(1.0)
    index = atlas.regions.set_index("region")["index"]
    rows = []
    for region in regions:
        tissue = (labels == index[region]) & (asked != 0)
        row = {"region": region, "requested": np.nan, "achieved": np.nan}
        if tissue.any():
            row |= {"requested": float(asked[tissue].mean()), "achieved": warped_volume(tissue, pulled) - 1}
        rows.append(row)
    return pd.DataFrame(rows, columns=["region", "requested", "achieved"])


def _asked_for(preparer: SimulatedPreparer, pattern: Pattern) -> np.ndarray:
    """Return the relative change of volume asked of every voxel of the solving grid, 0 where none is, (x, y, z)."""
    simulation, mm = preparer.simulation, preparer.simulation.solve_mm
    brain = template_brain(mm)
    asked = np.zeros(brain.shape)
    places = scenario_of(simulation).places(pattern.change, load_atlas(AtlasConfig(), mm).mask, mm)
    for name, place in places.items():
        change = pattern.change[name]
        asked[place & tissue_that_changes(brain, change)] = change * simulation.effect
    return asked


def warped_volume(tissue: np.ndarray, pulled: np.ndarray) -> float:
    """Return the volume of marked tissue after a deformation, relative to that before.

    Args:
        tissue: (x, y, z) bool.
        pulled: (3, x, y, z) voxels, where the deformed image comes from.
    """
    near = (slice(max(side.start - BORDER, 0), side.stop + BORDER) for side in bounding_box(tissue))
    box = (slice(None), *near)
    coordinates = np.indices(tissue.shape)[box] + pulled[box]
    return float(ndimage.map_coordinates(tissue.astype(np.float32), coordinates, order=1).sum() / tissue.sum())


def outside_reach(preparer: SimulatedPreparer, margin_mm: float = 0.0) -> np.ndarray:
    """Mark the brain that the imposed change never moves: (x, y, z) bool on the working grid, template frame.

    A null cohort has the mask of a cohort with effect.

    Args:
        margin_mm: farther outside, for scans whose own anatomy, size and shift carry the template along.
    """
    base = base_anatomy(preparer.simulation, preparer.grid_mm)
    away_mm = ndimage.distance_transform_edt(base.reach == 0) * base.solve_mm
    away_mm = ndimage.map_coordinates(away_mm, base.identity / base.solve_mm, order=1, mode="nearest")
    return base.mask & ~mark_reached(base, base.identity) & (away_mm > margin_mm)
