"""The values of a page that have no widget, kept as texts: from the link, from before, or as they are by default.

And the names under which a session keeps what its link says and what is written into it: see `url_state`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from dashboard.shell import bound_link
from dashboard.text.formatting import code, plain

LINK, KEPT, WRITTEN, IGNORED = "_link", "_kept", "_written", "_ignored"
Check = Callable[[str], Any]  # what a text means, or a ValueError


def ignore(key: str, text: str, why: str) -> None:
    """Remember that a part of the link was not used."""
    st.session_state[IGNORED].append(f"{code(f'{key}={text[:60]}')}: {plain(why)}")


def value(key: str, default: str, check: Check) -> Any:
    """Return a value without a widget, kept as text; `check` turns it into what it means or raises ValueError.

    The page sets it with `put`.
    """
    return values({key: (default, check)})[key]


def values(asked: Mapping[str, tuple[str, Check]]) -> dict[str, Any]:
    """Return many values as `value` does each, key -> (default, check): every look into the session takes its time."""
    session, found = st.session_state, {}
    link, kept, written = session[LINK], session[KEPT], session[WRITTEN]
    anything_is_bound = bound_link.is_bound()
    for key, (default, check) in asked.items():
        linked, before = link.pop(key, None), session.get(key)
        if anything_is_bound and bound_link.is_bound(key):
            text, found[key] = _bound(key, default, check)
        else:
            earlier = kept.get(key) if before is None else before
            text, found[key] = _first_valid(key, check, linked, (earlier, default))
        if text is not before:
            session[key] = text
        written[key] = kept[key] = text
    return found


def _bound(key: str, default: str, check: Check) -> tuple[str, Any]:
    """Return the text that the link of a bound session gives for a key, and what it means."""

    def parse(texts: list[str]) -> str:
        check(texts[-1])
        return texts[-1]

    text = bound_link.value_of(key, default, parse, lambda _: True)
    return text, check(text)


def _first_valid(key: str, check: Check, linked: list[str] | None, others: tuple[str | None, str]) -> tuple[str, Any]:
    """Return the first valid text, that of the link before the others, and what it means."""
    if linked is not None:
        try:
            return linked[-1], check(linked[-1])
        except ValueError as error:
            ignore(key, ", ".join(linked), str(error))
    earlier, default = others
    if earlier is not None:
        try:
            return earlier, check(earlier)
        except ValueError:
            pass  # it was of another page, or of other options
    return default, check(default)


def put(key: str, text: str) -> None:
    """Set a value without a widget; the URL follows at the end of this pass."""
    put_many({key: text})


def put_many(texts: Mapping[str, str]) -> None:
    """Set many values without a widget, as `put` does each."""
    session = st.session_state
    kept, written = session[KEPT], session[WRITTEN]
    for key, text in texts.items():
        if session.get(key) != text:
            session[key] = text
        if key in written:
            written[key] = kept[key] = text
