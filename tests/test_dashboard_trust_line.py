"""The line of trust under heatmaps: on every page that shows them, in words, and nowhere without tables of trust."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from new_scans_factory import make_new_scans
from store_factory import make_larger_run
from trusted_store import VERDICTS, add_trust_tables

from dashboard.data import map_images
from dashboard.data.runs import Run
from dashboard.reports.cohort import cohort_pages
from dashboard.reports.patient import patient_page
from dashboard.reports.subject import Subject
from dashboard.views.shared import trust_line
from store import open_run
from store.benchmark import cited_of_packaged
from store.export import figure_1
from store.export.interactive import ShownMap, map_page
from store.export.nifti import export_nifti
from store.reading.trust import NO_EXPLANATION, TrustLine, trust_lines

RUN, BARE, REAL, NEW = "trusted-1", "bare-1", "real-1", "scans-1"
METHODS = ("sensitivity", "area_occlusion")
PAGES = ("patient", "group_maps", "regions", "variability", "distances", "compare_runs")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """A run with tables of trust, one of real scans with and one without, and new scans."""
    folder = tmp_path_factory.mktemp("trust")
    add_trust_tables(make_larger_run(folder, run_id=RUN, name="trusted", methods=METHODS))
    options = {"methods": METHODS, "simulated": False}
    add_trust_tables(make_larger_run(folder, run_id=REAL, name="real", created="2025-01-01T00:00:00", **options))
    make_larger_run(folder, run_id=BARE, name="bare", created="2024-01-01T00:00:00", **options)
    make_new_scans(folder, RUN, run_id=NEW, methods=METHODS)
    return folder


@pytest.fixture
def shipped():
    """The benchmark that ships, as trust lines cite it."""
    return cited_of_packaged()


@pytest.fixture(autouse=True)
def no_benchmark(monkeypatch, request):
    """Hide the benchmark that ships from tests that do not ask for it."""
    if "shipped" not in request.fixturenames:
        for module in ("dashboard.data.trust", "store.export.sidecar"):
            monkeypatch.setattr(f"{module}.cited_of_packaged", dict)


def words(app) -> str:
    return "\n".join(element.value for element in app.markdown)


@pytest.mark.parametrize("name", PAGES)
def test_every_page_with_heatmaps_has_the_line(open_view, store, name):
    app = open_view(f"views/{name}/page.py", store, run=RUN, method="sensitivity", c_other=REAL)
    assert not app.exception
    assert ":green[:material/check_circle: truth 0.75 (+0.20 over untrained)]" in words(app).replace("\\", "")


@pytest.mark.parametrize("name", PAGES)
def test_a_run_without_tables_of_trust_has_no_line(open_view, store, name):
    app = open_view(f"views/{name}/page.py", store, run=BARE)
    assert not app.exception
    assert "**Trust" not in words(app)
    assert "not measured" not in words(app)


def test_a_method_that_fails_says_so_in_words(open_view, store):
    said = words(open_view("views/group_maps/page.py", store, run=RUN)).replace("\\", "")
    assert ":red[:material/cancel: stability 0.45, **fails**]" in said
    assert "gives another map after another training" in said


def test_the_sentences_are_in_the_help(open_view, store):
    app = open_view("views/variability/page.py", store, run=RUN, method="sensitivity")
    found = next(element for element in app.markdown if "check_circle" in element.value)
    assert "95 % CI" in found.help
    assert "rule of Arun et al. 2021" in found.help


def test_beside_folds_it_is_said_to_be_of_the_fixed_test_set(open_view, store):
    assert "of the fixed test set" in words(open_view("views/group_maps/page.py", store, run=RUN, set="folds"))
    assert "of the fixed test set" not in words(open_view("views/group_maps/page.py", store, run=RUN, set="holdout"))


def test_new_scans_have_the_line_of_the_networks_that_explain_them(open_view, store):
    said = words(open_view("views/patient/page.py", store, run=NEW)).replace("\\", "")
    assert f"networks of {RUN}" in said
    assert "truth 0.75" in said


def test_real_scans_show_no_truth_of_their_own(open_view, store):
    said = words(open_view("views/group_maps/page.py", store, run=REAL)).replace("\\", "")
    assert "truth not known (real scans)" in said
    assert "truth 0.75" not in said


def test_real_scans_cite_the_benchmark_that_ships_and_say_so(open_view, tmp_path, shipped):
    make_larger_run(tmp_path, run_id=BARE, name="bare", methods=METHODS, simulated=False)
    app = open_view("views/group_maps/page.py", tmp_path, run=BARE)
    assert f"truth benchmark {shipped['sensitivity']['value']:.2f}" in words(app).replace("\\", "")
    assert "stability not measured" in words(app)
    assert any("simulated atrophy of typical AD" in (element.help or "") for element in app.markdown)


def test_both_of_two_runs_have_their_line(open_view, store):
    said = words(open_view("views/compare_runs/page.py", store, run=RUN, c_other=REAL)).replace("\\", "")
    assert f"**{RUN}: trust" in said
    assert f"**{REAL}: trust" in said


@pytest.mark.usefixtures("anonymous")
def test_readers_without_the_role_see_no_figure_of_few_subjects(open_view, store, monkeypatch):
    from dashboard.shell import access

    monkeypatch.setattr(access, "FEWEST", 12)  # of the groups, which have twelve subjects
    assert "truth 0.75" in words(open_view("views/group_maps/page.py", store, run=RUN)).replace("\\", "")


def test_a_baseline_explains_nothing():
    said = trust_line.markdown(TrustLine("smooth_random", ()), "holdout")
    assert NO_EXPLANATION in said
    assert "green" not in said


def test_what_the_lines_come_to(store):
    lines = trust_lines(open_run(store, RUN))
    assert trust_line.summary([lines["sensitivity"]]) == "none of 1 method fails"
    assert trust_line.summary([lines[m] for m in VERDICTS]) == "2 of 4 methods fail at least one test"


def test_the_lines_of_a_run_are_derived_once(store, monkeypatch, fresh_dashboard):
    from dashboard.data import trust

    made = []
    monkeypatch.setattr(trust, "trust_lines", lambda *a, **k: made.append(1) or {})
    run = Run(str(store), RUN, open_run(store, RUN).manifest["created"])
    for _ in range(3):
        trust.lines(run, 0)
    assert len(made) == 1


def on_paper(pages) -> str:
    return "\n".join(text.get_text() for page in pages for text in page.figure.texts)


def test_the_cohort_report_has_the_line_of_every_method(store):
    said = on_paper(cohort_pages(open_run(store, RUN), "holdout", "AD", None)).replace("\n", " ")
    assert "Trust: truth 0.75 (+0.20 over untrained) ✓" in said
    assert "gives another map after another training" in said
    assert "Trust" not in on_paper(cohort_pages(open_run(store, BARE), "holdout", "AD", None))


@pytest.mark.parametrize(("run", "expected"), [(RUN, True), (BARE, False)])
def test_the_patient_report_has_the_verdicts_of_every_method(store, run, expected):
    reader = open_run(store, run)
    drawn = {m: map_images.patient_map(reader, "holdout", m, "AD1-1", "AD", "margin") for m in METHODS}
    said = on_paper([patient_page(Subject(reader, "holdout", "AD1-1", "AD", "x", (0, 0, 0)), drawn, 90.0, None)])
    assert ("stability ✗ fails" in said or "stability 0.45 ✗ fails" in said) is expected


def test_exported_maps_have_a_sidecar_with_the_line(store, tmp_path):
    paths = export_nifti(open_run(store, RUN), tmp_path)
    image = next(
        path for path in paths if path.name.startswith(f"{RUN}_folds_area_occlusion_AD") and path.suffix == ".gz"
    )
    content = json.loads((tmp_path / f"{image.name.removesuffix('.nii.gz')}.json").read_text())
    assert content["Trust"].startswith("Trust (of the fixed test set): ")
    assert "stability 0.45 ✗ fails" in content["Trust"]
    assert len(content["TrustSentences"]) == 4
    assert "stability 0.45" in (tmp_path / "averages.csv").read_text()
    assert not [path for path in export_nifti(open_run(store, BARE), tmp_path / "bare") if path.suffix == ".json"]


def test_the_sidecar_of_new_scans_names_the_run_of_their_networks(store):
    from store.export.sidecar import lines_of, trust_words

    run = open_run(store, NEW)
    assert RUN in trust_words(run, "sensitivity", "holdout", lines_of(run))


def test_figure_1_and_web_pages_have_it(store, monkeypatch):
    run = open_run(store, RUN)
    with_lines = figure_1.figure_one(run, kind="svg")
    monkeypatch.setattr(figure_1, "lines_of", lambda run: {})
    assert len(with_lines) > len(figure_1.figure_one(run, kind="svg"))
    shown = ShownMap(np.zeros(run.mask.shape, np.float32), 0.1, "map", False, "Trust: truth 0.75")
    assert "Trust: truth 0.75" in map_page(run, shown)
