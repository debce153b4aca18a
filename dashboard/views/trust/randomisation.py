"""Randomisation: does a heatmap change when what the network learned is taken from it."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.data.runs import Run
from dashboard.shell import display, url_state
from dashboard.shell.page import Download
from dashboard.text.formatting import correlation, method_name, plain
from dashboard.views.trust import similarity_charts, words
from dashboard.views.trust import tables as trust_tables
from store.reading.trust_figures import FAILS, HOLDS, UNCLEAR, Measured, judge

MEASURES = {
    "ssim": "SSIM", "ssim_absolute": "SSIM of |h|", "rank_correlation": "Spearman",
    "rank_correlation_absolute": "Spearman of |h|",
}  # fmt: skip
SAID = {
    HOLDS: "it falls below them", FAILS: "it does not fall below them",
    UNCLEAR: "whether it falls below them is unclear",
}  # fmt: skip
FORMULA = r"\mathrm{SSIM}\left(h_{\theta}, h_{\theta_k}\right),\quad \theta_k:\ k\ \mathrm{layers\ drawn\ anew}"
SOURCE = (
    "Cascading randomisation of Adebayo et al. 2018; the reference, the mean over 50 pairs of maps of different scans, "
    "is the rule of Arun et al. 2021. Definition: docs/definitions.md, Trust."
)
HOW = (
    "The network forgets layer by layer, from the output on, and each time its heatmaps are compared with those "
    "before: strong colour is alike. A method that shows what the network learned fades to the right.\n\n"
    "One that stays as alike as maps of different scans are (the dotted line) shows the picture and not the network, "
    "however sensible it looks: it fails this test."
)


def section(run: Run) -> list[Download]:
    """Show the strip of all methods, and the chosen one against its reference."""
    what = "How heatmaps change when layers of the network are drawn anew"
    table = words.measured(run, "randomisation", what, HOW)
    if table.empty:
        return []
    measures = [measure for measure in MEASURES if (table["measure"] == measure).any()]
    row = st.container(horizontal=True, gap="medium", vertical_alignment="bottom")
    measure = url_state.choose(
        "t_similarity", "Similarity", measures, widget="segmented", words=MEASURES.__getitem__, place=row,
        width="content",
    )  # fmt: skip
    own = table[table["measure"] == measure]
    last = trust_tables.randomisation(table, measure)
    methods = trust_tables.order(last, low_is_good=True)
    method = url_state.choose(
        "t_method", "Method", trust_tables.methods_of(own), words=method_name, place=row, width=320
    )  # fmt: skip
    left, right = st.columns([1.35, 1], gap="medium")
    left.markdown(f"**{MEASURES[measure]} to the map before, all methods**")
    low = min(0.0, float(own["value"].min()))
    display.chart(left, similarity_charts.strip(own, methods, low), "trust-strip", wide=True)
    drawn = own[own["method"] == method]
    right.markdown(f"**{plain(method_name(method))}**")
    display.chart(right, similarity_charts.cascade(drawn, method), "trust-cascade")
    right.caption(say_end(last[last["method"] == method]))
    empty = int(own["empty"].fillna(0).max())
    st.caption(
        f"{words.n_of(own)}. *labels*: networks trained on labels that were dealt out anew. Band: 95 % CI over "
        f"subjects.{f' Up to {empty} pairs hold a map without relevance, and have no similarity.' if empty else ''}"
    )
    return [Download.csv("Randomisation, CSV", f"{run.run_id}_trust-randomisation", lambda: table)]


def say_end(row: pd.DataFrame) -> str:
    """Say where a method ends up beside its reference, by the rule of the line under its heatmaps."""
    if row.empty or row["value"].isna().all() or row["reference"].isna().all():
        return "After all layers were drawn anew no similarity is known."
    one = row.iloc[0]
    end = f"After all layers: {correlation(one['value'])}"
    known = one["low"] == one["low"]
    interval = f" ({correlation(one['low'])} to {correlation(one['high'])})" if known else ""
    reference = f"maps of different scans {correlation(one['reference'])}"
    found = Measured(one["value"], one["low"], one["high"])
    return f"{end}{interval}, {reference}: **{SAID[judge(found.minus(one['reference']).negative())]}**."
