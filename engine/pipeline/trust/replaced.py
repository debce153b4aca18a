"""Deletion and insertion curves of test scans, for any order of their voxels; what is done outlives an interruption.

See docs/definitions.md, Trust, Faithfulness.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.analysis.faithfulness import (
    DIRECTIONS,
    FRACTIONS,
    UNITS,
    Steps,
    curve_and_area,
    region_steps,
    usable_scans,
    voxel_steps,
)
from engine.networks.blocks import sequential_blocks
from engine.networks.cnn3d import margins
from engine.pipeline.run import PARTS_FOLDER
from engine.pipeline.trust.scope import TrustScope
from engine.relevance import BatchSize
from engine.relevance.batching import in_threads
from engine.relevance.fills import fill_volume
from engine.relevance.replacement import Replacement, replacement_margins
from engine.training.volumes import STREAMED, Volumes, chunked
from store.files.atomic import replacing
from store.files.encoding import path_part

CHUNK = 4  # scans in memory at once
POSITIVE = 1  # class of the network
LOCAL_ON_GPU_UP_TO_MM = 2  # on coarser grids, launching many small steps takes a GPU longer than whole passes

MapOfUnits = tuple[np.ndarray, np.ndarray]  # (n,) of the brain's voxels: what regions, and what voxels are ordered by


@dataclass(frozen=True)
class Curves:
    """What deletion and insertion of scans say for one order; nan where a scan has no curve.

    Attributes:
        areas: (scans, UNITS, DIRECTIONS).
        curves: (scans, UNITS, DIRECTIONS, FRACTIONS), from 0 (everything replaced) to 1 (the whole scan).
    """

    areas: np.ndarray
    curves: np.ndarray

    @classmethod
    def missing(cls, scans: int) -> Curves:
        """Return room for the curves of scans, nan all over."""
        shape = (scans, len(UNITS), len(DIRECTIONS))
        return cls(np.full(shape, np.nan), np.full((*shape, len(FRACTIONS)), np.nan))


class ReplacedScans:
    """The scans of the scope, whose parts are replaced before the held-out network sees them."""

    def __init__(self, scope: TrustScope) -> None:
        self._scope, self._run = scope, scope.run
        self.scans = scope.scans["scan"].tolist()
        self._network = scope.held_out.network
        self._batch = BatchSize(self._run.config.explain.batch_size, self._run.progress.say)
        self._labels = self._run.atlas.labels[self._run.mask]

    @cached_property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the margins of the whole scans and of those with the whole brain replaced, (scans,) float64 each."""
        found = []
        for volume in self._volumes(self.scans):
            both = torch.stack([volume, self._fill(volume)])
            with torch.no_grad():
                found.append(margins(self._network(both[:, None]))[:, POSITIVE].double().cpu().numpy())
        whole, nothing = np.array(found).reshape(-1, 2).T
        return whole, nothing

    @cached_property
    def usable(self) -> list[str]:
        """Return the scans whose two ends are far enough apart for a curve."""
        return [scan for scan, usable in zip(self.scans, usable_scans(*self.ends), strict=True) if usable]

    @cached_property
    def direction(self) -> dict[str, float]:
        """Return scan -> 1 where the whole scan speaks for the positive group, against a replaced brain; else -1."""
        whole, nothing = self.ends
        return dict(zip(self.scans, np.where(whole < nothing, -1.0, 1.0).tolist(), strict=True))

    def known(self, part: str) -> Curves | None:
        """Return what an earlier attempt has measured of an order."""
        file = self._file(part)
        if not file.exists():
            return None
        with np.load(file) as stored:
            return Curves(stored["areas"], stored["curves"])

    def measure(self, part: str, relevance: Iterable[Sequence[MapOfUnits]], advance: Callable[[], None]) -> Curves:
        """Measure and keep the curves of an order.

        Args:
            part: its name.
            relevance: for each usable scan, maps whose largest values come first; curves are means over the maps.
                A scan whose map is 0 everywhere has no order.
            advance: called after each scan.
        """
        found, maps = Curves.missing(len(self.scans)), iter(relevance)
        for chunk in chunked(self.usable, CHUNK):
            wanted = [
                (self.scans.index(scan), volume, next(maps))
                for scan, volume in zip(chunk, self._volumes(chunk), strict=True)
            ]
            self._measure_chunk(wanted, found)
            for _ in chunk:
                advance()
        file = self._file(part)
        with replacing(file) as partial, partial.open("wb") as handle:
            np.savez(handle, areas=found.areas, curves=found.curves)
        return found

    def _measure_chunk(self, wanted: list[tuple[int, Tensor, Sequence[MapOfUnits]]], found: Curves) -> None:
        """Measure some scans, (row, volume, maps) each, and write into `found`."""
        todo: list[tuple[int, int, int, Steps, Replacement]] = []
        for row, volume, maps in wanted:
            if not all(one.max() > 0 for pair in maps for one in pair):
                continue
            fill = self._fill(volume)
            found.areas[row], found.curves[row] = 0, 0
            for number, one in enumerate(maps):
                for unit, steps in enumerate(self._steps(one, row, number)):
                    at = self._in_volume(steps)
                    for direction, (start, end) in enumerate(((volume, fill), (fill, volume))):
                        todo.append((row, unit, direction, steps, Replacement(start, end, at, steps.count)))
        results = self._margins([(unit, replacement) for _, unit, _, _, replacement in todo])
        count = {row: len(maps) for row, _, maps in wanted}
        whole, nothing = self.ends
        for (row, unit, direction, steps, _), result in zip(todo, results, strict=True):
            curve, area = curve_and_area(result, steps.fractions, whole[row], nothing[row])
            found.areas[row, unit, direction] += area / count[row]
            found.curves[row, unit, direction] += curve / count[row]

    def _steps(self, maps: MapOfUnits, row: int, number: int) -> tuple[Steps, Steps]:
        """Return the steps by region and by voxel."""
        rng = np.random.default_rng([self._run.config.seed, 15, row, number])
        return region_steps(maps[0], self._labels, rng), voxel_steps(maps[1], rng)

    def _in_volume(self, steps: Steps) -> Tensor:
        at = np.zeros(self._run.mask.shape, np.int32)
        at[self._run.mask] = steps.of_voxel
        return torch.from_numpy(at).to(self._scope.device)

    def _margins(self, wanted: Sequence[tuple[int, Replacement]]) -> list[np.ndarray]:
        """Return the margins of each (unit, replacement): of regions locally and side by side, else by whole passes."""
        of_region = [replacement for unit, replacement in wanted if UNITS[unit] == "region"]
        threads = self.local and self._scope.device.type == "cpu"
        regional = iter(in_threads(self._local, of_region) if threads else map(self._local, of_region))
        return [next(regional) if UNITS[unit] == "region" else self._whole(one) for unit, one in wanted]

    @cached_property
    def local(self) -> bool:
        """Return whether margins after a region was replaced are computed from what changes alone."""
        config = self._run.config
        quicker = self._scope.device.type == "cpu" or config.grid_mm <= LOCAL_ON_GPU_UP_TO_MM
        return config.explain.engine == "incremental" and quicker and sequential_blocks(self._network) is not None

    def _local(self, replacement: Replacement) -> np.ndarray:
        return replacement_margins(self._network, replacement, POSITIVE, self._batch, self.local).cpu().numpy()

    def _whole(self, replacement: Replacement) -> np.ndarray:
        return replacement_margins(self._network, replacement, POSITIVE, self._batch, local=False).cpu().numpy()

    def _fill(self, volume: Tensor) -> Tensor:
        return fill_volume(self._run.config.explain.occlusion.reference, volume, self._scope.brain)

    def _volumes(self, scans: Sequence[str]) -> Iterable[Tensor]:
        """Read normalised volumes (x, y, z), one at a time."""
        normalisation, device = self._scope.held_out.normalisation, self._scope.device
        volumes = Volumes(self._run.cache.read, scans, normalisation, device, STREAMED)
        return (batch[0, 0] for batch in volumes.batches([[scan] for scan in scans]))

    def _file(self, part: str) -> Path:
        return self._run.work / PARTS_FOLDER / "faithfulness" / f"{path_part(part)}.npz"
