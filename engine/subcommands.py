"""The jobs beside the main one, each the first word on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.config import parse_override
from engine.errors import UserError
from engine.progress import Progress
from engine.run import Run

Stages = Mapping[str, Callable[[Run], None]]
DEFAULT_STORE = Path("results")


@dataclass(frozen=True)
class Job:
    """What a command line asks for.

    Attributes:
        parser: of its options.
        start: (options, device, progress) -> (run, stages).
        plan: says what a run would do.
    """

    parser: Callable[[], argparse.ArgumentParser]
    start: Callable[[argparse.Namespace, str, Progress], tuple[Run, Stages]]
    plan: Callable[[Run], None]


def add_common(p: argparse.ArgumentParser, store: Path | None, example: str) -> None:
    """Options that every job has.

    Args:
        store: the default.
        example: of a setting.
    """
    p.add_argument("--store", type=Path, default=store, metavar="PATH", help=f"result store (default: {DEFAULT_STORE})")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default: auto)")
    p.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help=f"e.g. {example}")
    p.add_argument(
        "--force", action="store_true", help="compute again even if a finished run with the same settings exists"
    )
    p.add_argument(
        "--plan", action="store_true", help="print what would be done, with time, memory and disk; do nothing"
    )
    p.add_argument("--json", action="store_true", help="end with one line of JSON on standard output")


def explain_parser() -> argparse.ArgumentParser:
    """The options of `explain`."""
    p = argparse.ArgumentParser(
        prog="run_pipeline.py explain",
        description="Explain new scans by all networks of a finished run, by its methods and with its settings, into a "
        "run of their own in the same store. Nothing is trained.",
        epilog="Interrupted, it goes on where it stopped when the same command is given again. Research use only, not "
        "a medical device.",
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
    """The run of `explain`, before its first stage."""
    from engine.new_scans.reference import find_reference
    from engine.new_scans.run import NewScansRun
    from engine.new_scans.stages import STAGES

    reference = find_reference(options.reference, (options.store or DEFAULT_STORE).resolve())
    if options.store and options.store.resolve() != reference.store:
        raise UserError(f"--store {options.store}: the new run lies beside {reference.run_id}; leave --store out")
    overrides = dict(parse_override(text) for text in options.overrides)
    config = reference.configuration(options.name, overrides)
    files = tuple(file.absolute() for file in options.files)
    run = NewScansRun(config, reference.store, device, progress, reference=reference, files=files, table=options.table)
    return run, STAGES


def plan_explain(run: Run) -> None:
    """See engine.new_scans.stages.print_plan."""
    from engine.new_scans.stages import print_plan

    print_plan(run)


JOBS = {"explain": Job(explain_parser, start_explain, plan_explain)}
