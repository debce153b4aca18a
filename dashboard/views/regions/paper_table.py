"""The paper's table 1 beside this run's, and as LaTeX. A part of the Regions page."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.data import runs
from dashboard.data.selection import Selection
from dashboard.shell import display
from dashboard.text import formatting, paper
from dashboard.views.regions import queries as asked
from dashboard.views.regions import table_1
from dashboard.views.regions.tables import say_left_out

PAPER_GROUPS = {"AD", "NC"}


def section(selection: Selection) -> dict[str, pd.DataFrame]:
    """Show the first four regions beside the paper's; return ours as numbers."""
    with_paper = set(runs.manifest(selection.run)["groups"]) == PAPER_GROUPS
    found = asked.table_1(selection, with_paper)
    for diagnosis, (texts, _, subjects) in found.items():
        st.markdown(f"**{formatting.plain(diagnosis)}**, n = {formatting.count(subjects, 'subject')}")
        display.table(st.container(), texts)
    said = "Share of all atlas regions in the group average, left and right added."
    if with_paper:
        said += (
            f" {paper.SHORT}, atlas AAL1: published for another cohort, for comparison, not a target; in brackets "
            "the rank of that region here."
        )
    rankings = asked.rankings(selection, "share_of_average", True)
    st.caption(" ".join(part for part in (said, say_left_out(rankings, formatting.method_name)) if part))
    return {diagnosis: numbers for diagnosis, (_, numbers, _) in found.items()}


def latex(tables: dict[str, pd.DataFrame], selection: Selection, regions: pd.DataFrame) -> str:
    """Write table 1 of this run as LaTeX."""
    manifest = runs.manifest(selection.run)
    kind = "simulated cohort" if manifest["simulated"] else manifest["cohort"]
    only = selection.scan_filter.in_words(str)
    note = (
        f"Regions with the largest share of the group average of relevance, left and right added "
        f"({kind}, {formatting.MODEL_SETS[selection.model_set].lower()}, evidence for {selection.evidence_as_text()}"
        f"{', only ' + only if only else ''}; run {selection.run.run_id})."
    )
    methods = {m: formatting.method_name(m) for table in tables.values() for m in table["method"]}
    return table_1.latex(tables, methods, {r: formatting.region_name(r) for r in regions["merged"]}, note)
