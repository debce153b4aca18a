"""What a server must not forget: logins and links, in one SQLite file that several server processes share.

The file is on a disk of this machine (write-ahead logging does not work over a network), readable by its owner only.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

from dashboard.serving import hosting, secret_files
from dashboard.serving.secret_files import SecretFileError

FILE = "state.sqlite"
WAIT_S = 10.0  # for another process that writes
# Each script takes the file from the version that is its place here to the next one; never change one, add one.
MIGRATIONS = (
    """
    CREATE TABLE session (
        id TEXT PRIMARY KEY,         -- a hash of the cookie
        person TEXT NOT NULL,        -- a keyed hash of who signed in
        role TEXT NOT NULL,          -- the highest at login
        started REAL NOT NULL,       -- seconds since 1970, as all times here
        ends REAL NOT NULL,
        ended REAL                   -- when it was ended before its time
    ) STRICT;
    CREATE INDEX session_person ON session (person);
    """,
    """
    CREATE TABLE short_link (
        token TEXT PRIMARY KEY, page TEXT NOT NULL, query TEXT NOT NULL, made_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE signed_link (       -- what its signature vouches for, and what became of it
        id TEXT PRIMARY KEY, page TEXT NOT NULL, query TEXT NOT NULL, run TEXT NOT NULL, role TEXT NOT NULL,
        ends_at INTEGER NOT NULL, password TEXT NOT NULL, note TEXT NOT NULL, made_at INTEGER NOT NULL,
        made_by TEXT NOT NULL, revoked_at INTEGER, revoked_by TEXT, opened INTEGER NOT NULL,
        opened_first INTEGER, opened_last INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE link_try (link TEXT NOT NULL, at REAL NOT NULL) STRICT;     -- passwords that were tried
    CREATE INDEX link_try_of ON link_try (link, at);
    CREATE TABLE link_audit (        -- names no subject and no token
        number INTEGER PRIMARY KEY, at INTEGER NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, link TEXT NOT NULL,
        page TEXT NOT NULL, run TEXT NOT NULL
    ) STRICT;
    CREATE TABLE agreement (         -- the data use agreement of a cohort, confirmed by a member
        person TEXT NOT NULL, cohort TEXT NOT NULL, wording TEXT NOT NULL, confirmed_at INTEGER NOT NULL,
        PRIMARY KEY (person, cohort, wording)
    ) STRICT, WITHOUT ROWID;
    """,
    # Keyed hashes of what the provider calls the person, one a line, so that a login can be found by a name.
    "ALTER TABLE session ADD COLUMN names TEXT NOT NULL DEFAULT ''",
)


class State:
    """The open file. Its methods may be called from any thread."""

    def __init__(self, place: Path) -> None:
        """Open the file, make it where there is none, and bring it to the present version.

        Raises:
            SecretFileError: it cannot be used; says why and what to do.
        """
        self.place = place
        self._lock = threading.Lock()
        _make(place)
        try:
            self._database = sqlite3.connect(place, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
            self._database.row_factory = sqlite3.Row
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA foreign_keys = ON")
            self._migrate()
        except sqlite3.Error as error:
            raise SecretFileError(
                f"the state file {place} cannot be used ({error}): name another one with --state, or move it away"
            ) from None

    def _migrate(self) -> None:
        with self.transaction():
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                raise SecretFileError(
                    f"a newer version of this software made the state file {self.place}: update, or name another file "
                    "with --state"
                )
            for number, script in enumerate(MIGRATIONS[version:], version + 1):
                for statement in _statements(script):
                    self._database.execute(statement)
                self._database.execute(f"PRAGMA user_version = {number}")

    @contextlib.contextmanager
    def transaction(self) -> Any:
        """Keep others from writing during a block, and undo what it wrote where it fails."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """Return what a question finds; the values take the places of its question marks."""
        with self._lock:
            return self._database.execute(query, values).fetchall()

    def write(self, statement: str, *values: Any) -> int:
        """Write by one statement; return how many rows it changed."""
        with self.transaction() as database:
            return database.execute(statement, values).rowcount

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            self._database.close()


def _statements(script: str) -> list[str]:
    """Split a script at its semicolons; sqlite3.executescript would end the transaction."""
    lines = [line.split("--")[0] for line in script.splitlines()]
    return [part for part in "\n".join(lines).split(";") if part.strip()]


def _make(place: Path) -> None:
    """Make an empty file that its owner alone can read; refuse one that others can read."""
    try:
        if place.parent == secret_files.folder():
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(place, os.O_RDWR | os.O_CREAT, 0o600))
        mode = place.stat().st_mode
    except OSError as error:
        raise SecretFileError(
            f"the state file {place} cannot be written ({error.strerror}): name another one with --state"
        ) from None
    if os.name == "posix" and mode & 0o077:
        raise SecretFileError(f"others can read the state file {place}: chmod 600 {place}")


def place() -> Path:
    """Return where the file of this server lies: `--state`, else beside the secrets of its owner."""
    settings = hosting.current()
    return (settings.state if settings else None) or secret_files.folder() / FILE


@functools.lru_cache(4)
def _opened(place: Path) -> State:
    return State(place)


def of_server() -> State:
    """Return the state of this server, opened at the first call."""
    return _opened(place())
