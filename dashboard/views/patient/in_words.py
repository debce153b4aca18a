"""A patient in three sentences, and the scans of other people that are explained most alike."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd
import streamlit as st

from dashboard.data import reference_run, runs, trust
from dashboard.data.kept import kept
from dashboard.data.runs import Run
from dashboard.data.selection import Selection, explained_scans
from dashboard.shell import display, notices, public
from dashboard.text import formatting
from dashboard.text.outputs import OutputDescription
from dashboard.views.shared import patient_evidence
from dashboard.views.shared.patient_evidence import Explained
from dashboard.views.shared.patient_links import draw_table_of_patients
from dashboard.views.shared.patient_words import sentences
from store import NotInRunError

GRADIENTS = ("sensitivity", "smoothgrad", "guided_backprop")  # whose sign is a direction, not a contribution
MOST_SCANS = 1024  # by method and evidence, a few kB each
DIRECTION = " The sign of a gradient says where brighter tissue would move the answer, not what this tissue adds to it."


def explained(run: Run, model: str, method: str, scan: str, target: str) -> Explained:
    """Describe a scan for the sentences: a new scan is set among the people of the run whose networks explained it."""
    other = reference_run.of(run)
    people = run if other is None else other.run
    return Explained(
        runs.opened(run), model, method, scan, target, runs.opened(people) if people else None,
        simulated_networks=bool(other and other.simulated and not runs.manifest(run)["simulated"]),
        judged=reference_run.verdict(run), trust=trust.lines(run, public.fewest()).get(method),
    )  # fmt: skip


@kept(MOST_SCANS)
def in_sentences(run: Run, model: str, method: str, scan: str, target: str) -> str:
    """Return the three sentences as Markdown; empty where regions of this scan were not measured."""
    try:
        known = patient_evidence.facts_of(explained(run, model, method, scan, target))
    except NotInRunError:
        return ""
    return "\n\n".join(map(formatting.plain, sentences(known)))


class Similar(NamedTuple):
    """The scans of other people that are most alike, the run they are of, and their table for the page."""

    found: pd.DataFrame
    people: Run | None
    table: display.GridTable | None = None


@kept(MOST_SCANS)
def similar(run: Run, model: str, method: str, scan: str, target: str) -> Similar:
    """Return the scans of other people that are most alike; see `similar_scans`."""
    one, other = explained(run, model, method, scan, target), reference_run.of(run)
    people = run if other is None else other.run
    if people is None:
        return Similar(pd.DataFrame(), None)
    try:
        found = patient_evidence.similar_scans(one, explained_scans(people, one.model_set), patient_evidence.SIMILAR)
    except NotInRunError:
        return Similar(pd.DataFrame(), people)
    return Similar(found, people, display.grid_table(similar_table(found, runs.answer(people))))


def show(selection: Selection, model: str, scan: str, method: str) -> None:
    """Show the three sentences."""
    said = in_sentences(selection.run, model, method, scan, selection.target)
    if not said:
        return
    st.subheader("In words", anchor=False)
    st.markdown(said)
    st.caption(
        f"Made by rule from numbers of this run, {formatting.method_name(method).lower()}, network: "
        f"{formatting.network_name(model)}. What the network’s answer rests on is no finding about the patient. "
        "Percent: the region’s signed relevance of all |relevance| in the brain; percentile: of that among the other "
        f"subjects of the group.{DIRECTION if method in GRADIENTS else ''} {notices.RESEARCH_ONLY}"
    )


def show_similar(selection: Selection, model: str, scan: str, method: str) -> None:
    """Show the five scans of other people that are explained most alike, with their outcome; a row opens one."""
    found, people, table = similar(selection.run, model, method, scan, selection.target)
    st.subheader("Explained most alike", anchor=False)
    if found.empty or table is None:
        st.caption(
            "Nobody to compare with: this scan has no relevance by this method, or the other scans are not here."
        )
        return
    if people == selection.run:
        draw_table_of_patients(st, table, found, "p-similar")
        click = " Choose a row to open its patient."
    else:
        display.table(st.container(), table.frame)
        click = f" They are of {formatting.plain(people.run_id)}: open that run to see them." if people else ""
    st.caption(
        f"Of {formatting.count(len(found), 'other person')}, one scan each: Pearson’s correlation of the density of "
        f"relevance over the atlas regions, {formatting.method_name(method).lower()}, same models and evidence. Alike "
        f"in where the networks look, not in disease. ✓: decided as labelled, ✗: not.{click}"
    )


def similar_table(found: pd.DataFrame, answer: OutputDescription) -> pd.DataFrame:
    """Return the similar scans as text: who, diagnosis, what the network answers and decides, similarity."""
    right = found.correct.map({True: "✓", False: "✗"}).fillna("")
    columns = {
        "Patient": found.subject.astype(str), "Similarity": found.similarity.map(formatting.correlation),
        "Diagnosis": found.diagnosis.astype(str), answer.axis: found[answer.column].map(answer.number),
    }  # fmt: skip
    if not answer.is_value:
        decided = zip(found.predicted.astype(str), right, strict=True)
        columns["Decided"] = [f"{group} {how}".strip() for group, how in decided]
    elif found.observed.notna().any():
        columns[f"True {answer.label}"] = found.observed.map(answer.number)
    return pd.DataFrame(columns)
