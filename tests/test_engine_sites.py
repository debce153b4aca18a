"""Several sites: folds of whole sites, and ComBat that is fitted on training scans alone."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from engine.cohort.splits import Job, jobs, split
from engine.config.loading import load_config
from engine.config.schema import SplitConfig
from engine.errors import UserError
from engine.evaluation.baselines import logistic_predictions
from engine.evaluation.harmonisation import fit_combat, harmonised, shrink

GROUPS = ("AD", "NC")


def cohort(subjects: int, sites: list[str], seed: int = 0, patients: dict[str, float] | None = None) -> pd.DataFrame:
    """A scan a subject at sites in turn; half are patients, or the share that a site has."""
    random = np.random.default_rng(seed)
    site = [sites[n % len(sites)] for n in range(subjects)]
    ill = [random.random() < (patients or {}).get(name, 0.5) for name in site]
    return pd.DataFrame({
        "scan": [f"s{n}" for n in range(subjects)], "subject": [f"p{n}" for n in range(subjects)], "site": site,
        "group": np.where(ill, *GROUPS), "diagnosis": np.where(ill, *GROUPS), "role": "cohort",
        "age": random.normal(74, 6, subjects), "sex": random.choice(["F", "M"], subjects), "icv": np.nan,
    })  # fmt: skip


# -- folds of sites ---------------------------------------------------------------------------------------------------


def test_every_site_is_left_out_once():
    scans = split(cohort(60, ["Oslo", "Lima", "Rome"]), GROUPS, SplitConfig(by="site"), 0)
    assert scans.groupby("site")["fold"].unique().map(list).to_dict() == {"Lima": [1], "Oslo": [2], "Rome": [3]}
    for job in jobs(scans, ["folds"], [1, 2, 3], 0):
        sites = scans.set_index("scan")["site"]
        assert set(sites[list(job.test)]).isdisjoint(sites[list(job.train)])
        assert sites[list(job.test)].nunique() == 1


def test_more_sites_than_folds_are_dealt_out_whole_and_evenly():
    names = [f"site {letter}" for letter in "abcdefg"]
    scans = split(cohort(140, names), GROUPS, SplitConfig(by="site", folds=3), 0)
    assert (scans.groupby("site")["fold"].nunique() == 1).all()
    assert scans["fold"].value_counts().tolist() == [60, 40, 40]


def test_a_subject_of_two_sites_stays_on_one_side():
    scans = cohort(40, ["Oslo", "Lima"])
    again = scans.iloc[:1].assign(scan="again", site="Lima")
    parted = split(pd.concat([scans, again], ignore_index=True), GROUPS, SplitConfig(by="site"), 0)
    assert parted[parted["subject"] == "p0"]["fold"].nunique() == 1
    jobs(parted, ["folds"], [1, 2], 0)  # raises where a subject is on both sides


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.assign(site=[*s["site"][:-1], ""]), "1 have none, first s39"),
        (lambda s: s.assign(site="Oslo"), "needs scans of two sites, and all are of Oslo"),
        (lambda s: s.assign(group=np.where(s["site"] == "Oslo", *GROUPS)), "there is no subject of"),
    ],
)
def test_what_cannot_be_split_by_site_is_said(change, words):
    with pytest.raises(UserError, match=words):
        split(change(cohort(40, ["Oslo", "Lima"])), GROUPS, SplitConfig(by="site"), 0)


def test_runs_of_before_keep_their_identity():
    plain, by_site = load_config(preset="demo"), load_config(preset="demo", overrides={"split.by": "site"})
    combat = load_config(preset="demo", overrides={"harmonisation.region_means": "combat"})
    assert "by" not in plain.stored()["split"]
    assert "harmonisation" not in plain.stored()
    assert len({plain.fingerprint(), by_site.fingerprint(), combat.fingerprint()}) == 3
    assert "by" not in SplitConfig().dealt()
    with pytest.raises(ValueError, match="no counterpart in the original study"):
        SplitConfig(by="site", rule="rieke2018")


# -- ComBat -----------------------------------------------------------------------------------------------------------


def of_sites(shift: float, scale: float, seed: int = 0, count: int = 400, k: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Values of two sites that differ by a shift and a scale."""
    random = np.random.default_rng(seed)
    sites, values = np.array(["a", "b"] * (count // 2), object), random.normal(size=(count, k))
    values[sites == "b"] = values[sites == "b"] * scale + shift
    return 5 + 2 * values, sites


def test_shift_and_scale_are_found_and_taken_out():
    values, sites = of_sites(1.5, 2.0)
    nothing = np.zeros((len(values), 0))
    fitted = fit_combat(values, sites, nothing, np.zeros(len(values)))
    difference = fitted.shift["b"] - fitted.shift["a"]
    ratio = fitted.scale["b"] / fitted.scale["a"]
    assert abs(difference.mean() * fitted.sd.mean() - 2 * 1.5) < 0.15
    assert abs(ratio.mean() - 2) < 0.1
    found = fitted(values, sites, nothing)
    for statistic, before in ((np.mean, 2.5), (np.std, 1.5)):
        first, second = (statistic(found[sites == site], axis=0) for site in "ab")
        was = [statistic(values[sites == site], axis=0) for site in "ab"]
        assert np.abs(was[1] - was[0]).mean() > before
        assert np.abs(second - first).mean() < 0.25  # what is left is chance: regions are shrunk towards each other


def test_the_posterior_means_solve_their_equations():
    """Johnson et al. 2007, equations 3.1 and 3.2."""
    z = np.random.default_rng(1).normal(0.4, 1.3, (12, 40))
    bar, tau2, (shape, scale) = 0.1, 0.2, (5.0, 6.0)
    shift, squared = shrink(z, (bar, tau2), (shape, scale))
    n = len(z)
    np.testing.assert_allclose(shift, (n * tau2 * z.mean(axis=0) + squared * bar) / (n * tau2 + squared), atol=1e-6)
    residual = ((z - shift) ** 2).sum(axis=0)
    np.testing.assert_allclose(squared, (scale + 0.5 * residual) / (n / 2 + shape - 1), atol=1e-6)


def test_without_spread_of_the_prior_all_regions_share_one_shift_and_with_much_each_has_its_own():
    z = np.random.default_rng(2).normal(0.5, 1, (10, 8))
    np.testing.assert_allclose(shrink(z, (0.3, 0.0), None)[0], 0.3)
    np.testing.assert_allclose(shrink(z, (0.3, 1e9), None)[0], z.mean(axis=0), atol=1e-6)


def test_the_effect_of_the_label_stays():
    random = np.random.default_rng(3)
    values, sites = of_sites(2.0, 1.0, 3)
    ill = random.random(len(values)) < np.where(sites == "b", 0.8, 0.3)  # more patients at one site
    values[:, 0] += 3 * ill
    nothing = np.zeros((len(values), 0))
    found = fit_combat(values, sites, nothing, ill)(values, sites, nothing)
    assert abs(found[ill, 0].mean() - found[~ill, 0].mean() - 3) < 0.5
    assert abs(found[sites == "b", 1].mean() - found[sites == "a", 1].mean()) < 0.3


def test_a_site_that_was_not_fitted_and_values_that_never_vary_stay_as_they_are():
    values, sites = of_sites(1.0, 1.5)
    values[:, 3] = 7.0
    nothing = np.zeros((len(values), 0))
    fitted = fit_combat(values, sites, nothing, np.zeros(len(values)))
    other = np.array(["c"] * len(values), object)
    np.testing.assert_array_equal(fitted(values, other, nothing), values)
    assert (fitted(values, sites, nothing)[:, 3] == 7.0).all()
    assert np.isfinite(fitted(values, sites, nothing)).all()


def test_scans_that_are_tested_change_nothing_of_the_fit_and_their_labels_nothing_at_all():
    scans = cohort(60, ["a", "b"], 4)
    features = pd.DataFrame(np.random.default_rng(5).normal(size=(60, 6)), scans["scan"])
    names = tuple(scans["scan"])
    job = Job("fold-1", "folds", 0, names[:40], names[40:], names[40:])
    label = scans.set_index("scan")["group"] == "AD"
    first = harmonised(features, scans, job, label, ("age", "sex"))
    changed = features.copy()
    changed.loc[list(names[40:])] += 100
    second = harmonised(changed, scans, job, label, ("age", "sex"))
    pd.testing.assert_frame_equal(first.loc[list(names[:40])], second.loc[list(names[:40])])
    flipped = label.where(label.index.isin(names[:40]), ~label)
    pd.testing.assert_frame_equal(first, harmonised(features, scans, job, flipped, ("age", "sex")))


def auc_of(features: object, scans: pd.DataFrame, job: Job) -> float:
    """Of the linear baseline on the test scans."""
    found = logistic_predictions(features, scans, [job], "AD")
    return roc_auc_score(found["group"] == "AD", found["probability"])


def confounded(seed: int, sites: list[str], subjects: int, values: int, share: float) -> tuple:
    """Scans and features of sites that differ in their values and in their patients; of the disease nothing shows."""
    ill = {name: share if number % 2 else 1 - share for number, name in enumerate(sites)}
    scans, random = cohort(subjects, sites, seed, ill), np.random.default_rng(seed + 100)
    effect = {name: random.normal(size=values) * 1.5 for name in sites}
    numbers = random.normal(size=(subjects, values)) + np.array([effect[name] for name in scans["site"]])
    order, names = random.permutation(subjects), scans["scan"].to_numpy()
    train, test = (tuple(names[part]) for part in np.split(order, [int(0.6 * subjects)]))
    return scans, pd.DataFrame(numbers, scans["scan"]), Job("fold-1", "folds", 0, train, test, test)


def test_a_confounded_site_misleads_the_baseline_and_not_after_combat():
    scans, features, job = confounded(3, ["a", "b"], 600, 40, 0.8)
    label = scans.set_index("scan")["group"] == "AD"
    assert auc_of(features, scans, job) > 0.7
    assert 0.4 < auc_of(lambda j: harmonised(features, scans, j, label, ()), scans, job) < 0.6


def test_combat_that_was_fitted_on_the_test_scans_flatters():
    """Of 40 small sites; fitted on the training scans alone it does not."""
    found = []
    for seed in range(4):
        scans, features, job = confounded(seed, [f"s{k}" for k in range(40)], 200, 60, 0.9)
        label = scans.set_index("scan")["group"] == "AD"
        everyone = Job("fold-1", "folds", 0, (*job.train, *job.test), (), ())
        honest = partial(harmonised, features, scans, label=label, kept=())
        found.append([auc_of(used, scans, job) for used in (honest(everyone), honest)])
    leaked, of_training = np.mean(found, axis=0)
    assert leaked > of_training + 0.04
