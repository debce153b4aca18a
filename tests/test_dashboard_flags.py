"""Flagged scans on the Provenance and the Patient page."""

from __future__ import annotations

import sys

import pandas as pd
import pytest
import streamlit as st
from store_factory import RunWriter, make_manifest, shared_store, write_run
from streamlit.testing.v1 import AppTest

from dashboard import access
from store.spec import table_spec

FLAGGED, TEXT = "a1-1", "does not match the template after registration: r 0.5, at least 0.75 expected"


def page(monkeypatch, store, view: str, **query) -> AppTest:
    monkeypatch.setattr(sys, "argv", ["home.py"])
    monkeypatch.setenv("BRAINWHY_STORE", str(store))
    st.cache_data.clear()
    st.cache_resource.clear()
    app = AppTest.from_file("../dashboard/home.py", default_timeout=30).run().switch_page(f"views/{view}.py")
    for key in ("_link", "_kept", "_ignored", "_written", "_pages", "_pending"):  # as in a fresh browser
        if key in app.session_state:
            del app.session_state[key]
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception, app.exception
    return app


@pytest.fixture(scope="module")
def flagged(tmp_path_factory):
    """A store whose only run flags one scan, which a person accepted."""
    store = tmp_path_factory.mktemp("store")
    writer = RunWriter(store / ".work" / "one" / "run")
    write_run(writer, methods=["sensitivity"], simulated=False)
    columns = table_spec("flags").columns
    row = (FLAGGED, "template_correlation", "limits", 0.5, 0.75, None, "accept", TEXT)
    frame = pd.DataFrame([row], columns=list(columns)).astype({name: kind for name, (kind, _) in columns.items()})
    writer.put_table("flags", frame)
    writer.publish(store, "one-1", make_manifest("one", simulated=False))
    return store


def warnings(app: AppTest) -> list[str]:
    return [warning.value for warning in app.warning if "Outside the limits" in warning.value]


def test_the_provenance_lists_flagged_scans(monkeypatch, flagged):
    app = page(monkeypatch, flagged, "provenance")
    assert "Flagged scans" in [heading.value for heading in app.subheader]
    assert any(TEXT in frame.value.astype(str).to_string() for frame in app.dataframe)


def test_the_provenance_without_flags_says_nothing_of_them(monkeypatch):
    app = page(monkeypatch, shared_store(), "provenance")
    assert "Flagged scans" not in [heading.value for heading in app.subheader]


@pytest.mark.parametrize(("scan", "count"), [(FLAGGED, 1), ("a1-2", 0)])
def test_the_patient_page_warns_of_a_flagged_scan(monkeypatch, flagged, scan, count):
    query = {"set": "folds", "p_subject": access.pseudonym("a1"), "p_scan": access.pseudonym(scan)}
    found = warnings(page(monkeypatch, flagged, "patient", **query))
    assert len(found) == count
    assert all(TEXT in text and "a person has looked at it and accepted it" in text for text in found)
