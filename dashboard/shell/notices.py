"""What the reader sees when there is nothing to see: what happened, what is unharmed, what to do."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.data import runs as data_runs
from dashboard.data.runs import Run
from dashboard.shell import access, locality, url_state
from dashboard.text.formatting import code, plain
from store import NewerSpec, StoreError, Unreachable

LOG = logging.getLogger(__name__)
MAKE_ONE = "python run_pipeline.py"
OTHER_STORE = "streamlit run dashboard/app.py -- --store PATH"
RESEARCH_ONLY = "Research use only, not a medical device."


def no_store(place: str, problem: str = "") -> None:
    """The place of the store does not exist (yet), or nothing that is installed reads such an address."""
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
    """The store exists and holds no published run."""
    st.title("No results yet")
    st.markdown(
        f"The store{_at(place)} holds no finished run. A run appears here when its last stage, publish, is done. "
        "This command makes one, from simulated brains, on this computer:"
    )
    _commands()


def _at(place: str) -> str:
    """Where the store is, for the person at this computer alone."""
    return f" at {code(place)}" if access.is_local() else ""


def _without(problem: str, place: str) -> str:
    """A line without the address of the store, but for the person at this computer."""
    return problem if access.is_local() else problem.replace(place, "...")


def _commands() -> None:
    st.code(MAKE_ONE, language=None)
    st.markdown("Results that are somewhere else are opened with")
    st.code(OTHER_STORE, language=None, wrap_lines=True)


def broken_run(run: str, problem: str) -> None:
    """A run that cannot be opened or read."""
    st.title("This run cannot be shown")
    st.warning(plain(problem))
    st.markdown(
        f"{code(run)} was not changed, and the other runs of the store are unharmed: choose one at the left. "
        "If the run was copied here, copy it again; otherwise build it again:"
    )
    st.code(MAKE_ONE, language=None)


def newer_run(run: str, problem: str) -> None:
    """A run that a later version of this software wrote."""
    st.title("This run needs a newer dashboard")
    st.warning(plain(problem))
    st.markdown(f"{code(run)} is unharmed. Update this software, or choose another run at the left.")


def unreachable(what: str, problem: str, place: str) -> None:
    """A server that refuses, is silent or does not list its folders."""
    st.title("The store does not answer", anchor=False)
    st.warning(plain(_without(problem, place)))
    st.markdown(f"{what}; other pages and other runs go on where they can be reached.")
    st.button("Try again", key="try-again", icon=":material/refresh:")


def unreadable(run: str, error: StoreError, place: str) -> None:
    """The right words for an error of the store."""
    if isinstance(error, Unreachable):
        unreachable(f"{code(run)} could not be read", str(error), place)
        return
    (newer_run if isinstance(error, NewerSpec) else broken_run)(run, str(error))


def ignored(place: DeltaGenerator, parts: list[str]) -> None:
    """What of a link could not be used; nothing where all of it was."""
    if not parts:
        return
    with place.container(border=True):
        st.markdown("**Parts of this link were not used; the rest is shown.**\n" + "\n".join(f"- {p}" for p in parts))
        st.button("Close", on_click=url_state.dismiss, key="dismiss-ignored")


def patients_are_hidden(title: str) -> None:
    """A patient-level page for a reader without the role."""
    st.title(title, anchor=False)
    st.info(
        "This page shows single patients. It needs a login whose claims hold the role `patient`; without one, only "
        "results of groups are shown."
    )
    if locality.is_possible() and locality.is_direct(st.context.headers):
        st.markdown("If this server runs on your own computer, open the address that it printed at its start.")
        return
    st.markdown("Sign in, ask who runs this server for the role, or open the store on your own computer:")
    st.code(OTHER_STORE, language=None, wrap_lines=True)


def damaged(runs: Sequence[Run]) -> tuple[str, str] | None:
    """(run, what is wrong with it) of the first run that a quick look finds damaged; None where all look sound."""
    for run in runs:
        if lines := data_runs.damage(run):
            more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
            return run.run_id, f"run {run.run_id}: {lines[0]}{more}: copy or build the run again"
    return None


def failed(error: Exception, runs: Sequence[Run] = ()) -> None:
    """Something that should not happen, from within its `except`: damage of one of the runs, or an error of ours."""
    if found := damaged(runs):
        LOG.warning("view failed on a damaged run: %s (%s)", found[1], type(error).__name__)
        broken_run(*found)
        return
    LOG.exception("view failed")
    st.title("This view failed")
    st.error(f"{type(error).__name__} while the page was made. The details are in the log of the server.")
    st.markdown("The results are unharmed: the dashboard only reads. Reload the page, or choose another view.")
