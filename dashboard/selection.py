"""What the reader chose: the store and the run. The run is in the URL, so that a link opens it again."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import streamlit as st

from dashboard.queries import Run
from store import RunInfo

DEFAULT_STORE = "results"
RUN = "run"
CURRENT = "current_run"


def store_place(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """The store: `-- --store PATH|URL`, else BRAINWHY_STORE, else results/."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--store", nargs="?")
    known, _ = parser.parse_known_args(list(arguments))
    return known.store or environment.get("BRAINWHY_STORE") or DEFAULT_STORE


def first_choice(runs: Sequence[RunInfo], wanted: str | None) -> int:
    """Place of the wanted run (identifier or name), else of the newest that opens, else 0."""
    for test in (lambda r: r.run == wanted, lambda r: r.name == wanted and wanted, lambda r: r.problem is None):
        for place, run in enumerate(runs):
            if test(run):
                return place
    return 0


def pick_run(runs: Sequence[RunInfo]) -> RunInfo:
    """The run picker; keeps the URL at what it shows."""
    infos = {info.run: info for info in runs}
    if st.session_state.get(RUN) not in infos:
        st.session_state[RUN] = list(infos)[first_choice(runs, st.query_params.get(RUN))]
    chosen = infos[st.selectbox("Run", list(infos), key=RUN, format_func=lambda run: _label(infos[run]))]
    if st.query_params.get(RUN) != chosen.run:
        st.query_params[RUN] = chosen.run
    return chosen


def _label(info: RunInfo) -> str:
    return info.run if info.problem is None else f"{info.run} (cannot be opened)"


def set_current_run(run: Run) -> None:
    """Called by app.py before a view runs."""
    st.session_state[CURRENT] = run


def current_run() -> Run:
    """The run that a view shows."""
    return st.session_state[CURRENT]
