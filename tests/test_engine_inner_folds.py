"""Settings of the training are compared on folds inside the training scans: no test scan is ever among them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine.cohort.splits import jobs, split
from engine.config.schema import SplitConfig, TrainingConfig
from engine.errors import UserError
from engine.pipeline import inner_folds
from engine.pipeline.inner_folds import CANDIDATES, CONFIGURED, candidates, inner_jobs, markdown
from store.accuracy import Judged

GROUPS = ("AD", "NC")


@pytest.fixture
def scans() -> pd.DataFrame:
    """Forty people, every third with two scans, and one to apply the networks to."""
    rows = [
        (f"s{i}-{k}", f"p{i}", GROUPS[i % 2], "cohort") for i in range(40) for k in range(2 if i % 3 == 0 else 1)
    ] + [("m-0", "m", "", "apply")]
    frame = pd.DataFrame(rows, columns=["scan", "subject", "group", "role"])
    return split(frame, GROUPS, SplitConfig(folds=4), 0)


@pytest.mark.parametrize("model", ["holdout", "fold-2"])
def test_inner_folds_know_no_test_scan(scans, model):
    job = next(one for one in jobs(scans, ["folds", "holdout"], range(1, 5), 0) if one.model == model)
    subject = scans.set_index("scan")["subject"]
    inner = inner_jobs(job, scans, GROUPS, 3)
    tested = set(subject[list(job.test)]) | set(subject[list(job.explain)])
    for one in inner:
        train, test = set(subject[list(one.train)]), set(subject[list(one.test)])
        assert not train & test
        assert not (train | test) & tested
        assert one.explain == one.test
        assert set(one.train) | set(one.test) == set(job.train)
    assert sorted(s for one in inner for s in one.test) == sorted(job.train), "each training scan is judged once"


def test_candidates_change_what_they_say_and_nothing_else():
    training = TrainingConfig(epochs=10, learning_rate=0.002)
    found = candidates(training, [])
    assert list(found) == [CONFIGURED, *CANDIDATES]
    assert found[CONFIGURED] == training
    assert found["half the learning rate"] == training.model_copy(update={"learning_rate": 0.001})
    assert found["twice the epochs"] == training.model_copy(update={"epochs": 20})
    own = candidates(training, ["dropout=0.4,weight_decay=0.01"])
    assert own["dropout=0.4,weight_decay=0.01"] == training.model_copy(update={"dropout": 0.4, "weight_decay": 0.01})
    with pytest.raises(UserError, match="dropped"):
        candidates(training, ["dropped=1"])


def test_a_difference_within_its_interval_is_not_clearly_better():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"model": "fold-1", "subject": range(60), "group": ["AD", "NC"] * 30})
    noise, more, ill = rng.normal(size=60), rng.normal(0, 0.3, 60), frame["group"] == "AD"
    margins = {CONFIGURED: ill + noise, "a little": 1.05 * ill + noise + more, "much": 3 * ill + noise}
    sides = {name: Judged(frame.assign(probability=1 / (1 + np.exp(-m))), "AD") for name, m in margins.items()}
    settings = {name: TrainingConfig(epochs=n) for n, name in enumerate(sides, 1)}
    rows = {name: inner_folds._row(name, settings, sides) for name in sides}
    assert rows["a little"]["settings"] == {"epochs": 2}
    assert rows["a little"]["difference"]["low"] <= 0 < rows["much"]["difference"]["low"]
    found = {"model": "holdout", "folds": 3, "subjects": 60, "simulated": True, "candidates": list(rows.values()),
             "best": "much", "clearly_better": True}  # fmt: skip
    lines = markdown(found)
    assert lines[-1] == "Best on the inner folds: much, clearly better."
    assert any(line.startswith("| a little | 0.") and "95 % CI" in line for line in lines)
