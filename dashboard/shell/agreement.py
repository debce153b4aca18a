"""The data use agreement, which a member confirms once for a cohort before results of single participants are shown."""

from __future__ import annotations

import time

import streamlit as st

from dashboard.data import runs
from dashboard.data.runs import Run
from dashboard.links import records
from dashboard.serving import state
from dashboard.shell import access
from dashboard.text.formatting import plain


def is_missing(run: Run) -> bool:
    """Return whether this reader has yet to confirm the agreement of a run's cohort; simulated people have none."""
    person = access.person() if access.is_hosted() else None
    manifest = runs.manifest(run)
    if person is None or manifest["simulated"]:
        return False
    return not records.has_confirmed(state.of_server(), person.key, manifest["cohort"])


def ask(run: Run) -> None:
    """Stand in for a page of single patients until the reader has confirmed."""
    cohort = runs.manifest(run)["cohort"]
    st.title("Before single participants are shown", anchor=False)
    st.markdown(
        f"This page shows results of single participants of **{plain(cohort)}**. Agreements such as ADNI's bind "
        "everyone who sees participant-level data, also derived ones: heatmaps, decisions and values of regions of one "
        "person. They stay with people whom the agreement covers; summaries of groups may be shared and published."
    )
    agreed = st.checkbox(plain(records.AGREEMENT), key="agreement")
    st.button("Go on", type="primary", disabled=not agreed, on_click=_confirm, args=(run, cohort), key="agree")
    st.caption("This is asked once, and recorded with your name and the time.")


def _confirm(run: Run, cohort: str) -> None:
    person = access.person()
    if person is not None and st.session_state.get("agreement") is True:
        records.confirm(state.of_server(), (person.key, person.name), cohort, run.run_id, time.time())
