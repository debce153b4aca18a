"""A session that is bound to a link: every choice stays as the link says, whatever the browser sends.

Free are only choices that change how the same values look. Widgets show the one option that there is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import streamlit as st

_NOTHING = object()
_BOUND = "_bound"  # in the session: key -> texts of the link
# Last words of keys that change how the same values look.
FREE = frozenset({"plane", "x", "y", "z", "from", "opacity", "colours", "smooth", "side", "how"})
# Whose and which results: where the link names one that is not there, nothing is shown in its place.
EXACT = frozenset({
    "run", "set", "method", "target", "dx", "scr", "cl", "ok", "sex", "age", "ses", "site", "sub", "p_subject",
    "p_scan", "p_model",
})  # fmt: skip


class BoundLinkError(Exception):
    """The error of a link that a session is bound to and that asks for what is not there."""


def bind(query: str | None) -> dict[str, list[str]] | None:
    """Bind the session to the query of a link, or to none; return what the link says."""
    found = None if query is None else parse_qs(query, keep_blank_values=True)
    st.session_state[_BOUND] = found
    return None if found is None else dict(found)


def is_bound(key: str = "") -> bool:
    """Return whether this session is bound to a link, and a choice of that name with it."""
    return st.session_state.get(_BOUND) is not None and key.rpartition("_")[2] not in FREE


def is_exact(key: str) -> bool:
    """Return whether a choice must be as the link of a bound session says, or nothing is shown."""
    return is_bound(key) and key in EXACT


def value_of(key: str, default: Any, parse: Callable[[list[str]], Any], valid: Callable[[Any], bool]) -> Any:
    """Return what the link says of a choice; the default where it says nothing, or how to draw what cannot be drawn so.

    Raises:
        BoundLinkError: it says whose or which results, and they are not there.
    """
    texts = st.session_state[_BOUND].get(key)
    if texts is None:
        return default
    try:
        value = parse(texts)
    except ValueError:
        value = _NOTHING
    if value is not _NOTHING and valid(value):
        return value
    if is_exact(key):
        raise BoundLinkError(key)
    return default


def answer(key: str, widget: Callable[..., Any], *arguments: Any, **look: Any) -> Any:
    """Show a widget and return its value; in a bound session it cannot be used, and its answer counts for nothing."""
    if not is_bound(key):
        return widget(*arguments, key=key, **look)
    bound = st.session_state[key]
    widget(*arguments, key=key, **look, disabled=True)
    return bound
