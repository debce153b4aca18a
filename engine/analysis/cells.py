"""Group cells: additive sums from which every average over diagnosis and prediction follows (design, section 8)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass
class Cell:
    """Sums over the scans of one diagnosis and predicted group.

    Attributes:
        sums: (3, *shape of a heatmap) float64: sum wh, sum w|h|, sum wh^2.
        weight: sum of w.
    """

    sums: np.ndarray
    weight: float = 0.0

    def add(self, heatmap: np.ndarray, weight: float) -> None:
        wide = heatmap.astype(np.float64)
        weighted = weight * wide
        self.sums[0] += weighted
        self.sums[2] += np.multiply(weighted, wide, out=wide)
        self.sums[1] += np.abs(weighted, out=weighted)  # weights are positive
        self.weight += weight


def scan_weights(predictions: pd.DataFrame, weights: str) -> dict[tuple[str, str], float]:
    """(model, scan) -> w: 1 / (explained scans of its subject in this model set), or 1 where scans weigh the same."""
    counts = predictions.groupby("subject")["scan"].transform("count")
    values = 1.0 / counts if weights == "subject" else pd.Series(1.0, index=counts.index)
    return dict(zip(zip(predictions["model"], predictions["scan"], strict=True), values, strict=True))


def accumulate(
    heatmaps: Iterable[tuple[dict, np.ndarray]], weights: Mapping[tuple[str, str], float]
) -> dict[tuple[str, str], Cell]:
    """(diagnosis, predicted) -> cell, one heatmap in memory at a time.

    Args:
        heatmaps: (row of the predictions table, heatmap in its native grid or a part of it).
    """
    cells: dict[tuple[str, str], Cell] = {}
    for row, heatmap in heatmaps:
        key = (row["diagnosis"], row["predicted"])
        if key not in cells:
            cells[key] = Cell(np.zeros((3, *heatmap.shape)))
        cells[key].add(heatmap, weights[row["model"], row["scan"]])
    return cells
