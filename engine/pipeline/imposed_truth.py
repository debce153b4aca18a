"""What was imposed on a simulated cohort, written into the run: the visible change of each scan, and by region.

The twins (the same people without the imposed change) are rendered once and kept beside the volumes of the cohort: the
visible change is the difference from them, and the null networks are trained on them (truth_references.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from engine.atlas.aal import load_atlas
from engine.config.schema import AtlasConfig
from engine.images.grid import Grid
from engine.pipeline.inputs import preparer_for
from engine.pipeline.run import Run
from engine.preprocessing.cohort import Preparation, prepare_cohort
from engine.preprocessing.scan import PreparedScan
from engine.preprocessing.volume_cache import VolumeCache
from engine.progress import Progress
from engine.simulation.atrophy import AD_CHANGE
from engine.simulation.cohort import SimulatedPreparer, imposed_truth
from engine.simulation.twins import counterfactual_twin
from store.reading.truth import binary_of

TWINS_FOLDER = "twins"  # in the folder of the cohort's volumes


@dataclass(frozen=True)
class TwinPreparer:
    """Makes the volume of a scan's twin; picklable, so that worker processes can use it."""

    preparer: SimulatedPreparer
    pictures: ClassVar[bool] = False
    label: ClassVar[str] = "Simulating twins"

    def __call__(self, row: dict, folder: Path) -> PreparedScan:
        """Render the scan without the imposed change, all else as it is."""
        del folder  # nothing is kept of a twin but its volume
        return PreparedScan(counterfactual_twin(self.preparer, row), {})

    def warm_up(self, progress: Progress) -> None:
        """Solve the deformations, which all twins share."""
        self.preparer.warm_up(progress)

    def describe(self) -> dict[str, Any]:
        """Return the settings as plain values, to be stored with the volumes."""
        return {**self.preparer.describe(), "twins": True}


def twins(run: Run) -> VolumeCache:
    """Render the twins of all scans with imposed change, or find them where an earlier run has left them."""
    preparer, processes = preparer_for(run.config)
    assert isinstance(preparer, SimulatedPreparer)
    scans = run.cohort.scans
    changed = replace(run.cohort, scans=scans[scans["severity"] > 0].reset_index(drop=True))
    folder = run.volumes_folder / TWINS_FOLDER
    twin_preparation = Preparation(
        TwinPreparer(preparer), folder, run.preprocessing_fingerprint, run.progress, processes
    )
    return prepare_cohort(changed, twin_preparation).cache


def write_truth(run: Run) -> None:
    """Write truth/* and the table truth_regions; nothing where nothing was imposed.

    A regression has no such truth: what was imposed on patients is not what it looks for.
    """
    preparer, _ = preparer_for(run.config)
    assert isinstance(preparer, SimulatedPreparer)
    imposed = imposed_truth(preparer)
    if imposed is None or run.cohort.target:
        return
    grid, log_jacobian = Grid(run.config.grid_mm), imposed[1].astype(np.float32)
    change = _write_scan_changes(run)
    binary = binary_of(change, run.mask).astype(np.uint8)
    run.writer.put_array("truth/visible_change", change, affine=grid.affine, unit="white matter intensity")
    run.writer.put_array("truth/visible_binary", binary, affine=grid.affine, unit="1 where the change is visible")
    run.writer.put_array("truth/log_jacobian", log_jacobian, affine=grid.affine, unit="log volume ratio")
    run.writer.put_table("truth_regions", imposed_regions(run.atlas, log_jacobian, changed_places(grid.mm)))


def _write_scan_changes(run: Run) -> np.ndarray:
    """Write the visible change of every scan; return their mean over patients, subjects alike, (x, y, z) float32."""
    scans, cache = run.cohort.scans.reset_index(drop=True), twins(run)
    patients = scans["group"] == run.groups[0]
    weight = 1 / scans[patients].groupby("subject")["scan"].transform("count")
    total, nothing = np.zeros(run.mask.shape), np.zeros(run.mask.shape, np.float32)
    run.writer.start_scan_changes(len(scans), run.mask.shape, Grid(run.config.grid_mm).affine)
    with run.progress.task("storing visible changes", len(scans)) as task:
        for row, scan in enumerate(scans["scan"]):
            change = np.abs(run.cache.read([scan])[0] - cache.read([scan])[0]) if scan in cache else nothing
            run.writer.put_scan_change(row, change)
            if patients[row]:
                total += weight[row] * change
            task.advance()
    return (total / weight.sum()).astype(np.float32)


def changed_places(mm: int) -> np.ndarray:
    """Mark where a change of volume is asked for, (x, y, z) bool on the `mm` grid."""
    atlas = load_atlas(AtlasConfig(), mm)  # in the atlas of the simulation, whatever the run's
    return np.any([atlas.mask(name) for name, change in AD_CHANGE.items() if change], axis=0)


def imposed_regions(atlas: Any, log_jacobian: np.ndarray, changed: np.ndarray) -> pd.DataFrame:
    """Gather what was imposed on each region: the table truth_regions.

    A region counts as imposed on where at least half of it is asked to change. What a shrinking region loses, its
    surroundings gain; that is in the log-Jacobian of other regions and was not imposed on them.

    Args:
        atlas: labels (x, y, z) and regions of the run.
        log_jacobian: (x, y, z) imposed.
        changed: (x, y, z) bool, see changed_places.
    """
    index = atlas.regions["index"].to_numpy(int)
    length = index.max() + 1
    labels = atlas.labels.ravel()
    voxels = np.maximum(np.bincount(labels, minlength=length), 1)
    means = np.bincount(labels, log_jacobian.ravel(), minlength=length) / voxels
    share = np.bincount(labels, changed.ravel(), minlength=length) / voxels
    return pd.DataFrame(
        {"region": atlas.regions["region"], "imposed": share[index] >= 0.5, "log_jacobian": means[index]}
    )
