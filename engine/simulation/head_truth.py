"""What was imposed on a patient's own head: its log-Jacobian, and how much each region was asked to change and did.

The reached change is measured apart from the solver: the region of the person's own segmentation, on the grid on which
the head is kept, is carried along by the deformation, and its volume after it is compared with that before it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.atlas.aal import Atlas
from engine.errors import UserError
from engine.images.template import brain_mask
from engine.simulation.atrophy import sample, truth_map
from engine.simulation.head_cohort import HeadPreparer
from engine.simulation.imposed import warped_volume
from engine.simulation.scenarios import Pattern


def regions_of(pattern: Pattern, atlas: Atlas) -> list[str]:
    """Return the regions of an atlas that a pattern changes by name; none of a change that follows no regions."""
    names = atlas.regions[["region", "merged"]]
    return names.loc[names.isin(list(pattern.change)).any(axis=1), "region"].tolist()


def change_of_head(preparer: HeadPreparer, row: dict, regions: list[str]) -> tuple[np.ndarray, pd.DataFrame]:
    """Measure the change imposed on a patient's head at severity 1.

    Args:
        preparer: of the cohort.
        row: of the scans table, a patient.
        regions: whose change to measure.
    Returns:
        (x, y, z) float32 log-Jacobian on the working grid, 0 outside the brain mask; and a table: subject, region,
        requested, achieved, relative changes of volume, missing where the segmentation has nothing of the region.
    """
    body = preparer.body(row)
    flow, asked = preparer.flow(row, body)
    mask = brain_mask(preparer.grid_mm)
    log_jacobian = truth_map(flow, mask, asked.mm, preparer.grid_mm)[1].astype(np.float32)
    wanted = np.zeros(body.labels.shape)
    for name, change in asked.change.items():
        wanted[asked.fine[name]] = change
    at = np.indices(body.labels.shape, dtype=np.float32) * (body.mm / asked.mm)
    pulled = sample(flow.displacement(1.0), at) * (asked.mm / body.mm)
    rows = []
    for region in regions:
        tissue = _own_region(preparer, body.labels, region) & (body.cover > 0.5)
        measured = {"subject": row["subject"], "region": region, "requested": np.nan, "achieved": np.nan}
        if (tissue & (wanted != 0)).any():
            asked_for = float(wanted[tissue & (wanted != 0)].mean())
            measured |= {"requested": asked_for, "achieved": warped_volume(tissue, pulled) - 1}
        rows.append(measured)
    return log_jacobian, pd.DataFrame(rows, columns=["subject", "region", "requested", "achieved"])


def _own_region(preparer: HeadPreparer, labels: np.ndarray, region: str) -> np.ndarray:
    """Mark a region of the atlas in a person's segmentation; nothing where it has no such region."""
    try:
        return np.isin(labels, preparer.labels(region))
    except UserError:
        return np.zeros(labels.shape, bool)
