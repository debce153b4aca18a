"""Where the networks look, on average: every method, every group, and the difference of the groups."""

from __future__ import annotations

import functools
from dataclasses import replace

import pandas as pd
import streamlit as st

from dashboard.data import averages as data_averages
from dashboard.data import runs
from dashboard.data.selection import Selection
from dashboard.drawing import pictures
from dashboard.shell import access, display, names, page, public, sidebar, url_state
from dashboard.shell.page import Download
from dashboard.text import formatting
from dashboard.text.outputs import OutputDescription
from dashboard.viewer import slices as viewer_slices
from dashboard.views.group_maps import agreement, comparison, linked_viewer, look_words, slices, surface, tables
from dashboard.views.group_maps.seen import Seen
from dashboard.views.shared import average_pictures, map_controls, map_grid, region_values, trust_line
from dashboard.views.shared import two_sets as group_columns
from dashboard.views.shared.average_pictures import Drawing
from dashboard.views.shared.map_grid import Panel
from dashboard.views.shared.patient_links import draw_table_of_patients
from dashboard.views.shared.two_sets import Columns

OUTLINED = "Dashed: where the change imposed on patients is visible."
VALUE_WORDS = {
    "size": "Mean relevance",
    "signed": "Mean signed relevance",
    "spread": "Spread (SD) of relevance",
    "agreed": "Mean over the networks that were trained again",
}
MEANING = {
    "size": "A bright place changed the decision much, on average over the subjects of the group.",
    "signed": "Warm colours are places that speak for the explained group, cool colours against it, on average over "
    "the subjects.",
    "spread": "A bright place is one where the heatmaps of the subjects differ much from each other.",
    "agreed": "Warm colours speak for the explained group, cool colours against it, on average over networks that were "
    "trained alike but for the seed; a place is faint where only some of them have it among their strongest.",
}  # fmt: skip
FORMULA = {
    "size": r"\bar m(v) = \frac{\sum_i w_i\, m_i(v)}{\sum_i w_i},\quad m = |h| \text{ (gradients)},\ "
    r"m = \max(h, 0) \text{ (occlusions)},\quad w_i = \frac{1}{\text{explained scans of the subject}}",
    "signed": r"\bar h(v) = \frac{\sum_i w_i\, h_i(v)}{\sum_i w_i}",
    "agreed": r"\bar g(v) = \frac1K \sum_k g_k(v),\quad \text{opacity}(v) = \frac1K\, \#\{k: "
    r"\operatorname{sign} g_k(v) = \operatorname{sign} \bar g(v),\ |g_k(v)| \text{ in the top } 5\,\%\}",
    "spread": r"s(v) = \sqrt{\frac{\sum_i w_i\, h_i(v)^2}{\sum_i w_i} - \bar h(v)^2}",
}


def sentence(selection: Selection, rows: dict[str, pd.DataFrame]) -> str:
    """Say in a sentence whose maps are averaged, as evidence for what and by which models."""
    diagnoses = {*runs.manifest(selection.run)["groups"], *(d for own in rows.values() for d in own.diagnosis)}
    people = [
        formatting.count(own.subject.nunique(), f"{formatting.plain(name)} subject")
        if name in diagnoses else f"{formatting.count(own.subject.nunique(), 'subject')} ({formatting.plain(name)})"
        for name, own in rows.items()
    ]  # fmt: skip
    whom = replace(selection.scan_filter, diagnosis=None).in_words()
    return (
        f"Average heatmaps of {', '.join(people) or 'no subject'}{f' ({whom})' if whom else ''}; evidence for "
        f"{selection.evidence()}. {formatting.SET_SENTENCES[selection.model_set]}"
    )


def title_of(selection: Selection) -> str:
    """Return the name of a method, what it means, and how fine its heatmaps are, as Markdown."""
    how = formatting.HOW_TO_READ.get(selection.method, "")
    fine = data_averages.resolution(selection.run, selection.model_set, selection.method)
    return f"**{formatting.method_name(selection.method)}** &ensp; :small[:gray[{how} True resolution: {fine}.]]"


def agreement_switch(selection: Selection) -> None:
    """Let the reader draw maps as opaque as retrained networks agree."""
    why = agreement.why_not(selection)
    url_state.toggle("g_agreement", "Opacity by agreement of the networks", help=why or agreement.HELP)


def say_agreement(selection: Selection, columns: Columns) -> None:
    """Say how pictures with the networks' agreement are read, or why it cannot be shown though it is asked for."""
    if not url_state.kept("g_agreement"):
        return
    if why := agreement.why_not_of(selection, columns):
        st.info(f"The maps below are of one network. {why}")
    else:
        st.caption(agreement.reading(runs.opened(selection.run), list(columns)))


def numbers(run: runs.Run, drawn: dict[Panel, Drawing]) -> tuple[list[tables.Numbers], list[str]]:
    """Return the numbers behind every average, and the region of each peak."""
    reader, regions = runs.opened(run), runs.table(run, "regions")
    rows = [
        tables.Numbers(
            panel.method, panel.heading, data_averages.figures(panel.averages[0]), panel.factors[0], drawing.scale
        )
        for panel, drawing in drawn.items() if not panel.is_difference
    ]  # fmt: skip
    atlas, affine = reader.atlas, reader.affine()
    return rows, [region_values.region_at(atlas, affine, regions, row.figures.peak_mm) for row in rows]


def in_3d(method: str, drawn: dict[Panel, Drawing]) -> None:
    """Show one picture of the method chosen at the left inside a transparent brain."""
    panels = {panel.heading: panel for panel in drawn if panel.method == method}
    if not panels or not url_state.toggle("g_3d", f"Show {formatting.method_name(method).lower()} in 3D"):
        return
    left, right = st.columns([1, 3], gap="medium")
    panel = panels[url_state.choose("g_3d_map", "Map", list(panels), widget="radio", place=left)]
    percentile = url_state.slide(
        "g_3d_from", "Threshold", 50.0, 99.0, 90.0, 1.0, place=left, format="%d %%",
        help="The outer surface stands at this percentile of the values in the brain.",
    )  # fmt: skip
    levels = panel.levels()
    threshold = float(levels[round(percentile / 100 * (len(levels) - 1))])
    who = "" if panel.is_difference else f", {panel.people()}"
    left.caption(f"{formatting.plain(panel.heading)}{who}. Averaged over blocks of about 5 mm. Drag to turn.")
    figure = average_pictures.glass(panel.averages, panel.factors, threshold, panel.unit)
    display.scene(right, figure, "group-3d")


def scans_behind(rows: pd.DataFrame, answer: OutputDescription) -> None:
    """List the scans of these averages; a chosen row opens the patient."""
    box = url_state.fold("g_scans", f"The {formatting.heatmaps(len(rows), rows.scan.nunique())} behind these maps")
    if box is None:
        return
    box.caption("Choose a row to open its patient.")
    draw_table_of_patients(box, tables.scans(names.shown(rows), answer), rows, "g-scans", height=280)


def downloads(selection: Selection, seen: Seen) -> list[Download]:
    """Return the grid as a picture, the numbers, and every map; pictures are drawn as seen when they are asked for."""
    run, look = selection.run, seen.look
    filtered = "_filtered" if replace(selection.scan_filter, diagnosis=None).active() else ""
    name = f"{run.run_id}_{selection.model_set}_{selection.target}{filtered}"
    value = VALUE_WORDS["agreed" if look.agreement else look.value].lower()
    title = look_words.line(selection, f"group averages, {value}")

    def drawn() -> dict[Panel, Drawing]:
        return seen.current()[1]

    def sheet() -> pictures.Picture:
        now, drawings = seen.current()
        small = map_controls.small_print(now)
        with_agreement = look.agreement or seen.view.get("agreement")
        small = f"{small} {OUTLINED}" if now.truth else small
        more = f"{agreement.ON_PICTURES} {small}" if with_agreement else small
        return map_grid.sheet(drawings, title, map_grid.note_of_pictures(selection, more))

    def page_of(panel: Panel, fewest: int) -> str:
        # What is seen may be the mean over networks in its place.
        found = {(one.method, one.heading): (one, drawing) for one, drawing in drawn().items()}
        return map_grid.page_of(*found[panel.method, panel.heading], fewest)

    found = [
        *map_grid.picture_files("Grid", f"{name}_groups", sheet),
        Download.csv("Numbers, CSV", f"{name}_groups", lambda: tables.numbers(*numbers(run, drawn()))),
        Download.csv("Clusters and peaks, CSV", f"{name}_clusters", lambda: map_grid.clusters_of(drawn())),
    ]
    for panel in seen.grid:
        if panel.opacity is not None:
            found.append(Download.nifti(
                f"{formatting.method_name(panel.method)}, {panel.heading}, agreement of networks, NIfTI",
                f"{name}_{panel.method}_{panel.heading.replace(' ', '-')}_agreement",
                functools.partial(map_grid.agreement_nifti, panel),
            ))  # fmt: skip
        scale, statistic, _ = data_averages.measured(panel.averages[0])
        heading = panel.heading.replace(" − ", "-minus-").replace(" ", "-")
        found.append(Download.nifti(
            f"{formatting.method_name(panel.method)}, {panel.heading}, NIfTI",
            f"{name}_{panel.method}_{heading}_{statistic}_{scale}",
            functools.partial(map_grid.nifti_of, panel),
        ))  # fmt: skip
        found.append(Download.html(
            f"{formatting.method_name(panel.method)}, {panel.heading}, web page",
            f"{name}_{panel.method}_{heading}",
            functools.partial(page_of, panel, public.fewest()),
        ))  # fmt: skip
    return found


def main(selection: Selection) -> None:
    """Show the Group maps page."""
    run = selection.run
    place = st.container(gap=None)  # the head names what is chosen below it
    controls, row = st.container(), st.container(horizontal=True, vertical_alignment="center", gap="small")
    in_viewer, methods = linked_viewer.is_wanted(row), runs.available(run)[selection.model_set]
    with row.container():
        columns = group_columns.choose(selection)
    more = (lambda: None) if in_viewer else (lambda: agreement_switch(selection))
    look = slices.choose_what(run, methods, row, more)
    if not in_viewer:
        look = replace(look, agreement=agreement.is_wanted(selection, columns))
        with controls:
            seen = slices.controls(selection, look)
    by_column = group_columns.rows_of(selection, columns)
    with place:
        head = page.Header("Group maps", sentence(selection, by_column))
    if all(own.empty for own in by_column.values()):
        sidebar.nothing_passes(", so there is nothing to average")
        head.finish([])
        return
    rows = pd.concat(by_column.values()).drop_duplicates(["model", "scan"]).reset_index(drop=True)
    nobody = [name for name, own in by_column.items() if own.empty]
    if nobody:
        st.info(sidebar.nobody(selection, nobody))
        columns = {name: one for name, one in columns.items() if name not in nobody}
    st.html(map_controls.ROWS)
    if more := group_columns.also_explained(selection, columns):
        st.caption(f"Also explained: {', '.join(map(formatting.plain, more))}; choose it under Diagnosis at the left.")
    if in_viewer:
        title = title_of(selection.of(method=linked_viewer.method_of(selection, look)))
        seen = linked_viewer.show(selection, look, columns, title)
    else:
        say_agreement(selection, columns)
        slices.show(selection, seen, columns, lambda method: title_of(selection.of(method=method)))
        viewer_slices.show_note(slices.SHEET)  # below: a phone shows a brain before it
    look, drawn = seen.current()
    trust_line.leave_for_page_of(selection.run)
    in_3d(selection.method, drawn)
    on_surface = surface.section(selection, drawn)
    compared = comparison.section(selection, look, columns)
    box = url_state.fold("g_numbers", "Numbers behind the pictures")
    if box is not None:
        display.table(box, tables.table(*numbers(run, drawn)))
    if access.may_see_patients():
        scans_behind(rows, runs.answer(run))
    shown = "agreed" if look.agreement else look.value
    page.how_to_read(
        f"{MEANING[shown]} The difference is the first group minus the second: warm where the first has more, "
        "cool where the second has more.", FORMULA[shown],
        "Figure 1 of Rieke et al. 2018 shows the same averages. Gradients: each scan is divided by its sum of |h| "
        "first unless chosen otherwise, so that an unsure network weighs as much as a sure one. Colour starts at the "
        "marked value of the bar and ends at the 99.5th percentile of the maps that share the scale.",
    )  # fmt: skip
    page.provenance(run, formatting.MODEL_SETS[selection.model_set], f"evidence for {selection.evidence()}")
    head.finish([*downloads(selection, seen), *on_surface, *compared])


page.body_of_selection("Group maps", main)
