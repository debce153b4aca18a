"""A simulated cohort's label is the imposed change alone: simple classifiers elsewhere, a network, and the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from engine.atlas.aal import load_atlas
from engine.cli import main
from engine.config.cohort_schema import CohortConfig, Simulation
from engine.config.loading import load_config
from engine.config.schema import AtlasConfig
from engine.images.template import brain_mask
from engine.pipeline import simulation_check as check
from engine.progress import Progress
from engine.simulation.cohort import SimulatedPreparer, read
from engine.simulation.imposed import outside_reach

EACH = 40
MARGIN_MM = 8  # own anatomy, size and shift carry the template some mm along


CALM = {"anatomy_mm": 0.3, "noise_sd": 0.0, "bias_sd": 0.01, "contrast_sd": 0.01, "scaling_sd": 0.005}


def _simulation(effect, **nuisance):
    return Simulation(positive=EACH, negative=EACH, effect=effect, solve_mm=4, **nuisance)


@pytest.fixture(scope="module", params=[0.0, 1.4], ids=["null", "with effect"])
def brains(request):
    """(volumes, whether a patient, voxels without imposed change)."""
    simulation = _simulation(request.param)
    preparer = SimulatedPreparer(simulation, 4, 0)
    rows = read(CohortConfig(simulation=simulation), 0).scans.to_dict("records")
    ill = np.array([row["group"] == "AD" for row in rows])
    volumes = np.stack([preparer.volume(row) for row in rows])
    where = outside_reach(preparer, MARGIN_MM) if request.param else brain_mask(4)
    return volumes, ill, where


def _per_region(volumes, where):
    labels = load_atlas(AtlasConfig(), 4).labels[where]
    kept = np.flatnonzero(np.bincount(labels)[1:] >= 5) + 1
    return np.stack([[volume[where][labels == k].mean() for k in kept] for volume in volumes])


def _region_means(volumes, where):
    return _per_region(volumes, where)


def _log_squared_deviation(volumes, where):
    return np.log(_per_region((volumes - volumes.mean(axis=0)) ** 2, where))


def _log_laplacian_energy(volumes, where):
    return np.log(_per_region(np.stack([ndimage.laplace(v) for v in volumes]) ** 2, where))


def _voxels(volumes, where):
    return volumes[:, where]


CLASSIFIERS = {
    "region means": (_region_means, None),
    "log squared deviation": (_log_squared_deviation, None),
    "log Laplacian energy": (_log_laplacian_energy, None),
    "PCA and logistic regression on voxels": (_voxels, 20),
}


def _auc(name, volumes, ill, where):
    features, components = CLASSIFIERS[name]
    steps = [StandardScaler(), *([PCA(components, random_state=0)] if components else [])]
    model = make_pipeline(*steps, LogisticRegression(C=0.1, max_iter=2000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    found = cross_val_predict(model, features(volumes, where), ill, cv=folds, method="decision_function")
    return roc_auc_score(ill, found)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_simple_classifiers_end_at_chance_where_nothing_was_imposed(brains, name):
    volumes, ill, where = brains
    # The interval of all these questions together: eight at 95 % each would fail by chance in one cohort of three.
    low, high = check.auc_interval(auc := _auc(name, volumes, ill, where), EACH, EACH, level=1 - 0.05 / 8)
    assert low <= 0.5 <= high, f"{name}: AUC {auc:.2f}"


def test_they_would_have_found_a_sham_that_one_group_lacks():
    """So that the test above can fail; in calm brains, as one sham is little beside anatomy, noise and bias field."""
    simulation = _simulation(0.0, **CALM)
    preparer = SimulatedPreparer(simulation, 4, 0)
    rows = read(CohortConfig(simulation=simulation), 0).scans.to_dict("records")
    ill = np.array([row["group"] == "AD" for row in rows])
    leaky = np.stack([preparer.volume(row, without=("sham",) if row["group"] == "AD" else ()) for row in rows])
    for name in ("log squared deviation", "log Laplacian energy", "PCA and logistic regression on voxels"):
        auc = _auc(name, leaky, ill, brain_mask(4))
        assert check.auc_interval(auc, EACH, EACH, level=1 - 0.05 / 8)[0] > 0.5, f"{name}: AUC {auc:.2f}"


@pytest.mark.parametrize(("auc", "first", "second"), [(0.5, 40, 40), (0.7, 30, 60), (0.95, 100, 100)])
def test_the_interval_is_that_of_hanley_and_mcneil(auc, first, second):
    """Near the middle a score interval is about the estimate and its standard error on either side."""
    low, high = check.auc_interval(auc, first, second)
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (first - 1) * (q1 - auc**2) + (second - 1) * (q2 - auc**2)
    wald = 2 * stats.norm.ppf(0.975) * np.sqrt(variance / (first * second))
    assert 0 < low < auc < high < 1
    assert high - low == pytest.approx(wald, rel=0.2)


@pytest.mark.parametrize("auc", [0.0, 1.0])
def test_the_interval_is_never_certain(auc):
    low, high = check.auc_interval(auc, 40, 40)
    assert min(abs(low - auc), abs(high - auc)) < 1e-6
    assert 0.03 < high - low < 0.2


SMALL = {
    "training.epochs": 10,
    "training.learning_rate": 0.002,
    "cohort.simulation": {
        "positive": 40, "negative": 40, "effect": 1.4, "solve_mm": 4, "anatomy_mm": 0.3, "noise_sd": 0.0,
        "bias_sd": 0.01, "contrast_sd": 0.01, "scaling_sd": 0.005,
    },
}  # fmt: skip


def test_a_small_trained_network_takes_no_sham_for_the_disease(monkeypatch):
    """In calm brains, where a sham that only controls have is learned in seconds (AUC 0.09 of sham against nothing)."""
    monkeypatch.setattr(check, "NUISANCES", ("sham",))
    config = load_config(None, "demo", SMALL)
    report = check.check(config, check.Extent(1, None, 40), torch.device("cpu"), Progress(quiet=True))
    assert report["auc"][check.IMPOSED] > 0.8
    assert report["passed"][check.IMPOSED]
    assert 0.3 < report["auc"][check.SHAM] < 0.7
    assert 0.3 < report["auc"]["nuisance_sham"] < 0.7


# -- the command --------------------------------------------------------------------------------------------------

TINY = ["--set", "training.epochs=1", "--set", "cohort.simulation.solve_mm=4"]


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(check, "QUICK", check.Extent(1, 2, 3))


def _run(arguments, capsys):
    code = main.main({}, ["check-simulation", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_ends_with_one_line_of_json(tiny, capsys):
    code, out, err = _run(["--quick", "--json", *TINY], capsys)
    report = json.loads(out.splitlines()[-1])
    nuisances = {
        f"nuisance_{name}"
        for name in (
            "sham",
            "anatomy",
            "ageing",
            "size",
            "misregistration",
            "intensity",
            "gamma",
            "bias_field",
            "noise",
        )
    }
    assert set(report["auc"]) == {"sham_against_nothing", "imposed_and_sham_against_sham"} | nuisances
    for name, auc in report["auc"].items():
        low, high = report["interval"][name]
        assert 0 <= low <= auc <= high <= 1
        assert report["n"][name] == [3, 3]
    assert code == 1  # one epoch on four brains finds nothing, and that is said
    assert "error: the network does not find the imposed change (AUC" in err
    assert "Traceback" not in err


def test_a_null_cohort_is_asked_about_nuisances_alone(tiny, capsys):
    code, out, _ = _run(["--quick", "--json", *TINY, "--set", "cohort.simulation.effect=0"], capsys)
    report = json.loads(out.splitlines()[-1])
    assert code == (0 if all(report["passed"].values()) else 1)
    assert "imposed_and_sham_against_sham" not in report["auc"]
    assert "sham_against_nothing" in report["auc"]


def test_what_is_found_beside_the_disease_is_said():
    report = {
        "auc": {check.IMPOSED: 0.9, check.SHAM: 0.93, "nuisance_bias_field": 0.5},
        "interval": {
            check.IMPOSED: [0.8, 0.95],
            check.SHAM: [0.88, 0.96],
            "nuisance_bias_field": [0.4, 0.6],
        },
        "passed": {check.IMPOSED: True, check.SHAM: False, "nuisance_bias_field": True},
    }
    said = check.sentence(report)
    assert said == ("the network takes sham against nothing for the disease (AUC 0.93, 95 % interval 0.88 to 0.96)")
    report["passed"][check.SHAM] = True
    assert check.sentence(report) == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "cohort.reader=bids"], "check-simulation is of simulated cohorts"),
        (["--set", "grid_mm=1"], "grid_mm: 1; the check takes hours on it, use 2 or 4"),
    ],
)
def test_what_cannot_be_checked_is_refused(arguments, said, capsys):
    code, _, err = _run(arguments, capsys)
    assert code == 2
    assert said in err
