"""The settings of a server for others, `python -m dashboard serve`; none where Streamlit runs the local way."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dashboard.serving.roles import GROUP, Roles
from store.small_groups import FEWEST

SESSION_HOURS = 30 * 24.0  # as long as Streamlit's own cookie


@dataclass(frozen=True)
class Hosting:
    """How a server for others was started.

    Attributes:
        store: a path or URL.
        base: what stands before every address of the server: "" or "/heat".
        public: what readers see who are not signed in, or are and hold no role: "group" or "none".
        roles: who holds which role.
        state: the SQLite file of logins and links; None for the default place.
        session_hours: how long a login lasts.
        fewest: subjects of a group that readers are shown who may not see single persons, FEWEST or more.
        frames: the sites that may show the dashboard in a frame of theirs, as in "https://huggingface.co"; none.
    """

    store: str
    base: str = ""
    public: str = GROUP
    roles: Roles = field(default_factory=Roles)
    state: Path | None = None
    session_hours: float = SESSION_HOURS
    frames: tuple[str, ...] = ()
    fewest: int = FEWEST


_current: list[Hosting] = []


def start(hosting: Hosting | None) -> None:
    """Remember how this process serves others; None for the local way."""
    _current[:] = [] if hosting is None else [hosting]


def current() -> Hosting | None:
    """Return how this process serves others; None for the local way."""
    return _current[0] if _current else None
