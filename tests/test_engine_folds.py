"""Folds of few subjects with several scans each: both groups are in every fold, no subject in two."""

import pandas as pd
import pytest

from engine.cohort.splits import split
from engine.config.schema import SplitConfig

LABELS = "0010110010111111010011001100000"  # of scikit-learn#24656: 31 subjects x 3 scans, 10 folds


@pytest.mark.parametrize("seed", [0, 8])
def test_folds_are_stratified_by_subject(seed):
    scans = pd.DataFrame(
        [
            {"scan": f"{n}-{k}", "subject": f"s{n}", "role": "cohort", "group": "AD" if label == "1" else "NC"}
            for n, label in enumerate(LABELS)
            for k in range(3)
        ]
    )
    found = split(scans, ("AD", "NC"), SplitConfig(folds=10), seed)
    people = found.drop_duplicates("subject")
    assert (found.groupby("subject")["fold"].nunique() == 1).all()
    sizes = people.groupby("fold")["subject"].count()
    positives = people[people["group"] == "AD"].groupby("fold")["subject"].count()
    assert sizes.tolist().count(3) == 9
    assert sizes.max() == 4
    assert sorted(positives) == [1] * 5 + [2] * 5
    assert positives.tolist() == [2, 1, 1, 1, 1, 1, 2, 2, 2, 2]
