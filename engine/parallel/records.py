"""The private folder of a run's cluster: what was handed out, for a driver that is started again.

Submitit and Dask pickle functions and arguments. What they write lies here and nowhere else, in a folder that only its
owner may enter, and is never read from a result store or a checkpoint.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from engine.errors import UserError
from store.files.atomic import flush

Record = tuple[str, str, Sequence[str]]  # uid of a task, the cluster's name of it, names of its units
PRIVATE = 0o700


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner may enter, and return it.

    Raises:
        UserError: it is there already and another's, a link, or open to others.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.mkdir(mode=PRIVATE)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise UserError(
            f"{path}: what the cluster unpickles lies here, so it must be a folder of yours that nobody else may "
            "enter; remove it and start again"
        )
    return path


class Records:
    """Tasks that were handed out, by label, each on one line of a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, label: str, records: Sequence[Record]) -> None:
        """Remember tasks."""
        file = self._file(label)
        with file.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps([uid, handle, list(names)]) + "\n" for uid, handle, names in records)
        flush(file)

    def of(self, label: str) -> list[Record]:
        """Return the tasks of a label, the latest first."""
        return list(_read(self._file(label)))[::-1]

    def all(self) -> list[Record]:
        """Return all tasks."""
        return [record for file in sorted(self.folder.glob("*.tasks")) for record in _read(file)]

    def clear(self, label: str | None = None) -> None:
        """Forget the tasks of a label, or of all."""
        for file in [self._file(label)] if label else list(self.folder.glob("*.tasks")):
            file.unlink(missing_ok=True)

    def _file(self, label: str) -> Path:
        return self.folder / f"{re.sub(r'[^A-Za-z0-9-]+', '-', label)}.tasks"


def _read(file: Path) -> Iterator[Record]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            uid, handle, names = json.loads(line)
        except ValueError:  # the last line of a driver that was killed
            continue
        yield str(uid), str(handle), [str(name) for name in names]


def remove_private(path: Path) -> None:
    """Remove a private folder with all that it holds."""
    shutil.rmtree(path, ignore_errors=True)
