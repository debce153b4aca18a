"""What can go wrong with a store. Every message is one line that says what to do."""

from __future__ import annotations


class StoreError(Exception):
    """Base of all errors of this package."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """There is no store at this place."""


class RunNotFoundError(StoreError, KeyError):
    """The store has no such run."""

    # KeyError would show the message in quotes.
    __str__ = Exception.__str__


class NewerSpecError(StoreError, ValueError):
    """The run was written to a later major version of the specification."""

    @classmethod
    def of(cls, run: str, version: str, reads: str) -> NewerSpecError:
        """Make the error for a run with `version`, where this code reads `reads`, e.g. "1.x"."""
        return cls(
            f"run {run} has spec {version}, this code reads {reads}: update the code, or rebuild with run_pipeline.py"
        )


class BrokenRunError(StoreError, ValueError):
    """A file of a run is missing, unreadable or not what was written."""


class MissingManifestError(BrokenRunError, FileNotFoundError):
    """The folder has no manifest: it is no run, or lost it."""


class RunGoneError(StoreError):
    """The run was deleted or replaced since it was opened."""


class UnreachableError(StoreError, OSError):
    """The server of a remote store refuses, is silent or answers with something else; the run may be sound."""


class RefusedError(UnreachableError):
    """The server answers that it does not give the file; another attempt would not help."""


class NotInRunError(StoreError, LookupError):
    """The run is sound but does not hold what was asked for."""


class NoRelevanceError(NotInRunError):
    """No map of those asked for has any relevance, so there is nothing that could be divided by its sum."""


class NotWritableError(StoreError, OSError):
    """The disk is full, or the place may not be written to."""


class SpecViolationError(StoreError, ValueError):
    """What was to be written is not what store/spec.py describes."""
