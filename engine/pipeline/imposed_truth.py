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

from engine.images.grid import Grid
from engine.pipeline.inputs import preparer_for
from engine.pipeline.run import Run
from engine.preprocessing.cohort import Preparation, prepare_cohort
from engine.preprocessing.scan import PreparedScan
from engine.preprocessing.volume_cache import VolumeCache
from engine.progress import Progress
from engine.simulation.cohort import SimulatedPreparer, imposed_truth
from engine.simulation.head_cohort import HeadPreparer
from engine.simulation.head_truth import change_of_head, regions_of, volumes_of_head
from engine.simulation.imposed import changed_places, imposed_regions, measure_change
from engine.simulation.scenarios import is_imposed, scenario_of
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
    preparer, processes = preparer_for(run.config, run.store)
    assert isinstance(preparer, SimulatedPreparer)
    scans = run.cohort.scans
    changed = replace(run.cohort, scans=scans[scans["severity"] > 0].reset_index(drop=True))
    folder = run.volumes_folder / TWINS_FOLDER
    twin_preparation = Preparation(
        TwinPreparer(preparer), folder, run.preprocessing_fingerprint, run.progress, processes
    )
    return prepare_cohort(changed, twin_preparation).cache


def write_truth(run: Run) -> None:
    """Write truth/* and the tables truth_regions and truth_subtypes; nothing where nothing was imposed.

    A regression has no such truth: what was imposed on patients is not what it looks for.
    """
    preparer, _ = preparer_for(run.config, run.store)
    assert isinstance(preparer, SimulatedPreparer)
    shares = _shares(run)
    if not is_imposed(preparer.simulation) or run.cohort.target:
        return
    if isinstance(preparer, HeadPreparer):
        log_jacobian, tables = _truth_on_heads(run, preparer, shares)
    else:
        imposed = imposed_truth(preparer, shares)
        assert imposed is not None
        log_jacobian = imposed[1].astype(np.float32)
        tables = {name: region_truth(run, preparer, name) for name in shares}
    grid = Grid(run.config.grid_mm)
    change = _write_scan_changes(run)
    binary = binary_of(change, run.mask).astype(np.uint8)
    run.writer.put_array("truth/visible_change", change, affine=grid.affine, unit="white matter intensity")
    run.writer.put_array("truth/visible_binary", binary, affine=grid.affine, unit="1 where the change is visible")
    run.writer.put_array("truth/log_jacobian", log_jacobian, affine=grid.affine, unit="log volume ratio")
    run.writer.put_table("truth_regions", mean_truth(tables, shares))
    if len(tables) > 1:
        run.writer.put_table("truth_subtypes", pd.concat([t.assign(subtype=name) for name, t in tables.items()]))


def _shares(run: Run) -> dict[str, float]:
    """Return pattern -> share of the patients of the cohort who have it."""
    patients = run.cohort.scans[run.cohort.scans["group"] == run.groups[0]].drop_duplicates("subject")
    if (patients["subtype"] == "").all():
        return {run.config.cohort.simulation.scenario: 1.0}
    return {str(name): float(share) for name, share in patients["subtype"].value_counts(normalize=True).items()}


def _truth_on_heads(
    run: Run, preparer: HeadPreparer, shares: dict[str, float]
) -> tuple[np.ndarray, dict[str, pd.DataFrame]]:
    """Measure what was imposed on each patient's own head and write it with everybody's volumes, table truth_heads.

    Returns:
        (x, y, z) float32 imposed log-Jacobian, the mean over patients; pattern -> region truth, the mean over those
        who have it.
    """
    scans = run.cohort.scans[run.cohort.scans["group"] == run.groups[0]].drop_duplicates("subject")
    mean, people, tables = np.zeros(run.mask.shape, np.float32), [], {}
    with run.progress.task("measuring what was imposed on heads", len(scans)) as task:
        for name, share in shares.items():
            pattern = next(p for p in scenario_of(preparer.simulation).patterns if p.name == name)
            rows = (scans[scans["subtype"] == name] if len(shares) > 1 else scans).to_dict("records")
            of_pattern, total = [], np.zeros(run.mask.shape, np.float32)
            regions = regions_of(pattern, run.atlas)
            for row in rows:
                log_jacobian, measured = change_of_head(preparer, row, regions)
                total += log_jacobian / len(rows)
                of_pattern.append(measured)
                task.advance()
            imposed = imposed_regions(run.atlas, total, changed_places(preparer, pattern, run.config.grid_mm))
            measured = pd.concat(of_pattern)
            averages = measured.groupby("region")[["requested", "achieved"]].mean().reset_index()
            tables[name] = imposed.merge(averages, on="region", how="left")
            tables[name].loc[~tables[name]["imposed"], ["requested", "achieved"]] = np.nan
            people.append(measured)
            mean += np.float32(share) * total
    changed = sorted({region for measured in people for region in measured["region"]})
    others = run.cohort.scans[run.cohort.scans["group"] == run.groups[1]].drop_duplicates("subject")
    people += [volumes_of_head(preparer, row, changed) for row in others.to_dict("records")]
    run.writer.put_table("truth_heads", pd.concat(people, ignore_index=True))
    return mean, tables


def region_truth(run: Run, preparer: SimulatedPreparer, pattern_name: str) -> pd.DataFrame:
    """Gather what one pattern imposes on each region, asked for and reached: columns as in truth_regions."""
    imposed = imposed_truth(preparer, {pattern_name: 1.0})
    assert imposed is not None
    pattern = next(p for p in scenario_of(preparer.simulation).patterns if p.name == pattern_name)
    changed = changed_places(preparer, pattern, run.config.grid_mm)
    regions = imposed_regions(run.atlas, imposed[1].astype(np.float32), changed)
    measured = measure_change(preparer, pattern, run.atlas, regions.loc[regions["imposed"], "region"].tolist())
    return regions.merge(measured, on="region", how="left")


def mean_truth(tables: dict[str, pd.DataFrame], shares: dict[str, float]) -> pd.DataFrame:
    """Average the region truth over patients; a region is imposed on where it is in any of them.

    Args:
        tables: pattern -> region truth, the same regions in the same order.
        shares: pattern -> share of the patients.
    """
    first, *others = tables.values()
    if not others:
        return first
    imposed = np.any([table["imposed"] for table in tables.values()], axis=0)
    mean = first[["region"]].assign(imposed=imposed)
    for column in ("log_jacobian", "requested", "achieved"):
        mean[column] = sum(share * tables[name][column].fillna(0) for name, share in shares.items())
    mean.loc[~imposed, ["requested", "achieved"]] = np.nan
    return mean


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
