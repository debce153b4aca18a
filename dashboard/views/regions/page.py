"""Which regions matter: ranked by method and group, compared between methods, and one region over all patients."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.data import runs
from dashboard.data.cohort import ordered_diagnoses
from dashboard.data.selection import Selection
from dashboard.drawing import regions as figures
from dashboard.shell import access, display, page, public, sidebar, url_state
from dashboard.text import formatting, paper
from dashboard.views.regions import against, one_region, paper_table
from dashboard.views.regions import queries as asked
from dashboard.views.regions import ranking as region_ranking
from dashboard.views.regions import tables as regional
from dashboard.views.regions.ranking import MEASURES, Measure
from dashboard.views.shared import charts as shared_charts
from dashboard.views.shared import region_relevance, trust_line, wording
from store import NotInRunError

COUNTS = {"10": 10, "20": 20, "all": None}
MOST_LINES = 20  # of the first regions, in the comparison of methods
PARTS = {
    "ranking": "Ranking",
    "methods": "Between methods",
    "paper": "The paper's table 1",
    "region": "One region",
    "sets": "A against B",
}
SIDES = {"merged": "Left + right", "split": "Each side"}
SCALED_TOGETHER = ("share_of_average", "share", "density")  # measures that mean the same for every method


@dataclass(frozen=True)
class Choice:
    """What the reader wants to see; what a part does not ask for has its default."""

    part: str
    measure: str = next(iter(MEASURES))
    merged: bool = True
    all_methods: bool = True
    count: int | None = COUNTS["10"]
    sort_by: str = ""
    region: str = ""

    @property
    def means(self) -> Measure:
        """Return the measure with its words."""
        return MEASURES[self.measure]


def sentence(selection: Selection, rows: pd.DataFrame, diagnoses: list[str]) -> str:
    """Say in a sentence whose relevance is ranked, and by which models."""
    people = wording.people(rows, diagnoses)
    whom = selection.scan_filter.in_words()
    only = f" Only {whom}." if whom else ""
    return (
        f"Where the relevance of {people} lies, region by region, "
        f"{formatting.MODEL_SETS[selection.model_set].lower()}, evidence for {selection.evidence()}.{only}"
    )


def controls(selection: Selection, diagnoses: list[str], regions: pd.DataFrame) -> Choice:
    """Show which part of the page is shown, and the row of controls that act on it."""
    parts = [part for part in PARTS if part != "sets" or access.may_see_patients()]
    part = url_state.choose(
        "r_part", "Part", parts, widget="segmented", words=PARTS.get, label_visibility="collapsed"
    )  # fmt: skip
    choice = Choice(part, sort_by=diagnoses[0])
    if part in ("paper", "sets"):
        return choice
    row = st.container(horizontal=True, gap="small", vertical_alignment="bottom")
    look = {"widget": "segmented", "place": row, "width": "content"}
    both = public.has_both_groups(selection.run, selection.model_set)
    measures = [m for m in MEASURES if (both or m != "gain") and (m != "sum" or not access.has_groups_only())]
    measure = url_state.choose(
        "r_by", "Measure", measures, words=lambda m: MEASURES[m].label, place=row, width=190,
        help="\n\n".join(f"**{m.label}**: {m.means}" for m in MEASURES.values()),
    )  # fmt: skip
    choice = replace(choice, measure=measure)
    if part == "ranking":
        kinds = {"all": "All methods", "one": "One method"}
        kind = url_state.choose("r_view", "Show", list(kinds), words=kinds.get, **look)
        choice = replace(choice, all_methods=kind == "all")
    if part != "region":
        sides = url_state.choose("r_lr", "Sides", list(SIDES), words=SIDES.get, **look)
        count = url_state.choose("r_n", "Regions", list(COUNTS), **look)
        sort_by = url_state.choose("r_sort", "Sorted by", diagnoses, **look)
        choice = replace(choice, merged=sides == "merged", count=COUNTS[count], sort_by=sort_by)
    if part != "ranking":
        label = "Mark a region" if part == "methods" else "Region"
        choice = replace(choice, region=choose_region(selection, choice, regions, label, row))
    return choice


def choose_region(selection: Selection, choice: Choice, regions: pd.DataFrame, label: str, place: Any) -> str:
    """Choose any region or pair of regions; at first the one that ranks first."""
    rankings = asked.rankings(selection, choice.measure, choice.merged)
    top = [r for frame in rankings.values() for r in region_ranking.first_by_rank(frame, choice.sort_by, 1)]
    paired = set(regions["merged"]) - set(regions["region"])
    return url_state.choose(
        "r_region", label, regional.choices(regions), next(iter(top), None), width=280, place=place,
        words=lambda r: f"{formatting.region_name(r)}, left + right" if r in paired else formatting.region_name(r),
    )  # fmt: skip


def click_region(clicked: Any, part: str) -> None:
    """Choose the region of a clicked dot in the next pass.

    It is shown in every patient, or marked in the other methods.
    """
    region = clicked[0] if isinstance(clicked, list) else clicked
    url_state.set_before_next_pass({"r_part": part, "r_region": region})


def clickable(place: Any, figure: Any, key: str, part: str, **look: Any) -> None:
    """Show a chart whose dots choose a region and lead to a part of the page."""
    display.chart(place, figure, key, on_click=lambda clicked: click_region(clicked, part), **look)


def chart_of(selection: Selection, choice: Choice, method: str, frame: pd.DataFrame, **look: Any) -> Any:
    """Draw the ranking of one method; `look`: end of the axis and room for names."""
    diagnoses = list(dict.fromkeys(frame["diagnosis"]))
    groups = runs.manifest(selection.run)["groups"]
    order = region_ranking.first_by_rank(frame, choice.sort_by, choice.count)
    if choice.measure == "gain":
        return figures.gains(frame, order, groups, f"mean share in {groups[0]} / in {groups[1]}", look["room"])
    unit = asked.unit_of(selection, method, choice.measure)
    axis = choice.means.label.lower()
    return figures.ranking(
        frame, order, diagnoses, groups, axis=axis, unit=unit, factor=choice.means.factor, **look
    )  # fmt: skip


def ranking(selection: Selection, choice: Choice, rankings: dict[str, pd.DataFrame]) -> None:
    """Show the ranking of regions by one method or all."""
    methods = list(rankings) if choice.all_methods else [m for m in rankings if m == selection.method]
    if not methods:
        st.info(f"There is no relevance of regions by {formatting.method_name(selection.method)} for these scans.")
        return
    drawn = pd.concat([
        frame[frame["region"].isin(region_ranking.first_by_rank(frame, choice.sort_by, choice.count))]
        for frame in (rankings[m] for m in methods)
    ])  # fmt: skip
    largest = choice.means.factor * float(drawn[["value", "high"]].max().max())
    look = {
        "end": 1.03 * largest if choice.measure in SCALED_TOGETHER and largest > 0 else None,
        "room": figures.room(drawn["region"].unique()),
    }
    wide = 2 if len(methods) > 1 else 1
    for number in range(0, len(methods), wide):
        for place, method in zip(st.columns(wide, gap="large"), methods[number : number + wide], strict=False):
            place.markdown(f"**{formatting.method_name(method)}**")
            clickable(
                place, chart_of(selection, choice, method, rankings[method], **look), f"r-ranking-{method}", "region"
            )
            trust_line.show(selection.run, selection.model_set, method, place)
    without = regional.say_left_out({m: rankings[m] for m in methods}, formatting.method_name)
    said = (*reading(selection, choice), outside(choice, rankings, methods), without)
    st.caption(" ".join(part for part in said if part))


def reading(selection: Selection, choice: Choice) -> list[str]:
    """Say what the dots and lines of the ranking are."""
    one_scale = "One scale for all methods." if choice.measure in SCALED_TOGETHER and choice.all_methods else ""
    if choice.measure == "sum":
        one_scale = "Each method has its own unit and scale."
    source = "" if asked.uses_stored(selection) else "Recomputed for the scans that pass the filters."
    order = "" if choice.measure == "gain" else f"Ordered by {formatting.plain(choice.sort_by)}."
    return [
        choice.means.means, f"Thin line: {region_ranking.INTERVAL_WORDS}.", order, one_scale, source,
        "Click a dot to see its region in every patient." if access.may_see_patients() else "",
    ]  # fmt: skip


def outside(choice: Choice, rankings: dict[str, pd.DataFrame], methods: list[str]) -> str:
    """Say how much lies outside the atlas, for measures that count it."""
    if choice.measure != "share":
        return ""
    parts = []
    for method in methods:
        frame = rankings[method]
        rows = frame[(frame["diagnosis"] == choice.sort_by) & ~frame["in_atlas"].astype(bool)]
        said = ", ".join(
            f"{formatting.region_name(row.region)} {formatting.percent(row.value)}" for row in rows.itertuples()
        )
        parts.append(f"{formatting.method_name(method)} {said}")
    return f"Outside the atlas and not ranked, {formatting.plain(choice.sort_by)}: {'; '.join(parts)}."


def all_numbers(make: Callable[[], pd.DataFrame]) -> None:
    """Show every region as a sortable table."""
    box = url_state.fold("r_numbers", "All numbers")
    if box is not None:
        number = st.column_config.NumberColumn
        wide = {column: number(format="%.3g") for column in ("value", "low", "high")}
        display.grid(box, page.with_region_words(make()), columns=wide)
        box.caption(f"low, high: {region_ranking.INTERVAL_WORDS}. Shares in percent.")


def agreement(selection: Selection, choice: Choice, rankings: dict[str, pd.DataFrame], regions: pd.DataFrame) -> None:
    """Show the ranks by all methods, and how well the methods agree."""
    if len(rankings) < 2:
        st.caption("This run has one method: there is nothing to compare it with.")
        return
    count = min(choice.count or MOST_LINES, MOST_LINES)
    lobes = dict(zip(regions["merged" if choice.merged else "region"], regions["lobe"], strict=True))
    left, right = st.columns([2, 1], gap="large")
    figure = figures.bump(rankings, choice.sort_by, count, lobes, choice.region)
    clickable(left, figure, "r-bump", "methods", wide=True)
    left.caption(
        f"{formatting.plain(choice.sort_by)}: regions among the first {count} of any method. The number is the "
        "rank among all atlas "
        f"regions; full dots are among the first {count}. Click a dot to mark its region."
    )
    # By shares any two methods agree: both grow with the volume of a region.
    measure = choice.measure if choice.measure in regional.SIZE_FREE else "density"
    size_free = asked.rankings(selection, measure, choice.merged)
    spearman = regional.agreement(size_free, choice.sort_by)
    right.markdown(f"**Rank correlation of {MEASURES[measure].label.lower()}, {formatting.plain(choice.sort_by)}**")
    if verdict := regional.verdict_on_agreement(spearman):
        right.markdown(verdict)
    figure = shared_charts.matrix(
        spearman, low=-1, high=1, colours=shared_charts.CORRELATION_COLOURS, what="Spearman"
    )  # fmt: skip
    display.chart(right, figure, "r-spearman")
    n = int(rankings[next(iter(rankings))].query("diagnosis == @choice.sort_by")["in_atlas"].sum())
    right.caption(
        f"Spearman over the {MEASURES[measure].label.lower()} of n = {n} atlas regions. "
        f"{by_size(selection, choice, regions)}"
    )
    if without := regional.say_left_out(rankings, formatting.method_name):
        st.caption(without)


def by_size(selection: Selection, choice: Choice, regions: pd.DataFrame) -> str:
    """Say how well the size of regions alone explains the shares, which is why shares are not compared."""
    shares = asked.rankings(selection, "share", choice.merged)
    volumes = regions.groupby("merged" if choice.merged else "region")["volume_cm3"].sum()
    alone = regional.by_size_alone(shares, choice.sort_by, volumes).dropna()
    if alone.empty:
        return ""
    pairs = regional.agreement(shares, choice.sort_by).to_numpy(float)
    pairs = pairs[np.triu_indices(len(pairs), 1)]
    pairs = pairs[np.isfinite(pairs)]
    between = f" and with each other at {pairs.min():.2f} to {pairs.max():.2f}" if pairs.size else ""
    said = f"By size alone: shares correlate with the volumes of the regions at {alone.min():.2f} to {alone.max():.2f}"
    return f"{said}{between}, whatever the methods see.".replace("-", "−")


def explain(choice: Choice) -> None:
    """Explain how to read the page, with formula and source."""
    page.how_to_read(
        f"{choice.means.means} A long line means that another sample of patients could change the value much; lines "
        "speak of these subjects and this model only, a retrained network may rank regions otherwise.\n\n"
        "m is |relevance| for gradient methods and the positive part for occlusions; each subject weighs the same, "
        "whatever its number of scans. A scan whose heatmap is 0 everywhere has no share: it is in no mean. Ventricles "
        "and tissue outside the atlas are never ranked, nor is a region without voxels on the grid. In single patients "
        "the share of the atlas stands for the share in the group average, and the share of the brain for the gain.",
        choice.means.formula,
        f"m̄: group average of m; r: region; s: of S subjects. {region_ranking.INTERVAL_WORDS}: 2.5 and 97.5 percentile "
        f"of draws of subjects with replacement. Table 1 and section 3.2 of {paper.CITATION}",
    )


def main(selection: Selection) -> None:
    """Show the Regions page."""
    rows, groups = selection.rows(), runs.manifest(selection.run)["groups"]
    diagnoses = ordered_diagnoses(rows, groups)
    head = page.Header("Regions", sentence(selection, rows, diagnoses))
    if rows.empty:
        sidebar.nothing_passes()
        head.finish()
        return
    try:
        if not access.has_groups_only():
            region_relevance.relevance(selection.run, selection.model_set)
    except NotInRunError:
        st.info("This run has no relevance of regions. It is made by the stage aggregate of run_pipeline.py.")
        head.finish()
        return
    regions = runs.table(selection.run, "regions")
    choice = controls(selection, diagnoses, regions)
    rankings = asked.rankings(selection, choice.measure, choice.merged)
    if not rankings:
        st.info(f"These scans have no relevance as evidence for {selection.evidence()}.")
        head.finish()
        return
    downloads = part_of_page(selection, choice, rankings, regions)
    if choice.part == "region":
        trust_line.show(selection.run, selection.model_set, selection.method)
    elif choice.part != "ranking":
        trust_line.show_all(selection.run, selection.model_set, list(rankings))
    explain(choice)
    page.provenance(
        selection.run, formatting.MODEL_SETS[selection.model_set], f"evidence for {selection.evidence()}",
    )  # fmt: skip
    head.finish(downloads)


def part_of_page(
    selection: Selection, choice: Choice, rankings: dict[str, pd.DataFrame], regions: pd.DataFrame
) -> list[page.Download]:
    """Show the chosen part; return what can be downloaded of it."""
    name = wording.file_name(selection)
    if choice.part == "paper":
        tables = paper_table.section(selection)
        make = lambda: paper_table.latex(tables, selection, regions)  # noqa: E731
        texts = pd.concat([t.assign(diagnosis=d) for d, t in tables.items()]) if tables else pd.DataFrame()
        return [
            page.Download("Table 1, LaTeX", f"{name}_table-1.tex", make, "application/x-tex"),
            page.Download.csv("Table 1, CSV", f"{name}_table-1", lambda: texts),
        ]
    if choice.part == "sets":
        return against.section(selection)
    if choice.part == "region" and access.has_groups_only():
        st.info(f"One region over all patients is {access.only_for_whom()}. Its place in the groups is under Ranking.")
        return []
    if choice.part == "region":
        table = one_region.section(selection, choice.measure, regions, choice.region)
        if not access.may_see_patients() or table.empty:
            return []
        return [page.Download.csv("This region in every scan, CSV", f"{name}_{choice.region}", lambda: table)]
    make = functools.partial(asked.numbers, selection, choice.measure, rankings)
    if choice.part == "methods":
        agreement(selection, choice, rankings, regions)
    else:
        ranking(selection, choice, rankings)
        all_numbers(make)
    return [page.Download.csv("Ranking, CSV", f"{name}_regions_{choice.measure}", make)]


page.body_of_selection("Regions", main)
