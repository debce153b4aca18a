"""Group cells: additive sums from which every average over diagnosis and prediction follows.

See docs/definitions.md, Group cells and averages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
        """Add a heatmap."""
        wide = heatmap.astype(np.float64)
        weighted = weight * wide
        self.sums[0] += weighted
        self.sums[2] += np.multiply(weighted, wide, out=wide)
        self.sums[1] += np.abs(weighted, out=weighted)  # weights are not negative
        self.weight += weight


def scan_weights(
    predictions: pd.DataFrame, weights: str, has_share: Sequence[bool] | np.ndarray | None = None
) -> dict[tuple[str, str], float]:
    """Return (model, scan) -> w: 1 / (averaged scans of its subject in its diagnosis), or 1 where scans weigh the same.

    So each subject has weight 1 in the average of a diagnosis, also one whose diagnosis has changed.

    Args:
        predictions: of a model set.
        has_share: whether a scan is averaged; the others have weight 0. Default: all are.
    """
    averaged = pd.Series(True if has_share is None else has_share, index=predictions.index, dtype=bool)
    values = averaged.astype(float)
    if weights == "subject":
        counts = values.groupby([predictions["subject"], predictions["diagnosis"]]).transform("sum")
        values = values / counts.where(counts > 0, 1)
    return dict(zip(zip(predictions["model"], predictions["scan"], strict=True), values, strict=True))


def accumulate(
    heatmaps: Iterable[tuple[dict, np.ndarray]], weights: Mapping[tuple[str, str], float]
) -> dict[tuple[str, str], Cell]:
    """Add up heatmaps into (diagnosis, predicted) -> cell, one heatmap in memory at a time.

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
