"""The sidebar: what is shown (models, method, target) and of whom (diagnosis, decision, sex, age, session, subject)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.data import frames, runs
from dashboard.data.runs import Run
from dashboard.shell import access, url_state
from dashboard.text import formatting

CURRENT = "_selection"
CORRECT = {"all": "all", "correct": "correct", "wrong": "wrong"}
SEXES = {"F": "women", "M": "men"}
TARGET_WORDS = {"true": "the true group", "predicted": "the predicted group"}
SET_WORDS = {"holdout": "Held-out", "folds": "All folds"}
SET_NAMES = {"holdout": "held-out test set", "folds": "folds"}
NONE = "(none)"


@dataclass(frozen=True)
class Whom:
    """Which scans pass; None lets all pass.

    Attributes:
        correct: True for scans that are predicted as their group, False for the others.
        age: years, both ends included; a scan without age does not pass.
    """

    diagnosis: tuple[str, ...] | None = None
    correct: bool | None = None
    sex: tuple[str, ...] | None = None
    age: tuple[float, float] | None = None
    session: tuple[str, ...] | None = None
    subject: tuple[str, ...] | None = None
    screening_diagnosis: tuple[str, ...] | None = None
    clinical_label: tuple[str, ...] | None = None

    @property
    def needs_streaming(self) -> bool:
        """Whether the stored group cells do not answer this: more than diagnosis and correct."""
        return not set(self.active()) <= {"diagnosis", "correct"}

    def active(self) -> list[str]:
        """Names of the filters that are set."""
        return [name for name in self.__dataclass_fields__ if getattr(self, name) is not None]


@dataclass(frozen=True)
class Selection:
    """What the sidebar says: hashable, so that it is a key of the caches."""

    run: Run
    model_set: str
    method: str
    target: str
    whom: Whom = Whom()

    def of(self, **changes: Any) -> Selection:
        """The same with other values."""
        return replace(self, **changes)

    def rows(self) -> pd.DataFrame:
        """The explained scans that pass: the predictions with the covariates of the scan, in the order of the store."""
        rows = explained(self.run, self.model_set)
        return rows[passing(rows, self.whom)].reset_index(drop=True)

    @property
    def needs_streaming(self) -> bool:
        """Whether the stored group cells do not answer for these scans."""
        return self.whom.needs_streaming

    def evidence(self) -> str:
        """The target in words, for Markdown: AD, or the predicted group."""
        return formatting.plain(self.evidence_as_text())

    def evidence_as_text(self) -> str:
        """The same for pictures and files."""
        return TARGET_WORDS.get(self.target, self.target)


@dataclass(frozen=True)
class OneHeatmap(Selection):
    """A single scan explained by one model of the set, drawn as averages are."""

    model: str = ""
    scan: str = ""

    def rows(self) -> pd.DataFrame:
        """Its row; none for a retrained model."""
        rows = explained(self.run, self.model_set)
        return rows[(rows.model == self.model) & (rows.scan == self.scan)].reset_index(drop=True)

    @property
    def needs_streaming(self) -> bool:
        """It is no group."""
        return True


@st.cache_data(max_entries=8, show_spinner=False)
def explained(run: Run, model_set: str) -> pd.DataFrame:
    """Every scan that a model set explains: predictions with the scan's covariates; no retrained models.

    A scan has one row; in a run of new scans it has one for each model of the set, as none has seen its subject.
    """
    predictions = runs.table(run, "predictions")
    scans = runs.table(run, "scans")
    chosen = predictions[(predictions.model_set == model_set) & ~predictions.model.str.contains("-seed-", regex=False)]
    extra = [c for c in scans.columns if c not in chosen.columns or c == "scan"]
    return chosen.merge(scans[extra], on="scan", how="left").reset_index(drop=True)


def passing(rows: pd.DataFrame, whom: Whom) -> np.ndarray:
    """(rows,) bool: which pass all filters."""
    keep = np.ones(len(rows), bool)
    for name in whom.active():
        keep &= _passes(rows, name, getattr(whom, name))
    return keep


def _passes(rows: pd.DataFrame, name: str, wanted: Any) -> np.ndarray:
    if name == "correct":
        return (rows.correct.astype("boolean") == wanted).fillna(False).to_numpy(bool)
    if name == "age":
        return rows.age.between(*wanted).to_numpy()
    return _named(rows[name]).isin(wanted).to_numpy()


def _named(values: pd.Series) -> pd.Series:
    """The values, a word in the place of those that are missing."""
    return values.fillna("").replace("", NONE)


def _what(run: Run) -> tuple[str, str, str] | None:
    """Model set, method and target; None where the run has no explained scans."""
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


def _whom(run: Run, rows: pd.DataFrame) -> Whom:
    groups = runs.manifest(run)["groups"]
    diagnoses = frames.ordered_diagnoses(rows, groups)
    diagnosis = url_state.choose_many("dx", "Diagnosis", diagnoses, widget="pills")
    screening = ()
    at_screening = _named(rows.screening_diagnosis)
    if ((at_screening != rows.diagnosis) & (at_screening != NONE)).any():  # someone has converted
        screened = frames.ordered_diagnoses(rows.assign(diagnosis=at_screening), groups)
        screening = url_state.choose_many("scr", "Diagnosis at screening", screened, widget="pills")
    label, known_labels = (), sorted(_named(rows.clinical_label).unique())
    if len(known_labels) > 1:  # of a regression, whose diagnoses are the sides of the median
        label = url_state.choose_many("cl", "Clinical label", known_labels, widget="pills")
    correct = url_state.choose("ok", "Decision", list(CORRECT), widget="segmented")
    sexes = [s for s in SEXES if (rows.sex == s).any()]
    sex = url_state.choose_many("sex", "Sex", sexes, widget="pills", words=SEXES.get) if len(sexes) > 1 else ()
    age, session, subject = None, (), ()
    known = rows.age.dropna()
    if len(known) and np.floor(known.min()) < np.ceil(known.max()):
        ends = int(np.floor(known.min())), int(np.ceil(known.max()))
        chosen = url_state.slide_range("age", "Age, years", *ends, 1)
        age = chosen if tuple(chosen) != ends else None
    sessions = sorted(_named(rows.session).unique())
    if len(sessions) > 1:
        session = url_state.choose_many("ses", "Session", sessions, placeholder="all")
    if access.may_see_patients():
        subject = url_state.choose_many(
            "sub", "Subjects", list(dict.fromkeys(rows.subject)), link_words=access.pseudonym, placeholder="all"
        )
    verdict = {"all": None, "correct": True, "wrong": False}[correct]
    return Whom(
        diagnosis or None, verdict, sex or None, age, session or None, subject or None, screening or None,
        label or None,
    )  # fmt: skip


FILTER_KEYS = {
    "diagnosis": "dx", "correct": "ok", "sex": "sex", "age": "age", "session": "ses", "subject": "sub",
    "screening_diagnosis": "scr", "clinical_label": "cl",
}  # fmt: skip
FILTER_WORDS = {
    "diagnosis": "diagnosis", "correct": "decision", "sex": "sex", "age": "age", "session": "session",
    "subject": "subjects", "screening_diagnosis": "diagnosis at screening", "clinical_label": "clinical label",
}  # fmt: skip


def _drop(names: list[str], rows: pd.DataFrame) -> None:
    ages = int(np.floor(rows.age.min())), int(np.ceil(rows.age.max()))
    empty = {"correct": "all", "age": ages}
    url_state.set_before_next_pass({FILTER_KEYS[name]: empty.get(name, []) for name in names})


def _count(rows: pd.DataFrame, whom: Whom) -> None:
    """How many remain; where none does, which filter did it and a way out."""
    keep = passing(rows, whom)
    left = rows[keep]
    scans = formatting.count(rows.scan.nunique(), "scan")  # several models may explain a new scan
    st.caption(f"**{left.scan.nunique()} of {scans}**, {formatting.count(left.subject.nunique(), 'subject')}")
    if len(left) == 0:
        blamed = [n for n in whom.active() if passing(rows, replace(whom, **{n: None})).any()]
        for name in blamed:
            st.warning(f"The filter on {FILTER_WORDS[name]} leaves no scan.")
            st.button(
                f"Drop the filter on {FILTER_WORDS[name]}", on_click=_drop, args=([name], rows), key=f"drop-{name}"
            )
        if not blamed:
            st.warning("These filters together leave no scan.")
    if whom.active():
        st.button("Drop all filters", on_click=_drop, args=(whom.active(), rows), key="drop-all", type="tertiary")


def sidebar(run: Run) -> Selection | None:
    """The widgets; None where the run explains nothing."""
    st.caption("WHAT")
    what = _what(run)
    if what is None:
        st.caption("This run has no heatmaps.")
        return None
    rows = explained(run, what[0])
    st.caption("WHOM")
    if not access.may_see_patients():
        return Selection(run, *what, _everyone(run, rows))
    whom = _whom(run, rows)
    _count(rows, whom)
    return Selection(run, *what, whom)


def _everyone(run: Run, rows: pd.DataFrame) -> Whom:
    """For readers who may not see single patients: the groups as they were published, but for small ones."""
    people = rows.groupby("diagnosis").subject.nunique()
    diagnoses = frames.ordered_diagnoses(rows, runs.manifest(run)["groups"])
    large = tuple(d for d in diagnoses if people[d] >= access.FEWEST)
    hidden = f" Groups of {access.FEW} subjects are not shown." if len(large) < len(diagnoses) else ""
    st.caption(f"All scans of each group: filters are {access.ONLY_FOR_ROLE}.{hidden}")
    asked = [FILTER_WORDS[name] for name, key in FILTER_KEYS.items() if url_state.linked(key) not in (None, "all")]
    if asked:
        url_state.ignore("filters", ", ".join(asked), f"filters are {access.ONLY_FOR_ROLE}")
    return Whom(diagnosis=large) if hidden else Whom()


def nothing_passes(what: str = "") -> None:
    """What a page says in the place of its results where no scan passes; `what` there is nothing to do with."""
    if access.may_see_patients():
        selection = current()
        others = elsewhere(selection) if selection else ""
        st.info(f"No scan passes the filters{what}: widen them at the left.{others}")
    else:
        st.info(f"Every group of these scans has {access.FEW} subjects: their results are {access.ONLY_FOR_ROLE}.")


def nobody(selection: Selection, names: Sequence[str]) -> str:
    """Say which groups have no scan that passes, and where there are some."""
    listed, models = " or ".join(map(formatting.plain, names)), SET_NAMES[selection.model_set]
    return f"No {listed} scan of the {models} passes the filters.{elsewhere(selection, names)}"


def elsewhere(selection: Selection, names: Sequence[str] = ()) -> str:
    """How many scans pass the same filters in the other model sets; empty where none does."""
    found = []
    for other in runs.available(selection.run):
        if other == selection.model_set:
            continue
        rows = explained(selection.run, other)
        rows = rows[passing(rows, selection.whom)]
        count = int(rows.scan[rows.diagnosis.isin(names)].nunique() if names else rows.scan.nunique())
        if count:
            found.append(f" {SET_WORDS.get(other, other)} has {count}: choose it under Models.")
    return "".join(found)


def in_head() -> None:
    """The filters that are set, in the head of a page: the sidebar's may be out of sight."""
    selection = current()
    if selection is None or not access.may_see_patients() or not selection.whom.active():
        return
    rows = explained(selection.run, selection.model_set)
    left = rows[passing(rows, selection.whom)]
    said, drop = st.columns([1, 0.2], vertical_alignment="center")
    said.caption(
        f":material/filter_alt: **{left.scan.nunique()} of {formatting.count(rows.scan.nunique(), 'scan')}**: "
        f"{in_words(selection.whom)}"
    )
    names = selection.whom.active()
    if drop.button("Drop all filters", key="head-drop-all", type="tertiary", width="stretch"):
        _drop(names, rows)
        st.rerun()  # the whole app: a page runs without the sidebar


def set_current(selection: Selection | None) -> None:
    """Called by home.py before a view runs."""
    st.session_state[CURRENT] = selection


def rest() -> None:
    """On pages that show the whole run."""
    set_current(None)


def current() -> Selection | None:
    """What the sidebar of this pass says; None where the run explains nothing."""
    return st.session_state[CURRENT]


def in_words(whom: Whom, say: Callable[[str], str] = formatting.plain) -> str:
    """The filters as a phrase: 'AD, women, 60 to 75 years, predicted as their group'; empty for all."""
    parts = [say(d) for d in whom.diagnosis or ()]
    parts += [SEXES[s] for s in whom.sex or ()]
    if whom.age:
        parts.append(f"{whom.age[0]:g} to {whom.age[1]:g} years")
    if whom.correct is not None:
        parts.append("predicted as their group" if whom.correct else "predicted as the other group")
    if whom.session:
        parts.append(f"session {', '.join(map(say, whom.session))}")
    if whom.screening_diagnosis:
        parts.append(f"{', '.join(map(say, whom.screening_diagnosis))} at screening")
    if whom.clinical_label:
        parts.append(f"labelled {', '.join(map(say, whom.clinical_label))}")
    if whom.subject:
        parts.append(formatting.count(len(whom.subject), "hand-picked subject"))
    return ", ".join(parts)
