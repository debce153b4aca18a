"""The store and the run that are shown. The run is in the URL, so that a link opens it again."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import streamlit as st

from dashboard import state
from dashboard.queries import Run
from store import RunInfo

DEFAULT_STORE = "results"
RUN, MADE = "run", "made"
CURRENT = "_current_run"


def store_place(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """The store: `-- --store PATH|URL`, else BRAINWHY_STORE, else results/."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--store", nargs="?")
    known, _ = parser.parse_known_args(list(arguments))
    return known.store or environment.get("BRAINWHY_STORE") or DEFAULT_STORE


def first_choice(runs: Sequence[RunInfo]) -> int:
    """Place of the newest run that opens, else 0."""
    return next((place for place, run in enumerate(runs) if run.problem is None), 0)


def pick_run(runs: Sequence[RunInfo]) -> RunInfo:
    """The run picker. A link may name a run by its identifier or by its name (then the newest of that name)."""
    infos = {info.run: info for info in runs}
    newest = {info.name: info.run for info in reversed(runs)}
    chosen = infos[
        state.choose(
            RUN, "Run", list(infos), runs[first_choice(runs)].run, words=lambda run: _label(infos[run]), also=newest
        )
    ]
    _say_if_made_again(chosen)
    return chosen


def _say_if_made_again(info: RunInfo) -> None:
    """Links name when their run was made: one made again under its name may show other results."""
    linked = state.linked(MADE)
    if linked is not None and linked != info.created:
        state.ignore(MADE, linked, f"{info.run} was made again since, {info.created}")
    state.write(MADE, info.created)


def _label(info: RunInfo) -> str:
    return info.run if info.problem is None else f"{info.run} (cannot be opened)"


def set_current_run(run: Run) -> None:
    """Called by home.py before a view runs."""
    st.session_state[CURRENT] = run


def current_run() -> Run:
    """The run that a view shows."""
    return st.session_state[CURRENT]
