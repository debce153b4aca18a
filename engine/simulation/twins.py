"""Counterfactual twins: a patient's scan as it would be without the imposed change, and what the change made visible.

A twin has the same anatomy, sham, ageing, size, misregistration, intensities and noise as the scan, draw by draw, so
that the difference of the two is the imposed change and nothing else. Source: docs/definitions.md, Known truth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.images.grid import Grid
from engine.progress import Progress
from engine.simulation.cohort import SimulatedPreparer


def scan_as_rendered(preparer: SimulatedPreparer, row: dict) -> np.ndarray:
    """Render a scan as the cohort holds it: (x, y, z) float32, white matter about 1, 0 outside the brain mask.

    Args:
        row: of the scans table.
    """
    return preparer.volume(row)


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
    return np.abs(scan_as_rendered(preparer, row) - counterfactual_twin(preparer, row))


def mean_visible_change(
    preparer: SimulatedPreparer, rows: Sequence[dict], progress: Progress | None = None
) -> np.ndarray:
    """Average the visible change over patients; the scans of one subject share its weight.

    Args:
        rows: scans with imposed change, of the scans table.
        progress: where to count them.
    Returns: (x, y, z) float32; zero for no rows.
    """
    progress = progress or Progress(quiet=True)
    scans_of: dict[str, int] = {}
    for row in rows:
        scans_of[row["subject"]] = scans_of.get(row["subject"], 0) + 1
    total = np.zeros(Grid(preparer.grid_mm).shape)
    with progress.task("rendering counterfactual twins", len(rows)) as task:
        for row in rows:
            total += visible_change(preparer, row) / scans_of[row["subject"]]
            task.advance()
    return (total / max(len(scans_of), 1)).astype(np.float32)
