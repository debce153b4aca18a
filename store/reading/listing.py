"""Which runs a store has: by its folders, by the list of runs that lies in it, or by both.

A store behind a server may hold runs.json, the list of its runs, which spares asking for every manifest, and with which
a web server that shows no folders can be read. Where folders can be listed, they say what is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store.errors import (
    BrokenRunError,
    NewerSpecError,
    RefusedError,
    StoreError,
    StoreNotFoundError,
    UnreachableError,
)
from store.files.bounds import LARGEST_JSON, parsed_json
from store.files.folders import MEND, Folder
from store.files.manifest import is_inside
from store.files.manifest import problems as manifest_problems
from store.reading.descriptions import readable
from store.spec import MANIFEST, SPEC_VERSION

RUNS = "runs.json"
LISTED_AT_ONCE, LISTING_S = 8, 20  # manifests that are read at once from a server, and for how long in all
READS = f"{SPEC_VERSION.split('.')[0]}.x"
_TEXTS = ("run", "name", "created", "cohort", "spec_version")


@dataclass(frozen=True)
class RunInfo:
    """One line about a run. `problem` says why it cannot be opened; `unreachable`: by the fault of a server."""

    run: str
    name: str
    created: str
    simulated: bool
    cohort: str
    spec_version: str
    bytes: int
    problem: str | None = None
    unreachable: bool = False


def list_runs(store: str | Path, *, by_manifests: bool = False) -> list[RunInfo]:
    """List every run of a store, newest first. Folders without a manifest are not runs.

    Args:
        by_manifests: read the manifest of every run, also where the store holds a list of its runs.
    Raises:
        StoreNotFoundError: there is no such folder.
        UnreachableError: its server refuses, is silent or does not list folders; says which.
    """
    folder = Folder(store)
    try:
        infos = (
            list(map(_info, map(folder.child, folder.folders())))
            if folder.is_local
            else _remote_infos(folder, by_manifests)
        )
    except UnreachableError as error:
        raise UnreachableError(f"store {store}: {error}") from error
    except OSError as error:
        raise StoreNotFoundError(f"there is no store at {store}: give the folder that holds the runs") from error
    return newest_first(info for info in infos if info is not None)


def newest_first(infos: Iterable[RunInfo]) -> list[RunInfo]:
    """Sort runs as they are listed."""
    return sorted(infos, key=lambda info: (info.created, info.run), reverse=True)


def _remote_infos(folder: Folder, by_manifests: bool) -> list[RunInfo | None]:
    """Describe the runs of a store behind a server.

    Raises:
        UnreachableError: it lists no folders, and holds no list of runs.
    """
    if by_manifests:
        return _infos(folder, folder.folders())
    with ThreadPoolExecutor(1, thread_name_prefix="list-of-runs") as pool:
        answer = pool.submit(_listed, folder)
        try:
            names = folder.folders()
        except (UnreachableError, FileNotFoundError):
            listed = answer.result()
            if isinstance(listed, UnreachableError) and not isinstance(listed, RefusedError):
                # It says more than that a folder is not shown.
                raise UnreachableError(folder.reason(listed)) from None
            if not isinstance(listed, dict):
                raise
            return list(listed.values())
        listed = answer.result()
    if not isinstance(listed, dict):
        listed = {}
    unknown = [name for name in names if name not in listed]
    return [listed[name] for name in names if name in listed] + _infos(folder, unknown)


def _listed(folder: Folder) -> dict[str, RunInfo] | UnreachableError | None:
    """Read the list of runs that lies in a store -> run: what it says.

    None where there is none that can be used, an error where the server does not say.
    """
    try:
        rows = parsed_json(folder.read(RUNS, LARGEST_JSON))["runs"]
        infos = [_of_row(row) for row in rows]
    except UnreachableError as error:
        return error
    except (StoreError, ValueError, TypeError, KeyError):
        return None
    return {info.run: info for info in infos}


def _of_row(row: dict[str, Any]) -> RunInfo:
    """Make a run's line from a row of the list; ValueError where it cannot be one."""
    if not is_inside(row["run"]) or "/" in row["run"] or row["run"].startswith("."):
        raise ValueError("no name of a run")
    texts: dict[str, Any] = {key: _shown(row.get(key)) for key in _TEXTS}
    size, problem = row.get("bytes"), None
    if not readable(texts["spec_version"]):
        problem = str(NewerSpecError.of(row["run"], texts["spec_version"], READS))
    simulated = row.get("simulated") is True
    return RunInfo(**texts, simulated=simulated, bytes=size if isinstance(size, int) else 0, problem=problem)


def to_json(infos: Iterable[RunInfo]) -> bytes:
    """Write the list of runs as the bytes of runs.json; runs that cannot be opened are left out."""
    rows = [
        {key: getattr(info, key) for key in (*_TEXTS, "simulated", "bytes")}
        for info in newest_first(infos)
        if info.problem is None
    ]
    return json.dumps({"runs": rows}, indent=1, ensure_ascii=False).encode()


def _infos(folder: Folder, names: Sequence[str]) -> list[RunInfo | None]:
    """Do as `_info` for each, several at once; those that have not answered in time are listed as unreachable."""
    pool = ThreadPoolExecutor(LISTED_AT_ONCE, thread_name_prefix="list-runs")
    answers = [pool.submit(_info, folder.child(name)) for name in names]
    wait(answers, LISTING_S)
    pool.shutdown(wait=False, cancel_futures=True)
    late = f"the server did not answer within {LISTING_S} s: nothing is damaged, try again in a moment"
    return [
        answer.result() if answer.done() and not answer.cancelled()
        else RunInfo(name, "", "", False, "", "", 0, f"run {name}: {late}", unreachable=True)
        for name, answer in zip(names, answers, strict=True)
    ]  # fmt: skip


def check_manifest(folder: Folder, manifest: dict[str, Any]) -> None:
    """See that a reader can rely on a manifest.

    Raises:
        NewerSpecError, BrokenRunError: it cannot; says why.
    """
    version = manifest.get("spec_version", "")
    if not readable(version):
        raise NewerSpecError.of(folder.name, str(version), READS)
    if problems := manifest_problems(manifest):
        raise BrokenRunError(f"run {folder.name}: {problems[0]}: {MEND}")


def _info(folder: Folder) -> RunInfo | None:
    """Describe a run for a list; whatever is wrong with it is its `problem`, so that it hides no other run.

    None where the folder is no run.
    """
    manifest, problem, unreachable = {}, None, False
    try:
        if folder.is_local and not folder.exists(MANIFEST):
            return None
        manifest = folder.manifest()
        check_manifest(folder, manifest)
    except FileNotFoundError:
        return None
    except UnreachableError as error:
        problem, unreachable = str(error), True
    except StoreError as error:
        problem = " ".join(str(error).split())
    except Exception as error:
        problem = f"run {folder.name}: cannot be read ({type(error).__name__}): {MEND}"
    contents = manifest.get("contents")
    size = contents.get("bytes", 0) if isinstance(contents, dict) else 0
    texts = {key: _shown(manifest.get(key)) for key in ("name", "created", "cohort", "spec_version")}
    return RunInfo(
        run=folder.name, simulated=manifest.get("simulated") is True, bytes=size if isinstance(size, int) else 0,
        problem=problem, unreachable=unreachable, **texts,
    )  # fmt: skip


def _shown(value: Any) -> str:
    """Shorten a value of a manifest that may be anything to one line."""
    return " ".join(value.split())[:200] if isinstance(value, str) else ""
