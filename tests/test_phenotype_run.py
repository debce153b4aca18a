"""A regression on a phenotype from end to end: its truth, its scores, what is said of it, and what nothing may say."""

from __future__ import annotations

import numpy as np
import pytest
from phenotype_factory import OF_HEADS, make_heads
from test_dashboard_views import VIEWS, text_of
from test_pipeline import job, published, settings

from engine.config.loading import load_config
from engine.errors import UserError
from store import open_run
from store.reading.trust import trust_line
from store.reading.truth import has_truth
from store.writing.validate import validate

PEOPLE, REGIONS = 16, ["Putamen_L", "Putamen_R"]
OF_ITS_OWN = [
    "task=regression", "target=phenotype", f"phenotype={{name: putamen, regions: [{', '.join(REGIONS)}]}}",
    *OF_HEADS, "cohort.reader=table", "cohort.columns={phenotype: inside}",
    "explain.holdout=[sensitivity, area_occlusion]", "explain.folds=[sensitivity]",
    "training.epochs=1", "analysis.null_networks=0", "trust.networks=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(1).normal(size=PEOPLE)


@pytest.fixture(scope="module")
def made(tmp_path_factory, values):
    """(finished process, store): brains whose putamen is as bright as the phenotype is large; one person has none."""
    data = tmp_path_factory.mktemp("heads")
    make_heads(data, values)
    store = tmp_path_factory.mktemp("phenotype")
    done = job(store, "--preset", "smoke", "--name", "mine", "--data", data, *settings(OF_ITS_OWN))
    assert done.returncode == 0, done.stderr
    return done, store


@pytest.fixture(scope="module")
def run(made):
    return open_run(made[1])


def test_the_run_is_sound_and_real(made, run, values):
    assert validate(published(made[1])) == []
    assert not run.simulated
    assert run.target["label"] == "phenotype of the putamen"
    assert run.groups == ("higher phenotype", "lower phenotype")
    scans = run.table("scans").set_index("subject")
    assert "p0" not in scans.index
    assert run.table("exclusions")["reason"].tolist() == ["no value of phenotype, the target"]
    np.testing.assert_allclose(scans.loc["p3", "phenotype"], values[3], atol=1e-5)
    assert not has_truth(run)  # nothing was imposed, so no page may draw an imposed change


def test_the_truth_is_the_regions_and_the_association_map_is_of_the_training_scans(run):
    atlas, regions = run.array("grid/atlas"), run.table("regions").set_index("region")["index"]
    truth = run.array("phenotype/regions") > 0
    assert (truth == np.isin(atlas, regions[REGIONS])).all()
    scans = run.table("scans")
    trained = scans[~scans["holdout"]]
    stack = np.stack([run.volume(scan)[run.mask] for scan in trained["scan"]]).astype(float)
    expected = np.array([np.corrcoef(column, trained["phenotype"])[0, 1] for column in stack.T])
    found = run.array("phenotype/association")
    np.testing.assert_allclose(found[run.mask], expected, atol=0.02)  # stored scans are rounded
    assert (found[~run.mask] == 0).all()
    assert found[truth].mean() > 0.7 > abs(found[run.mask & ~truth].mean()) + 0.5


def test_scores_are_those_of_the_stored_maps_against_the_regions(run):
    from sklearn.metrics import roc_auc_score

    scores = run.table("truth_scores")
    assert set(scores["diagnosis"]) == set(run.groups)
    truth = (run.array("phenotype/regions") > 0)[run.mask]
    for group in run.groups:  # evidence for the group that a scan is of
        predictions = run.table("predictions", model="holdout")
        maps = [
            np.abs(run.heatmap("holdout", "sensitivity", scan, target=group))[run.mask]
            for scan in predictions.loc[predictions["diagnosis"] == group, "scan"]
        ]
        again = [
            np.abs(run.heatmap("holdout-seed-1", "sensitivity", scan, target=group))[run.mask]
            for scan in predictions.loc[predictions["diagnosis"] == group, "scan"]
        ]
        mean = [np.sum([one / one.sum() for one in network], axis=0) for network in (maps, again)]
        expected = np.mean([roc_auc_score(truth, one) for one in mean])
        row = scores[
            (scores["method"] == "sensitivity") & (scores["model_set"] == "holdout") & (scores["diagnosis"] == group)
            & (scores["level"] == "group") & (scores["score"] == "voxel_auc")
        ]  # fmt: skip
        assert row["value"].item() == pytest.approx(expected, abs=1e-6)
        assert row["networks"].item() == 2
    positive = scores[(scores["diagnosis"] == run.groups[0]) & (scores["model_set"] == "holdout")]
    assert positive.loc[positive["method"] == "sensitivity", "reference"].notna().all()
    assert positive["null_reference"].isna().all()  # there is no cohort in which nobody has a putamen
    assert (positive.loc[positive["score"] == "voxel_auc", "ceiling"] == 1).all()
    best = positive.set_index(["method", "score", "level"])["value"]
    assert best["t_map", "voxel_auc", "group"] > 0.95  # the brighter structure is all that differs


def test_the_trust_line_says_what_the_truth_is_and_nothing_of_an_imposed_change(run):
    line = trust_line(run, "sensitivity")
    said = " ".join(line.sentences())
    assert "finds the structure whose phenotype is predicted with a voxel AUC of" in said
    assert "imposed" not in said
    assert "these predict a value" in said


@pytest.mark.parametrize("view", VIEWS)
def test_no_page_says_that_something_was_imposed_or_simulated(made, open_view, view):
    app = open_view(view, made[1])
    assert not app.exception
    said = text_of(app).lower()
    assert "imposed" not in said
    assert "simulated" not in said.replace("a simulated run", "")


def test_what_the_configuration_refuses():
    given = {"task": "regression", "target": "phenotype"}
    with pytest.raises(UserError, match=r"needs phenotype.name and phenotype.regions"):
        load_config(preset="smoke", overrides=given)
    with pytest.raises(UserError, match=r"no other target has them"):
        load_config(preset="smoke", overrides={
            "task": "regression", "target": "age", "phenotype": {"name": "x", "regions": ["Putamen_L"]}
        })  # fmt: skip


def test_runs_without_a_phenotype_keep_their_identity():
    assert "phenotype" not in load_config(preset="smoke").stored()
    with_one = load_config(preset="phenotype").stored()
    assert with_one["phenotype"] == {"name": "putamen", "regions": ["Putamen_L", "Putamen_R"]}


def test_a_region_that_the_atlas_lacks_is_named(made, tmp_path):
    data = next(iter(made[1].parent.glob("heads*")))
    wrong = [*OF_ITS_OWN, "phenotype={name: putamen, regions: [Putamen]}"]
    done = job(tmp_path, "--preset", "smoke", "--data", data, *settings(wrong))
    assert done.returncode == 2
    assert "phenotype.regions: the atlas has no region Putamen; it has Precentral_L" in done.stderr
