"""A regression on age from end to end: the run, its store, every page and both reports."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from test_dashboard_views import VIEWS, text_of
from test_pipeline import TINY, job, published, settings

from dashboard.reports import cohort_report, patient_report
from dashboard.text.outputs import answer_of
from engine.relevance.gradients import input_gradient
from engine.training.checkpoints import load_model
from store import NotInRunError, open_run
from store.files.folders import Folder
from store.writing.validate import check, validate


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(finished process, store)."""
    store = tmp_path_factory.mktemp("regression")
    values = [*TINY, "task=regression", "target=age", "explain.holdout=[sensitivity, area_occlusion]"]
    done = job(store, "--preset", "smoke", "--json", *settings(values))
    assert done.returncode == 0, done.stderr
    return done, store


@pytest.fixture(scope="module")
def run(made):
    return open_run(made[1])


def test_the_run_is_sound_and_says_what_it_predicts(made, run):
    assert validate(made[1] / run.run_id) == []
    assert run.task == "regression"
    assert run.target["column"] == "age"
    assert run.groups == ("higher age", "lower age")
    line = json.loads(made[0].stdout)
    assert set(line["metrics"]) >= {
        "mae_mean",
        "mae_sd",
        "rmse_mean",
        "r2_mean",
        "mae_holdout",
        "region_means_mae_mean",
    }
    assert "auc_mean" not in line["metrics"]


def test_a_regression_without_its_target_is_broken(made, run):
    manifest = {key: value for key, value in run.manifest.items() if key != "target"}
    problems = check(Folder(made[1] / run.run_id), manifest, deep=False)
    assert problems == ["manifest: the target of a regression must hold column, label, threshold, unit"]


def test_every_label_is_trained_on(run):
    scans, models = run.table("scans"), run.table("models").set_index("model")
    assert set(scans["role"]) == {"cohort"}
    assert scans["clinical_label"].value_counts().to_dict() == {"AD": 6, "NC": 6, "MCI": 1}
    assert models.loc["fold-1", "training_scans"] + models.loc["fold-2", "training_scans"] == len(scans)
    assert ((scans["age"] >= run.target["threshold"]) == (scans["group"] == "higher age")).all()


def test_values_follow_from_margins_by_the_card_and_the_card_from_the_training_scans(made, run):
    scans = run.table("scans").set_index("scan")
    for model, rows in run.table("predictions").groupby("model"):
        card = json.loads(run.file(f"models/{model}.json"))
        trained = scans.loc[~scans.index.isin(rows["scan"]), "age"]
        assert card["target_mean"] == pytest.approx(trained.mean())
        assert card["target_sd"] == pytest.approx(trained.std(ddof=0))
        np.testing.assert_allclose(rows["value"], card["target_mean"] + card["target_sd"] * rows["margin"])
        assert rows["observed"].tolist() == scans.loc[rows["scan"], "age"].tolist()
        assert rows["probability"].isna().all()
        assert (rows["correct"] == (rows["predicted"] == rows["group"])).all()


def test_heatmaps_are_of_the_predicted_value(made, run):
    row = run.table("predictions", model="holdout").iloc[0]
    network, normalisation, _ = load_model(published(made[1]) / "models", "holdout", run.mask)
    volume = torch.from_numpy(normalisation(run.volume(row["scan"])[None]).astype(np.float32))[:, None]
    expected = input_gradient(network, volume, 1)[0].numpy()[run.mask]
    found = run.heatmap("holdout", "sensitivity", row["scan"], target="higher age")[run.mask]
    assert np.corrcoef(found, expected)[0, 1] > 0.999
    units = {m: run.attributes(f"heatmaps/holdout/{m}/higher age/margin")["unit"] for m in
             ("sensitivity", "area_occlusion")}  # fmt: skip
    assert units == {"sensitivity": "SD of age per z-score", "area_occlusion": "drop of SD of age"}


def test_nothing_says_probability(run):
    assert set(run.table("heatmaps")["scale"]) == {"margin"}
    assert "probability" not in set(run.table("cells")["scale"])
    assert run.table("curves").empty
    scan = run.table("predictions", model="holdout")["scan"].iloc[0]
    for method in ("sensitivity", "area_occlusion"):
        with pytest.raises(NotInRunError, match="predicts a value"):
            run.heatmap("holdout", method, scan, target="higher age", scale="probability")


def test_baselines_do_not_read_the_target(run):
    metrics = run.table("metrics")
    assert set(metrics["metric"]) == {"mae", "rmse", "r", "r2"}
    assert set(metrics["classifier"]) == {"cnn", "region_means", "covariates"}
    assert set(metrics.loc[metrics["classifier"] == "covariates", "note"]) == {"sex, icv"}
    assert run.table("balance").set_index("covariate").loc["age", "note"] == "defines the groups"


@pytest.mark.parametrize("view", VIEWS)
def test_every_page_shows_it(made, open_view, view):
    app = open_view(view, made[1])
    assert not app.exception
    assert not app.error
    assert app.title[0].value == VIEWS[view]
    said = text_of(app)
    assert "p(higher age)" not in said
    if VIEWS[view] == "Overview":
        assert [metric.label.split(",")[0] for metric in app.metric] == [
            "MAE", "Pearson r", "MAE", "MAE",
        ]  # fmt: skip
        assert "Predicted and true age" in said
        assert "ROC" not in said
    if VIEWS[view] == "Patient":
        assert "**predicted age" in said
    if VIEWS[view] == "Clinical":
        assert "trained to predict age" in said
        assert "higher age and lower age are divided by it" in said
        # These networks, of two epochs on twenty people, predict nothing; that alone is warned of.
        assert all("do not predict the target" in warning.value for warning in app.warning)


def test_both_reports_are_made(run):
    row = run.table("predictions", model="holdout").iloc[0]
    assert cohort_report(run, model_set="holdout", target="higher age").startswith(b"%PDF")
    made = patient_report(
        run, "holdout", row["scan"], target="higher age", methods=["sensitivity"], subject_words="someone", mm=(0, 0, 0)
    )
    assert made.startswith(b"%PDF")


def test_answers_in_words():
    target = {"column": "mmse", "label": "MMSE", "unit": "", "threshold": 26.5}
    value, p = answer_of({"groups": ["a", "b"], "target": target}), answer_of({"groups": ["AD", "NC"]})
    assert (value.text(27.31), value.axis, value.unit_of("|d margin|")) == (
        "predicted 27.3", "predicted MMSE", "|d SD of MMSE|",
    )  # fmt: skip
    assert (p.text(0.93), p.axis, p.unit_of("|d margin|")) == ("p 0.930", "p(AD)", "|d margin|")
