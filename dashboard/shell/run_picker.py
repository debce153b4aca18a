"""The store and the run that are shown. The run is in the URL, so that a link opens it again."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import streamlit as st

from dashboard.data import runs as data_runs
from dashboard.data.runs import Run
from dashboard.serving import hosting, roles
from dashboard.shell import access, url_state
from store import RunInfo, StoreError, StoreNotFoundError, example

DEFAULT_STORE = "results"
RUN, MADE = "run", "made"
CURRENT, SHOWN = "_current_run", "_shown_run"


def store_place(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return the address of the store: that of a server for others, `-- --store PATH|URL`, else BRAINWHY_STORE, else
    results/.
    """
    if settings := hosting.current():
        return settings.store
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--store", nargs="?")
    known, _ = parser.parse_known_args(list(arguments))
    return known.store or environment.get("BRAINWHY_STORE") or DEFAULT_STORE


def or_example(place: str) -> str:
    """Return the example that ships with the project where nobody has named a store and the usual one has no run."""
    if place != DEFAULT_STORE or hosting.current() is not None or not example.is_there():
        return place
    try:
        return place if data_runs.runs(place) else example.PLACE
    except StoreNotFoundError:
        return example.PLACE


def is_example(place: str) -> bool:
    """Return whether a store is the example that ships with the project, and nobody's own."""
    return place == example.PLACE


def first_choice(runs: Sequence[RunInfo]) -> int:
    """Return the place in the list of the newest run that opens, else 0."""
    return next((place for place, run in enumerate(runs) if run.problem is None), 0)


def pick_run(runs: Sequence[RunInfo]) -> RunInfo:
    """Let the reader pick a run. A link may give its identifier or its name (then the newest of that name)."""
    infos = {info.run: info for info in runs}
    newest = {info.name: info.run for info in reversed(runs)}
    before = st.session_state.get(SHOWN)
    if before is not None and before.run not in infos:
        url_state.ignore(RUN, before.run, "this run is no longer in the store, so another one is shown")
    chosen = infos[
        url_state.choose(
            RUN, "Run", list(infos), runs[first_choice(runs)].run, words=lambda run: _label(infos[run]), also=newest
        )
    ]
    _say_if_made_again(chosen, before)
    st.session_state[SHOWN] = chosen
    return chosen


def _say_if_made_again(info: RunInfo, before: RunInfo | None) -> None:
    """Say that a run was made again under its name, for it may differ from its link or from this session so far."""
    known = url_state.linked(MADE)
    if before is not None and before.run == info.run:
        known = before.created
    if known is not None and known != info.created:
        url_state.ignore(MADE, known, f"{info.run} was made again since, {info.created}")
    url_state.write(MADE, info.created)


def _label(info: RunInfo) -> str:
    if info.unreachable:
        return f"{info.run} (does not answer)"
    return info.run if info.problem is None else f"{info.run} (cannot be opened)"


def other_runs(run: Run) -> list[RunInfo]:
    """Return the other runs of the store that open and of which this reader may see as much as of the run itself."""
    infos = [i for i in data_runs.runs(run.store) if i.run != run.run_id and i.problem is None]
    return [i for i in infos if roles.at_least(access.role(i.run), access.role(run.run_id))]


def set_current_run(run: Run) -> None:
    """Remember the run that a view shows; home.py calls this before the view runs."""
    st.session_state[CURRENT] = run


def current_run() -> Run:
    """Return the run that a view shows."""
    return st.session_state[CURRENT]


def simulated() -> bool:
    """Return whether the run that a view shows is of simulated brains."""
    return bool(data_runs.manifest(current_run())["simulated"])


def follow_store() -> None:
    """Run the whole app again once the store no longer has the current run as it was; for pages that run alone."""
    run = current_run()
    try:
        stands = any((info.run, info.created) == (run.run_id, run.created) for info in data_runs.runs(run.store))
    except StoreNotFoundError:
        stands = False
    except StoreError:  # a server that does not answer says nothing about its runs
        return
    if not stands:
        st.rerun()
