"""Imposed volume change: smooth, invertible deformations with a requested change per region.

A stationary velocity field is the gradient of a potential whose Laplacian is the wanted log-Jacobian (a Poisson
equation, solved by FFT). Its flow shrinks or enlarges each region; what a region loses, the halo next to it gains, so
that tissue is replaced by the fluid around it and the displacement fades within millimetres. What is left is tapered to
nothing at REACH_MM from the changed tissue, so that there is a brain outside the change. One pass falls short of the
request (smoothing, discretisation), so the gain of each region is corrected until the achieved volume is right.

Source: docs/definitions.md, Known truth; Karacali & Davatzikos 2006 (IEEE TMI 25:649) for the Jacobian as the thing
to impose.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from engine.errors import RunError, UserError
from engine.images.grid import Grid, coarsen

STEP = 0.5  # severities at which the flow is kept; between them displacements are interpolated linearly
HALO_MM = 6.0
BALANCE_MM = 12.0  # standard deviation: how near to a loss its gain lies
REACH_MM = 12.0  # from the changed tissue; on and beyond it nothing moves
SMOOTHING_MM = 2.0
TOLERANCE = 0.1  # achieved change within 10 % of the requested
MAX_CORRECTIONS = 12
TRUTH_FRACTION = 0.25
LARGEST_LOSS = -0.6

# Volume change of AD against controls, relative. Hippocampus, amygdala: Shi 2009, Klein-Koerkamp 2014; parahippocampal
# holds the entorhinal cortex (-39 %, Du 2001) and less affected cortex; lateral temporal and parietal cortex:
# Apostolova 2007. The published ventricular enlargement varies widely (Nestor 2008); a moderate one is used.
AD_CHANGE = {
    "Hippocampus": -0.24,
    "Amygdala": -0.24,
    "ParaHippocampal": -0.30,
    "Fusiform": -0.15,
    "Temporal_Inf": -0.15,
    "Temporal_Mid": -0.15,
    "Temporal_Pole_Mid": -0.15,
    "Temporal_Pole_Sup": -0.15,
    "Temporal_Sup": -0.12,
    "Precuneus": -0.12,
    "Parietal_Inf": -0.12,
    "Angular": -0.12,
    "Ventricles": 0.25,
}
# Change a decade of age that both groups share (Fjell 2009 for its pattern; sizes of the order of normal ageing).
AGEING_CHANGE = {
    "Hippocampus": -0.08,
    "Frontal_Sup_2": -0.05,
    "Frontal_Mid_2": -0.05,
    "Precentral": -0.04,
    "Postcentral": -0.04,
    "Temporal_Sup": -0.04,
    "Insula": -0.04,
    "Ventricles": 0.20,
}


@dataclass(frozen=True)
class Flow:
    """Displacements of a one-parameter family of deformations.

    Attributes:
        severities: (k,) increasing, contains 0.
        displacements: (k, 3, x, y, z) float32, voxels of the solving grid: where the image at a voxel comes from.
        achieved: region -> relative volume change at severity 1.
        log_jacobian: (x, y, z) log volume change of tissue at severity 1, in the frame of the deformed image.
        reach: (x, y, z) bool, False where nothing moves at any severity: REACH_MM and more from the changed tissue.
    """

    severities: np.ndarray
    displacements: np.ndarray
    achieved: Mapping[str, float]
    log_jacobian: np.ndarray
    reach: np.ndarray

    def displacement(self, severity: float) -> np.ndarray:
        """Return the displacement at a severity, (3, x, y, z); beyond the range it stays at the end."""
        position = np.interp(severity, self.severities, np.arange(len(self.severities)))
        low = min(int(position), len(self.severities) - 2)
        share = np.float32(position - low)
        return (1 - share) * self.displacements[low] + share * self.displacements[low + 1]


def solve_flow(
    brain: np.ndarray,
    regions: Mapping[str, np.ndarray],
    change: Mapping[str, float],
    mm: int,
    lowest: float,
    highest: float,
) -> Flow:
    """Find the flow that changes each region's volume as asked at severity 1.

    Args:
        brain: (x, y, z) template brain on the solving grid, white matter about 1; tells tissue from fluid.
        regions: name -> (x, y, z) bool on the solving grid.
        change: name -> relative volume change at severity 1, e.g. -0.24.
        mm: voxel size of the solving grid.
        lowest, highest: range of severities to keep, lowest <= 0 < highest.
    Raises:
        UserError: a region would lose nearly all of its volume.
        RunError: the requested changes cannot be reached within 10 %.
    """
    largest = min(change, key=change.__getitem__)
    if change[largest] < LARGEST_LOSS:
        raise UserError(
            f"cohort.simulation.effect: {largest} would change by {change[largest]:.0%}; ask for an effect below "
            f"{LARGEST_LOSS / change[largest]:.2f} times this one"
        )
    names = [name for name in change if change[name] and regions[name].any()]
    targets = {name: regions[name] & tissue_that_changes(brain, change[name]) for name in names}
    halo, taper = surroundings(np.any(list(targets.values()), axis=0), mm)
    velocity, achieved = solve_velocity(targets, change, halo, taper, mm)
    wrong = [name for name in names if abs(achieved[name] / change[name] - 1) > TOLERANCE]
    if wrong:
        raise RunError(f"the deformation cannot reach the requested change in {', '.join(wrong)}; ask for less")
    return flow_along(velocity, achieved, lowest, highest, taper > 0)


def solve_velocity(
    targets: Mapping[str, np.ndarray], change: Mapping[str, float], halo: np.ndarray, taper: np.ndarray, mm: int
) -> tuple[np.ndarray, dict[str, float]]:
    """Find the velocity whose flow changes the volume of each target as asked, as nearly as can be.

    Args:
        targets: name -> (x, y, z) bool, none empty; what is to change.
        change: name -> relative change of volume after one unit of time, not 0.
        halo, taper: (x, y, z) float32, see `surroundings`.
        mm: voxel size of the grid.
    Returns:
        (3, x, y, z) float32, voxels; name -> relative change of volume that was reached.
    Raises:
        RunError: the change folds space.
    """
    gain = {name: float(np.log1p(change[name])) for name in targets}
    velocity, achieved = np.zeros((3, *halo.shape), np.float32), dict.fromkeys(targets, 0.0)
    for _ in range(MAX_CORRECTIONS):
        velocity = _velocity(targets, gain, halo, mm) * taper
        jacobian = np.exp(log_jacobian(_integrate(velocity, 1.0, 2)))  # of the forward map, where the tissue was
        achieved = {name: float(jacobian[targets[name]].mean()) - 1 for name in targets}
        if all(abs(achieved[name] / change[name] - 1) < TOLERANCE / 2 for name in targets):
            break
        for name in targets:
            gain[name] *= float(np.clip(np.log1p(change[name]) / np.log1p(achieved[name]), 0.5, 2.0))
    return velocity, achieved


def tissue_that_changes(brain: np.ndarray, change: float) -> np.ndarray:
    """Return where a change takes hold: tissue shrinks, fluid grows."""
    return brain > 0.45 if change < 0 else (brain > 0) & (brain < 0.6)


def surroundings(changed: np.ndarray, mm: int, yielding: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return (halo, taper), (x, y, z) float32: what gains the loss of changed tissue; 1 beside it to 0 at the reach.

    Args:
        changed: (x, y, z) bool.
        mm: voxel size.
        yielding: (x, y, z) how readily each voxel gains, above 0; default: all alike.
    """
    halo = ndimage.binary_dilation(changed, iterations=max(1, round(HALO_MM / mm))) & ~changed
    halo = halo if yielding is None else halo * yielding
    away_mm = ndimage.distance_transform_edt(~changed) * mm
    near = np.clip((REACH_MM - away_mm) / (REACH_MM - HALO_MM), 0, 1).astype(np.float32)
    return ndimage.gaussian_filter(halo.astype(np.float32), 1.0), near * near * (3 - 2 * near)


def _velocity(targets: Mapping[str, np.ndarray], gain: Mapping[str, float], halo: np.ndarray, mm: int) -> np.ndarray:
    """Return the gradient, (3, x, y, z), of the potential whose Laplacian is the balanced log-Jacobian rate."""
    shape = halo.shape
    rate = np.zeros(shape, np.float32)
    for name, where in targets.items():
        rate[where] = gain[name]
    rate = ndimage.gaussian_filter(rate, SMOOTHING_MM / mm)
    # Each loss is dealt out over the halo near it, in all as much as was lost: without it the field reaches far.
    within = ndimage.gaussian_filter(halo, BALANCE_MM / mm)
    share = np.divide(rate, within, out=np.zeros_like(rate), where=within > np.finfo(np.float32).eps)
    rate -= halo * ndimage.gaussian_filter(share, BALANCE_MM / mm)
    frequencies = np.meshgrid(
        *(2 * np.pi * fft.fftfreq(n) for n in shape[:2]), 2 * np.pi * fft.rfftfreq(shape[2]), indexing="ij"
    )
    squared: np.ndarray = sum(f**2 for f in frequencies)  # type: ignore[assignment]
    squared[0, 0, 0] = 1
    potential = -fft.rfftn(rate - rate.mean(), workers=-1) / squared
    return np.stack([fft.irfftn(1j * f * potential, s=shape, workers=-1) for f in frequencies]).astype(np.float32)


def _integrate(velocity: np.ndarray, time: float, steps: int) -> np.ndarray:
    """Return where tissue goes: the displacement of the flow after `time`, by midpoint steps."""
    identity = np.indices(velocity.shape[1:], dtype=np.float32)
    displacement = np.zeros_like(velocity)
    for _ in range(steps):
        displacement = _advance(velocity, displacement, identity, time / steps)
    return displacement


def _advance(velocity: np.ndarray, displacement: np.ndarray, identity: np.ndarray, step: float) -> np.ndarray:
    middle = displacement + step / 2 * sample(velocity, identity + displacement)
    return displacement + step * sample(velocity, identity + middle)


def sample(field: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """Interpolate a vector field (3, x, y, z) linearly at coordinates (3, ...) in its voxels, constant beyond it."""

    def one(part: np.ndarray) -> np.ndarray:
        return ndimage.map_coordinates(part, coordinates, order=1, mode="nearest")

    with ThreadPoolExecutor(len(field)) as threads:  # SciPy lets go of the interpreter while it interpolates
        return np.stack(list(threads.map(one, field)))


def log_jacobian(displacement: np.ndarray) -> np.ndarray:
    """Return the log determinant of the gradient of x + displacement(x), (x, y, z)."""
    gradient = np.stack([np.stack(np.gradient(part)) for part in displacement])
    matrix = np.moveaxis(gradient, (0, 1), (-2, -1)) + np.eye(3, dtype=np.float32)
    determinant = np.linalg.det(matrix)
    if determinant.min() <= 0:
        raise RunError("the requested change folds space: ask for a smaller cohort.simulation.effect")
    return np.log(determinant).astype(np.float32)


def flow_along(
    velocity: np.ndarray, achieved: Mapping[str, float], lowest: float, highest: float, reach: np.ndarray
) -> Flow:
    """Walk along a velocity (3, x, y, z) from severity 0 both ways, keeping the displacement at every STEP.

    Args:
        velocity: of severity 1 in one unit of time.
        achieved: region -> relative change of volume at severity 1.
        lowest, highest: range of severities to keep, lowest <= 0 < highest.
        reach: (x, y, z) bool, see Flow.
    """
    identity = np.indices(velocity.shape[1:], dtype=np.float32)

    def walk(end: float) -> list[np.ndarray]:
        path, sign = [], np.sign(end)
        displacement = np.zeros_like(velocity)
        for _ in range(int(np.ceil(abs(end) / STEP - 1e-9))):
            displacement = _advance(velocity, displacement, identity, -sign * STEP)  # the image is pulled back
            path.append(displacement)
        return path

    below, above = walk(lowest)[::-1], walk(max(highest, 1.0))
    displacements = np.stack([*below, np.zeros_like(velocity), *above])
    severities = STEP * (np.arange(len(displacements)) - len(below))
    at_one = displacements[len(below) + round(1 / STEP)]
    return Flow(severities, displacements, achieved, -log_jacobian(at_one), reach)


def truth_map(flow: Flow, mask: np.ndarray, solve_mm: int, mm: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (binary, log_jacobian) of a flow on the `mm` grid, both (x, y, z), 0 outside `mask`.

    Binary: |log-Jacobian| >= 25 % of its maximum in the mask (docs/definitions.md, Known truth).
    """
    grid = Grid(mm)
    if mm % solve_mm == 0:
        imposed = coarsen(flow.log_jacobian, solve_mm, mm)
    else:
        coordinates = np.indices(grid.shape, dtype=np.float32) * (mm / solve_mm)
        imposed = ndimage.map_coordinates(flow.log_jacobian, coordinates, order=1, mode="nearest")
    imposed[~mask] = 0
    size = np.abs(imposed)
    return size >= TRUTH_FRACTION * size.max(), imposed
