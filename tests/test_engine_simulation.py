"""The imposed change is what was asked for, smooth, invertible, and the only thing that tells the groups apart."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from engine.config.cohort_schema import CohortConfig, Simulation
from engine.errors import UserError
from engine.images.template import brain_mask
from engine.simulation.atrophy import AD_CHANGE, REACH_MM, sample, solve_flow, truth_map
from engine.simulation.cohort import NUISANCES, SimulatedPreparer, base_anatomy, imposed_truth, read
from engine.simulation.imposed import outside_reach
from engine.simulation.twins import counterfactual_twin, visible_change

SIMULATION = Simulation(positive=3, negative=3, solve_mm=4)


def _ball(shape, centre, radius):
    return sum((a - c) ** 2 for a, c in zip(np.indices(shape), centre, strict=True)) < radius**2


@pytest.fixture(scope="module")
def ball():
    """A ball of tissue in a larger ball of fluid-filled brain, 2 mm voxels."""
    shape = (48, 50, 46)
    target = _ball(shape, (24, 25, 23), 6)
    brain = np.where(_ball(shape, (24, 25, 23), 20), 0.3, 0.0)
    brain[target] = 1.0
    flow = solve_flow(ndimage.gaussian_filter(brain, 0.5), {"ball": target}, {"ball": -0.24}, 2, 0, 2)
    return flow, target, brain


def test_achieved_volume_is_within_ten_percent(ball):
    flow, target, _ = ball
    assert flow.achieved["ball"] == pytest.approx(-0.24, rel=0.1)
    # Independent of the solver's own figure: warp the region itself and count.
    pulled = np.indices(target.shape) + flow.displacement(1.0)
    warped = ndimage.map_coordinates(target.astype(float), pulled, order=1)
    assert warped.sum() / target.sum() - 1 == pytest.approx(-0.24, abs=0.04)


def test_flow_is_smooth_invertible_and_grows_with_severity(ball):
    flow, target, _ = ball
    volumes = []
    for severity in (0.0, 0.5, 1.0, 2.0):
        pulled = np.indices(target.shape) + flow.displacement(severity)
        volumes.append(ndimage.map_coordinates(target.astype(float), pulled, order=1).sum())
    assert volumes[0] == target.sum()
    assert all(a > b for a, b in pairwise(volumes))
    assert not flow.displacement(0).any()
    assert -0.6 < flow.log_jacobian.min() < 0 < flow.log_jacobian.max() < 0.6
    assert np.abs(np.diff(flow.displacement(1.0), axis=1)).max() < 0.5  # voxels between neighbours: no tearing


def test_what_the_region_loses_its_halo_gains(ball):
    flow, _, _ = ball
    change = -np.expm1(-flow.log_jacobian)  # per voxel of the deformed image
    assert abs(change.sum()) < 0.1 * np.abs(change).sum()


def test_the_displacement_ends_at_the_reach(ball):
    """It faded slowly, over 16 mm and more, so that no part of the brain was without change."""
    flow, target, brain = ball
    changed = target & (brain > 0.45)
    away_mm = ndimage.distance_transform_edt(~changed) * 2
    for severity in (0.5, 1.0, 2.0):
        moved = np.sqrt((flow.displacement(severity) ** 2).sum(axis=0)) * 2
        assert not moved[away_mm >= REACH_MM].any()
        assert moved[(away_mm > 0) & (away_mm < 3)].max() > 0.2
    assert not flow.reach[away_mm >= REACH_MM].any()
    assert flow.reach[away_mm < REACH_MM].all()


def test_an_impossible_change_is_refused(ball):
    _, target, brain = ball
    with pytest.raises(UserError, match=r"simulation\.effect: ball would change by -120%"):
        solve_flow(brain, {"ball": target}, {"ball": -1.2}, 2, 0, 2)


def test_truth_is_a_quarter_of_the_maximum(ball):
    flow, target, _ = ball
    padded = type(flow)(
        flow.severities, flow.displacements, flow.achieved, np.zeros((97, 115, 97), np.float32), flow.reach
    )
    padded.log_jacobian[20:68, 20:70, 20:66] = flow.log_jacobian
    mask = np.ones((97, 115, 97), bool)
    binary, log_jacobian = truth_map(padded, mask, 2, 2)
    size = np.abs(log_jacobian)
    assert (binary == (size >= 0.25 * size.max())).all()
    pulled = np.indices(target.shape) + flow.displacement(1.0)
    now = ndimage.map_coordinates(target.astype(float), pulled, order=1) > 0.5
    assert (binary[20:68, 20:70, 20:66] & now).sum() > 0.85 * now.sum()
    assert not truth_map(padded, ~mask, 2, 2)[1].any()


def test_vector_sampling_is_linear():
    field = np.indices((5, 6, 7), dtype=np.float32)
    at = np.array([1.5, 2.25, 3.0])[:, None, None, None]
    np.testing.assert_allclose(sample(field, at).ravel(), [1.5, 2.25, 3.0])


# -- cohort -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cohort():
    return read(CohortConfig(simulation=SIMULATION), seed=4)


@pytest.fixture(scope="module")
def preparer():
    return SimulatedPreparer(SIMULATION, 4, 4)


def test_cohort_has_severities_for_patients_only(cohort):
    scans = cohort.scans
    assert cohort.groups == ("AD", "NC")
    assert cohort.simulated
    assert (scans.loc[scans["group"] == "AD", "severity"] > 0).all()
    assert (scans.loc[scans["group"] == "NC", "severity"] == 0).all()
    assert scans["scan"].is_unique


def test_repeat_sessions_and_mci():
    simulation = Simulation(positive=2, negative=3, positive_scans=5, negative_scans=3, apply_mci=2)
    scans = read(CohortConfig(simulation=simulation), seed=0).scans
    assert scans.groupby("diagnosis").size().to_dict() == {"AD": 5, "MCI": 2, "NC": 3}
    assert scans.loc[scans["diagnosis"] == "MCI", "role"].eq("apply").all()
    first = scans[scans["subject"] == "sim-0001"]
    assert first["age"].is_monotonic_increasing
    assert first["severity"].is_monotonic_increasing
    assert first["sex"].nunique() == 1


def test_volumes_are_reproducible_and_differ_between_people(cohort, preparer, tmp_path):
    rows = cohort.scans.to_dict("records")
    first, again, other = preparer(rows[0], tmp_path), preparer(rows[0], tmp_path), preparer(rows[1], tmp_path)
    assert np.array_equal(first.volume, again.volume)
    assert not np.array_equal(first.volume, other.volume)
    assert not first.volume[~brain_mask(4)].any()
    assert np.isfinite(first.volume).all()
    assert first.quality["template_correlation"] > 0.8
    assert np.percentile(first.volume[brain_mask(4)], 90) == pytest.approx(1, abs=0.02)


def test_the_imposed_change_is_where_the_truth_says(cohort, preparer):
    patients = [r for r in cohort.scans.to_dict("records") if r["group"] == "AD"]
    truth, log_jacobian = imposed_truth(preparer)
    difference = np.mean([visible_change(preparer, row) for row in patients], axis=0)
    mask = brain_mask(4)
    assert 0.02 < truth[mask].mean() < 0.4
    assert difference[truth & mask].mean() > 1.5 * difference[~truth & mask].mean()
    assert log_jacobian.min() < -0.15


ALL_BUT_SHAM = tuple(name for name in NUISANCES if name != "sham")


@pytest.mark.parametrize("effect", [1.0, 0.0])
def test_every_subject_of_both_groups_has_a_sham_of_its_own(effect):
    """A sham that one group alone had would be the label (untouched against sham-warped brains: AUC 0.88 to 0.99)."""
    simulation = SIMULATION.model_copy(update={"effect": effect})
    preparer = SimulatedPreparer(simulation, 4, 4)
    mask, outside = brain_mask(4), outside_reach(preparer, margin_mm=8)
    still, shams, patients = None, [], 0
    for row in read(CohortConfig(simulation=simulation), seed=4).scans.to_dict("records"):
        if still is None:
            still = preparer.volume(row, imposed=False, without=NUISANCES)
        alone = preparer.volume(row, imposed=False, without=ALL_BUT_SHAM)
        shams.append((alone - still)[mask])
        other = {**row, "group": "NC", "diagnosis": "NC", "severity": 0.0}
        assert np.array_equal(alone, preparer.volume(other, without=ALL_BUT_SHAM)), "the sham depends on the group"
        own = preparer.volume(row, without=ALL_BUT_SHAM)  # with the imposed change on top, for a patient
        assert np.array_equal(own[outside], alone[outside]), "the imposed change takes the place of the sham"
        assert np.abs(alone - still)[outside].max() > 0.01
        patients += row["group"] == "AD"
    assert patients == 3
    correlations = np.corrcoef(shams)[np.triu_indices(len(shams), 1)]
    assert np.abs(correlations).max() < 0.5, "two subjects share a sham"
    assert np.sqrt(np.mean(np.square(shams))) > 0.01


def test_a_sham_is_as_large_as_the_imposed_displacement():
    body = base_anatomy(SIMULATION, 4)
    flow = body.imposed["typical_ad"]
    moved = np.sqrt((flow.displacement(1.0) ** 2).sum(axis=0)) * body.solve_mm
    assert body.sham_rms_mm == pytest.approx(np.sqrt((moved[body.mask & flow.reach] ** 2).mean()), rel=0.02)


def test_a_twin_differs_from_its_scan_by_the_imposed_change_alone(cohort, preparer, tmp_path):
    rows = cohort.scans.to_dict("records")
    patient = next(r for r in rows if r["group"] == "AD")
    control = next(r for r in rows if r["group"] == "NC")
    assert np.array_equal(preparer.volume(patient), preparer(patient, tmp_path).volume)
    healthy = {**patient, "severity": 0.0}
    assert np.array_equal(counterfactual_twin(preparer, patient), preparer.volume(healthy))
    assert np.array_equal(counterfactual_twin(preparer, control), preparer.volume(control))
    assert not visible_change(preparer, control).any()
    change = visible_change(preparer, patient)
    assert change[imposed_truth(preparer)[0]].mean() > 0.03
    assert change.max() > 0.2
    other = {**patient, "severity": patient["severity"] / 2}
    assert visible_change(preparer, other).sum() < 0.8 * change.sum()


def test_outside_the_reach_a_scan_is_its_twin_exactly(cohort, preparer):
    """Not even the scale to white matter, which is of the whole scan, knows of the imposed change."""
    outside = outside_reach(preparer, margin_mm=8)  # own anatomy, size and shift carry the template some mm along
    assert 0.1 < outside[brain_mask(4)].mean() < outside_reach(preparer)[brain_mask(4)].mean() < 0.6
    for row in (r for r in cohort.scans.to_dict("records") if r["group"] == "AD"):
        change = visible_change(preparer, {**row, "severity": 2.0})
        assert not change[outside].any()
        assert change[brain_mask(4) & ~outside].mean() > 0.01


@pytest.mark.parametrize("name", NUISANCES)
def test_a_nuisance_left_out_changes_nothing_else(cohort, preparer, name):
    """Each can be switched off, and the draws of the others stay as they are."""
    row = cohort.scans.iloc[0].to_dict()
    others = tuple(n for n in NUISANCES if n != name)
    still, alone = (preparer.volume(row, imposed=False, without=w) for w in (NUISANCES, others))
    if name != "intensity":  # a scale alone is undone by the scaling to white matter
        assert not np.array_equal(still, alone)
    whole = preparer.volume(row, imposed=False)
    lacking = preparer.volume(row, imposed=False, without=(name,))
    assert np.corrcoef(whole.ravel(), lacking.ravel())[0, 1] > 0.95


def test_achieved_changes_are_those_published():
    achieved = base_anatomy(SIMULATION, 4).imposed["typical_ad"].achieved
    for name, asked in AD_CHANGE.items():
        assert achieved[name] == pytest.approx(asked, rel=0.1), name


def test_a_null_cohort_has_no_truth():
    preparer = SimulatedPreparer(Simulation(positive=2, negative=2, effect=0, solve_mm=4), 4, 0)
    assert imposed_truth(preparer) is None
    row = read(CohortConfig(simulation=preparer.simulation), 0).scans.iloc[0].to_dict()
    assert row["severity"] == 0
    assert np.array_equal(preparer.volume(row), preparer.volume(row, imposed=False))
    assert not visible_change(preparer, row).any()


def test_a_new_version_of_the_simulation_makes_all_again(tmp_path, monkeypatch):
    """Volumes, networks and runs of older simulated brains are never taken for these."""
    from engine.config.loading import load_config
    from engine.pipeline.fingerprints import data_fingerprint
    from engine.pipeline.run import Run
    from engine.progress import Progress

    def identities():
        run = Run(load_config(None, "smoke", {}), tmp_path, "cpu", Progress(quiet=True))
        run.cohort = read(run.config.cohort, 0)
        run.data_fingerprint = data_fingerprint(run.cohort, ())
        return run.volumes_folder, run.networks_folder, run.run_id

    now = identities()
    monkeypatch.setattr("engine.simulation.cohort.SIMULATION_VERSION", 1)
    monkeypatch.setattr("engine.pipeline.fingerprints.SIMULATION_VERSION", 1)
    assert not set(now) & set(identities())
