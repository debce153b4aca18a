"""Exports take target, scale, weights and volume of distances from the run, and say so."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from store_factory import GROUPS, METHODS, PREDICTED, SCANS, make_run, shared_store

from store import RunReader, open_run
from store.__main__ import main
from store.errors import NotInRunError
from store.export import figure_1, nifti
from store.export.paper_tables import export_paper, table_one, table_two
from store.reading.settings import AnalysisSettings, average_scale

RIEKE = {
    "gradient_scale": "probability", "occlusion_scale": "probability", "weights": "scan", "target": "predicted",
    "distance_volume": "whole",
}  # fmt: skip


def with_settings(folder: Path, analysis: dict, targets: tuple[str, ...] = ("AD", "true", "predicted")) -> RunReader:
    """A run with these settings, gradient cells in their scale alone, and a ranking that differs between targets."""
    run = make_run(folder)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["config"]["analysis"] = analysis
    (run / "manifest.json").write_text(json.dumps(manifest))
    cells = pd.read_parquet(run / "tables/cells.parquet")
    gradients = cells["method"].isin(["sensitivity", "guided_backprop"])
    stored = (cells["scale"] == analysis.get("gradient_scale", "relative")).where(
        gradients, cells["scale"] != "relative"
    )
    cells[stored].to_parquet(run / "tables/cells.parquet")
    ranking = pd.read_parquet(run / "tables/group_regions.parquet")
    of_target = []
    for number, target in enumerate(targets):
        part = ranking.assign(target=target)
        turned = (part["rank"] + number - 1) % 2 + 1 if number == 2 else part["rank"]
        of_target.append(part.assign(rank=turned, share_of_average=part["share_of_average"] / (number + 1)))
    pd.concat(of_target).to_parquet(run / "tables/group_regions.parquet")
    return open_run(folder)


@pytest.fixture(scope="module")
def rieke(tmp_path_factory) -> RunReader:
    return with_settings(tmp_path_factory.mktemp("rieke"), RIEKE)


def own_average(run: RunReader, method: str, diagnosis: str, target: str) -> np.ndarray:
    """The average of m of the probability over the scans of the fixed test set, from their heatmaps alone."""
    scans = [scan for scan, row in SCANS.items() if row[3] and row[1] == diagnosis]
    p = run.table("predictions", model="holdout").set_index("scan")["probability"]
    maps = []
    for scan in scans:
        group = PREDICTED[scan] if target == "predicted" else target
        if method in ("sensitivity", "guided_backprop"):
            h = np.abs(run.heatmap("holdout", method, scan, target=group)) * p[scan] * (1 - p[scan])
        else:
            h = np.maximum(run.heatmap("holdout", method, scan, target=group, scale="probability"), 0)
        maps.append(h)
    return np.mean(maps, axis=0)  # every scan weighs the same


def test_every_average_is_written_in_the_settings_of_the_run(rieke, tmp_path):
    paths = nifti.export_nifti(rieke, tmp_path)
    table = pd.read_csv(tmp_path / "averages.csv")
    assert len(table) == 2 * len(METHODS) * len(GROUPS) == 16
    assert table["note"].isna().all()
    assert [path.name for path in paths if path.suffix != ".json"] == [*table["file"], "averages.csv"]
    assert (table["target"] == "predicted").all()
    assert (table["scale"] == "probability").all()
    assert (table["weights"] == "scan").all()
    for row in table[table["model_set"] == "holdout"].itertuples():
        image = nib.load(tmp_path / row.file)
        expected = own_average(rieke, row.method, row.group, "predicted")
        np.testing.assert_allclose(image.get_fdata(), expected, rtol=0, atol=2e-5)  # heatmaps are int16


def test_a_group_without_scans_is_said(tmp_path, capsys):
    run = make_run(tmp_path / "store")
    cells = pd.read_parquet(run / "tables/cells.parquet")
    gone = (cells["model_set"] == "holdout") & (cells["diagnosis"] == "NC")
    cells[~gone].to_parquet(run / "tables/cells.parquet")
    assert main(["export", str(tmp_path / "store"), "--nifti", "--to", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "! holdout, sensitivity: not written: no scan of NC in model set holdout" in said
    table = pd.read_csv(tmp_path / "out/nifti/averages.csv")
    assert len(table) == 16
    assert table["file"].isna().sum() == len(METHODS)


def test_the_figure_has_every_row(rieke, monkeypatch):
    drawn = {}

    def keep(run, model_set, target, slices, panels, kind):
        drawn.update(target=target, panels=panels)
        return b""

    monkeypatch.setattr(figure_1, "_draw", keep)
    figure_1.figure_one(rieke)
    assert drawn["target"] == "predicted"
    assert [panel.method for panel in drawn["panels"]] == list(METHODS)
    for panel in drawn["panels"]:
        assert set(panel.overlays) == set(GROUPS)
        assert panel.scale == "probability"


def test_tables_are_of_the_target_of_the_run_and_say_so(rieke, tmp_path):
    table = table_one(rieke, "holdout")
    pd.testing.assert_frame_equal(table, table_one(rieke, "holdout", "predicted"))
    assert not table.equals(table_one(rieke, "holdout", "true"))
    export_paper(rieke, tmp_path)
    for name in ("table1", "table2"):
        text = (tmp_path / f"{rieke.run_id}_{name}.tex").read_text()
        for words in ("evidence for the predicted group", "of the probability", "every scan weighs the same"):
            assert words in text
        written = pd.read_csv(tmp_path / f"{rieke.run_id}_{name}.csv")
        for key, value in RIEKE.items():
            assert (written[key] == value).all()
    assert "over the whole volume" in (tmp_path / f"{rieke.run_id}_table2.tex").read_text()
    svg = (tmp_path / f"{rieke.run_id}_figure1.svg").read_text()
    assert "gradients of the probability, occlusions of the probability; every scan weighs the same" in svg
    assert "no scans" not in svg


def test_both_tables_of_a_default_run_are_of_the_same_averages(tmp_path):
    run = with_settings(tmp_path / "store", {})
    assert AnalysisSettings.of(run).target == "AD"
    pd.testing.assert_frame_equal(table_one(run, "folds"), table_one(run, "folds", "AD"))
    export_paper(run, tmp_path)
    said = [re.search(r"Averages of ([^.]*)\.", (tmp_path / f"{run.run_id}_table{n}.tex").read_text())[1] for n in "12"]
    assert said[0] == said[1]
    assert said[0] == (
        "evidence for AD; gradients each divided by its sum, occlusions of the margin; every subject weighs the same"
    )
    assert "inside the brain mask" in (tmp_path / f"{run.run_id}_table2.tex").read_text()


def test_a_target_without_a_ranking_is_said(rieke):
    with pytest.raises(NotInRunError, match="no ranking of regions for model set folds and target NC"):
        table_one(rieke, "folds", "NC")
    assert len(table_two(rieke, "folds")) == 6


def test_a_scale_that_is_not_stored_is_said(tmp_path):
    run = with_settings(tmp_path, {"gradient_scale": "probability"})
    run.manifest["config"]["analysis"]["gradient_scale"] = "relative"
    with pytest.raises(
        NotInRunError, match="no group maps of sensitivity in the scale relative of its settings, only in"
    ):
        average_scale(run, "folds", "sensitivity")


def test_headers_say_what_the_numbers_are(rieke):
    run = open_run(shared_store())

    def description(data: bytes) -> str:
        return nib.Nifti1Image.from_bytes(gzip.decompress(data)).header["descrip"].item().decode()

    start = "Brainwhy research use only; SIMULATED; "
    assert description(nifti.group_nifti(run, "folds", "sensitivity")) == (
        f"{start}mean |h|, share of relevance per voxel"
    )
    assert description(nifti.group_nifti(rieke, "folds", "occlusion")) == f"{start}mean max(h, 0), drop of probability"
    assert description(nifti.heatmap_nifti(run, "holdout", "sensitivity", "a1-1", target="AD")) == f"{start}h, d margin"
    assert description(nifti.nifti_bytes(run.volume("a1-1"), run.affine(), unit="x" * 100))[-9:] == "x" * 9


def test_names_of_files_have_no_blanks():
    assert nifti.file_name("r-1", "higher age", "AD/MCI") == "r-1_higher-age_AD%2FMCI"
