"""Who can be shown on the Patient page, made once for all readers: those explained, those who pass, their visits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd

from dashboard.data import runs
from dashboard.data.kept import kept
from dashboard.data.runs import Run
from dashboard.data.selection import ScanFilter, Selection, explained_scans
from dashboard.views.patient import queries as patient_queries
from dashboard.views.patient import tables as patient_tables

SELECTIONS_KEPT, PERSONS_KEPT = 32, 512  # of 10 000 scans each selection has 1 MB


@dataclass(frozen=True)
class Persons:
    """Everyone whom a model set explains. Shared: never change it.

    Attributes:
        rows: a row a scan.
        said: subject -> diagnosis and answer of the first scan, as in the list of patients.
    """

    rows: pd.DataFrame
    said: Mapping[str, str]


@dataclass(frozen=True)
class Visits:
    """The scans of a person. Shared: never change them.

    Attributes:
        table: a row a scan, in time order.
        rows: scan -> its row.
    """

    table: pd.DataFrame
    rows: Mapping[str, pd.Series]


@kept(8)
def everyone(run: Run, model_set: str) -> Persons:
    """Return everyone whom a model set explains."""
    rows, answer = _one_a_scan(run, explained_scans(run, model_set)), runs.answer(run)
    first = rows.drop_duplicates("subject")
    said = {
        subject: f"{diagnosis} · {answer.text(value)}"
        for subject, diagnosis, value in zip(first.subject, first.diagnosis, first[answer.column], strict=True)
    }
    return Persons(rows, MappingProxyType(said))


def who_pass(selection: Selection) -> tuple[str, ...]:
    """Return the subjects who pass the filters of the sidebar, by diagnosis and name."""
    return _who_pass(selection.run, selection.model_set, selection.scan_filter)


@kept(SELECTIONS_KEPT)
def _who_pass(run: Run, model_set: str, scan_filter: ScanFilter) -> tuple[str, ...]:
    inside = _one_a_scan(run, Selection(run, model_set, "", "", scan_filter).rows())
    return tuple(dict.fromkeys(inside.sort_values(["diagnosis", "subject"], kind="stable").subject))


def _one_a_scan(run: Run, rows: pd.DataFrame) -> pd.DataFrame:
    return patient_tables.keep_one_a_scan(rows, runs.manifest(run)["groups"], runs.answer(run))


@kept(PERSONS_KEPT)
def visits(run: Run, model_set: str, subject: str) -> Visits:
    """Return the explained scans of a person."""
    table = patient_queries.visits(everyone(run, model_set).rows, subject)
    rows = {row["scan"]: row for _, row in table.iloc[::-1].iterrows()}  # the first of a scan counts
    return Visits(table, MappingProxyType(rows))


@kept(patient_queries.MOST_SCANS)
def answers(run: Run, scan: str) -> tuple[str, str]:
    """Return what all models say that may explain a scan, and that they do not decide alike, in words."""
    said, answer = patient_queries.predictions_of_scan(run, scan), runs.answer(run)
    return patient_tables.spread_of_predictions(said, answer), patient_tables.disagreement(said, answer)
