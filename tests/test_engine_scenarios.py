"""Each scenario imposes what it says, where it says, and nothing but that carries the label."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from engine.atlas.aal import load_atlas
from engine.config.cohort_schema import CohortConfig, ScenarioName, Simulation
from engine.config.loading import load_config
from engine.config.schema import AtlasConfig
from engine.images.template import brain_mask
from engine.pipeline import simulation_check as check
from engine.pipeline import truth_scores
from engine.pipeline.fingerprints import data_fingerprint, volumes_fingerprint
from engine.pipeline.imposed_truth import mean_truth
from engine.simulation.cohort import (
    NUISANCES,
    SHARED_FACTOR,
    SimulatedPreparer,
    base_anatomy,
    imposed_truth,
    read,
)
from engine.simulation.imposed import changed_places, imposed_regions, measure_change, outside_reach
from engine.simulation.scenarios import SCENARIOS, is_imposed
from engine.simulation.twins import visible_change

EACH = 40
MARGIN_MM = 8  # own anatomy, size and shift carry the template some mm along
WITH_CHANGE = [name for name, scenario in SCENARIOS.items() if scenario.patterns]
WITHOUT = ["confound", "null"]


def _simulation(scenario: str, each: int = 3, **settings) -> Simulation:
    return Simulation(positive=each, negative=each, solve_mm=4, scenario=scenario, **settings)


def _rows(simulation: Simulation, seed: int = 0) -> list[dict]:
    return read(CohortConfig(simulation=simulation), seed).scans.to_dict("records")


@pytest.fixture(scope="module")
def atlas():
    return load_atlas(AtlasConfig(), 4)


# -- names and identity -----------------------------------------------------------------------------------------------


def test_every_scenario_can_be_asked_for_and_says_what_it_is():
    assert set(get_args(ScenarioName)) == set(SCENARIOS)
    for name, scenario in SCENARIOS.items():
        assert name == scenario.name
        assert scenario.words.endswith(".")
        assert sum(pattern.share for pattern in scenario.patterns) == pytest.approx(1.0 if scenario.patterns else 0.0)
        assert all(-0.6 < change < 0.6 for pattern in scenario.patterns for change in pattern.change.values())


def test_the_default_keeps_the_identity_of_cohorts_made_before_there_were_scenarios():
    """Fingerprints of volumes and scans as they were before the setting came."""
    config = load_config(None, "demo", {})
    assert volumes_fingerprint(config) == "5c5670c8728dde43e793a11ffbe4030fb761cbc80d591dbc24c73bbef718363a"
    cohort = read(config.cohort, 0)
    assert data_fingerprint(cohort) == "e4371c4159d2ccf13d70c8e7eb27536d101a6c2eb06b154d814e452ce8719ac9"
    assert "scenario" not in config.stored()["cohort"]["simulation"]
    assert not cohort.remarks
    assert not cohort.warnings
    named = load_config(None, "demo", {"cohort.simulation.scenario": "typical_ad"})
    assert named.fingerprint() == config.fingerprint()


def test_another_scenario_is_another_cohort():
    found = set()
    for name in SCENARIOS:
        config = load_config(None, "demo", {"cohort.simulation.scenario": name})
        cohort = read(config.cohort, 0)
        found |= {config.fingerprint(), volumes_fingerprint(config), data_fingerprint(cohort)}
        assert config.stored()["cohort"]["simulation"].get("scenario", "typical_ad") == name
        if name != "typical_ad":
            assert SCENARIOS[name].words in cohort.remarks[0]
    assert len(found) == 3 * len(SCENARIOS)


def test_an_unknown_scenario_is_one_clear_error():
    from engine.errors import UserError

    with pytest.raises(UserError, match=r"cohort\.simulation\.scenario"):
        load_config(None, "demo", {"cohort.simulation.scenario": "left_hipocampus"})


# -- what is imposed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_CHANGE)
def test_what_is_reached_is_what_was_asked_for_and_lies_where_it_was_asked_for(name, atlas):
    preparer = SimulatedPreparer(_simulation(name), 4, 0)
    for pattern in SCENARIOS[name].patterns:
        changed = changed_places(preparer, pattern, 4)
        truth = imposed_regions(atlas, imposed_truth(preparer, {pattern.name: 1.0})[1], changed)
        imposed = truth.loc[truth["imposed"], "region"].tolist()
        measured = measure_change(preparer, pattern, atlas, imposed).set_index("region")
        solved = base_anatomy(preparer.simulation, 4).imposed[pattern.name].achieved
        for place, asked in pattern.change.items():
            assert solved[place] == pytest.approx(asked, rel=0.1), place
            if place in SCENARIOS[name].blobs:
                continue
            sides = [region for region in imposed if place in (region, region[:-2])]
            assert sides, f"{place} is not in the truth"
            voxels = [(atlas.mask(side)).sum() for side in sides]
            both = np.average(measured.loc[sides, "achieved"], weights=voxels)
            # Counted on 4 mm voxels, whose borders are as wide as what moves there.
            assert both == pytest.approx(asked, rel=0.25), place
        if not SCENARIOS[name].blobs:
            named = {region for region in imposed if region in pattern.change or region[:-2] in pattern.change}
            assert set(imposed) == named


@pytest.mark.parametrize("name", ["left_hippocampus", "temporal_pole_right"])
def test_a_change_on_one_side_leaves_the_other_side_as_it_was(name):
    """To the last bit, but for the intensity scale, which comes from outside the reach as well."""
    simulation = _simulation(name, effect=2.0, severity_sd=0.0)
    preparer = SimulatedPreparer(simulation, 4, 0)
    x_mm = np.arange(brain_mask(4).shape[0]) * 4 - 96
    other = x_mm > 4 if name.startswith("left") else x_mm < -4
    for row in (row for row in _rows(simulation) if row["group"] == "AD"):
        change = visible_change(preparer, row)
        assert change.max() > 0.1
        assert not change[other].any()
    log_jacobian = imposed_truth(preparer)[1]
    assert not log_jacobian[other].any()
    assert log_jacobian.min() < -0.15


def test_blobs_cross_the_borders_of_regions_and_count_by_overlap(atlas):
    preparer = SimulatedPreparer(_simulation("blobs"), 4, 0)
    changed = changed_places(preparer, SCENARIOS["blobs"].patterns[0], 4)
    assert len(changed.blobs) >= 2
    for blob in changed.blobs:
        held = {name: (atlas.mask(name) & blob).sum() / blob.sum() for name in atlas.regions["region"]}
        crossed = [name for name, share in held.items() if share >= 0.1 and name != "Unlabelled"]
        assert len(crossed) >= 2, held
    truth = imposed_regions(atlas, imposed_truth(preparer)[1], changed).set_index("region")
    assert truth.loc[truth["imposed"], "log_jacobian"].max() < 0
    for name in truth.index[~truth["imposed"]]:
        assert all((atlas.mask(name) & blob).sum() < 0.1 * blob.sum() for blob in changed.blobs)
    # By hand: the mean over a region of what is inside the blobs.
    region = truth.index[truth["imposed"]][0]
    inside = np.where(changed.anywhere, imposed_truth(preparer)[1], 0)[atlas.mask(region)]
    assert truth.loc[region, "log_jacobian"] == pytest.approx(inside.mean())


def test_patients_of_subtypes_have_their_own_change():
    simulation = _simulation("subtypes", 40, severity_sd=0.0)
    rows = _rows(simulation)
    drawn = [row["subtype"] for row in rows if row["group"] == "AD"]
    assert {row["subtype"] for row in rows if row["group"] == "NC"} == {""}
    assert {name: drawn.count(name) for name in set(drawn)} == {"typical": 24, "limbic": 11, "sparing": 5}
    preparer = SimulatedPreparer(simulation, 4, 0)
    atlas = load_atlas(AtlasConfig(), 4)
    of = {name: next(row for row in rows if row["subtype"] == name) for name in set(drawn)}
    hippocampus, parietal = atlas.mask("Hippocampus"), atlas.mask("Parietal_Sup")
    seen = {name: visible_change(preparer, row) for name, row in of.items()}
    assert seen["limbic"][hippocampus].mean() > 5 * seen["sparing"][hippocampus].mean()
    assert seen["sparing"][parietal].mean() > 5 * seen["limbic"][parietal].mean()
    # The same person with another subtype differs by that alone.
    other = {**of["limbic"], "subtype": "sparing"}
    assert np.array_equal(preparer.volume(other, imposed=False), preparer.volume(of["limbic"], imposed=False))


def test_the_truth_of_subtypes_is_the_mean_over_patients(atlas):
    preparer = SimulatedPreparer(_simulation("subtypes"), 4, 0)
    tables = {}
    for pattern in SCENARIOS["subtypes"].patterns:
        changed = changed_places(preparer, pattern, 4)
        table = imposed_regions(atlas, imposed_truth(preparer, {pattern.name: 1.0})[1], changed)
        imposed = table.loc[table["imposed"], "region"].tolist()
        tables[pattern.name] = table.merge(measure_change(preparer, pattern, atlas, imposed), how="left")
    shares = {"typical": 0.5, "limbic": 0.3, "sparing": 0.2}
    mean = mean_truth(tables, shares).set_index("region")
    of = {name: table.set_index("region") for name, table in tables.items()}
    assert mean.loc["Parietal_Sup_L", "requested"] == pytest.approx(0.2 * -0.18)
    assert mean.loc["Hippocampus_L", "requested"] == pytest.approx(0.5 * -0.24 + 0.3 * -0.30)
    assert mean.loc["Thalamus_L", ["requested", "achieved"]].isna().all()
    assert not mean.loc["Thalamus_L", "imposed"]
    direct = sum(share * of[name].loc["Angular_L", "log_jacobian"] for name, share in shares.items())
    assert mean.loc["Angular_L", "log_jacobian"] == pytest.approx(direct)
    field = imposed_truth(preparer, shares)[1]
    assert field[atlas.mask("Angular_L")].mean() == pytest.approx(direct, abs=1e-5)


def test_each_scan_is_scored_against_the_regions_of_its_own_subtype(atlas, monkeypatch):
    """A map of the parietal lobe is right about a hippocampal-sparing patient and wrong about a limbic one."""
    names = atlas.regions["region"]

    def table(**imposed):
        of = {subtype: names.str.startswith(start) for subtype, start in imposed.items()}
        rows = [
            pd.DataFrame({"subtype": subtype, "region": names, "imposed": where, "log_jacobian": -0.2 * where})
            for subtype, where in of.items()
        ]
        return pd.concat(rows)

    tables = {
        "truth_regions": table(all=("Parietal", "Hippocampus")).drop(columns="subtype"),
        "truth_subtypes": table(sparing="Parietal", limbic="Hippocampus"),
        "scans": pd.DataFrame({"scan": ["a", "b", "c"], "subtype": ["sparing", "limbic", ""]}),
    }
    reader = SimpleNamespace(
        table=lambda name, *_: tables[name], has_table=tables.__contains__, has_array=lambda _: True
    )
    mask, parietal = brain_mask(4), np.isin(atlas.labels, np.flatnonzero(names.str.startswith("Parietal")) + 1)
    run = SimpleNamespace(atlas=atlas, mask=mask, groups=("AD", "NC"), config=SimpleNamespace(grid_mm=4))
    monkeypatch.setattr(truth_scores, "visible_change", lambda _: parietal.astype(np.float32))
    monkeypatch.setattr(truth_scores, "scan_change", lambda *_: parietal.astype(np.float32))
    truth = truth_scores.Truth(run, reader)
    share = {scan: truth.scan(scan, "AD")(parietal.astype(float))["region_share"] for scan in "abc"}
    assert share == pytest.approx({"a": 1.0, "b": 0.0, "c": 1.0})


@pytest.mark.parametrize("name", WITHOUT)
def test_where_nothing_is_imposed_there_is_no_truth(name):
    simulation = _simulation(name)
    assert not is_imposed(simulation)
    rows, preparer = _rows(simulation), SimulatedPreparer(simulation, 4, 0)
    assert all(row["severity"] == 0 for row in rows)
    assert imposed_truth(preparer) is None
    assert np.array_equal(preparer.volume(rows[0]), preparer.volume(rows[0], imposed=False))


def test_null_is_the_default_without_effect():
    null, zero = _simulation("null"), _simulation("typical_ad", effect=0)
    row = _rows(null)[0]
    assert np.array_equal(SimulatedPreparer(null, 4, 0).volume(row), SimulatedPreparer(zero, 4, 0).volume(row))


def test_patients_of_the_confounded_cohort_are_older_by_the_effect():
    def ages(effect):
        rows = _rows(_simulation("confound", 200, effect=effect))
        return [np.mean([row["age"] for row in rows if row["group"] == group]) for group in ("AD", "NC")]

    (ill, healthy), (twice, _), (none, _) = ages(1.0), ages(2.0), ages(0.0)
    assert ill - healthy == pytest.approx(8, abs=1.5)
    assert twice - ill == pytest.approx(8, abs=0.5)
    assert none - healthy == pytest.approx(0, abs=1.5)


def test_shams_of_a_scenario_do_not_grow_with_its_effect():
    """Those of two_regions at effect 2 were twice as large, all over the brain, and its networks ended at chance."""
    one, two = (base_anatomy(_simulation("two_regions", effect=effect), 4).sham_rms_mm for effect in (1.0, 2.0))
    assert two == pytest.approx(one, rel=0.15)  # the solver asks a little more where more is lost


# -- nothing but the effect carries the label -------------------------------------------------------------------------


def _brains(simulation):
    preparer, rows = SimulatedPreparer(simulation, 4, 0), _rows(simulation)
    return preparer, np.stack([preparer.volume(row) for row in rows]), np.array([r["group"] == "AD" for r in rows])


def _region_means(volumes, where, labels):
    kept = np.flatnonzero(np.bincount(labels[where])[1:] >= 5) + 1
    return np.stack([[volume[where & (labels == k)].mean() for k in kept] for volume in volumes])


def _auc(features, ill):
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return roc_auc_score(ill, cross_val_predict(model, features, ill, cv=folds, method="decision_function"))


LEVEL = 1 - 0.05 / len(WITH_CHANGE)  # of all scenarios together


# typical_ad and null: tests/test_engine_simulation_check.py.
@pytest.mark.parametrize("name", [name for name in WITH_CHANGE if name != "typical_ad"])
def test_regions_outside_the_reach_end_at_chance(name, atlas):
    simulation = _simulation(name, EACH, effect=1.4)
    preparer, volumes, ill = _brains(simulation)
    where = outside_reach(preparer, MARGIN_MM)
    assert where.sum() > 500
    auc = _auc(_region_means(volumes, where, atlas.labels), ill)
    low, high = check.auc_interval(auc, EACH, EACH, level=LEVEL)
    assert low <= 0.5 <= high, f"AUC {auc:.2f}"


def test_age_tells_the_groups_of_the_confounded_cohort_apart_though_nothing_was_imposed(atlas):
    """On purpose: this is the scenario in which something else than a disease carries the label."""
    _, volumes, ill = _brains(_simulation("confound", EACH, effect=1.4))
    auc = _auc(_region_means(volumes, brain_mask(4), atlas.labels), ill)
    assert check.auc_interval(auc, EACH, EACH)[0] > 0.5, f"AUC {auc:.2f}"


CALM = {"anatomy_mm": 0.3, "noise_sd": 0.0, "bias_sd": 0.0, "contrast_sd": 0.0, "scaling_sd": 0.0, "ageing": 0.0}


def test_a_suppressor_says_nothing_alone_and_helps_beside_what_was_imposed(atlas):
    """In calm brains, so that forty people a group are enough to see it."""
    preparer, volumes, ill = _brains(_simulation("suppressor", EACH, effect=0.7, severity_sd=0.2, **CALM))
    temporal, frontal = (
        np.isin(atlas.labels, atlas.regions.loc[atlas.regions["region"].str.match(names), "index"])
        for names in ("Temporal_(Sup|Mid|Inf)_[LR]", "Frontal_(Sup|Mid)_2_[LR]")
    )
    of_imposed, of_suppressor = (_region_means(volumes, where, atlas.labels) for where in (temporal, frontal))
    alone, hidden = _auc(of_suppressor, ill), _auc(of_imposed, ill)
    together = _auc(np.hstack([of_imposed, of_suppressor]), ill)
    low, high = check.auc_interval(alone, EACH, EACH)
    assert low <= 0.5 <= high, f"the suppressor alone: AUC {alone:.2f}"
    assert together > hidden + 0.05, f"{hidden:.2f} without and {together:.2f} with the suppressor"
    # It is in both groups and in the twins: the truth does not know of it.
    row = next(row for row in _rows(preparer.simulation) if row["group"] == "AD")
    assert not visible_change(preparer, row)[frontal & outside_reach(preparer, MARGIN_MM)].any()
    lacking = preparer.volume(row, imposed=False, without=(SHARED_FACTOR,))
    assert np.abs(lacking - preparer.volume(row, imposed=False))[frontal].mean() > 0.002


# -- the check --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_check_knows_what_must_be_found_in_each_scenario(name):
    asked = check.questions(_simulation(name))
    found = {question.name for question in asked if question.differ}
    if name == "confound":
        assert found == {"nuisance_ageing"}
    else:
        assert found == (set() if name == "null" else {check.IMPOSED})
    names = {question.name for question in asked}
    assert {f"nuisance_{nuisance}" for nuisance in NUISANCES if nuisance != "sham"} <= names
    assert (f"nuisance_{SHARED_FACTOR}" in names) == (name == "suppressor")


@pytest.mark.parametrize("name", ["confound", "suppressor"])
def test_the_command_checks_a_scenario(name, monkeypatch, capsys):
    from engine.cli import main

    monkeypatch.setattr(check, "QUICK", check.Extent(1, 2, 3))
    settings = ("training.epochs=1", "cohort.simulation.solve_mm=4", f"cohort.simulation.scenario={name}")
    arguments = ["check-simulation", "--quick", "--json", *(part for one in settings for part in ("--set", one))]
    code = main.main({}, arguments)
    out, err = capsys.readouterr()
    report = json.loads(out.splitlines()[-1])
    assert report["scenario"] == name
    assert report["expected"] == ["nuisance_ageing" if name == "confound" else check.IMPOSED]
    assert code == (0 if all(report["passed"].values()) else 1)
    assert "Traceback" not in err
    if name == "confound" and not report["passed"]["nuisance_ageing"]:
        assert "does not find that patients are older" in err
