"""Each kind of data as it was downloaded, by the command line: --plan says what was found and what is left out."""

from __future__ import annotations

import adni_factory
import bids_factory
import oasis_factory
import pytest

import run_pipeline
from engine.cli import main
from engine.cli.plan import REASONS, _left_out
from engine.cohort.scans import exclusion_table
from engine.config.loading import load_config
from engine.errors import UserError


@pytest.fixture
def plan(capsys, monkeypatch, tmp_path):
    """Runs --plan on a folder with two folds; returns what it says."""
    monkeypatch.setattr(main.signal, "signal", lambda *a: None)
    monkeypatch.setenv("COLUMNS", "300")

    def said(*arguments: object) -> str:
        store = tmp_path / "results"
        options = ["--plan", "--store", store, "--set", "split.folds=2", *arguments]
        code = main.main(run_pipeline.STAGES, [str(a) for a in options])
        text = capsys.readouterr().err
        assert code == 0, text
        assert not store.exists()
        return text

    return said


def options(*arguments: object):
    return main.configuration(main.parser(run_pipeline.STAGES).parse_args([str(a) for a in arguments]))


def test_plan_of_a_bids_dataset(plan, tmp_path):
    text = plan("--cohort", "bids", "--data", bids_factory.dataset(tmp_path / "study", more=4))
    assert "plan of bids, nothing is computed" in text
    assert "cohort: study, 11 scans of 9 subjects, 3 excluded" in text
    assert "found: 13 x T1w image of a scanner, of 10 participants in 11 sessions" in text
    assert "AD: 5 scans" in text
    assert "excluded: sub-01_ses-M00_run-2_T1w: another image of the session is used" in text


def test_plan_of_oasis(plan, tmp_path):
    text = plan("--cohort", "oasis", "--data", oasis_factory.cross_sectional(tmp_path / "oasis1", more=4))
    assert "found: 11 sessions in oasis_cross-sectional.csv, 10 of them with an image" in text
    assert "NC: 4 scans" in text
    assert "excluded: OAS1_9003_MR1, OAS1_9003_MR2: no label" in text
    assert "excluded: OAS1_9006_MR1: no image of the kind atlas" in text


def test_plan_of_an_adni_download(plan, tmp_path):
    data = adni_factory.download(tmp_path / "data", more=6)
    text = plan("--cohort", "adni", "--data", data)
    assert "AD: 5 scans" in text
    assert "excluded: 900_S_9001_I900101, 900_S_9001_I900103: another scan of the visit is used: I900102" in text
    assert "diagnosis: the Group of the subject at screening" in text


def test_plan_of_the_merged_table(plan, tmp_path):
    about = (("CN", "NL"), ("Dementia", "AD"))
    rows = [
        f"{i},903_S_{i},bl,{about[i % 2][0]},2006-02-01,92{i},1/15/2006,MPR,ADNI Screening,0,{about[i % 2][1]}"
        for i in range(9200, 9208)
    ]
    data = adni_factory.merged(tmp_path / "study", rows=rows)
    options = ("split.holdout_per_group=1", "atlas.placement=affine", "cohort.adni.failed=[903_S_9200/ADNIScreening]")
    settings = [part for option in options for part in ("--set", option)]
    text = plan("--cohort", "adni", "--data", data, "--preset", "rieke2018", *settings)
    assert "found: 15 scans of 12 subjects in visits.csv" in text
    assert "found: failed: 1 scans of the table" in text
    assert "excluded: 900_S_9003_900301: label MCI is in no group" in text


def test_equal_reasons_share_a_line(plan, tmp_path):
    study = bids_factory.dataset(tmp_path / "study", more=8)
    for person in (51, 53, 55):
        (study / f"sub-{person}/anat/sub-{person}_T1w.nii.gz").unlink()
    text = plan("--cohort", "bids", "--data", study)
    assert "excluded: sub-06, sub-51, sub-53 and 1 more: no T1w image of a scanner" in text


def test_too_few_people_are_told_after_what_was_found(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(main.signal, "signal", lambda *a: None)
    data = oasis_factory.cross_sectional(tmp_path / "oasis1")
    arguments = ["--plan", "--cohort", "oasis", "--data", str(data), "--store", str(tmp_path / "results")]
    assert main.main(run_pipeline.STAGES, arguments) == 2
    text = capsys.readouterr().err
    assert text.index("excluded: OAS1_9006_MR1") < text.index("error: split.folds: 5 folds need at least 5 subjects")


def test_many_reasons_are_cut_short():
    rows = [{"scan": f"s{i}", "subject": "p", "stage": "ingest", "reason": f"reason {i // 2}"} for i in range(50)]
    lines = _left_out(exclusion_table(rows))
    assert len(lines) == REASONS + 1
    assert lines[0] == "    excluded: s0, s1: reason 0"
    assert lines[-1] == "    excluded: 10 more for 5 other reasons"
    assert _left_out(exclusion_table([])) == []


def test_the_table_is_looked_for_in_the_folder_then_here(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "in.tsv").write_text("a\n1\n")
    (tmp_path / "out.tsv").write_text("a\n1\n")
    monkeypatch.chdir(tmp_path)
    given = ("--cohort", "bids", "--data", "data", "--table")
    assert options(*given, "in.tsv").cohort.table == "in.tsv"
    assert options(*given, "nowhere.tsv").cohort.table == "nowhere.tsv"
    outside = options(*given, "out.tsv")
    assert outside.cohort.table == str(tmp_path / "out.tsv")
    assert outside.stored()["cohort"]["table"] == "out.tsv"


def test_a_run_is_called_as_its_cohort_unless_it_has_a_name():
    assert options("--cohort", "bids").name == "bids"
    assert options("--cohort", "bids", "--preset", "smoke").name == "smoke"
    assert options("--cohort", "bids", "--name", "mine").name == "mine"


@pytest.mark.parametrize("reader", ["bids", "oasis", "adni"])
def test_known_kinds_have_their_usual_labels(reader):
    cohort = load_config(overrides={"cohort.reader": reader}).cohort
    assert list(cohort.diagnosis) == ["AD", "NC"]
    assert "MCI" in cohort.apply
    own = load_config(overrides={"cohort.reader": reader, "cohort.diagnosis": {"P": ["x"], "N": ["y"]}}).cohort
    assert (own.diagnosis, own.apply) == ({"P": ["x"], "N": ["y"]}, [])


def test_the_rule_for_every_scan_is_checked():
    with pytest.raises(UserError, match="two groups are needed"):
        load_config(overrides={"cohort.reader": "bids", "cohort.groups": {"old": "age > 60"}})


def test_a_table_without_a_kind(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(main.signal, "signal", lambda *a: None)
    assert main.main(run_pipeline.STAGES, ["--plan", "--table", "x.csv", "--store", str(tmp_path)]) == 2
    assert "--table: the simulated cohort reads no files; add --cohort {table,bids" in capsys.readouterr().err
