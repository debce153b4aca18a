"""The button Share, which copies the link of the view, made in the browser."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

FRONTEND = Path(__file__).parent


@functools.cache
def _component() -> Callable[..., Any]:
    return st.components.v2.component(
        "brainwhy_share",
        html='<div class="share"><button type="button" title="Copy a link that opens exactly this view">Share</button>'
        '<input hidden readonly aria-label="Link to this view"><span role="status"></span></div>',
        css=(FRONTEND / "share.css").read_text(),
        js=(FRONTEND / "share.js").read_text(),
    )


def share_button(query: str) -> None:
    """Show a button that copies the link of this view.

    Args:
        query: every choice of the view, as after the ? of its link.
    """
    _component()(data={"query": query}, key="share")
