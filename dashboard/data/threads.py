"""How many threads NumPy's linear algebra takes: one for what pages ask, all for what is large."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

BLAS = "blas"


def use_one() -> None:
    """Let products of matrices take one thread from now on.

    Those of pages are of some 100 rows: threads that wait for each other and for a core that the browser or another
    reader has make them slower. Libraries that are loaded later are not bound by this.
    """
    threadpool_limits(1, user_api=BLAS)


@contextmanager
def all_used() -> Iterator[None]:
    """Let products of matrices inside take every core."""
    with threadpool_limits(os.cpu_count(), user_api=BLAS):
        yield
