"""Made-up heatmaps and scans of real size: a few smooth random fields and a group effect, mixed for each scan.

They cost milliseconds, compress like real ones and are the same whenever they are asked for. They mean nothing.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import ndimage
from store_factory import METHODS

from engine.atlas.aal import Atlas, load_atlas
from engine.config.schema import AtlasConfig
from engine.images.grid import Grid
from engine.images.template import brain_mask, template_brain
from engine.relevance.occlusion import position_shape
from store.files.geometry import nearest_positions

STRIDE_MM = 12
FIELDS = 10
FINE_MM, COARSE_MM, EFFECT_MM = 1.5, 12.0, 3.0  # standard deviations of the smoothing
EFFECT = {  # of the disease, and what speaks for the negative group
    "AD": {"Hippocampus": 1.0, "Amygdala": 1.0, "ParaHippocampal": 0.9, "Temporal": 0.6, "Fusiform": 0.5},
    "NC": {"Frontal": 0.6, "Cerebelum": 0.4, "Insula": 0.5, "Hippocampus": 0.5},
}


@dataclass
class Space:
    """The brain of a grid: volumes as vectors over the voxels of its mask, in C order, and back.

    Attributes:
        inside: (n,) flat index of each brain voxel; owner: (n,) flat index of the cube position it belongs to.
        labels: (n,) region index.
    """

    mm: int
    grid: Grid = field(init=False)
    atlas: Atlas = field(init=False)
    mask: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.grid, self.mask = Grid(self.mm), brain_mask(self.mm)
        self.atlas = load_atlas(AtlasConfig(), self.mm)
        self.inside = np.flatnonzero(self.mask)
        self.labels = self.atlas.labels.ravel()[self.inside].astype(np.intp)
        self.stride = self.grid.voxels(STRIDE_MM)
        self.positions = position_shape(self.grid.shape, self.stride)
        nearest = [nearest_positions(n, self.stride, p) for n, p in zip(self.grid.shape, self.positions, strict=True)]
        self.owner = np.ravel_multi_index(np.ix_(*nearest), self.positions).ravel()[self.inside]

    def shape_of(self, native_grid: str) -> tuple[int, ...]:
        """Shape of a stored heatmap."""
        return {"voxels": self.grid.shape, "positions": self.positions, "regions": (self.atlas.count,)}[native_grid]

    def gather(self, volume: np.ndarray) -> np.ndarray:
        """(n,) of (x, y, z)."""
        return volume.ravel()[self.inside]

    def volume(self, vector: np.ndarray) -> np.ndarray:
        """(..., x, y, z) of (..., n), 0 outside the mask."""
        full = np.zeros((*vector.shape[:-1], self.mask.size), vector.dtype)
        full[..., self.inside] = vector
        return full.reshape(*vector.shape[:-1], *self.grid.shape)

    def spread(self, values: np.ndarray, native_grid: str) -> np.ndarray:
        """(n,) of a heatmap in its native grid; one on voxels is a vector already."""
        if native_grid == "positions":
            return values.ravel()[self.owner]
        if native_grid == "regions":
            return np.concatenate([[0], values, [0, 0]]).astype(values.dtype)[self.labels]
        return values

    def noise(self, random: np.random.Generator, *sigma_mm: float) -> np.ndarray:
        """(n,) float32 smooth noise with standard deviation 1, as many millimetres smooth as the product of all."""
        total = np.ones(len(self.inside), np.float32)
        for sigma in sigma_mm:
            raw = random.standard_normal(self.grid.shape, dtype=np.float32)
            vector = self.gather(ndimage.gaussian_filter(raw, sigma / self.mm, truncate=3))
            total = total * np.exp(0.5 * vector / vector.std()) if sigma == COARSE_MM else vector / vector.std() * total
        return total


class Numbers:
    """Heatmaps and volumes of every scan; margins decide how strong the effect is."""

    def __init__(self, space: Space, seed: int, severity: dict[str, float]) -> None:
        random = np.random.default_rng([seed, 1])
        self.space, self.seed, self.severity = space, seed, severity
        self.margins: dict[tuple[str, str], float] = {}
        self._fields = [space.noise(random, FINE_MM, COARSE_MM) for _ in range(FIELDS)]
        self._smooth = [space.noise(random, COARSE_MM) for _ in range(FIELDS)]
        self._cubes = [ndimage.gaussian_filter(random.standard_normal(space.positions), 1) for _ in range(FIELDS)]
        self.effect = {group: self._effect(weights) for group, weights in EFFECT.items()}

    def _effect(self, weights: dict[str, float]) -> np.ndarray:
        """(n,) from 0 to 1."""
        names = self.space.atlas.regions["region"]
        of_region = [0.0, *(next((w for part, w in weights.items() if part in name), 0.0) for name in names)]
        painted = self.space.volume(np.asarray(of_region, np.float32)[self.space.labels])
        smooth = self.space.gather(ndimage.gaussian_filter(painted, EFFECT_MM / self.space.mm))
        return smooth / smooth.max()

    @cached_property
    def _effect_of_positions(self) -> np.ndarray:
        size = np.bincount(self.space.owner, minlength=int(np.prod(self.space.positions)))
        total = np.bincount(self.space.owner, self.effect["AD"], minlength=len(size))
        self._touching = (size > 0).reshape(self.space.positions)
        return (total / np.maximum(size, 1)).reshape(self.space.positions)

    @cached_property
    def _effect_of_regions(self) -> np.ndarray:
        return (
            np.bincount(self.space.labels, self.effect["AD"])[1 : self.space.atlas.count + 1] * self.space.mm**3 / 1e4
        )

    def _random(self, *key: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32("/".join(key).encode())])

    def heatmap(self, model: str, method: str, target: str, scale: str, scan: str) -> np.ndarray:
        """float32 relevance as it is stored, in the native grid; a vector for methods on voxels."""
        if METHODS[method].native_grid == "voxels":
            return self._gradient(model, method, target, scan)
        margin = self.margins[model, scan]
        drop = (self._occlusion if METHODS[method].native_grid == "positions" else self._areas)(model, scan, margin)
        if scale == "probability":
            drop = sigmoid(margin) - sigmoid(margin - drop)
        return drop.astype(np.float32)

    def _gradient(self, model: str, method: str, target: str, scan: str) -> np.ndarray:
        own, shared = self._random(model, method, target), self._random(method, target, scan)
        first, second = shared.choice(FIELDS, 2, replace=False)
        values = self._fields[first] * np.float32(shared.normal(0, 1))
        values += self._fields[second] * np.float32(shared.normal(0, 0.6))
        values += self._fields[own.integers(FIELDS)] * np.float32(0.4)
        evidence = np.tanh(self.margins[model, scan] / 2) * (1 if target == "AD" else -1)
        values += self.effect[target] * np.float32(1 + 3 * max(evidence, 0) * shared.uniform(0.3, 1.7))
        if method == "guided_backprop":
            values -= np.clip(values, -1, 1)
        values *= np.float32(1e-3 * shared.lognormal(0, 0.5))
        return values

    def _occlusion(self, model: str, scan: str, margin: float) -> np.ndarray:
        shared = self._random("occlusion", scan)
        effect = self._effect_of_positions
        noise = sum(shared.normal(0, w) * self._cubes[shared.integers(FIELDS)] for w in (0.5, 0.5))
        noise = noise + 0.1 * self._cubes[self._random(model).integers(FIELDS)]
        return np.where(self._touching, margin * effect * shared.uniform(0.3, 1.3) + noise, 0.0)

    def _areas(self, model: str, scan: str, margin: float) -> np.ndarray:
        shared, effect = self._random("area_occlusion", scan), self._effect_of_regions
        noise = 0.05 * shared.normal(size=len(effect)) + 0.02 * self._random(model, scan).normal(size=len(effect))
        return margin * effect * shared.lognormal(0, 0.5, len(effect)) + noise

    def scan(self, scan: str) -> np.ndarray:
        """(n,) float32 preprocessed volume, white matter about 1."""
        random = self._random("scan", scan)
        values = self._template * (1 - np.float32(0.3 * self.severity[scan]) * self.effect["AD"])
        values += self._smooth[random.integers(FIELDS)] * np.float32(0.04) * self._template
        values += random.standard_normal(len(values), dtype=np.float32) * np.float32(0.03)
        return np.maximum(values, 0, out=values)

    @cached_property
    def _template(self) -> np.ndarray:
        return self.space.gather(template_brain(self.space.mm))

    def scans(self, names: list[str]) -> np.ndarray:
        """(scans, n), as the cache of a run hands them out."""
        return np.stack([self.scan(name) for name in names])

    def draw_margins(self, model: str, scans: pd.DataFrame) -> np.ndarray:
        """(scans,) margins of a network that is right for about four in five; kept for its heatmaps."""
        own = self._random("margin", model)
        common = np.array([self._random("margin", scan).normal(0, 1.2) for scan in scans["scan"]])
        margin = 3.2 * scans["severity"].to_numpy() - 1.5 + common + own.normal(0, 0.5, len(scans))
        self.margins |= dict(zip(((model, scan) for scan in scans["scan"]), margin.tolist(), strict=True))
        return margin


def sigmoid(margin: np.ndarray | float) -> np.ndarray | float:
    """Probability of the positive group."""
    return 1 / (1 + np.exp(-margin))
