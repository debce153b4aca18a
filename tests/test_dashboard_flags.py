"""Flagged scans on the Provenance and the Patient page."""

from __future__ import annotations

import pandas as pd
import pytest
from store_factory import RunWriter, make_manifest, write_run
from streamlit.testing.v1 import AppTest

from dashboard.data import map_images
from dashboard.reports.patient import Subject, patient_page
from dashboard.shell import access
from store import open_run
from store.spec import table_spec

FLAGGED, TEXT = "a1-1", "does not match the template after registration: r 0.5, at least 0.75 expected"


@pytest.fixture
def opened(open_view):
    def page(view: str, store=None, **query) -> AppTest:
        app = open_view(f"views/{view}/page.py", store, **query)
        assert not app.exception, app.exception
        return app

    return page


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


def test_the_provenance_lists_flagged_scans(opened, flagged):
    app = opened("provenance", flagged)
    assert "Flagged scans" in [heading.value for heading in app.subheader]
    assert any(TEXT in frame.value.astype(str).to_string() for frame in app.dataframe)


def test_the_provenance_without_flags_says_nothing_of_them(opened):
    app = opened("provenance")
    assert "Flagged scans" not in [heading.value for heading in app.subheader]


@pytest.mark.parametrize(("scan", "count"), [(FLAGGED, 1), ("a1-2", 0)])
def test_the_patient_page_warns_of_a_flagged_scan(opened, flagged, scan, count):
    query = {"set": "folds", "p_subject": access.pseudonym("a1"), "p_scan": access.pseudonym(scan)}
    found = warnings(opened("patient", flagged, **query))
    assert len(found) == count
    assert all(TEXT in text and "a person has looked at it and accepted it" in text for text in found)


@pytest.mark.parametrize(("scan", "warned"), [(FLAGGED, True), ("a1-2", False)])
def test_the_report_of_a_flagged_scan_carries_the_warning(flagged, scan, warned):
    run = open_run(flagged, "one-1")
    subject = Subject(run, "fold-1", scan, "AD", "a pseudonym", (0.0, 0.0, 0.0))
    drawn = {"sensitivity": map_images.patient_map(run, "fold-1", "sensitivity", scan, "AD", "margin")}
    said = " ".join(text.get_text() for text in patient_page(subject, drawn, 90.0, None).figure.texts)
    assert ("does not match the template after registration" in said) == warned
