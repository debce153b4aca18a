"""Where something was imposed on the brains of a simulated run, as a mask: the visible change.

The voxel truth of a scan is |x(patient) - x(the same person's twin without the change)|; that of a cohort is its mean
over patients. Binary: at least 25 % of its 99.9th percentile in the brain mask, so that no single voxel decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from store.errors import NotInRunError
from store.spec import TRUTH_BINARY, TRUTH_SCANS, TRUTH_VISIBLE, TRUTH_VISIBLE_BINARY

if TYPE_CHECKING:
    from store.reading.reader import RunReader

FRACTION, PERCENTILE = 0.25, 99.9
SCORE_RANGES = {  # of the scores in the table truth_scores; all others are between 0 and 1
    "region_rank_correlation": (-1, 1), "localisation_error_mm": (0, np.inf), "relevance_mass_gain": (0, np.inf),
}  # fmt: skip
SCAN_UNIT = 1e-4  # of white matter intensity, of the integers in truth/scan_changes
OF_SCAN, OF_COHORT, OF_EARLIER = "scan", "cohort", "earlier"


@dataclass(frozen=True)
class VoxelTruth:
    """The voxel truth of a run or a scan.

    Attributes:
        binary: (x, y, z) bool on the working grid, False outside the brain mask.
        kind: OF_SCAN: what became visible in this scan; OF_COHORT: on average over the patients; OF_EARLIER: where
            tissue was changed, by the log-Jacobian, of a run before version 1.3 of the store.
    """

    binary: np.ndarray
    kind: str


def binary_of(change: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Threshold a visible change (x, y, z) at 25 % of its 99.9th percentile in the mask; all False where that is 0."""
    limit = FRACTION * float(np.percentile(change[mask], PERCENTILE)) if mask.any() else 0.0
    return (change >= limit) & mask if limit > 0 else np.zeros(mask.shape, bool)


def has_truth(run: RunReader) -> bool:
    """Return whether the run knows where its change was imposed."""
    return run.has_array(TRUTH_VISIBLE_BINARY.path) or run.has_array(TRUTH_BINARY.path)


def voxel_truth(run: RunReader, scan: str | None = None) -> VoxelTruth:
    """Read the voxel truth of a scan, or of the cohort where `scan` is None or the scan's own is not stored.

    A scan without imposed change has an empty truth of its own.

    Raises:
        NotInRunError: the run has no truth, or no such scan.
        BrokenRunError: it should, and the numbers are missing or damaged.
    """
    if scan is not None and run.has_array(TRUTH_SCANS.path):
        return VoxelTruth(binary_of(scan_change(run, scan), run.mask), OF_SCAN)
    if run.has_array(TRUTH_VISIBLE_BINARY.path):
        return VoxelTruth((run.array(TRUTH_VISIBLE_BINARY.path) > 0) & run.mask, OF_COHORT)
    if run.has_array(TRUTH_BINARY.path):
        return VoxelTruth((run.array(TRUTH_BINARY.path) > 0) & run.mask, OF_EARLIER)
    raise NotInRunError(f"run {run.run_id} has no truth: it is not simulated, or nothing was imposed")


def scan_change(run: RunReader, scan: str) -> np.ndarray:
    """Read the visible change of one scan: (x, y, z) float32, white matter intensity 1."""
    return run.scan_slice(TRUTH_SCANS.path, scan).astype(np.float32) * np.float32(SCAN_UNIT)


def visible_change(run: RunReader) -> np.ndarray:
    """Read the mean visible change of the patients: (x, y, z) float32, white matter intensity 1."""
    return run.array(TRUTH_VISIBLE.path)
