"""Faithfulness: does the decision change when what a heatmap marks is deleted, and return when it is shown."""

from __future__ import annotations

import streamlit as st

from dashboard.data import runs
from dashboard.data.runs import Run
from dashboard.shell import display, url_state
from dashboard.shell.page import Download
from dashboard.text.formatting import method_name, plain
from dashboard.views.trust import beside_truth, queries, words
from dashboard.views.trust import charts as trust_charts
from dashboard.views.trust import tables as trust_tables
from dashboard.views.trust.tables import Measure

UNITS = {"region": "Regions", "voxel": "Voxels"}
DIRECTIONS = {"deletion": "Deletion", "insertion": "Insertion"}
AGAINST = {
    "random": "against a random order", "group_difference": "against the groups’ difference",
    "untrained": "against an untrained network",
}  # fmt: skip
FORMULA = (
    r"A = \int_0^1 \frac{M(f) - M(\mathrm{all\ replaced})}{M(\mathrm{whole}) - M(\mathrm{all\ replaced})}\,\mathrm{d}f"
)
SOURCE = (
    "M: margin after a share f of the brain was replaced (deletion) or shown (insertion), the most relevant first. "
    "Samek et al. 2017; Petsiuk et al. 2018. Definition: docs/definitions.md, Trust."
)
HOW = (
    "Deletion takes away what a method marks first: the faster its own line falls, the more the network uses what is "
    "marked. Insertion begins with nothing: there the faster line rises.\n\n"
    "A method is faithful where its own order beats the others: a random one, the difference of the two groups, which "
    "needs no network at all, and its own map of an untrained network. Bands: 95 % CI over subjects."
)


def section(run: Run) -> list[Download]:
    """Show deletion and insertion curves of a method, and the gain of every method over other orders."""
    curves, areas = queries.table(run, "faithfulness_curves"), queries.table(run, "faithfulness")
    if areas.empty and curves.empty:
        words.nothing(run, "How the decision changes when what a heatmap marks is deleted", "faithfulness")
        return []
    st.markdown(HOW)
    known = areas if len(areas) else curves
    groups = runs.manifest(run)["groups"]
    row = st.columns([1.6, 1, 1.2], vertical_alignment="bottom", gap="small")
    methods = trust_tables.methods_of(known)
    method = url_state.choose("t_method", "Method", methods, words=method_name, place=row[0])
    units = [unit for unit in UNITS if (known["unit"] == unit).any()]
    unit = url_state.choose("t_unit", "Unit", units, widget="segmented", words=UNITS.__getitem__, place=row[1])
    diagnoses = trust_tables.diagnoses_of(known, groups)
    whom = url_state.choose("t_whom", "Scans of", diagnoses, widget="segmented", words=words.people, place=row[2])
    keep = curves["unit"].eq(unit) & curves["diagnosis"].eq(whom) & curves["method"].eq(method)
    own = curves[keep]
    for place, direction in zip(st.columns(2, gap="medium"), DIRECTIONS, strict=True):
        drawn = own[own["direction"] == direction]
        place.markdown(f"**{DIRECTIONS[direction]}**, {plain(method_name(method))}")
        if drawn.empty:
            place.caption("This run has no curve of it.")
            continue
        display.chart(place, trust_charts.curves(drawn, method, direction), f"trust-{direction}")
    st.caption(
        f"{words.n_of(own)}. Replaced by the mean brain; the margin goes from 0, all replaced, to 1, the whole scan."
    )
    _gains(areas, unit, whom)
    name = f"{run.run_id}_trust"
    return [
        Download.csv("Curves, CSV", f"{name}-curves", lambda: curves),
        Download.csv("Areas and gains, CSV", f"{name}-faithfulness", lambda: areas),
        *beside_truth.section(run, whom),
    ]


def _gains(areas, unit: str, whom: str) -> None:
    """Show by how much the own order of every method beats the others."""
    direction = url_state.choose(
        "t_direction", "Gain of every method", list(DIRECTIONS), widget="segmented", words=DIRECTIONS.__getitem__
    )  # fmt: skip
    found = {
        order: trust_tables.faithfulness(areas, order, whom, unit, direction)
        for order in AGAINST
        if (areas["order"] == order).any()
    }
    ends = trust_charts.axis_range(list(found.values())) if found else []
    for place, (order, rows) in zip(words.board("gains", len(found)), found.items(), strict=True):
        place.markdown(f"**Gain {AGAINST[order]}**")
        measure = Measure(AGAINST[order], f"gain in area, {direction} by {UNITS[unit].lower()}", zero=True)
        methods = trust_tables.order(rows)
        display.chart(place, trust_charts.dots([rows], methods, measure, ends), f"trust-gain-{order}")
    st.caption("Right of 0 the method’s own order is better. Lines: 95 % CI over subjects.")
