"""Which methods fail when the network is drawn anew, by the rule of Arun et al. 2021."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from store.benchmark import Benchmark

MEASURES = ("ssim", "ssim_absolute")


def last_steps(benchmark: Benchmark, cells: Collection[str] | None = None) -> pd.DataFrame:
    """Return the similarities with all layers drawn anew, of every cell or some; empty where none was measured."""
    table = benchmark.table("randomisation")
    table = table[(table["kind"] == "cascade") & table["measure"].isin(MEASURES)]
    if cells is not None:
        table = table[table["cell"].isin(cells)]
    return table.sort_values("step").groupby(["cell", "method", "measure"]).tail(1)


def failing(benchmark: Benchmark, cells: Collection[str] | None = None) -> dict[str, int] | None:
    """Return method -> cells in which a similarity is not below that of maps of different scans; None: not measured."""
    last = last_steps(benchmark, cells)
    if last.empty:
        return None
    return last[last["value"] >= last["reference"]].groupby("method")["cell"].nunique().to_dict()
