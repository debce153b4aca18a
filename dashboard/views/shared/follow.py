"""What tells of its view by itself, in a fragment of its own: looks are changed in the browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import streamlit as st

from dashboard.shell import access, url_state

View = dict[str, Any]


class HasView(Protocol):
    """What knows the view that the browser has told of last, also long after the page has run."""

    view: View


def follow(seen: HasView, show: Callable[[], View], changes_page: Callable[[View, View], bool]) -> None:
    """Show something that tells of its view, in a fragment of its own.

    So that a change of the view runs `show` and writes the link, and nothing else, unless the page shows the view, too.

    Args:
        changes_page: from the view before and the one after, whether the page must run again.
    """
    of_page, trouble = [True], []

    @st.fragment
    def alone() -> None:
        if not of_page and access.ended_link():
            st.rerun()  # the whole app says why
        try:
            view = show()
        except Exception as error:
            if not of_page:
                st.rerun()  # the page says what it is
            trouble.append(error)  # raised here, Streamlit would show it, and the page could say nothing
            return
        before, seen.view = seen.view, view
        if of_page:
            return
        url_state.finish()
        if view != before and changes_page(before, view):
            st.rerun()

    alone()
    of_page.clear()
    if trouble:
        raise trouble[0]
