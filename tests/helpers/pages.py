"""Pages of the dashboard in Streamlit's AppTest."""

from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

VIEWS = Path(__file__).parents[2] / "dashboard/views"
NAMES = [file.parent.name for file in sorted(VIEWS.glob("*/page.py"))]


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
