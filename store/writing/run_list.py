"""The lists with which a store is read through a server: of the files of each run, and of the runs."""

from __future__ import annotations

from pathlib import Path

from store.files import atomic
from store.files.file_list import FILES, describe, read_all, to_parquet
from store.files.target import Target
from store.reading.listing import RUNS, list_runs, to_json


def write_file_list(run: Path) -> bool:
    """Write files.parquet of a local run where it lacks one that is true; return whether it was written.

    Raises:
        BrokenRunError: a file of the run is not one inside the run.
    """
    listed = to_parquet(row for path, data in read_all(run) for row in describe(path, data))
    place = run / FILES
    if place.is_file() and place.read_bytes() == listed:
        return False
    atomic.write_bytes(place, listed)
    return True


def write_run_list(store: str) -> int:
    """Write runs.json of a store, local or in a bucket, from the manifests of its runs; return how many it names."""
    infos = [info for info in list_runs(store, by_manifests=True) if info.problem is None]
    if "://" in store:
        Target(store).write(RUNS, to_json(infos))
    else:
        atomic.write_bytes(Path(store) / RUNS, to_json(infos))
    return len(infos)


def keep_run_list(store: str | Path, added: str | None = None) -> None:
    """Write runs.json of a local store anew where it has one, since a run was added or deleted."""
    if not (Path(store) / RUNS).is_file():
        return
    if added is not None:
        write_file_list(Path(store) / added)
    write_run_list(str(store))
