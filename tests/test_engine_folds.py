"""Folds of few subjects with several scans each: both groups are in every fold, no subject in two."""

import pandas as pd
import pytest

from engine.cohort.splits import jobs, split
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


def test_retrained_networks_have_the_scans_of_the_held_out_one_and_seeds_of_their_own():
    scans = pd.DataFrame(
        [{"scan": f"{n}", "subject": f"s{n}", "role": "cohort", "group": "AD" if n % 2 else "NC"} for n in range(20)]
    )
    parts = split(scans, ("AD", "NC"), SplitConfig(folds=2), seed=0)
    planned = jobs(parts, ["folds", "holdout"], [1, 2], seed=0, retrained=2)
    assert [job.model for job in planned] == ["holdout", "holdout-seed-1", "holdout-seed-2", "fold-1", "fold-2"]
    held_out, *retrained = planned[:3]
    assert all((job.train, job.explain) == (held_out.train, held_out.explain) for job in retrained)
    assert len({job.seed for job in planned}) == len(planned)
    assert [job.model for job in jobs(parts, ["folds"], [1], seed=0, retrained=2)] == ["fold-1"]
