"""python -m store publish and index: a store for others to read through a server."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from store.errors import BrokenRunError, StoreNotFoundError
from store.files.folders import Folder
from store.files.target import Target
from store.progress_line import ProgressLine
from store.reading.listing import RUNS, list_runs
from store.reading.reader import RunReader, open_run
from store.spec import MANIFEST
from store.writing.run_list import write_file_list, write_run_list
from store.writing.upload import Sent, bytes_of, upload_run
from store.writing.validate import validate

Add = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]


def add_commands(add: Add) -> None:
    """Add the two commands to those of `python -m store`."""
    publish = add("publish", _publish, "send runs into a bucket or a web server's folder, the manifest last")
    publish.add_argument("target", metavar="TO", help="s3://bucket/prefix, gs://..., az://..., or a folder")
    publish.add_argument("run", metavar="RUN", nargs="*", help="identifiers or names; all runs if left out")
    publish.add_argument(
        "--replace", action="store_true", help="put a run in the place of another one of the same name"
    )
    add("index", _index, "write the lists from which a store is read where its server shows no folders")


def _publish(options: argparse.Namespace) -> int:
    store, runs = _chosen(options.store, options.run)
    target = Target(options.target)
    for name in runs:
        run = store / name
        if problems := validate(run, deep=False):
            raise BrokenRunError(f"run {name} is not published: {problems[0]}: python -m store verify {store} {name}")
        reader = open_run(store, name)
        print(f"{name}: {_megabytes(bytes_of(run))} to {target.url}")
        if warning := _who_sees(reader):
            print(f"! {warning}")
        with ProgressLine() as bar:
            sent = upload_run(run, target, replace=options.replace, progress=bar)
        print(f"{name}: {_words(sent)}")
    count = write_run_list(options.target)
    print(f"{target.url}/{RUNS} lists {count} run{'' if count == 1 else 's'}")
    print(f"open it: streamlit run dashboard/app.py -- --store {target.url}")
    return 0


def _chosen(place: str, wanted: list[str]) -> tuple[Path, list[str]]:
    """Return the store's folder and the runs to publish; a run's own folder stands for that run."""
    if "://" in place:
        raise StoreNotFoundError(f"{place} is an address: publish a store that lies in a folder on this computer")
    folder = Path(place)
    if (folder / MANIFEST).is_file():
        folder, wanted = folder.resolve().parent, [folder.resolve().name, *wanted]
    infos = list_runs(folder)
    if not wanted:
        for info in infos:
            if info.problem:
                print(f"! left out: {info.problem}")
        wanted = [info.run for info in infos if info.problem is None]
    if not wanted:
        raise StoreNotFoundError(f"there is no run in {folder} that could be published")
    return folder, list(dict.fromkeys(open_run(folder, run).run_id for run in wanted))


def _who_sees(run: RunReader) -> str:
    """Say who will see single scans; nothing for a run that holds none."""
    if not run.manifest["contents"]["heatmaps"] and not run.has_array("scans"):
        return ""
    whose = "simulated persons" if run.simulated else "single persons"
    return f"it holds volumes and rows of {whose}: whoever may read the bucket sees them"


def _words(sent: Sent) -> str:
    words = f"{sent.files} files sent ({_megabytes(sent.bytes)}), {sent.kept} were there already; all arrived whole"
    if sent.deleted:
        words += f"; {sent.deleted} of the replaced run deleted"
    return "was published before, nothing to send" if sent.was_there and not sent.files else words


def _index(options: argparse.Namespace) -> int:
    if Folder(options.store).is_local:
        infos = [info for info in list_runs(options.store) if info.problem is None]
        for info in infos:
            written = write_file_list(Path(options.store) / info.run)
            print(f"{info.run}: {'list of files written' if written else 'its list of files is true'}")
    count = write_run_list(options.store)
    print(f"{options.store.rstrip('/')}/{RUNS} lists {count} run{'' if count == 1 else 's'}")
    return 0


def _megabytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
