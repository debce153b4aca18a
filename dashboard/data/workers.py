"""Threads that read runs. A run behind a server has its own, so that its silence holds up no other run."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

WORKERS = 2  # read at once: a 1 mm volume takes some 100 MB while it is worked on
REMOTE_RUNS = 8  # that have threads of their own

_pools: OrderedDict[str, ThreadPoolExecutor] = OrderedDict()
_lock = threading.Lock()


def readers(store: str, run: str) -> ThreadPoolExecutor:
    """Return the threads for a run: those of all local ones, for the memory that a thread has used stays with it."""
    key = f"{store}/{run}" if "://" in store and not store.startswith("file://") else ""
    with _lock:
        if key not in _pools:
            _pools[key] = ThreadPoolExecutor(WORKERS, thread_name_prefix="readers")
        _pools.move_to_end(key)
        while len(_pools) > REMOTE_RUNS + 1:
            oldest = next(name for name in _pools if name)
            _pools.pop(oldest).shutdown(wait=False)
        return _pools[key]
