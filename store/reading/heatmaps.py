"""Where the numbers of a heatmap lie, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from store.errors import BrokenRunError, NotInRunError
from store.files.encoding import checksum, dequantise, hexadecimal
from store.keys import HeatmapKey
from store.reading.open_run import OpenRun


@dataclass(frozen=True)
class StoredHeatmap:
    """One row of one array: heatmap = stored number * value_scale * slope, with the other sign where `negated`.

    Attributes:
        scan: whose heatmap it is.
        absolute_sum: of |number * value_scale| in the brain mask, on the full grid.
        slope: p (1 - p) for the probability scale of a gradient, else 1.
    """

    path: str
    row: int
    scan: str
    value_scale: float
    absolute_sum: float
    crc: str
    slope: float = 1.0
    negated: bool = False

    @property
    def factor(self) -> float:
        """Return what stored numbers are multiplied by to give the heatmap."""
        return self.value_scale * self.slope * (-1 if self.negated else 1)


def locate(run: OpenRun, key: HeatmapKey, scan: str) -> StoredHeatmap:
    """Find the stored numbers that the heatmap of a scan follows from.

    Args:
        key: its target may be a group of which no heatmap is stored, where it is minus that of the other group.
    Raises:
        NotInRunError: the run does not hold this heatmap.
    """
    model, method, group, scale = key
    if scale == "probability" and run.task == "regression":
        raise NotInRunError(
            f"run {run.run_id} predicts a value, so it has no heatmaps of a probability: choose the margin"
        )
    if scale == "probability" and run.is_gradient(method):
        margin = locate(run, key._replace(scale="margin"), scan)
        p = float(run.prediction(model, scan)["probability"])
        return replace(margin, slope=p * (1 - p))
    positive, negative = run.groups
    target = group
    if group == negative and (model, method, group, scan, scale) not in run.heatmap_rows:
        target = positive if run.is_antisymmetric(model, method) else group
    row = run.heatmap_rows.get((model, method, target, scan, scale))
    if row is None:
        raise NotInRunError(
            f"run {run.run_id} has no {method} heatmap ({scale}) of scan {scan} by model {model} for {group}"
        )
    number, value_scale, absolute_sum, crc = row
    path = key._replace(target=target).path
    return StoredHeatmap(path, number, scan, value_scale, absolute_sum, crc, negated=target != group)


def stored_numbers(run: OpenRun, place: StoredHeatmap) -> np.ndarray:
    """Read the numbers as they are stored, int16 or float32, in the native grid.

    Raises:
        BrokenRunError: they are missing, or not what was written.
    """
    stored = run.stored_numbers(place.path, place.row)
    if hexadecimal(checksum(stored)) != place.crc:
        raise BrokenRunError(
            f"run {run.run_id}: the heatmap of {place.scan} in {place.path} is damaged: copy or build the run again"
        )
    return stored


def values(run: OpenRun, place: StoredHeatmap) -> np.ndarray:
    """Read the heatmap, float32, in the native grid; errors as for `stored_numbers`."""
    stored = stored_numbers(run, place)
    numbers = dequantise(stored, place.value_scale) if stored.dtype == np.int16 else stored
    if place.slope != 1:
        numbers = (numbers * np.float32(place.slope)).astype(np.float32, copy=False)
    # Subtracted, not multiplied by -1: 0 would become -0.0.
    return 0 - numbers if place.negated else numbers
