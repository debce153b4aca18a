"""How well the networks do at each site: a part of the Overview page."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.data import runs
from dashboard.data.accuracy import judged_set
from dashboard.data.runs import Run
from dashboard.shell import access, display, names, url_state
from dashboard.shell.page import Download
from dashboard.text.formatting import MODEL_SETS, count, with_interval
from store.accuracy import LEAST_SUBJECTS, Estimate, by_site

SHOWN = {
    "auc": "AUC",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
}
SHOWN_OF_VALUES = {"mae": "Mean absolute error", "r": "r", "r2": "R²"}


@st.cache_resource(max_entries=8, show_spinner=False)
def _found(run: Run) -> dict[str, tuple[dict[str, Estimate], int, int]]:
    predictions, sites = runs.table(run, "predictions"), runs.table(run, "scans").set_index("scan")["site"]
    positive, is_value = runs.manifest(run)["groups"][0], runs.answer(run).is_value
    return by_site(predictions, sites, judged_set(predictions), positive, is_value)


def _has_sites(run: Run) -> bool:
    """Return whether the scans come from several sites."""
    sites = runs.table(run, "scans")["site"].fillna("")
    return sites[sites != ""].nunique() > 1


def table(run: Run) -> pd.DataFrame:
    """Return a row a site as text: its estimates with 95 % intervals, scans and subjects."""
    shown = SHOWN_OF_VALUES if runs.answer(run).is_value else SHOWN
    rows = []
    for site, (found, scans, subjects) in _found(run).items():
        row = {"Site": names.shown_name(site), "Scans": str(scans), "Subjects": str(subjects)}
        row |= {words: with_interval(*_numbers(found[name])) for name, words in shown.items() if name in found}
        rows.append(row)
    return pd.DataFrame(rows)


def numbers(run: Run) -> pd.DataFrame:
    """Return the same as numbers, a row a site and metric."""
    return pd.DataFrame([
        {"site": names.shown_name(site), "metric": name, "value": one.value, "low": one.low, "high": one.high,
         "scans": scans, "subjects": subjects, "subjects_of_smaller_group": one.subjects}
        for site, (found, scans, subjects) in _found(run).items() for name, one in found.items()
    ])  # fmt: skip


def _numbers(one: Estimate) -> tuple[float, float, float]:
    return one.value, one.low, one.high


def section(run: Run) -> list[Download]:
    """Show the accuracy at each site once it is opened, where there are several; return the file with the numbers."""
    if runs.holds_groups_only(run) or not _has_sites(run):
        return []
    if not access.may_see_patients():
        st.markdown("**Accuracy at each site**")
        st.caption(f"What single sites have sent is {access.only_for_whom()}.")
        return []
    file = [Download.csv("Accuracy at each site, CSV", f"{run.run_id}_accuracy-by-site", lambda: numbers(run))]
    box = url_state.fold("o_sites", "Accuracy at each site")
    if box is None:
        return file
    with box, st.spinner("Drawing subjects of each site", show_time=True):
        sites = table(run)
    display.grid(box, sites)
    config = runs.manifest(run).get("config") or {}
    whole = isinstance(split := config.get("split"), dict) and split.get("by") == "site"
    which = judged_set(runs.table(run, "predictions"))
    how = (
        "Each site was left out whole: its scans are judged by networks that were trained at other sites."
        if whole and which == "folds"
        else "The networks were trained on other subjects of the same sites: this says how even they are, not how they "
        "do at a new site, for which folds are made by site (split.by=site)."
    )
    box.caption(
        f"{MODEL_SETS[which]}, {count(len(sites), 'site')}. {how} 95 % CI over the subjects of the site; none where a "
        f"group has fewer than {LEAST_SUBJECTS}. Sites differ in whom they scan, too: intervals that overlap are no "
        "difference."
    )
    return file
