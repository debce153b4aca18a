"""Relevance of regions as matrices, scans by regions: what the long table region_relevance holds for one method.

The table grows with scans x regions; read row group by row group and column by column, a matrix takes little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class RegionValues:
    """Columns of region_relevance for one model set, method and target.

    Attributes:
        models, scans: (n,) of each row, texts.
        values: column -> (n, regions) float64 in the order of the regions; NaN where a scan lacks a region.
    """

    models: np.ndarray
    scans: np.ndarray
    values: Mapping[str, np.ndarray]

    @classmethod
    def of_table(cls, table: pd.DataFrame, regions: Sequence[str], columns: Sequence[str]) -> RegionValues:
        """Gather rows of region_relevance of one method and target, in the order in which scans first appear."""
        models, scans = (pd.Categorical(table[name]) for name in ("model", "scan"))
        place = pd.Categorical(table["region"], categories=list(regions)).codes
        pair = models.codes.astype(np.int64) * max(len(scans.categories), 1) + scans.codes
        row, pairs = pd.factorize(pair)
        known = place >= 0
        values = {}
        for column in columns:
            matrix = np.full((len(pairs), len(regions)), np.nan)
            matrix[row[known], place[known]] = table[column].to_numpy(float)[known]
            matrix.setflags(write=False)  # several share it
            values[column] = matrix
        model, scan = np.divmod(pairs, max(len(scans.categories), 1))
        names = (np.asarray(c.categories, object) for c in (models, scans))
        of_models, of_scans = (name[k] for name, k in zip(names, (model, scan), strict=True))
        return cls(of_models, of_scans, values)

    def where(self, keep: np.ndarray) -> RegionValues:
        """Return some of the rows, (n,) bool."""
        return RegionValues(self.models[keep], self.scans[keep], {k: v[keep] for k, v in self.values.items()})

    def pairs(self) -> pd.MultiIndex:
        """Return (model, scan) of each row."""
        return pd.MultiIndex.from_arrays([self.models, self.scans], names=["model", "scan"])


def joined(parts: Sequence[RegionValues]) -> RegionValues:
    """Put the rows of several together."""
    columns = parts[0].values
    return RegionValues(
        np.concatenate([part.models for part in parts]), np.concatenate([part.scans for part in parts]),
        {column: np.concatenate([part.values[column] for part in parts]) for column in columns},
    )  # fmt: skip
