"""Truth beside heatmaps: the group average of every method, cut at one place, with the outline of the known truth."""

from __future__ import annotations

import functools

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.data import averages as data_averages
from dashboard.data import runs
from dashboard.data.runs import Run
from dashboard.drawing import planes
from dashboard.shell import access, display, notices, public, url_state
from dashboard.shell.page import Download
from dashboard.text.formatting import count, method_name, plain, three
from dashboard.views.shared import map_grid
from dashboard.views.trust import linked_viewer, queries
from dashboard.views.trust import maps as trust_maps
from dashboard.views.trust import tables as trust_tables
from store.export import nifti
from store.reading.truth import visible_change

COLUMNS = 4  # pictures in a row
KINDS = {"slices": "Pictures", "viewer": "Viewer"}
STYLE = """<style>@media (max-width: 640px) {
.st-key-trust-pictures [data-testid="stColumn"] {min-width: calc(50% - 0.5rem);}}</style>"""  # two in a row
FORMULA = (
    r"\mathrm{RMA} = \frac{\sum_{v \in T} m_v}{\sum_{v \in \mathrm{brain}} m_v},"
    r"\quad T = \{v: c_v \ge 0.25\, Q_{99.9}(c)\}"
)
SOURCE = (
    "c: mean over patients of |x(patient) − x(the same scan without the imposed change)|. Voxel AUC: m as a detector "
    "of T. Definition, references and ceilings: docs/truth.md."
)
HOW = {
    "slices": "The first picture is what was done to the patients’ scans; the dashed line around it stands on every "
    "heatmap at the same place. Colour inside the line is relevance where it should be, colour outside is not.\n\n"
    "Colour starts at the same percentile of each map, so that every picture colours the same amount of brain. One "
    "control moves all slices.",
    "viewer": "The line is where what was done to the patients’ scans shows; it stands on every heatmap. Colour inside "
    "is relevance where it should be, colour outside is not.\n\n"
    "Colour starts at the same percentile of each map, so that every heatmap colours the same amount of brain. A click "
    "moves all of them.",
}  # fmt: skip


def section(run: Run) -> list[Download]:
    """Show the truth and every method's average at one place; words where there is no truth."""
    manifest = runs.manifest(run)
    if not manifest["simulated"]:
        st.info(
            "These are real scans: nobody knows where a heatmap should point, so there is no truth to draw. The other "
            "parts need none. A simulated run, whose change was imposed, shows how each method does:"
        )
        st.code(notices.MAKE_ONE, language=None)
        return []
    if not trust_maps.is_known(run):
        st.info("SIMULATED, with nothing imposed: there is no truth that a heatmap could find. A run that has one:")
        st.code(notices.MAKE_ONE, language=None)
        return []
    positive = manifest["groups"][0]
    own = data_averages.diagnoses_of_groups(run, "holdout")[positive]
    if not public.groups(run, "holdout", {positive: own}):
        st.info(f"The test set has {access.few()} {plain(positive)} subjects: their maps are {access.only_for_whom()}.")
        return []
    how = st.empty()
    kind = url_state.choose(
        "t_as", "Shown as", list(KINDS), widget="segmented", words=KINDS.__getitem__, label_visibility="collapsed",
        help="Pictures: one slice of every map. Viewer: all planes of every method, under one crosshair.",
    )  # fmt: skip
    how.markdown(HOW[kind])
    if kind == "viewer":
        methods = _choose_methods(run, st.container())
        cut = linked_viewer.show(run, methods, own)
    else:
        methods, cut = _controls(run)
        _pictures(run, methods, own, cut, positive)
    n = data_averages.figures(trust_maps.averages(run, methods[:1], own)[methods[0]])
    side = "" if kind == "viewer" else " Neurological convention: L, the left of the subject, is shown at the left."
    st.caption(
        f"SIMULATED. Mean heatmaps of {plain(positive)}, n = {count(n.subjects, 'subject')}, {count(n.scans, 'scan')}, "
        f"by the held-out network. Outline: {trust_maps.outlined(run)}.{side}"
    )
    return _downloads(run, methods, own, cut)


def _pictures(
    run: Run, methods: tuple[str, ...], own: tuple[str, ...], cut: trust_maps.Cut, positive: str
) -> None:  # fmt: skip
    """Show the truth and every method's average as pictures of one slice, with their scores."""
    drawn = trust_maps.on_screen(run, methods, own, cut)
    scores = {
        "AUC": trust_tables.truth(queries.truth_scores(run), positive, ("voxel_auc",)),
        "RMA": trust_tables.truth(queries.truth_scores(run), positive, trust_tables.MASS),
    }
    st.html(STYLE)
    rows = st.container(key="trust-pictures")
    place: list = []
    for number, (key, picture) in enumerate(drawn.items()):
        if number % COLUMNS == 0:
            place = list(rows.columns(COLUMNS, gap="small"))
        name = trust_maps.name_of(key)
        axis = "xyz"[planes.PLANES[cut.plane][2]]
        said = f"{name} on a {cut.plane} section of the brain at {axis} {cut.mm:.0f} mm, the truth outlined."
        caption = f"{name}, {trust_maps.unit_of(run, key)}{_scores_of(key, scores)}"
        display.brain_picture(place[number % COLUMNS], picture, caption, said)


def _controls(run: Run) -> tuple[tuple[str, ...], trust_maps.Cut]:
    """Choose where all pictures are cut, where colour starts, and which methods are shown."""
    row = st.columns([1, 1.6, 1.2, 1.6], vertical_alignment="bottom", gap="small")
    plane = url_state.choose("t_plane", "Plane", list(planes.PLANES), words=str.capitalize, place=row[0])
    axis = "xyz"[planes.PLANES[plane][2]]
    low, high = trust_maps.extent(run, plane)
    start = int(np.clip(trust_maps.peak_mm(run, plane), low, high))
    mm = url_state.slide(f"t_{axis}", "Slice, mm", low, high, start, 1, place=row[1], format=f"{axis} %d")
    percentile = url_state.slide(
        "t_from", "Threshold", 50.0, 99.0, 90.0, 1.0, place=row[2], format="%d %%",
        help="Colour starts at this percentile of the values in the brain.",
    )  # fmt: skip
    return _choose_methods(run, row[3]), trust_maps.Cut(plane, float(mm), percentile)


def _choose_methods(run: Run, place: DeltaGenerator) -> tuple[str, ...]:
    """Choose which methods are shown, all at first."""
    every = queries.maps_of(run)
    shown = url_state.choose_many(
        "t_methods", "Methods", every, words=method_name, place=place, placeholder="all"
    )  # fmt: skip
    return tuple(shown or every)


def _scores_of(key: str, scores: dict) -> str:
    """Write the scores of a method for its caption; empty for the truth itself."""
    said = []
    for name, rows in scores.items():
        own = rows[rows["method"] == key]
        if len(own) and own["value"].notna().all():
            said.append(f"{name} {three(own['value'].iloc[0])}")
    return f": {', '.join(said)}" if said else ""


def _downloads(run: Run, methods: tuple[str, ...], own: tuple[str, ...], cut: trust_maps.Cut) -> list[Download]:
    title = f"{run.run_id}: what was imposed, and mean heatmaps"
    note = map_grid.note_of_pictures(trust_maps.averages(run, methods[:1], own)[methods[0]].selection)
    draw = functools.partial(trust_maps.sheet, run, methods, own, cut, title, note)
    found = map_grid.picture_files("Pictures", f"{run.run_id}_trust-truth", draw)
    scores = queries.truth_scores(run)
    if len(scores):
        found.append(Download.csv("Truth scores, CSV", f"{run.run_id}_trust-truth-scores", lambda: scores))
    if trust_maps.has_change(run):
        reader = runs.opened(run)
        found.append(Download.nifti(
            "Visible change, NIfTI", f"{run.run_id}_visible-change",
            lambda: nifti.nifti_bytes(
                visible_change(reader), reader.affine(), simulated=True, unit=trust_maps.CHANGE_UNIT
            ),
        ))  # fmt: skip
    return found
