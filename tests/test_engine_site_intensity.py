"""Intensities of several sites: shift and scale, fitted on the training scans of each network, in all that it sees."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from engine.cohort.splits import Job
from engine.config.loading import load_config
from engine.config.schema import TrainingConfig
from engine.errors import UserError
from engine.pipeline.fingerprints import networks_fingerprint
from engine.pipeline.site_notices import site_notices
from engine.training.checkpoints import SITES, load_model, model_card, write_model
from engine.training.normalisation import ScanScaling, fit_normalisation
from engine.training.objective import Classification
from engine.training.parallel import train_one
from engine.training.site_effects import BySite, fit_site_effects, harmonised, normalised, shrunk_effects
from engine.training.trainer import Trainer, TrainingSetup
from engine.training.volumes import STREAMED, Volumes

SHAPE = (6, 6, 6)


class Cohort:
    """Scans of two sites: b is brighter, of wider spread, and has more patients; of the disease nothing shows."""

    def __init__(self, count: int = 120, patients_at_b: float = 0.85, seed: int = 0, gain: float = 1.4) -> None:
        random = np.random.default_rng(seed)
        self.mask = np.zeros(SHAPE, bool)
        self.mask[1:5, 1:5, 1:5] = True
        self.names = [f"s{k}" for k in range(count)]
        self.sites = {name: "ab"[k % 2] for k, name in enumerate(self.names)}
        share = {"a": 1 - patients_at_b, "b": patients_at_b}
        self.label = np.array([random.random() < share[self.sites[name]] for name in self.names])
        anatomy = 3 + random.normal(size=(1, *SHAPE))
        self.volumes = (anatomy + 0.5 * random.normal(size=(count, *SHAPE))).astype(np.float32)
        bright = np.array([self.sites[name] == "b" for name in self.names])
        self.volumes[bright] = self.volumes[bright] * np.float32(gain) + np.float32(0.3)
        order = random.permutation(count)
        self.train, self.test = ([self.names[k] for k in part] for part in np.split(order, [count * 2 // 3]))

    def read(self, scans):
        return np.stack([self.volumes[int(scan[1:])] for scan in scans])

    def labels(self, scans):
        return np.array([float(self.label[int(scan[1:])]) for scan in scans])

    def fitted(self, sites=None, label=None) -> BySite:
        sites = self.sites if sites is None else sites
        label = self.labels(self.train) if label is None else label
        effects = fit_site_effects(self.read, self.train, self.mask, sites, label)
        read = harmonised(effects, sites, self.mask, self.read)
        return BySite(fit_normalisation(read, self.train, self.mask), effects, sites)

    def auc(self, normaliser) -> float:
        """Of a linear classifier by the voxels that a network would see."""
        seen = [normalised(normaliser, self.read, part)[:, self.mask] for part in (self.train, self.test)]
        model = LogisticRegression(C=0.01, max_iter=2000).fit(seen[0], self.labels(self.train))
        return roc_auc_score(self.labels(self.test), model.decision_function(seen[1]))


# -- the effects ------------------------------------------------------------------------------------------------------


def test_a_confounded_site_misleads_a_classifier_and_not_after_its_effects_are_taken_out():
    cohort = Cohort(count=400)
    plain = fit_normalisation(cohort.read, cohort.train, cohort.mask)
    assert cohort.auc(plain) > 0.7
    assert 0.4 < cohort.auc(cohort.fitted()) < 0.6


def test_the_effects_are_those_of_the_sites():
    cohort = Cohort()
    found = cohort.fitted()
    seen = normalised(found, cohort.read, cohort.train)[:, cohort.mask].astype(float)
    at_b = np.array([cohort.sites[scan] == "b" for scan in cohort.train])
    assert abs(seen[at_b].mean() - seen[~at_b].mean()) < 0.05
    assert seen[at_b].std(axis=1).mean() / seen[~at_b].std(axis=1).mean() == pytest.approx(1, abs=0.05)
    assert found.effects.shift["b"] > 0 > found.effects.shift["a"]
    assert not normalised(found, cohort.read, cohort.train)[:, ~cohort.mask].any()


def test_an_effect_of_the_disease_is_left_in():
    """Patients are darker at both sites, and most are at b, which is brighter."""
    cohort = Cohort(count=400)
    cohort.volumes[cohort.label] -= 0.4
    groups = cohort.labels(cohort.train) > 0

    def difference(normaliser):
        seen = normalised(normaliser, cohort.read, cohort.train)[:, cohort.mask].mean(axis=1)
        sites = np.array([cohort.sites[scan] for scan in cohort.train])
        return np.mean([seen[groups & (sites == s)].mean() - seen[~groups & (sites == s)].mean() for s in "ab"])

    honest, blind = cohort.fitted(), cohort.fitted(label=np.zeros(len(cohort.train)))
    across = [normalised(one, cohort.read, cohort.train)[:, cohort.mask].mean(axis=1) for one in (honest, blind)]
    between = [float(one[groups].mean() - one[~groups].mean()) for one in across]
    assert between[0] == pytest.approx(difference(honest), abs=0.05)
    assert abs(between[1]) < 0.7 * abs(between[0])  # without the groups, the sites take a part of the disease along


def test_nothing_of_the_test_scans_enters_the_fit():
    cohort = Cohort()
    before = cohort.fitted()
    for scan in cohort.test:
        cohort.volumes[int(scan[1:])] *= 7
        cohort.label[int(scan[1:])] ^= True
    after = cohort.fitted()
    assert before.effects == after.effects
    cohort.volumes[int(cohort.train[0][1:])] *= 7
    assert cohort.fitted().effects != before.effects


def test_a_scan_of_an_unknown_or_a_rare_site_is_as_it_was():
    cohort = Cohort()
    rare = cohort.sites | {cohort.train[0]: "c", cohort.train[1]: "c", cohort.test[0]: "", cohort.test[1]: "elsewhere"}
    found = cohort.fitted(rare)
    assert set(found.effects.shift) == {"a", "b"}
    others = [cohort.train[0], cohort.test[0], cohort.test[1]]
    np.testing.assert_array_equal(normalised(found, cohort.read, others), found.inner(cohort.read(others)))


def test_where_each_site_is_of_one_group_nothing_is_taken_out():
    cohort = Cohort(patients_at_b=1.0)
    found = cohort.fitted()
    assert found.effects.shift == found.effects.scale == {}
    np.testing.assert_array_equal(normalised(found, cohort.read, cohort.test), found.inner(cohort.read(cohort.test)))


def test_effects_are_shrunk_as_far_as_they_may_be_chance():
    random = np.random.default_rng(0)
    sites, nothing = np.repeat([f"s{k:02d}" for k in range(40)], 5), np.zeros(200)
    chance, _ = shrunk_effects(random.normal(size=200), sites, nothing)
    raw = random.normal(size=200).reshape(40, 5).mean(axis=1)
    assert np.std(list(chance.values())) < 0.4 * raw.std()
    true = np.repeat(random.normal(size=40) * 10, 5)
    found, centre = shrunk_effects(true + random.normal(size=200), sites, nothing)
    assert np.corrcoef(list(found.values()), true[::5])[0, 1] > 0.99
    assert np.array(list(found.values())) == pytest.approx(true[::5] - centre, abs=2)
    assert shrunk_effects(np.ones(6), np.array(["a"] * 6, object), nothing[:6]) == ({"a": 0.0}, 1.0)


# -- in networks ------------------------------------------------------------------------------------------------------


@pytest.fixture
def setup(tmp_path):
    """(cohort on the 4 mm grid, setup of a training of one epoch, job)."""
    from engine.images.grid import Grid

    random = np.random.default_rng(0)
    cohort = Cohort(count=16, seed=1)
    cohort.mask = np.zeros(Grid(4).shape, bool)
    cohort.mask[10:40, 10:50, 10:40] = True
    cohort.volumes = random.normal(3, 1, (16, *Grid(4).shape)).astype(np.float32)
    cohort.volumes[1::2] *= 1.4
    objective = Classification({name: bool(flag) for name, flag in zip(cohort.names, cohort.label, strict=True)})
    config = TrainingConfig(epochs=1, batch_size=4, processes=1)
    given = TrainingSetup(objective, cohort.read, cohort.mask, 4, config, torch.device("cpu"), tmp_path / "networks")
    names = tuple(cohort.names)
    return cohort, given, Job("fold-1", "folds", 0, names[:10], names[10:], names[10:])


def test_the_effects_go_with_the_network(setup, tmp_path):
    from dataclasses import replace

    cohort, given, job = setup
    packed = train_one(replace(given, sites=cohort.sites), job)
    write_model(tmp_path, job.model, packed.weights, model_card(4, given.config, ("AD", "NC")) | packed.card)
    _, found, card = load_model(tmp_path, job.model, cohort.mask, cohort.sites)
    fitted = Trainer(replace(given, sites=cohort.sites), job).normalisation
    assert isinstance(found, BySite)
    assert found.effects == fitted.effects
    assert card[SITES] == ["a", "b"]
    (seen,) = Volumes(cohort.read, job.test, found, torch.device("cpu"), STREAMED).batches([job.test])
    np.testing.assert_array_equal(seen[:, 0].numpy(), normalised(fitted, cohort.read, job.test))
    assert not np.array_equal(seen[:, 0].numpy(), fitted.inner(cohort.read(job.test)))
    (notice,) = site_notices(tmp_path, [job], cohort.sites | {job.test[0]: "elsewhere"})
    assert f"1 of {len(job.test)} scans" in notice


def test_switched_off_networks_and_cards_are_as_before(setup):
    cohort, given, job = setup
    packed = train_one(given, job)
    assert packed.card == {}
    assert not [key for key in _tensors(packed.weights) if SITES in key]
    plain = fit_normalisation(cohort.read, list(job.train), cohort.mask)
    np.testing.assert_array_equal(normalised(plain, cohort.read, job.test), plain(cohort.read(job.test)))


def _tensors(weights: bytes) -> list[str]:
    from safetensors.torch import load

    return list(load(weights))


def test_what_is_scaled_scan_by_scan_is_harmonised_before():
    cohort = Cohort()
    found = cohort.fitted()
    scaled = BySite(ScanScaling(cohort.mask), found.effects, cohort.sites)
    sites = [cohort.sites[scan] for scan in cohort.test]
    away = found.effects.taken_out(cohort.read(cohort.test), sites, cohort.mask)
    np.testing.assert_array_equal(away[:, ~cohort.mask], cohort.read(cohort.test)[:, ~cohort.mask])
    np.testing.assert_array_equal(normalised(scaled, cohort.read, cohort.test), ScanScaling(cohort.mask)(away))


# -- settings ---------------------------------------------------------------------------------------------------------


def test_off_by_default_and_runs_of_before_keep_their_identity():
    plain = load_config(preset="demo")
    means = load_config(preset="demo", overrides={"harmonisation.region_means": "combat"})
    both = load_config(
        preset="demo", overrides={"harmonisation.region_means": "combat", "harmonisation.intensity": "combat"}
    )
    assert plain.harmonisation.intensity == "none"
    assert "harmonisation" not in plain.stored()
    assert means.stored()["harmonisation"] == {"region_means": "combat"}
    assert len({plain.fingerprint(), means.fingerprint(), both.fingerprint()}) == 3
    networks = [networks_fingerprint(config, "data", "cpu") for config in (plain, means, both)]
    assert networks[0] == networks[1] != networks[2]
    json.dumps(both.stored())
    with pytest.raises(UserError, match="harmonisation"):
        load_config(preset="demo", overrides={"harmonisation.intensity": "all"})
