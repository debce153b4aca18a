"""What a run says of itself: strict JSON, intervals, and how many folds are behind a number."""

from __future__ import annotations

import json

import numpy as np
import pytest

from engine.cli.report import summary
from engine.json_line import json_line

METRICS = {
    "folds": 5, "auc_mean": 0.559, "auc_sd": 0.445, "auc_mean_folds": 3, "balanced_accuracy_mean": 0.5,
    "balanced_accuracy_mean_folds": 3, "auc_folds": 1.0, "auc_folds_low": 0.8987, "auc_folds_high": 1.0,
    "balanced_accuracy_folds": 0.5, "region_means_auc_mean": 0.7, "auc_holdout": 0.6,
}  # fmt: skip


def _fail(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def test_the_json_line_is_strict():
    found = {"auc": float("nan"), "roc": [np.inf, 1.0, (-np.inf,)], "n": {"x": np.float64("nan"), "y": 3, "z": True}}
    line = json_line(found)
    assert json.loads(line, parse_constant=_fail) == {
        "auc": None, "roc": [None, 1.0, [None]], "n": {"x": None, "y": 3, "z": True},
    }  # fmt: skip
    assert "\n" not in line


@pytest.fixture
def lines() -> list[str]:
    found = {
        "run": "r", "store": "s", "simulated": False, "seconds": {}, "peak_mib": 1, "metrics": METRICS,
        "verdict": {"separates": False, "said": "These networks do not separate the groups."},
    }  # fmt: skip
    return summary(found)


def test_the_summary_says_how_many_folds_are_behind_a_mean(lines):
    assert any("AUC over folds 0.559 +- 0.445 (3 of 5 folds: the others lack a group)" in line for line in lines)


def test_the_summary_has_intervals_and_the_warning(lines):
    assert any("all folds together: AUC 1.000 (95 % CI 0.899 to 1.000), balanced accuracy 0.500;" in x for x in lines)
    assert "  WARNING: These networks do not separate the groups." in lines
