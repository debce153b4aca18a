"""Files of a run that go into a bucket while it is still computed; upload.py sends the rest, compares, and ends it.

What is sent here is a saving of time and no promise: upload.py compares every file once more, and the manifest, without
which nobody sees the run, is its alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from store.errors import StoreError
from store.files.file_list import paths_of, read_one
from store.files.target import Target
from store.spec import ARRAYS_FOLDER, MANIFEST, TABLES_FOLDER

LOOK_S = 10.0  # between two looks at the folder
LOOKING_SHARE = 0.05  # of the time, at most, goes into looking
AGAIN_S = (60.0, 600.0)  # after trouble, and the most after more of it
STOP_S = 3.0  # that an interrupted run waits for the file that is on its way
_PARTS = f"{TABLES_FOLDER}/parts/"  # which the writer gathers in a table

Stamp = tuple[int, int]


class UploadAhead:
    """Sends what is finished of a staging folder: volumes as they come, all else when a stage has ended.

    Attributes:
        files, bytes: that were sent.
    """

    def __init__(self, staging: Path, url: str, run_id: str, say: Callable[[str], None]) -> None:
        """Prepare to send a staging folder to <url>/<run_id>; trouble is told by `say`, once, and tried again later."""
        self.files, self.bytes = 0, 0
        self._staging, self._url, self._run_id, self._say = staging, url, run_id, say
        self._seen: dict[str, Stamp] = {}  # at the last look
        self._sent: dict[str, Stamp] = {}
        self._ended: dict[str, Stamp] = {}  # tables, networks and pictures of stages that have ended
        self._target: Target | None = None
        self._there: dict[str, dict[str, Any]] = {}
        self._said = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="upload-ahead", daemon=True)

    def __enter__(self) -> UploadAhead:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S if kind else None)

    def stop(self) -> None:
        """End the sending; the file that is on its way arrives first."""
        self._over.set()
        self._thread.join()

    def stage_ended(self) -> None:
        """Take note that the tables, networks and pictures that lie there now can be sent."""
        self._ended = {path: stamp for path, stamp in self._stamps() if not path.startswith(f"{ARRAYS_FOLDER}/")}

    def _work(self) -> None:
        wait, trouble = LOOK_S, 0
        while not self._over.wait(wait):
            begun = time.monotonic()
            try:
                finished = self._finished()
                wait = max(LOOK_S, (time.monotonic() - begun) / LOOKING_SHARE)
                self._send(finished)
                self._said, trouble = "", 0
            except (StoreError, OSError) as error:
                self._target, trouble = None, trouble + 1
                wait = min(AGAIN_S[0] * 2 ** (trouble - 1), AGAIN_S[1])
                if str(error) != self._said:
                    self._said = str(error)
                    self._say(f"  WARNING: {error}; the run goes on, and what it could not send is sent later")

    def _stamps(self) -> Iterator[tuple[str, Stamp]]:
        for path in paths_of(self._staging):
            if not path.startswith(_PARTS):
                try:
                    found = (self._staging / path).stat()
                except FileNotFoundError:  # written anew, or published in the meantime
                    continue
                yield path, (found.st_size, found.st_mtime_ns)

    def _finished(self) -> dict[str, Stamp]:
        """Return the files that are not sent as they are now, and have not changed since the last look."""
        before, self._seen = self._seen, dict(self._stamps())
        return {
            path: stamp
            for path, stamp in self._seen.items()
            if self._sent.get(path) != stamp
            and stamp == (before if path.startswith(f"{ARRAYS_FOLDER}/") else self._ended).get(path)
        }

    def _send(self, finished: dict[str, Stamp]) -> None:
        if not finished:
            return
        if self._target is None:
            self._target = Target(self._url, fresh=True)
            self._there = self._target.found(self._run_id)
        if f"{self._run_id}/{MANIFEST}" in self._there:  # a run that others are reading is replaced at the end only
            return
        for path, stamp in finished.items():
            if self._over.is_set():
                return
            try:
                data = read_one(self._staging, path)
            except FileNotFoundError:
                continue
            full = f"{self._run_id}/{path}"
            if not self._target.holds(full, self._there.get(full), data):
                self._target.write(full, data)
                self.files, self.bytes = self.files + 1, self.bytes + len(data)
            self._sent[path] = stamp
