"""Results of the benchmark of relevance methods on known truth: which tables it has, writing and reading them.

A benchmark is a folder of Parquet tables at group level and `benchmark.json`. Each row belongs to a cell: one cohort
with its networks, whose run is named. The tables of a cell are those of its run (store/spec.py) with the cell before
them. Results that ship with the project are in PACKAGED; the trust line of runs whose truth is not known cites them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from store.errors import BrokenRunError, StoreNotFoundError
from store.files import atomic, tables
from store.spec import BOOLEAN, FLOAT, INTEGER, STRING, TableSpec, table_spec

FORMAT = 1
MANIFEST = "benchmark.json"
PACKAGED = Path(__file__).parent / "benchmark_results"
MOST_BYTES = 50_000_000  # of one file, before it is opened
CITED, CITED_WORDS = "typical_ad", "atrophy of typical AD"  # the scenario that real scans of AD are most like
CHANCE = 0.5  # AUC: networks find what was imposed if its 95 % interval lies above
IMPOSED, PHENOTYPE = "imposed", "phenotype"  # kinds of truth
OF_RUNS = ("truth_scores", "randomisation", "stability", "faithfulness", "false_positives")
_CELL = (STRING, "scenario and effect: a row of cells")

CELLS = TableSpec(
    "cells",
    ("cell",),
    {
        "cell": _CELL,
        "truth": (STRING, "imposed: a change of the images; phenotype: the images are as they are"),
        "scenario": (STRING, "what was imposed, or the structure of the phenotype"),
        "effect": (FLOAT, "times the published change; missing for phenotypes"),
        "extent": (STRING, "focal, distributed, or none"),
        "subjects": (INTEGER, "of the cohort"),
        "tested": (INTEGER, "patients (of a phenotype: people above its median) whose heatmaps are scored"),
        "networks": (INTEGER, "trained alike but for the seed"),
        "auc": (FLOAT, "mean over the networks, on the fixed test set; this and the next two missing for phenotypes"),
        "auc_low": (FLOAT, "of the held-out network, 95 % interval over subjects"),
        "auc_high": (FLOAT, "upper end"),
        "run": (STRING, "of the store that it was computed in"),
        "seed": (INTEGER, ""),
        "seconds": (FLOAT, ""),
        "r2": (FLOAT, "of a phenotype: mean over the networks, on the fixed test set; missing for imposed changes"),
        "r2_low": (FLOAT, "of the held-out network, 95 % interval over subjects"),
        "r2_high": (FLOAT, "upper end"),
    },
    "cohorts, each with its networks",
    later=("r2", "r2_low", "r2_high"),
)
PEAKS = TableSpec(
    "peaks",
    ("cell", "method"),
    {
        "cell": _CELL,
        "method": (STRING, "relevance method"),
        "within": (
            FLOAT,
            "share of correctly classified patients whose most relevant voxel is at most 10 mm from the truth",
        ),
        "within_low": (FLOAT, "95 % interval of Wilson over patients"),
        "within_high": (FLOAT, "upper end"),
        "patients": (INTEGER, "correctly classified, over all networks, that have relevance"),
        "complete": (BOOLEAN, "false where some correctly classified patients have no relevance"),
    },
    "where the most relevant voxel of each patient lies",
)


def _of_run(name: str) -> TableSpec:
    spec = table_spec(name)
    return replace(spec, key=("cell", *spec.key), columns={"cell": _CELL, **spec.columns})


TABLES = {spec.name: spec for spec in (CELLS, PEAKS, *map(_of_run, OF_RUNS))}


@dataclass(frozen=True)
class Benchmark:
    """A benchmark on disk."""

    folder: Path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Return what it was computed with: format, created, versions, device, seconds, settings."""
        path = self.folder / MANIFEST
        try:
            _check_size(path)
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StoreNotFoundError(f"{self.folder}: there is no benchmark ({MANIFEST} is missing)") from None
        except (OSError, ValueError, RecursionError) as error:
            raise BrokenRunError(f"{path}: not readable ({error}); run the benchmark again") from None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise BrokenRunError(f"{path}: not a benchmark of format {FORMAT}; run the benchmark again")
        return found

    def table(self, name: str) -> pd.DataFrame:
        """Read a table of TABLES, with the columns of the specification; empty if the benchmark has none of it.

        Raises:
            BrokenRunError: the file is damaged or not what the specification says.
        """
        spec, path = TABLES[name], self.folder / f"{name}.parquet"
        if not path.is_file():
            return pd.DataFrame(columns=list(spec.columns))
        try:
            _check_size(path)
            frame = pq.read_table(path).to_pandas()
        except (OSError, pa.ArrowException) as error:
            raise BrokenRunError(f"{path}: not readable ({error}); run the benchmark again") from None
        missing = [column for column in spec.columns if column not in frame and column not in spec.later]
        if missing:
            raise BrokenRunError(f"{path}: the column {missing[0]} is missing; run the benchmark again")
        return tables.with_later(spec, frame)[list(spec.columns)]


def packaged() -> Benchmark | None:
    """Return the benchmark that ships with the project; None if there is none."""
    return Benchmark(PACKAGED) if (PACKAGED / MANIFEST).is_file() else None


def cited(benchmark: Benchmark | None) -> dict[str, dict[str, Any]]:
    """Return method -> the row of truth_scores that trust lines of real scans cite; empty without a benchmark.

    It is the voxel AUC of the mean map of the patients of CITED, at the middle of those effects that networks find
    (the 95 % interval of the AUC lies above 0.5); `kind` says so in words.
    """
    if benchmark is None:
        return {}
    cells = benchmark.table("cells")
    found = cells[(cells["scenario"] == CITED) & (cells["auc_low"] > CHANCE)].sort_values("effect")
    if found.empty:
        return {}
    cell = found.iloc[(len(found) - 1) // 2]
    scores = benchmark.table("truth_scores")
    rows = scores[(scores["cell"] == cell["cell"]) & (scores["score"] == "voxel_auc") & (scores["level"] == "group")]
    rows = rows[rows["reference"].notna()]  # of the positive group
    kind = f"simulated {CITED_WORDS}, {cell['effect']:g} times the published change"
    return {str(row["method"]): row | {"kind": kind} for row in rows.to_dict("records")}


@cache
def cited_of_packaged() -> dict[str, dict[str, Any]]:
    """Return what is cited of the benchmark that ships with the project; it does not change while a program runs."""
    return cited(packaged())


def write_benchmark(folder: Path, manifest: Mapping[str, Any], frames: Mapping[str, pd.DataFrame]) -> Benchmark:
    """Write the tables of a benchmark, and its manifest last.

    Args:
        frames: name -> rows with the columns of TABLES; the key must be unique.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in frames.items():
        spec = TABLES[name]
        ordered = tables.with_later(spec, frame).reindex(columns=list(spec.columns))
        if problems := tables.key_problems(spec, ordered):
            raise ValueError(problems[0])
        atomic.write_bytes(folder / f"{name}.parquet", tables.to_parquet(ordered))
    text = json.dumps({"format": FORMAT, **manifest}, indent=1, sort_keys=True)
    atomic.write_bytes(folder / MANIFEST, text.encode())
    return Benchmark(folder)


def _check_size(path: Path) -> None:
    """Raise BrokenRunError for a file too large to be of a benchmark, before it is read."""
    if path.stat().st_size > MOST_BYTES:
        raise BrokenRunError(f"{path}: larger than a benchmark can be")
