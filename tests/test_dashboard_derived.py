"""Pages over a store of groups alone: all open, with the figures that readers without the role see of its source."""

from __future__ import annotations

from pathlib import Path

import pytest
from derived_stores import CLINIC, NAME, crowd, group_level

from dashboard.data import counted, runs
from dashboard.data.runs import Run
from dashboard.shell import locality, notices, public, run_picker
from store import example, list_runs, open_run
from store.writing.validate import validate

PAGES = ("overview", "group_maps", "patient", "variability", "regions", "clinical", "distances", "trust",
         "compare_runs", "provenance")  # fmt: skip
CURIOUS = {
    "dx": "NC", "ok": "wrong", "sex": "F", "g_scale": "probability", "g_value": "spread", "g_numbers": "open",
    "r_numbers": "open", "r_by": "gain", "d_level": "scan", "o_metrics": "open", "set": "folds", "g_test": "open",
}  # fmt: skip
OF_PERSONS = ("patient", "variability", "clinical")
COMPARED = [
    ("overview", {}), ("overview", {"o_metrics": "open"}), ("group_maps", {"g_numbers": "open"}), ("distances", {}),
    *(("regions", {"r_numbers": "open", "r_by": by}) for by in ("share_of_average", "share", "density", "gain")),
    ("regions", {"r_part": "methods", "set": "folds"}), ("trust", {}),
]  # fmt: skip


def run_in(place) -> Run:
    info = list_runs(place)[0]
    return Run(str(place), info.run, info.created)


@pytest.mark.parametrize("query", [{}, CURIOUS], ids=["plain", "curious"])
@pytest.mark.parametrize("name", PAGES)
def test_every_page_of_a_store_without_persons_opens(open_view, name, query):
    app = open_view(f"views/{name}/page.py", group_level(), **query)
    said = text_of(app)
    assert not app.exception
    for failure in ("This view failed", "cannot be shown", NAME, CLINIC):
        assert failure not in said
    if name in OF_PERSONS:
        assert "This run holds results of groups alone" in said
    assert "who may see single patients" not in said


def text_of(app) -> str:
    """All that a page says."""
    kinds = ("title", "header", "subheader", "markdown", "caption", "info", "warning", "error")
    return "\n".join(str(element.value) for kind in kinds for element in app.get(kind))


def figures(app) -> tuple:
    """What a page shows in numbers."""
    frames = [frame.value for kind in ("dataframe", "table") for frame in app.get(kind)]
    frames = [frame[frame["in_atlas"]] if "in_atlas" in frame else frame for frame in frames]
    frames = [frame.reset_index(drop="in_atlas" in frame) for frame in frames]
    frames = [frame[~frame.astype(str).apply(lambda row: "MCI" in " ".join(row), axis=1)] for frame in frames]
    frames = [frame.to_csv(float_format="%.5g", index=False) for frame in frames]  # of three MCI nothing is published
    cards = [(card.label, card.value) for card in app.metric]
    return frames, cards, [text.value for text in app.caption if "n = " in text.value]


@pytest.mark.parametrize(("name", "query"), COMPARED)
def test_figures_are_those_of_readers_without_the_role(open_view, monkeypatch, name, query):
    ours = figures(open_view(f"views/{name}/page.py", group_level(), **query))
    monkeypatch.setattr(locality, "is_local", lambda headers, cookies: False)
    theirs = figures(open_view(f"views/{name}/page.py", crowd(), **query))
    assert any(theirs)
    assert ours == theirs


@pytest.mark.parametrize("name", ["overview", "regions", "provenance"])
def test_without_a_store_the_example_is_shown_and_said_to_be_one(open_view, monkeypatch, tmp_path, name):
    monkeypatch.setattr(run_picker, "DEFAULT_STORE", str(tmp_path / "results"))
    app = open_view(f"views/{name}/page.py", tmp_path / "results")
    assert "**Example, SIMULATED**" in text_of(app)
    assert "python run_pipeline.py" in text_of(app)
    assert "This view failed" not in text_of(app)
    assert "example-" in str(app.query_params["run"])


def test_who_only_got_a_link_is_not_told_how_to_fill_the_folder_of_the_server(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(notices.st, "info", lambda text, **_: said.append(text))
    for is_local in (True, False):
        monkeypatch.setattr(notices.access, "is_local", lambda is_local=is_local: is_local)
        notices.example(notices.st)
    assert "run_pipeline.py" in said[0]
    assert said[1].endswith("ships with Brainwhy. Nobody was scanned for it.")


def test_with_a_run_of_ones_own_or_a_named_store_there_is_no_example(monkeypatch, tmp_path, fresh_dashboard):
    assert run_picker.or_example(str(tmp_path)) == str(tmp_path)
    monkeypatch.setattr(run_picker, "DEFAULT_STORE", str(tmp_path))
    assert run_picker.is_example(run_picker.or_example(str(tmp_path)))
    monkeypatch.setattr(run_picker, "DEFAULT_STORE", str(group_level()))
    assert run_picker.or_example(str(group_level())) == str(group_level())


def test_the_example_is_sound_small_and_of_nobody():
    (info,) = list_runs(example.PLACE)
    assert info.simulated
    assert open_run(example.PLACE).holds_groups_only
    assert validate(f"{example.PLACE}/{info.run}") == []
    assert sum(file.stat().st_size for file in Path(example.PLACE).rglob("*") if file.is_file()) < 10e6
    run = open_run(example.PLACE)
    scans = run.of_persons().table("scans")
    assert len(scans) == run.shown == 5
    assert scans["simulated"].all()


def test_rows_that_are_counted_hold_no_value():
    run = open_run(group_level())
    scans, predictions = counted.rows(run, "scans"), counted.rows(run, "predictions")
    assert scans.groupby("diagnosis").subject.nunique().to_dict() == {"AD": 11, "NC": 12}
    assert scans.groupby("diagnosis").scan.nunique().to_dict() == {"AD": 12, "NC": 12}
    assert scans[["age", "sex", "site", "mmse", "session", "source_hash"]].isna().all(axis=None)
    assert predictions[["probability", "margin", "value", "observed", "predicted"]].isna().all(axis=None)


def test_a_run_of_groups_shows_nobody_single_persons(open_view):
    app = open_view("views/overview/page.py", group_level())
    assert runs.holds_groups_only(run_in(group_level()))
    assert not runs.holds_groups_only(run_in(crowd()))
    labels = [button.label for button in app.get("download_button")]
    assert not [label for label in labels if label in ("Scans, CSV", "Predictions, CSV")]
    assert public.fewest() == 0  # outside of such a page the person at this computer sees everything
