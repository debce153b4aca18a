"""`run_pipeline.py benchmark`: a run for every cell, and the tables and findings of all."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from engine.pipeline import stages
from engine.pipeline.fingerprints import VERSION
from engine.pipeline.method_benchmark.cells import Cell, Extent, configuration
from engine.pipeline.method_benchmark.collect import collect
from engine.pipeline.method_benchmark.findings import FINDINGS, findings
from engine.pipeline.method_benchmark.lanes import Completed, cohorts_at_once, completed
from engine.pipeline.run import Run, locked
from engine.progress import Progress
from store import SPEC_VERSION
from store.benchmark import Benchmark, write_benchmark
from store.words import duration


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        store: where the runs go.
        output: folder of the tables and findings.
        methods: default those of the extent.
        command: as it was typed, for the record.
        processes: cohorts at once; None: as many as cores and memory allow.
    """

    extent: Extent
    store: Path
    output: Path
    device: str
    command: str
    seed: int = 0
    methods: Sequence[str] = ()
    processes: int | None = None


def run_benchmark(request: Request, progress: Progress) -> Benchmark:
    """Compute every cell that is not finished yet, then write tables and findings; what is done stays done."""
    started, cells = time.monotonic(), request.extent.cells
    at_once = cohorts_at_once(len(cells), request.device, request.processes)
    runs = {
        cell: folder
        for cell, (folder, _) in completed(cells, partial(_compute, request), request.device, at_once, progress).items()
    }
    frames = collect(runs)
    analysis = configuration(cells[0], request.extent, request.seed).analysis
    seconds = float(frames["cells"]["seconds"].sum())
    manifest: dict[str, Any] = {
        "command": request.command, "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "version": VERSION,
        "spec_version": SPEC_VERSION, "device": _device(request.device), "seconds": round(seconds, 1),
        "seed": request.seed, "cells": [cell.name for cell in cells],
        "reference_networks": {"untrained": analysis.untrained_networks, "null": analysis.null_networks},
    }  # fmt: skip
    benchmark = write_benchmark(request.output, manifest, frames)
    (request.output / FINDINGS).write_text(findings(benchmark), encoding="utf-8")
    progress.say(
        f"{len(cells)} cohorts, {duration(time.monotonic() - started)} now, {duration(seconds)} in all, had they been "
        "computed one after the other"
    )
    progress.say(f"tables and {FINDINGS} in {request.output}")
    return benchmark


def _compute(request: Request, cell: Cell, progress: Progress) -> Completed:
    config = configuration(cell, request.extent, request.seed, request.methods)
    return complete(Run(config, request.store, request.device, progress))


def complete(run: Run) -> tuple[Path, bool]:
    """Run all stages of a run, or find it finished: (folder, whether anything was computed)."""
    stages.ingest(run)
    if finished := run.finished():
        run.progress.say(f"  already finished: {finished.name}")
        return finished, False
    with locked(run):
        run.load_costs()
        for name in stages.ORDER[1:]:
            run.progress.say(f"  {name}" + (" (done before)" if run.is_done(name) else ""))
            with run.timed(name):
                getattr(stages, name)(run)
    assert run.published is not None
    return run.published, True


def _device(device: str) -> str:
    import torch  # noqa: PLC0415

    return f"{platform.machine()} CPU, 1 thread a cohort" if device == "cpu" else torch.cuda.get_device_name()
