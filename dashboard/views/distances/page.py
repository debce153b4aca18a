"""How far the methods lie apart: the paper's table 2, as numbers and as pictures, and on every patient."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.data import runs
from dashboard.data.cohort import ordered_diagnoses
from dashboard.data.selection import Selection
from dashboard.drawing import ordering
from dashboard.shell import access, display, names, page, sidebar, url_state
from dashboard.text import formatting
from dashboard.text import paper as text_paper
from dashboard.views.distances import charts as figures
from dashboard.views.distances import tables as between
from dashboard.views.shared import charts as shared_charts
from dashboard.views.shared import trust_line, wording
from dashboard.views.shared.patient_links import draw_chart_of_patients
from store import NotInRunError

FEW_PAIRS = 6  # so many are shown at once; of more, those of the sidebar's method
MEASURES = {"distance": "Distance", "rank_correlation": "Rank correlation"}
CORRELATION = {"group": "Spearman over brain voxels", "scan": figures.CORRELATION_AXIS}
FORMULA = (
    r"d(a, b) = \frac{10^4}{\ell^{1.5}} \sqrt{\sum_v \left(\frac{a_v}{\sum_u a_u} - \frac{b_v}{\sum_u b_u}\right)^2}"
)


def sentence(selection: Selection, rows: pd.DataFrame, diagnoses: list[str]) -> str:
    """Say in a sentence whose maps are compared and by which models."""
    return (
        f"How different the maps of the methods are, for {wording.people(rows, diagnoses)}, "
        f"{formatting.MODEL_SETS[selection.model_set].lower()}, "
        f"evidence for {wording.evidence_of_distances(selection)}."
    )


def notes(selection: Selection, level: str, missing: list[str]) -> None:
    """Say which choices of the sidebar do not act on the numbers, and which diagnoses have none."""
    parts = [f"The run has no distances for {', '.join(map(formatting.plain, missing))}."] if missing else []
    if said := wording.target_of_distances(selection):
        parts.append(said)
    resting = [n for n in selection.scan_filter.active() if n != "diagnosis"]
    if level == "group" and resting:
        parts.append(
            "Distances of group averages are those of all scans of a diagnosis: of the filters only that on diagnosis "
            "applies to them. The distances on single scans follow every filter."
        )
    for part in parts:
        st.info(part)


def numbers(table: pd.DataFrame, scans: pd.DataFrame, diagnoses: list[str], level: str, with_paper: bool) -> None:
    """Show the distances as a table, beside the paper's table 2."""
    st.subheader("Distances between methods", anchor=False)
    display.table(st, between.table_2(table, diagnoses, with_paper))
    if level == "scan" and len(scans):
        people, kind = between.people(scans, diagnoses), f"Mean ± SD over {between.unit_of_rows(scans)}"
    else:
        counts = {d: int(table.scans[table.diagnosis == d].max()) for d in diagnoses}
        people, kind = (
            {d: formatting.count(n, "scan") for d, n in counts.items()},
            "Mean ± SD over scans" if level == "scan" else "Of the group averages",
        )
    n = ", ".join(f"{formatting.plain(diagnosis)} n = {said}" for diagnosis, said in people.items())
    paper = (
        f" {text_paper.SHORT}: group averages of another cohort at 1 mm with AAL1, for comparison, not a target."
        if with_paper
        else ""
    )
    st.caption(f"{kind}: {n}. Distances × 10⁴, for voxels of 1 mm; {CORRELATION[level]}.{paper}")


def pictures(table: pd.DataFrame, diagnoses: list[str], level: str, column: str) -> None:
    """Show the chosen measure as matrices, one column a diagnosis."""
    diagonal, what = (0.0, "distance") if column == "distance" else (1.0, "Spearman")
    matrices = {d: between.square(table, d, column, diagonal) for d in diagnoses}
    if column == "distance":
        colours, low, high = figures.DISTANCE_COLOURS, 0.0, between.largest(list(matrices.values()))
        note = "Strong colour: near. One scale for all diagnoses."
    else:
        colours, low, high = shared_charts.CORRELATION_COLOURS, -1.0, 1.0
        note = f"{CORRELATION[level]}; strong colour: alike. Scale from −1 to 1."
    st.subheader(MEASURES[column], anchor=False)
    for place, diagnosis in zip(st.columns(max(len(diagnoses), 2), gap="large"), diagnoses, strict=False):
        place.markdown(f"**{formatting.plain(diagnosis)}**")
        figure = shared_charts.matrix(
            matrices[diagnosis], low=low, high=high, colours=colours, what=what, slim=len(diagnoses) > 2
        )  # fmt: skip
        display.chart(place, figure, f"d-matrix-{diagnosis}")
    st.caption(note)


def clustering(table: pd.DataFrame, diagnoses: list[str]) -> None:
    """Show as trees which methods lie near each other."""
    st.subheader("Which methods belong together", anchor=False)
    end = between.largest([between.square(table, d, "distance", 0.0) for d in diagnoses])
    for column, diagnosis in zip(st.columns(max(len(diagnoses), 2), gap="large"), diagnoses, strict=False):
        matrix = between.square(table, diagnosis, "distance", 0.0)
        column.markdown(f"**{formatting.plain(diagnosis)}**")
        if matrix.isna().any(axis=None) or len(matrix) < 2:
            column.caption("Not every pair of methods has a distance.")
            continue
        figure = figures.dendrogram(ordering.linkage(matrix.to_numpy()), list(matrix.columns), end)
        display.chart(column, figure, f"d-tree-{diagnosis}")
    st.caption(
        "Average linkage: two branches meet at the mean distance of their methods. "
        + " ".join(formatting.plain(between.say_closest(table, d)) for d in diagnoses)
    )


def patients(selection: Selection, scans: pd.DataFrame, diagnoses: list[str], column: str) -> None:
    """Show every scan as a dot, for each pair of methods."""
    st.subheader("On every patient", anchor=False)
    pairs = between.pairs_of(scans)
    if len(pairs) > FEW_PAIRS:
        kinds = {"own": f"With {formatting.method_name(selection.method)}", "all": "All pairs"}
        kind = url_state.choose("d_pairs", "Pairs", list(kinds), widget="segmented", words=kinds.get)
        pairs = [pair for pair in pairs if selection.method in pair] if kind == "own" else pairs
    may = access.may_see_patients()
    groups = runs.manifest(selection.run)["groups"]
    figure = figures.strips(names.shown(scans), pairs, diagnoses, groups, column=column, points=may)
    if may:
        draw_chart_of_patients(st, figure, "d-strips")
    else:
        display.chart(st, figure, "d-strips")
    whom = selection.scan_filter.in_words()
    kept = f" Only {whom}." if whom else ""
    kind = between.unit_of_rows(scans)
    by = "the model that explains it" if kind == "scans" else "one of the models that explain it"
    how = f"A dot is a scan, by {by}; click one to open the patient. " if may else ""
    n = ", ".join(
        f"{formatting.plain(diagnosis)} {said}" for diagnosis, said in between.people(scans, diagnoses).items()
    )
    st.caption(f"{how}Diamond and line: mean ± SD over {kind} ({n}).{kept}")


def explain() -> None:
    """Explain how to read the page, with formula and source."""
    page.how_to_read(
        "Each map is divided by its sum, so that only *where* a method looks counts, not how strongly; the distance is "
        "0 for equal maps and grows the more they put their relevance in different places. The rank correlation asks "
        "only whether both put the places in the same order: 1 is the same order, 0 none.\n\n"
        "The distance has a unit, because a map of sum 1 has larger values where voxels are larger: it is divided by "
        "the edge of a voxel in mm to the power 1.5, so that grids compare, and multiplied by 10⁴. Single scans lie "
        "farther apart than averages, whose noise is averaged out. Values of the paper are of other people, another "
        "network and the whole volume at 1 mm: orders may be compared, sizes only roughly.",
        FORMULA,
        f"a, b: maps of m (|relevance| of gradient methods, the positive part of occlusions); ℓ: edge of a voxel in "
        f"mm. Table 2 and section 3.2 of {text_paper.CITATION}",
    )


def stored(selection: Selection) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables distances and scan_distances of the run; empty where it has none."""
    try:
        return runs.table(selection.run, "distances"), runs.table(selection.run, "scan_distances")
    except NotInRunError:
        return pd.DataFrame(), pd.DataFrame()


def main(selection: Selection) -> None:
    """Show the Distances page."""
    groups, rows = runs.manifest(selection.run)["groups"], selection.rows()
    diagnoses = ordered_diagnoses(rows, groups)
    head = page.Header("Distances", sentence(selection, rows, diagnoses))
    of_pairs, of_scans = stored(selection)
    if of_pairs.empty or rows.empty:
        if rows.empty:
            sidebar.nothing_passes()
        else:
            st.info(
                "This run has no distances: they need at least two methods and the stage compare of run_pipeline.py."
            )
        head.finish()
        return
    row = st.container(horizontal=True, gap="small", vertical_alignment="bottom")
    look = {"widget": "segmented", "place": row, "width": "content"}
    level = url_state.choose("d_level", "Distances of", list(between.LEVELS), words=between.LEVELS.get, **look)
    column = url_state.choose("d_measure", "Measure", list(MEASURES), words=MEASURES.get, **look)
    scans = between.select_scans(of_scans[of_scans.model_set == selection.model_set], rows)
    table = between.select_groups(of_pairs, selection.model_set, level)
    if level == "scan" and selection.scan_filter.active() and len(scans):
        table = between.summary(scans)
    shown = [d for d in diagnoses if (table.diagnosis == d).any()]
    notes(selection, level, [d for d in diagnoses if d not in shown])
    with_paper = set(groups) == {"AD", "NC"} and level == "group"
    table = table[table.diagnosis.isin(shown)]
    if shown:
        numbers(table, scans, shown, level, with_paper)
        if level == "scan" and access.has_groups_only():
            st.caption(f"The distances on every patient are {access.only_for_whom()}.")
        elif level == "scan":
            patients(selection, scans, shown, column)
        pictures(table, shown, level, column)
        if level == "group":
            clustering(table, shown)
    methods = list(dict.fromkeys([*of_pairs["method_a"], *of_pairs["method_b"]]))
    trust_line.show_all(selection.run, selection.model_set, formatting.in_order(methods))
    explain()
    page.provenance(
        selection.run, formatting.MODEL_SETS[selection.model_set],
        f"evidence for {wording.evidence_of_distances(selection)}",
        f"{np.format_float_positional(runs.manifest(selection.run)['grid_mm'], trim='-')} mm grid",
    )  # fmt: skip
    name = wording.file_name(selection)
    downloads = [
        page.Download.csv("Distances, CSV", f"{name}_distances", lambda: between.for_download(table, level, with_paper))
    ]
    if access.may_see_patients() and level == "scan":
        downloads.append(page.Download.csv("Distances on every scan, CSV", f"{name}_scan-distances", lambda: scans))
    head.finish(downloads)


page.body_of_selection("Distances", main)
