"""Entry of the dashboard: page set-up, sidebar, navigation. Start with `streamlit run dashboard/app.py`."""

from __future__ import annotations

import logging
import os
import sys

import streamlit as st

from dashboard import queries, selection, states
from store import RunInfo, StoreError, StoreNotFound
from store.spec import SPEC_VERSION

ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="15" fill="#2B6A6E"/>
<path d="M16 7v18M16 9a4 4 0 0 0-7 3 4 4 0 0 0 0 7 4 4 0 0 0 7 4M16 9a4 4 0 0 1 7 3 4 4 0 0 1 0 7 4 4 0 0 1-7 4"
fill="none" stroke="#fff" stroke-width="1.8"/></svg>"""
STYLE = """<style>
.stMainBlockContainer {max-width: 1440px; padding-top: 3rem; padding-bottom: 3rem;}
[data-testid="stSidebarHeader"] {height: 2.5rem; margin-bottom: 0;}
@media (min-width: 641px) and (max-width: 1250px) {[data-testid="stColumn"] {min-width: calc(50% - 1rem);}}
[data-testid="stImage"] img {border-radius: 4px;}
</style>"""


def pages() -> list[st.Page]:
    """Every page, in the order of the menu; a new page is a new line and a new file."""
    return [
        st.Page("views/overview.py", title="Overview", icon=":material/dashboard:", default=True),
        st.Page("views/provenance.py", title="Provenance", icon=":material/fingerprint:"),
    ]


def sidebar(menu: list[st.Page], runs: list[RunInfo]) -> RunInfo:
    """Name, run picker, badge and menu; returns the chosen run."""
    with st.sidebar:
        st.header("Brainwhy", anchor=False)
        info = selection.pick_run(runs)
        if info.simulated:
            st.badge("SIMULATED", color="orange", icon=":material/science:")
        for page in menu:
            st.page_link(page)
        st.divider()
        st.caption(states.RESEARCH_ONLY)
    return info


def show(page: st.Page, info: RunInfo, place: str) -> None:
    """The chosen page of the chosen run, or why it cannot be shown."""
    if info.problem is not None:
        newer = info.spec_version.split(".")[0] not in ("", SPEC_VERSION.split(".")[0])
        (states.newer_run if newer else states.broken_run)(info.run, info.problem)
        return
    selection.set_current_run(queries.Run(place, info.run, info.created))
    try:
        page.run()
    except StoreError as error:
        states.unreadable(info.run, error)


def main() -> None:
    """One pass of the app."""
    st.set_page_config("Brainwhy", page_icon=ICON, layout="wide")
    st.html(STYLE)
    menu = pages()
    page = st.navigation(menu, position="hidden")
    place = selection.store_place(sys.argv[1:], os.environ)
    try:
        runs = queries.runs(place)
        if runs:
            show(page, sidebar(menu, runs), place)
        else:
            states.empty_store(place)
    except StoreNotFound:
        states.no_store(place)
    except Exception as error:
        logging.getLogger(__name__).exception("view failed")
        states.failed(error)


main()
