"""Anatomy: does the relevance of a region follow the tissue that is there."""

from __future__ import annotations

import streamlit as st

from dashboard.data import runs
from dashboard.data.runs import Run
from dashboard.shell import display, url_state
from dashboard.shell.page import Download
from dashboard.text.formatting import method_name, plain, region_name
from dashboard.views.trust import charts as trust_charts
from dashboard.views.trust import tables as trust_tables
from dashboard.views.trust import words
from dashboard.views.trust.tables import MEASURES
from store.accuracy import LEAST_SUBJECTS

COUNTS = {"15": 15, "30": 30, "all": None}
FORMULA = r"r_R = \mathrm{corr}_s\left(\sum_{v \in R} h_{sv},\ V_{sR}\right)"
SOURCE = (
    "Pearson over subjects s of the signed relevance of a region R and its tissue volume. For LRP and the hippocampus "
    "about −0.86 was published (Dyrba et al. 2021). Definition: docs/definitions.md, Trust."
)
HOW = (
    "A network that looks for atrophy should find more evidence where less tissue is left: the relevance of a region "
    "then falls as its volume grows, and its dot lies left of 0.\n\n"
    "It is no proof: a region can follow its volume because all volumes go together. The hippocampus, first to shrink "
    "in Alzheimer’s disease, stands out as a diamond."
)


def section(run: Run) -> list[Download]:
    """Show the regions of a method, and the hippocampus by all methods."""
    table = words.measured(run, "anatomy", "How far the relevance of each region follows its tissue", HOW)
    if table.empty:
        return []
    groups = runs.manifest(run)["groups"]
    row = st.columns([1.4, 1.2, 1], vertical_alignment="bottom", gap="small")
    method = url_state.choose(
        "t_method", "Method", trust_tables.methods_of(table), words=method_name, place=row[0]
    )  # fmt: skip
    diagnoses = trust_tables.diagnoses_of(table, groups)
    whom = url_state.choose("t_whom", "Subjects of", diagnoses, widget="segmented", words=words.people, place=row[1])
    shown = url_state.choose("t_regions", "Regions", list(COUNTS), widget="segmented", place=row[2])
    own = table[(table["method"] == method) & (table["diagnosis"] == whom)]
    files = [Download.csv("Anatomy, CSV", f"{run.run_id}_trust-anatomy", lambda: table)]
    if own["correlation"].isna().all():
        st.info(
            f"No region has a correlation here, {words.n_of(own)}: of fewer than {LEAST_SUBJECTS} subjects none is "
            "computed, nor where relevance or volume does not vary. Choose other subjects or another method."
        )
        return files
    marked = trust_tables.hippocampi(table)
    rows = trust_tables.strongest(own, marked, COUNTS[shown])
    left, right = st.columns([1.25, 1], gap="medium")
    left.markdown(f"**{plain(method_name(method))}**, strongest regions and the hippocampus")
    names = [region_name(str(region)) for region in rows["region"]]
    display.chart(left, trust_charts.regions(rows, names, marked), "trust-regions")
    series = [trust_tables.anatomy(table, whom, region) for region in marked[:2]]
    if series:
        right.markdown("**Hippocampus, all methods**")
        methods = trust_tables.order(series[0], low_is_good=True)
        chart = trust_charts.dots(series, methods, MEASURES["anatomy"])
        display.chart(right, chart, "trust-hippocampus")
    else:
        right.caption("The atlas of this run names no hippocampus.")
    unknown = int(own["correlation"].isna().sum())
    more = f" {unknown} regions have no correlation: their relevance or volume does not vary." if unknown else ""
    st.caption(f"{words.n_of(own)}, {len(own) - unknown} regions.{more} Lines: 95 % CI over subjects.")
    return files
