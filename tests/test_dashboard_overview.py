"""The Overview page: accuracy beyond one number, the way to the patients of a cell, and what may be taken away."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from pages import forget_all
from plotly_schema import validated
from store_factory import shared_store
from streamlit.testing.v1 import AppTest

from dashboard.data import runs
from dashboard.data.accuracy import confusion_counts, folds_in_words
from dashboard.data.selection import ScanFilter, explained_scans
from dashboard.drawing import charts
from dashboard.shell import access, page
from dashboard.views.overview import tables as judged
from store import open_run

GROUPS = ["AD", "NC"]


def roc_of(**folds) -> pd.DataFrame:
    rows = [
        {"model": f"fold-{name[1:]}", "curve": "roc", "point": i, "x": x, "y": y, "scans": None}
        for name, points in folds.items() for i, (x, y) in enumerate(points)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["model", "curve", "point", "x", "y", "scans"])


def test_the_band_is_the_mean_and_sd_of_the_folds():
    curves = roc_of(f1=[(0, 0), (0, 0.5), (1, 1)], f2=[(0, 0), (0, 0.9), (1, 1)], f3=[(0, 0), (0, 0.7), (1, 1)])
    band = judged.roc_band(curves)
    middle = band[np.isclose(band.x, 0.5)].iloc[0]
    assert middle["mean"] == pytest.approx(0.85)
    assert middle["high"] - middle["mean"] == pytest.approx(np.std([0.75, 0.95, 0.85], ddof=1))
    assert band.iloc[0]["mean"] == pytest.approx(0.7)
    assert band.iloc[-1]["high"] == 1
    assert (band.folds == 3).all()
    assert judged.roc_band(roc_of(f1=[(0, 0), (1, 1)])) is None
    assert judged.roc_band(roc_of()) is None


def test_the_roc_shows_the_band_only_where_there_is_one():
    curves = roc_of(f1=[(0, 0), (1, 1)], f2=[(0, 0.5), (1, 1)])
    figure = validated(charts.roc(curves, judged.roc_band(curves)))
    assert [trace.name for trace in figure.data[1:]] == ["± SD of the folds", "mean of the folds", "held-out"]
    assert len(charts.roc(curves).data) == 2
    assert "specificity" in figure.layout.xaxis.title.text


def curves_of(y: list[float], scans: list[int]) -> pd.DataFrame:
    x = np.linspace(0.1, 0.9, len(y))
    return pd.DataFrame(
        {"model": "folds", "curve": "calibration", "point": range(len(y)), "x": x, "y": y, "scans": scans}
    )


def test_the_intervals_of_the_calibration_are_wilsons():
    bins = judged.calibration(curves_of([0.9, 1.0, 0.0], [10, 10, 1]), "folds")
    np.testing.assert_allclose(bins.low, [0.5958, 0.7225, 0.0], atol=1e-3)
    np.testing.assert_allclose(bins.high, [0.9821, 1.0, 0.7935], atol=1e-3)


def test_calibration_is_of_the_judged_models():
    curves = open_run(shared_store()).table("curves")
    bins = judged.calibration(curves, "folds")
    assert len(bins) == 3
    assert bins.x.is_monotonic_increasing
    assert judged.calibration(curves, "holdout").empty
    bins = judged.calibration(curves_of(y=[0.2, 1.0], scans=[4, 16]), "folds")
    figure = validated(charts.calibration(bins, "AD"))
    assert list(figure.data[1].marker.size) == [4, 16]
    assert figure.data[1].marker.sizemode == "area"
    assert figure.layout.yaxis.title.text == "observed share of AD"


def test_the_table_of_metrics_has_every_fold_and_the_spread():
    values = {"fold-1": 0.5, "fold-2": 0.75, "mean": 0.625, "sd": 0.177, "holdout": 0.8}
    metrics = pd.DataFrame([
        {"classifier": c, "level": "scan", "model": m, "metric": "auc", "value": v, "note": ""}
        for c in ("region_means", "cnn") for m, v in values.items() if (c, m) != ("region_means", "holdout")
    ])  # fmt: skip
    table = judged.metrics_table(metrics, "scan")
    assert table.to_dict("records") == [
        {"Classifier": "3D CNN", "Metric": "AUC", "Fold 1": "0.500", "Fold 2": "0.750", "Mean ± SD": "0.625 ± 0.177",
         "Held out (95 % CI)": "0.800"},
        {"Classifier": "Linear: region means", "Metric": "AUC", "Fold 1": "0.500", "Fold 2": "0.750",
         "Mean ± SD": "0.625 ± 0.177", "Held out (95 % CI)": "–"},
    ]  # fmt: skip
    assert judged.metrics_table(metrics, "subject").empty


def test_the_table_of_metrics_says_what_is_sure_and_of_how_many_folds():
    """A perfect separation has an interval; two of five folds have no patient and so no AUC (FC-08)."""
    rows = [{"model": f"fold-{k}", "value": float("nan") if k in (2, 3) else 1.0} for k in range(1, 6)]
    rows += [
        {"model": "mean", "value": 1.0}, {"model": "sd", "value": 0.0},
        {"model": "folds", "value": 1.0, "low": 0.8987, "high": 1.0},
        {"model": "holdout", "value": 1.0, "low": 0.75, "high": 1.0},
    ]  # fmt: skip
    metrics = pd.DataFrame(rows).assign(classifier="cnn", level="scan", metric="auc", note="")
    row = judged.metrics_table(metrics, "scan").iloc[0]
    assert row["Mean ± SD"] == "1.00 ± 0.00 (of 3 folds)"
    assert row["All folds (95 % CI)"] == "1.00 (0.899 to 1.000)"
    assert row["Held out (95 % CI)"] == "1.00 (0.750 to 1.000)"
    assert folds_in_words(metrics, "auc") == "3 of 5 folds"


@pytest.fixture
def run(monkeypatch) -> runs.Run:
    monkeypatch.setattr(sys, "argv", ["home.py"])
    monkeypatch.setenv("BRAINWHY_STORE", str(shared_store()))
    forget_all()
    reader = open_run(shared_store())
    return runs.Run(str(shared_store()), reader.run_id, reader.manifest["created"])


@pytest.mark.parametrize("model_set", ["folds", "holdout"])
def test_the_filters_of_a_cell_let_just_its_scans_pass(run, model_set):
    explained = explained_scans(run, model_set)
    counts = confusion_counts(runs.table(run, "predictions"), model_set, GROUPS)
    assert counts.sum() == explained.group.isin(GROUPS).sum()
    for true, predicted, text in judged.cells(counts, GROUPS):
        values = judged.values_of_cell(explained, GROUPS, true, predicted)
        whom = ScanFilter(tuple(values["dx"]), correct={"correct": True, "wrong": False}[values["ok"]])
        passing = explained[whom.passing(explained)]
        assert len(passing) == counts[true, predicted]
        assert values["p_subject"] in set(passing.subject)
        assert values["p_scan"] in set(passing.scan[passing.subject == values["p_subject"]])
        assert text == f"{GROUPS[true]} predicted {GROUPS[predicted]}: {counts[true, predicted]}"


def test_only_full_cells_can_be_clicked():
    counts = np.array([[3, 0], [1, 2]])
    links = validated(charts.confusion(counts, GROUPS, links=True)).data[-1]
    assert [tuple(cell) for cell in links.customdata] == [(0, 0), (1, 0), (1, 1)]
    assert list(links.x) == ["AD", "AD", "NC"]
    assert len(charts.confusion(counts, GROUPS).data) == 1


@pytest.fixture
def offered(monkeypatch) -> list[page.Download]:
    """What the page offers for download, once it has run."""
    found: list[page.Download] = []
    finish = page.Header.finish

    def noted(self, downloads=()):
        found.extend(downloads)
        finish(self, downloads)

    monkeypatch.setattr(page.Header, "finish", noted)
    return found


def opened() -> AppTest:
    app = AppTest.from_file("../dashboard/home.py", default_timeout=30).run()
    assert not app.exception
    assert not app.error
    return app


def test_the_page_opens_with_its_pictures_and_downloads(run, offered):
    app = opened()
    assert app.title[0].value == "Overview"
    written = "\n".join(element.value for element in (*app.markdown, *app.caption))
    for part in ("**ROC**", "**Calibration**", "**Confusion matrix**", "**Learning curves**", "**Left out**"):
        assert part in written
    names = [item.file_name.removeprefix(run.run_id) for item in offered]
    assert names == [
        "_cohort-report_holdout.pdf", "_figure-1_holdout.png", "_for-the-paper.zip", "_metrics.csv", "_cohort.csv",
        "_left-out.csv", "_truth-scores.csv", "_scans.csv", "_predictions.csv", "_exclusions.csv",
    ]  # fmt: skip
    assert offered[1].data().startswith(b"\x89PNG")
    assert len(offered[8].data().splitlines()) == 1 + len(runs.table(run, "predictions"))


@pytest.mark.parametrize(("imposed", "said"), [(True, "truth is known"), (False, "No disease was imposed")])
def test_a_null_cohort_claims_no_disease(run, monkeypatch, imposed, said):
    monkeypatch.setattr("store.reading.truth.has_truth", lambda _: imposed)
    head = next(element.value for element in opened().markdown if "**tiny**" in element.value)
    assert said in head


def test_the_report_is_of_the_chosen_models(run, offered):
    assert opened().query_params["o_set"] in ("holdout", ["holdout"])
    assert offered[0].data().startswith(b"%PDF")


def test_without_the_role_nobody_is_named(run, offered, monkeypatch):
    monkeypatch.setattr(access, "may_see_patients", lambda: False)
    app = opened()
    assert [item.label for item in offered if "_scans" in item.file_name or "_predictions" in item.file_name] == []
    assert not [button for button in app.button if button.key and button.key.startswith("cell-")]
    everything = "\n".join(str(item.data()) for item in offered if item.file_name.endswith(".csv"))
    assert not any(scan in everything for scan in ("a1-1", "n2-1", "x1"))


def test_a_cell_opens_its_patients(run):
    app = opened()
    button = next(b for b in app.button if b.label.startswith("AD predicted NC"))
    app = button.click().run()
    assert app.title[0].value == "Patient"
    assert not app.exception
    assert app.session_state["dx"] == ["AD"]
    assert app.session_state["ok"] == "wrong"
    assert app.selectbox(key="p_subject").value in ("a1", "a2")


def test_a_link_restores_the_models(run):
    app = AppTest.from_file("../dashboard/home.py", default_timeout=30)
    app.query_params["o_set"] = "folds"
    app.run()
    assert app.button_group(key="o_set").value == "folds"
    app = AppTest.from_file("../dashboard/home.py", default_timeout=30)
    app.query_params["o_set"] = "nonsense"
    app.run()
    assert not app.exception
    assert app.button_group(key="o_set").value == "holdout"
    assert any("o_set=nonsense" in element.value for element in app.markdown)
