"""The overview of a run of new scans: each scan with what the networks say of it, whether they agree, and flags."""

from __future__ import annotations

import base64

import pandas as pd
import streamlit as st

from dashboard.data import runs
from dashboard.data.anatomy import anatomy
from dashboard.data.averages import Average
from dashboard.data.runs import Run
from dashboard.data.selection import OneHeatmap, explained_scans
from dashboard.drawing import slices
from dashboard.shell import access, display, names, url_state
from dashboard.shell.page import Download
from dashboard.text.formatting import plain
from dashboard.text.outputs import OutputDescription
from dashboard.views.shared import tiles
from store import NotInRunError
from store.keys import are_retrained

KEY = "o-new-scans"
PICTURED = 40  # scans of the list, which has the urgent ones first


def work_list(
    predictions: pd.DataFrame, scans: pd.DataFrame, flags: pd.DataFrame, answer: OutputDescription
) -> pd.DataFrame:
    """Return one row a scan: subject, scan, what the networks say, whether they agree, and flags.

    Scans about which the networks disagree come first, then those with flags, then by how near the middle they are.

    Args:
        flags: rows of the table flags; may be empty.
    """
    rows = []
    said = predictions[~are_retrained(predictions.model)]
    counted = flags.groupby("scan").size()
    for scan, own in said.groupby("scan", sort=False):
        values = own[answer.column]
        above = int((values >= answer.middle).sum())
        rows.append({
            "scan": scan, "value": float(values.mean()), "low": float(values.min()), "high": float(values.max()),
            "networks": len(values), "agree": above in (0, len(values)), "flags": int(counted.get(scan, 0)),
        })  # fmt: skip
    table = pd.DataFrame(rows, columns=["scan", "value", "low", "high", "networks", "agree", "flags"])
    table = table.merge(scans[["scan", "subject", "session"]], on="scan", how="left")
    near = (table["value"] - answer.middle).abs()
    order = pd.DataFrame({"agree": table["agree"], "clean": table["flags"] == 0, "near": near})
    return table.loc[order.sort_values(["agree", "clean", "near"], kind="stable").index].reset_index(drop=True)


def section(run: Run) -> None:
    """Show the list to readers who may see single patients; a chosen row opens the patient."""
    if not access.may_see_patients():
        st.info(f"The new scans one by one are {access.only_for_whom()}.")
        return
    answer, table = runs.answer(run), _table(run)
    st.subheader("Every new scan", anchor=False)
    st.caption(
        f"{plain(answer.name)}: mean over the networks, and from the lowest to the highest. Where they do not agree "
        "the mean says little; those scans come first, then flagged ones. Heatmap: one network’s, "
        "by the first method. Choose a row to open the patient."
    )
    called = names.shown(table)
    shown = pd.DataFrame({
        "Subject": called["subject"], "Session": called["session"].fillna(""),
        answer.axis: [answer.number(value) for value in table["value"]],
        "Lowest to highest": [
            f"{answer.number(low)} to {answer.number(high)}"
            for low, high in zip(table["low"], table["high"], strict=True)
        ],
        "Networks": table["networks"], "They agree": ["yes" if yes else "NO" for yes in table["agree"]],
        "Flags": table["flags"],
    })  # fmt: skip
    shown.insert(0, "Heatmap", pictures(run, table))
    event = display.grid(
        st.container(gap=None), shown, on_select="rerun", selection_mode="single-row", key=KEY, row_height=64,
        columns={"Heatmap": st.column_config.ImageColumn(width=70)},
    )  # fmt: skip
    chosen = event["selection"]["rows"] if event else []
    if chosen:
        row = table.iloc[chosen[0]]
        url_state.go("patient", {"p_subject": row["subject"], "set": next(iter(runs.available(run)))})


def pictures(run: Run, table: pd.DataFrame) -> list[str | None]:
    """Return for each scan of a work list a coronal slice of one network's heatmap, as an address that holds it.

    Only the first PICTURED scans have one, by the first method of the run; the others, and heatmaps of 0, None.
    """
    sets = runs.available(run)
    if not sets:
        return [None] * len(table)
    model_set = next(iter(sets))
    rows = explained_scans(run, model_set).drop_duplicates("scan").set_index("scan")
    found, own = anatomy(run), runs.explained_target(run)
    mm = slices.paper_positions(found.brain.shape[1], found.affine)[1]
    made: list[str | None] = []
    for scan in table["scan"].head(PICTURED):
        try:
            heatmap = OneHeatmap(run, model_set, sets[model_set][0], own, model=str(rows.model[scan]), scan=str(scan))
            jpeg = tiles.picture(tiles.Tile(Average(heatmap), "coronal", float(mm))).jpeg
            made.append(f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}")
        except (NotInRunError, KeyError):
            made.append(None)
    return [*made, *[None] * (len(table) - len(made))]


def downloads(run: Run) -> list[Download]:
    """Return the list as CSV."""
    if not access.may_see_patients():
        return []
    return [Download.csv("New scans, CSV", f"{run.run_id}_new-scans", lambda: _table(run))]


def _table(run: Run) -> pd.DataFrame:
    return work_list(runs.table(run, "predictions"), runs.table(run, "scans"), runs.flags(run), runs.answer(run))
