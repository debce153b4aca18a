"""What the Trust page says where a measure is missing, and the file names of its downloads."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.data import reference_run, runs
from dashboard.data.runs import Run
from dashboard.shell import access, notices
from dashboard.text.formatting import code, plain
from dashboard.views.trust import queries
from dashboard.views.trust.tables import ALL

BOARD = """<style>
[class*="st-key-trust-board"] > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] {flex-wrap: wrap;}
@media (min-width: 1251px) {[class*="st-key-trust-board"] [data-testid="stColumn"] {
    min-width: calc(33.33% - 1.35rem); max-width: calc(33.33% - 1.35rem);}}
@media (min-width: 641px) and (max-width: 1250px) {[class*="st-key-trust-board"] [data-testid="stColumn"] {
    min-width: calc(50% - 1rem); max-width: calc(50% - 0.75rem);}}
</style>"""
NO_MEASURE = "No measure of trust was computed for this run"


def board(name: str, count: int) -> list[DeltaGenerator]:
    """Return places for charts: three in a row, two on a narrower screen, one on a phone; no row leaves a gap."""
    st.html(BOARD)
    return list(st.container(key=f"trust-board-{name}").columns(count, gap="medium")) if count else []


def nothing(run: Run, what: str, table: str, more: str = "") -> None:
    """Say what would be here and the one command that makes it, or that this reader may not see it.

    Args:
        what: would be here, as the start of a sentence.
        table: of the store, that is missing or whose rows are of too few subjects.
        more: options of the command.
    """
    if queries.is_hidden(run, table):
        st.info(f"{what} is of {access.few()} subjects: it is {access.only_for_whom()}.")
        return
    st.info(f"{what} would be here: this run has no table {code(table)}. A run of this version makes it:")
    st.code(f"{notices.MAKE_ONE}{f' {more}' if more else ''}", language=None)


def measured(run: Run, table: str, what: str, how: str, more: str = "") -> pd.DataFrame:
    """Return a table of trust and write how its part is read; where it is empty, say what makes it, see `nothing`."""
    found = queries.table(run, table)
    if found.empty:
        nothing(run, what, table, more)
    else:
        st.markdown(how)
    return found


def instead_of_all(run: Run) -> bool:
    """Say why a run has nothing to show on this page at all; False where it has."""
    known = reference_run.of(run)
    if known is not None:
        st.info(
            "These scans were explained by the networks of another run, and how far those can be trusted was measured "
            f"there: choose {code(known.run_id)} under Run at the left."
            + ("" if known.run else " It is not in this store: copy it here, or open the store that holds it.")
        )
        return True
    if runs.answer(run).is_value:
        known = runs.opened(run).has_table("truth_scores")
        line = " How well they find the structure is in the line under each heatmap." if known else ""
        st.info(
            f"{NO_MEASURE}: it predicts a value. Measures of trust are of networks that tell two groups apart, so "
            f"nothing on this page was measured here.{line} A run that has them:"
        )
        st.code(notices.MAKE_ONE, language=None)
        return True
    if not queries.maps_of(run):
        st.info(
            f"{NO_MEASURE}: all of them are of the fixed test set, and no network of it explains this run. Give "
            f"{code('explain.holdout')} its methods and the cohort a fixed test set:"
        )
        st.code(f"{notices.MAKE_ONE} --set explain.holdout=[sensitivity,guided_backprop]", language=None)
        return True
    return False


def people(diagnosis: str) -> str:
    """Write a diagnosis of the tables of trust for a control."""
    return "All" if diagnosis == ALL else diagnosis


def n_of(rows: pd.DataFrame) -> str:
    """Say how many subjects and scans are behind rows: the range where they differ."""
    parts = []
    for column, noun in (("subjects", "subjects"), ("scans", "scans")):
        known = rows[column].dropna() if column in rows else pd.Series(dtype=float)
        if len(known):
            low, high = int(known.min()), int(known.max())
            parts.append(f"{low if low == high else f'{low} to {high}'} {noun}")
    return f"n = {', '.join(parts)}" if parts else ""


def set_words(run: Run) -> str:
    """Say in the head of the page which network is judged, and on what."""
    groups = runs.manifest(run)["groups"]
    return (
        "How far the heatmaps of the held-out network can be believed, on the fixed test set; evidence for "
        f"{plain(groups[0])}."
    )
