"""The script behind every page: set-up, sidebar, navigation, and the words where there is nothing to show."""

from __future__ import annotations

import os
import sys

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.data import reference_run
from dashboard.data import runs as data_runs
from dashboard.serving.roles import NONE
from dashboard.shell import access, account, agreement, browser_history, menu, notices, run_picker, url_state, visitor
from dashboard.shell import sidebar as shell_sidebar
from dashboard.shell.bound_link import BoundLinkError
from dashboard.shell.menu import VIEWS, View
from store import RunInfo, StoreError, StoreNotFoundError, UnreachableError
from store.spec import SPEC_VERSION

ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="15" fill="#2B6A6E"/>
<path d="M16 7v18M16 9a4 4 0 0 0-7 3 4 4 0 0 0 0 7 4 4 0 0 0 7 4M16 9a4 4 0 0 1 7 3 4 4 0 0 1 0 7 4 4 0 0 1-7 4"
fill="none" stroke="#fff" stroke-width="1.8"/></svg>"""
# What is wider than its place fades at the right until it has been moved to its end (where the browser can say so).
STYLE = """<style>
.stMainBlockContainer {max-width: 1440px; padding: 3.25rem clamp(1rem, 3vw, 2.75rem) 3rem;}
[data-testid="stSidebarHeader"] {height: 2.5rem; margin-bottom: 0;}
[data-testid="stSidebarUserContent"] [data-testid="stVerticalBlock"] {gap: 0.55rem;}
@media (min-width: 641px) and (max-width: 1250px) {
    [data-testid="stColumn"] {min-width: calc(50% - 1rem);}
    .st-key-map-controls [data-testid="stColumn"] {min-width: calc(25% - 1rem);}
    .st-key-truth-charts [data-testid="stColumn"] {min-width: 100%;}
    .st-key-page-head [data-testid="stHorizontalBlock"] {flex-wrap: nowrap;}
    .st-key-page-head [data-testid="stColumn"] {min-width: 7.75rem;}
}
@media (max-width: 1250px) {
    .st-key-patient-picker [data-testid="stHorizontalBlock"] {flex-wrap: nowrap; gap: 0.5rem;}
    .st-key-patient-picker [data-testid="stColumn"] {min-width: 0;}
    .st-key-patient-picker [data-testid="stColumn"]:not(:nth-child(2)) {min-width: 4.75rem;}
}
@media (min-width: 641px) {.st-key-narrow-badge {display: none;}}
@media (max-width: 640px) {
    .st-key-page-head h1 {padding: 0.2rem 0 0.5rem;}
    .st-key-page-head [data-testid="stVerticalBlock"] {gap: 0.4rem;}
    .st-key-cards [data-testid="stMetricValue"] {font-size: 1.1rem;}
    .st-key-cards [data-testid="stMetricLabel"] *, .st-key-cards [data-testid="stMetricValue"] * {white-space: normal;}
    .st-key-page-head [data-testid="stColumn"]:not(:first-child) {min-width: calc(50% - 1rem);}
    .st-key-map-controls [data-testid="stColumn"], .st-key-cards [data-testid="stColumn"] {min-width: calc(50% - 1rem);}
    [data-testid="stButtonGroup"] [role="radiogroup"] {flex-wrap: wrap; overflow: visible;}
    [data-testid="stTable"] :is(th, td) {padding: 0.25rem 0.3rem;}
    [data-testid="stTable"] :is(th, td, th *, td *) {font-size: 0.75rem;}
    [class*="st-key-wide-chart"] [data-testid="stElementContainer"] {min-width: 34rem;}
}
@keyframes further {from {mask-size: 100% 100%;}}
[data-testid="stTable"] > div, [class*="st-key-wide-chart"] {
    overflow-x: auto; animation: further linear; animation-timeline: scroll(self inline);
    mask: linear-gradient(to left, transparent, #000 2.5rem) left / calc(100% + 2.5rem) 100% no-repeat;
}
.stMarkdownColoredText:has(> [role="img"]) {white-space: nowrap;}
[data-testid="stImage"] img {border-radius: 4px;}
[data-testid="stVerticalBlock"]:has(> * .picture-words) [data-testid="stElementToolbar"] {display: none;}
[data-testid="stTable"] th {text-align: left;}
[data-testid="stTable"] tbody td:first-of-type {padding-left: 1rem;}
[data-testid="stPageLink"] a:focus-visible, .stMain:focus-visible, [data-testid="data-grid-canvas"]:focus-visible {
    outline: 2px solid currentColor; outline-offset: -2px;
}
</style>"""


def first_page(first: st.Page) -> None:
    """Open the first page for an address without a page, with all that the link says."""
    st.switch_page(first, query_params={name: st.query_params.get_all(name) for name in st.query_params})


def sidebar(pages: dict[str, st.Page], runs: list[RunInfo]) -> tuple[RunInfo, DeltaGenerator]:
    """Write name, run picker, badge and menu; return the chosen run, and the container of its badges."""
    st.header("Brainwhy", anchor=False)
    info = run_picker.pick_run(runs)
    badges = st.container()
    if info.simulated:
        badges.badge("SIMULATED", color="orange", icon=":material/science:")
    if link := access.shared_link():
        visitor.in_sidebar(link)
        return info, badges
    for name, page in pages.items():
        if name != menu.ADMIN.name or (access.is_hosted() and access.may_administer()):
            st.page_link(page)
    account.in_sidebar()
    return info, badges


def show(view: View, page: st.Page, run: data_runs.Run, badges: DeltaGenerator) -> None:
    """Show a page of a run that opens, with the filters in the sidebar."""
    with badges:
        reference_run.badge(run)
    run = run._replace(persons=view.patients and data_runs.opened(run).shown > 0)
    run_picker.set_current_run(run)
    access.set_groups_only(data_runs.holds_groups_only(run))
    behind = [other.run_id for other in reference_run.runs_of(run)]
    access.show_runs([run.run_id, *behind])
    if access.role() == NONE:
        account.hidden_reference(behind[0])
        url_state.leave_link()
        return
    if view.patients and not access.may_see_patients():
        notices.patients_are_hidden(view.title)
        url_state.leave_link()
        return
    if view.admin and not (access.is_hosted() and access.may_administer()):
        account.only_for_admins()
        url_state.leave_link()
        return
    if view.patients and agreement.is_missing(run):
        agreement.ask(run)
        url_state.hold_link()
        return
    if run.persons:
        notices.few_persons(data_runs.opened(run).shown)
    with st.sidebar:
        if not view.admin:
            st.divider()
        if view.admin:
            shell_sidebar.rest()
        elif view.whole:
            st.caption(f"{view.title} shows the whole run: choices of models, method and patients do not apply.")
            shell_sidebar.rest()
        else:
            shell_sidebar.set_current(shell_sidebar.sidebar(run))
        st.divider()
        st.caption(notices.RESEARCH_ONLY)
    page.run()


def open_run(view: View, page: st.Page, info: RunInfo, place: str, badges: DeltaGenerator) -> None:
    """Show the chosen page of the chosen run, or why it cannot be shown."""
    if info.unreachable:
        notices.unreachable(f"`{info.run}` could not be read", str(info.problem), place)
        return
    if info.problem is not None:
        newer = info.spec_version.split(".")[0] not in ("", SPEC_VERSION.split(".")[0])
        (notices.newer_run if newer else notices.broken_run)(info.run, info.problem)
        return
    try:
        show(view, page, data_runs.Run(place, info.run, info.created), badges)
    except StoreError as error:
        notices.unreadable(info.run, error, place)
    except BoundLinkError:
        visitor.not_there()
    except Exception as error:
        notices.failed(error, [data_runs.Run(place, info.run, info.created)])


def main() -> None:
    """Run one pass of the app."""
    st.set_page_config("Brainwhy", page_icon=ICON, layout="wide")
    st.html(STYLE)
    st.html(browser_history.SCRIPT, unsafe_allow_javascript=True)
    link = access.shared_link()
    url_state.begin(link.query if link else None)
    pages = {view.name: view.page() for view in VIEWS}
    first = link.page if link and link.page in pages else "overview"
    start = st.Page(lambda: first_page(pages[first]), title="Brainwhy", url_path="start", default=True)
    page = st.navigation([start, *pages.values()], position="hidden")
    if page.url_path == start.url_path:
        page.run()
    view = next(v for v in VIEWS if pages[v.name].url_path == page.url_path)
    menu.set_current(view)
    url_state.set_pages(pages)
    if why := access.ended_link():
        visitor.refused(why)
        url_state.leave_link()
        return
    if link and link.page != view.name:
        visitor.other_page(link, pages)
        url_state.leave_link()
        return
    access.show_runs(())
    place = run_picker.or_example(run_picker.store_place(sys.argv[1:], os.environ))
    if access.role() == NONE:
        account.sign_in_page()
        url_state.leave_link()
        return
    try:
        notes = st.empty()
        every = data_runs.runs(place)
        if not every:
            notices.empty_store(place)
            return
        runs = [info for info in every if access.may_see_run(info.run)]
        if not runs and link:
            visitor.not_there()
            return
        if not runs:
            account.no_run_for_you()
            with st.sidebar:
                account.in_sidebar()
            url_state.leave_link()
            return
        with st.sidebar:
            info, badges = sidebar(pages, runs)
        if run_picker.is_example(place):
            notices.example(badges)
        open_run(view, page, info, place, badges)
        notices.ignored(notes, url_state.finish())
    except BoundLinkError:
        visitor.not_there()
    except StoreNotFoundError as error:
        notices.no_store(place, str(error))
    except UnreachableError as error:
        notices.unreachable("The list of runs could not be read", str(error), place)
    except Exception as error:
        notices.failed(error)


main()
