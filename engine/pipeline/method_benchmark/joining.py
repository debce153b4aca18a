"""Benchmarks that were computed apart (on several machines, or one cohort at a time) put together into one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from engine.errors import UserError
from engine.pipeline.method_benchmark.cells import CELLS
from engine.pipeline.method_benchmark.findings import FINDINGS, findings
from store.benchmark import TABLES, Benchmark, write_benchmark

SAME = ("seed", "reference_networks")  # findings speak of one number of them


def join(folders: Sequence[Path], output: Path) -> Benchmark:
    """Write the cohorts of several benchmarks as one, with its findings; of a cohort in several, that of the first.

    Raises:
        UserError: they have other seeds or numbers of reference networks, or there are fewer than two.
        StoreNotFoundError, BrokenRunError: a folder holds no benchmark, or a damaged one.
    """
    if len(folders) < 2:
        raise UserError("--join: name two or more folders of benchmarks, with commas between")
    parts = [Benchmark(folder) for folder in folders]
    first = parts[0].manifest
    for part in parts[1:]:
        for name in SAME:
            if part.manifest.get(name) != first.get(name):
                raise UserError(
                    f"--join: {part.folder} has {name.replace('_', ' ')} {part.manifest.get(name)}, {parts[0].folder} "
                    f"{first.get(name)}; only benchmarks alike in it can be put together"
                )
    taken: list[set[str]] = []
    for part in parts:
        taken.append(set(part.table("cells")["cell"]) - {cell for earlier in taken for cell in earlier})
    used = [(part, cells) for part, cells in zip(parts, taken, strict=True) if cells]
    frames = {}
    for name in TABLES:
        tables = [part.table(name) for part, _ in used]
        rows = [table[table["cell"].isin(cells)] for table, (_, cells) in zip(tables, used, strict=True)]
        rows = [table for table in rows if len(table)]
        if rows:
            frames[name] = pd.concat(rows, ignore_index=True)
    frames["cells"] = frames["cells"].sort_values("cell", key=_places, kind="stable", ignore_index=True)
    commands = dict.fromkeys(text for part, _ in used for text in commands_of(part))
    manifest = first | {
        "command": "; ".join(commands), "commands": list(commands), "cells": frames["cells"]["cell"].tolist(),
        "seconds": round(float(frames["cells"]["seconds"].sum()), 1),
        "created": max(str(part.manifest["created"]) for part, _ in used),
        **{name: _all(name, [part for part, _ in used]) for name in ("device", "version", "spec_version")},
    }  # fmt: skip
    joined = write_benchmark(output, manifest, frames)
    (output / FINDINGS).write_text(findings(joined), encoding="utf-8")
    return joined


def commands_of(benchmark: Benchmark) -> list[str]:
    """Return the commands that a benchmark was made by: several where it was put together."""
    manifest = benchmark.manifest
    return [str(command) for command in manifest.get("commands") or [manifest["command"]]]


def _all(name: str, parts: Sequence[Benchmark]) -> str:
    """Return what the benchmarks say of a name, each once, also where they were put together themselves."""
    said = (str(part.manifest[name]) for part in parts if name in part.manifest)
    return "; ".join(dict.fromkeys(one for text in said for one in text.split("; ")))


def _places(cells: pd.Series) -> pd.Series:
    """Return where cohorts stand in a benchmark computed in one go; those that it does not have, behind."""
    known = {cell.name: place for place, cell in enumerate(CELLS)}
    return cells.map(lambda name: known.get(name, len(known)))
