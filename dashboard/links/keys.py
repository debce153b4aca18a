"""The key that signs links: the same for every process of a server, in a file beside its state."""

from __future__ import annotations

import functools
from pathlib import Path

from dashboard.serving import secret_files, state

KEY_FILE = "links.key"


def signing_key() -> bytes:
    """Return the key of links, made at its first use; without it no link that was made before opens."""
    return _kept(state.place().parent / KEY_FILE)


@functools.lru_cache(4)
def _kept(place: Path) -> bytes:
    return secret_files.kept(place)
