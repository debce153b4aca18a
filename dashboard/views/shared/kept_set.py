"""Set A of A against B, kept in the link: the filters of the sidebar as they were when the reader kept them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

import pandas as pd
import streamlit as st

from dashboard.data.selection import ScanFilter, fill_missing
from dashboard.shell import access, url_state
from dashboard.shell.sidebar import FILTER_KEYS
from dashboard.text import formatting

KEY, NOTHING, EVERYONE = "g_a", "none", "everyone"
DECISIONS = {"correct": True, "wrong": False}


def as_text(scan_filter: ScanFilter) -> str:
    """Write a filter for the link, as dx=AD;sex=F;age=60~75, with the names of the sidebar; subjects as pseudonyms."""
    parts = []
    for name in scan_filter.active():
        value = getattr(scan_filter, name)
        if name == "age":
            said = "~".join(f"{end:g}" for end in value)
        elif name == "correct":
            said = next(words for words, one in DECISIONS.items() if one == value)
        else:
            said = ",".join(quote(access.pseudonym(v) if name == "subject" else v, safe="") for v in value)
        parts.append(f"{FILTER_KEYS[name]}={said}")
    return ";".join(parts) or EVERYONE


def from_text(text: str, rows: pd.DataFrame) -> ScanFilter | None:
    """Read a filter from the link; None for no kept set.

    Args:
        rows: the explained scans, whose values may be asked for.
    Raises:
        ValueError: what cannot be read, in words.
    """
    if text == NOTHING:
        return None
    names = {key: name for name, key in FILTER_KEYS.items()}
    found: dict[str, Any] = {}
    for part in text.split(";") if text != EVERYONE else []:
        key, _, said = part.partition("=")
        if key not in names:
            raise ValueError(f"{key[:20]} is no filter; choose among {', '.join(names)}")
        found[names[key]] = _value(names[key], said, rows)
    return ScanFilter(**found)


def _value(name: str, said: str, rows: pd.DataFrame) -> Any:
    if name == "correct":
        if said not in DECISIONS:
            raise ValueError("choose ok=correct or ok=wrong")
        return DECISIONS[said]
    if name == "age":
        try:
            low, high = (float(end) for end in said.split("~"))
        except ValueError:
            raise ValueError("write two ages, as in age=60~75") from None
        return low, high
    known = {str(value): str(value) for value in fill_missing(rows[name]).unique()}
    if name == "subject":
        known = {access.pseudonym(subject): subject for subject in known}
    wanted = [unquote(part) for part in said.split(",")]
    if missing := [part for part in wanted if part not in known]:
        raise ValueError(f"{FILTER_KEYS[name]}={missing[0][:40]} is not in this run")
    return tuple(known[part] for part in wanted)


def current(rows: pd.DataFrame) -> ScanFilter | None:
    """Return the kept set, if any; the link has it."""
    return url_state.value(KEY, NOTHING, lambda text: from_text(text, rows))


def button(scan_filter: ScanFilter, by_key: str, kept: str) -> None:
    """Offer to keep the filters at the left as set A, which then stands against the filters chosen afterwards.

    Args:
        by_key, kept: the choice of what stands side by side, and what it becomes.
    """

    def keep() -> None:
        url_state.set_before_next_pass({KEY: as_text(scan_filter), by_key: kept})

    st.button(
        "Keep as A", key="g-keep-a", on_click=keep, icon=":material/push_pin:",
        help="Keeps the filters at the left as set A. Then change them: what they leave is set B.",
    )  # fmt: skip


def headings(kept: ScanFilter, now: ScanFilter) -> tuple[str, str]:
    """Return what the kept set and the filters at the left are called, in words."""
    words = [one.in_words(str) or "all scans" for one in (kept, now)]
    return f"A: {words[0]}", f"B: {words[1]}"


def advice(kept: ScanFilter, now: ScanFilter) -> None:
    """Say what to do next, where both sets are the same."""
    if kept == now:
        words = formatting.plain(headings(kept, now)[0])
        st.caption(f"{words}, is kept. Now change the filters at the left: what they leave is B.")
