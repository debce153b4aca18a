"""A regression: who takes part and in which group, what is learned, how it is judged, what it is beside."""

from __future__ import annotations

import copy

import numpy as np
import oasis_factory
import pandas as pd
import pytest
import torch
from scipy import stats

from engine.cohort.readers import table
from engine.cohort.regression_target import by_median, with_values
from engine.cohort.scans import Cohort, exclusion_table, scan_table
from engine.cohort.splits import Job
from engine.config.cohort_schema import CohortConfig
from engine.config.loading import load_config
from engine.config.schema import TrainingConfig
from engine.errors import UserError
from engine.evaluation.baselines import covariate_table
from engine.evaluation.regression import error_rows, errors, ridge_predictions
from engine.images.grid import Grid
from engine.networks.cnn3d import CNN3D, margins
from engine.networks.fused_step import fused_logits
from engine.pipeline.evaluate import value_rows
from engine.pipeline.inputs import read_cohort
from engine.training.objective import Classification, Regression
from engine.training.trainer import Trainer, TrainingSetup

HIGHER, LOWER = "higher MMSE", "lower MMSE"


def cohort_of(values: dict[str, list[float | None]], column: str = "mmse") -> Cohort:
    """One row a value; the keys are subjects."""
    rows = [
        {"scan": f"{subject}-{i}", "subject": subject, "diagnosis": "MCI", "role": "apply", column: value}
        for subject, found in values.items()
        for i, value in enumerate(found)
    ]
    return Cohort("made up", scan_table(rows), exclusion_table([]), ("AD", "NC"))


# -- who takes part -----------------------------------------------------------------------------------------------


def test_everyone_with_a_value_is_trained_on_and_the_others_are_exclusions():
    found = with_values(cohort_of({"a": [20, None], "b": [30]}), "mmse")
    assert found.scans["scan"].tolist() == ["a-0", "b-0"]
    assert set(found.scans["role"]) == {"cohort"}
    assert found.exclusions[["scan", "reason"]].to_numpy().tolist() == [["a-1", "no value of MMSE, the target"]]
    assert found.scans["clinical_label"].tolist() == ["MCI", "MCI"]
    assert found.defining == ("mmse",)


@pytest.mark.parametrize(
    ("values", "threshold", "higher"),
    [
        ({"a": [20], "b": [24], "c": [28], "d": [30]}, 26, {"c-0", "d-0"}),
        ({"a": [20], "b": [30], "c": [30], "d": [30]}, 25, {"b-0", "c-0", "d-0"}),  # the median is the highest value
        ({"a": [0], "b": [0], "c": [0], "d": [1]}, 0.5, {"d-0"}),  # and the lowest
        ({"a": [20], "b": [25], "c": [30]}, 22.5, {"b-0", "c-0"}),  # a tie goes to the higher group
        ({"a": [10, 20, 30], "b": [22], "c": [29], "d": [30]}, 25.5, {"a-2", "c-0", "d-0"}),  # subjects count once
    ],
)
def test_groups_are_parted_at_the_median_over_subjects(values, threshold, higher):
    found = by_median(with_values(cohort_of(values), "mmse"), "mmse")
    scans = found.scans
    assert found.target.threshold == pytest.approx(threshold)
    assert set(scans.loc[scans["group"] == HIGHER, "scan"]) == higher
    assert (scans["diagnosis"] == scans["group"]).all()
    assert found.groups == (HIGHER, LOWER)


def test_a_target_without_values_or_without_differences_is_one_error():
    with pytest.raises(UserError, match=r"target mmse: none of the 2 scans .* they have age; .*cohort.columns.mmse"):
        with_values(cohort_of({"a": [70], "b": [71]}, "age"), "mmse")
    with pytest.raises(UserError, match="target mmse: it is 29 in all 2 subjects"):
        by_median(with_values(cohort_of({"a": [29], "b": [29]}), "mmse"), "mmse")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "regression"}, "task=regression needs the target"),
        ({"task": "regression", "target": "weight"}, "target: 'weight' is not allowed; .*'mmse'"),
        ({"target": "age"}, "a target is for task=regression"),
        ({"task": "regression", "target": "age", "analysis.occlusion_scale": "probability"}, "has no probability"),
    ],
)
def test_what_the_configuration_refuses(given, message):
    with pytest.raises(UserError, match=message) as error:
        load_config(preset="smoke", overrides=given)
    assert "\n" not in str(error.value)


def test_rules_name_labels_and_choose_nobody(tmp_path):
    for name in "abcd":
        (tmp_path / f"{name}.nii").write_bytes(b"x")
    (tmp_path / "scans.csv").write_text(
        "id,dx,mmse,age,file\nP1,Dementia,20,60,a.nii\nP2,CN,30,70,b.nii\nP3,MCI,26,80,c.nii\nP4,other,,75,d.nii\n"
    )
    cohort = {"reader": "table", "data": str(tmp_path), "diagnosis": {"AD": ["Dementia"], "NC": ["CN"]}}
    config = load_config(preset="smoke", overrides={"task": "regression", "target": "mmse", "cohort": cohort})
    found = read_cohort(config, tmp_path, None, inspect=False)
    assert found.scans["clinical_label"].tolist() == ["AD", "NC", "MCI"]
    assert found.scans["group"].tolist() == [LOWER, HIGHER, HIGHER]
    assert found.exclusions["scan"].tolist() == ["P4"]
    without_rules = CohortConfig(reader="table", data=tmp_path, target="mmse", where="age < 80")
    left = table.read(without_rules)
    assert left.scans["clinical_label"].tolist() == ["Dementia", "CN", "other"]
    assert left.exclusions["reason"].tolist() == ["does not fulfil cohort.where (age < 80)"]


def test_a_dataset_of_a_known_kind_needs_no_label(tmp_path):
    folder = oasis_factory.cross_sectional(tmp_path / "oasis1")
    overrides = {"task": "regression", "target": "mmse", "cohort.reader": "oasis", "cohort.data": str(folder)}
    found = read_cohort(load_config(preset="smoke", overrides=overrides), tmp_path, None, inspect=False)
    assert found.scans["mmse"].tolist() == [29, 27, 30, 20]
    assert found.scans["clinical_label"].tolist() == ["NC", "AD", "NC", "AD"]
    reasons = dict(found.exclusions[["scan", "reason"]].itertuples(index=False))
    assert reasons["OAS1_9003_MR1"] == "no value of MMSE, the target"


# -- what is learned ----------------------------------------------------------------------------------------------


def test_mean_and_sd_are_those_of_the_training_scans_alone():
    values = {"a": 60.0, "b": 70.0, "c": 80.0, "other": 1e6}
    fitted = Regression("age", values).fitted(["a", "b", "c"])
    assert (fitted.mean, fitted.sd) == (70, pytest.approx(np.std([60, 70, 80])))
    np.testing.assert_allclose(fitted.truth(["c"], torch.device("cpu")), [10 / fitted.sd], rtol=1e-6)
    assert Regression("age", {"a": 5.0, "b": 5.0}).fitted(["a", "b"]).sd == 1


def test_a_fused_step_is_a_plain_one():
    """Loss and every gradient of the mean squared error, to 1e-6."""
    torch.manual_seed(0)
    plain = CNN3D((21, 22, 20), (2, 3), 0.0, 2, (3, 4)).double().train()
    fused, volumes = copy.deepcopy(plain), torch.randn(3, 1, 21, 22, 20, dtype=torch.float64)
    objective = Regression("age", {"a": 60.0, "b": 75.0, "c": 80.0}).fitted("abc")
    truth = objective.truth("abc", torch.device("cpu"))
    losses = [objective.loss(logits, truth) for logits in (plain(volumes), fused_logits(fused, volumes))]
    torch.testing.assert_close(*losses, rtol=1e-6, atol=1e-6)
    margin = margins(plain(volumes))[:, 1].detach().numpy()
    assert losses[0].item() == pytest.approx(np.mean((margin - objective.standardised("abc")) ** 2), rel=1e-6)
    assert objective.judge(margin, "abc")["loss"] == pytest.approx(losses[0].item(), rel=1e-6)
    for loss in losses:
        loss.backward()
    for (name, wanted), found in zip(plain.named_parameters(), fused.parameters(), strict=True):
        if found.grad is not None:  # the bias of a convolution before a batch norm has no effect
            torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-6, atol=1e-6, msg=name)


def test_training_learns_a_value_by_both_engines(tmp_path):
    """Twelve made-up scans whose brightness in one corner is the target."""
    random, ids = np.random.default_rng(0), [f"s{i}" for i in range(12)]
    values = {scan: float(70 + 5 * z) for scan, z in zip(ids, random.normal(size=12), strict=True)}
    data = random.normal(1, 0.05, (12, *Grid(4).shape)).astype(np.float32)
    data[:, 10:30, 10:30, 10:30] += 0.05 * (np.array([*values.values()]) - 70)[:, None, None, None]
    mask = np.zeros(Grid(4).shape, bool)
    mask[5:45, 5:50, 5:45] = True
    job = Job("fold-1", "folds", 3, tuple(ids[:8]), tuple(ids[8:]), tuple(ids[8:]))

    def trained(engine):
        config = TrainingConfig(epochs=6, learning_rate=1e-3, batch_size=4, dropout=0, engine=engine)
        setup = TrainingSetup(
            Regression("age", values), lambda scans: data[[ids.index(s) for s in scans]], mask, 4, config,
            torch.device("cpu"), tmp_path / engine,
        )  # fmt: skip
        return Trainer(setup, job).train()

    fused, plain = trained("auto"), trained("plain")
    assert fused.objective.mean == pytest.approx(np.mean([values[s] for s in job.train]))
    assert fused.curve[-1]["loss"] < 0.5 * fused.curve[0]["loss"]
    assert all(np.isnan(row[key]) for row in fused.curve for key in ("accuracy", "test_accuracy", "test_auc"))
    np.testing.assert_allclose([r["loss"] for r in fused.curve], [r["loss"] for r in plain.curve], rtol=2e-2)


def test_a_classification_says_nothing_in_the_card():
    assert Classification({"a": True}).fitted(["a"]).card() == {}
    assert Regression("age", {"a": 1.0}, 70.0, 6.0).card() == {
        "task": "regression", "target": "age", "target_mean": 70.0, "target_sd": 6.0,
    }  # fmt: skip


# -- how it is judged ---------------------------------------------------------------------------------------------


def test_predictions_are_values_in_the_unit_of_the_target():
    cohort = by_median(with_values(cohort_of({"a": [20], "b": [24], "c": [28], "d": [30]}), "mmse"), "mmse")
    job = Job("fold-1", "folds", 1, ("a-0", "b-0"), ("c-0", "d-0"), ("c-0", "d-0"))
    learnt = Regression("mmse", {"a-0": 20.0, "b-0": 24.0}).fitted(job.train)
    found = value_rows(job, np.array([0.0, 2.5]), cohort.scans.set_index("scan"), cohort, learnt)
    assert found["value"].tolist() == [22, 27]
    assert found["observed"].tolist() == [28, 30]
    assert found["probability"].isna().all()
    assert found["predicted"].tolist() == [LOWER, HIGHER]
    assert found["correct"].tolist() == [False, True]


def test_errors_are_those_of_their_definitions():
    observed, value = np.array([20.0, 25, 30, 28]), np.array([22.0, 24, 27, 29])
    found = errors(observed, value)
    assert found["mae"] == pytest.approx(7 / 4)
    assert found["rmse"] == pytest.approx(np.sqrt(15 / 4))
    assert found["r"] == pytest.approx(stats.pearsonr(observed, value).statistic)
    assert found["r2"] == pytest.approx(1 - 15 / ((observed - 25.75) ** 2).sum())
    assert np.isnan(errors(observed, np.full(4, 25.0))["r"])
    assert np.isnan(errors(np.full(4, 25.0), value)["r2"])


def test_subjects_count_once_and_folds_are_summarised():
    rows = pd.DataFrame(
        {
            "model": ["fold-1"] * 3 + ["fold-2"] * 2 + ["holdout"] * 2,
            "subject": ["a", "a", "b", "c", "d", "a", "b"],
            "observed": [20.0, 22, 30, 25, 27, 20, 30],
            "value": [24.0, 26, 30, 25, 29, 20, 31],
        }
    )
    found = pd.DataFrame(error_rows(rows, "cnn", 1)).set_index(["level", "model", "metric"])["value"]
    assert found["scan", "fold-1", "mae"] == pytest.approx(8 / 3)
    assert found["subject", "fold-1", "mae"] == pytest.approx(2)
    assert found["subject", "mean", "mae"] == pytest.approx(1.5)
    assert found["subject", "sd", "mae"] == pytest.approx(np.sqrt(0.5))


def test_the_linear_baseline_finds_a_line_and_never_reads_the_target():
    random = np.random.default_rng(0)
    ages = 70 + 5 * random.normal(size=40)
    cohort = cohort_of({f"p{i}": [age] for i, age in enumerate(ages)}, "age")
    scans = with_values(cohort, "age").scans.assign(icv=1.4e6 + 1e4 * random.normal(size=40))
    features = pd.DataFrame({"region": 0.1 * ages + 0.01 * random.normal(size=40)}, index=scans["scan"].to_list())
    ids = scans["scan"].tolist()
    job = Job("fold-1", "folds", 1, tuple(ids[:30]), tuple(ids[30:]), tuple(ids[30:]))
    found = ridge_predictions(features, scans, [job], "age")
    assert found["scan"].tolist() == ids[30:]
    assert errors(found["observed"], found["value"])["r"] > 0.99
    assert covariate_table(scans, ("age",))[1] == ["icv"]
