"""`run_pipeline.py benchmark`: a run for every cell, one after the other, and the tables and findings of all."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.pipeline import stages
from engine.pipeline.fingerprints import VERSION
from engine.pipeline.method_benchmark.cells import Extent, configuration
from engine.pipeline.method_benchmark.collect import collect
from engine.pipeline.method_benchmark.findings import FINDINGS, findings
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
    """

    extent: Extent
    store: Path
    output: Path
    device: str
    command: str
    seed: int = 0
    methods: Sequence[str] = ()


def run_benchmark(request: Request, progress: Progress) -> Benchmark:
    """Compute every cell that is not finished yet, then write tables and findings; what is done stays done."""
    started, runs = time.monotonic(), {}
    cells = request.extent.cells
    computed: list[float] = []
    for number, cell in enumerate(cells, start=1):
        left = f", about {duration(sum(computed) / len(computed) * (len(cells) - number + 1))} left" if computed else ""
        progress.say(f"== {number} of {len(cells)}: {cell.name}{left}")
        begun = time.monotonic()
        run = Run(
            configuration(cell, request.extent, request.seed, request.methods), request.store, request.device, progress
        )
        folder, is_new = complete(run)
        runs[cell] = folder
        if is_new:
            computed.append(time.monotonic() - begun)
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
    progress.say(f"{len(cells)} cohorts, {duration(time.monotonic() - started)} now, {duration(seconds)} in all")
    progress.say(f"tables and {FINDINGS} in {request.output}")
    return benchmark


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

    threads = torch.get_num_threads()
    return f"{platform.machine()} CPU, {threads} threads" if device == "cpu" else torch.cuda.get_device_name()
