"""Which sets of scans stand side by side: the groups, or two sets that differ in one thing else, A against B."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import streamlit as st

from dashboard.data import averages as data_averages
from dashboard.data import runs
from dashboard.data.cohort import ordered_diagnoses
from dashboard.data.selection import SEXES, ScanFilter, Selection, explained_scans, fill_missing
from dashboard.shell import access, url_state
from dashboard.views.shared import kept_set, map_grid

GROUPS, DECISION, SEX, AGE, SITE, KEPT = "groups", "decision", "sex", "age", "site", "kept"
WORDS = {
    GROUPS: "The groups", DECISION: "Right against wrong decisions", SEX: "Women against men",
    AGE: "Younger against older", SITE: "Site against site", KEPT: "A, kept, against the filters at the left",
}  # fmt: skip
FIELDS = {DECISION: "correct", SEX: "sex", SITE: "site"}  # of the filter
Columns = dict[str, ScanFilter]
# On a phone choice and button share a line: the pin stays, its words are for screen readers.
STYLE = """<style>@media (max-width: 640px) {
.st-key-two-sets {flex-wrap: nowrap;} .st-key-two-sets > div {min-width: 0;} .st-key-g-keep-a {flex: 0 0 auto;}
.st-key-g-keep-a button {min-width: 0; padding: 0.25rem 0.5rem;} .st-key-g-keep-a button p {font-size: 0;}}</style>"""


def choose(selection: Selection) -> Columns:
    """Let the reader choose what stands side by side; return heading -> filter.

    Readers who may not see single patients have the groups as published, for two averages tell the third.
    """
    if not access.may_see_patients():
        return of_groups(selection)
    kept = kept_set.current(explained_scans(selection.run, selection.model_set))
    offered = [GROUPS, *(by for by in (DECISION, SEX, AGE, SITE) if can_part(_passing(selection, by), by))]
    st.html(STYLE)
    row = st.container(horizontal=True, vertical_alignment="center", gap="small", key="two-sets")
    chosen = url_state.choose(
        "g_by", "Side by side", offered if kept is None else [*offered, KEPT], words=WORDS.__getitem__,
        label_visibility="collapsed", place=row,
        help="Two sets, A and B, of all scans that pass the filters at the left.",
    )  # fmt: skip
    with row:
        kept_set.button(selection.scan_filter, "g_by", KEPT)
    if chosen == GROUPS:
        return of_groups(selection)
    if chosen == KEPT and kept is not None:
        kept_set.advice(kept, selection.scan_filter)
        return dict(zip(kept_set.headings(kept, selection.scan_filter), (kept, selection.scan_filter), strict=True))
    rows = _passing(selection, chosen)
    return parted(selection.scan_filter, rows, chosen, *(choose_sites(rows) if chosen == SITE else ("", "")))


def _passing(selection: Selection, by: str) -> pd.DataFrame:
    """Return the scans that pass all filters but that on what parts them; ages are parted within the filter."""
    rows = explained_scans(selection.run, selection.model_set)
    open_filter = replace(selection.scan_filter, **{FIELDS[by]: None}) if by in FIELDS else selection.scan_filter
    return rows[open_filter.passing(rows)]


def choose_sites(rows: pd.DataFrame) -> tuple[str, str]:
    """Choose two sites, those with the most subjects at first."""
    sites = fill_missing(rows.site)
    names = rows.subject.groupby(sites).nunique().sort_values(ascending=False).index.tolist()
    first = url_state.choose("g_site_a", "Site A", names)
    return first, url_state.choose("g_site_b", "Site B", [name for name in names if name != first])


def of_groups(selection: Selection) -> Columns:
    """Return a column for each group, or each diagnosis that is chosen at the left."""
    groups = data_averages.diagnoses_of_groups(selection.run, selection.model_set)
    chosen = selection.scan_filter.diagnosis
    if chosen == ():  # no group is large enough for this reader
        return {}
    wanted = map_grid.columns_of(groups, chosen or others(selection, groups))
    return map_grid.filters_of(wanted, selection.scan_filter)


def others(selection: Selection, groups: dict[str, tuple[str, ...]]) -> list[str]:
    """Return the diagnoses of a run whose scans belong to no group: new scans."""
    if any(groups.values()):
        return []
    return ordered_diagnoses(explained_scans(selection.run, selection.model_set), list(groups))


def can_part(rows: pd.DataFrame, by: str) -> bool:
    """Return whether scans can be parted in two by something."""
    if by == DECISION:
        return rows.correct.dropna().nunique() == 2
    if by == AGE:
        return rows.age.dropna().nunique() > 1
    if by == SEX:
        return rows.sex.isin(list(SEXES)).any() and rows.sex[rows.sex.isin(list(SEXES))].nunique() == 2
    return fill_missing(rows.site).nunique() > 1


def parted(scan_filter: ScanFilter, rows: pd.DataFrame, by: str, first: str = "", second: str = "") -> Columns:
    """Return two columns that differ in one thing; filters on anything else hold for both.

    Args:
        rows: scans that pass the other filters; ages are parted at their median over subjects.
        first, second: sites.
    """
    if by == DECISION:
        return {"Right": replace(scan_filter, correct=True), "Wrong": replace(scan_filter, correct=False)}
    if by == SEX:
        return {words.capitalize(): replace(scan_filter, sex=(sex,)) for sex, words in SEXES.items()}
    if by == SITE:
        return {site: replace(scan_filter, site=(site,)) for site in (first, second)}
    ages = rows.age.dropna()
    low, high = scan_filter.age or (float(ages.min()), float(ages.max()))
    middle = float(rows.loc[ages.index].groupby("subject").age.mean().median())
    younger, older = ages[ages <= middle], ages[ages > middle]
    if older.empty:  # all of the older half are of the same age
        younger, older = ages[ages < middle], ages[ages >= middle]
    ends = (low, float(younger.max())), (float(older.min()), high)
    names = f"Up to {ends[0][1]:g} years", f"From {ends[1][0]:g} years"
    return {name: replace(scan_filter, age=end) for name, end in zip(names, ends, strict=True)}


def rows_of(selection: Selection, columns: Columns) -> dict[str, pd.DataFrame]:
    """Return heading -> explained scans of the column."""
    rows = explained_scans(selection.run, selection.model_set)
    return {name: rows[scan_filter.passing(rows)].reset_index(drop=True) for name, scan_filter in columns.items()}


def also_explained(selection: Selection, columns: Columns) -> list[str]:
    """Return diagnoses that have maps and no column."""
    rows = explained_scans(selection.run, selection.model_set)
    shown = {d for one in columns.values() for d in one.diagnosis or set(rows.diagnosis)}
    return [d for d in ordered_diagnoses(rows, runs.manifest(selection.run)["groups"]) if d not in shown]
