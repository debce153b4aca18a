"""The sidebar: what is shown (models, method, target) and of whom (diagnosis, decision, sex, age, session, subject)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.data import runs
from dashboard.data.cohort import ordered_diagnoses
from dashboard.data.runs import Run
from dashboard.data.selection import MISSING, SEXES, TARGET_WORDS, ScanFilter, Selection, explained_scans, fill_missing
from dashboard.shell import access, people, url_state
from dashboard.text import formatting

CURRENT = "_selection"
BARS = 24  # of a histogram above a filter, at most
CORRECT = {"all": "all", "correct": "correct", "wrong": "wrong"}
SET_WORDS = {"holdout": "Held-out", "folds": "All folds"}
SET_NAMES = {"holdout": "held-out test set", "folds": "folds"}
SUBJECTS = "sub"  # the filter in links
NOT_KNOWN = "_subjects_not_known"  # in the session: a code of the link's subjects, none of whom is known here
NOBODY = ("",)  # a filter that nobody passes


def _what(run: Run) -> tuple[str, str, str] | None:
    """Let the reader choose model set, method and target; None where the run has no explained scans."""
    sets = runs.available(run)
    if not sets:
        return None
    groups = list(runs.manifest(run)["groups"])
    model_set = url_state.choose(
        "set", "Models", list(sets), widget="segmented", words=lambda s: SET_WORDS.get(s, s),
        help="Cross-validation: each fold's model explains its own test scans. Held-out: one model that never saw the "
        "fixed test set explains it. The two are never mixed.",
    )  # fmt: skip
    method = url_state.choose("method", "Method", sets[model_set], words=formatting.method_name)
    own, targets = runs.explained_target(run), [*groups, "predicted", "true"]
    if not access.may_see_patients():
        # Evidence for a group less that for the predicted one is that of the few scans that are called otherwise.
        targets = groups if own in groups else [own]
    target = url_state.choose(
        "target", "Evidence for", targets, own,
        words=lambda t: TARGET_WORDS.get(t, t), help="The group whose evidence is explained.",
    )  # fmt: skip
    return model_set, method, target


def _choose_filter(run: Run, rows: pd.DataFrame, model_set: str) -> ScanFilter:
    groups = runs.manifest(run)["groups"]
    diagnoses = ordered_diagnoses(rows, groups)
    diagnosis = url_state.choose_many("dx", "Diagnosis", diagnoses, widget="pills")
    screening = ()
    at_screening = fill_missing(rows.screening_diagnosis)
    if ((at_screening != rows.diagnosis) & (at_screening != MISSING)).any():  # someone has converted
        screened = ordered_diagnoses(rows.assign(diagnosis=at_screening), groups)
        screening = url_state.choose_many("scr", "Diagnosis at screening", screened, widget="pills")
    label, known_labels = (), sorted(fill_missing(rows.clinical_label).unique())
    if len(known_labels) > 1:  # of a regression, whose diagnoses are the sides of the median
        label = url_state.choose_many("cl", "Clinical label", known_labels, widget="pills")
    correct = url_state.choose("ok", "Decision", list(CORRECT), widget="segmented")
    sexes = [s for s in SEXES if (rows.sex == s).any()]
    sex = url_state.choose_many("sex", "Sex", sexes, widget="pills", words=SEXES.__getitem__) if len(sexes) > 1 else ()
    age, session, subject = None, (), ()
    known = rows.age.dropna()
    if len(known) and np.floor(known.min()) < np.ceil(known.max()):
        ends = int(np.floor(known.min())), int(np.ceil(known.max()))
        drawn = st.container(gap=None)
        chosen = url_state.slide_range("age", "Age, years", *ends, 1, label_visibility="collapsed")
        age = chosen if tuple(chosen) != ends else None
        drawn.html(
            '<div style="font-size: 0.875rem; padding-bottom: 0.3rem">Age, years</div>'
            + histogram(rows.drop_duplicates("scan").age.dropna(), chosen)
        )
    sessions = sorted(fill_missing(rows.session).unique())
    if len(sessions) > 1:
        session = url_state.choose_many("ses", "Session", sessions, placeholder="all")
    site, sites = (), sorted(fill_missing(rows.site).unique())
    if len(sites) > 1:
        site = url_state.choose_many("site", "Site", sites, placeholder="all")
    if access.may_see_patients():
        subject = _choose_subjects(run, rows, model_set)
    verdict = {"all": None, "correct": True, "wrong": False}[correct]
    return ScanFilter(
        diagnosis or None, verdict, sex or None, age, session or None, subject or None, screening or None,
        label or None, site or None,
    )  # fmt: skip


def _choose_subjects(run: Run, rows: pd.DataFrame, model_set: str) -> tuple[str, ...]:
    """Let the reader pick subjects, by a search where they are many.

    Those of a link under another key are nobody here, never everybody.
    """
    session, asked = st.session_state, url_state.peek(SUBJECTS)
    linked = [people.by_pseudonym(run, model_set).get(code) for code in url_state.peek_all(SUBJECTS)]
    before = {*linked, *session.get(SUBJECTS, ()), *(url_state.kept(SUBJECTS) or ())}
    known = list(dict.fromkeys(rows.subject))
    options = people.offered(SUBJECTS, known, [subject for subject in known if subject in before])
    chosen = url_state.choose_many(SUBJECTS, "Subjects", options, link_words=access.pseudonym, placeholder="all")
    if chosen:
        session.pop(NOT_KNOWN, None)
    elif asked not in (None, url_state.ALL):
        session[NOT_KNOWN] = asked
    if (code := session.get(NOT_KNOWN)) is None:
        return chosen
    st.warning(
        "The subjects of this link are not known here, so no scan is shown. A link names them by codes that hold for "
        "one key: it was made on a computer with another key of links, or for another run (docs/links.md)."
    )
    st.button("Show all scans", on_click=lambda: session.pop(NOT_KNOWN, None), key="sub-all", width="stretch")
    url_state.write(SUBJECTS, code)
    return NOBODY


def histogram(values: pd.Series, chosen: tuple[float, float]) -> str:
    """Draw how many scans have each value as small bars, HTML; those within the chosen range stand out."""
    low, high = float(np.floor(values.min())), float(np.ceil(values.max()))
    counts, edges = np.histogram(values, bins=min(BARS, int(high - low)), range=(low, high))
    most = max(int(counts.max()), 1)
    bars = "".join(
        f'<span style="flex: 1; height: {100 * count / most:.0f}%; background: currentColor; '
        f'opacity: {0.75 if first <= chosen[1] and last > chosen[0] else 0.25}"></span>'
        for count, first, last in zip(counts, edges[:-1], edges[1:], strict=True)
    )
    said = f"Ages of {formatting.count(len(values), 'scan')}, {low:g} to {high:g} years; at most {most} in a bar."
    return (
        f'<div role="img" aria-label="{said}" style="display: flex; align-items: flex-end; gap: 1px; height: 24px; '
        f'padding: 0 0.4rem">{bars}</div>'
    )


FILTER_KEYS = {
    "diagnosis": "dx", "correct": "ok", "sex": "sex", "age": "age", "session": "ses", "subject": "sub",
    "screening_diagnosis": "scr", "clinical_label": "cl", "site": "site",
}  # fmt: skip
FILTER_WORDS = {
    "diagnosis": "diagnosis", "correct": "decision", "sex": "sex", "age": "age", "session": "session",
    "subject": "subjects", "screening_diagnosis": "diagnosis at screening", "clinical_label": "clinical label",
    "site": "site",
}  # fmt: skip


def _drop(names: list[str], rows: pd.DataFrame) -> None:
    ages = int(np.floor(rows.age.min())), int(np.ceil(rows.age.max()))
    empty = {"correct": "all", "age": ages}
    url_state.set_before_next_pass({FILTER_KEYS[name]: empty.get(name, []) for name in names})


def _count(rows: pd.DataFrame, scan_filter: ScanFilter) -> None:
    """Write how many scans remain; where none does, which filter did it and a way out."""
    keep = scan_filter.passing(rows)
    left = rows[keep]
    scans = formatting.count(rows.scan.nunique(), "scan")  # several models may explain a new scan
    st.caption(f"**{left.scan.nunique()} of {scans}**, {formatting.count(left.subject.nunique(), 'subject')}")
    if len(left) == 0:
        blamed = [n for n in scan_filter.active() if replace(scan_filter, **{n: None}).passing(rows).any()]
        for name in blamed:
            st.warning(f"The filter on {FILTER_WORDS[name]} leaves no scan.")
            st.button(
                f"Drop the filter on {FILTER_WORDS[name]}", on_click=_drop, args=([name], rows), key=f"drop-{name}"
            )
        if not blamed:
            st.warning("These filters together leave no scan.")
    if scan_filter.active():
        st.button(
            "Drop all filters", on_click=_drop, args=(scan_filter.active(), rows), key="drop-all", type="tertiary"
        )


def sidebar(run: Run) -> Selection | None:
    """Show the widgets and return what they say; None where the run explains nothing."""
    st.caption("WHAT")
    what = _what(run)
    if what is None:
        st.caption("This run has no heatmaps.")
        return None
    rows = explained_scans(run, what[0])
    st.caption("WHOM")
    if not access.may_see_patients():
        return Selection(run, *what, _everyone(run, rows))
    scan_filter = _choose_filter(run, rows, what[0])
    _count(rows, scan_filter)
    return Selection(run, *what, scan_filter)


def _everyone(run: Run, rows: pd.DataFrame) -> ScanFilter:
    """Return the groups as they were published, but for small ones, for readers who may not see single patients."""
    people = rows.groupby("diagnosis").subject.nunique()
    diagnoses = ordered_diagnoses(rows, runs.manifest(run)["groups"])
    large = tuple(d for d in diagnoses if people[d] >= access.fewest())
    hidden = f" Groups of {access.few()} subjects are not shown." if len(large) < len(diagnoses) else ""
    st.caption(f"All scans of each group: filters are {access.only_for_whom()}.{hidden}")
    asked = [FILTER_WORDS[name] for name, key in FILTER_KEYS.items() if url_state.linked(key) not in (None, "all")]
    if asked:
        url_state.ignore("filters", ", ".join(asked), f"filters are {access.only_for_whom()}")
    return ScanFilter(diagnosis=large) if hidden else ScanFilter()


def nothing_passes(what: str = "") -> None:
    """Say in the place of a page's results that no scan passes; `what` adds what there is nothing to do with."""
    if access.may_see_patients():
        selection = current()
        others = elsewhere(selection) if selection else ""
        st.info(f"No scan passes the filters{what}: widen them at the left.{others}")
    else:
        st.info(f"Every group of these scans has {access.few()} subjects: their results are {access.only_for_whom()}.")


def nobody(selection: Selection, names: Sequence[str]) -> str:
    """Say which groups have no scan that passes, and where there are some."""
    listed, models = " or ".join(map(formatting.plain, names)), SET_NAMES[selection.model_set]
    return f"No {listed} scan of the {models} passes the filters.{elsewhere(selection, names)}"


def elsewhere(selection: Selection, names: Sequence[str] = ()) -> str:
    """Say how many scans pass the same filters in the other model sets; empty where none does."""
    found = []
    for other in runs.available(selection.run):
        if other == selection.model_set:
            continue
        rows = explained_scans(selection.run, other)
        rows = rows[selection.scan_filter.passing(rows)]
        count = int(rows.scan[rows.diagnosis.isin(names)].nunique() if names else rows.scan.nunique())
        if count:
            found.append(f" {SET_WORDS.get(other, other)} has {count}: choose it under Models.")
    return "".join(found)


def in_head() -> None:
    """Show the filters that are set in the head of a page, as the sidebar's may be out of sight."""
    selection = current()
    if selection is None or not access.may_see_patients() or not selection.scan_filter.active():
        return
    rows = explained_scans(selection.run, selection.model_set)
    left = rows[selection.scan_filter.passing(rows)]
    said, drop = st.columns([1, 0.2], vertical_alignment="center")
    said.caption(
        f":material/filter_alt: **{left.scan.nunique()} of {formatting.count(rows.scan.nunique(), 'scan')}**: "
        f"{selection.scan_filter.in_words()}"
    )
    names = selection.scan_filter.active()
    if drop.button("Drop all filters", key="head-drop-all", type="tertiary", width="stretch"):
        _drop(names, rows)
        st.rerun()  # the whole app: a page runs without the sidebar


def set_current(selection: Selection | None) -> None:
    """Remember what the sidebar says; home.py calls this before a view runs."""
    st.session_state[CURRENT] = selection


def rest() -> None:
    """Forget the selection, on pages that show the whole run."""
    set_current(None)


def current() -> Selection | None:
    """Return what the sidebar of this pass says; None where the run explains nothing."""
    return st.session_state[CURRENT]
