"""The paper's tables and figure of a run: numbers of the store, names of the paper, the same bytes twice."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
import zipfile
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from store_factory import METHODS, copy_of_shared_store, shared_store

from store import open_run
from store.__main__ import main
from store.errors import NotInRunError
from store.export.methods_text import methods_text
from store.export.paper_tables import export_paper, methods_of, paper_archive, table_one, table_two

# After the name of the run.
FILES = {"table1.csv", "table1.tex", "table2.csv", "table2.tex", "figure1.png", "figure1.svg", "methods.md"}


@pytest.fixture(scope="module")
def run():
    return open_run(shared_store())


def test_table_one_ranks_the_regions_of_the_average(run):
    table = table_one(run, "folds")
    assert list(table["group"].unique()) == list(run.groups)
    names = run.table("regions").drop_duplicates("merged").set_index("paper")["merged"]
    ranking = run.table("group_regions", model_set="folds", target="AD", merged=True)
    for row in table.to_dict("records"):
        for method in methods_of(run, "folds"):
            chosen = ranking[(ranking["method"] == method) & (ranking["diagnosis"] == row["group"])]
            found = chosen[chosen["rank"] == row["rank"]]
            if found.empty:
                assert row[method] is None
                assert np.isnan(row[f"{method}_percent"])
            else:
                assert names[row[method]] == found["region"].iloc[0]
                assert row[f"{method}_percent"] == pytest.approx(100 * found["share_of_average"].iloc[0])


def test_table_two_has_every_pair_once_and_a_column_a_group(run):
    table = table_two(run, "folds")
    assert len(table) == len(METHODS) * (len(METHODS) - 1) / 2
    stored = run.table("distances", model_set="folds", level="group")
    for row in table.to_dict("records"):
        for group in run.groups:
            pair = {row["method_a"], row["method_b"]}
            same = np.array([{a, b} == pair for a, b in zip(stored["method_a"], stored["method_b"], strict=True)])
            assert row[group] == stored[same & (stored["diagnosis"] == group)]["distance"].iloc[0]


def test_the_command_writes_all_files_and_the_same_bytes_again(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(shared_store()), "--paper"]) == 0
    folder = tmp_path / f"{run.run_id}-export" / "paper"
    assert {path.name for path in folder.iterdir()} == {f"{run.run_id}_{name}" for name in FILES}
    assert f"7 files written to {run.run_id}-export" in capsys.readouterr().out
    again = {path.name: path.read_bytes() for path in export_paper(run, tmp_path / "again")}
    assert again == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert ElementTree.fromstring(again[f"{run.run_id}_figure1.svg"]).tag.endswith("svg")
    assert (pd.read_csv(folder / f"{run.run_id}_table1.csv")["cohort"] == "SIMULATED").all()


def test_latex_is_escaped_balanced_and_says_simulated(run, tmp_path):
    export_paper(run, tmp_path)
    for name in ("table1.tex", "table2.tex"):
        text = (tmp_path / f"{run.run_id}_{name}").read_text()
        assert text.count(r"\begin{") == text.count(r"\end{") == 2
        assert "SIMULATED" in text
        rows = [line for line in text.splitlines() if line.endswith(r"\\")]
        assert len({row.count("&") for row in rows}) == 1
        assert "_" not in text.replace(r"\_", "")


def test_the_methods_follow_from_the_settings_of_the_run(run):
    text = methods_text(run)
    assert "SIMULATED DATA" in text
    scans = run.table("scans")
    assert f"{scans['subject'].nunique()} subjects" in text
    assert "learning rate" not in text  # not stored with this run: not guessed
    training = {"network": "korolev2017_residual", "epochs": 7, "learning_rate": 0.0031, "dropout": 0.25}
    preprocessing = {"registration": "affine", "n4": True, "brain_extraction": "none"}
    config = {"training": training, "preprocessing": preprocessing, "analysis": {"weights": "scan"}}
    told = {**run.manifest, "config": config, "simulated": False, "seeds": {"run": 11}}
    with mock.patch.object(run, "manifest", told), mock.patch.object(run, "simulated", False):
        other = methods_text(run)
    assert "SIMULATED" not in other
    for words in ("7 epochs", "learning rate 0.0031", "dropout 0.25", "residual", "an affine registration", "(N4)",
                  "every scan weighs the same", "seed 11", "arXiv 1701.06643", "N4ITK"):  # fmt: skip
        assert words in other, words
    assert "brain-extracted" not in other
    assert text.count("arXiv 1312.6034") == 1


def test_the_archive_holds_all_files_and_is_the_same_again(run):
    made = paper_archive(run)
    assert made == paper_archive(run)
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        assert set(archive.namelist()) == {f"{run.run_id}_{name}" for name in FILES}
        assert archive.read(f"{run.run_id}_methods.md").decode() == methods_text(run)


def test_a_run_without_the_model_set_is_said(run, tmp_path):
    with pytest.raises(NotInRunError, match="no group maps for model set nowhere"):
        table_one(run, "nowhere")
    copied = copy_of_shared_store(tmp_path / "store")
    (copied / "tables/distances.parquet").unlink()
    assert main(["export", str(copied.parent), "--paper", "--to", str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()
