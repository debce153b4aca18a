"""What the reader sees when there is nothing to see: what happened, what is unharmed, what to do."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.data import runs as data_runs
from dashboard.data.runs import Run
from dashboard.shell import access, account, locality, url_state
from dashboard.text.formatting import code, count, plain
from store import NewerSpecError, RunGoneError, RunNotFoundError, StoreError, UnreachableError
from store.files.remote import seconds_a_file

LOG = logging.getLogger(__name__)
MAKE_ONE = "python run_pipeline.py"
OTHER_STORE = "streamlit run dashboard/app.py -- --store PATH"
RESEARCH_ONLY = "Research use only, not a medical device."


def no_store(place: str, problem: str = "") -> None:
    """Say that the place of the store does not exist (yet), or that nothing installed reads such an address."""
    if "://" in place:
        st.title("This store cannot be opened")
        st.warning(plain(_without(problem, place)))
        st.markdown("Results that are somewhere else are opened with")
        st.code(OTHER_STORE, language=None, wrap_lines=True)
        return
    st.title("No results yet")
    st.markdown(f"There is no store{_at(place)}. This command makes one, from simulated brains, on this computer:")
    _commands()


def empty_store(place: str) -> None:
    """Say that the store exists and holds no published run."""
    st.title("No results yet")
    st.markdown(
        f"The store{_at(place)} holds no finished run. A run appears here when its last stage, publish, is done. "
        "This command makes one, from simulated brains, on this computer:"
    )
    _commands()


def _at(place: str) -> str:
    """Return where the store is, for the person at this computer alone."""
    return f" at {code(place)}" if access.is_local() else ""


def _without(problem: str, place: str) -> str:
    """Return a line without the address of the store, except for the person at this computer."""
    return problem if access.is_local() else problem.replace(place, "...")


def _commands() -> None:
    st.code(MAKE_ONE, language=None)
    st.markdown("Results that are somewhere else are opened with")
    st.code(OTHER_STORE, language=None, wrap_lines=True)


def example(badges: DeltaGenerator) -> None:
    """Say on every page that what is shown ships with the project; at this computer also how to make one's own."""
    badges.badge("EXAMPLE", color="gray", icon=":material/school:")
    own = (
        f", shown because `results` has no run of yours yet. `{MAKE_ONE}` makes one, which then stands here; "
        f"`{OTHER_STORE}` opens another store."
        if access.is_local() else ". Nobody was scanned for it."
    )  # fmt: skip
    st.info(
        f"**Example, SIMULATED**: groups and five people of a demo run that ships with Brainwhy{own}",
        icon=":material/school:",
    )


def broken_run(run: str, problem: str) -> None:
    """Say that a run cannot be opened or read."""
    st.title("This run cannot be shown")
    st.warning(plain(problem))
    st.markdown(
        f"{code(run)} was not changed, and the other runs of the store are unharmed: choose one at the left. "
        "If the run was copied here, copy it again; otherwise build it again:"
    )
    st.code(MAKE_ONE, language=None)


def newer_run(run: str, problem: str) -> None:
    """Say that a later version of this software wrote a run."""
    st.title("This run needs a newer dashboard")
    st.warning(plain(problem))
    st.markdown(f"{code(run)} is unharmed. Update this software, or choose another run at the left.")


def unreachable(what: str, problem: str, place: str) -> None:
    """Say that a server refuses, is silent or does not list its folders."""
    st.title("The store does not answer", anchor=False)
    st.warning(plain(_without(problem, place)))
    st.markdown(f"{what}; other pages and other runs go on where they can be reached.")
    st.button("Try again", key="try-again", icon=":material/refresh:")


def gone(run: str, problem: str) -> None:
    """Say that a run was deleted or replaced while it was open."""
    st.title("This run is gone", anchor=False)
    st.warning(plain(problem))
    st.markdown(f"{code(run)} is not in the store as it was; other runs are unharmed: choose one at the left.")
    st.button("Look again", key="look-again", icon=":material/refresh:")


def slow(place: str) -> None:
    """Say above a page that its store answers slowly, so that nobody takes the waiting for a fault."""
    if seconds := seconds_a_file(place):
        st.caption(
            f":material/hourglass_empty: The store answers slowly: {seconds:.1f} s a file. What was read once is kept "
            "by this server and comes at once."
        )


def unreadable(run: str, error: StoreError, place: str) -> None:
    """Choose the right words for an error of the store."""
    if isinstance(error, UnreachableError):
        unreachable(f"{code(run)} could not be read", str(error), place)
        return
    if isinstance(error, RunGoneError | RunNotFoundError):
        known = isinstance(error, RunGoneError)
        gone(run, str(error) if known else f"run {run} was deleted from the store while it was open")
        return
    (newer_run if isinstance(error, NewerSpecError) else broken_run)(run, str(error))


def ignored(place: DeltaGenerator, parts: list[str]) -> None:
    """Say what of a link could not be used; nothing where all of it was."""
    if not parts:
        return
    with place.container(border=True):
        st.markdown("**Parts of this link were not used; the rest is shown.**\n" + "\n".join(f"- {p}" for p in parts))
        st.button("Close", on_click=url_state.dismiss, key="dismiss-ignored")


def patients_are_hidden(title: str) -> None:
    """Stand in for a patient-level page, for a reader without the role or a run without persons."""
    st.title(title, anchor=False)
    if access.has_groups_only():
        no_persons()
        return
    st.info(
        "This page shows single patients. It needs a login whose claims hold the role `patient`; without one, only "
        "results of groups are shown."
    )
    if access.is_hosted():
        account.way_in()
        return
    if locality.is_possible() and locality.is_direct(st.context.headers):
        st.markdown("If this server runs on your own computer, open the address that it printed at its start.")
        return
    st.markdown("Sign in, ask who runs this server for the role, or open the store on your own computer:")
    st.code(OTHER_STORE, language=None, wrap_lines=True)


def few_persons(shown: int) -> None:
    """Say above a page of single persons that the run has no others, and which figures are of all."""
    st.caption(
        f":material/science: {count(shown, 'simulated scan')}, the only single {'one' if shown == 1 else 'ones'} of "
        "this run: too few for what needs a group. Accuracy, trust and the pages of groups are of all its "
        "scans."
    )


def no_persons(shown: int = 0) -> None:
    """Stand in for a page of single persons, in a run that holds results of groups alone.

    Args:
        shown: scans that pages of single persons show all the same.
    """
    if shown:
        st.info(
            f"This page needs the single scans of a whole group, and this run holds {count(shown, 'simulated scan')} "
            "alone, on Patient and Variability. Everything else of it is results of groups."
        )
        return
    st.info(
        "This run holds results of groups alone: it was derived for sharing, without scans, heatmaps or values of "
        "single persons, so this page has nothing to show. Group maps, Regions, Distances and Trust do."
    )


def damaged(runs: Sequence[Run]) -> tuple[str, str] | None:
    """Return the first run that a quick look finds damaged and what is wrong with it; None where all look sound."""
    for run in runs:
        if lines := data_runs.damage(run):
            more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
            return run.run_id, f"run {run.run_id}: {lines[0]}{more}: copy or build the run again"
    return None


def failed(error: Exception, runs: Sequence[Run] = ()) -> None:
    """Say, from within an `except`, that a view failed: by damage of one of the runs, or by an error of ours."""
    if found := damaged(runs):
        LOG.warning("view failed on a damaged run: %s (%s)", found[1], type(error).__name__)
        broken_run(*found)
        return
    LOG.exception("view failed")
    st.title("This view failed")
    st.error(f"{type(error).__name__} while the page was made. The details are in the log of the server.")
    st.markdown("The results are unharmed: the dashboard only reads. Reload the page, or choose another view.")
