"""The button Share, which copies the link of the view, made in the browser."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st

FRONTEND = Path(__file__).parent


class ShortLink(NamedTuple):
    """A short link that the server keeps once its button is pressed: {path}/{token} opens the page of that name."""

    path: str
    token: str
    page: str


@functools.cache
def _component() -> Callable[..., Any]:
    return st.components.v2.component(
        "brainwhy_share",
        html='<div class="share"><button type="button" title="Copy a link that opens exactly this view">Share</button>'
        '<div class="said" hidden><span role="status"></span> <button type="button" hidden>Copy the long form</button>'
        '<input hidden readonly aria-label="Link to this view"></div></div>',
        css=(FRONTEND / "share.css").read_text(),
        js=(FRONTEND / "share.js").read_text(),
    )


def share_button(query: str, short: ShortLink | None = None, local: str = "") -> None:
    """Show a button that copies the link of this view.

    Args:
        query: every choice of the view, as after the ? of its link.
        short: the short link to be copied; None where only the long form is.
        local: on a server for this computer only, what to do to send the view.
    """
    _component()(data={"query": query, "short": short._asdict() if short else None, "local": local}, key="share")
