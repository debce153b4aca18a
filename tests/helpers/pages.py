"""Pages of the dashboard in Streamlit's AppTest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from dashboard.data import kept

VIEWS = Path(__file__).parents[2] / "dashboard/views"
NAMES = [file.parent.name for file in sorted(VIEWS.glob("*/page.py"))]


def forget_all() -> None:
    """Forget what was kept of any run."""
    st.cache_data.clear()
    st.cache_resource.clear()
    kept.forget_all()


def turn_to(app: AppTest, view: str) -> AppTest:
    """Open a page, also as the first of the session, which takes in the link: AppTest.switch_page cannot do that for
    pages whose address is not the name of their file.

    Args:
        view: "views/NAME/page.py".
    """
    name = Path(view).parent.name
    assert name in NAMES, view
    app._page_hash = calc_hash(name)
    return app


def given_charts(app: AppTest) -> list[dict[str, Any]]:
    """What the charts of a page are given: the figure as JSON, words, and whether its marks can be clicked."""
    return [
        json.loads(one.proto.json) for one in app.get("bidi_component") if one.proto.component_name == "brainwhy_chart"
    ]


def slices_of(app: AppTest, part: str) -> list[dict[str, Any]]:
    """What the parts of the sheet of slices on Group maps are given: head (one), row or note."""
    found = [
        json.loads(one.proto.json) for one in app.get("bidi_component") if one.proto.component_name == "brainwhy_slices"
    ]
    return [one for one in found if one["part"] == part]


def slice_captions(app: AppTest) -> list[str]:
    """What stands under the pictures of slices on Group maps."""
    return [picture["caption"] for row in slices_of(app, "row") for picture in row["pictures"]]


def slices_missing(app: AppTest) -> str:
    """Why pictures of slices on Group maps are missing."""
    return "\n".join(": ".join(pair) for row in slices_of(app, "row") for pair in row["missing"])
