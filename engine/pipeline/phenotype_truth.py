"""Where a phenotype lies: the truth of networks that predict it, in scans that nobody altered.

See docs/definitions.md, Phenotypes. The truth is the structure's regions of the atlas. Beside it stands the association
map: what each voxel of the training scans tells of the phenotype, without any network.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from engine.analysis.truth import RegionTruth, TruthScorer
from engine.errors import UserError
from engine.images.grid import Grid
from engine.pipeline.run import Run
from store import RunReader
from store.spec import PHENOTYPE_ASSOCIATION, PHENOTYPE_REGIONS

HELD_OUT = "holdout"
UNLABELLED = "Unlabelled"


def check_regions(run: Run) -> None:
    """Raise UserError unless the atlas has every region that the configuration names as a phenotype's."""
    assert run.config.phenotype is not None
    known = run.atlas.regions["region"].tolist()
    for name in run.config.phenotype.regions:
        if name not in known:
            raise UserError(f"phenotype.regions: the atlas has no region {name}; it has {', '.join(known)}")
        if not run.atlas.mask(name).any():
            raise UserError(f"phenotype.regions: {name} has no voxel at {run.config.grid_mm} mm; use a finer grid_mm")


def write_phenotype_truth(run: Run) -> None:
    """Write phenotype/regions and phenotype/association."""
    check_regions(run)
    affine = Grid(run.config.grid_mm).affine
    run.writer.put_array(
        PHENOTYPE_REGIONS.path, region_mask(run).astype(np.uint8), affine=affine, unit="1 in the phenotype's regions"
    )
    run.writer.put_array(
        PHENOTYPE_ASSOCIATION.path, association_map(run), affine=affine, unit="Pearson r with the phenotype"
    )


def region_mask(run: Run) -> np.ndarray:
    """Return where the phenotype's regions lie, (x, y, z) bool."""
    assert run.config.phenotype is not None
    return np.any([run.atlas.mask(name) for name in run.config.phenotype.regions], axis=0) & run.mask


def association_map(run: Run) -> np.ndarray:
    """Return Pearson's r of each voxel's intensity and the phenotype, (x, y, z) float32; 0 outside the brain.

    Over the training scans of the network for the fixed test set; over all scans where there is none. Voxels that are
    the same in all of them have no r and are 0. Every volume is read once.
    """
    job = next((one for one in run.jobs if one.model == HELD_OUT), None)
    scans = list(job.train) if job else run.cohort.scans["scan"].tolist()
    assert run.cohort.target is not None
    values = run.cohort.scans.set_index("scan").loc[scans, run.cohort.target.column].to_numpy(float)
    values = values - values.mean()
    count = int(run.mask.sum())
    total, squares, products = np.zeros(count), np.zeros(count), np.zeros(count)
    for scan, value in zip(scans, values, strict=True):
        voxels = run.cache.read([scan])[0][run.mask].astype(np.float64)
        total += voxels
        squares += voxels**2
        products += value * voxels
    variation = squares - total**2 / len(scans)
    varies = variation > 1e-9 * squares.max()
    spread = np.sqrt(np.where(varies, variation, 1.0) * (values**2).sum())
    found = np.zeros(run.mask.shape, np.float32)
    found[run.mask] = np.where(varies, products / spread, 0)
    return found


class PhenotypeTruth:
    """The truth of a run that predicts a phenotype: the same regions for everyone, whatever the value.

    Attributes:
        own_group: explained is the evidence for the group that a scan is of, above or below the median.
    """

    own_group = True

    def __init__(self, run: Run, reader: RunReader) -> None:
        self.run, self.reader = run, reader
        assert run.config.phenotype is not None
        regions = run.atlas.regions["region"]
        self._regions = RegionTruth(
            regions.isin(run.config.phenotype.regions).to_numpy(float), (regions != UNLABELLED).to_numpy(bool)
        )

    @cached_property
    def cohort(self) -> TruthScorer:
        """Return what scores maps against the regions."""
        run = self.run
        return TruthScorer(region_mask(run), run.mask, run.atlas.labels, self._regions, run.config.grid_mm)

    def scan(self, _name: str, _diagnosis: str) -> TruthScorer:
        """Return the same as `cohort`."""
        return self.cohort

    def own_map(self, _name: str | None = None) -> np.ndarray:
        """Return the regions as a map, (x, y, z)."""
        return region_mask(self.run).astype(np.float32)

    def own_regions(self) -> np.ndarray:
        """Return the same as `own_map`."""
        return self.own_map()
