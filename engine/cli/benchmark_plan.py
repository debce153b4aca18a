"""What `benchmark` would compute, and about how long each cohort takes; nothing is computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from engine.cli.costs import estimate_costs
from engine.cohort.splits import split
from engine.pipeline.inputs import read_cohort
from engine.pipeline.method_benchmark.cells import Cell, configuration, people
from engine.pipeline.method_benchmark.command import Request
from engine.pipeline.method_benchmark.lanes import cohorts_at_once, together
from engine.pipeline.method_benchmark.words import counted
from engine.pipeline.run import Run
from engine.progress import Progress
from store.words import duration

# Seconds of the processor of cohorts by one thread each (950; 1,350 with all measures of trust) beside what the plan of
# a run says, which counts with all of two cores.
ONE_THREAD = 1.43


def plan_lines(request: Request, progress: Progress) -> Iterator[str]:
    """Say cohort by cohort how many people and networks it has, what is measured, and about how long that takes.

    Raises:
        UserError: a phenotype's cohort cannot be read.
    """
    extent, seconds = request.extent, []
    yield (
        f"benchmark of {counted(len(extent.cells), 'cohort')}, {extent.subjects} subjects a group, {extent.tested} of "
        f"each in the fixed test set, {extent.networks} networks; nothing is computed"
    )
    for cell in extent.cells:
        own = f", {people(cell, extent)} a group" if cell.subjects else ""
        what = f"real heads; {', '.join(cell.regions)}" if cell.regions else f"{cell.extent}{own}"
        measures = ", ".join(cell.measures) or "scores against the truth"
        of_cell = _seconds(request, cell, progress)
        yield f"  {cell.name}: {what}; {measures}; about {duration(of_cell)}"
        seconds.append(of_cell)
    at_once = cohorts_at_once(len(extent.cells), request.device, request.processes)
    beside = f", {at_once} at once" if at_once > 1 else ""
    yield f"  in all about {duration(together(seconds, at_once))}{beside}, finished cohorts too"


def _seconds(request: Request, cell: Cell, progress: Progress) -> float:
    config = configuration(cell, request.extent, request.seed, request.methods)
    run = Run(config, request.store, request.device, progress)
    cohort = read_cohort(config, run.store, progress, inspect=False)
    run.cohort = replace(cohort, scans=split(cohort.scans, cohort.groups, config.split, config.seed))
    return sum(estimate_costs(run).seconds.values()) * (ONE_THREAD if request.device == "cpu" else 1)
