"""Heatmaps of a run as volumes that can be drawn, each in the finest form that its numbers allow."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dashboard.drawing.planes import Range
from dashboard.text.outputs import answer_of
from store import RunReader
from store.export import nifti
from store.files.geometry import regions_to_voxels
from store.keys import GroupKey, HeatmapKey
from store.measures import percent_per_cm3
from store.reading import heatmaps
from store.reading.agreement import scan_agreement
from store.reading.settings import average_scale

TOP_PERCENTILE = 99.5  # a few voxels stand out by noise
ONE_A_REGION = "one value a region"
SEGMENTS = "segments of the scan"
PER_CM3 = "% of relevance / cm3"


@dataclass(frozen=True)
class MapImage:
    """A map of a patient or a group, and how it is drawn.

    Attributes:
        grid: (x, y, z) on the working grid.
        volume: the same to be drawn: on the grid of the occluding cubes, or regions painted at 1 mm.
        affine: of `volume`.
        smooth: whether to interpolate between its voxels.
        resolution: in words, where it is not that of `affine`.
        without_relevance: scans left out of an average of shares.
        opacity: 0 to 1 on the grid of `volume`, which its alpha is multiplied by; None: opaque.
    """

    grid: np.ndarray
    volume: np.ndarray
    affine: np.ndarray
    smooth: bool
    unit: str
    resolution: str | None = None
    without_relevance: int = 0
    opacity: np.ndarray | None = None

    def of_size(self, gradient: bool) -> MapImage:
        """Return what region shares are made of: |h| of a gradient method, max(h, 0) of an occlusion."""
        size = np.abs if gradient else (lambda values: np.maximum(values, 0))
        return replace(self, grid=size(self.grid), volume=size(self.volume))


def patient_map(run: RunReader, model: str, method: str, scan: str, target: str, scale: str) -> MapImage:
    """Return the relevance of one scan, which is never negative; errors as for RunReader.heatmap."""
    gradient = run.is_gradient(method)
    found = signed_map(run, model, method, scan, target, scale).of_size(gradient)
    return replace(found, unit=f"|{found.unit}|") if gradient else found


def signed_map(run: RunReader, model: str, method: str, scan: str, target: str, scale: str) -> MapImage:
    """Return the heatmap of one scan with its signs; errors as for RunReader.heatmap."""
    group = run.target_of(model, scan, target)
    attributes = run.attributes(heatmaps.locate(run, HeatmapKey(model, method, group, scale), scan).path)
    native = run.heatmap(model, method, scan, target=target, scale=scale, full=False)
    grid = run.full(native, attributes)
    unit = str(attributes["unit"]).replace("margin", scale)  # that of a regression names no margin
    if attributes["native_grid"] == "positions":
        affine = run.affine() @ np.diag([attributes["stride"]] * 3 + [1])
        return MapImage(grid, native, affine, True, unit)
    if attributes["native_grid"] == "regions":
        painted = regions_to_voxels(native, run.array("atlas"))
        return MapImage(grid, painted, run.affine("template"), False, unit, ONE_A_REGION)
    if not run.is_gradient(method):
        return MapImage(grid, grid, run.affine(), False, unit, SEGMENTS)
    return MapImage(grid, grid, run.affine(), True, unit)


def agreed_map(run: RunReader, model: str, method: str, scan: str, target: str) -> MapImage:
    """Return the mean over the networks trained like `model`, as opaque as they agree; errors as `scan_agreement`."""
    found = scan_agreement(run, model, method, scan, target)
    mean = found.mean * np.float32(percent_per_cm3(run.affine()))
    words = f"mean of {found.networks} networks, opacity: share of them that agree"
    return MapImage(mean, mean, run.affine(), True, PER_CM3, words, opacity=found.share)


def group_map(run: RunReader, model_set: str, method: str, target: str, group: str) -> tuple[MapImage, int, int]:
    """Return the average of a group in the scale of the run's settings, its scans and subjects.

    Raises:
        NotInRunError: the group has no scans.
    """
    statistic = nifti.paper_statistic(run, model_set, method)
    scale = average_scale(run, model_set, method)
    found = run.group_map(
        GroupKey(model_set, method, target, scale),
        diagnosis=nifti.diagnoses_of(run, model_set, group),
        statistics=(statistic,),
    )
    grid = getattr(found, statistic)
    answer = answer_of(run.manifest)
    unit = answer.unit_of(f"drop of {scale}")
    if statistic == "mean_abs":
        unit = PER_CM3 if scale == "relative" else answer.unit_of(f"|d {scale}|")
        grid = grid * np.float32(percent_per_cm3(run.affine()) if scale == "relative" else 1)
    grids = run.table("cells", ["native_grid"], model_set=model_set, method=method).native_grid
    if (grids == "regions").all():
        drawn = MapImage(grid, _repainted(run, grid), run.affine("template"), False, unit, ONE_A_REGION)
    else:
        drawn = MapImage(grid, grid, run.affine(), True, unit)
    return replace(drawn, without_relevance=found.without_relevance), found.scans, found.subjects


def _repainted(run: RunReader, grid: np.ndarray) -> np.ndarray:
    """Paint a map of one number a region, given on the working grid, onto the 1 mm atlas."""
    regions, first = np.unique(run.atlas, return_index=True)
    values = np.zeros(int(max(regions.max(), 1)), np.float32)
    values[regions[regions > 0] - 1] = grid.ravel()[first[regions > 0]]
    return regions_to_voxels(values, run.array("atlas"))


def colour_range(maps: list[MapImage], mask: np.ndarray, percentile: float) -> Range:
    """Return one range for several maps: from a percentile of the relevance in the brain to its 99.5th."""
    inside = np.concatenate([m.grid[mask] for m in maps])
    low, high = (float(q) for q in np.percentile(inside, [percentile, TOP_PERCENTILE])) if inside.size else (0.0, 0.0)
    if high <= low:
        low, high = 0.0, float(inside.max(initial=0.0)) or 1.0
    return Range(low, high, maps[0].unit)
