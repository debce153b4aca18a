"""Scans with a small change that says nothing of the disease: noise, a shift, another bias field.

See docs/definitions.md, Stability.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from engine.config.cohort_schema import Simulation
from engine.images.template import white_matter_level
from engine.pipeline.run import Run
from engine.simulation.cohort import BIAS_MM
from engine.simulation.fields import control_points, smooth_field

NOISE, SHIFT, BIAS_FIELD = "noise", "shift", "bias_field"
CHANGES = (NOISE, SHIFT, BIAS_FIELD)
# What simulated scans have unless a run says otherwise: a fixed size, so that runs can be compared.
NOISE_SD, BIAS_SD = Simulation().noise_sd, Simulation().bias_sd


def add_noise(volume: np.ndarray, mask: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Add white noise with an SD of 3 % of white matter to the brain, (x, y, z) float32, nowhere below 0."""
    noise = random.standard_normal(volume.shape, dtype=np.float32) * np.float32(NOISE_SD * _level(volume, mask))
    return np.where(mask, np.maximum(volume + noise, 0), volume).astype(np.float32)


def add_bias_field(volume: np.ndarray, mask: np.ndarray, grid_mm: int, random: np.random.Generator) -> np.ndarray:
    """Multiply a volume (x, y, z) by a smooth field with an SD of 4 %; white matter stays as bright as it was."""
    logarithm = smooth_field(random.normal(size=(1, *control_points(BIAS_MM))), grid_mm, BIAS_MM)[0]
    biased = volume * np.exp(logarithm * (BIAS_SD / logarithm[mask].std()))
    return (biased * (_level(volume, mask) / _level(biased, mask))).astype(np.float32)


def shift(volume: np.ndarray, axis: int, step: int) -> np.ndarray:
    """Move what is in a volume by `step` voxels along an axis; 0 comes in at the border."""
    moved = np.roll(volume, step, axis)
    border = [slice(None)] * volume.ndim
    border[axis] = slice(0, step) if step > 0 else slice(volume.shape[axis] + step, None)
    moved[tuple(border)] = 0
    return moved


def shift_brain(volume: np.ndarray, mask: np.ndarray, axis: int, step: int) -> np.ndarray:
    """Move a brain by `step` voxels, and leave brain voxels into which none moves as they are.

    Without that, networks would see a dark rim at one side of the brain mask, which no scan has.
    """
    return np.where(mask & ~shift(mask, axis, step), volume, shift(volume, axis, step))


def comparable(mask: np.ndarray) -> np.ndarray:
    """Return the brain voxels that any shift by one voxel leaves in the mask, (x, y, z) bool."""
    return ndimage.binary_erosion(mask)


def _level(volume: np.ndarray, mask: np.ndarray) -> float:
    level = white_matter_level(volume, mask)
    return 1.0 if np.isnan(level) else level


@dataclass(frozen=True)
class ChangedScans:
    """The cohort's scans, each with its own draw of one change, always the same.

    Attributes:
        change: one of CHANGES.
    """

    run: Run
    change: str

    def read(self, scans: Sequence[str]) -> np.ndarray:
        """Return the changed volumes, (n, x, y, z) float32."""
        return np.stack([self._changed(scan, self.run.cache.read([scan])[0]) for scan in scans])

    def undo(self, scan: str, heatmap: np.ndarray) -> np.ndarray:
        """Move the heatmap (x, y, z) of a shifted scan back; of another change return it as it is."""
        if self.change != SHIFT:
            return heatmap
        axis, step = self._shift_of(scan)
        return shift(heatmap, axis, -step)

    def _changed(self, scan: str, volume: np.ndarray) -> np.ndarray:
        run = self.run
        if self.change == SHIFT:
            return shift_brain(volume, run.mask, *self._shift_of(scan))
        if self.change == NOISE:
            return add_noise(volume, run.mask, self._random(scan))
        return add_bias_field(volume, run.mask, run.config.grid_mm, self._random(scan))

    def _shift_of(self, scan: str) -> tuple[int, int]:
        """Return the axis and the step, -1 or 1, by which a scan is moved."""
        axis, sign = self._random(scan).integers((3, 2))
        return int(axis), int(2 * sign - 1)

    def _random(self, scan: str) -> np.random.Generator:
        return np.random.default_rng([self.run.config.seed, 14, CHANGES.index(self.change), zlib.crc32(scan.encode())])
