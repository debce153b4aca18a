"""Counterfactual twins: a patient's scan as it would be without the imposed change, and what the change made visible.

A twin has the same anatomy, sham, ageing, size, misregistration, intensities and noise as the scan, draw by draw, so
that the difference of the two is the imposed change and nothing else. Source: docs/definitions.md, Known truth.
"""

from __future__ import annotations

import numpy as np

from engine.images.grid import Grid
from engine.simulation.cohort import SimulatedPreparer


def counterfactual_twin(preparer: SimulatedPreparer, row: dict) -> np.ndarray:
    """Render a scan without the imposed change, all else as it is; a control's twin is its own scan.

    Returns: (x, y, z) float32, white matter about 1, 0 outside the brain mask.
    """
    return preparer.volume(row, imposed=False)


def visible_change(preparer: SimulatedPreparer, row: dict) -> np.ndarray:
    """Measure what the imposed change did to a scan: (x, y, z) float32 |scan - twin|, relative to white matter.

    Zero everywhere for a scan without imposed change.
    """
    if not row["severity"] > 0:
        return np.zeros(Grid(preparer.grid_mm).shape, np.float32)
    return np.abs(preparer.volume(row) - counterfactual_twin(preparer, row))
