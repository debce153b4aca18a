"""Stores for others: of groups alone, and under pseudonyms. Nothing in them names anybody."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from derived_stores import CLINIC, NAME, crowd, derived, folder, found_in, group_level, pseudonymous, run_of

from store import NotInRunError, open_run
from store.__main__ import main
from store.deriving import command
from store.deriving.averages import rounded
from store.deriving.command import Request
from store.deriving.group_tables import large_cells
from store.deriving.leaks import look_for
from store.deriving.pseudonymous import pseudonymous_table
from store.deriving.pseudonyms import Pseudonyms, date_in, visits
from store.deriving.texts import kind_of, without_places
from store.errors import SpecViolationError
from store.export.methods_text import methods_text
from store.keys import GroupKey
from store.writing.validate import validate


def test_the_source_names_people_in_files_tables_and_names():
    found = found_in(crowd(), NAME, CLINIC)
    kinds = ("manifest.json", "tables/scans.parquet", "tables/region_relevance.parquet", "native/")
    assert all(any(kind in where for where in found) for kind in kinds)


@pytest.mark.parametrize("place", [group_level, pseudonymous])
def test_no_byte_of_a_derived_store_names_anybody(place):
    assert found_in(place(), NAME, CLINIC, "/home/", "2019-03", "2020-03") == []


@pytest.mark.parametrize("place", [group_level, pseudonymous])
def test_derived_stores_are_sound(place, capsys):
    assert main(["verify", str(place())]) == 0
    assert ": sound" in capsys.readouterr().out


def test_a_group_level_run_says_where_it_is_from_and_of_nobody():
    run, source = open_run(group_level()), open_run(crowd())
    said = run.manifest["derived"]
    assert (said["from"], said["how"]) == (source.run_id, "group level")
    assert said["fingerprint"] == source.manifest["fingerprint"]
    assert run.manifest["contents"]["heatmaps"] == 0
    assert not list(run_of(group_level()).rglob("*.safetensors"))
    for name in ("scans", "predictions", "heatmaps", "region_relevance", "variability", "quality", "exclusions"):
        assert run.table(name).empty
    assert not run.has_array("scans")


@pytest.mark.parametrize("method", ["sensitivity", "occlusion"])
@pytest.mark.parametrize("model_set", ["folds", "holdout"])
@pytest.mark.parametrize("scale", ["margin", "relative"])
def test_averages_are_those_of_the_source(method, model_set, scale):
    run, source = open_run(group_level()), open_run(crowd())
    for target in ("AD", "NC"):
        for diagnosis in ("AD", "NC"):
            key = GroupKey(model_set, method, target, scale)
            ours, theirs = (one.group_map(key, diagnosis=[diagnosis]) for one in (run, source))
            assert (ours.scans, ours.subjects) == (theirs.scans, theirs.subjects)
            for name in ("mean", "mean_abs", "mean_positive", "sd"):
                wanted = getattr(theirs, name)
                np.testing.assert_allclose(getattr(ours, name), wanted, atol=2e-3 * np.abs(wanted).max())
        assert run.cells_answer(key, diagnosis=["AD", "NC"])


def test_groups_of_few_and_what_they_would_follow_from_are_left_out():
    run = open_run(group_level())
    text = "".join(run.table(name).to_csv() for name in run.manifest["contents"]["tables"])
    assert "MCI" not in text
    assert set(run.table("cells").predicted) == {"all"}  # one AD scan is called NC: no cell, no count of it
    counts = run.table("group_counts")
    assert counts.predicted_positive.isna().all()
    assert "cohort" not in run.group_level["subjects"]  # 26 less 11 and 12 would be the three
    for name in ("metrics", "curves"):
        assert not {"true_positive", "false_negative"} & set(run.table(name).iloc[:, 3].astype(str))
    with pytest.raises(NotInRunError, match="correct True"):
        run.group_map(GroupKey("folds", "sensitivity", "AD"), correct=True)
    with pytest.raises(NotInRunError, match="diagnosis MCI"):
        run.group_map(GroupKey("folds", "sensitivity", "AD"), diagnosis=["MCI"])


def test_what_was_left_out_is_counted_without_names():
    counts = open_run(group_level()).table("exclusion_counts").set_index("reason")
    assert counts.scans["file not found"] == 6
    assert pd.isna(counts.scans["… is unreadable"])


@pytest.mark.parametrize(
    ("numbers", "kept"), [([3, 20, 30], [20, 30][1:]), ([3, 4, 30], [30]), ([8, 9], [8, 9]), ([3], [])]
)
def test_what_is_beside_one_small_cell_is_hidden_with_it(numbers, kept):
    numbers = np.array(numbers)
    assert numbers[large_cells(numbers, 5)].tolist() == kept


def test_an_existing_folder_is_refused_in_one_line_and_kept(tmp_path, capsys):
    (tmp_path / "mine").write_text("kept")
    assert main(["derive", str(crowd()), "--group-level", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "exists" in said
    assert (tmp_path / "mine").read_text() == "kept"


def test_an_interrupted_call_leaves_nothing_and_the_next_one_works(tmp_path, monkeypatch):
    def stop(run, writer, *_):
        (writer.staging / "half").write_text("")
        raise KeyboardInterrupt

    monkeypatch.setattr(command.group_level, "write_group_level", stop)
    with pytest.raises(KeyboardInterrupt):
        derived(Request(str(crowd()), (), tmp_path / "out", 5))
    assert list(tmp_path.iterdir()) == []
    group_level()
    assert not (folder() / ".group-level.partial").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--group-level", "OUT", "--fewest", "3"], "at least 5"), (["--group-level", "OUT", "--key", "k"], "--key"),
        (["nobody", "--group-level", "OUT"], "no run nobody"), (["--group-level", "OUT", "--fewest", "50"], "no group"),
        (["--pseudonymous", "OUT", "--key", "OUT/key"], "would lie in the store"),
    ],
)  # fmt: skip
def test_mistakes_end_in_one_line(tmp_path, capsys, options, said):
    options = [option.replace("OUT", str(tmp_path / "out")) for option in options]
    assert main(["derive", str(crowd()), *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_group_level_store_is_not_derived_again(tmp_path, capsys):
    assert main(["derive", str(group_level()), "--group-level", str(tmp_path / "out")]) == 2
    assert "already" in capsys.readouterr().err


def test_rows_of_persons_in_a_group_level_run_are_a_problem(tmp_path):
    run = run_of(Path(shutil.copytree(group_level(), tmp_path / "copy")))
    shutil.copy(run_of(crowd()) / "tables/quality.parquet", run / "tables/quality.parquet")
    assert any("rows of single persons" in line for line in validate(run))


def test_a_text_that_still_names_somebody_is_never_published(tmp_path):
    with pytest.raises(SpecViolationError, match="the manifest still names") as error:
        look_for({"sub-0042"}, tmp_path, {"notices": ["with thanks to sub-0042"]})
    assert "0042" not in str(error.value)
    look_for({"sub-0042"}, tmp_path, {"fingerprint": "asub-0042f"})


def test_pseudonyms_are_the_same_everywhere_and_heatmaps_as_they_were():
    run, source = open_run(pseudonymous()), open_run(crowd())
    ours, theirs = run.table("scans"), source.table("scans")
    assert ours.scan.str.fullmatch("scan-[0-9a-f]{12}").all()
    assert ours.subject.str.fullmatch("sub-[0-9a-f]{12}").all()
    assert (ours.groupby("subject").size().sort_values().tolist()) == theirs.groupby(
        "subject"
    ).size().sort_values().tolist()
    for mine, known in zip(ours.scan[:3], theirs.scan[:3], strict=True):
        both = [
            one.heatmap("holdout", "sensitivity", scan, target="AD") for one, scan in ((run, mine), (source, known))
        ]
        np.testing.assert_array_equal(*both)
        assert run.has_native(mine) == source.has_native(known)
    assert set(run.table("predictions").scan) <= set(ours.scan)
    assert (folder() / "the.key").stat().st_mode & 0o777 == stat.S_IRUSR | stat.S_IWUSR
    assert not list(pseudonymous().rglob("*.key"))


def test_dates_are_months_since_the_first():
    sessions = open_run(pseudonymous()).table("scans").session
    assert sorted(sessions.unique()) == ["month-0", "month-12"]


@pytest.mark.parametrize(
    ("session", "becomes"),
    [("ses-20190304", "month-0"), ("bl", "bl"), ("ses-M12", "ses-M12"), ("with Smith", "visit-1"), ("1", "1")],
)
def test_visits_keep_no_name_and_no_date(session, becomes):
    assert visits(pd.DataFrame({"subject": ["a"], "session": [session]})) == {("a", session): becomes}
    assert date_in("20191341") is None


def test_the_same_key_gives_the_same_names_and_another_others(tmp_path):
    run, known = open_run(crowd()), set(open_run(pseudonymous()).table("scans").subject)
    again, other = (
        Pseudonyms.kept(place, tmp_path / "out") for place in (folder() / "the.key", tmp_path / "other.key")
    )
    assert set(pseudonymous_table(run, "scans", again).subject) == known
    assert not set(pseudonymous_table(run, "scans", other).subject) & known


def test_a_key_that_others_may_read_is_refused(tmp_path, capsys):
    (tmp_path / "key").write_text("0" * 64)
    (tmp_path / "key").chmod(0o644)
    options = ["--pseudonymous", str(tmp_path / "out"), "--key", str(tmp_path / "key")]
    assert main(["derive", str(crowd()), *options]) == 2
    assert "chmod 600" in capsys.readouterr().err


def test_the_methods_text_counts_people_without_rows_of_them():
    assert "11 AD with 12 scans, 12 NC with 12 scans" in methods_text(open_run(group_level()))


def test_small_numbers_are_right_to_four_digits():
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32) * 1e-5
    found = rounded(values)
    np.testing.assert_allclose(found, values, rtol=1 / 8000)
    assert not np.array_equal(found, values)
    assert rounded(np.zeros(3, np.float32)).tolist() == [0, 0, 0]
    assert np.unique(found.view(np.uint32) & 0x7FF).tolist() == [0]


def test_texts_without_places_and_names():
    assert without_places({"a": ["/data/x", "scan.nii.gz", "C:\\x", "rieke2018", 0.5]}) == {
        "a": ["…", "…", "…", "rieke2018", 0.5]
    }
    assert kind_of("same file content as scan smith", {"smith"}) == "same file content as scan …"


def test_the_settings_keep_what_names_nobody():
    config = json.loads((run_of(group_level()) / "manifest.json").read_text())["config"]
    assert config["training"] == {"epochs": 2}
    assert "cohort" not in config
