"""The command line of the batch job: options, signals, errors, and the result on standard output."""

from __future__ import annotations

import argparse
import errno
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from engine.cli import jobs
from engine.cli.jobs import AnyCommand, Stages
from engine.cli.options import DEFAULT_STORE, add_cohort, add_common, configuration, part_store
from engine.config.cluster_schema import ClusterConfig
from engine.errors import RunError, UserError
from engine.json_line import json_line
from engine.pipeline.bucket import check_bucket, finished_in, send, sending_ahead
from engine.pipeline.run import Run, check_store, discard, locked
from engine.progress import Progress
from store.errors import StoreError

ALWAYS = ("ingest", "preprocess")  # what every stage needs in memory; both go on from what is there


class StopSignalError(BaseException):
    """SIGTERM or SIGINT."""

    def __init__(self, number: int) -> None:
        self.number = number


def main(stages: Stages, arguments: Sequence[str] | None = None) -> int:
    """Run a job, the main one unless the first word names another.

    Returns the exit code: 0, 1 (failure), 2 (the user's mistake), 128 + signal.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    main_command = jobs.Command(partial(parser, stages), partial(_main_run, stages))
    command = jobs.JOBS.get(words[0], main_command) if words else main_command
    options = command.parser().parse_args(words if command is main_command else words[1:])
    progress = Progress()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    context: dict[str, Run] = {}
    try:
        return _run(command, options, progress, context)
    except StopSignalError as interrupted:
        progress.say("\ninterrupted; nothing computed is lost: the same command goes on from here")
        return 128 + interrupted.number
    except (UserError, RunError) as error:
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
    except Exception as error:
        return _unexpected(error, progress, context.get("run"))


def parser(stages: Stages) -> argparse.ArgumentParser:
    """Return the options of the main job."""
    p = argparse.ArgumentParser(
        prog="run_pipeline.py",
        description="Train the CNN across folds, explain the test scans by the methods of Rieke et al. 2018, publish a "
        "result store. Without options: a simulated cohort at 4 mm, on the CPU.",
        epilog=f"Other jobs, each with its own --help: run_pipeline.py {' | '.join(jobs.JOBS)}. "
        "An interrupted run goes on where it stopped when the same command is given again. "
        "Research use only, not a medical device.",
    )
    add_cohort(p)
    which = p.add_mutually_exclusive_group()
    which.add_argument("--only", choices=list(stages), metavar="STAGE", help=f"one stage: {', '.join(stages)}")
    which.add_argument(
        "--from", dest="start", choices=list(stages), metavar="STAGE", help="redo this stage and all after it"
    )
    add_common(p, DEFAULT_STORE, "training.epochs=5")
    return p


def _main_run(stages: Stages, options: argparse.Namespace, device: str, progress: Progress) -> tuple[Run, Stages]:
    config = configuration(options)
    return Run(config, options.store.resolve(), device, progress), stages


def _run(command: AnyCommand, options: argparse.Namespace, progress: Progress, context: dict[str, Run]) -> int:
    if isinstance(command, jobs.CheckCommand):
        return command.check(options, _device_kind(options.device), progress)
    part_store(options)
    run, stages = command.start(options, options.device, progress)
    run.device, run.bucket = device_of(run.config.cluster, options.device), options.bucket
    with closing(run.engine):
        return _take_stages(run, stages, options, context)


def _take_stages(run: Run, stages: Stages, options: argparse.Namespace, context: dict[str, Run]) -> int:
    progress = run.progress
    if options.plan:
        # Imported here, as below: torch loads slowly, and --help and mistakes are answered at once.
        from engine.cli.plan import print_plan  # noqa: PLC0415

        print_plan(run, options.json)
        return 0
    check_store(run.store)
    if run.bucket:
        check_bucket(run.bucket)
    context["run"] = run
    progress.say(f"[1/{len(stages)}] ingest")
    with run.timed("ingest"):
        stages["ingest"](run)
    if not options.force and (done := _already(run)):
        _report(options, *done, progress)
        return 0
    with locked(run), sending_ahead(run) as stage_ended:
        _stages(stages, options, run, stage_ended)
    if run.published:
        send(run, run.published)
        _report(options, run.bucket or run.store, run.published.name, progress)
    return 0


def _already(run: Run) -> tuple[str | Path, str] | None:
    """Return (store, name) of a run that was computed before; into a bucket that lacks it, it is sent."""
    again = "use --force to compute it again"
    if run.bucket and (name := finished_in(run.bucket, run.fingerprint)):
        run.progress.say(f"already finished: {name} in {run.bucket} ({again})")
        return run.bucket, name
    folder = run.finished()
    if folder is None:
        return None
    run.progress.say(f"already finished: {folder.name} in {run.store} ({again})")
    send(run, folder)
    return run.bucket or run.store, folder.name


def _stages(stages: Stages, options: argparse.Namespace, run: Run, stage_ended: Callable[[], None]) -> None:
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
            stage_ended()


def _report(options: argparse.Namespace, store: str | Path, run_id: str, progress: Progress) -> None:
    from engine.cli.report import result, summary  # noqa: PLC0415

    outcome = result(store, run_id)
    progress.say("")
    for line in summary(outcome):
        progress.say(line)
    if options.json:
        print(json_line(outcome), flush=True)


def device_of(cluster: ClusterConfig, asked: str) -> str:
    """Return cpu or cuda; where other machines compute, this one need not have a GPU."""
    if not cluster.elsewhere:
        return _device_kind(asked)
    if asked == "auto":
        return "cuda" if "gpu" in (cluster.gres or "") else "cpu"
    return asked


def _device_kind(asked: str) -> str:
    """Return cpu or cuda; Torch, which is slow to load, is asked only where there may be a GPU."""
    if asked == "cpu" or (asked == "auto" and not Path("/dev/nvidiactl").exists()):
        return "cpu"
    from engine.networks.device import choose_device  # noqa: PLC0415

    return choose_device(asked).type


def _interrupt(number: int, _frame: object) -> None:
    # A second signal ends at once: what is on disk is whole at every moment.
    signal.signal(number, signal.SIG_DFL)
    raise StopSignalError(number)


def _os_line(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space left on the disk; free some and give the same command again, nothing computed is lost"
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def _unexpected(error: Exception, progress: Progress, run: Run | None) -> int:
    """Report an error that nobody foresaw in one line and write its traceback to a file; return the exit code."""
    text, line = traceback.format_exc(), f"error: unexpected {type(error).__name__}: {error}"
    try:
        if run:
            folder = run.work if run.data_fingerprint else run.store
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / "error.txt"
            file.write_text(text, encoding="utf-8")
        else:
            with tempfile.NamedTemporaryFile(
                "w", prefix="brainwhy-error-", suffix=".txt", encoding="utf-8", delete=False
            ) as temporary:
                temporary.write(text)
            file = Path(temporary.name)
    except OSError:
        progress.say(line)
        return 1
    progress.say(f"{line}; details for a report in {file}")
    return 1
