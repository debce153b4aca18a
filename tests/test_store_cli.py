"""python -m store: what people type, and what they get when they mistype."""

from __future__ import annotations

import gzip
import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from store_factory import METHODS, affine, copy_of_shared_store, shared_store

from store import NotInRunError, open_run
from store.__main__ import main
from store.export.figure_1 import coronal, coronal_slices, figure_one
from store.export.nifti import group_nifti, heatmap_nifti, volume_nifti
from store.keys import GroupKey
from store.spec import TABLES


@pytest.fixture
def copied(tmp_path):
    return copy_of_shared_store(tmp_path / "store")


@pytest.fixture(scope="module")
def run():
    return open_run(shared_store())


def test_list_shows_runs_and_space(copied, capsys):
    (copied.parent / ".cache").mkdir()
    (copied.parent / ".cache/volumes.h5").write_bytes(b"0" * 5000)
    assert main(["list", str(copied.parent)]) == 0
    out = capsys.readouterr().out
    for words in (copied.name, "2026-01-02T03:04:05", "random numbers", "yes", ".cache: 5 kB"):
        assert words in out


def test_info_shows_accuracy_counts_and_settings(copied, capsys):
    assert main(["info", str(copied.parent)]) == 0
    out = capsys.readouterr().out
    for words in (
        "SIMULATED",
        "AD (positive), NC",
        "4 scans, 2 subjects",
        "balanced_accuracy",
        "training.epochs",
        "+-",
    ):
        assert words in out


def test_verify_finds_a_break(copied, capsys):
    assert main(["verify", str(copied.parent)]) == 0
    assert "sound" in capsys.readouterr().out
    (copied / "tables/quality.parquet").unlink()
    assert main(["verify", str(copied.parent), copied.name]) == 1
    assert "table quality is missing" in capsys.readouterr().out
    (copied / "manifest.json").write_text("{")
    assert main(["verify", str(copied.parent)]) == 1
    assert main(["verify", str(copied.parent), copied.name]) == 1


def test_export_writes_tables_maps_and_figure(copied, tmp_path, capsys):
    to = tmp_path / "out"
    assert main(["export", str(copied.parent), "tiny", "--to", str(to)]) == 0
    run = open_run(copied.parent)
    assert {path.stem for path in to.glob("*.csv")} == {spec.name for spec in TABLES if run.has_table(spec.name)}
    assert len(pd.read_csv(to / "predictions.csv")) == len(run.table("predictions"))
    assert len(list((to / "nifti").glob("*.nii.gz"))) == 2 * len(METHODS) * 2
    image = nib.load(to / "nifti" / f"{run.run_id}_folds_occlusion_NC_for-AD_mean_positive_margin.nii.gz")
    expected = run.group_map(GroupKey("folds", "occlusion", "AD"), diagnosis=["NC"]).mean_positive
    np.testing.assert_allclose(image.get_fdata(), expected, rtol=1e-6)
    assert (to / f"{run.run_id}_figure1.png").read_bytes().startswith(b"\x89PNG")
    assert main(["export", str(copied.parent), "tiny", "--to", str(tmp_path / "csv"), "--csv"]) == 0
    assert not list((tmp_path / "csv").glob("*.png"))


def test_rm_asks_before_it_deletes(copied, capsys, monkeypatch):
    store = copied.parent
    for name in (".cache", ".work"):
        (store / name).mkdir(exist_ok=True)
    monkeypatch.setattr("builtins.input", lambda _: "")
    assert main(["rm", str(store), copied.name]) == 0
    assert copied.exists()
    assert main(["rm", str(store), "--cache", "--work", "--yes"]) == 0
    assert not (store / ".cache").exists()
    assert not (store / ".work").exists()
    monkeypatch.setattr("builtins.input", lambda _: "y")
    (copied / "manifest.json").write_text("{")  # broken runs must go too
    assert main(["rm", str(store), copied.name]) == 0
    assert list(store.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list", "nowhere"], "there is no store at nowhere"),
        (["info", "STORE", "nothing"], "there is no run nothing"),
        (["verify", "STORE", "nothing"], "there is no run nothing"),
        (["export", "STORE", "nothing", "--to", "x"], "there is no run nothing"),
        (["rm", "STORE", "nothing", "--yes"], "there is no run nothing"),
        (["rm", "STORE", "../store", "--yes"], "there is no run ../store"),
        (["rm", "STORE"], "say what to delete"),
        (["rm", "nowhere", "--cache"], "there is no store at nowhere"),
        (["list", "strange://x"], "cannot open strange://x"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments, words, capsys):
    assert main([str(shared_store()) if a == "STORE" else a for a in arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_broken_runs_are_one_line_and_exit_code_1(copied, capsys):
    (copied / "tables/scans.parquet").unlink()
    assert main(["info", str(copied.parent)]) == 1
    assert "scans" in capsys.readouterr().err
    (copied / "manifest.json").write_text('{"spec_version": "9.0"}')
    assert main(["export", str(copied.parent), copied.name, "--to", "x"]) == 1
    assert "update the code" in capsys.readouterr().err


def test_it_runs_as_a_program(tmp_path):
    result = subprocess.run([sys.executable, "-m", "store", "list", str(tmp_path)], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert "no runs" in result.stdout
    help_text = subprocess.run([sys.executable, "-m", "store", "--help"], capture_output=True, text=True).stdout
    for command in ("list", "info", "verify", "export", "rm"):
        assert command in help_text


# -- exports ----------------------------------------------------------------------------------------------------------


def test_nifti_is_in_mni_space_with_the_affine_of_the_grid(run):
    makers = (
        lambda: volume_nifti(run, "a1-1"),
        lambda: heatmap_nifti(run, "holdout", "guided_backprop", "a1-1", target="NC"),
        lambda: group_nifti(run, "folds", "occlusion", target="true", scale="margin"),
    )
    expected = (
        run.volume("a1-1"),
        run.heatmap("holdout", "guided_backprop", "a1-1", target="NC"),
        run.group_map(GroupKey("folds", "occlusion", "true")).mean_positive,
    )
    for make, values in zip(makers, expected, strict=True):
        image = nib.Nifti1Image.from_bytes(gzip.decompress(make()))
        np.testing.assert_array_equal(image.affine, affine())
        assert (image.header.get_sform(coded=True)[1], image.header.get_qform(coded=True)[1]) == (4, 4)
        np.testing.assert_allclose(image.header.get_qform(), affine(), atol=1e-5)
        assert image.get_data_dtype() == np.float32
        assert bytes(image.header["descrip"].item()).startswith(b"Brainwhy research use only")
        np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), values)
        assert make() == make()


def test_slices_of_the_figure_lie_where_the_affines_say(run):
    """Slice y of the 1 mm grid at even voxels is voxel y / 2 of the 2 mm grid; halfway it is the mean."""
    values = np.random.default_rng(0).normal(size=run.mask.shape)
    values[~run.mask] = 0
    fine = run.array("mask") > 0
    for smooth in (False, True):
        plane = coronal(run, values, 4, smooth=smooth)[::2, ::2]
        np.testing.assert_allclose(plane, np.where(fine[::2, 4, ::2], values[:, 2, :], 0))
    between = coronal(run, values, 5, smooth=True)[::2, ::2]
    np.testing.assert_allclose(between, np.where(fine[::2, 5, ::2], (values[:, 2] + values[:, 3]) / 2, 0))
    assert coronal_slices(229) == [80, 114, 149]


def test_the_figure_is_a_picture_and_says_what_is_missing(run):
    from matplotlib.image import imread

    data = figure_one(run, model_set="folds", target="predicted", methods=["occlusion", "sensitivity"])
    assert data == figure_one(run, model_set="folds", target="predicted", methods=["occlusion", "sensitivity"])
    import io

    picture = imread(io.BytesIO(data))
    red = (picture[..., 0] > 0.6) & (picture[..., 1] < 0.4)
    assert red.mean() > 0.001
    with pytest.raises(NotInRunError, match="no group maps for model set seeds"):
        figure_one(run, model_set="seeds")
