"""The command line of the batch job: options, signals, errors, and the result on standard output."""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from engine.config import READERS, RunConfig, load_config, parse_override, preset_names
from engine.errors import RunFailure, UserError
from engine.progress import Progress
from engine.run import Run, check_store, discard, locked
from store.errors import StoreError

Stages = Mapping[str, Callable[[Run], None]]
DEFAULT_STORE = Path("results")
ALWAYS = ("ingest", "preprocess")  # what every stage needs in memory; both go on from what is there


class Interrupted(BaseException):
    """SIGTERM or SIGINT."""

    def __init__(self, number: int) -> None:
        self.number = number


def main(stages: Stages, arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit code: 0, 1 (failure), 2 (the user's mistake), 128 + signal."""
    options = parser(stages).parse_args(arguments)
    progress = Progress()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    context: dict[str, Run] = {}
    try:
        return _run(stages, options, progress, context)
    except Interrupted as interrupted:
        progress.say("\ninterrupted; nothing computed is lost: the same command goes on from here")
        return 128 + interrupted.number
    except (UserError, RunFailure) as error:
        progress.say(f"error: {error}")
        return error.exit_code
    except StoreError as error:
        progress.say(f"error: {error}")
        return 1
    except MemoryError:
        progress.say("error: out of memory; use a coarser grid_mm or fewer preprocessing.processes; nothing is lost")
        return 1
    except OSError as error:
        progress.say(f"error: {_os_line(error)}")
        return 1
    except Exception:
        return _unexpected(progress, context.get("run"))


def parser(stages: Stages) -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(
        prog="run_pipeline.py",
        description="Train the CNN across folds, explain the test scans by the methods of Rieke et al. 2018, publish a "
        "result store. Without options: a simulated cohort at 4 mm, on the CPU.",
        epilog="An interrupted run goes on where it stopped when the same command is given again. "
        "Research use only, not a medical device.",
    )
    p.add_argument(
        "config", nargs="?", type=Path, metavar="CONFIG.yaml", help="configuration; its keys go over the preset's"
    )
    p.add_argument("--preset", metavar="NAME", help=f"where to start from: {', '.join(preset_names())} (default: demo)")
    p.add_argument("--cohort", choices=READERS, metavar="KIND", help=f"what kind of data: {', '.join(READERS)}")
    p.add_argument("--data", type=Path, metavar="PATH", help="folder of the scans and their table")
    p.add_argument(
        "--table", type=Path, metavar="FILE", help="the table of the scans: CSV or TSV, in that folder or elsewhere"
    )
    p.add_argument("--store", type=Path, default=DEFAULT_STORE, metavar="PATH", help="result store (default: results)")
    p.add_argument("--name", help="name of the run (default: the preset's)")
    which = p.add_mutually_exclusive_group()
    which.add_argument("--only", choices=list(stages), metavar="STAGE", help=f"one stage: {', '.join(stages)}")
    which.add_argument(
        "--from", dest="start", choices=list(stages), metavar="STAGE", help="redo this stage and all after it"
    )
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default: auto)")
    p.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="e.g. training.epochs=5"
    )
    p.add_argument(
        "--force", action="store_true", help="compute again even if a finished run with the same settings exists"
    )
    p.add_argument(
        "--plan", action="store_true", help="print what would be done, with time, memory and disk; do nothing"
    )
    p.add_argument("--json", action="store_true", help="end with one line of JSON on standard output, also of --plan")
    return p


def configuration(options: argparse.Namespace) -> RunConfig:
    """The effective configuration of the command line."""
    overrides = dict(parse_override(text) for text in options.overrides)
    if options.name:
        overrides["name"] = options.name
    if options.cohort:
        overrides["cohort.reader"] = options.cohort
        if not (options.name or options.preset or options.config):
            overrides["name"] = options.cohort
    if options.data:
        overrides["cohort.data"] = str(options.data)
    if options.table:
        overrides["cohort.table"] = _table(options.table, options.data)
    return load_config(options.config, options.preset, overrides)


def _table(table: Path, data: Path | None) -> str:
    """A table in the folder of the scans by its name there, another one by its whole path."""
    if table.is_absolute() or (data and (data / table).is_file()) or not table.is_file():
        return str(table)
    return str(table.resolve())


def _run(stages: Stages, options: argparse.Namespace, progress: Progress, context: dict[str, Run]) -> int:
    config = configuration(options)
    if (options.data or options.table) and config.cohort.reader == "simulated":
        option = "--data" if options.data else "--table"
        raise UserError(f"{option}: the simulated cohort reads no files; add --cohort {{{','.join(READERS[1:])}}}")
    run = Run(config, options.store.resolve(), _device_kind(options.device), progress)
    if options.plan:
        from engine.plan import print_plan

        print_plan(run, options.json)
        return 0
    check_store(run.store)
    context["run"] = run
    progress.say(f"[1/{len(stages)}] ingest")
    with run.timed("ingest"):
        stages["ingest"](run)
    finished = run.finished()
    if finished and not options.force:
        progress.say(f"already finished: {finished.name} in {run.store} (use --force to compute it again)")
        _report(options, finished, progress)
        return 0
    with locked(run):
        _stages(stages, options, run)
    if run.published:
        _report(options, run.published, progress)
    return 0


def _stages(stages: Stages, options: argparse.Namespace, run: Run) -> None:
    names = list(stages)
    run.load_costs()
    first = options.start or ("ingest" if options.force else None)
    if first:
        discard(run, names[names.index(first) :])
    wanted = [*ALWAYS, options.only] if options.only else names
    if options.only == "ingest":
        return
    for number, name in enumerate(names[1:], start=2):
        if name in wanted:
            run.progress.say(f"[{number}/{len(names)}] {name}" + (" (done before)" if run.is_done(name) else ""))
            with run.timed(name):
                stages[name](run)


def _report(options: argparse.Namespace, folder: Path, progress: Progress) -> None:
    from engine.report import result, summary

    found = result(folder)
    progress.say("")
    for line in summary(found):
        progress.say(line)
    if options.json:
        print(json.dumps(found), flush=True)


def _device_kind(asked: str) -> str:
    """cpu or cuda. Torch, which is slow to load, is asked only where there may be a GPU."""
    if asked == "cpu" or (asked == "auto" and not Path("/dev/nvidiactl").exists()):
        return "cpu"
    from engine.model.device import choose_device

    return choose_device(asked).type


def _interrupt(number: int, frame: object) -> None:
    # A second signal ends at once: what is on disk is whole at every moment.
    signal.signal(number, signal.SIG_DFL)
    raise Interrupted(number)


def _os_line(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space left on the disk; free some and give the same command again, nothing computed is lost"
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def _unexpected(progress: Progress, run: Run | None) -> int:
    """A fault of ours: one line, the traceback in a file."""
    kind, error, _ = sys.exc_info()
    text = traceback.format_exc()
    with contextlib.suppress(OSError, AttributeError):
        folder = run.work if run.data_fingerprint else run.store
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "error.txt"
        file.write_text(text, encoding="utf-8")
        progress.say(f"error: unexpected {kind.__name__}: {error}; details for a report in {file}")
        return 1
    if os.environ.get("BRAINWHY_DEBUG"):
        progress.say(text)
    progress.say(f"error: unexpected {kind.__name__}: {error}")
    return 1
