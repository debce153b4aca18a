"""The job from end to end on the smoke preset: as a user types it, interrupted, again, and with real files."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kill_pipeline import differences, published, rounds
from scipy import stats
from sklearn.metrics import roc_auc_score

from engine.pipeline import replication
from engine.pipeline.stages import ORDER
from store import open_run
from store.keys import BASELINES, GroupKey, explains
from store.reading.truth import binary_of, scan_change, visible_change
from store.writing.validate import validate

ROOT = Path(__file__).resolve().parent.parent
# Even smaller than smoke, for what has to run several times.
TINY = [
    "cohort.simulation.positive=6", "cohort.simulation.negative=6", "cohort.simulation.apply_mci=1",
    "training.epochs=2", "explain.occlusion={half_width_mm: 48, stride_mm: 80}", "explain.folds=[sensitivity]",
    "explain.holdout=[sensitivity, guided_backprop, occlusion]",
    "trust={networks: 1, scans: 2, measures: [randomisation, stability]}",
]  # fmt: skip


def job(store: Path, *arguments: str, **kwargs) -> subprocess.CompletedProcess:
    command = [sys.executable, "run_pipeline.py", "--store", str(store), "--device", "cpu", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, **kwargs)


def settings(values: list[str]) -> list[str]:
    return [part for value in values for part in ("--set", value)]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """(finished process, store) of the smoke preset."""
    store = tmp_path_factory.mktemp("smoke")
    done = job(store, "--preset", "smoke", "--json")
    assert done.returncode == 0, done.stderr
    return done, store


@pytest.fixture(scope="module")
def run(smoke):
    return open_run(smoke[1])


def test_the_json_line_is_all_of_standard_output(smoke):
    line = json.loads(smoke[0].stdout)
    assert set(line) >= {"run", "store", "seconds", "peak_mib", "metrics"}
    assert set(line["metrics"]) >= {"auc_mean", "auc_sd", "balanced_accuracy_mean", "truth_auc"}
    assert set(line["metrics"]) >= {f"truth_auc_{name}" for name in ("low", "high", "untrained", "null", "ceiling")}
    assert set(line["seconds"]) >= {"preprocess", "train", "explain", "aggregate", "compare", "trust"}
    assert Path(line["store"]) == smoke[1]
    assert 0 <= line["metrics"]["auc_mean"] <= 1


def test_standard_error_tells_the_stages(smoke):
    for number, stage in enumerate(ORDER, 1):
        assert f"[{number}/8] {stage}" in smoke[0].stderr
    assert "SIMULATED" in smoke[0].stderr


def test_retrained_networks_explain_the_test_set_and_count_in_no_average(run):
    again = ["holdout-seed-1", "holdout-seed-2"]
    assert set(again) <= set(run.table("models")["model"])
    maps = run.table("heatmaps", method="occlusion")
    of_held_out = set(maps.loc[maps["model"] == "holdout", "scan"])
    assert of_held_out
    assert all(set(maps.loc[maps["model"] == model, "scan"]) == of_held_out for model in again)
    cells = run.table("cells", model_set="holdout", method="sensitivity")
    assert cells["scans"].sum() == len(of_held_out)
    regions = run.table("group_regions", model_set="holdout", method="sensitivity", target="AD", merged=False)
    one = regions[(regions["diagnosis"] == "AD") & (regions["region"] == "Hippocampus_L")].iloc[0]
    shares = run.table("region_relevance", model="holdout", method="sensitivity", target="AD", region="Hippocampus_L")
    patients = run.table("predictions", model="holdout", diagnosis="AD")["scan"]
    assert one["share"] == pytest.approx(shares.loc[shares["scan"].isin(patients), "share"].mean())


def test_every_method_is_randomised_layer_by_layer_and_by_shuffled_labels(run):
    table = run.table("randomisation")
    methods = set(run.table("heatmaps", model="holdout")["method"])
    assert set(table["method"]) == methods == {"sensitivity", "guided_backprop", "occlusion", "area_occlusion"}
    for _, rows in table.groupby(["method", "measure"]):
        cascade = rows[rows["kind"] == "cascade"].sort_values("step")
        assert cascade["layer"].tolist() == ["fc3", "fc2", "fc1", "conv4", "conv3", "conv2", "conv1"]
        assert cascade["step"].tolist() == list(range(1, 8))
        assert rows.loc[rows["kind"] == "shuffled_labels", "step"].tolist() == [0]
    assert table["value"].between(-1, 1).all()
    assert (table["scans"] + table["empty"] == 4).all()


def test_the_store_is_valid_and_nothing_is_left_in_the_workshop(smoke, run):
    assert validate(smoke[1] / run.run_id) == []
    assert not [p for p in (smoke[1] / ".work").iterdir() if p.is_dir()]


def test_the_rules_of_the_paper_are_measured_on_a_finished_run(smoke, run, capsys):
    assert replication.main([str(smoke[1]), run.run_id, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    of = {(row["rule"], row["method"]): row for row in found["rankings"]}
    assert {rule for rule, _ in of} == set(replication.RULES)
    for method in {method for _, method in of}:
        assert of["weights", method]["changed"] == 0  # one scan a subject
        assert of["weights", method]["rank_correlation"] == pytest.approx(1)
        stored = run.table("group_regions", model_set="folds", method=method, target="AD", diagnosis="AD", merged=True)
        assert of["scale", method]["first"] == stored.loc[stored["rank"] == 1, "region"].item()
    assert found["folds"]["rieke2018"]["same_test_set"] == 1
    assert 0.2 < found["hippocampus_dice"] < 0.7
    stored = run.table("metrics", classifier="cnn", level="scan", metric="auc").set_index("model")["value"]
    assert found["accuracy"][0]["auc"]["mean"] == pytest.approx(stored["mean"])


def test_a_finished_run_is_found_and_not_computed_again(smoke):
    before = published(smoke[1]).stat().st_mtime_ns
    again = job(smoke[1], "--preset", "smoke", "--json")
    assert again.returncode == 0
    assert "already finished" in again.stderr
    assert json.loads(again.stdout)["metrics"] == json.loads(smoke[0].stdout)["metrics"]
    assert published(smoke[1]).stat().st_mtime_ns == before


def test_every_promised_heatmap_is_there(run):
    counts = run.table("heatmaps").groupby(["model", "method", "target"])["scan"].nunique()
    assert counts["holdout", "occlusion", "AD"] == 6  # 2 + 2 test scans and 2 MCI
    assert counts["holdout", "guided_backprop", "NC"] == 6
    assert counts["fold-1", "sensitivity", "AD"] + counts["fold-2", "sensitivity", "AD"] == 22
    with pytest.raises(KeyError):
        counts["fold-1", "occlusion", "AD"]


def test_heatmaps_are_what_the_stored_network_gives(smoke, run):
    """Weights, normalisation, scan and heatmap out of the store, the gradient computed again."""
    import torch

    from engine.relevance.gradients import input_gradient
    from engine.training.checkpoints import load_model

    row = run.table("predictions", model="holdout").iloc[0]
    network, normalisation, card = load_model(published(smoke[1]) / "models", "holdout", run.mask)
    volume = torch.from_numpy(normalisation(run.volume(row["scan"])[None]).astype(np.float32))[:, None]
    with torch.no_grad():
        logits = network(volume)[0]
    assert card["classes"] == ["NC", "AD"]
    assert float(logits[1] - logits[0]) == pytest.approx(row["margin"], abs=5e-3)
    expected = input_gradient(network, volume, 1)[0].numpy()
    expected[~run.mask] = 0
    found = run.heatmap("holdout", "sensitivity", row["scan"], target="AD")
    assert np.corrcoef(found[run.mask], expected[run.mask])[0, 1] > 0.999
    np.testing.assert_allclose(np.abs(found).sum(), np.abs(expected).sum(), rtol=0.02)


def test_no_subject_is_trained_on_and_explained(run):
    scans, predictions = run.table("scans"), run.table("predictions")
    fold = scans.set_index("scan")["fold"]
    folds = predictions[predictions["model_set"] == "folds"]
    assert (folds["model"] == "fold-" + folds["scan"].map(fold).astype(str)).all()
    assert folds["scan"].is_unique
    held_out = predictions[predictions["model"] == "holdout"]["scan"]
    assert scans.set_index("scan").loc[held_out, "holdout"].all()
    assert scans.groupby("subject")["holdout"].nunique().max() == 1


def test_truth_scores_are_means_over_the_networks_trained_alike(run):
    rows = run.table("truth_scores", model_set="holdout", diagnosis="AD", level="group", method="sensitivity")
    row = rows.set_index("score").loc["voxel_auc"]
    assert row["networks"] == 3
    inside = np.asarray(run.mask, bool)
    truth = binary_of(visible_change(run), inside)[inside]
    patients = run.table("predictions", model="holdout", diagnosis="AD")["scan"]
    found = []
    for model in ("holdout", "holdout-seed-1", "holdout-seed-2"):
        maps = [np.abs(run.heatmap(model, "sensitivity", scan, target="AD"))[inside] for scan in patients]
        found.append(roc_auc_score(truth, np.mean([one / one.sum() for one in maps], axis=0)))
    assert row["value"] == pytest.approx(np.mean(found), abs=1e-5)
    assert np.ptp(found) > 1e-3


def test_apply_scans_are_explained_and_never_counted(run):
    predictions = run.table("predictions")
    mci = predictions[predictions["diagnosis"] == "MCI"]
    assert len(mci) == 8  # two scans, by the held-out model, as it was trained again twice, and by one fold each
    assert mci["correct"].isna().all()
    metrics = run.table("metrics", classifier="cnn", level="scan").set_index(["model", "metric"])["value"]
    cells = ["true_positive", "false_negative", "false_positive", "true_negative"]
    assert sum(metrics["fold-1", c] + metrics["fold-2", c] for c in cells) == 20
    assert run.group_map(GroupKey("folds", "sensitivity", "AD", "relative"), diagnosis=["MCI"]).scans == 2


def test_group_averages_equal_direct_computation(run):
    predictions = run.table("predictions", model_set="holdout")
    chosen = predictions[predictions["diagnosis"] == "AD"]
    maps = [run.heatmap("holdout", "sensitivity", s, target="AD") for s in chosen["scan"]]
    direct = np.mean([np.abs(m) / np.abs(m).sum() for m in maps], axis=0)
    stored = run.group_map(GroupKey("holdout", "sensitivity", "AD", "relative"), diagnosis=["AD"]).mean_abs
    np.testing.assert_allclose(stored, direct, atol=1e-3 * direct.max())


def test_shares_add_up(run):
    relevance = run.table("region_relevance", method="sensitivity", target="AD")
    totals = relevance.groupby(["model", "scan"])[["share", "share_atlas"]].sum()
    np.testing.assert_allclose(totals, 1, rtol=1e-5)
    ranked = run.table(
        "group_regions", model_set="holdout", method="occlusion", target="AD", diagnosis="AD", merged=True
    )
    top = ranked.sort_values("rank").iloc[0]
    assert top["share_of_average"] == ranked["share_of_average"].max()
    assert not {"Ventricles", "Unlabelled"} & set(ranked.loc[ranked["rank"].notna(), "region"])


def test_distances_and_variability_equal_direct_computation(run):
    predictions = run.table("predictions", model_set="folds")
    chosen = predictions[predictions["diagnosis"] == "AD"]

    def normal(row) -> np.ndarray:
        m = np.abs(run.heatmap(row.model, "sensitivity", row.scan, target="AD")[run.mask]).astype(float)
        return m / m.sum()

    maps = {row.scan: normal(row) for row in chosen.itertuples()}
    first = chosen.iloc[0]
    others = np.mean([m for scan, m in maps.items() if scan != first["scan"]], axis=0)
    expected = np.sqrt(((maps[first["scan"]] - others) ** 2).sum()) / 4**1.5 * 1e4
    found = run.table("variability", method="sensitivity", scan=first["scan"], model=first["model"])
    assert found["distance_to_group"].iloc[0] == pytest.approx(expected, rel=1e-3)

    def average(method: str) -> np.ndarray:
        scale, part = ("relative", "mean_abs") if method != "occlusion" else ("margin", "mean_positive")
        m = getattr(run.group_map(GroupKey("holdout", method, "AD", scale), diagnosis=["NC"]), part)[run.mask].astype(
            float
        )
        return m / m.sum()

    expected = np.sqrt(((average("sensitivity") - average("occlusion")) ** 2).sum()) / 4**1.5 * 1e4
    table = run.table("distances", model_set="holdout", diagnosis="NC", level="group", method_a="sensitivity")
    assert table.set_index("method_b")["distance"]["occlusion"] == pytest.approx(expected, rel=1e-3)


def test_simulated_truth_is_stored_and_labelled(run):
    assert run.simulated
    truth, change = run.array("truth/visible_binary").astype(bool), visible_change(run)
    assert 0.01 < truth[run.mask].mean() < 0.3
    assert not truth[~run.mask].any()
    assert not run.has_array("truth/binary")  # the log-Jacobian is no voxel truth
    scans = run.table("scans")
    patients = scans.loc[scans["group"] == "AD", "scan"]
    np.testing.assert_allclose(np.mean([scan_change(run, s) for s in patients], axis=0), change, atol=1e-4)
    assert not scan_change(run, scans.loc[scans["group"] == "NC", "scan"].iloc[0]).any()
    assert scan_change(run, scans.loc[scans["diagnosis"] == "MCI", "scan"].iloc[0]).any()
    imposed = set(run.table("truth_regions", imposed=True)["region"])
    assert {"Hippocampus_L", "Temporal_Mid_R", "Ventricles"} < imposed
    assert not {"Unlabelled", "Caudate_L", "Precentral_R"} & imposed
    severity = run.table("scans").set_index("scan")["severity"]
    diagnosis = run.table("scans").set_index("scan")["diagnosis"]
    assert (severity[diagnosis == "NC"] == 0).all()
    assert severity[diagnosis == "AD"].mean() > severity[diagnosis == "MCI"].mean() > 0


def test_truth_scores_stand_between_references_and_ceilings(run):
    scores = run.table("truth_scores")
    assert set(scores["diagnosis"]) == {"AD", "NC"}
    auc = scores[scores["score"] == "voxel_auc"]
    np.testing.assert_allclose(auc["ceiling"], 1)  # a Series never equals pytest.approx
    assert auc["group_difference"].between(0.6, 1).all()
    assert (auc["value_low"] <= auc["value"]).all()
    assert (auc["value"] <= auc["value_high"]).all()
    known = auc[(auc["model_set"] == "holdout") & (auc["diagnosis"] == "AD")]
    baselines = known[~known["method"].map(explains)]
    assert set(baselines["method"]) == set(BASELINES)  # although no heatmap of theirs is stored
    assert set(baselines["level"]) == {"group", "signed_group", "scan"}
    assert len(baselines) == 3 * len(BASELINES)
    assert baselines[["value", "value_low", "value_high"]].notna().all(axis=None)
    assert (baselines["note"] == "the map is the same for any network").all()
    assert not run.table("heatmaps")["method"].isin(BASELINES).any()
    known = known.drop(baselines.index)
    ensembles = known[known["level"].isin(["ensemble", "signed_ensemble"])]
    assert set(ensembles["method"]) == {"sensitivity", "guided_backprop", "occlusion", "area_occlusion"}
    assert len(ensembles) == 8
    assert ensembles["value"].between(0.2, 0.9).all()
    assert ensembles[["reference", "null_reference"]].isna().all(axis=None), "three networks, two of each kind"
    assert (ensembles["note"] == "fewer reference networks than are averaged").all()
    known = known.drop(ensembles.index)
    assert set(known["method"]) == {"sensitivity", "guided_backprop", "occlusion", "area_occlusion"}
    for kind in ("", "null_"):
        assert known[f"{kind}reference"].between(0.2, 0.9).all()
        np.testing.assert_allclose(known[f"{kind}difference"], known["value"] - known[f"{kind}reference"])
        assert (known[f"{kind}difference_low"] <= known[f"{kind}difference"]).all()
    others = auc.drop(known.index)
    assert others["reference"].isna().all()  # missing, never 0
    assert (others["note"] != "").all()
    assert (known["note"] == "").all()


def test_stability_equals_direct_computation(run):
    """By SciPy and sets from the stored maps, for one network pair after another."""
    models = ["holdout", "holdout-seed-1", "holdout-seed-2"]
    scans, atlas, mask = run.table("scans"), run.atlas[run.mask], run.mask
    tested = scans[scans["holdout"] & (scans["role"] == "cohort")].set_index("scan")["diagnosis"]
    regions = range(1, int(run.table("regions")["in_atlas"].sum()) + 1)
    stability, of_pairs, of_scans = (run.table(f"stability{end}") for end in ("", "_pairs", "_scans"))
    assert set(stability["change"]) == {"retrained", "noise", "shift", "bias_field"}
    assert set(stability["diagnosis"]) == {"AD", "NC", "all"}
    for method, gradient in (("sensitivity", True), ("occlusion", False)):

        def compared(first: tuple[str, str], second: tuple[str, str], method: str = method, gradient: bool = gradient):
            maps = [run.heatmap(m, method, s, target="AD")[mask].astype(float) for m, s in (first, second)]
            masses = [np.abs(one) if gradient else np.maximum(one, 0) for one in maps]
            top = [set(np.flatnonzero((m >= np.sort(m)[-round(0.05 * m.size)]) & (m > 0))) for m in masses]
            density = [{r: m[atlas == r].mean() for r in regions if (atlas == r).any()} for m in masses]
            ten = [{r for r in sorted(d, key=d.get, reverse=True)[:10] if d[r] > 0} for d in density]
            return (
                stats.spearmanr(*maps).statistic,
                2 * len(top[0] & top[1]) / (len(top[0]) + len(top[1])) if all(top) else np.nan,
                len(ten[0] & ten[1]) / max(map(len, ten)) if all(ten) else np.nan,
            )

        pairs = list(itertools.combinations(models, 2))
        direct = {s: np.array([compared((a, s), (b, s)) for a, b in pairs]) for s in tested.index}
        measures = ["rank_correlation", "dice", "top_regions"]
        own = of_scans[(of_scans["method"] == method) & (of_scans["change"] == "retrained")]
        for scan, values in direct.items():
            stored = own[own["scan"] == scan].set_index("measure").loc[measures, "value"]
            np.testing.assert_allclose(stored, np.nanmean(values, axis=0), atol=1e-5)
        chosen = stability[(stability["method"] == method) & (stability["change"] == "retrained")]
        chosen = chosen[(chosen["level"] == "scan") & (chosen["diagnosis"] == "AD")].set_index("measure").loc[measures]
        patients = [np.nanmean(direct[s], axis=0) for s in tested.index[tested == "AD"]]
        np.testing.assert_allclose(chosen["value"], np.nanmean(patients, axis=0), atol=1e-5)
        first, second = tested.index[tested == "AD"]  # in whatever order: measures are symmetric
        others = [compared((model, first), (model, second)) for model in models]
        np.testing.assert_allclose(chosen["reference"], np.nanmean(others, axis=0), atol=1e-5)
        assert chosen["value_low"].isna().all()  # of two subjects
        assert set(chosen["networks"]) == {3}
        last = of_pairs[(of_pairs["method"] == method) & (of_pairs["model_b"] == models[2])]
        last = last[(last["model_a"] == models[1]) & (last["diagnosis"] == "all")].set_index("measure").loc[measures]
        np.testing.assert_allclose(last["value"], np.nanmean([v[2] for v in direct.values()], axis=0), atol=1e-5)


def test_agreement_maps_equal_direct_computation(run):
    models = ["holdout", "holdout-seed-1", "holdout-seed-2"]
    scans = run.table("scans")
    patients = scans.loc[scans["holdout"] & (scans["diagnosis"] == "AD"), "scan"]
    averages = []
    for model in models:
        maps = [run.heatmap(model, "guided_backprop", s, target="AD")[run.mask].astype(float) for s in patients]
        averages.append(np.mean([one / np.abs(one).sum() for one in maps], axis=0))
    mean, share = run.array("agreement/guided_backprop/AD/AD")
    np.testing.assert_allclose(mean[run.mask], np.mean(averages, axis=0), atol=1e-9)
    tops = [np.abs(one) >= np.sort(np.abs(one))[-round(0.05 * one.size)] for one in averages]
    signs = [np.sign(one) == np.sign(np.mean(averages, axis=0)) for one in averages]
    np.testing.assert_allclose(share[run.mask], np.mean(np.array(tops) & np.array(signs), axis=0), atol=1e-6)
    assert not mean[~run.mask].any()
    assert share.max() == 1


def test_anatomy_equals_direct_computation(run):
    scans, regions = run.table("scans"), run.table("regions")
    healthy = scans.loc[~scans["holdout"] & (scans["group"] == "NC") & (scans["role"] == "cohort"), "scan"]
    hippocampus = run.atlas == int(regions.set_index("region").loc["Hippocampus_L", "index"])
    inside = regions["in_atlas"] & (regions["voxels"] > 0)
    assert hippocampus.sum() == regions.set_index("region").loc["Hippocampus_L", "voxels"]

    def tissue(scan: str) -> np.ndarray:
        volume = run.volume(scan)
        white = np.percentile(volume[run.mask & (volume > 0)], 90)
        share = np.clip((volume / white - 0.3) / 0.3, 0, 1)
        return np.array([share[run.atlas == i].sum() for i in regions.loc[inside, "index"]])

    reference = np.array([tissue(scan) for scan in healthy])
    frame = run.table("anatomy_scans")
    for row in frame[frame["method"] == "guided_backprop"].itertuples():
        varies = reference.std(axis=0, ddof=1) > 1e-9 * reference.mean(axis=0)  # a region may be full of tissue in all
        away = (tissue(row.scan) - reference.mean(axis=0))[varies] / reference.std(axis=0, ddof=1)[varies]
        heatmap = run.heatmap("holdout", "guided_backprop", row.scan, target="AD")
        relevance = [heatmap[run.atlas == i].mean() for i in regions.loc[inside, "index"]]
        direct = stats.spearmanr(np.array(relevance)[varies], away).statistic
        assert row.correlation == pytest.approx(direct, abs=5e-3)  # stored volumes are rounded
    assert set(run.table("anatomy")["subjects"]) == {2, 4}
    assert run.table("anatomy")["correlation"].isna().all()  # fewer than five subjects


def test_provenance(run):
    manifest = run.manifest
    assert manifest["config"]["grid_mm"] == 4
    assert manifest["versions"]["torch"].startswith("2.13.0")
    assert manifest["seeds"]["fold-1"] == 1
    assert len(manifest["data_fingerprint"]) == 64
    assert str(ROOT) not in json.dumps(manifest)


def test_force_recomputes_from_a_stage_and_replaces(smoke, tmp_path):
    done = job(smoke[1], "--preset", "smoke", "--force", "--from", "aggregate", "--json")
    assert done.returncode == 0, done.stderr
    assert "already finished" not in done.stderr
    assert json.loads(done.stdout)["metrics"] == json.loads(smoke[0].stdout)["metrics"]


def test_same_settings_same_numbers(smoke, tmp_path):
    """Another store, another process: equal tables."""
    assert job(tmp_path, "--preset", "smoke").returncode == 0
    assert differences(published(smoke[1]), published(tmp_path)) == []


def test_interrupted_by_a_signal_it_says_so_and_goes_on(tmp_path):
    command = [sys.executable, "run_pipeline.py", "--preset", "smoke", "--store", str(tmp_path), *settings(TINY)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "[3/8] train" in line:
            break
    time.sleep(2)
    process.send_signal(signal.SIGTERM)
    said = process.stderr.read()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert "the same command goes on" in said
    assert "Traceback" not in said
    done = job(tmp_path, "--preset", "smoke", *settings(TINY))
    assert done.returncode == 0, done.stderr
    assert "[2/8] preprocess (done before)" in done.stderr
    assert validate(published(tmp_path)) == []


@pytest.mark.timeout(1500)
def test_kill_nine_at_random_moments():
    """Three kills of a smaller run; python tests/helpers/kill_pipeline.py does twenty of the smoke preset."""
    seed = int(os.environ.get("BRAINWHY_KILL_SEED", "1"))
    assert rounds(3, seed, TINY, kills_a_run=3) == []


def test_real_files_from_a_table(tmp_path):
    """NIfTI files, a CSV, labels and an apply label: the way of a researcher's cohort, registered beforehand."""
    import nibabel as nib

    from engine.images.grid import Grid
    from engine.images.template import template_brain

    data, brain, rng = tmp_path / "data", template_brain(4), np.random.default_rng(0)
    data.mkdir()
    rows = []
    for i in range(13):
        label = ("Dementia", "CN", "MCI")[min(i % 2 + 2 * (i == 12), 2)]
        volume = brain * (1 + 0.05 * rng.normal(size=brain.shape))
        volume[15:25, 20:30, 15:22] *= 0.7 if label == "Dementia" else 1.0
        nib.save(nib.Nifti1Image(volume.astype(np.float32), Grid(4).affine), data / f"scan{i}.nii.gz")
        rows.append({"path": f"scan{i}.nii.gz", "subject": f"p{i}", "label": label, "age": 70 + i, "sex": "FM"[i % 2]})
    rows.append({"path": "absent.nii.gz", "subject": "p99", "label": "CN", "age": 70, "sex": "F"})
    pd.DataFrame(rows).to_csv(data / "cohort.csv", index=False)
    (data / "decisions.csv").write_text("scan,decision\np3,accept\n")
    chosen = [
        "cohort.reader=table", "cohort.diagnosis={AD: [Dementia], NC: [CN]}", "cohort.apply=[MCI]",
        "preprocessing.registration=none", "preprocessing.brain_extraction=none", "preprocessing.processes=1",
        "explain.holdout=[sensitivity]", "explain.folds=[sensitivity]", "store.scans=false", "training.epochs=1",
        "preprocessing.quality.flag.template_correlation=[0.9999, null]",
    ]  # fmt: skip
    done = job(tmp_path / "store", "--preset", "smoke", "--name", "mine", "--data", data, *settings(chosen))
    assert done.returncode == 0, done.stderr
    run = open_run(tmp_path / "store")
    assert not run.simulated
    assert not run.has_table("truth_scores")
    assert not run.has_array("scans")  # store.scans: false
    assert run.table("exclusions")["reason"].str.contains("not found").tolist() == [True]
    assert run.table("scans")["diagnosis"].value_counts().to_dict() == {"AD": 6, "NC": 6, "MCI": 1}
    assert run.table("flags").groupby("decision")["scan"].count().to_dict() == {"": 12, "accept": 1}
    assert "12 of 13 scans flagged by the limits of preprocessing.quality" in done.stderr
    assert validate(published(tmp_path / "store")) == []
    assert str(data) not in (published(tmp_path / "store") / "manifest.json").read_text()


@pytest.mark.parametrize("direction", ["deletion", "insertion"])
def test_areas_of_faithfulness_are_those_of_a_plain_loop(smoke, run, direction):
    """The stored network, scan and heatmap; regions replaced one after the other, every volume a whole pass."""
    import torch

    from engine.training.checkpoints import load_model

    network, normalisation, _ = load_model(published(smoke[1]) / "models", "holdout", run.mask)

    def margin(volume: np.ndarray) -> float:
        with torch.no_grad():
            logits = network(torch.from_numpy(volume.astype(np.float32))[None, None])[0]
        return float(logits[1] - logits[0])

    table = run.table("faithfulness_scans", method="sensitivity", order="method", unit="region")
    row = table[table["direction"] == direction].dropna(subset="area").iloc[0]
    whole = normalisation(run.volume(row["scan"])[None])[0]
    high, low = margin(whole), margin(np.zeros_like(whole))
    heatmap = np.abs(run.heatmap("holdout", "sensitivity", row["scan"], target="AD"))
    labels = run.array("grid/atlas")
    means = {region: heatmap[labels == region].mean() for region in np.unique(labels[run.mask])}
    marked, margins, shares = np.zeros_like(run.mask), [high if direction == "deletion" else low], [0.0]
    for region in sorted(means, key=lambda name: -means[name]):
        marked |= labels == region
        margins.append(margin(np.where(marked == (direction == "deletion"), 0, whole)))
        shares.append((marked & run.mask).sum() / run.mask.sum())
    area = np.trapezoid((np.array(margins) - low) / (high - low), shares)
    assert row["area"] == pytest.approx(area, abs=0.01)


def test_faithfulness_has_every_order_and_curves_between_their_ends(run):
    table, curves = run.table("faithfulness", diagnosis="all"), run.table("faithfulness_curves", diagnosis="all")
    assert set(table["order"]) == {"method", "random", "group_difference", "untrained"}
    assert (table["scans"] + table["left_out"] == 4).all()
    assert (table.loc[table["order"] == "method", "gain"] == 0).all()
    for _, curve in curves.groupby(["method", "unit", "direction", "order"]):
        ends = curve.sort_values("step")["margin"].iloc[[0, -1]].tolist()
        assert sorted(ends) == pytest.approx([0, 1], abs=1e-4)
        assert (ends[0] > ends[1]) == (curve["direction"].iloc[0] == "deletion")
    scans = run.table("faithfulness_scans", method="occlusion", order="random", unit="voxel", direction="deletion")
    row = table.set_index(["method", "unit", "direction", "order"]).loc["occlusion", "voxel", "deletion", "random"]
    assert row["area"] == pytest.approx(scans["area"].mean())  # one scan a subject
    beside = run.table("false_positives", diagnosis="AD")
    assert beside["share_outside"].between(0, 1).all()
    assert beside["difference"].to_numpy() == pytest.approx((beside["marked"] - beside["mirrored"]).to_numpy())
