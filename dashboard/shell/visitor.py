"""What somebody sees who has opened a signed link: that view alone, until when, and why it does not open any more."""

from __future__ import annotations

import html
import time
from collections.abc import Mapping

import streamlit as st

from dashboard.links import signed, words
from dashboard.links.signed import SignedLink
from dashboard.serving import hosting
from dashboard.shell import menu
from dashboard.text.formatting import plain


def in_sidebar(link: SignedLink) -> None:
    """Say until when the view is shared, with the way out, in the place of the menu."""
    st.caption(f"Shared with you {words.until(link.ends_at, time.time())}. The link shows this view alone.")
    leave("Leave this link")


def leave(text: str) -> None:
    """Offer to forget the link in this browser."""
    settings = hosting.current()
    base = settings.base if settings else ""
    address = html.escape(f"{base}/{signed.PATH}/leave")
    st.html(f'<a href="{address}" target="_self" style="color: inherit">{html.escape(text)}</a>')


def refused(why: str) -> None:
    """Stand in for every page, in a browser whose link does not open any more."""
    st.title("This link does not open any more", anchor=False)
    st.info(plain(why))
    leave("Go on without the link")


def other_page(link: SignedLink, pages: Mapping[str, st.Page]) -> None:
    """Stand in for every page but that of the link."""
    st.title("Your link does not show this page", anchor=False)
    st.info(f"It shows {plain(menu.title(link.page))} of run {plain(link.run)}, and nothing else.")
    if link.page in pages:
        st.page_link(pages[link.page], label="Open the view of your link")


def not_there() -> None:
    """Stand in for a view whose scans, run or method are not there (any more): nothing is shown in its place."""
    st.title("This view is not there any more", anchor=False)
    st.info(
        "The run of your link, or the scans, models or method that it shows, are not in the store (any more), or "
        "cannot be shown to those who open the link. Nothing else is shown in their place: ask who sent it for a new "
        "one."
    )
