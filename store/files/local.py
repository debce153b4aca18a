"""Files of a store on this computer: regular ones inside the store only, of bounded size."""

from __future__ import annotations

import io
import os
import stat

from store.errors import BrokenRunError


class LocalFiles:
    """The files below a folder, none of which may lead out of `top`.

    Attributes:
        root: the folder.
        top: links must stay within it: the store, or the folder itself where it was opened alone.
    """

    def __init__(self, root: str, top: str | None = None) -> None:
        self.root, self.top = root, top or root
        self._real_top = os.path.realpath(self.top)

    def exists(self, path: str) -> bool:
        """Return whether something is there, of whatever kind."""
        return os.path.exists(os.path.join(self.root, path))

    def folders(self) -> list[str]:
        """List the names of the folders in this one, without hidden ones; OSError where it is no folder."""
        with os.scandir(self.root) as entries:
            return [entry.name for entry in entries if entry.is_dir()]

    def read(self, path: str, largest: int) -> bytes:
        """Read the bytes of a file; errors as for `open`."""
        with self.open(path, largest) as file:
            return file.read(largest + 1)

    def open(self, path: str, largest: int) -> io.BufferedReader:
        """Open a file for reading.

        Raises:
            OSError: it is missing or may not be read.
            BrokenRunError: it is no regular file, lies outside the store, or is larger than `largest`; without the run.
        """
        place = os.path.realpath(os.path.join(self.root, path))
        if place != self._real_top and not place.startswith(self._real_top.rstrip(os.sep) + os.sep):
            raise BrokenRunError(f"{path} is a link out of the store, which is not followed")
        # Without O_NONBLOCK, opening a named pipe would wait for somebody to write into it.
        file = os.fdopen(os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        try:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BrokenRunError(f"{path} is not a regular file")
            if found.st_size > largest:
                raise BrokenRunError(f"{path} has {found.st_size} bytes, more than the {largest} that it can need")
        except BaseException:
            file.close()
            raise
        return file
