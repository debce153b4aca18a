"""Group averages of a run that may be published: one cell a diagnosis, whatever was predicted of its scans."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from store.deriving.counts import Counts
from store.keys import ALL, GroupKey
from store.reading.group_maps import Averaged, CellFamily, Choice, Filters
from store.reading.reader import RunReader
from store.reading.settings import AnalysisSettings
from store.spec import CELL_QUANTITIES
from store.writing.writer import MapArray, RunWriter

BITS = 12


class Cell(NamedTuple):
    """A diagnosis of which an average is published, by one method in one scale."""

    key: GroupKey
    diagnosis: str


def cells_of(run: RunReader, counts: Counts) -> list[Cell]:
    """List the averages of a run that may be published.

    Of the evidence for each group as it is stored; where the run's own analysis is of the predicted or true group, of
    that alone: evidence for a group less that for the predicted one is that of the few that are called otherwise.
    """
    table = run.table("cells")
    own, found = AnalysisSettings.of(run).target, []
    families = table[["model_set", "method", "target", "scale"]].drop_duplicates()
    for row in families.itertuples(index=False):
        group_of = counts.table[counts.table["model_set"] == row.model_set].set_index("diagnosis")["group"]
        for diagnosis in sorted(counts.diagnoses(row.model_set)):
            target = own if own == "predicted" else row.target
            if own == "true" and not _is_own(run, row, group_of[diagnosis]):
                continue
            cell = Cell(GroupKey(row.model_set, row.method, target, row.scale), diagnosis)
            if cell not in found and (table["diagnosis"] == diagnosis).any():
                found.append(cell)
    return found


def _is_own(run: RunReader, row: Any, group: Any) -> bool:
    """Return whether stored maps are of the evidence for a group, or are its negative."""
    return row.target == group or run.is_antisymmetric_in(row.model_set, row.method)


def rounded(values: np.ndarray) -> np.ndarray:
    """Round float32 to BITS of the 23 bits behind the point, wrong by at most 1 part in 8000: they pack to a third."""
    dropped = 23 - BITS
    whole = np.ascontiguousarray(values, np.float32).view(np.uint32) + np.uint32(1 << (dropped - 1))
    return (whole & np.uint32(0xFFFFFFFF ^ ((1 << dropped) - 1))).view(np.float32)


def write_cells(
    run: RunReader, writer: RunWriter, counts: Counts, step: Callable[[str], None], small: bool = False
) -> pd.DataFrame:
    """Write the published averages; return the cells table.

    Args:
        small: with rounded numbers.
    """
    rows = [row for cell in cells_of(run, counts) for row in _write(run, _Cells(writer, step, small), cell, counts)]
    columns = run.table("cells").columns
    return pd.DataFrame(rows, columns=list(columns))


class _Cells(NamedTuple):
    """Where cells are written, and how."""

    writer: RunWriter
    step: Callable[[str], None]
    small: bool


def _write(run: RunReader, cells: _Cells, cell: Cell, counts: Counts) -> Iterator[dict[str, Any]]:
    family = CellFamily(run, cell.key)
    chosen = family.choose(Filters(diagnosis=[cell.diagnosis]))
    averaged = family.averaged(chosen)
    if averaged.subjects < counts.fewest:
        return
    values, array = _sums(run, family, chosen, averaged)
    cells.writer.put_cell(cell.key, cell.diagnosis, ALL, rounded(values) if cells.small else values, array)
    cells.step(f"averages of {cell.key.method}")
    without = averaged.without_relevance
    yield {
        **cell.key._asdict(), "diagnosis": cell.diagnosis, "predicted": ALL, "native_grid": array.native_grid,
        "weight": averaged.weight, "scans": averaged.scans, "subjects": averaged.subjects,
        "without_relevance": None if counts.is_small(without) else without,
    }  # fmt: skip


def _sums(run: RunReader, family: CellFamily, chosen: list[Choice], averaged: Averaged) -> tuple[np.ndarray, MapArray]:
    """Return sum wh, sum w|h| and sum wh^2 of the chosen scans, (3, *native), and how they are to be read."""
    if averaged.as_in_cells:
        sums, attributes = family.sums(chosen, CELL_QUANTITIES)
        stacked = np.stack([sums[quantity] for quantity in CELL_QUANTITIES]).astype(np.float32)
        if attributes["native_grid"] == "voxels":
            volumes = np.zeros((len(stacked), *run.mask.shape), np.float32)
            volumes[:, run.mask] = stacked
            stacked = volumes
    else:  # the cells hold other weights: heatmap by heatmap
        found = run.subset_map(family.key, family.pairs(chosen), statistics=("mean", "mean_abs", "sd"))
        mean, mean_abs, sd = (np.asarray(getattr(found, name)) for name in ("mean", "mean_abs", "sd"))
        stacked = found.weight * np.stack([mean, mean_abs, sd**2 + mean**2])
        attributes = {"native_grid": "voxels", "unit": _attributes(run, family)["unit"], "affine": run.affine()}
    array = MapArray(
        attributes["native_grid"], attributes["unit"], np.array(attributes["affine"]), attributes.get("stride")
    )
    return stacked.astype(np.float32), array


def _attributes(run: RunReader, family: CellFamily) -> dict[str, Any]:
    row = family.rows.iloc[0]
    return run.attributes(family.key._replace(target=row.target).cell_path(row.diagnosis, row.predicted))
