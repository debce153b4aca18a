"""Stability: does a heatmap stay when the network is trained again, or the scan changes a little."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.data import runs
from dashboard.data.runs import Run
from dashboard.shell import display, url_state
from dashboard.shell.page import Download
from dashboard.text.formatting import method_name, plain
from dashboard.views.trust import charts as trust_charts
from dashboard.views.trust import queries, similarity_charts, words
from dashboard.views.trust import tables as trust_tables
from dashboard.views.trust.tables import Measure

MEASURES = {"rank_correlation": "Spearman", "dice": "Dice of the top 5 %", "top_regions": "First ten regions"}
CHANGES = {
    "retrained": "Trained again, from other seeds", "noise": "Noise added to the scan",
    "shift": "Scan shifted by a voxel", "bias_field": "Another bias field",
}  # fmt: skip
LEVELS = {"scan": "Each scan", "group": "Group averages"}
REFERENCE = {"scan": "○ maps of different scans", "group": "○ untrained networks"}
FORMULA = r"\rho = \frac{2}{K(K-1)} \sum_{i<j} \rho_{\mathrm{Spearman}}\left(m_i, m_j\right)"
SOURCE = (
    "m of the same scan by networks i and j of K that differ in their seed alone (Eitel & Ritter 2019). Dice is of the "
    "5 % of brain voxels with the largest m; the first ten regions are by density. Definition: docs/definitions.md, "
    "Trust."
)
HOW = (
    "The same scan, explained by networks that were trained alike from other seeds, and after changes that no "
    "radiologist would see: what differs is chance, not disease.\n\n"
    "The open mark is how alike maps are that have nothing in common but the method. A patient’s map from a method "
    "that hardly exceeds it would look different tomorrow."
)


def section(run: Run) -> list[Download]:
    """Show the summary of all methods, and the matrix of networks of the chosen one."""
    what = "How far heatmaps stay when the network is trained again"
    table = words.measured(run, "stability", what, HOW, "--set trust.networks=4")
    if table.empty:
        return []
    groups = runs.manifest(run)["groups"]
    row = st.container(horizontal=True, gap="medium", vertical_alignment="bottom")
    measures = [measure for measure in MEASURES if (table["measure"] == measure).any()]
    measure = url_state.choose(
        "t_agreement", "Agreement", measures, words=MEASURES.__getitem__, place=row, widget="segmented", width="content"
    )
    levels = [level for level in LEVELS if (table["level"] == level).any()]
    level = url_state.choose(
        "t_level", "Of", levels, words=LEVELS.__getitem__, place=row, widget="segmented", width="content"
    )
    diagnoses = trust_tables.diagnoses_of(table[table["level"] == level], groups)
    whom = url_state.choose(
        "t_whom", "Scans of", diagnoses, words=words.people, place=row, widget="segmented", width="content"
    )
    found = {change: trust_tables.stability(table, measure, whom, change, level) for change in CHANGES}
    found = {change: rows for change, rows in found.items() if rows["value"].notna().any()}
    if not found:
        st.info("This run has no such agreement: choose another level or group.")
    first = next(iter(found.values()), pd.DataFrame(columns=trust_tables.COLUMNS))
    methods = trust_tables.order(first)
    ends = trust_charts.axis_range(list(found.values())) if found else []
    for pair in _two_by_two(list(found)):
        for place, change in zip(st.columns(2, gap="medium"), pair, strict=False):
            place.markdown(f"**{CHANGES[change]}**")
            words_of = Measure(CHANGES[change], MEASURES[measure], REFERENCE[level])
            own = [m for m in methods if m in set(found[change]["method"])]
            chart = trust_charts.dots([found[change]], own, words_of, ends)
            display.chart(place, chart, f"trust-stable-{change}")
    if "retrained" not in found:
        st.caption("This run has no networks that were trained again: `--set trust.networks=4` makes them.")
    own = table[(table["level"] == level) & (table["diagnosis"] == whom)]
    st.caption(f"{words.n_of(own)}. Lines: 95 % CI over subjects. All charts in the order of the first, on one scale.")
    pairs = queries.table(run, "stability_pairs")
    _matrix(run, pairs, measure)
    name = f"{run.run_id}_trust"
    return [
        Download.csv("Stability, CSV", f"{name}-stability", lambda: table),
        *([Download.csv("Pairs of networks, CSV", f"{name}-stability-pairs", lambda: pairs)] if len(pairs) else []),
    ]


def _two_by_two(items: list[str]) -> list[list[str]]:
    return [items[place : place + 2] for place in range(0, len(items), 2)]


def _matrix(run: Run, pairs: pd.DataFrame, measure: str) -> None:
    """Show networks against networks for one method."""
    st.subheader("Network against network", anchor=False)
    own = pairs[pairs["measure"] == measure]
    if own.empty:
        words.nothing(run, "How alike each pair of networks is", "stability_pairs", "--set trust.networks=4")
        return
    left, right = st.columns([1, 1.4], gap="medium")
    method = url_state.choose(
        "t_method", "Method", trust_tables.methods_of(own), words=method_name, place=left
    )  # fmt: skip
    diagnoses = trust_tables.diagnoses_of(own, runs.manifest(run)["groups"])
    whom = url_state.choose("t_pairs_of", "Pairs, scans of", diagnoses, words=words.people, place=left)
    shown = own[own["diagnosis"] == whom]
    values = trust_tables.network_matrix(shown[shown["method"] == method])
    left.caption(
        f"{plain(method_name(method))}, {MEASURES[measure]}, mean over scans. One scale for all methods; network 1 is "
        "the one that every other page shows. A network that stands apart from the others has learned something else."
    )
    low, high = min(0.0, float(own["value"].min())), max(float(own["value"].max()), 0.1)
    display.chart(right, similarity_charts.networks(values, low, high), "trust-networks")
