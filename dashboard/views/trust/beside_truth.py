"""False positives: does the network use what a heatmap marks beside the truth."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.data import runs
from dashboard.data.runs import Run
from dashboard.shell import display
from dashboard.shell.page import Download
from dashboard.text.formatting import plain
from dashboard.views.trust import charts as trust_charts
from dashboard.views.trust import queries, words
from dashboard.views.trust import tables as trust_tables
from dashboard.views.trust.tables import Measure

MEASURES = {
    "marked": Measure("Used by the network", "change of the margin, marked minus mirrored", zero=True),
    "outside": Measure("Marked outside", "share of the strongest 1 % outside, low is good", low_is_good=True),
}
HOW = (
    "What a heatmap marks outside the imposed change may be an error of the method, or something that the network "
    "does use. It is replaced by the mean brain, and so is its mirror image, for comparison. Right of 0 the margin "
    "changes more by what was marked: the network uses it, and the mark is no error of the method."
)


def section(run: Run, diagnosis: str) -> list[Download]:
    """Show what marks beside the truth do to the decision, of a simulated run that has them; else nothing.

    Args:
        diagnosis: whose scans; where the table has none of it, of the positive group.
    """
    table = queries.table(run, "false_positives")
    if table.empty:
        return []
    positive = runs.manifest(run)["groups"][0]
    whom = diagnosis if (table["diagnosis"] == diagnosis).any() else positive
    own = table[table["diagnosis"] == whom]
    if own.empty:
        return []
    st.markdown(f"**What is marked beside the truth**, {plain(words.people(whom))}")
    st.markdown(HOW)
    used, outside = trust_tables.false_positives(table, whom)
    left, right = st.columns(2, gap="medium")
    methods = trust_tables.order(used)
    for place, rows, key in ((left, used, "marked"), (right, outside, "outside")):
        place.markdown(f"**{MEASURES[key].title}**")
        display.chart(place, trust_charts.dots([rows], methods, MEASURES[key]), f"trust-{key}")
    st.caption(f"{words.n_of(own)}.{_left_out(own)} Lines: 95 % CI over subjects. docs/definitions.md, Faithfulness")
    return [Download.csv("False positives, CSV", f"{run.run_id}_trust-false-positives", lambda: table)]


def _left_out(rows: pd.DataFrame) -> str:
    """Say how many scans have no marks to replace; empty where all have."""
    most = rows["left_out"].fillna(0).max()
    return f" Up to {int(most)} scans have no mark whose mirror image lies outside, too." if most else ""
