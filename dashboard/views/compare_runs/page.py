"""Two runs of a store beside each other: settings, metrics, group maps, regions, distances."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.data import reference_run
from dashboard.data import runs as data_runs
from dashboard.data.cohort import ordered_diagnoses
from dashboard.data.runs import Run
from dashboard.data.selection import explained_scans
from dashboard.drawing import pictures
from dashboard.shell import access, display, notices, page, public, run_picker, url_state
from dashboard.shell.page import Download
from dashboard.text import formatting
from dashboard.views.compare_runs import charts as figures
from dashboard.views.compare_runs import maps as compare_maps
from dashboard.views.compare_runs import queries as compare_queries
from dashboard.views.compare_runs import tables as beside
from dashboard.views.compare_runs.maps import Choice
from dashboard.views.shared import map_grid
from store import RunInfo, StoreError

TITLE = "Compare runs"
REGIONS_LISTED = 12
FEW_SETTINGS = 8  # so many are shown at once


def other_run(run: Run) -> Run | None:
    """Show the picker of the second run and return it; None where there is no other run."""
    infos: dict[str, RunInfo] = {info.run: info for info in run_picker.other_runs(run)}
    if not infos:
        return None
    place = st.columns(2)[1]
    chosen = infos[url_state.choose("c_other", "Compare with", list(infos), place=place)]
    linked = url_state.linked("c_made")
    if linked is not None and linked != chosen.created:
        url_state.ignore("c_made", linked, f"{chosen.run} was made again since, {chosen.created}")
    url_state.write("c_made", chosen.created)
    return Run(run.store, chosen.run, chosen.created)


def only_one(run: Run) -> None:
    """Show the page of a store with one run."""
    st.title(TITLE, anchor=False)
    st.info(
        f"{formatting.code(run.run_id)} is the only run of this store that opens, so there is nothing to compare it "
        "with. A second run appears here when it is published, for example with another seed:"
    )
    st.code(f"{notices.MAKE_ONE} --set seed=1", language=None)


def card(place: DeltaGenerator, which: str, run: Run) -> None:
    """Show what one of the runs is."""
    manifest, scans = data_runs.manifest(run), data_runs.table(run, "scans")
    with place.container(border=True):
        st.markdown(f"{which}: **{formatting.plain(run.run_id)}**")
        if manifest["simulated"]:
            st.badge("SIMULATED", color="orange", icon=":material/science:")
        else:
            st.badge("REAL SCANS", color="gray", icon=":material/person:")
            reference_run.badge(run)
        people, counted = public.people(scans, ordered_diagnoses(scans, manifest["groups"]))
        subjects = formatting.count(scans.subject.nunique(), "subject")
        everyone = f"{formatting.count(len(scans), 'scan')} of {subjects} ({people})"
        if which == "Second":
            reference_run.warn(run)
        st.caption(
            f"{formatting.plain(manifest['cohort'])}. {everyone if counted else people}, {manifest['grid_mm']:g} "
            "mm grid, made "
            f"{manifest['created'][:10]}."
        )


def settings(runs: tuple[Run, Run], names: tuple[str, str]) -> pd.DataFrame:
    """Show and return the settings in which the runs differ."""
    table = beside.differing_settings(*(public.manifest(run) for run in runs), names)
    if table.empty:
        st.caption("Every setting, version and seed is the same.")
        return table
    said = f"{formatting.count(len(table), 'setting')} and versions that differ"
    box = url_state.fold("c_settings", said, len(table) <= FEW_SETTINGS)
    if box is not None:
        display.table(box, table)
    return table


def metrics(runs: tuple[Run, Run], names: tuple[str, str]) -> pd.DataFrame:
    """Show and return how well the networks and baselines of both runs do."""
    st.subheader("How well the networks do", anchor=False)
    rows = [beside.metric_rows(data_runs.metrics(run), data_runs.table(run, "predictions")) for run in runs]
    compared = beside.compare_metrics(*rows)
    untrained = [run.run_id for run in runs if reference_run.of(run) is not None]
    if compared.empty:
        why = "has trained a network, so there is no accuracy to compare" if len(untrained) == 2 else "has metrics"
        st.info(f"Neither run {why}.")
        return compared
    if untrained:
        st.info(
            f"{formatting.plain(untrained[0])} has trained nothing and has no accuracy: these numbers are of the "
            "other run alone."
        )
    if data_runs.answer(runs[0]).is_value != data_runs.answer(runs[1]).is_value:
        st.info(
            "One run tells groups apart, the other predicts a value: their metrics have no common scale. Each has its "
            "own on its Overview."
        )
        return compared
    found = compare_queries.differences(*runs)
    st.caption(
        "By scan. Filled: mean ± SD over the folds; open: the held-out test set; dotted line: chance. A difference is "
        f"one of networks only where the test scans are the same.{beside.difference_sentence(found)}"
    )
    shown = {metric: name for metric, name in compare_queries.METRICS.items() if (compared.metric == metric).any()}
    for place, (metric, name) in zip(st.columns(len(shown), gap="medium"), shown.items(), strict=True):
        display.chart(place, figures.metrics(compared, names, {metric: name}), f"compare-{metric}")
    box = url_state.fold("c_metrics", "The same as a table")
    if box is not None:
        display.table(box, beside.metrics_table(compared, found))
        box.caption(
            "CI: bootstrap over subjects, drawn for both runs at once where both judged the same scans; else of two "
            "independent numbers. An interval that holds 0 shows no difference."
        )
    return compared


def choose(runs: tuple[Run, Run]) -> Choice | None:
    """Choose a model set, method and group that both runs have; say why and return None where they share nothing."""
    found = [data_runs.available(run) for run in runs]
    sets = [s for s in found[0] if s in found[1]]
    if not sets:
        has = [" and ".join(formatting.MODEL_SETS[s].lower() for s in own) or "no heatmaps" for own in found]
        st.info(f"The runs share no set of explaining models ({has[0]}; {has[1]}), so heatmaps are not compared.")
        return None
    columns = st.columns(3)
    model_set = url_state.choose("c_set", "Models", sets, words=formatting.MODEL_SETS.get, place=columns[0])
    methods = [m for m in found[0][model_set] if m in found[1][model_set]]
    if not methods:
        st.info("The runs share no method, so heatmaps are not compared.")
        return None
    method = url_state.choose("c_method", "Method", methods, words=formatting.method_name, place=columns[1])
    people = [_people(run, model_set) for run in runs]
    if not all(one.names for one in people):
        st.info(f"A run has a group of {access.few()} subjects: its maps are {access.only_for_whom()}.")
        return None
    groups = beside.pair_groups(*people)
    labels = {str(i + 1): " / ".join(dict.fromkeys(pair)) for i, pair in enumerate(groups)}
    number = url_state.choose("c_group", "Group", list(labels), words=labels.get, place=columns[2])
    alone = [formatting.method_name(m) for own in found for m in own.get(model_set, []) if m not in methods]
    if alone:
        st.caption(f"In one of the runs only: {', '.join(dict.fromkeys(alone))}.")
    return Choice(runs, model_set, method, groups[int(number) - 1])


def _people(run: Run, model_set: str) -> beside.People:
    """Return the groups of a run; for new scans, which belong to none, their diagnoses."""
    groups, of_no_group = data_runs.manifest(run)["groups"], reference_run.of(run) is not None
    if of_no_group:
        found = ordered_diagnoses(explained_scans(run, model_set), groups)
        return beside.People(tuple(public.groups(run, model_set, {d: (d,) for d in found})), True)
    return beside.People(tuple(groups) if public.has_both_groups(run, model_set) else ())


def regions(choice: Choice) -> pd.DataFrame:
    """Show and return the ranking of regions in both runs."""
    st.subheader("Regions", anchor=False)
    shares = [
        beside.region_shares(data_runs.table(run, "group_regions"), choice.model_set, choice.method, target, diagnosis)
        for run, target, diagnosis in zip(choice.runs, choice.targets(), choice.diagnoses, strict=True)
    ]
    compared = beside.compare_regions(*shares)
    if compared.empty:
        st.info("The runs share no ranked regions for this group and method.")
        return compared
    volumes = tuple(data_runs.table(run, "regions").groupby("merged")["volume_cm3"].sum() for run in choice.runs)
    compared = beside.with_density(compared, volumes)
    alone = [len(set(own.index) - set(compared.region)) for own in shares]
    more = f" In one run only: {alone[0]} and {alone[1]} regions." if any(alone) else ""
    st.caption(
        f"Share of the relevance of all atlas regions in the group average, left and right added; "
        f"{len(compared)} regions.{more}"
    )
    by_density = beside.spearman(compared, "density_a", "density_b")
    by_size = [beside.spearman(compared, f"share_{run}", f"volume_{run}") for run in "ab"]
    by_shares = beside.spearman(compared)
    density, share, *sizes = (formatting.correlation(rho) for rho in (by_density, by_shares, *by_size))
    st.markdown(
        f"Rank correlation of the density of regions, which is free of their size: **{density}** (Spearman). "
        f":small[:gray[By shares it would be {share}, but shares follow the volume of the regions whatever the "
        f"networks see: {' and '.join(sizes)} by size alone.]]"
    )
    left, right = st.columns([1.1, 1], gap="medium")
    display.chart(left, figures.regions(compared, choice.names), "compare-regions")
    left.caption("A dot is a region; on the dotted line both runs give it the same share.")
    display.table(right, beside.regions_table(compared, REGIONS_LISTED))
    right.caption(f"The {min(REGIONS_LISTED, len(compared))} regions whose share changed most.")
    return compared


def distances(choice: Choice) -> pd.DataFrame:
    """Show and return the distances between methods in both runs, as in table 2 of the paper."""
    st.subheader("Distances between methods", anchor=False)
    tables = tuple(data_runs.table(run, "distances") for run in choice.runs)
    methods = [m for run in choice.runs for m in data_runs.available(run)[choice.model_set]]
    compared = beside.compare_distances(tables, choice.model_set, choice.diagnoses, methods)
    if compared.empty:
        st.info("Neither run has distances for this group.")
        return compared
    display.table(st, beside.distances_table(compared))
    scans = [compared[f"scans_{side}"].max() for side in ("first", "second")]
    n = " and ".join(formatting.count(int(count), "scan") if pd.notna(count) else "no scans" for count in scans)
    st.caption(
        f"Of the averages of {formatting.plain(' / '.join(dict.fromkeys(choice.diagnoses)))}, n = {n}. Distances × "
        "10⁴, for voxels of "
        "1 mm, so that grids compare; Spearman over brain voxels."
    )
    return compared


def downloads(runs: tuple[Run, Run], tables: dict[str, pd.DataFrame], drawn: Sequence) -> list[Download]:
    """Return the maps as a picture, and every table."""
    names = tuple(run.run_id for run in runs)
    stem = f"{names[0]}_{names[1]}"
    found = []
    if drawn:

        def sheet() -> pictures.Picture:
            said = "".join(f"{run.run_id}: {said}" for run in runs if (said := reference_run.warning(run)))
            return map_grid.sheet(dict(drawn), f"{names[0]} and {names[1]}", f"{said}{notices.RESEARCH_ONLY}")

        found += map_grid.picture_files("Maps", f"{stem}_maps", sheet)
    return found + [
        Download.csv(f"{name}, CSV", f"{stem}_{name.lower()}", lambda table=table: table)
        for name, table in tables.items() if len(table)
    ]  # fmt: skip


def compare(run: Run, head: page.Header, second: Run) -> None:
    """Show everything below the picker of the second run."""
    runs, names = (run, second), (run.run_id, second.run_id)
    for place, which, one in zip(st.columns(2), ("First", "Second"), runs, strict=True):
        card(place, which, one)
    manifests = [data_runs.manifest(one) for one in runs]
    limits = [
        *beside.say_new_scans(manifests, names),
        *beside.say_what_differs(*manifests, compare_maps.same_grid(runs)),
    ]
    if limits:
        st.markdown("\n".join(f"- {formatting.plain(sentence)}" for sentence in limits))
    tables = {"Settings": settings(runs, names), "Metrics": metrics(runs, names)}
    st.subheader("Where the networks look", anchor=False)
    choice, drawn = choose(runs), []
    if choice is not None:
        drawn = compare_maps.maps(choice)
        tables["Regions"], tables["Distances"] = regions(choice), distances(choice)
    page.how_to_read(
        "Two runs with the same data and settings but another seed show how far results move by chance alone. "
        "Differences between other pairs mean something only where they are larger than that.",
        r"\rho = 1 - \frac{6 \sum_r (\mathrm{rank}_a(r) - \mathrm{rank}_b(r))^2}{n (n^2 - 1)}",
        "Spearman’s rank correlation over the n regions that both runs have (the formula without ties).",
    )
    page.provenance(run, f"beside {second.run_id}")
    head.finish(downloads(runs, tables, drawn))


def main() -> None:
    """Show the Compare runs page."""
    run = run_picker.current_run()
    if not run_picker.other_runs(run):
        only_one(run)
        return
    head = page.Header(
        TITLE, f"**{formatting.plain(run.run_id)}**, chosen at the left, beside another run of this store."
    )
    second = other_run(run)
    try:
        compare(run, head, second)
    except StoreError as error:
        st.warning(f"The comparison ends here: {formatting.plain(error)}")
        head.finish([])
    except Exception:
        found = notices.damaged([second, run])
        if found is None:
            raise
        st.warning(f"The comparison ends here: {found[1]}")
        head.finish([])


page.body(main)
