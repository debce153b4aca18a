"""Errors that end a run: the user's mistakes and the machine's failures."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend: one line that names the file, row or option and the mend. Exit code 2."""

    exit_code = 2


class RunError(Exception):
    """Something that went wrong while running (full disk, out of memory). Exit code 1; nothing computed is lost."""

    exit_code = 1


class LeakError(RunError):
    """A subject is on both sides of a split."""
