"""Folds and the fixed test set, split by subject, never by scan; and the guard that no subject is on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

from engine.config.schema import SplitConfig
from engine.errors import LeakError, UserError
from store.keys import ModelName

HOLDOUT_SUBJECTS = 30
HOLDOUT_SHARE = 0.2
SEED_OF_RETRAINED = 3_000_000  # added to seeds, so that no network of a run shares its draws with another


@dataclass(frozen=True)
class Job:
    """One network to train: scan ids for training, for testing, and all that it may explain (test and apply scans).

    Attributes:
        validation: watched during training, neither trained on nor explained.
    """

    model: str
    model_set: str
    seed: int
    train: tuple[str, ...]
    test: tuple[str, ...]
    explain: tuple[str, ...]
    validation: tuple[str, ...] = ()


def split(scans: pd.DataFrame, groups: tuple[str, str], config: SplitConfig, seed: int) -> pd.DataFrame:
    """Add the columns `fold` (from 1) and `holdout` to the scans table.

    A subject with scans in both groups is split as the positive group. Apply scans of a subject of the cohort follow
    that subject; other apply subjects are dealt out to the folds and belong to what the held-out model explains. By
    site, a subject is of the site of its first scan; the fixed test set is drawn from all sites.

    Raises:
        UserError: fewer subjects than folds, or too few for a fixed test set; by site: a scan without site, or a fold
            outside of which a group has no subject.
    """
    cohort = scans[scans["role"] == "cohort"]
    subjects, strata = _people(cohort, groups)
    smaller = int(min(strata.sum(), (~strata).sum()))
    if smaller < config.folds and config.by == "subject":
        raise UserError(
            f"split.folds: {config.folds} folds need at least {config.folds} subjects a group; the smaller group has "
            f"{smaller}; use --set split.folds={max(2, smaller)} or more scans"
        )
    fold = _folds(subjects, strata, config, seed) if config.by == "subject" else _folds_by_site(cohort, groups, config)
    count = max(fold.values())
    # In the order of their first scan with the group's label, as in the original study.
    patients = cohort.loc[cohort["group"] == groups[0], "subject"].drop_duplicates().to_numpy(dtype=object)
    held_out = _held_out((patients, subjects[~strata]), config, seed)
    others = scans.loc[~scans["subject"].isin(subjects), "subject"].unique()
    order = np.random.default_rng([seed, 4]).permutation(len(others))
    fold |= {others[i]: int(rank % count) + 1 for rank, i in enumerate(order)}
    held_out |= set(others)
    return scans.assign(
        fold=scans["subject"].map(fold).astype("int64"), holdout=scans["subject"].isin(held_out).astype(bool)
    )


def _people(cohort: pd.DataFrame, groups: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Return (subjects, whether each is of the positive group), in the order of the table."""
    positive = cohort.groupby("subject", sort=False)["group"].agg(lambda g: bool((g == groups[0]).any()))
    return positive.index.to_numpy(), positive.to_numpy()


def _folds(subjects: np.ndarray, strata: np.ndarray, config: SplitConfig, seed: int) -> dict[str, int]:
    splitter = KFold if config.rule == "rieke2018" else StratifiedKFold
    folds = splitter(config.folds, shuffle=True, random_state=seed).split(subjects, strata)
    return {subjects[i]: number for number, (_, test) in enumerate(folds, start=1) for i in test}


def _folds_by_site(cohort: pd.DataFrame, groups: tuple[str, str], config: SplitConfig) -> dict[str, int]:
    """Give whole sites to folds, those of many subjects first, each to the fold with the fewest so far.

    With at most as many sites as folds, each is a fold of its own, in the order of their names.
    """
    missing = cohort.loc[cohort["site"].fillna("") == "", "scan"]
    if len(missing):
        raise UserError(
            f"split.by: site needs the site of every scan, and {len(missing)} have none, first {missing.iloc[0]}; fill "
            "the column site, or name it by cohort.columns.site"
        )
    site = cohort.drop_duplicates("subject").set_index("subject")["site"]
    size = site.value_counts().sort_index()
    if len(size) < 2:
        raise UserError(
            f"split.by: site needs scans of two sites, and all are of {size.index[0]}; use split.by=subject"
        )
    place, load = {}, np.zeros(min(config.folds, len(size)), int)
    in_turn = size.index if len(size) <= config.folds else size.sort_values(ascending=False, kind="stable").index
    for name in in_turn:
        place[name] = int(load.argmin()) + 1
        load[place[name] - 1] += size[name]
    fold = site.map(place)
    positive = cohort.groupby("subject", sort=False)["group"].agg(lambda g: bool((g == groups[0]).any()))
    for number in sorted(set(place.values())):
        left = positive[(fold.reindex(positive.index) != number).to_numpy()]
        lacking = groups[0] if not left.any() else groups[1] if left.all() else None
        if lacking is not None:
            names = ", ".join(name for name, of in place.items() if of == number)
            raise UserError(
                f"split.by: outside of {names} there is no subject of {lacking} to train on; use split.by=subject, or "
                "sites that both have both groups"
            )
    return fold.to_dict()


def _held_out(groups: tuple[np.ndarray, np.ndarray], config: SplitConfig, seed: int) -> set[str]:
    smaller = min(map(len, groups))
    size = config.holdout_per_group or _holdout_size(smaller)
    if size > smaller - 2:
        raise UserError(
            f"split.holdout_per_group: {size} of {smaller} subjects leave too few to train on; ask for fewer"
        )
    # The original study drew with random_state 0, in the order of its table.
    state = 0 if config.rule == "rieke2018" else seed
    return {s for group in groups for s in train_test_split(group, test_size=size, random_state=state)[1]}


def _holdout_size(smaller: int) -> int:
    if HOLDOUT_SHARE * smaller >= HOLDOUT_SUBJECTS:
        return HOLDOUT_SUBJECTS
    return max(1, round(HOLDOUT_SHARE * smaller))


def jobs(scans: pd.DataFrame, models: Sequence[str], folds: Sequence[int], seed: int, retrained: int = 0) -> list[Job]:
    """Return the networks to train, in order: the held-out model first, the same with other seeds, then the folds.

    Args:
        scans: with the columns that `split` adds.
        models: model sets to train.
        folds: numbers of the folds to train.
        retrained: how often the held-out model is trained again.
    Raises:
        LeakError: a subject would be trained on and explained by the same network.
    """
    wanted: list[Job] = []
    if "holdout" in models:
        wanted.append(job_of(scans, "holdout", "holdout", seed))
        wanted += [
            job_of(scans, str(ModelName.of_seed(k)), "holdout", SEED_OF_RETRAINED + 1000 * seed + k)
            for k in range(1, retrained + 1)
        ]
    if "folds" in models:
        wanted += [job_of(scans, str(ModelName.of_fold(k)), "folds", seed + k) for k in folds]
    for job in wanted:
        check_no_leak(scans, job)
    return wanted


def job_of(scans: pd.DataFrame, model: str, model_set: str, seed: int) -> Job:
    """Return one network's scans by its name: fold-k leaves out fold k, all others the fixed test set."""
    out = scans["holdout"] if model_set == "holdout" else scans["fold"] == ModelName(model).fold
    cohort = scans["role"] == "cohort"
    chosen = (cohort & ~out, cohort & out, out)
    return Job(model, model_set, seed, *(tuple(scans.loc[where, "scan"]) for where in chosen))


def with_validation(job: Job, scans: pd.DataFrame, groups: tuple[str, str], share: float) -> Job:
    """Set apart a share of the training subjects of each group for validation, at least one.

    Drawn by the job's seed, with all scans of a subject.

    Raises:
        UserError: nobody of a group would be left to train on.
        LeakError: a subject would be on two sides.
    """
    if not share:
        return job
    training = scans[scans["scan"].isin(job.train)]
    subjects, strata = _people(training, groups)
    random, chosen = np.random.default_rng([job.seed, 10]), set()
    for group, name in ((subjects[strata], groups[0]), (subjects[~strata], groups[1])):
        size = max(1, round(share * len(group)))
        if size >= len(group):
            raise UserError(
                f"training.validation_share: {share:g} of the {len(group)} training subjects of {name} in {job.model} "
                "leaves none to train on; use a smaller share or more subjects"
            )
        chosen |= set(random.permutation(group)[:size])
    apart = training["subject"].isin(chosen)
    job = replace(job, train=tuple(training.loc[~apart, "scan"]), validation=tuple(training.loc[apart, "scan"]))
    check_no_leak(scans, job)
    return job


def check_no_leak(scans: pd.DataFrame, job: Job) -> None:
    """Raise LeakError if a subject that the network trains on or chooses by is among those it explains."""
    subject = scans.set_index("scan")["subject"]
    train, validation = set(subject[list(job.train)]), set(subject[list(job.validation)])
    both = (train | validation) & set(subject[list({*job.test, *job.explain})]) | train & validation
    if both:
        raise LeakError(f"{job.model}: {len(both)} subjects are on both sides of the split; nothing was trained")
