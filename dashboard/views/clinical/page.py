"""What the networks say and where they look, against age and clinical scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.data import runs
from dashboard.data.cohort import ordered_diagnoses
from dashboard.data.selection import Selection
from dashboard.shell import access, display, names, notices, page, sidebar, url_state
from dashboard.text import formatting
from dashboard.views.clinical import charts as figures
from dashboard.views.clinical import correlations as correlated
from dashboard.views.clinical import queries as asked
from dashboard.views.clinical import tables as clinical_tables
from dashboard.views.clinical.correlations import SCORES, TOGETHER, Evidence
from dashboard.views.clinical.queries import ANSWERS, Correlations
from dashboard.views.shared import wording
from dashboard.views.shared.patient_links import draw_chart_of_patients
from store import NotInRunError
from store.measures import FEWEST

COUNTS = {"10": 10, "20": 20, "all": None}
SIDES = {"merged": "Left + right", "split": "Each side"}
AXES = {"age": "age in years"}
NUMBERS = {
    "rho": "ρ", "low": "95 % CI, from", "high": "to", "p": "p", "q": "q", "partial_rho": "ρ, partial",
    "partial_p": "p, partial", "partial_q": "q, partial",
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """What the reader wants to see: a score against the networks' answer or the share of a region."""

    score: str
    feature: str
    merged: bool
    count: int | None


def sentence(selection: Selection, rows: pd.DataFrame, diagnoses: Sequence[str]) -> str:
    """Say in a sentence what is correlated, in whom and by which models."""
    whom = selection.scan_filter.in_words()
    return (
        f"How the decision and the regions it rests on correlate with age and clinical scores in "
        f"{wording.people(rows, diagnoses)}, {formatting.MODEL_SETS[selection.model_set].lower()}, "
        f"{formatting.method_name(selection.method).lower()}, evidence for {selection.evidence()}."
        f"{f' Only {whom}.' if whom else ''}"
    )


def feature_words(feature: str, answer: str) -> str:
    """Name a feature in words: the networks' answer, or a region."""
    return answer if feature in ANSWERS else formatting.region_name(feature)


def controls(selection: Selection, scores: list[str], answer: str) -> Choice:
    """Show the row of controls above the charts."""
    row = st.container(horizontal=True, gap="small", vertical_alignment="bottom")
    look = {"widget": "segmented", "place": row, "width": "content"}
    score = url_state.choose("cl_score", "Score", scores, words=SCORES.get, **look)
    sides = url_state.choose("cl_lr", "Sides", list(SIDES), words=SIDES.get, **look) == "merged"
    count = url_state.choose("cl_n", "Regions", list(COUNTS), **look)
    feature = url_state.choose(
        "cl_of", "Compared with", asked.evidence(selection, sides).names, place=row, width=280,
        words=lambda f: answer if f in ANSWERS else f"share of {formatting.region_name(f)}",
    )  # fmt: skip
    return Choice(score, feature, sides, COUNTS[count])


def warn(manifest: dict[str, Any], rows: pd.DataFrame, scores: list[str]) -> None:
    """Say what must be known before the numbers are read."""
    groups = [g for g in manifest["groups"] if (rows["diagnosis"] == g).any()]
    target = manifest.get("target")
    if len(groups) > 1 and target is None:
        st.warning(
            f"All subjects together: {' and '.join(map(formatting.plain, groups))} differ in these scores and in "
            "what the networks say, so "
            "that a correlation mostly restates the difference between the groups. Read those within one diagnosis.",
            icon=":material/group:",
        )
    missing = [SCORES[s] for s in SCORES if s not in scores]
    said = [f"Not offered, as no scan has a value: {', '.join(missing)}."] if missing else []
    if target and target["column"] in scores:
        said.append(
            f"The networks were trained to predict {formatting.plain(target['label'])}: against it, their answer "
            "shows how well they do, "
            f"and {' and '.join(map(formatting.plain, manifest['groups']))} are divided by it, so that within "
            "one of them its range is narrow."
        )
    if manifest["simulated"]:
        said.append("Simulated subjects: their scores were computed from the imposed change and are no finding.")
    if said:
        st.caption(" ".join(said))


def pictures(selection: Selection, choice: Choice, evidence: Evidence, found: Correlations) -> pd.DataFrame:
    """Show the dots of one pair, to readers who may see patients, and the correlations of all; return the dots."""
    groups = runs.manifest(selection.run)["groups"]
    diagnoses = ordered_diagnoses(evidence.rows, groups)
    table = correlated.points(evidence, choice.score, choice.feature)
    places: Sequence[Any] = [st]
    if access.may_see_patients():
        places = st.columns([1, 1], gap="large")
        dots(places[0], choice, table, diagnoses, found, selection)
    every_region(places[-1], choice, found, selection)
    return table


def dots(
    place: Any, choice: Choice, table: pd.DataFrame, diagnoses: list[str], found: Correlations, selection: Selection
) -> None:
    """Show one pair as dots, one a subject; a click opens the patient."""
    answer, groups = runs.answer(selection.run), runs.manifest(selection.run)["groups"]
    of, score = feature_words(choice.feature, answer.name), SCORES[choice.score]
    is_share = choice.feature not in ANSWERS
    place.markdown(f"**{score} and {formatting.plain(f'share of {of}' if is_share else of)}**")
    fitted = clinical_tables.diagnoses_to_fit(found.table, choice.score, choice.feature)
    axes = AXES.get(choice.score, score), f"{of}, share of the brain, %" if is_share else of
    figure = figures.scatter(
        names.shown(table), diagnoses, groups, axes=axes, factor=100 if is_share else 1, fitted=fitted
    )
    draw_chart_of_patients(place, figure, "clinical-dots")
    lines = "Lines: least squares, within a diagnosis whose interval leaves 0 out. " if fitted else ""
    place.caption(f"A dot is a subject: means over the scans with this score. {lines}Click a dot to open its patient.")
    place.caption("  \n".join(pair_words(choice, found)))


def pair_words(choice: Choice, found: Correlations) -> list[str]:
    """Write the correlations of the pair that is drawn, one line a set of subjects."""
    rows = found.table
    rows = rows[(rows["score"] == choice.score) & (rows["feature"] == choice.feature)]
    lines = []
    for row in rows.itertuples():
        if pd.isna(row.rho):
            lines.append(f"**{formatting.plain(row.among)}** no correlation: one side is constant, n = {row.subjects}.")
            continue
        controls = row.controlled_for.replace(", ", " and ")
        partial = f"; controlling for {controls} ρ {formatting.correlation(row.partial_rho)}" if controls else ""
        rho, low, high = (formatting.correlation(value) for value in (row.rho, row.low, row.high))
        lines.append(
            f"**{formatting.plain(row.among)}** ρ {rho} (95 % CI {low} to {high}), {p_words('p', row.p)}, "
            f"{p_words('q', row.q)}{partial}, n = {row.subjects}."
        )
    return lines


def p_words(name: str, value: float) -> str:
    """Write a p value: p = 0.0312, or p < 0.001."""
    return f"{name} < 0.001" if value < 0.001 else f"{name} = {formatting.three(value)}"


def click_feature(clicked: Any) -> None:
    """Draw the region of a clicked interval against the score in the next pass."""
    url_state.set_before_next_pass({"cl_of": clicked[0] if isinstance(clicked, list) else clicked})


def every_region(place: Any, choice: Choice, found: Correlations, selection: Selection) -> None:
    """Show the correlation of the score with every feature, with intervals."""
    rows = found.table[found.table["score"] == choice.score]
    place.markdown(f"**{SCORES[choice.score]} with the decision and the regions**")
    known = [name for name in found.sets if (rows["among"] == name).any()]
    if not known:
        place.caption(f"No diagnosis has {FEWEST} subjects with this score: no correlation is given.")
        return
    groups = runs.manifest(selection.run)["groups"]
    label = dict.fromkeys(ANSWERS, runs.answer(selection.run).name)
    rows = rows.assign(feature=rows["feature"].replace(label))
    features = [label.get(feature, feature) for feature in found.features]
    figure = figures.intervals(rows, features, known, groups, axis="Spearman's ρ")
    clickable = access.may_see_patients()
    display.chart(place, figure, "clinical-intervals", on_click=click_feature if clickable else None)
    place.caption(
        "Thin line: 95 % CI over subjects (Fisher's z, standard error of Bonett and Wright), this model. Regions in "
        f"the order of their mean share.{' Click a dot to draw its region.' if clickable else ''}"
    )


def all_pairs(found: Correlations, answer: str) -> None:
    """Show the table of all correlations, with how many tests were made and what is hidden."""
    table = found.table
    box = url_state.fold("cl_numbers", "All pairs", opened=True)
    if box is None:
        return
    if len(table):
        number, text = st.column_config.NumberColumn, st.column_config.TextColumn
        columns = {name: number(label, format="%.3g") for name, label in NUMBERS.items()}
        columns |= {"among": text("Subjects"), "score": text("Score"), "feature": text("With")}
        columns |= {"subjects": number("n"), "partial_subjects": number("n, partial")}
        shown = clinical_tables.in_table(table, found.sets, lambda feature: feature_words(feature, answer))
        display.grid(box, shown, columns=columns | {"controlled_for": text("Partial: less")})
        tests, partial = (int(table[column].notna().sum()) for column in ("p", "partial_p"))
        box.caption(
            f"q: false discovery rate after Benjamini and Hochberg over the {tests} tests of this table; of the "
            f"partial correlations over their {partial}. {TOGETHER}: every diagnosis together."
        )
    if found.few and access.may_see_patients():
        hidden = ", ".join(
            f"{SCORES[score]} in {formatting.plain(name)} ({n})" for (score, name), n in found.few.items()
        )
        box.caption(f"Not given, below {FEWEST} subjects: {hidden}.")


def explain() -> None:
    """Explain how to read the page, with formula and source."""
    page.how_to_read(
        "ρ says whether subjects with a higher score have a higher answer of the networks, or more of their "
        "relevance in a region, from -1 to 1, whatever the shape of the relation. A correlation is no cause: scores "
        "go with age, sex and how far a disease has come, and the partial correlation takes age and sex alone out "
        "(for age: sex).\n\n"
        "Each subject counts once, with the means over its scans; one with two diagnoses counts, and has a dot, in "
        "each. Across folds, values of several networks are taken together. Look at q rather than p: of many regions "
        "some correlate by chance.",
        r"z = \operatorname{artanh}\rho \pm 1.96\sqrt{\frac{1 + \rho^2/2}{n - 3}},\quad "
        r"t = \rho\sqrt{\frac{n - 2}{1 - \rho^2}}",
        "Interval: Bonett & Wright 2000, Psychometrika 65, 23-28. Partial: Pearson correlation of the ranks less their "
        "least-squares fit by the ranks of age and sex; two or one degrees of freedom fewer. q: Benjamini & Hochberg "
        "1995, J R Stat Soc B 57, 289-300.",
    )  # fmt: skip


def main(selection: Selection) -> None:
    """Show the Clinical page."""
    if access.has_groups_only():
        st.title("Clinical", anchor=False)
        notices.no_persons(runs.opened(selection.run).shown)
        return
    manifest, rows = runs.manifest(selection.run), selection.rows()
    head = page.Header("Clinical", sentence(selection, rows, ordered_diagnoses(rows, manifest["groups"])))
    downloads = content(selection, manifest, rows)
    if downloads is not None:
        explain()
        page.provenance(
            selection.run, formatting.MODEL_SETS[selection.model_set], formatting.method_name(selection.method),
            f"evidence for {selection.evidence()}",
        )  # fmt: skip
    head.finish(downloads or ())


def content(selection: Selection, manifest: dict[str, Any], rows: pd.DataFrame) -> list[page.Download] | None:
    """Show all between header and foot; return the downloads, or None where there is nothing to show."""
    if rows.empty:
        sidebar.nothing_passes()
        return None
    scores = correlated.known_scores(rows)
    if not scores:
        st.info(
            "These scans have neither age nor a clinical score. They are read from the columns age, mmse, cdr and "
            "cdr_sb of a cohort's table (docs/your-data.md)."
        )
        return None
    try:
        known = asked.evidence(selection, True)
    except NotInRunError:
        st.info("This run has no relevance of regions. It is made by the stage aggregate of run_pipeline.py.")
        return None
    scores = correlated.known_scores(known.rows)
    if known.left_out:
        without = formatting.count(known.left_out, "scan")
        st.caption(f"Left out: {without} whose heatmaps are 0 everywhere; they have no shares of regions.")
    if not scores:
        st.info(f"These scans have no relevance as evidence for {selection.evidence()}: choose another evidence.")
        return None
    warn(manifest, known.rows, scores)
    answer = runs.answer(selection.run).name
    choice = controls(selection, scores, answer)
    evidence = asked.evidence(selection, choice.merged)
    found = asked.correlations(selection, choice.merged, choice.count, choice.feature)
    dots_table = pictures(selection, choice, evidence, found)
    all_pairs(found, answer)
    return files(selection, choice, found.table, dots_table)


def files(selection: Selection, choice: Choice, table: pd.DataFrame, dots_table: pd.DataFrame) -> list[page.Download]:
    """Return the downloads; those of single subjects only for readers who may see them."""
    name = f"{selection.run.run_id}_{selection.model_set}_{selection.method}_{selection.target}"
    found = [page.Download.csv("All pairs, CSV", f"{name}_clinical", lambda: table)] if len(table) else []
    if access.may_see_patients():
        own = dots_table.rename(columns={"score": choice.score, "value": choice.feature})
        pair = f"{name}_{choice.score}_{choice.feature}"
        found.append(page.Download.csv("The dots, CSV", pair, lambda: own))
    return found


page.body_of_selection("Clinical", main)
