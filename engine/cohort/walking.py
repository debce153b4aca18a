"""The files below a folder, as a person sees them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def is_hidden(name: str) -> bool:
    """Return whether a name begins with a dot, as macOS's ._NAME beside each file, .git and .Trash do."""
    return name.startswith(".")


def names_in(folder: Path) -> list[str]:
    """Return the sorted names of what lies in a folder and is not hidden; none if it cannot be read."""
    try:
        return sorted(name for name in os.listdir(folder) if not is_hidden(name))
    except OSError:
        return []


def visible_files(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder below one, that one first, with the sorted names of its files; links are followed once.

    Hidden files and folders are left out.
    """
    seen: set[tuple[int, int]] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        stat = os.stat(parent)
        if (stat.st_dev, stat.st_ino) in seen:  # a link to where we have been, perhaps to a folder above it
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        yield Path(parent), sorted(name for name in files if not is_hidden(name))
