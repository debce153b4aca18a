"""What stands before every address of this server."""

from __future__ import annotations

import streamlit as st


def base_path(base: str | None = None) -> str:
    """Return the part of every address before the app's own: "" or "/heat"; None asks the running server."""
    text = (st.get_option("server.baseUrlPath") if base is None else base) or ""
    return f"/{text.strip('/')}" if text.strip("/") else ""
