"""ScanFilter the Variability page shows, and what its views share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.data import runs
from dashboard.data.cohort import ordered_diagnoses
from dashboard.data.selection import SEXES, Selection, explained_scans
from dashboard.shell import url_state
from dashboard.shell.page import Download
from dashboard.text import formatting
from dashboard.text.outputs import OutputDescription
from dashboard.views.shared import region_relevance
from dashboard.views.shared.region_values import RegionSizes
from dashboard.views.variability import tables as between
from dashboard.views.variability.charts import Covariate
from dashboard.views.variability.tables import CLUSTERED, Sample

SUBJECTS, SCANS = "subjects", "scans"
ROWS = {SUBJECTS: "Subject", SCANS: "Scan"}


@dataclass(frozen=True)
class Patients:
    """The selection, its scans, and where their relevance lies."""

    selection: Selection

    @cached_property
    def groups(self) -> list[str]:
        """Return the positive and the negative group."""
        return runs.manifest(self.selection.run)["groups"]

    @cached_property
    def answer(self) -> OutputDescription:
        """Return how the networks answer."""
        return runs.answer(self.selection.run)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Return the explained scans that pass."""
        return self.selection.rows()

    @cached_property
    def diagnoses(self) -> list[str]:
        """Return the diagnoses of the scans that pass, the two groups first."""
        return ordered_diagnoses(self.rows, self.groups)

    @cached_property
    def features(self) -> list[str]:
        """Return the covariates of the whole model set, so that the choice does not change with the filters."""
        return between.features(explained_scans(self.selection.run, self.selection.model_set))

    @property
    def file(self) -> str:
        """Return how names of files begin."""
        chosen = self.selection
        return f"{chosen.run.run_id}_{chosen.model_set}_{chosen.method}_{chosen.target}"

    def sample(self, *, by_subject: bool, merged: bool = False, everyone: bool = False) -> Sample:
        """Return those who pass the filters, or everyone of the model set.

        Raises:
            NotInRunError: the run has no relevance of regions.
        """
        chosen = self.selection
        data = region_relevance.relevance(chosen.run, chosen.model_set)
        sums, areas = data.of_target(chosen.method, chosen.target), RegionSizes.of(data.regions, merged)
        keep = np.ones(len(data.rows), bool) if everyone else chosen.scan_filter.passing(data.rows)
        return between.sample(data.rows[keep], sums[keep], areas, by_subject)

    def covariate(self, name: str, rows: pd.DataFrame) -> Covariate:
        """Return a covariate for colours."""
        title = between.feature_name(name, self.answer)
        if name in between.NUMBERS:
            return Covariate(title, rows[name])
        if name == "sex":
            rows = rows.assign(sex=rows["sex"].map(SEXES))
        return Covariate(title, rows[name], between.kinds(rows, name, self.groups))

    def choose_feature(self, key: str, label: str, place: Any, default: str, *, clustered: bool = False) -> str:
        """Choose a covariate, or the order by similarity."""
        options = [*([CLUSTERED] if clustered else []), *self.features]
        return url_state.choose(
            key, label, options, default if default in options else None, place=place,
            words=lambda f: "Similarity" if f == CLUSTERED else between.feature_name(f, self.answer),
        )  # fmt: skip

    def exported(self, found: Sample) -> pd.DataFrame:
        """Return what every table to take away begins with."""
        return found.rows[["subject", "scan", "scans", *self.features]]

    def none_left(self) -> list[Download]:
        """Say that no scan has a heatmap of this kind; return no downloads."""
        st.info(f"No scan has relevance of regions as evidence for {self.selection.evidence()}: choose another.")
        return []


def choose_rows(place: Any) -> bool:
    """Choose whether a row or dot is a subject (True) or a scan."""
    chosen = url_state.choose(
        "v_rows", "One row or dot per", list(ROWS), widget="segmented", words=ROWS.__getitem__, place=place,
        help="Subject: the mean over the explained scans of a person with one diagnosis.",
    )  # fmt: skip
    return chosen == SUBJECTS


def in_numbers(found: Sample, by_subject: bool) -> str:
    """Say how many are shown: n = 20 subjects, 31 scans; and how many scans without relevance are left out."""
    subjects = formatting.count(found.rows["subject"].nunique(), "subject")
    without = ""
    if found.left_out:
        without = f" (left out: {formatting.count(found.left_out, 'scan')} whose heatmaps are 0 everywhere)"
    if by_subject:
        return f"n = {subjects}, {formatting.count(int(found.rows['scans'].sum()), 'scan')}{without}"
    return f"n = {formatting.count(len(found), 'scan')} of {subjects}{without}"
