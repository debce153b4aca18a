"""Networks that do not separate the groups: said on every page and paper with their heatmaps, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pages
import pytest
import store_factory
from new_scans_factory import make_new_scans
from store_factory import make_larger_run

from dashboard.data import map_images
from dashboard.reports.cohort import cohort_pages
from dashboard.reports.layout import Page
from dashboard.reports.patient import patient_page
from dashboard.reports.subject import Subject
from dashboard.shell.page import Download, Header
from store import open_run
from store.export import figure_1
from store.export.paper_tables import export_paper
from store.files.tables import to_parquet

CHANCE, GOOD, NEW = "chance-1", "good-1", "scans-1"
METHODS = ("sensitivity", "area_occlusion")
WORDS = "their maps mean nothing"
PAGES = pages.NAMES


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """A run whose networks call everything AD and a linear model does not, one that is right, and new scans."""
    folder = tmp_path_factory.mktemp("verdicts")
    make_larger_run(folder, run_id=GOOD, name="good", methods=METHODS)
    always = staticmethod(lambda model, scan: "AD")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_factory.Content, "predicted", always)
        chance = make_larger_run(folder, run_id=CHANCE, name="chance", methods=METHODS, created="2026-02-02T03:04:05")
    table = chance / "tables" / "baseline_predictions.parquet"
    said = open_run(folder, CHANCE).table("baseline_predictions")
    table.write_bytes(to_parquet(said.assign(probability=np.where(said["group"] == "AD", 0.8, 0.2))))
    make_new_scans(folder, CHANCE, run_id=NEW, methods=METHODS)
    return folder


def banners(app) -> str:
    return "\n".join(element.value for element in (*app.warning, *app.info))


@pytest.mark.parametrize("name", [name for name in PAGES if name not in ("provenance", "admin")])
def test_every_page_with_maps_says_it(open_view, store, name):
    app = open_view(f"views/{name}/page.py", store, run=CHANCE)
    assert not app.exception
    assert WORDS in banners(app)
    assert "95 % CI" in banners(app)


@pytest.mark.parametrize("name", [name for name in PAGES if name != "compare_runs"])
def test_networks_that_separate_are_not_warned_of(open_view, store, name):
    assert WORDS not in banners(open_view(f"views/{name}/page.py", store, run=GOOD))


def test_a_page_without_maps_does_not_say_it(open_view, store):
    assert WORDS not in banners(open_view("views/provenance/page.py", store, run=CHANCE))


@pytest.mark.parametrize("name", ["patient", "group_maps", "overview"])
def test_new_scans_have_the_banner_of_the_networks_that_explain_them(open_view, store, name):
    said = banners(open_view(f"views/{name}/page.py", store, run=NEW))
    assert WORDS in said
    assert f"The networks are those of {CHANCE}" in said


def test_the_second_of_two_runs_is_warned_of_too(open_view, store):
    assert WORDS in banners(open_view("views/compare_runs/page.py", store, run=GOOD, c_other=CHANCE))


def test_the_overview_says_that_a_linear_model_does_better(open_view, store):
    said = banners(open_view("views/overview/page.py", store, run=CHANCE))
    assert "A linear model on region means does better (AUC 1.00 against" in said
    assert "do not interpret these heatmaps" in said
    assert "linear model on region means does better" not in banners(
        open_view("views/overview/page.py", store, run=GOOD)
    )


def test_the_overview_has_intervals(open_view, store):
    app = open_view("views/overview/page.py", store, run=GOOD)
    captions = "\n".join(element.value for element in app.caption)
    assert "All folds together (95 % CI): 1.00 (0." in captions, "a perfect separation is not certain"
    assert "AUC of all folds together, 95 % CI over subjects: 3D CNN" in captions


def words_on(page: Page) -> str:
    return " ".join(" ".join(text.get_text() for text in page.figure.texts).split())


@pytest.mark.parametrize(("run_id", "said"), [(CHANCE, True), (GOOD, False)])
def test_reports_and_figures_say_it(store, tmp_path, run_id, said):
    run = open_run(store, run_id)
    pages = cohort_pages(run, "folds", "AD", None)
    assert all((WORDS in words_on(page)) == said for page in pages)
    assert ("A linear model on region means does better" in words_on(pages[0])) == said
    subject = Subject(run, "fold-1", "AD0-1", "AD", "someone", (-90.0, -125.0, -73.0))
    drawn = {m: map_images.patient_map(run, "fold-1", m, "AD0-1", "AD", "margin") for m in METHODS}
    assert (WORDS in words_on(patient_page(subject, drawn, 90.0, None))) == said
    assert (WORDS in figure_1.figure_one(run, kind="svg").decode()) == said
    files = {path.name.split("_")[-1]: path for path in export_paper(run, tmp_path)}
    for name in ("table1.tex", "table2.tex", "table1.csv"):
        assert (WORDS in files[name].read_text()) == said


def test_a_new_scans_report_has_the_words_of_its_reference(store):
    run, reference = open_run(store, NEW), open_run(store, CHANCE)
    subject = Subject(run, "holdout", "new-1", "AD", "someone", (-90.0, -125.0, -73.0), reference, True)
    drawn = {m: map_images.patient_map(run, "holdout", m, "new-1", "AD", "margin") for m in METHODS}
    assert WORDS in words_on(patient_page(subject, drawn, 90.0, None))


@pytest.mark.parametrize(("run_id", "said"), [(CHANCE, True), (GOOD, False)])
def test_web_pages_of_maps_carry_the_verdict(open_view, store, monkeypatch, run_id, said):
    offered: list[Download] = []
    monkeypatch.setattr(Header, "finish", lambda self, downloads: offered.extend(downloads))
    assert not open_view("views/group_maps/page.py", store, run=run_id, set="folds").exception
    pages = [download.data() for download in offered if download.label.endswith("web page")]
    assert pages
    assert all((WORDS in page) == said for page in pages)
