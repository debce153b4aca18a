"""`python -m store derive`: stores for others, made of a store with persons, whole or not at all."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from store.deriving import group_level, pseudonymous, shown
from store.deriving.counts import identifiers
from store.deriving.leaks import look_for
from store.deriving.pseudonyms import Pseudonyms
from store.errors import NotWritableError, RunNotFoundError
from store.files import atomic
from store.files.encoding import path_part
from store.reading.reader import RunReader, list_runs, open_run
from store.writing.writer import RunWriter

PATIENCE_S = 2.0  # before anything is said of the progress
BETWEEN_LINES_S = 10.0  # where the output is no terminal


class Progress:
    """Says how far a command is, and about how long it still takes, on standard error."""

    def __init__(self, steps: int) -> None:
        self.steps, self.done, self._began, self._said = max(steps, 1), 0, time.monotonic(), 0.0
        self._shown = False

    def step(self, what: str) -> None:
        """Count a step that is done."""
        self.done += 1
        now = time.monotonic()
        passed, often = now - self._began, 0.2 if sys.stderr.isatty() else BETWEEN_LINES_S
        if passed < PATIENCE_S or now - self._said < often:
            return
        self._said = now
        left = passed / self.done * max(self.steps - self.done, 0)
        line = f"{min(self.done, self.steps)} of {self.steps}, about {left:.0f} s left: {what}"
        if sys.stderr.isatty():
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
            self._shown = True
        else:
            print(line, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line of the progress."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Request:
    """What is to be derived.

    Attributes:
        store: the store with persons; runs: identifiers or names, none: all that open.
        out: the folder of the new store, which must not exist.
        fewest: subjects of a published cell; None: pseudonymous, the whole run.
        key: file of the key of the pseudonyms.
        name: of the new run; None: that of the old one.
        small: averages of groups with rounded numbers.
        with_scans: shown one by one in a run of groups; of brains that are simulated as a whole alone.
    """

    store: str
    runs: tuple[str, ...]
    out: Path
    fewest: int | None
    key: Path | None = None
    name: str | None = None
    small: bool = False
    with_scans: tuple[str, ...] = ()


def derive(request: Request) -> list[str]:
    """Make a store for others; return the identifiers of its runs.

    Everything is written beside it and renamed at the end: an interrupted call leaves no store, and the next one begins
    anew.

    Raises:
        NotWritableError: the folder exists, or cannot be written.
        RunNotFoundError, NotInRunError: a run is not there, or holds nothing that may be published.
    """
    out = request.out
    if out.exists() or out.is_symlink():
        raise NotWritableError(f"{out} exists: give a folder that does not, or remove it first")
    runs = [open_run(request.store, name) for name in request.runs or _all_runs(request.store)]
    if request.name is not None and len(runs) > 1:
        raise RunNotFoundError(f"a name is for one run, and these are {len(runs)}: give one RUN, or no --name")
    if request.with_scans:
        for run in runs:
            shown.check(run, request.with_scans)
    key = Pseudonyms.kept(request.key, out) if request.key is not None else None
    draft = out.with_name(f".{out.name}.partial")
    if draft.exists():
        shutil.rmtree(draft)
    with atomic.writable(out):
        draft.mkdir(parents=True)
    try:
        made = [_derive_run(request, run, draft, key, runs) for run in runs]
        shutil.rmtree(draft / ".work", ignore_errors=True)
        atomic.move(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return made


def _all_runs(store: str) -> list[str]:
    infos = list_runs(store)
    found = [info.run for info in infos if info.problem is None]
    if not found:
        raise RunNotFoundError(f"there is no run in {store} that opens: give the folder that holds the runs")
    return found


def identifier(run: RunReader, request: Request) -> tuple[str, str, str]:
    """Return identifier, name and fingerprint of the run that is made of another."""
    if request.fewest is None:
        name = request.name or run.manifest["name"]
        fingerprint = group_level.fingerprint_of(run, pseudonymous.HOW)
    else:
        name = request.name or run.manifest["name"]
        how = (group_level.HOW, request.fewest, *request.with_scans)
        fingerprint = group_level.fingerprint_of(run, *how)
    return f"{path_part(_plain(name))}-{fingerprint[:8]}", name, fingerprint


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name) or "run"


def _derive_run(
    request: Request, run: RunReader, draft: Path, key: Pseudonyms | None, runs: Sequence[RunReader]
) -> str:
    run_id, name, fingerprint = identifier(run, request)
    writer = RunWriter(draft / ".work" / run_id / "staging")
    if key is None:
        assert request.fewest is not None
        counts = group_level.check(run, request.fewest)
        progress = Progress(group_level.steps_of(run, counts))
        manifest = group_level.write_group_level(run, writer, counts, progress.step, request.small)
        if request.with_scans:
            shown.write_shown(run, writer, request.with_scans, progress.step)
            manifest["group_level"]["shown"] = len(set(request.with_scans))
        how = group_level.HOW
    else:
        progress = Progress(pseudonymous.steps_of(run))
        manifest = pseudonymous.write_pseudonymous(run, writer.staging, key, progress.step)
        how = pseudonymous.HOW
        manifest["reference_run"] = _new_reference(request, run, runs)
    progress.end()
    made: dict[str, Any] = {k: v for k, v in manifest.items() if v is not None or k in ("commit",)}
    made |= {"name": name, "fingerprint": fingerprint}
    made["derived"] = group_level.derived(run, how, datetime.now().astimezone())
    writer.compact()
    may = shown.names_of(run, request.with_scans) if request.with_scans else set()
    look_for(identifiers(run) - may, writer.staging, made)
    writer.publish(draft, run_id, made)
    return run_id


def _new_reference(request: Request, run: RunReader, runs: Sequence[RunReader]) -> str | None:
    """Return what the run whose networks explained these scans is called in the new store."""
    if not run.reference_run:
        return None
    for other in runs:
        if other.run_id == run.reference_run:
            return identifier(other, request)[0]
    raise RunNotFoundError(
        f"run {run.run_id} was explained by the networks of {run.reference_run}: derive both, so that they stay "
        "together"
    )
