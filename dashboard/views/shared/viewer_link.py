"""The options of a linked viewer in the link of its page."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard import viewer
from dashboard.shell import url_state

# In a link: the crosshair is at the strongest voxel, a zoomed picture has its middle at it, no map is outlined.
UNSET = {"mm": "strongest", "centre": "crosshair", "second": "none"}


def options(
    prefix: str, maps: Sequence[str], wanted: str, first: Mapping[str, Any] | None = None
) -> dict[str, Any]:  # fmt: skip
    """Return the options of a viewer, from the link or from before, and the revision that they are of.

    Args:
        prefix: of the names of its options in the link.
        maps: what the viewer can show large.
        wanted: which of them the page wants; it comes first whenever this changes.
        first: how other options are until the reader chooses; default as in viewer.DEFAULTS.
    """
    session, said, revision = st.session_state, f"_{prefix}wanted", f"_{prefix}revision"
    default = wanted if wanted in maps else maps[0]
    kind = url_state.value(
        f"{prefix}threshold_kind", "percentile", lambda text: _parsed("threshold_kind", text, text)
    )  # fmt: skip
    start = viewer.DEFAULTS | {"method": default} | dict(first or {})
    rest = [name for name in start if name != "threshold_kind"]
    checked = url_state.values({
        f"{prefix}{name}": (_text(name, start[name]), functools.partial(_parsed, name, kind=kind)) for name in rest
    })  # fmt: skip
    found = {"threshold_kind": kind} | {name: checked[f"{prefix}{name}"] for name in rest}
    if session.get(said, wanted) != wanted:
        session[revision] = session.get(revision, 0) + 1
        found["method"] = default
        url_state.put(f"{prefix}method", default)
    session[said] = wanted
    return found | {"revision": session.get(revision, 0)}


def remember(prefix: str, view: dict[str, Any]) -> None:
    """Put what a viewer says into the link."""
    url_state.put_many({
        f"{prefix}{name}": _text(name, view[name]) for name in viewer.DEFAULTS
        if view.get(name) is not None or (name in ("centre", "second") and name in view)
    })  # fmt: skip


def led_to(prefix: str, mm: Sequence[float]) -> dict[str, str]:
    """Return what puts the crosshair of a viewer at a place in mm in the next pass, for `set_before_next_pass`."""
    st.session_state[f"_{prefix}revision"] = st.session_state.get(f"_{prefix}revision", 0) + 1
    return {f"{prefix}mm": _text("mm", tuple(float(v) for v in mm))}


def _text(name: str, value: Any) -> str:
    """Write the value of an option of the viewer as a link writes it."""
    if value is None:
        return UNSET[name]
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return ",".join(f"{v:g}" for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _parsed(name: str, text: str, kind: str) -> Any:
    """Read an option of the viewer from the text of a link.

    Raises:
        ValueError: with the allowed values.
    """
    if UNSET.get(name) == text:
        return None
    clean, ignored = viewer.clean_options({"threshold_kind": kind, name: text})
    if ignored:
        raise ValueError(ignored[0])
    return clean[name]
