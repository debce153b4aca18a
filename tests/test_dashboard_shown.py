"""Pages over a store of groups that shows a few simulated scans: Patient and Variability have them, no other page."""

from __future__ import annotations

import pytest
from derived_stores import SHOWN, with_shown

from dashboard.data import runs
from dashboard.data.runs import Run
from dashboard.shell import access, locality
from dashboard.viewer import volumes
from store import NotInRunError, list_runs

OF_GROUPS = ("overview", "group_maps", "regions", "clinical", "distances", "trust", "compare_runs", "provenance")


def text_of(app) -> str:
    """All that a page says."""
    kinds = ("title", "header", "subheader", "markdown", "caption", "info", "warning", "error")
    return "\n".join(str(element.value) for kind in kinds for element in app.get(kind))


def shown_run(persons: bool) -> Run:
    info = list_runs(with_shown())[0]
    return Run(str(with_shown()), info.run, info.created, persons)


def subjects_of(app) -> set[str]:
    return {str(option).split(" ")[0] for box in app.selectbox if "Patient" in box.label for option in box.options}


def test_patient_shows_the_scans_of_the_store_and_says_that_they_are_all(open_view):
    app = open_view("views/patient/page.py", with_shown())
    said = text_of(app)
    assert not app.exception
    assert "This view failed" not in said
    assert subjects_of(app) == {scan.split("-")[0] for scan in SHOWN}
    assert "3 simulated scans, the only single ones of this run" in said


def test_models_without_heatmaps_of_them_are_not_offered(open_view):
    assert list(runs.available(shown_run(True))) == ["holdout"]
    assert set(runs.available(shown_run(False))) == {"holdout", "folds"}
    app = open_view("views/patient/page.py", with_shown(), set="folds")
    assert "This view failed" not in text_of(app)
    assert subjects_of(app)


@pytest.mark.parametrize("view", ["regions", "lobes", "spread", "similarity", "outliers", "sheet"])
def test_variability_opens_on_three(open_view, view):
    app = open_view("views/variability/page.py", with_shown(), v_view=view)
    assert not app.exception
    assert "This view failed" not in text_of(app)


@pytest.mark.parametrize("name", OF_GROUPS)
def test_pages_of_groups_know_nobody(open_view, name):
    app = open_view(f"views/{name}/page.py", with_shown(), d_level="scan", r_part="region", o_metrics="open")
    said = text_of(app) + "".join(frame.value.to_csv() for kind in ("dataframe", "table") for frame in app.get(kind))
    assert "This view failed" not in said
    assert not app.exception
    assert not [scan for scan in SHOWN if scan in said]
    assert "the only single ones" not in said
    if name == "clinical":
        assert "3 simulated scans alone, on Patient and Variability" in said


@pytest.mark.parametrize("name", ["patient", "variability"])
def test_simulated_persons_need_the_role_as_any_others(open_view, monkeypatch, name):
    monkeypatch.setattr(locality, "is_local", lambda headers, cookies: False)
    app = open_view(f"views/{name}/page.py", with_shown())
    assert "It needs a login whose claims hold the role" in text_of(app)
    assert not subjects_of(app)


def test_volumes_of_scans_are_those_of_pages_of_persons_alone(fresh_dashboard):
    of_groups, of_persons = (volumes.place_token(shown_run(persons)) for persons in (False, True))
    assert of_groups != of_persons
    with pytest.raises(NotInRunError):
        volumes.read(volumes.VolumeRequest(of_groups, "scan", 0))
    values, _ = volumes.read(volumes.VolumeRequest(of_persons, "scan", 0))
    assert values.any()
    assert not volumes.is_of_groups(volumes.VolumeRequest(of_persons, "scan", 0))


def test_a_page_of_groups_forgets_that_the_last_one_had_persons(open_view, monkeypatch):
    open_view("views/patient/page.py", with_shown())
    said = []
    monkeypatch.setattr(access, "set_groups_only", said.append)
    open_view("views/overview/page.py", with_shown())
    open_view("views/patient/page.py", with_shown())
    assert said == [True, False]
