"""Which scans are shown, by which models, method and target: what the sidebar says, and a key of every cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from dashboard.data import runs
from dashboard.data.kept import kept
from dashboard.data.runs import Run
from dashboard.text import formatting
from store.keys import are_retrained

SEXES = {"F": "women", "M": "men"}
TARGET_WORDS = {"true": "the true group", "predicted": "the predicted group"}
MISSING = "(none)"


@dataclass(frozen=True)
class ScanFilter:
    """A filter on scans; a condition that is None lets all pass.

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
    site: tuple[str, ...] | None = None

    @property
    def needs_streaming(self) -> bool:
        """Whether the stored group cells do not answer this filter: it asks for more than diagnosis and decision."""
        return not set(self.active()) <= {"diagnosis", "correct"}

    def active(self) -> list[str]:
        """Return the names of the conditions that are set."""
        return [field.name for field in fields(self) if getattr(self, field.name) is not None]

    def passing(self, rows: pd.DataFrame) -> np.ndarray:
        """Return for each row of explained scans whether it meets all conditions, (rows,) bool."""
        keep = np.ones(len(rows), bool)
        for name in self.active():
            keep &= _meets(rows, name, getattr(self, name))
        return keep

    def in_words(self, say: Callable[[str], str] = formatting.plain) -> str:
        """Return the conditions as a phrase: 'AD, women, 60 to 75 years, predicted as their group'; empty for none.

        Args:
            say: makes names of the cohort safe for where the phrase goes; Markdown if not given.
        """
        parts = [say(d) for d in self.diagnosis or ()]
        parts += [SEXES[s] for s in self.sex or ()]
        if self.age:
            parts.append(f"{self.age[0]:g} to {self.age[1]:g} years")
        if self.correct is not None:
            parts.append("predicted as their group" if self.correct else "predicted as the other group")
        if self.session:
            parts.append(f"session {', '.join(map(say, self.session))}")
        if self.screening_diagnosis:
            parts.append(f"{', '.join(map(say, self.screening_diagnosis))} at screening")
        if self.clinical_label:
            parts.append(f"labelled {', '.join(map(say, self.clinical_label))}")
        if self.site:
            parts.append(f"site {', '.join(map(say, self.site))}")
        if self.subject:
            parts.append(formatting.count(len(self.subject), "hand-picked subject"))
        return ", ".join(parts)


def _meets(rows: pd.DataFrame, name: str, wanted: Any) -> np.ndarray:
    if name == "correct":
        return (rows.correct.astype("boolean") == wanted).fillna(False).to_numpy(bool)
    if name == "age":
        return rows.age.between(*wanted).to_numpy()
    return fill_missing(rows[name]).isin(wanted).to_numpy()


def fill_missing(values: pd.Series) -> pd.Series:
    """Return texts with MISSING in the place of those that are missing or empty."""
    return values.fillna("").replace("", MISSING)


@dataclass(frozen=True)
class Selection:
    """What the sidebar says; hashable, so that it is a key of the caches."""

    run: Run
    model_set: str
    method: str
    target: str
    scan_filter: ScanFilter = ScanFilter()

    def of(self, **changes: Any) -> Selection:
        """Return the same selection with other values of some fields."""
        return replace(self, **changes)

    def rows(self) -> pd.DataFrame:
        """Return the explained scans that pass: predictions with the scan's covariates, in the order of the store."""
        rows = explained_scans(self.run, self.model_set)
        return rows[self.scan_filter.passing(rows)].reset_index(drop=True)

    @property
    def needs_streaming(self) -> bool:
        """Whether the stored group cells do not answer for these scans."""
        return self.scan_filter.needs_streaming

    def evidence(self) -> str:
        """Return the target in words, for Markdown: AD, or the predicted group."""
        return formatting.plain(self.evidence_as_text())

    def evidence_as_text(self) -> str:
        """Return the target in words, for pictures and files."""
        return TARGET_WORDS.get(self.target, self.target)


@dataclass(frozen=True)
class OneHeatmap(Selection):
    """A single scan explained by one model of the set, drawn as averages are."""

    model: str = ""
    scan: str = ""

    def rows(self) -> pd.DataFrame:
        """Return the one row of the scan; none for a retrained model."""
        rows = explained_scans(self.run, self.model_set)
        return rows[(rows.model == self.model) & (rows.scan == self.scan)].reset_index(drop=True)

    @property
    def needs_streaming(self) -> bool:
        """Whether the stored group cells do not answer: never do they answer for a single scan."""
        return True


def explained_scans(run: Run, model_set: str) -> pd.DataFrame:
    """Return every scan that a model set explains: predictions with the scan's covariates; no retrained models.

    A scan has one row; in a run of new scans it has one for each model of the set, as none has seen its subject.
    Columns may be added; the numbers are shared, see `runs.table`.
    """
    return _explained_scans(run, model_set).copy(deep=False)


@kept(8)
def _explained_scans(run: Run, model_set: str) -> pd.DataFrame:
    predictions = runs.table(run, "predictions")
    scans = runs.table(run, "scans")
    chosen = predictions[(predictions.model_set == model_set) & ~are_retrained(predictions.model)]
    extra = [c for c in scans.columns if c not in chosen.columns or c == "scan"]
    return chosen.merge(scans[extra], on="scan", how="left").reset_index(drop=True)
