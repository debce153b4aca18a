"""The jobs beside the main one, each the first word on the command line."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.cli.options import (
    DEFAULT_STORE,
    add_cohort,
    add_common,
    add_device,
    add_json,
    add_settings,
    configuration,
    job_parser,
    local_folder,
    overrides_of,
)
from engine.cli.phenotypes import make_phenotypes, phenotypes_parser
from engine.errors import RunError, UserError
from engine.pipeline.run import Run
from engine.progress import Progress

Stages = Mapping[str, Callable[[Any], None]]  # each of the job's kind of run


@dataclass(frozen=True)
class Command:
    """A job that makes a run.

    Attributes:
        parser: of its options.
        start: (options, device, progress) -> (run, stages).
    """

    parser: Callable[[], argparse.ArgumentParser]
    start: Callable[[argparse.Namespace, str, Progress], tuple[Run, Stages]]


@dataclass(frozen=True)
class CheckCommand:
    """A job that makes no run.

    Attributes:
        parser: of its options.
        check: (options, device, progress) -> exit code.
    """

    parser: Callable[[], argparse.ArgumentParser]
    check: Callable[[argparse.Namespace, str, Progress], int]


AnyCommand = Command | CheckCommand


def explain_parser() -> argparse.ArgumentParser:
    """Return the options of `explain`."""
    p = job_parser(
        "explain",
        "Explain new scans by all networks of a finished run, by its methods and with its settings, into a "
        "run of their own in the same store. Nothing is trained.",
    )
    p.add_argument("reference", metavar="RUN", help="run with the networks: its identifier, name or folder")
    p.add_argument("files", nargs="+", type=Path, metavar="SCAN.nii.gz", help="T1 images, NIfTI or Analyze")
    p.add_argument(
        "--table", type=Path, metavar="FILE", help="CSV or TSV with the column file, and what is known of the scans: "
        "subject, session, age, sex, mmse, diagnosis, …",
    )  # fmt: skip
    p.add_argument("--name", help="name of the new run (default: that of RUN and -scans)")
    add_common(p, None, "preprocessing.registration=none for scans that are in MNI space already")
    p.set_defaults(only=None, start=None)
    return p


def start_explain(options: argparse.Namespace, device: str, progress: Progress) -> tuple[Run, Stages]:
    """Return the run and the stages of `explain`."""
    # Imported here, as in all functions below: they load torch, and --help and mistakes are answered at once.
    from engine.pipeline.new_scans.reference_run import find_reference  # noqa: PLC0415
    from engine.pipeline.new_scans.run import NewScansRun  # noqa: PLC0415
    from engine.pipeline.new_scans.stages import STAGES  # noqa: PLC0415

    reference = find_reference(options.reference, (options.store or DEFAULT_STORE).resolve())
    if options.store and options.store.resolve() != reference.store:
        option = "--work" if options.bucket else "--store"
        raise UserError(f"{option} {options.store}: the new run lies beside {reference.run_id}; leave {option} out")
    overrides = overrides_of(options)
    config = reference.configuration(options.name, overrides)
    files = tuple(file.absolute() for file in options.files)
    run = NewScansRun(config, reference.store, device, progress, reference=reference, files=files, table=options.table)
    return run, STAGES


def import_parser() -> argparse.ArgumentParser:
    """Return the options of `import-model`."""
    p = job_parser(
        "import-model",
        "Explain a cohort by a network of your own, as it is: its accuracy on these scans, heatmaps by all "
        "methods, group averages, as a run that `explain` can show new scans against. Nothing is trained.",
    )
    p.add_argument("file", type=Path, metavar="FILE.safetensors", help="state dict, written by safetensors")
    p.add_argument("--card", type=Path, metavar="FILE.yaml", help="its layers (default: beside FILE, ending in .yaml)")
    add_cohort(p)
    add_common(p, DEFAULT_STORE, "explain.occlusion.stride_mm=8")
    p.set_defaults(only=None, start=None)
    return p


def start_import(options: argparse.Namespace, device: str, progress: Progress) -> tuple[Run, Stages]:
    """Return the run and the stages of `import-model`."""
    from engine.pipeline.imported_network import STAGES, ImportedRun, settings  # noqa: PLC0415

    overrides = settings(options.file, options.card, overrides_of(options))
    if not (options.name or options.preset or options.config or "name" in overrides):
        options.name = re.sub(r"[^A-Za-z0-9]+", "-", options.file.stem).strip("-")[:60] or "imported"
    config = configuration(options, overrides)
    return ImportedRun(config, options.store.resolve(), device, progress, file=options.file), STAGES


def check_parser() -> argparse.ArgumentParser:
    """Return the options of `check-simulation`."""
    p = job_parser(
        "check-simulation",
        "Prove that a network trained on a simulated cohort finds the imposed change and nothing else: the "
        "sham and every other nuisance, switched off in people whom it has never seen, must leave it at chance.",
        "Exit code 0 if so, 1 with one sentence if not. Nothing is stored but real heads made ready, in the store's "
        "cache. Of real heads (cohort.simulation.heads), a third is kept out of the training and asked about.",
    )
    p.add_argument("config", nargs="?", type=Path, metavar="CONFIG.yaml", help="configuration over the preset's")
    p.add_argument("--preset", metavar="NAME", help="where to start from (default: demo)")
    add_settings(p, "a setting")
    p.add_argument("--quick", action="store_true", help="one small training and fewer people: wider intervals")
    p.add_argument("--store", type=local_folder, default=DEFAULT_STORE, metavar="PATH",
                   help=f"in whose cache real heads made ready are kept (default: {DEFAULT_STORE})")  # fmt: skip
    add_device(p)
    add_json(p)
    p.set_defaults(plan=False, name=None, cohort=None, data=None, table=None)
    return p


def check_simulation(options: argparse.Namespace, device: str, progress: Progress) -> int:
    """Run `check-simulation`: 0 if only the imposed change is found, else 1."""
    import torch  # noqa: PLC0415

    from engine.pipeline.simulation_check import FULL, QUICK, check, lines, sentence  # noqa: PLC0415

    config = configuration(options)
    report = check(config, QUICK if options.quick else FULL, torch.device(device), progress, options.store.resolve())
    for line in lines(report):
        progress.say(line)
    if options.json:
        print(json.dumps(report), flush=True)
    if wrong := sentence(report):
        raise RunError(f"{wrong}; what this cohort shows of heatmaps is not of the imposed change alone")
    progress.say("the imposed change is found, and nothing else is taken for it")
    return 0


def benchmark_parser() -> argparse.ArgumentParser:
    """Return the options of `benchmark`."""
    p = job_parser(
        "benchmark",
        "Score all relevance methods on cohorts whose truth is known: a run for each, tables, and findings "
        "in words. Beside each score stand untrained networks, networks trained on nothing, and maps that explain "
        "nothing.",
    )
    p.add_argument("--quick", action="store_true", help="three cohorts of 60 subjects a group")
    p.add_argument("--scenarios", metavar="NAMES", help="some of them, of the phenotypes, or single cohorts "
                   "(typical_ad-1.4; any effect), with commas between; NAME:100 for 100 subjects a group")  # fmt: skip
    p.add_argument("--phenotypes", type=Path, metavar="COHORT.csv", help="real heads, too: a cohort for each phenotype "
                   "of this table, made by `phenotypes`; with --data")  # fmt: skip
    p.add_argument("--data", type=Path, metavar="PATH", help="folder of the scans of --phenotypes")
    add_settings(p, "a setting of the runs of --phenotypes, over the preset phenotype")
    p.add_argument("--methods", metavar="NAMES", help="some of them, with commas between (default: all)")
    p.add_argument("--seed", type=int, default=0, help="of cohorts and networks (default: 0)")
    p.add_argument("--store", type=local_folder, default=DEFAULT_STORE, metavar="PATH",
                   help=f"result store of the runs (default: {DEFAULT_STORE})")  # fmt: skip
    p.add_argument("--output", type=Path, metavar="PATH", help="for tables and findings (default: STORE/benchmark)")
    p.add_argument("--processes", type=int, metavar="N", help="cohorts at once, a thread each; numbers are the same "
                   "with fewer (default: as many as there are cores, and 3.5 GB for each)")  # fmt: skip
    add_device(p)
    p.add_argument("--against", type=Path, metavar="FOLDER", help="compute nothing: lay the tables of --output beside "
                   "those of this folder, of another seed, and say whether they rank the methods alike")  # fmt: skip
    p.add_argument("--join", metavar="FOLDERS", help="compute nothing: put the cohorts of several benchmarks together "
                   "in --output; the folders of their tables, with commas between")  # fmt: skip
    p.add_argument("--plan", action="store_true", help="print what would be done; do nothing")
    add_json(p)
    return p


def run_method_benchmark(options: argparse.Namespace, device: str, progress: Progress) -> int:
    """Run `benchmark`."""
    if options.against:
        return _against(options)
    if options.join is not None:
        return _join(options, progress)
    from engine.pipeline.method_benchmark.cells import FULL, QUICK, chosen, phenotype_cells  # noqa: PLC0415
    from engine.pipeline.method_benchmark.command import Request, run_benchmark  # noqa: PLC0415
    from engine.pipeline.run import check_store  # noqa: PLC0415

    scenarios, methods = (_names(text) for text in (options.scenarios, options.methods))
    store, phenotypes = options.store.resolve(), []
    if options.phenotypes:
        if options.data is None:
            raise UserError("--data: the folder of the scans is needed with --phenotypes")
        phenotypes = phenotype_cells(options.phenotypes, options.data, overrides_of(options))
    elif options.data or options.overrides:
        raise UserError("--data and --set are for --phenotypes COHORT.csv: give it, too, or leave them out")
    words = [
        f"--{name} {getattr(options, name)}" for name in ("scenarios", "methods", "seed") if getattr(options, name)
    ]
    words += [f"--phenotypes {options.phenotypes.name}"] if options.phenotypes else []
    words += [f"--set {setting}" for setting in options.overrides if "/" not in setting]  # places are of this machine
    command = " ".join(["python run_pipeline.py benchmark", *(["--quick"] if options.quick else []), *words])
    request = Request(
        chosen(QUICK if options.quick else FULL, scenarios, phenotypes), store,
        (options.output or store / "benchmark").resolve(), device, command, options.seed, methods,
        options.processes,
    )  # fmt: skip
    if options.processes is not None and options.processes < 1:
        raise UserError("--processes: at least 1")
    if options.plan:
        from engine.cli.benchmark_plan import plan_lines  # noqa: PLC0415

        for line in plan_lines(request, progress):
            progress.say(line)
        return 0
    check_store(store)
    benchmark = run_benchmark(request, progress)
    if options.json:
        print(json.dumps({"benchmark": str(benchmark.folder), **benchmark.manifest}), flush=True)
    return 0


def _against(options: argparse.Namespace) -> int:
    """Print how far two benchmarks agree: of --output, or what ships where there is none, and of --against."""
    from engine.pipeline.method_benchmark.seeds import compared  # noqa: PLC0415
    from store.benchmark import MANIFEST, PACKAGED, Benchmark  # noqa: PLC0415

    own = options.output or options.store / "benchmark"
    first = PACKAGED if options.output is None and not (own / MANIFEST).is_file() else own
    print(compared(Benchmark(first), Benchmark(options.against)), end="", flush=True)
    return 0


def _join(options: argparse.Namespace, progress: Progress) -> int:
    """Put the benchmarks of --join together."""
    from engine.pipeline.method_benchmark.joining import join  # noqa: PLC0415

    if options.output is None:
        raise UserError("--join: say by --output where the tables go")
    joined = join([Path(name).expanduser() for name in _names(options.join)], options.output.resolve())
    progress.say(f"{len(joined.manifest['cells'])} cohorts in {joined.folder}")
    if options.json:
        print(json.dumps({"benchmark": str(joined.folder), **joined.manifest}), flush=True)
    return 0


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


JOBS: dict[str, AnyCommand] = {
    "explain": Command(explain_parser, start_explain),
    "import-model": Command(import_parser, start_import),
    "check-simulation": CheckCommand(check_parser, check_simulation),
    "benchmark": CheckCommand(benchmark_parser, run_method_benchmark),
    "phenotypes": CheckCommand(phenotypes_parser, make_phenotypes),
}
