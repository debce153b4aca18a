"""A against B by region: the mean share of both sets, their difference, and whether it is more than chance."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.data.averages import Average
from dashboard.data.comparison import CannotCompareError
from dashboard.data.selection import Selection
from dashboard.drawing import regions as figures
from dashboard.shell import display, url_state
from dashboard.shell.page import Download
from dashboard.text import formatting
from dashboard.views.shared import region_comparison, two_sets
from store.export import nifti

DRAWN = 15
ORDERS = {"p": "Smallest p", "difference": "Largest difference", "first": "Share in A", "second": "Share in B"}


def section(selection: Selection) -> list[Download]:
    """Let the reader choose two sets, and show chart and table of all regions by the method at the left."""
    columns = two_sets.choose(selection)
    people = two_sets.rows_of(selection, columns)
    if len(columns) < 2 or any(people[name].empty for name in list(columns)[:2]):
        st.info("There are not two sets with scans to compare: widen the filters at the left, or choose other sets.")
        return []
    first, second = list(columns)[:2]
    a, b = (Average(selection.of(scan_filter=columns[name])) for name in (first, second))
    try:
        table = region_comparison.test(a, b)
    except CannotCompareError as error:
        st.info(f"There is no test: {formatting.plain(str(error))}.")
        return []
    st.markdown(region_comparison.verdict(table))
    order = url_state.choose("r_ab_sort", "Sorted by", list(ORDERS), words=ORDERS.__getitem__, widget="segmented")
    table = in_order(table, order)
    display.chart(st.container(), chart(table.head(DRAWN), first, second), "r-against")
    st.caption(
        f"{formatting.method_name(selection.method)}: mean share of the relevance in the brain over subjects, with its "
        f"95 % interval; the first {min(DRAWN, len(table))} of {len(table)} regions. Subjects in both sets are out. "
        "Welch’s t, q after Benjamini-Hochberg; docs/definitions.md, Two sets of scans."
    )
    _show_all(table, first, second)
    name = f"{selection.run.run_id}_{selection.model_set}_{selection.method}"
    sets = f"{nifti.file_name(first)}-against-{nifti.file_name(second)}"
    return [Download.csv("A against B, regions, CSV", f"{name}_{sets}_regions", lambda: table)]


def in_order(table: pd.DataFrame, order: str) -> pd.DataFrame:
    """Sort the regions by p, by the size of the difference, or by the share in a set."""
    if order == "p":
        return table.sort_values("p", ignore_index=True)
    return table.loc[table[order].abs().sort_values(ascending=False, kind="stable").index].reset_index(drop=True)


def chart(table: pd.DataFrame, first: str, second: str) -> figures.Chart:
    """Draw the mean share of both sets of every region of a table, in its order."""
    parts = [
        pd.DataFrame({
            "diagnosis": name, "region": table["region"], "value": table[own], "low": table[f"{own}_low"],
            "high": table[f"{own}_high"], "rank": pd.NA, "subjects": table[f"{own}_subjects"],
        })
        for name, own in ((first, "first"), (second, "second"))
    ]  # fmt: skip
    sets = [first, second]
    return figures.ranking(
        pd.concat(parts), table["region"].tolist(), sets, sets, axis="share", unit="%", factor=100
    )  # fmt: skip


def _show_all(table: pd.DataFrame, first: str, second: str) -> None:
    """Show every region as a table that the reader may sort."""
    shown = pd.DataFrame({
        "Region": table["region"].map(formatting.region_name), f"{first}, %": 100 * table["first"],
        f"{second}, %": 100 * table["second"], "Difference": 100 * table["difference"], "from": 100 * table["low"],
        "to": 100 * table["high"], "t": table["t"], "p": table["p"], "q": table["q"], "Code": table["region"],
    })  # fmt: skip
    number = st.column_config.NumberColumn(format="%.3g")
    config = {name: number for name in shown.columns if name not in ("Region", "Code")}
    display.grid(st.container(gap=None), shown, columns=config, height=420)
    st.caption("Difference: percentage points, with its 95 % interval. A click on a heading sorts.")
