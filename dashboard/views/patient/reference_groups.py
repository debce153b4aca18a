"""A new scan beside the groups of the run whose networks explained it. A part of the Patient page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from dashboard.data import averages as data_averages
from dashboard.data import runs
from dashboard.data.averages import Average
from dashboard.data.kept import kept
from dashboard.data.reference_run import Reference
from dashboard.data.runs import Run
from dashboard.data.selection import OneHeatmap, Selection
from dashboard.drawing import palette
from dashboard.drawing.chart import Chart
from dashboard.shell import display, url_state
from dashboard.text import formatting
from dashboard.views.patient import charts
from dashboard.views.patient import queries as patient_queries
from dashboard.views.patient import tables as patient_tables
from dashboard.views.shared import map_controls, map_grid
from dashboard.views.shared.map_controls import MapStyle
from store import NotInRunError

Tables = Mapping[str, pd.DataFrame]  # method -> a scan's regions against a group


def flags(run: Run, scan: str) -> None:
    """Warn of quality figures of the scan that are out of bounds."""
    if said := _flags(run).get(scan):
        st.warning(said, icon=":material/warning:")


@kept(8)
def _flags(run: Run) -> dict[str, str]:
    """Return scan -> what is out of bounds in it, as Markdown; only scans that have something."""
    return {
        scan: "  \n".join(map(formatting.plain, patient_tables.flag_texts(rows)))
        for scan, rows in runs.flags(run).groupby("scan", sort=False)
    }


def notes(reference: Reference, groups: Sequence[str]) -> None:
    """Say whose networks these are, and what must be known of them."""
    if reference.simulated:
        st.warning(
            f"The networks of {formatting.plain(reference.run_id)} were trained on simulated change: what they say "
            "of a real scan is no "
            "evidence.",
            icon=":material/science:",
        )
    lines = list(reference.notes)
    if reference.run is None:
        lines.append(
            f"That run is not in this store, so the scan cannot be set beside its {' and '.join(groups)} subjects: "
            "copy it here, or open the store that holds it."
        )
    st.caption("  \n".join(map(formatting.plain, lines)))


def knows(against: Mapping[str, Tables], method: str) -> bool:
    """Say whether there are groups to set this method's regions beside."""
    return bool(against) and all(method in found for found in against.values())


def tables(
    reference: Reference, selection: Selection, model: str, row: pd.Series, methods: Sequence[str]
) -> Mapping[str, Tables]:
    """Return group of the reference run -> method -> regions of the scan against that group.

    With the same models, methods and target; none where the reference run lacks them.
    """
    found: dict[str, dict[str, pd.DataFrame]] = {}
    if reference.run is None:
        return found
    for method in methods:
        shares = patient_queries.region_shares(selection.run, selection.model_set, method, selection.target)
        try:
            people = patient_queries.subject_means(reference.run, selection.model_set, method, selection.target)
        except NotInRunError:
            continue
        if (model, row["scan"]) not in shares.index or people.empty:
            continue
        own = shares.loc[(model, row["scan"])]
        for group in runs.manifest(reference.run)["groups"]:
            table = patient_tables.against_group(own, people, row["subject"], group)
            found.setdefault(group, {})[method] = table
    return found


def chart(against: Mapping[str, Tables], method: str, top: Sequence[str], groups: Sequence[str]) -> Chart:
    """Return the strongest regions of the scan beside both groups."""
    return charts.against_groups(_regions(against, method, top), palette.method_colour(method), groups)


def percentiles(reference: Reference, against: Mapping[str, Tables], method: str, top: Sequence[str]) -> None:
    """Show where the scan stands among the subjects of both groups, region by region."""
    own = _regions(against, method, top)
    people = " and ".join(f"{int(table.n.iloc[0])} {group}" for group, table in own.items() if len(table))
    st.subheader("Among the cohort", anchor=False)
    display.table(st.container(), patient_tables.percentile_table(own))
    st.caption(
        f"Percentile of the scan's share among the {formatting.plain(people)} subjects of "
        f"{formatting.plain(reference.run_id)}, same method, models and "
        f"evidence; {formatting.NONE} below {patient_tables.FEWEST} subjects. 50: as the middle of the group."
    )


def pictures(reference: Reference, selection: Selection, model: str, row: pd.Series, method: str) -> None:
    """Show on request the scan's heatmap beside the average of each group of the reference run, on one scale."""
    label = f"The groups of {reference.run_id}{' (SIMULATED)' if reference.simulated else ''}, as pictures"
    box = url_state.fold("p_groups", formatting.plain(label))
    if box is None or reference.run is None:
        return
    chosen = selection.of(method=method)
    look = map_controls.as_in_the_paper(reference.run, (method,))
    averages, people = _of_groups(reference, chosen, look), str(row["subject"])
    scale = data_averages.measured(next(iter(averages.values())))[0]
    own = OneHeatmap(chosen.run, chosen.model_set, method, chosen.target, model=model, scan=row["scan"])
    with st.spinner("Drawing the groups"):
        drawn = map_grid.draw_available({method: {people: Average(own, look.value, scale), **averages}}, averages, look)
    st.html(map_controls.ROWS)
    columns = box.container(key="maps-row-reference").columns(max(len(drawn), 3))
    for column, (panel, picture) in zip(columns, drawn.items(), strict=False):
        who = f"{people}, explained by {model}" if panel.heading == people else f"{panel.heading}, {panel.people()}"
        display.brain_picture(column, picture, who, map_grid.description(panel, look))
    alone = (
        "" if people in {panel.heading for panel in drawn} else f"Of {formatting.network_name(model)} there is none. "
    )
    box.caption(
        f"{formatting.method_name(method)}, evidence for {selection.evidence()}, one colour scale, from the median "
        f"of these maps. {alone}An average over subjects is smoother than the map of one scan. "
        f"{map_controls.small_print(look)}"
    )


def _of_groups(reference: Reference, selection: Selection, look: MapStyle) -> dict[str, Average]:
    """Return heading -> average of a group of the reference run, of the same models, method and target."""
    groups = data_averages.diagnoses_of_groups(reference.run, selection.model_set)
    columns = {f"{name} of {reference.run_id}": who for name, who in map_grid.columns_of(groups, None).items()}
    wanted = map_grid.averages_by_method(selection.of(run=reference.run), look, map_grid.filters_of(columns))
    return wanted[selection.method]


def _regions(against: Mapping[str, Tables], method: str, top: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return group -> some regions of one method, in their order."""
    return {group: found[method].set_index("region").loc[list(top)].reset_index() for group, found in against.items()}
