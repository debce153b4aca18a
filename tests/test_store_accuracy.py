"""Intervals of AUC, balanced accuracy and errors: against published numbers, slow twins and simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from store import accuracy
from store.accuracy import Judged, Valued, difference, estimates, interval_rows, newcombe, wilson
from store.files.tables import with_later
from store.reading.verdict import baseline_scans, paired, verdict
from store.spec import table_spec

GROUPS = ("AD", "NC")


def scans(n: int, effect: float, seed: int = 0, folds: int = 5, per_subject: int = 1) -> pd.DataFrame:
    """n subjects a group in folds, their probabilities apart by `effect` standard deviations."""
    rng, rows = np.random.default_rng(seed), []
    for number in range(2 * n):
        group = GROUPS[number % 2]
        margin = rng.normal() + effect * (0.5 if group == "AD" else -0.5)
        rows += [(f"fold-{number // 2 % folds + 1}", f"s{number}-{k}", f"s{number}", group, 1 / (1 + math.exp(-margin)))
                 for k in range(per_subject)]  # fmt: skip
    return pd.DataFrame(rows, columns=["model", "scan", "subject", "group", "probability"])


# -- score intervals ----------------------------------------------------------------------------------------------


def test_newcombe_gives_the_published_interval():
    """The nonoverlap of all pairs of Parker & Vannest (2009) as the R package SingleCaseES gives it: 6 and 7 values."""
    assert newcombe(11 / 12, 6, 7) == pytest.approx((0.5973193600384168, 0.9859976893703788), abs=1e-7)


def test_newcombe_has_the_variance_of_hanley_and_mcneil():
    """Their example (Radiology 1982): AUC 0.893 of 51 and 58, standard error 0.032."""
    low, high = newcombe(0.893, 51, 58)
    assert (high - low) / (2 * accuracy.Z) == pytest.approx(0.032, abs=0.001)


def test_wilson_gives_the_published_interval():
    """Newcombe (Stat. Med. 1998, 17:857-872), table I: 81 of 263 and 0 of 20."""
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=1e-4)


@pytest.mark.parametrize(("n", "low"), [(20, 0.8987), (100, 0.9804)])
def test_a_perfect_separation_is_not_certain(n, low):
    found = estimates(Judged(scans(n, 1000), "AD"))
    assert found["auc"].value == 1
    assert (found["auc"].low, found["auc"].high) == pytest.approx((low, 1), abs=1e-4)
    assert 0.8 < found["balanced_accuracy"].low < 1


# -- the bootstrap --------------------------------------------------------------------------------------------------


def test_statistics_of_a_draw_equal_a_slow_twin():
    """A draw's weights are the same as each scan repeated as often; the AUC is of the pairs within the folds."""
    frame = scans(20, 1.0, per_subject=2, folds=2)
    judged = Judged(frame, "AD")
    weights = judged.weights(5, np.random.default_rng(3))
    found = judged.statistics(weights)
    for row, weight in enumerate(weights.astype(int)):
        again = frame.loc[frame.index.repeat(weight)]
        positive = again["group"] == "AD"
        assert found["balanced_accuracy"][row] == pytest.approx(
            balanced_accuracy_score(positive, again["probability"] >= 0.5)
        )
        above = pairs = 0
        for _, fold in again.groupby("model"):
            n = (fold["group"] == "AD").sum() * (fold["group"] == "NC").sum()
            above, pairs = above + n * roc_auc_score(fold["group"] == "AD", fold["probability"]), pairs + n
        assert found["auc"][row] == pytest.approx(above / pairs)
        assert found["brier"][row] == pytest.approx(np.mean((again["probability"] - positive) ** 2))
    drawn = pd.DataFrame(weights.T, index=frame["subject"])
    assert (drawn.groupby(level=0).nunique() == 1).all(axis=None), "the scans of a subject go together"
    assert (weights @ (frame["group"] == "AD").to_numpy() == 40).all(), "as many of each group as there are"


def _delong(positive: np.ndarray, negative: np.ndarray) -> float:
    """Standard error of an AUC after DeLong et al. (1988), by its definition."""
    higher = np.sign(np.subtract.outer(positive, negative)) / 2 + 0.5
    return float(np.sqrt(higher.mean(1).var(ddof=1) / len(positive) + higher.mean(0).var(ddof=1) / len(negative)))


def test_the_interval_is_as_wide_as_delongs():
    frame = scans(100, 1.2, folds=1)
    sides = [frame.loc[frame["group"] == g, "probability"].to_numpy() for g in GROUPS]
    found = estimates(Judged(frame, "AD"))["auc"]
    assert (found.high - found.low) / (2 * accuracy.Z) == pytest.approx(_delong(*sides), rel=0.1)


def test_more_scans_of_the_same_people_make_nothing_surer():
    once, often = (estimates(Judged(scans(25, 1.2, per_subject=k), "AD")) for k in (1, 4))
    for metric in ("auc", "balanced_accuracy"):
        assert often[metric] == pytest.approx(once[metric])


def test_intervals_hold_the_truth_as_often_as_they_say():
    """15 a group at a true AUC of 0.921, near the end, where percentiles of the bootstrap alone hold it too seldom."""
    true = 0.5 * (1 + math.erf(2 / 2))
    kept = [estimates(Judged(scans(15, 2.0, seed=seed, folds=1), "AD"))["auc"] for seed in range(200)]
    assert np.mean([one.low <= true <= one.high for one in kept]) > 0.92


def test_few_subjects_get_no_interval():
    found = estimates(Judged(scans(accuracy.LEAST_SUBJECTS - 1, 1.0, folds=1), "AD"))["auc"]
    assert math.isfinite(found.value)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.subjects == 4


def test_margins_rank_where_probabilities_are_rounded_to_one():
    """Huge margins (FC-46): all probabilities are 0 or 1, and the order of the margins is not lost."""
    frame = scans(20, 1.5, folds=1)
    margin = np.log(frame["probability"] / (1 - frame["probability"]))
    huge = frame.assign(margin=1e5 * margin, probability=(margin > 0).astype(float))
    found, known = (estimates(Judged(one, "AD")) for one in (huge, frame))
    assert found["auc"] == known["auc"]
    assert estimates(Judged(huge.drop(columns="margin"), "AD"))["auc"].value != known["auc"].value


def test_folds_without_a_group_add_no_pairs():
    frame = scans(10, 1.0)
    lone = frame.assign(model=frame["model"].where(frame["model"] != "fold-2", "fold-3"))
    lone.loc[(lone["group"] == "AD") & (lone["model"] == "fold-1"), "model"] = "fold-3"
    found = estimates(Judged(lone, "AD"))["auc"]
    without = estimates(Judged(lone[lone["model"] != "fold-1"], "AD"))["auc"]
    assert found.value == pytest.approx(without.value)
    assert math.isfinite(found.low)


def test_errors_of_a_regression_by_hand():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"model": "fold-1", "subject": range(60), "observed": rng.normal(70, 8, 60)})
    frame["value"] = 35 + 0.5 * frame["observed"] + rng.normal(0, 3, 60)
    found = estimates(Valued(frame))
    error = frame["value"] - frame["observed"]
    assert found["mae"].value == pytest.approx(error.abs().mean())
    assert found["r"].value == pytest.approx(np.corrcoef(frame["observed"], frame["value"])[0, 1])
    assert found["r2"].value == pytest.approx(1 - (error**2).sum() / 60 / frame["observed"].var(ddof=0))
    assert all(one.low < one.value < one.high for one in found.values())


# -- differences ----------------------------------------------------------------------------------------------------


def test_a_paired_difference_is_narrower_than_of_strangers():
    first = scans(60, 1.0)
    second = first.assign(probability=1 / (1 + np.exp(-np.log(first["probability"] / (1 - first["probability"])) - (
        0.4 * (first["group"] == "AD")))))  # fmt: skip
    pair = Judged(second, "AD"), Judged(first, "AD")
    gap, apart = difference(*pair), accuracy.unpaired(*(estimates(one)["auc"] for one in pair))
    assert gap.value == pytest.approx(apart.value)
    assert gap.value > 0
    assert gap.low > 0 > apart.low
    assert gap.paired
    assert not apart.paired


def test_two_perfect_classifiers_are_not_known_to_be_alike():
    perfect = Judged(scans(20, 1000), "AD")
    gap = difference(perfect, perfect)
    assert gap.value == 0
    assert (gap.low, gap.high) == pytest.approx((-0.1013, 0.1013), abs=1e-4)


def test_pairs_are_of_the_same_scans_only():
    frame = scans(10, 1.0)
    assert paired(frame, frame.sample(frac=1, random_state=0)) is not None
    assert paired(frame, frame[1:]) is None
    assert paired(frame, frame.assign(group=frame["group"].iloc[::-1].to_numpy())) is None


# -- tables and the verdict -----------------------------------------------------------------------------------------


class _Run:
    """As much of a RunReader as is asked."""

    def __init__(self, predictions: pd.DataFrame, baseline: pd.DataFrame | None = None, **more: object) -> None:
        self._tables = {"predictions": predictions}
        if baseline is not None:
            self._tables["baseline_predictions"] = baseline.assign(classifier="region_means")
        self.groups, self.task, self.reference_run, self.group_level = GROUPS, "classification", None, None
        self.__dict__ |= more

    def has_table(self, name: str) -> bool:
        return name in self._tables

    def table(self, name: str, **equals: str) -> pd.DataFrame:
        frame = self._tables[name]
        for column, value in equals.items():
            frame = frame[frame[column] == value]
        return frame


def test_networks_at_chance_are_said_to_be():
    said = verdict(_Run(scans(50, 0.0)))
    assert said.separates is False
    assert said.banner == "These networks do not separate the groups; their maps mean nothing."
    assert "AUC 0." in said.figures
    assert "95 % CI" in said.figures
    assert said.caption.startswith(said.banner)


def test_networks_that_separate_need_no_banner():
    said = verdict(_Run(scans(50, 2.0)))
    assert (said.separates, said.banner, said.baseline, said.caption) == (True, "", "", "")


def test_networks_that_call_everything_alike_are_at_chance():
    """As the smoke run of the issue: accuracy 0.5, everything called AD, whatever the order of the probabilities."""
    frame = scans(50, 2.0).assign(probability=lambda f: 0.9 + 0.1 * f["probability"])
    said = verdict(_Run(frame))
    assert said.separates is False
    assert "most scans are called AD" in said.banner


def test_with_few_test_subjects_nothing_can_be_told():
    said = verdict(_Run(scans(3, 3.0, folds=1).assign(model="holdout")))
    assert said.separates is None
    assert "Too few test subjects (below 5" in said.banner
    assert "95 %" not in said.figures


def test_the_folds_are_judged_and_retrained_models_count_no_scan_again():
    chance = scans(20, 0.0).assign(model="holdout-seed-2")
    frame = pd.concat([scans(50, 2.0), chance, scans(20, 0.0).assign(model="holdout")])
    assert verdict(_Run(frame)).separates is True


def test_a_linear_model_that_finds_what_the_networks_do_not():
    linear = scans(100, 0.8, seed=1)
    networks = scans(100, 0.0, seed=2)
    said = verdict(_Run(networks, linear))
    assert said.baseline.startswith("A linear model on region means does better (AUC 0.7")
    assert said.baseline.endswith("do not interpret these heatmaps.")
    assert verdict(_Run(networks, networks)).baseline == ""


def test_a_linear_model_that_does_better_than_good_networks():
    said = verdict(_Run(scans(100, 1.0, seed=2), scans(100, 3.0, seed=1)))
    assert said.separates is True
    assert "miss part of what tells the groups apart" in said.baseline
    assert verdict(_Run(scans(100, 3.0, seed=1), scans(100, 1.0, seed=2))).baseline == ""


def test_a_regression_that_predicts_nothing():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"model": "fold-1", "scan": range(80), "subject": range(80), "group": "AD"})
    frame["observed"], frame["value"] = rng.normal(size=80), rng.normal(size=80)
    assert verdict(_Run(frame, task="regression")).banner.startswith("These networks do not predict the target")
    good = frame.assign(value=frame["observed"] + frame["value"])
    assert verdict(_Run(good, task="regression")).separates is True


def test_new_scans_are_judged_by_their_reference():
    assert verdict(_Run(scans(50, 0.0), reference_run="other-12345678")) is None


def test_runs_without_kept_baselines_have_none():
    assert baseline_scans(_Run(scans(5, 1.0)), "region_means", "folds").empty


def test_a_run_of_an_earlier_version_gets_its_intervals_from_its_predictions():
    predictions = pd.concat([scans(30, 1.0), scans(10, 1.0, seed=5, folds=1).assign(model="holdout")])
    old = pd.DataFrame([
        {"classifier": c, "level": "scan", "model": m, "metric": "auc", "value": 0.7, "note": ""}
        for c in ("cnn", "region_means") for m in ("mean", "sd", "holdout")
    ])  # fmt: skip
    run = _Run(predictions)
    run._tables["metrics"] = with_later(table_spec("metrics"), old)
    found = accuracy.metrics_of(run).set_index(["classifier", "level", "model", "metric"])
    known = interval_rows(predictions, "AD").set_index(["level", "model", "metric"])
    assert found.loc[("cnn", "scan", "folds", "auc"), "low"] == known.loc[("scan", "folds", "auc"), "low"]
    assert found.loc[("cnn", "scan", "holdout", "auc"), "high"] == known.loc[("scan", "holdout", "auc"), "high"]
    assert found.loc[("cnn", "scan", "holdout", "auc"), "value"] == 0.7
    assert pd.isna(found.loc[("region_means", "scan", "holdout", "auc"), "low"])
