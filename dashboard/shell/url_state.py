"""The state of a page: every choice stands in the URL, is checked when it comes from there, and is kept between pages.

A link names every value, defaults too, so that it means the same after a default has changed. The URL is read once,
in the first pass of a session; afterwards it follows the widgets. What could not be used is said on the page. A session
can be bound to one link (`bound_link`): every choice then stays as the link says.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.shell import bound_link
from dashboard.shell.link_values import ends_of, number_of, one_of
from dashboard.shell.plain_values import IGNORED, KEPT, LINK, WRITTEN, ignore, put, put_many, value, values
from dashboard.text.formatting import plain

__all__ = ["ignore", "put", "put_many", "value", "values"]  # beside what is defined here: values without a widget

LINK_VERSION = "1"
VERSION = "v"
ALL = "all"
_LEFT = "_left"
_NOTHING = object()
_AROUND, _PENDING, _ASSIGNED, _PAGES = "_around", "_pending", "_assigned", "_pages"
_WIDGETS: dict[str, Callable[..., Any]] = {
    "select": st.selectbox,
    "segmented": st.segmented_control,
    "radio": st.radio,
    "pills": st.pills,
}
_BY_INDEX = ("select", "radio")  # widgets that start at a position among their options


def begin(bound: str | None = None) -> None:
    """Take in the URL of a new session and what `go` has left; to be called first in every pass.

    Args:
        bound: the query of the link that this session is bound to: what stands in the URL then counts for nothing.
    """
    session = st.session_state
    says = bound_link.bind(bound)
    if LINK not in session or says is not None:
        session[LINK] = {name: st.query_params.get_all(name) for name in st.query_params} if says is None else says
        session[KEPT], session[IGNORED] = {}, []
        version = session[LINK].pop(VERSION, [LINK_VERSION])[-1]
        if version != LINK_VERSION:
            ignore(VERSION, version, f"this dashboard reads links of version {LINK_VERSION}")
    _take_pending()
    session[WRITTEN] = {}
    session[_LEFT] = False
    session.pop(_AROUND, None)


def begin_page() -> None:
    """Forget what the page wrote before; to be called first in every pass of a page, also where it runs alone."""
    session = st.session_state
    _take_pending()
    session[_LEFT] = False
    session[WRITTEN] = dict(session.setdefault(_AROUND, dict(session[WRITTEN])))


def _take_pending() -> None:
    pending = st.session_state.pop(_PENDING, {})
    st.session_state.setdefault(_ASSIGNED, set()).update(pending)
    for key, given in pending.items():
        st.session_state[key] = given


def _prepare(key: str, default: Any, parse: Callable[[list[str]], Any], valid: Callable[[Any], bool]) -> bool:
    """Give a widget its value before it is made: from the link, from before, or the default.

    Returns:
        Whether the widget must be told its value as what it starts at. A value that is assigned here reaches the
        browser in this pass alone. What stands in a closed popover is drawn in a later one, when it is opened: it
        would start empty there, and send that back.
    """
    session = st.session_state
    if bound_link.is_bound(key):
        session[LINK].pop(key, None)
        session[key] = bound_link.value_of(key, default, parse, valid)
        return False
    before = session[key] if key in session and key not in session.get(_ASSIGNED, ()) else _NOTHING
    texts = session[LINK].pop(key, None)
    if texts is not None:
        try:
            session[key] = parse(texts)
        except ValueError as error:
            ignore(key, ", ".join(texts), str(error))
    if key not in session and key in session[KEPT]:
        session[key] = session[KEPT][key]
    if key not in session or not valid(session[key]):
        session[key] = default
    return before is not _NOTHING and session[key] is before


def _written(key: str, value: Any, text: str | list[str]) -> Any:
    st.session_state[WRITTEN][key] = text
    st.session_state[KEPT][key] = value
    return value


def choose(  # noqa: PLR0913 - the options of Streamlit's own widget
    key: str, label: str, options: Sequence[Any], default: Any = None, *, widget: str = "select",
    words: Callable[[Any], str] = str, link_words: Callable[[Any], str] = str, also: Mapping[str, Any] | None = None,
    place: DeltaGenerator | None = None, **look: Any,
) -> Any:  # fmt: skip
    """Let the reader choose one of several options.

    Args:
        widget: select, segmented, radio or pills.
        words: how an option is written on the page.
        link_words: how it is written in the URL.
        also: other texts that a link may use for an option.
    """
    options = list(options)
    default = options[0] if default is None else default
    texts_of = {**(also or {}), **{link_words(option): option for option in options}}
    known = _prepare(key, default, lambda texts: one_of(texts_of, texts[-1]), lambda value: value in options)
    if widget in ("segmented", "pills"):
        look["required"] = True
    if bound_link.is_bound(key):
        options, look["disabled"] = [st.session_state[key]], True
    bound = st.session_state[key]
    if known:
        value = st.session_state[key]
        look |= {"index": options.index(value)} if widget in _BY_INDEX else {"default": value}
    said = words if widget == "select" else lambda option: plain(words(option))  # the others take it for Markdown
    make = getattr(place, _WIDGETS[widget].__name__) if place is not None else _WIDGETS[widget]
    value = make(label, options, format_func=said, key=key, **look)
    value = bound if bound_link.is_bound(key) else value
    return _written(key, value, link_words(value))


def choose_many(  # noqa: PLR0913 - the options of Streamlit's own widget
    key: str, label: str, options: Sequence[Any], *, widget: str = "multiselect", words: Callable[[Any], str] = str,
    link_words: Callable[[Any], str] = str, place: DeltaGenerator | None = None, **look: Any,
) -> tuple[Any, ...]:  # fmt: skip
    """Let the reader choose any number of options, returned in their order; none chosen means that all pass.

    Args:
        link_words: how an option is written in the URL.
    """
    options = list(options)
    by_text = {link_words(option): option for option in options}

    def parse(texts: list[str]) -> list[Any]:
        found = [by_text[text] for text in texts if text in by_text]
        strange = [text for text in texts if text not in by_text and text != ALL]
        if strange and (not found or bound_link.is_exact(key)):
            raise ValueError("unknown here")
        if strange:
            ignore(key, ", ".join(strange), "unknown here; the others are used")
        return found

    if _prepare(key, [], parse, lambda values: all(value in options for value in values)):
        look["default"] = st.session_state[key]
    if bound_link.is_bound(key):
        options, look["disabled"] = list(st.session_state[key]), True
    bound = st.session_state[key]
    target = place if place is not None else st
    if widget == "pills":
        said = lambda option: plain(words(option))  # noqa: E731
        values = target.pills(label, options, selection_mode="multi", format_func=said, key=key, **look)
    else:
        values = target.multiselect(label, options, format_func=words, key=key, **look)
    chosen = tuple(option for option in options if option in (bound if bound_link.is_bound(key) else values))
    _written(key, list(chosen), [link_words(value) for value in chosen] or [ALL])
    return chosen


def toggle(key: str, label: str, default: bool = False, *, place: DeltaGenerator | None = None, **look: Any) -> bool:
    """Let the reader switch something; on and off in the URL."""
    options = {"on": True, "off": False}
    if _prepare(key, default, lambda texts: one_of(options, texts[-1]), lambda value: isinstance(value, bool)):
        look["value"] = st.session_state[key]
    value = bound_link.answer(key, (place if place is not None else st).toggle, label, **look)
    return _written(key, value, "on" if value else "off")


def fold(key: str, label: str, opened: bool = False) -> DeltaGenerator | None:
    """Return a part of the page that the reader opens; None while closed, so that its content need not be made."""
    options = {"open": True, "closed": False}
    _prepare(key, opened, lambda texts: one_of(options, texts[-1]), lambda value: isinstance(value, bool))
    if bound_link.is_bound(key):
        _written(key, is_open := st.session_state.pop(key), "open" if is_open else "closed")
        return st.expander(label, expanded=True) if is_open else None
    box = st.expander(label, key=key, on_change="rerun")
    return box if _written(key, bool(box.open), "open" if box.open else "closed") else None


def slide(  # noqa: PLR0913 - the options of Streamlit's own widget
    key: str, label: str, low: float, high: float, default: float, step: float, *, place: DeltaGenerator | None = None,
    **look: Any,
) -> float:  # fmt: skip
    """Let the reader choose a number on a slider."""
    kind = type(default)
    if _prepare(key, default, lambda texts: number_of(texts[-1], low, high, kind), lambda value: low <= value <= high):
        look["value"] = st.session_state[key]
    slider = (place if place is not None else st).slider
    value = bound_link.answer(key, slider, label, low, high, step=step, **look)
    return _written(key, value, repr(value))


def slide_range(
    key: str, label: str, low: float, high: float, step: float, *, place: DeltaGenerator | None = None, **look: Any
) -> tuple[float, float]:
    """Let the reader choose both ends of a range on a slider; the whole range lets all pass."""
    parse = functools.partial(ends_of, low=low, high=high, everything=ALL)
    if _prepare(key, (low, high), parse, lambda ends: low <= ends[0] <= ends[1] <= high):
        look["value"] = st.session_state[key]
    slider = (place if place is not None else st).slider
    ends = bound_link.answer(key, slider, label, low, high, step=step, **look)
    return _written(key, ends, ALL if tuple(ends) == (low, high) else f"{ends[0]!r}~{ends[1]!r}")


def number(
    key: str, label: str, low: float, high: float, default: float, *, place: DeltaGenerator | None = None, **look: Any
) -> float:
    """Let the reader type a number."""
    if _prepare(key, default, lambda texts: number_of(texts[-1], low, high, float), lambda value: low <= value <= high):
        look["value"] = st.session_state[key]
    value = bound_link.answer(key, (place if place is not None else st).number_input, label, low, high, **look)
    return _written(key, value, repr(value))


def linked(key: str) -> str | None:
    """Return the text that the link of this session gives for a key, once; None where there is none (any more)."""
    return (st.session_state[LINK].pop(key, None) or [None])[-1]


def peek(key: str) -> str | None:
    """Return the text that the link of this session gives for a key, and leave it for its widget."""
    return ([None, *peek_all(key)])[-1]


def peek_all(key: str) -> list[str]:
    """Return all texts that the link of this session gives for a key, and leave them for its widget."""
    return list(st.session_state[LINK].get(key) or ())


def kept(key: str) -> Any:
    """Return the last value of a widget, also of another page's; None where it was never shown."""
    return st.session_state[KEPT].get(key)


def write(key: str, text: str) -> None:
    """Put a text that nobody chooses into the URL."""
    st.session_state[WRITTEN][key] = text


def forget(keys: Collection[str]) -> None:
    """Leave keys out of the URL until they are written again."""
    st.session_state[WRITTEN] = {k: text for k, text in st.session_state[WRITTEN].items() if k not in keys}


def set_pages(pages: Mapping[str, Any]) -> None:
    """Remember the pages by name, for `go`; home.py calls this."""
    st.session_state[_PAGES] = dict(pages)


def has_page(name: str) -> bool:
    """Return whether `go` knows a page."""
    return name in st.session_state.get(_PAGES, {}) and not bound_link.is_bound()


def go(name: str, values: Mapping[str, Any]) -> None:
    """Open another page, e.g. "patient", with these values of its widgets. This does not return."""
    st.session_state[KEPT].update(values)
    st.session_state[_PENDING] = dict(values)
    st.switch_page(st.session_state[_PAGES][name])


def set_before_next_pass(values: Mapping[str, Any]) -> None:
    """Give widgets values in the pass that follows; for the callbacks of buttons."""
    st.session_state[_PENDING] = dict(values)


def leave_link() -> None:
    """Leave the address as it is, where this pass shows nothing that the link asked for, and says why.

    Parts of the link are then no news, and it can be opened again.
    """
    st.session_state[LINK], st.session_state[IGNORED], st.session_state[_LEFT] = {}, [], True


def hold_link() -> None:
    """Leave the address as it is, and the link for the next pass, where this pass has to ask something first."""
    st.session_state[_LEFT] = True


def finish() -> list[str]:
    """Write the URL, last in every pass of the app or of a page; return what of the link was not used, in words."""
    session = st.session_state
    if session.get(_LEFT):
        return []
    for name, texts in session[LINK].items() if not bound_link.is_bound() else ():
        ignore(name, ", ".join(texts), "not known on this page")
    session[LINK] = {}
    session[_ASSIGNED] = set()
    params = {VERSION: LINK_VERSION, **session[WRITTEN]}
    current = {name: st.query_params.get_all(name) for name in st.query_params}
    if current != {name: [text] if isinstance(text, str) else text for name, text in params.items()}:
        st.query_params.from_dict(params)
    return list(session[IGNORED])


def dismiss() -> None:
    """Forget what was ignored, which the reader has seen."""
    st.session_state[IGNORED] = []


def query() -> str:
    """Return the query string that opens this view again."""
    return urlencode({VERSION: LINK_VERSION, **st.session_state[WRITTEN]}, doseq=True)
