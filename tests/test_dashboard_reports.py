"""PDF reports: what they say, of whom they say nothing, and that the same input gives the same bytes."""

from __future__ import annotations

import re
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from store_factory import OUTSIDE_ATLAS, REGIONS, make_run, shared_store

from dashboard.data import map_images, shares
from dashboard.data.accuracy import mean_and_sd
from dashboard.data.cohort import balance_sentence
from dashboard.reports import cohort_report, inside, layout, patient_report
from dashboard.reports.cohort import cohort_pages
from dashboard.reports.patient import Subject, patient_page
from dashboard.text import paper
from dashboard.text.formatting import percent, three
from store import NotInRunError, open_run
from store.reading.truth import voxel_truth

METHODS = ["sensitivity", "guided_backprop", "occlusion", "area_occlusion"]
PLACE = (-90.0, -125.0, -73.0)
PSEUDONYM = "7f3a9c01d2"


@pytest.fixture(scope="module")
def run():
    return open_run(shared_store())


def words_on(page: layout.Page) -> str:
    return "\n".join(text.get_text() for text in page.figure.texts)


def page_of(run, model="fold-1", scan="a1-1", methods=METHODS, target="AD", created=None) -> layout.Page:
    subject = Subject(run, model, scan, target, PSEUDONYM, PLACE)
    drawn = {m: map_images.patient_map(run, model, m, scan, target, "margin") for m in methods}
    return patient_page(subject, drawn, 90.0, created)


# -- one patient --------------------------------------------------------------------------------------------------


def test_a_patient_report_is_one_page_with_fonts_and_always_the_same(run):
    def report() -> bytes:
        return patient_report(
            run, "fold-1", "a1-1", target="AD", methods=METHODS, subject_words=PSEUDONYM, mm=PLACE,
            created="2026-03-04T05:06:07",
        )  # fmt: skip

    data = report()
    assert data.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b", data)) == 1
    assert b"/FontFile2" in data
    assert b"/MediaBox [ 0 0 595.27" in data
    assert data == report()
    assert b"a1-1" not in data


def test_a_patient_report_says_what_it_shows(run):
    page = words_on(page_of(run, created="2026-03-04T05:06:07"))
    prediction = run.table("predictions", model="fold-1", scan="a1-1").iloc[0]
    for expected in (
        "Patient report", PSEUDONYM, "70 y", "evidence for AD", f"p(AD) {prediction.probability:.3f}", "Occlusion",
        "Research use only, not a medical device.", "SIMULATED", "tiny", "fold-1", "0000000000000000", "2026-03-04",
        "How to read this", "L is the left of the subject", "y -125 mm", "x -90 mm", "z -73 mm", "one value a region",
    ):  # fmt: skip
        assert expected in page, expected


def test_a_patient_report_names_nobody(run):
    page = words_on(page_of(run))
    assert "a1-1" not in page
    assert not re.search(r"\ba1\b", page)


def test_the_models_are_those_that_may_explain_the_scan(run):
    page = words_on(page_of(run))
    p = run.table("predictions", scan="a1-1").probability
    assert len(p) == 3
    assert f"mean ± SD of 3 models {p.mean():.3f} ± {p.std(ddof=1):.3f}" in page
    assert "holdout-seed-2" in page


def test_what_was_imposed_is_said_of_simulated_scans_only(run, tmp_path):
    page = words_on(page_of(run))
    assert "inside the change (brain" in page
    assert "null: by networks trained where nothing was imposed" in " ".join(page.split())
    real = make_run(tmp_path, simulated=False, methods=["sensitivity"])
    page = words_on(page_of(open_run(tmp_path, real.name), methods=["sensitivity"]))
    assert "inside the" not in page
    assert "SIMULATED" not in page
    assert "Simulated" not in page


def test_shares_inside_the_change_stand_beside_what_knows_nothing(run):
    subject = Subject(run, "holdout", "a1-1", "AD", "", (0, 0, 0))
    truth = voxel_truth(run, "a1-1")
    relevance = truth.binary.astype(float) + 0.5 * run.mask
    expected = relevance[truth.binary].sum() / relevance.sum()
    start = f"{percent(expected)} inside the change (brain {percent(truth.binary.sum() / run.mask.sum())}"
    assert inside.words(subject, "sensitivity", relevance) == [f"{start})"]  # no score of this share is known
    rows = run.table("truth_scores").assign(score="mass_accuracy", level="scan")
    with mock.patch.object(type(run), "table", return_value=rows[rows["model_set"] == "holdout"]):
        known = inside._references(run, "sensitivity")
    assert known == pytest.approx({"null_reference": 0.55, "reference": 0.5})
    with mock.patch.object(inside, "_references", return_value={"null_reference": 0.0812, "reference": 0.0634}):
        both = [f"{start}, null 8.12 %, untrained 6.34 %)", f"{start}, null 8.12 %)", f"{start})"]
        assert inside.words(subject, "sensitivity", relevance) == both
        assert words_on(page_of(run)).count("null 8.12 %") == 4  # there is room, whatever the name of the method


def test_a_run_before_the_visible_change_says_what_it_has(tmp_path):
    old = make_run(tmp_path, methods=["sensitivity"], earlier_truth=True)
    page = words_on(page_of(open_run(tmp_path, old.name), methods=["sensitivity"]))
    assert "inside the imposed change" in page
    assert "shows at its borders alone" in page


def test_a_missing_covariate_is_left_out(run, monkeypatch):
    table = type(run).table

    def without(self, name, columns=None, **equals):
        frame = table(self, name, columns, **equals)
        return frame.assign(age=np.nan, mmse=np.nan, sex=None) if name == "scans" and columns is None else frame

    assert "MMSE" in words_on(page_of(run))
    monkeypatch.setattr(type(run), "table", without)
    page = words_on(page_of(run))
    assert "MMSE" not in page
    assert "nan" not in page


def test_strongest_regions_stand_against_the_other_subjects(run):
    """Shares are read from the table, subjects with several scans counted once, the patient left out."""
    wide = shares.region_shares(run, "folds", "sensitivity", "AD")
    table = run.table("region_relevance", model="fold-1", method="sensitivity", scan="a1-2", region="Temporal_Mid_R")
    assert wide.loc[("fold-1", "a1-2"), "Temporal_Mid_R"] == pytest.approx(table.share.iloc[0], rel=1e-6)
    assert list(wide.columns) == [*REGIONS, *OUTSIDE_ATLAS]
    people = shares.subject_means(run, wide)
    assert people.loc[("a1", "AD"), "Hippocampus_L"] == pytest.approx(
        wide.loc[[("fold-1", f"a1-{n}") for n in (1, 2, 3)], "Hippocampus_L"].mean(), rel=1e-5
    )
    assert "other AD, n = 1 subject" in " ".join(words_on(page_of(run)).split())


def test_maps_are_drawn_as_fine_as_their_numbers(run):
    """A region keeps its value at 1 mm; a cube lies at its centre; nothing is drawn where m is 0."""
    values = run.heatmap("fold-1", "area_occlusion", "a1-1", target="AD", full=False)
    drawn = map_images.patient_map(run, "fold-1", "area_occlusion", "a1-1", "AD", "margin")
    atlas = run.array("atlas")
    for index, value in enumerate(values, 1):
        assert np.unique(drawn.volume[atlas == index]) == pytest.approx(max(value, 0))
    cubes = map_images.patient_map(run, "fold-1", "occlusion", "a1-1", "AD", "margin")
    assert cubes.volume.shape == (2, 3, 2)
    assert np.diag(cubes.affine)[:3] == pytest.approx(3 * np.diag(run.affine())[:3])
    gradient = map_images.patient_map(run, "fold-1", "sensitivity", "a1-1", "NC", "margin")
    assert gradient.volume.min() >= 0
    assert gradient.volume == pytest.approx(np.abs(run.heatmap("fold-1", "sensitivity", "a1-1", target="AD")))


def test_a_region_of_a_group_average_keeps_its_value_at_1_mm(run):
    drawn, scans, subjects = map_images.group_map(run, "folds", "area_occlusion", "AD", "AD")
    assert (scans, subjects) == (4, 2)
    atlas, fine = run.atlas, run.array("atlas")
    for index in (1, 2, 3, 4):
        assert np.unique(drawn.volume[fine == index]) == pytest.approx(drawn.grid[atlas == index][0])


def test_an_empty_map_still_has_a_range():
    empty = map_images.MapImage(np.zeros((3, 3, 3)), np.zeros((3, 3, 3)), np.eye(4), True, "u")
    scale = map_images.colour_range([empty], np.ones((3, 3, 3), bool), 90)
    assert scale.low < scale.high


def test_what_is_not_there_is_said_without_a_name(run):
    options = {"target": "AD", "methods": METHODS, "subject_words": "x", "mm": PLACE}
    with pytest.raises(NotInRunError, match="no such scan"):
        patient_report(run, "fold-1", "nobody-1", **options)
    with pytest.raises(NotInRunError, match="choose a model that has"):
        patient_report(run, "fold-1", "a1-1", **options | {"methods": []})
    with pytest.raises(NotInRunError):
        patient_report(run, "fold-2", "a1-1", **options)


def test_twelve_methods_and_long_words_stay_on_the_page(run):
    subject = Subject(run, "fold-1", "a1-1", "AD", "a long hospital number " * 6, PLACE)
    found = map_images.patient_map(run, "fold-1", "sensitivity", "a1-1", "AD", "margin")
    page = patient_page(subject, {f"method_{n}": found for n in range(12)}, 90.0, None)
    for text in page.figure.texts:
        x, y = text.get_position()
        width = layout.text_mm(text.get_text(), text.get_fontsize(), text.get_weight()) / layout.WIDTH
        right = x + {"left": width, "center": width / 2, "right": 0}[text.get_ha()]
        assert right < 1 - 0.5 * layout.MARGIN / layout.WIDTH or text.get_rotation(), text.get_text()
        assert 0 < y < 1


# -- a cohort -----------------------------------------------------------------------------------------------------


def test_a_cohort_report_is_always_the_same(run):
    data = cohort_report(run, model_set="folds", target="AD")
    assert data == cohort_report(run, model_set="folds", target="AD")
    assert len(re.findall(rb"/Type /Page\b", data)) == 4
    assert b"/FontFile2" in data


def test_a_cohort_report_holds_accuracy_tables_and_provenance(run):
    first, figure, table_1, last = (words_on(p) for p in cohort_pages(run, "folds", "AD", None))
    metrics = run.table("metrics")
    mean, _ = mean_and_sd(metrics, "auc")
    for expected in ("Cohort report", "SIMULATED", "0.77 ± 0.06", "0.78 ± 0.04", f"{mean:.3f} ±", "MCI", "1 / 4"):
        assert expected in first, expected
    assert "2 subjects, 4 scans" in figure
    assert "L is the left of the subject" in figure
    assert paper.SHORT in table_1
    assert "12.1" in table_1
    share = run.table("group_regions", model_set="folds", method="occlusion", target="AD", diagnosis="NC", merged=True)
    assert all(f"{100 * s:.1f}" in table_1 for s in share.share_of_average)
    distance = run.table("distances", model_set="folds", level="group", diagnosis="AD").distance
    assert all(three(d) in last for d in distance)
    for expected in ("11.48", "9.66", "1" * 16, paper.CITATION[:40], "Research use only, not a medical device."):
        assert expected in last, expected


def test_a_cohort_report_names_nobody(run):
    pages = "\n".join(words_on(p) for p in cohort_pages(run, "holdout", "true", None))
    assert not re.search(r"\b[anm][12](-\d)?\b", pages)


def test_the_paper_stands_only_beside_its_own_groups(run, monkeypatch):
    monkeypatch.setattr(run, "groups", ("older", "younger"))
    monkeypatch.setattr("dashboard.reports.cohort.figure", lambda whole: [])
    pages = "\n".join(words_on(p) for p in cohort_pages(run, "folds", "AD", None))
    assert "ADNI" not in pages


@pytest.mark.parametrize(("imposed", "said"), [(True, "imposed and so known"), (False, "no disease imposed")])
def test_a_null_cohort_claims_no_disease(run, monkeypatch, imposed, said):
    monkeypatch.setattr("dashboard.reports.cohort.has_truth", lambda _: imposed)
    assert said in " ".join(words_on(cohort_pages(run, "folds", "AD", None)[0]).split())


def test_evidence_that_was_not_ranked_is_said(run):
    assert "not ranked by this run" in words_on(cohort_pages(run, "folds", "predicted", None)[2])


def test_a_model_set_without_averages_is_said(run):
    with pytest.raises(NotInRunError, match="no group averages of model set elsewhere"):
        cohort_report(run, model_set="elsewhere", target="AD")


# -- pages --------------------------------------------------------------------------------------------------------


def test_words_are_broken_and_shortened_to_their_width():
    words = "one two three four five six seven"
    lines = layout.wrapped(words, 20, 8)
    assert " ".join(lines) == words
    assert len(lines) > 1
    assert all(layout.text_mm(line, 8) <= 20 for line in lines)
    assert layout.shortened(words, 20, 8).endswith("…")
    assert layout.text_mm(layout.shortened(words, 20, 8), 8) <= 20
    assert layout.shortened("one", 20, 8) == "one"


def test_axes_end_at_round_numbers():
    ends = [layout.axis_end(v) for v in ([0.9, np.nan], [1.2], [7.4], [30], [0], [])]
    assert ends == pytest.approx([1, 1.5, 8, 30, 1, 1])


def test_small_probabilities_of_balance_are_short():
    table = pd.DataFrame({"covariate": ["age"], "difference": [7.03], "p": [3e-50]})
    assert "p < 0.001" in balance_sentence(table, ["older", "younger"])


def test_a_run_that_did_not_count_scans_without_relevance_has_its_report(tmp_path):
    """Runs of specification 1.2 and before lack the column group_regions.without_relevance."""
    folder = make_run(tmp_path, name="earlier")
    table = folder / "tables" / "group_regions.parquet"
    pd.read_parquet(table).drop(columns=["without_relevance"]).to_parquet(table)
    pages = cohort_pages(open_run(tmp_path), "folds", "AD", None)
    assert any("AD, n = " in words_on(page) for page in pages)
