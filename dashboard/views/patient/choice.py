"""Which patient, visit and model the Patient page shows, from the link or by its controls."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.data import runs
from dashboard.data.selection import Selection
from dashboard.shell import access, bound_link, names, page, people, url_state
from dashboard.text import formatting
from dashboard.views.patient import persons
from dashboard.views.patient import queries as patient_queries

SUBJECT, SCAN, MODEL = "p_subject", "p_scan", "p_model"

UNKNOWN = "_p_unknown"  # why the patient of the link cannot be shown, until the reader chooses another


def unknown_patient(selection: Selection) -> bool:
    """Say why the link's patient cannot be shown, and return True; False where the patient can be shown.

    Another patient is never shown in the place of one that is not known.
    """
    code, run = url_state.peek(SUBJECT), selection.run
    if code is not None and code not in people.by_pseudonym(run, selection.model_set):
        elsewhere = code in {access.pseudonym(s) for s in runs.table(run, "scans", ("subject",)).subject.unique()}
        st.session_state[UNKNOWN] = (
            "The patient of this link is in the run, but not among the scans that these models explain: choose other "
            "models at the left." if elsewhere else
            "The patient of this link is not known here. A link names patients by codes that hold for one key: it was "
            "made on a computer with another key of links, or for another run. Open it where it was made, or ask for "
            "the key (docs/dashboard.md), or for the name of the subject."
        )  # fmt: skip
    why = st.session_state.get(UNKNOWN)
    if why is None:
        return False
    page.Header("Patient", "No patient is shown.").finish()
    st.warning(why)
    if not bound_link.is_bound():
        st.button("Choose a patient of this run", on_click=lambda: st.session_state.pop(UNKNOWN, None), key="p-choose")
    url_state.leave_link()
    return True


def pick_subject(selection: Selection) -> str:
    """Choose a patient among those of the sidebar's filters, by a search or by the buttons Back and Next."""
    subjects, said = persons.who_pass(selection), persons.everyone(selection.run, selection.model_set).said
    by_name = people.by_pseudonym(selection.run, selection.model_set)
    wanted = by_name.get(url_state.peek(SUBJECT) or "", st.session_state.get(SUBJECT) or url_state.kept(SUBJECT))
    outside = wanted in said and wanted not in subjects
    picker = st.container(key="patient-picker")
    among = [wanted, *subjects] if outside else list(subjects)
    options = people.offered(SUBJECT, among, [wanted] if wanted in among else [], picker)
    back, search, on = picker.columns([0.11, 1, 0.11], vertical_alignment="bottom")

    called = names.shown_names(options)

    def label(subject: str) -> str:
        return f"{called[subject]} · {said[subject]}"

    subject = url_state.choose(
        SUBJECT, f"Patient ({formatting.count(len(subjects), 'subject')} in the filters)", options, words=label,
        link_words=access.pseudonym, place=search,
    )  # fmt: skip
    place = subjects.index(subject) if subject in subjects else -1
    before, after = (subjects[(place + step) % len(subjects)] if subjects else subject for step in (-1, 1))
    if bound_link.is_bound():
        return subject
    back.button("‹ Back", on_click=_step, args=(before,), key="patient-back", width="stretch", help="Previous patient")
    on.button("Next ›", on_click=_step, args=(after,), key="patient-next", width="stretch", help="Next patient")
    if outside:
        st.caption("This patient does not pass the filters of the sidebar.")
    return subject


def _step(subject: str) -> None:
    """Show another patient in the next pass."""
    url_state.set_before_next_pass({SUBJECT: subject})


def pick_scan(known: persons.Visits) -> pd.Series:
    """Choose the visit; asked for only where there are several."""
    visits = known.table
    if len(visits) == 1:
        scan = visits.scan.iloc[0]
        url_state.write(SCAN, access.pseudonym(scan))
        if (code := url_state.linked(SCAN)) not in (None, access.pseudonym(scan)):
            url_state.ignore(SCAN, code, "not known here; the only visit is shown")
    else:
        called = names.shown(visits)
        session = {
            scan: visit or name
            for scan, visit, name in zip(visits.scan, called.session.fillna(""), called.scan, strict=True)
        }
        ages = dict(zip(visits.scan, visits.age, strict=True))
        scan = url_state.choose(
            SCAN, "Visit", list(visits.scan), widget="segmented", link_words=access.pseudonym,
            words=lambda s: f"{session[s]}, {ages[s]:.1f} y" if ages[s] == ages[s] else session[s],
        )  # fmt: skip
    return known.rows[scan]


def pick_model(selection: Selection, scan: str) -> str:
    """Choose the model that explains; asked for only where there are several."""
    models = patient_queries.models_of_scan(selection.run, selection.model_set, scan)
    models = [m for m in models if patient_queries.methods_of_scan(selection.run, m, scan)]
    if len(models) == 1:
        url_state.write(MODEL, models[0])
        url_state.linked(MODEL)
        return models[0]
    return url_state.choose(MODEL, "Explained by", models, widget="segmented", words=formatting.network_name)
