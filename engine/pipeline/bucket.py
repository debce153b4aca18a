"""A run whose store is a bucket: it works in a folder, finished files are sent meanwhile, the manifest last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import RunError, UserError
from engine.pipeline.run import Run
from store.errors import StoreError, StoreNotFoundError
from store.files.target import Target
from store.progress_line import ProgressLine
from store.reading.listing import list_runs
from store.writing.run_list import write_run_list
from store.writing.upload import upload_run
from store.writing.upload_ahead import UploadAhead


def check_bucket(url: str) -> None:
    """See that a bucket can be written to, before anything is computed.

    Raises:
        UserError: there is none of this address, or nothing installed writes to it.
        RunError: it refuses, is silent, or the credentials have expired; says which.
    """
    try:
        Target(url).check()
    except StoreNotFoundError as error:
        raise UserError(f"--store {url}: {error}") from None
    except StoreError as error:
        raise RunError(f"{error}; nothing was begun") from None


def finished_in(url: str, fingerprint: str) -> str | None:
    """Return the identifier of a run with this fingerprint that a bucket shows; None where it has none."""
    try:
        infos = list_runs(url)
    except StoreNotFoundError:  # nothing of this address yet
        return None
    ending = f"-{fingerprint[:8]}"
    return next((info.run for info in infos if info.problem is None and info.run.endswith(ending)), None)


@contextmanager
def sending_ahead(run: Run) -> Iterator[Callable[[], None]]:
    """Send finished files of a run into its bucket, if it has one, while the body computes.

    Yields what is to be called at the end of each stage.
    """
    if not run.bucket:
        yield lambda: None
        return
    with UploadAhead(run.staging, run.bucket, run.run_id, run.progress.say) as ahead:
        yield ahead.stage_ended
    if ahead.files:
        run.progress.say(f"  {ahead.files} files ({ahead.bytes / 1e6:.1f} MB) were sent to {run.bucket} meanwhile")


def send(run: Run, folder: Path) -> None:
    """Send what a run's bucket lacks of it, compare all that has arrived, and let it be seen; nothing without bucket.

    Raises:
        RunError: the bucket refuses or is silent; says what to do.
    """
    if not run.bucket:
        return
    try:
        with ProgressLine(f"  {run.bucket}") as bar:
            sent = upload_run(folder, Target(run.bucket, fresh=True), replace=True, progress=bar)
        write_run_list(run.bucket)
    except (StoreError, OSError) as error:
        raise RunError(
            f"{error}; nothing computed is lost, the run is whole in {folder}: the same command, without --force and "
            "--from, sends the rest"
        ) from None
    run.progress.say(
        f"  {run.bucket}: {sent.files} files sent, {sent.kept} were there already, all arrived whole; "
        f"the run lies in {folder}, too"
    )
