"""Every view on a full store, and the friendly words where there is nothing to show."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import store_factory
from pages import forget_all, turn_to
from store_factory import shared_store
from streamlit.testing.v1 import AppTest

from dashboard.data import runs
from dashboard.drawing import pictures
from dashboard.shell import run_picker
from store import RunInfo

NAMES = (
    "Overview", "Group maps", "Patient", "Variability", "Regions", "Clinical", "Distances", "Trust",
    "Compare runs", "Provenance",
)  # fmt: skip
VIEWS = {f"views/{name.lower().replace(' ', '_')}/page.py": name for name in NAMES}


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["home.py"])
    forget_all()


@pytest.fixture
def open_app(monkeypatch):
    """Opens the app on a store, on a view, with the words of the URL."""

    def opened(store, view="views/overview/page.py", **query) -> AppTest:
        monkeypatch.setenv("BRAINWHY_STORE", str(store))
        app = AppTest.from_file("../dashboard/home.py", default_timeout=30)
        for key, value in query.items():
            app.query_params[key] = value
        return app.run() if view == "views/overview/page.py" else turn_to(app, view).run()

    return opened


def copy_run(store, run: str, **manifest):
    """The shared run under another identifier, parts of its manifest replaced."""
    source = next(path for path in shared_store().iterdir() if not path.name.startswith("."))
    folder = store / run
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    content = json.loads((source / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(content | {"run": run} | manifest))
    return folder


def text_of(app: AppTest) -> str:
    """Everything that is written on the page."""
    kinds = (
        app.title,
        app.header,
        app.subheader,
        app.markdown,
        app.caption,
        app.warning,
        app.error,
        app.info,
        app.code,
    )
    return "\n".join(str(element.value) for kind in kinds for element in kind)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_shows_a_full_store(open_app, view):
    app = open_app(shared_store(), view)
    assert not app.exception
    assert not app.error
    assert app.title[0].value == VIEWS[view]
    assert "SIMULATED" in text_of(app)
    assert "Research use only, not a medical device." in text_of(app)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_of_a_store_that_is_not_there_says_how_to_make_one(open_app, tmp_path, view):
    app = open_app(tmp_path / "none", view)
    assert not app.exception
    assert "There is no store at" in text_of(app)
    assert "python run_pipeline.py" in [block.value for block in app.code]


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_of_an_empty_store_says_how_to_fill_it(open_app, tmp_path, view):
    app = open_app(tmp_path, view)
    assert not app.exception
    assert "holds no finished run" in text_of(app)
    assert "python run_pipeline.py" in [block.value for block in app.code]


@pytest.mark.parametrize("view", VIEWS)
def test_a_run_of_a_later_specification_is_named(open_app, tmp_path, view):
    copy_run(tmp_path, "later-1", spec_version="9.0")
    app = open_app(tmp_path, view)
    assert not app.exception
    assert app.title[0].value == "This run needs a newer dashboard"
    assert "spec 9.0" in app.warning[0].value


def views_of(app: AppTest) -> Iterator[tuple[str, str]]:
    """Name and text of every view, in one session; none may fail."""
    for view, name in VIEWS.items():
        turn_to(app, view).run()
        assert not app.exception, name
        assert not app.error, name
        assert "This view failed" not in text_of(app), name
        yield name, text_of(app)


@pytest.mark.parametrize("damage", ["manifest.json", "tables/scans.parquet", "tables/metrics.parquet", "arrays.zarr"])
def test_a_broken_run_gets_a_clear_message(open_app, tmp_path, damage):
    run = copy_run(tmp_path, "broken-1")
    if damage == "manifest.json":
        (run / damage).write_text("{")
    elif damage == "arrays.zarr":
        shutil.rmtree(run / damage)
    else:
        (run / damage).write_bytes(b"not parquet")
    app = open_app(tmp_path)
    assert not app.exception
    assert not app.error
    assert "This run cannot be shown" in [title.value for title in app.title]
    assert run.name in app.warning[0].value


def test_a_damaged_manifest_is_named_on_every_view(open_app, tmp_path):
    (copy_run(tmp_path, "broken-1") / "manifest.json").write_text("{")
    for name, text in views_of(open_app(tmp_path)):
        assert "run broken-1: manifest.json is unreadable: copy or build the run again" in text, name


@pytest.mark.parametrize(
    ("view", "table"),
    [
        ("overview", "curves"), ("group_maps", "cells"), ("patient", "heatmaps"), ("variability", "region_relevance"),
        ("regions", "region_relevance"), ("clinical", "region_relevance"), ("distances", "distances"),
        ("compare_runs", "distances"), ("provenance", "models"),
    ],
)  # fmt: skip
def test_a_missing_table_is_named_where_it_is_needed(open_app, tmp_path, view, table):
    copy_run(tmp_path, "whole-1", created="2025-01-01T00:00:00")
    (copy_run(tmp_path, "broken-1") / "tables" / f"{table}.parquet").unlink()
    app = open_app(tmp_path, f"views/{view}/page.py")
    assert not app.exception
    assert not app.error
    assert f"run broken-1: table {table} is missing: copy or build the run again" in text_of(app)


@pytest.mark.parametrize(
    ("view", "arrays", "query"),
    [
        ("overview", "cells", {}), ("group_maps", "cells", {}), ("group_maps", "heatmaps", {"sex": "F"}),
        ("patient", "heatmaps", {"p_3d": "on"}), ("compare_runs", "cells", {}),
    ],
)  # fmt: skip
def test_a_volume_that_was_cut_short_is_named(open_app, tmp_path, view, arrays, query):
    copy_run(tmp_path, "whole-1", created="2025-01-01T00:00:00")
    run = copy_run(tmp_path, "broken-1")
    for file in (run / "arrays.zarr" / arrays).rglob("c/**/*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:-5])
    app = open_app(tmp_path, f"views/{view}/page.py", **query)
    assert not app.exception
    assert not app.error
    assert re.search(rf"run broken-1: .*{arrays}/.*(decoded|damaged): copy or build the run again", text_of(app))


def test_a_run_deleted_while_open_is_missed_on_every_view(open_app, tmp_path):
    run = copy_run(tmp_path, "a-1")
    app = open_app(tmp_path)
    shutil.rmtree(run)
    for name, text in views_of(app):  # the list of runs is some seconds old
        known = name in ("Overview", "Trust", "Compare runs", "Provenance")
        gone = "is missing: copy or build the run again" in text or "This run is gone" in text
        assert known or gone, name
    runs.runs.clear()
    for name, text in views_of(app):
        assert "holds no finished run" in text, name


def test_where_the_open_run_is_deleted_another_is_shown_and_this_is_said(open_app, tmp_path):
    copy_run(tmp_path, "old-1", created="2025-01-01T00:00:00")
    run = copy_run(tmp_path, "new-1")
    app = open_app(tmp_path)
    assert app.selectbox[0].value == "new-1"
    shutil.rmtree(run)
    runs.runs.clear()
    app.run()
    assert app.selectbox[0].value == "old-1"
    assert "`run=new-1`: this run is no longer in the store, so another one is shown" in text_of(app)


def test_a_run_made_again_while_open_shows_its_new_results_on_every_view(open_app, tmp_path):
    copy_run(tmp_path, "other-1", created="2025-01-01T00:00:00")
    copy_run(tmp_path, "a-1")
    app = open_app(tmp_path)
    assert "made again since" not in text_of(app)
    copy_run(tmp_path, "a-1", created="2026-05-06T00:00:00")
    runs.runs.clear()
    for name, text in views_of(app):
        assert "was made again since, 2026" in text, name
        assert "05-06" in text.split("made again since")[1].replace("\\", ""), name


def test_a_page_that_runs_alone_follows_the_store(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(run_picker.st, "rerun", lambda: asked.append(1))
    copy_run(tmp_path, "a-1")
    run = runs.Run(str(tmp_path), "a-1", runs.runs(str(tmp_path))[0].created)
    for current, expected in (
        (run, 0), (run._replace(created="2025-01-01T00:00:00"), 1), (run._replace(run_id="gone-1"), 1),
        (run._replace(store=str(tmp_path / "gone")), 1),
    ):  # fmt: skip
        asked.clear()
        monkeypatch.setattr(run_picker, "current_run", lambda current=current: current)
        run_picker.follow_store()
        assert len(asked) == expected, current


def test_one_subject_with_a_long_name_is_enough_for_every_view(open_app, tmp_path, monkeypatch):
    subject = "s" * 60
    monkeypatch.setattr(store_factory, "SCANS", {f"{subject}-1": (subject, "AD", 1, True)})
    monkeypatch.setattr(store_factory, "PREDICTED", {f"{subject}-1": "AD"})
    store_factory.make_run(tmp_path)
    for name, text in views_of(open_app(tmp_path)):
        assert "This run cannot be shown" not in text, name
        assert subject in text or name != "Patient"


def test_long_names_of_subjects_are_shown(open_app, tmp_path, monkeypatch):
    def long(name: str) -> str:
        return f"{name[:2]}{'x' * 58}{name[2:]}"

    scans = {long(scan): (long(row[0]), *row[1:]) for scan, row in store_factory.SCANS.items()}
    monkeypatch.setattr(store_factory, "PREDICTED", {long(k): v for k, v in store_factory.PREDICTED.items()})
    monkeypatch.setattr(store_factory, "SCANS", scans)
    store_factory.make_run(tmp_path)
    for name, text in views_of(open_app(tmp_path)):
        assert "This run cannot be shown" not in text, name
        assert long("a1") in text or name != "Patient"


def test_a_real_cohort_is_not_called_simulated(open_app, tmp_path):
    copy_run(tmp_path, "real-1", simulated=False)
    app = open_app(tmp_path)
    assert not app.exception
    assert "SIMULATED" not in text_of(app)
    assert "random numbers" in text_of(app)


def test_the_newest_run_opens_and_a_link_opens_another(open_app, tmp_path):
    copy_run(tmp_path, "old-1", name="old", created="2026-01-01T00:00:00")
    copy_run(tmp_path, "new-1", name="new", created="2026-02-01T00:00:00")
    app = open_app(tmp_path)
    assert app.selectbox[0].value == "new-1"
    assert app.query_params["run"] in ("new-1", ["new-1"])  # one or the other, by version of Streamlit
    linked = open_app(tmp_path, run="old-1")
    assert linked.selectbox[0].value == "old-1"
    assert "**old**" in text_of(linked)


def test_a_rebuilt_run_shows_new_results(open_app, tmp_path):
    copy_run(tmp_path, "a-1")
    assert "made 2026-01-02" in text_of(open_app(tmp_path))
    copy_run(tmp_path, "a-1", created="2026-05-06T00:00:00")
    runs.runs.clear()  # the list of runs is kept for seconds only; all else stays cached
    assert "made 2026-05-06" in text_of(open_app(tmp_path))


def test_contact_sheets_are_shown_page_by_page(open_app, tmp_path):
    run = copy_run(tmp_path, "sheets-1")
    shutil.rmtree(run / "figures")
    (run / "figures").mkdir()
    for name in ("contact-sheet.png", "contact-sheet-2.png"):
        (run / "figures" / name).write_bytes(pictures.png(np.zeros((4, 4, 3), np.uint8)))
    app = open_app(tmp_path, "views/provenance/page.py")
    assert not app.error
    assert "Preprocessing at a glance" in [heading.value for heading in app.subheader]
    assert len(runs.contact_sheets(runs.Run(str(tmp_path), "sheets-1", "2026-01-02T03:04:05"))) == 2


def test_where_the_store_is():
    assert run_picker.store_place([], {}) == "results"
    assert run_picker.store_place([], {"BRAINWHY_STORE": "a"}) == "a"
    assert run_picker.store_place(["--store", "s3://b"], {"BRAINWHY_STORE": "a"}) == "s3://b"
    assert run_picker.store_place(["--other", "-q", "--store"], {}) == "results"


def test_the_first_choice_can_be_opened():
    broken = RunInfo("a-1", "a", "3", False, "", "1.0", 0, problem="broken")
    good = RunInfo("b-1", "b", "2", False, "", "1.0", 0)
    assert run_picker.first_choice([broken, good]) == 1
    assert run_picker.first_choice([broken]) == 0


def test_a_link_may_name_a_run_by_its_name(open_app, tmp_path):
    copy_run(tmp_path, "one-1", name="one")
    copy_run(tmp_path, "two-1", name="two", created="2026-02-01T00:00:00")
    assert open_app(tmp_path, run="one").selectbox[0].value == "one-1"


def test_a_link_to_a_run_that_was_made_again_says_so(open_app, tmp_path):
    copy_run(tmp_path, "a-1", created="2026-05-06T00:00:00")
    app = open_app(tmp_path, run="a-1", made="2026-01-02T03:04:05")
    assert "made again since" in text_of(app)
    assert "made again since" not in text_of(open_app(tmp_path, run="a-1", made="2026-05-06T00:00:00"))
