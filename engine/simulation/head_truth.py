"""What was imposed on a patient's own head: its log-Jacobian, and how much each region was asked to change and did.

The reached change is measured apart from the solver: the region of the person's own segmentation, on the grid on which
the head is kept, is carried along by the deformation, and its volume after it is compared with that before it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.atlas.aal import Atlas
from engine.errors import UserError
from engine.images.grid import Grid
from engine.images.template import brain_mask
from engine.simulation.atrophy import sample, truth_map
from engine.simulation.head_cohort import HeadPreparer
from engine.simulation.heads import Body
from engine.simulation.imposed import warped_volume
from engine.simulation.scenarios import Pattern


def regions_of(pattern: Pattern, atlas: Atlas) -> list[str]:
    """Return the regions of an atlas that a pattern changes by name; none of a change that follows no regions."""
    names = atlas.regions[["region", "merged"]]
    return names.loc[names.isin(list(pattern.change)).any(axis=1), "region"].tolist()


def change_of_head(preparer: HeadPreparer, row: dict, regions: list[str]) -> tuple[np.ndarray, pd.DataFrame]:
    """Measure the change imposed on a patient's head at severity 1, and volumes before and after their own change.

    Args:
        preparer: of the cohort.
        row: of the scans table, a patient.
        regions: whose change to measure.
    Returns:
        (x, y, z) float32 log-Jacobian on the working grid, 0 outside the brain mask; and a table: subject, region,
        requested, achieved (relative changes of volume, missing where the segmentation has nothing of the region),
        volume, changed_volume (cm3 on the grid, after the affine registration; the second at the patient's severity).
    """
    body = preparer.body(row)
    flow, asked = preparer.flow(row, body)
    mask = brain_mask(preparer.grid_mm)
    log_jacobian = truth_map(flow, mask, asked.mm, preparer.grid_mm)[1].astype(np.float32)
    wanted = np.zeros(body.labels.shape)
    for name, change in asked.change.items():
        wanted[asked.fine[name]] = change
    at = np.indices(body.labels.shape, dtype=np.float32) * (body.mm / asked.mm)
    severity = row["severity"] / preparer.simulation.effect
    at_one, at_own = (sample(flow.displacement(s), at) * (asked.mm / body.mm) for s in (1.0, severity))
    table = volumes_of_head(preparer, row, regions)
    for index, region in enumerate(table["region"]):
        tissue = _own_region(preparer, body, region)
        if (tissue & (wanted != 0)).any():
            table.loc[index, "requested"] = float(wanted[tissue & (wanted != 0)].mean())
            table.loc[index, "achieved"] = warped_volume(tissue, at_one) - 1
            table.loc[index, "changed_volume"] = table.loc[index, "volume"] * warped_volume(tissue, at_own)
    return log_jacobian, table


def volumes_of_head(preparer: HeadPreparer, row: dict, regions: list[str]) -> pd.DataFrame:
    """Measure the regions of a head before any change: the table of `change_of_head`, nothing requested."""
    body = preparer.body(row)
    volumes = [_own_region(preparer, body, region).sum() * Grid(body.mm).voxel_cm3 for region in regions]
    found = pd.Series(volumes, dtype=float).replace(0.0, np.nan)
    table = pd.DataFrame({"subject": row["subject"], "region": regions, "requested": np.nan, "achieved": np.nan})
    return table.assign(volume=found, changed_volume=found)


def _own_region(preparer: HeadPreparer, body: Body, region: str) -> np.ndarray:
    """Mark a region of the atlas in a person's segmentation; nothing where it has no such region."""
    try:
        return np.isin(body.labels, preparer.labels(region)) & (body.cover > 0.5)
    except UserError:
        return np.zeros(body.labels.shape, bool)
