"""What the Overview of a simulated run shows of the truth: how well each method finds what was imposed."""

from __future__ import annotations

import streamlit as st

from dashboard.data import runs
from dashboard.data.runs import Run
from dashboard.drawing.chart import Chart
from dashboard.shell import display, url_state
from dashboard.shell.page import Download
from dashboard.text.formatting import MODEL_SETS, count
from dashboard.views.overview import queries as overview_queries
from dashboard.views.overview import truth_charts, truth_tables
from store.spec import TRUTH_VISIBLE_BINARY


@st.cache_resource(max_entries=8, show_spinner=False)
def _charts(run: Run) -> dict[str, Chart]:
    """Draw one chart a score, so that they stand below each other on a phone."""
    own = truth_tables.select_patients(overview_queries.truth_scores(run), runs.manifest(run)["groups"][0])
    shown = truth_tables.SHOWN_BEFORE if _is_old(run) else truth_tables.SHOWN
    return {
        score: truth_charts.scores(own, {score: title})
        for score, title in shown.items()
        if (own["score"] == score).any()
    }


def _is_old(run: Run) -> bool:
    """Say whether the truth of the run is of before version 1.3 of the store, which had no visible change."""
    return not runs.opened(run).has_array(TRUTH_VISIBLE_BINARY.path)


def section(run: Run) -> None:
    """Show truth scores beside their references and ceilings; nothing for real scans."""
    manifest = runs.manifest(run)
    if not manifest["simulated"] or runs.answer(run).is_value:
        return
    st.subheader("Do the heatmaps find what was imposed?", anchor=False)
    found, positive = overview_queries.truth_scores(run), manifest["groups"][0]
    own = None if found is None else truth_tables.select_patients(found, positive)
    if own is None or own.empty:
        st.caption("SIMULATED, with nothing imposed that heatmaps could be scored against.")
        return
    which = MODEL_SETS[own["model_set"].iloc[0]].lower()
    said = (truth_tables.say_answer(own), truth_tables.say_ensemble(found, positive), truth_tables.say_baseline(own))
    st.markdown(" ".join(filter(None, said)))
    st.caption(
        "SIMULATED: the change was imposed, so where it lies is known. Mean heatmap of "
        f"{count(int(own['scans'].iloc[0]), 'scan')} of {positive}, {which}. Networks that never saw the change "
        "favour some places, too: what counts is by how much a method exceeds them. "
        f"{truth_tables.BEFORE_VISIBLE_CHANGE if _is_old(run) else truth_tables.say_ceilings(own)}"
    )
    row = st.container(key="truth-charts").columns(2, gap="medium")
    for place, (score, chart) in zip(row, _charts(run).items(), strict=False):
        display.chart(place, chart, f"truth-{score}")
    box = url_state.fold("o_truth", "All truth scores")
    if box is not None:
        box.caption(
            "Voxelwise scores are against the visible change, scores of regions against the log-Jacobian that was "
            f"imposed on them. Scans without imposed change are scored against what was imposed on {positive}."
        )
        display.grid(box, truth_tables.table(found, positive))


def downloads(run: Run) -> list[Download]:
    """Return the scores as a table, where there are any."""
    found = overview_queries.truth_scores(run)
    return [] if found is None else [Download.csv("Truth scores, CSV", f"{run.run_id}_truth-scores", lambda: found)]
