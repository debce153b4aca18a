"""`run_pipeline.py explain`: new scans by the networks of a finished run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from brains import brain, cohort, job, settings, tiny_run

from engine.cli import main
from engine.cohort.splits import check_no_leak
from engine.pipeline.new_scans import stages
from engine.pipeline.new_scans.bounds import bounds, reference_flags
from engine.pipeline.new_scans.reference_run import ReferenceRun, find_reference
from engine.pipeline.new_scans.run import NewScansRun
from engine.progress import Progress
from engine.training.checkpoints import load_model
from store import list_runs, open_run
from store.writing.validate import validate

NETWORKS = {"holdout", "holdout-seed-1", "holdout-seed-2", "fold-1", "fold-2"}  # of a smoke run


@pytest.fixture(autouse=True)
def _keep_signals(monkeypatch):
    monkeypatch.setattr(main.signal, "signal", lambda *a: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """data/: the brains of a cohort; store/: a run on them; new/: brains that it does not know."""
    folder = tmp_path_factory.mktemp("explain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main.signal, "signal", lambda *a: None)
        tiny_run(folder / "store", cohort(folder / "data"))
        brain(folder / "new" / "like.nii.gz", 50)
        brain(folder / "new" / "aside.nii.gz", 51, shift=2)
        files = [folder / "new" / "like.nii.gz", folder / "new" / "aside.nii.gz"]
        assert explain(folder / "store", *files) == 0
    return folder


def explain(store: Path, *arguments: object) -> int:
    return job("explain", "tiny", *arguments, "--store", store, "--device", "cpu")


def refused(capsys, message: str, *arguments: object) -> None:
    """The command ends with one line that holds the message."""
    code = job("explain", *arguments, "--device", "cpu")
    text = capsys.readouterr().err
    lines = [line for line in text.splitlines() if line.startswith("error: ")]
    assert code in (1, 2), text
    assert len(lines) == 1, text
    assert message in lines[0]
    assert "Traceback" not in text


def copied(folder: Path, to: Path, **manifest) -> ReferenceRun:
    """The trained run in another store, with another word in its manifest."""
    source = folder / "store" / open_run(folder / "store", "tiny").run_id
    shutil.copytree(source, to / source.name)
    file = to / source.name / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | manifest))
    return find_reference(source.name, to)


@pytest.fixture(scope="module")
def reference(folder):
    return find_reference("tiny", folder / "store")


@pytest.fixture(scope="module")
def run(folder):
    return open_run(folder / "store", "tiny-scans")


def test_the_new_run_is_valid_and_names_its_reference(folder, run, reference):
    assert validate(folder / "store" / run.run_id) == []
    assert run.reference_run == reference.run_id
    assert not run.simulated
    assert run.table("scans")["role"].tolist() == ["apply", "apply"]
    assert run.table("scans")["diagnosis"].tolist() == ["unknown", "unknown"]
    assert run.table("scans")["fold"].isna().all()
    assert run.table("metrics").empty
    assert run.manifest["config"]["explain"] == reference.reader.manifest["config"]["explain"]
    assert run.has_native("like")


def test_every_network_predicts_every_scan_as_it_is(run, reference):
    predictions = run.table("predictions")
    assert len(predictions) == 10  # two scans by five networks: held-out, trained again twice, two folds
    assert predictions["correct"].isna().all()
    row = predictions[(predictions["model"] == "fold-2") & (predictions["scan"] == "aside")].iloc[0]
    network, normalisation, _ = load_model(reference.store / reference.run_id / "models", "fold-2", run.mask)
    volume = torch.from_numpy(normalisation(run.volume("aside")[None]))[:, None]
    with torch.no_grad():
        logits = network(volume)[0]
    assert float(logits[1] - logits[0]) == pytest.approx(row["margin"], abs=1e-4)
    assert run.file("models/fold-2.safetensors") == reference.reader.file("models/fold-2.safetensors")


def test_all_methods_of_the_run_with_their_parameters(run, reference):
    counts = run.table("heatmaps").groupby(["model", "method", "target"])["scan"].nunique()
    assert counts["holdout", "occlusion", "AD"] == counts["fold-1", "sensitivity", "AD"] == 2
    path = "heatmaps/holdout/occlusion/AD/margin"
    assert run.attributes(path)["parameters"] == reference.reader.attributes(path)["parameters"]
    assert np.abs(run.heatmap("holdout", "area_occlusion", "like", target="AD")).sum() > 0


def test_a_scan_with_several_models_counts_once(run):
    cells = run.table("cells", model_set="folds", method="sensitivity", target="AD")
    assert cells["weight"].sum() == pytest.approx(2)
    assert (cells["scans"] <= 2).all()
    regions = run.table("group_regions", model_set="folds", target="AD", merged=False)
    assert regions["share"].sum() == pytest.approx(1, rel=1e-4)
    assert (regions["subjects"] == 2).all()


def test_they_are_no_group_to_be_far_from(run, reference):
    spread = run.table("variability")
    assert len(spread) == 12  # 2 scans x (4 methods of the held-out network + 1 of each of 2 folds)
    assert spread["distance_to_group"].isna().all()
    assert (spread["temporal_share"] > 0).all()
    assert reference.reader.table("variability")["distance_to_group"].notna().any()


def test_a_scan_out_of_the_range_of_the_cohort_is_flagged(run, reference):
    flags = run.table("flags")
    assert set(flags["scan"]) == {"aside"}
    assert set(flags["source"]) == {"limits", "reference"}  # of the settings and of the cohort
    row = flags[flags["source"] == "reference"].set_index("figure").loc["template_correlation"]
    assert row["value"] < row["low"]
    assert reference.run_id in row["text"]
    assert any("Not to be judged" in notice and "brain volume" in notice for notice in run.manifest["notices"])


def test_the_summary_and_the_json_line(folder, capsys):
    files = [folder / "new" / f"{name}.nii.gz" for name in ("like", "aside")]
    assert explain(folder / "store", *files, "--json") == 0
    said = capsys.readouterr()
    assert "already finished" in said.err
    assert "WARNING: correlation with the template" in said.err
    found = json.loads(said.out)
    assert set(found["probability"]["like"]) == NETWORKS
    assert {flag["scan"] for flag in found["flags"]} == {"aside"}


def test_a_scan_of_the_cohort_is_explained_by_networks_that_never_saw_it(folder, reference, capsys):
    known = reference.scans[~reference.scans["holdout"].astype(bool)].iloc[0]
    file = brain(folder / "again" / "another-name.nii.gz", 0)
    shutil.copy(folder / "data" / f"scan{known['subject'][1:]}.nii.gz", file)
    assert explain(folder / "store", file, "--name", "known") == 0
    assert f"explained only by fold-{known['fold']}" in capsys.readouterr().err
    run = open_run(folder / "store", "known")
    assert run.table("predictions")["model"].tolist() == [f"fold-{known['fold']}"]
    theirs = reference.reader.table("predictions", model=f"fold-{known['fold']}", scan=known["scan"])
    assert run.table("predictions")["margin"].tolist() == pytest.approx(theirs["margin"].tolist(), abs=1e-4)
    assert run.table("models")["model"].tolist() == [f"fold-{known['fold']}"]


def test_a_scan_that_all_networks_saw_is_refused(folder, reference, capsys, monkeypatch):
    learnt = [j for j in reference.jobs if "p0" in reference.learnt_from(j)]
    monkeypatch.setattr(ReferenceRun, "jobs", learnt)
    refused(capsys, "all networks", "tiny", folder / "data" / "scan0.nii.gz", "--store", folder / "store")


def test_the_person_is_known_by_the_table(folder, reference):
    table = folder / "persons.csv"
    table.write_text("file,subject,age,diagnosis\nlike.nii.gz,p0,71.5,Dementia\naside.nii.gz,new,,MCI\nother.nii,x,,\n")
    files = [folder / "new" / f"{name}.nii.gz" for name in ("aside", "like")]
    config = reference.configuration(None, {})
    progress = Progress(quiet=True)
    run = NewScansRun(config, folder / "s", "cpu", progress, reference=reference, files=tuple(files), table=table)
    stages.ingest(run)
    assert run.cohort.scans["diagnosis"].tolist() == ["MCI", "AD"]
    assert run.cohort.scans["age"].iloc[1] == 71.5
    assert run.known_subjects == {"p0": "p0"}
    theirs = reference.scans.set_index("subject").loc["p0"]
    unseen = {f"fold-{theirs['fold']}"} | ({"holdout"} if theirs["holdout"] else set())
    assert {one.model for one in run.jobs if "p0" in one.explain} == unseen
    assert {one.model for one in run.jobs if "new" in one.explain} == NETWORKS


def test_what_each_network_learnt_from_is_what_the_run_says(reference):
    trained = reference.reader.table("models").set_index("model")
    for one in reference.jobs:
        assert len(one.train) == trained["training_scans"][one.model]
        check_no_leak(reference.scans, one)
        groups, read = reference.training_scans(one)
        negative = groups["NC"]
        assert set(negative) < set(one.train)
        assert set(reference.scans.set_index("scan")["group"][negative]) == {"NC"}
        assert read(negative[:1]).shape == (1, *reference.reader.mask.shape)


def test_tissue_of_the_training_scans_is_in_the_store_or_refused(folder, tmp_path, capsys):
    like = folder / "new" / "like.nii.gz"
    other = settings("explain.area_occlusion.reference=nc_mean", "explain.holdout=[area_occlusion]", "explain.folds=[]")
    assert explain(folder / "store", like, "--name", "tissue", *other) == 0
    assert open_run(folder / "store", "tissue").table("heatmaps")["method"].unique().tolist() == ["area_occlusion"]
    store = copied(folder, tmp_path).store
    shutil.rmtree(next(store.glob("tiny-*")) / "arrays.zarr" / "scans")
    refused(capsys, "does not hold the training scans", "tiny", like, "--store", store, *other)


def test_interrupted_it_goes_on(folder, capsys, monkeypatch):
    def stop(run):
        raise main.StopSignalError(15)

    arguments = (folder / "new" / "like.nii.gz", "--name", "halves")
    with monkeypatch.context() as patch:
        patch.setitem(stages.STAGES, "aggregate", stop)
        assert explain(folder / "store", *arguments) == 128 + 15
    assert explain(folder / "store", *arguments) == 0
    said = capsys.readouterr().err
    assert "the same command goes on" in said
    assert "[4/7] explain (done before)" in said
    assert validate(folder / "store" / open_run(folder / "store", "halves").run_id) == []


def test_of_a_simulated_run_it_is_said(folder, tmp_path):
    reference = copied(folder, tmp_path, simulated=True)
    config = reference.configuration(None, {})
    assert config.cohort.reader == "table"
    assert config.preprocessing.registration == "syn_quick"  # the default, not what the simulated run had
    file = folder / "new" / "like.nii.gz"
    run = NewScansRun(config, tmp_path, "cpu", Progress(quiet=True), reference=reference, files=(file,))
    stages.ingest(run)
    assert not run.cohort.simulated
    assert any("trained on SIMULATED change" in notice for notice in run.notices)


def test_other_preprocessing_is_said(reference):
    config = reference.configuration(None, {"preprocessing.intensity": "none"})
    run = NewScansRun(config, reference.store, "cpu", Progress(quiet=True), reference=reference)
    assert any("intensity none instead of white_matter" in line for line in run.warnings)


def test_plan_computes_nothing(folder, capsys):
    before = len(list_runs(folder / "store"))
    assert explain(folder / "store", folder / "new" / "like.nii.gz", "--name", "planned", "--plan") == 0
    said = capsys.readouterr().err
    assert "holdout: sensitivity, guided_backprop, occlusion, area_occlusion" in said
    assert "in all about" in said
    assert len(list_runs(folder / "store")) == before


def test_bad_input(folder, tmp_path, capsys):
    store, like = ("--store", folder / "store"), folder / "new" / "like.nii.gz"
    refused(capsys, "RUN nothing: there is no run nothing", "nothing", like, *store)
    refused(capsys, "absent.nii.gz: file not found", "tiny", tmp_path / "absent.nii.gz", *store)
    refused(capsys, "given twice", "tiny", like, like, *store)
    refused(capsys, "--set training.epochs", "tiny", like, *store, *settings("training.epochs=3"))
    refused(capsys, "unknown key", "tiny", like, *store, *settings("explain.nothing=3"))
    refused(capsys, "give that run", "tiny-scans", like, *store)
    (tmp_path / "t.csv").write_text("file,age\nanother.nii.gz,70\n")
    refused(capsys, "one row for like.nii.gz is needed", "tiny", like, *store, "--table", tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("image_id,age\n1,70\n")
    refused(capsys, "no column file", "tiny", like, *store, "--table", tmp_path / "t.csv")
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    refused(capsys, "is empty (0 bytes)", "tiny", tmp_path / "empty.nii.gz", *store)
    run = folder / "store" / open_run(*store[1:], "tiny").run_id
    refused(capsys, "leave --store out", run, like, "--store", tmp_path)


def test_weights_that_are_not_those_of_the_run_are_refused(folder, tmp_path, capsys):
    reference = copied(folder, tmp_path)
    file = tmp_path / reference.run_id / "models" / "holdout.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    refused(capsys, "checksum of the network holdout", "tiny", folder / "new" / "like.nii.gz", "--store", tmp_path)


def test_several_runs_of_one_name_must_be_told_apart(folder, tmp_path, capsys):
    run = copied(folder, tmp_path).run_id
    shutil.copytree(tmp_path / run, tmp_path / "tiny-00000000")
    refused(capsys, "2 runs", "tiny", folder / "new" / "like.nii.gz", "--store", tmp_path)
    assert find_reference(run, tmp_path).run_id == run
    assert find_reference(str(tmp_path / run), Path("elsewhere")).store == tmp_path


def test_bounds_are_robust_and_need_a_handful_of_scans():
    usual = pd.Series([0.90, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, np.nan])
    assert bounds(usual, True) is None
    low, high = bounds(pd.concat([usual, pd.Series([0.1])]), both=True)  # one scan that went wrong
    assert 0.7 < low < 0.9
    assert high > 0.96
    assert np.isnan(bounds(pd.concat([usual, pd.Series([0.1])]), both=False)[1])
    same = bounds(pd.Series([1.0] * 9), both=True)
    assert same == pytest.approx((0.965, 1.035))


def test_figures_that_cannot_be_judged_are_named():
    figures = ["template_correlation", "mask_dice", "brain_ml", "intensity_low", "intensity_high"]
    rows = pd.DataFrame({"scan": [f"s{i}" for i in range(4)], **{figure: [0.9] * 4 for figure in figures}})
    flags, unjudged = reference_flags(rows, rows, "r")
    assert flags.empty
    assert len(unjudged) == 5


def test_help(capsys):
    for words in (["--help"], ["explain", "--help"]):
        with pytest.raises(SystemExit):
            job(*words)
    text = capsys.readouterr().out
    assert "run_pipeline.py explain" in text
    assert "RUN" in text


def test_networks_of_a_regression_say_a_value(folder, capsys):
    tiny_run(folder / "years", folder / "data", "task=regression", "target=age", name="years")
    file = folder / "new" / "like.nii.gz"
    assert job("explain", "years", file, "--store", folder / "years", "--device", "cpu", "--json") == 0
    said = capsys.readouterr()
    found = json.loads(said.out.splitlines()[-1])
    run = open_run(folder / "years", found["run"])
    assert validate(folder / "years" / run.run_id) == []
    assert run.task == "regression"
    rows = run.table("predictions")
    assert rows["probability"].isna().all()
    assert rows["correct"].isna().all()
    for row in rows.itertuples():
        card = json.loads(run.file(f"models/{row.model}.json"))
        assert row.value == pytest.approx(card["target_mean"] + card["target_sd"] * row.margin)
    assert found["value"]["like"]["holdout"] == pytest.approx(rows.set_index("model")["value"]["holdout"], abs=1e-4)
    assert "like: age " in said.err
