"""Tables of a run against the specification, row group by row group; memory holds one, and the keys.

Which columns of which tables are looked at together with others, store/writing/validate.py says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from store.errors import BrokenRunError, UnreachableError
from store.files.bounds import LARGEST_TABLE, MIB, MOST_ROWS
from store.files.folders import Folder
from store.files.tables import IN_PARTS, KeyCheck
from store.reading import plausible
from store.spec import TABLES, TABLES_FOLDER

Progress = Callable[[int, int], None]

ROW_COST = 1 / 40_000  # of a table, where the numbers of a map are 1
_TRUTH = ("model_set", "method", "diagnosis", "level", "score", "value", "difference", "null_difference")
_LOOKED_AT = {  # table -> columns that are compared with other tables and arrays
    "scans": ("scan",), "models": ("model", "weights_sha256"), "predictions": ("scan", "model"),
    "heatmaps": ("scan", "model"), "quality": ("scan",), "flags": ("scan",), "regions": ("region",),
    "cells": ("model_set", "method", "target", "scale", "diagnosis", "predicted"), "truth_regions": ("region",),
    "truth_scores": (*_TRUTH, *(f"{name}_{end}" for name in _TRUTH[-3:] for end in ("low", "high"))),
}  # fmt: skip


@dataclass
class Tables:
    """What is known of the tables of a run, without those rows that grow with scans times regions.

    Attributes:
        kept: name -> the columns of the table that are looked at together with other tables.
        rows: name -> how many.
    """

    kept: dict[str, pa.Table]
    rows: dict[str, int]


class Steps:
    """Counts what was looked at, for the progress: rows of tables, numbers of heatmaps and of other arrays."""

    def __init__(self, manifest: dict[str, Any], progress: Progress | None, *, numbers: bool, stored: bool) -> None:
        contents = manifest["contents"]
        self._progress, self._done = progress, 0.0
        self._all = ROW_COST * sum(entry["rows"] for entry in contents["tables"].values())
        self._all += contents["heatmaps"] if numbers else ROW_COST * contents["heatmaps"]
        self._all += sum(_leading(entry) for entry in contents["arrays"] if "crc32" in entry) if stored else 0

    def add(self, done: float) -> None:
        """Count."""
        self._done += done
        if self._progress is not None:
            self._progress(round(self._done), max(round(self._all), round(self._done), 1))


def _leading(entry: dict[str, Any]) -> int:
    """Return how many maps an array of the contents holds, of those with a map for each leading index."""
    return entry["shape"][0] if len(entry["shape"]) > 3 else 1


def table_problems(folder: Folder, manifest: dict[str, Any], data: Tables, steps: Steps) -> list[str]:
    """Report problems of the tables, row group by row group; what is needed of them later is put into `data`."""
    problems: list[str] = []
    for spec in TABLES:
        path = f"{TABLES_FOLDER}/{spec.name}.parquet"
        if not folder.exists(path):
            problems += [] if spec.optional else [f"table {spec.name} is missing"]
            continue
        keys, kept, lines, rows, size = KeyCheck(spec.name), [], dict[str, None](), 0, 0
        columns = [name for name in _LOOKED_AT.get(spec.name, ()) if name in spec.columns]
        is_read_whole = spec.name not in IN_PARTS
        try:
            if is_read_whole and (declared := folder.table_rows(path)) > MOST_ROWS:
                raise BrokenRunError(f"{path} declares {declared} rows, at most {MOST_ROWS} can be")
            for part in folder.table_parts(path):
                keys.add(part)
                lines |= dict.fromkeys(plausible.table_problems(spec.name, part, manifest["groups"]))
                kept.append(part.select([name for name in columns if name in part.column_names]))
                rows += part.num_rows
                size += _plain_bytes(part) if is_read_whole else 0
                if size > LARGEST_TABLE:
                    raise BrokenRunError(f"{path} unpacks to more than {LARGEST_TABLE // MIB} MiB")
                steps.add(ROW_COST * part.num_rows)
            key_problems = keys.repeated(folder.table_parts(path, spec.key))
            if not rows:  # no row group: its columns are looked at all the same
                kept = [folder.table(path).select(columns)]
        except (BrokenRunError, UnreachableError) as error:
            problems.append(folder.reason(error))
            continue
        problems += [*key_problems, *_one_a_column(lines)]
        data.rows[spec.name], data.kept[spec.name] = rows, pa.concat_tables(kept).unify_dictionaries()
    return problems


def _plain_bytes(part: pa.Table) -> int:
    """Count the bytes of rows once each has its own texts, as whoever reads the table whole needs them."""
    total = 0
    for column in part.columns:
        for chunk in column.chunks:
            if pa.types.is_dictionary(chunk.type):
                total += pc.sum(pc.take(pc.binary_length(chunk.dictionary), chunk.indices)).as_py() or 0
            else:
                total += chunk.nbytes
    return total


def _one_a_column(lines: Iterable[str]) -> list[str]:
    """Keep of several row groups' lines the first of each column."""
    return list({line.split(" holds ")[0]: line for line in reversed(list(lines))}.values())[::-1]
