"""Heatmaps that are 0 everywhere: no page counts them as shares of 0, and each says how many there are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pages import slice_captions
from test_store_weights import EMPTY, GRADIENT, with_empty_maps

from dashboard.data import shares
from dashboard.reports import cohort_report, patient_report
from dashboard.shell import access
from dashboard.views.patient import tables as patient_tables
from store import open_run


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Guided backpropagation finds nothing for AD in the scans of EMPTY; its table of regions is of 1.3."""
    folder = with_empty_maps(tmp_path_factory.mktemp("empty"), EMPTY)
    file = folder / "tables/region_relevance.parquet"
    table = pd.read_parquet(file)
    nothing = (table["method"] == GRADIENT) & (table["target"] == "AD") & table["scan"].isin(EMPTY)
    table.loc[nothing, ["signed_sum", "sum"]] = 0.0
    table.loc[nothing, ["share", "share_atlas", "density"]] = np.nan
    table.to_parquet(file)
    return folder.parent


@pytest.mark.parametrize(
    ("view", "query", "words"),
    [
        ("regions", {}, "left out: Guided backpropagation 1 of 2 NC."),
        ("regions", {"r_part": "methods"}, "left out: Guided backpropagation 1 of 2 NC."),
        ("regions", {"r_part": "paper"}, "left out: Guided backpropagation 1 of 2 NC."),
        ("group_maps", {}, "NC, n = 1 subject, 2 scans (1 more without relevance)"),
        ("variability", {}, "left out: 2 scans whose heatmaps are 0 everywhere"),
        ("clinical", {}, "Left out: 2 scans whose heatmaps are 0 everywhere"),
        ("patient", {"p_subject": "n2"}, "the heatmap is 0 everywhere and has no shares of regions"),
        ("distances", {}, "Distances between methods"),
        ("overview", {}, "Overview"),
    ],
)
def test_every_page_says_who_has_no_relevance(open_view, store, view, query, words):
    query = {key: access.pseudonym(value) if key == "p_subject" else value for key, value in query.items()}
    app = open_view(f"views/{view}/page.py", store=store, set="folds", method=GRADIENT, target="AD", **query)
    assert not app.exception, app.exception
    kinds = ("caption", "info", "markdown", "subheader", "title")
    said = [element.value for kind in kinds for element in app.get(kind)]
    said += [str(element.proto) for element in app.get("html")] + slice_captions(app)
    assert any(words in str(text) for text in said), said


def test_a_patient_without_relevance_has_no_share_and_is_no_member_of_the_group(store):
    run = open_run(store)
    wide = shares.region_shares(run, "folds", GRADIENT, "AD")
    assert wide.loc[("fold-1", "n2-1")].isna().all()
    people = shares.subject_means(run, wide)
    own = patient_tables.against_group(wide.loc[("fold-1", "n2-1")], people, "n2", "NC")
    assert patient_tables.without_relevance(own)
    assert patient_tables.top_regions(own, set(own["region"])).empty
    other = patient_tables.against_group(wide.loc[("fold-2", "n1-1")], people, "n1", "NC")
    assert (other["n"] == 0).all()  # n2 is no other subject with shares


def test_reports_are_made(store):
    run = open_run(store)
    place = {"mm": (-90.0, -125.0, -73.0), "subject_words": "7f3a", "methods": [GRADIENT, "sensitivity"]}
    assert patient_report(run, "fold-1", "n2-1", target="AD", created=None, **place).startswith(b"%PDF")
    assert cohort_report(run, model_set="folds", target="AD", created=None).startswith(b"%PDF")
