"""A new scan beside the groups of the run whose networks explained it. A part of the Patient page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from dashboard import queries, queries_patient, show, summaries_patient
from dashboard.figures import palette, patient, words
from dashboard.filters import Selection
from dashboard.queries import Run
from dashboard.reference import Reference
from store import NotInRun

Tables = dict[str, pd.DataFrame]  # method -> a scan's regions against a group


def flags(run: Run, scan: str) -> None:
    """Quality figures of the scan that are out of bounds, as plain warnings."""
    table = queries.flags(run)
    texts = summaries_patient.flag_texts(table[table.scan == scan])
    if texts:
        st.warning("  \n".join(texts), icon=":material/warning:")


def notes(reference: Reference, groups: Sequence[str]) -> None:
    """Whose networks these are, and what must be known of them."""
    if reference.simulated:
        st.warning(
            f"The networks of {reference.run_id} were trained on simulated change: what they say of a real scan is no "
            "evidence.",
            icon=":material/science:",
        )
    lines = list(reference.notes)
    if reference.run is None:
        lines.append(
            f"That run is not in this store, so the scan cannot be set beside its {' and '.join(groups)} subjects: "
            "copy it here, or open the store that holds it."
        )
    st.caption("  \n".join(lines))


def knows(against: Mapping[str, Tables], method: str) -> bool:
    """Whether there are groups to set this method's regions beside."""
    return bool(against) and all(method in found for found in against.values())


def tables(
    reference: Reference, selection: Selection, model: str, row: pd.Series, methods: Sequence[str]
) -> dict[str, Tables]:
    """Group of the reference -> its tables, with the same models, methods and target; none where it lacks them."""
    found: dict[str, Tables] = {}
    if reference.run is None:
        return found
    for method in methods:
        shares = queries_patient.region_shares(selection.run, selection.model_set, method, selection.target)
        try:
            people = queries_patient.subject_means(reference.run, selection.model_set, method, selection.target)
        except NotInRun:
            continue
        if (model, row["scan"]) not in shares.index or people.empty:
            continue
        own = shares.loc[(model, row["scan"])]
        for group in queries.manifest(reference.run)["groups"]:
            table = summaries_patient.against_group(own, people, row["subject"], group)
            found.setdefault(group, {})[method] = table
    return found


def chart(against: Mapping[str, Tables], method: str, top: Sequence[str], groups: Sequence[str]) -> None:
    """The strongest regions of the scan beside both groups of the reference."""
    figure = patient.against_groups(_regions(against, method, top), palette.method_colour(method), groups)
    show.chart(st, figure, "p-regions")


def percentiles(reference: Reference, against: Mapping[str, Tables], method: str, top: Sequence[str]) -> None:
    """Where the scan stands among the subjects of both groups, region by region."""
    own = _regions(against, method, top)
    people = " and ".join(f"{int(table.n.iloc[0])} {group}" for group, table in own.items() if len(table))
    st.subheader("Among the cohort", anchor=False)
    show.table(st, summaries_patient.percentile_table(own))
    st.caption(
        f"Percentile of the scan's share among the {people} subjects of {reference.run_id}, same method, models and "
        f"evidence; {words.NONE} below {summaries_patient.FEWEST} subjects. 50: as the middle of the group."
    )


def _regions(against: Mapping[str, Tables], method: str, top: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Group -> some regions of one method, in their order."""
    return {group: found[method].set_index("region").loc[list(top)].reset_index() for group, found in against.items()}
