"""The list of runs, which no page waits for once it is known: a server that is silent holds up nobody."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillWaiting

import store
from store import RunInfo, UnreachableError

PATIENCE_S = 2.0  # for a newer list, where one is known
STORES_KEPT = 8

_known: dict[str, list[RunInfo]] = {}
_asked: dict[str, Future] = {}
_lock = threading.Lock()  # held for looking things up, never while a store is read
_pool = ThreadPoolExecutor(STORES_KEPT, thread_name_prefix="listing")


def of(place: str) -> list[RunInfo]:
    """Return every run of a store, newest first.

    Errors are those of `store.list_runs`, of which UnreachableError only where no list is known yet.
    """
    with _lock:
        known, asked = _known.get(place), _asked.get(place)
        if asked is None:
            asked = _asked[place] = _pool.submit(_ask, place)
    try:
        return asked.result(None if known is None else PATIENCE_S)
    except (StillWaiting, UnreachableError):
        if known is None:
            raise
        return known


def _ask(place: str) -> list[RunInfo]:
    try:
        runs = store.list_runs(place)
        with _lock:
            _known.pop(place, None)
            _known[place] = runs
            while len(_known) > STORES_KEPT:
                del _known[next(iter(_known))]
        return runs
    finally:
        with _lock:
            _asked.pop(place, None)
