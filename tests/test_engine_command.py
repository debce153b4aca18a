"""Bad input of every kind: one clear line, the right exit code, nothing lost. Runs the command line in this process."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from multiprocessing.util import Finalize
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import run_pipeline
from engine.cli import main
from engine.images.grid import Grid
from engine.images.template import template_brain
from engine.parallel import local
from engine.pipeline import stages

GROUPS = "cohort.groups={old: 'age >= 60', young: 'age < 40'}"
TINY = (
    "grid_mm=4", "cohort.reader=table", GROUPS, "preprocessing.registration=none",
    "preprocessing.brain_extraction=none", "preprocessing.n4=false", "preprocessing.processes=1",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _keep_signals(monkeypatch):
    monkeypatch.setattr(main.signal, "signal", lambda *a: None)


def call(capsys, *arguments: str) -> tuple[int, str, str]:
    """(exit code, standard output, standard error)."""
    code = main.main(run_pipeline.STAGES, [str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, code: int, message: str, *arguments) -> str:
    """The run ends with this code and one line that holds the message."""
    found, _, text = call(capsys, *arguments)
    lines = [line for line in text.splitlines() if line.startswith("error: ")]
    assert found == code, text
    assert len(lines) == 1, text
    assert message in lines[0]
    assert "Traceback" not in text
    return text


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> Path:
    """Eight brains in MNI space with a table."""
    folder = tmp_path_factory.mktemp("heads")
    brain, rng = template_brain(4), np.random.default_rng(0)
    rows = ["subject,age,path,dx"]
    for i in range(8):
        volume = brain * (1 + 0.1 * rng.normal(size=brain.shape)) * (0.9 + 0.02 * i)
        nib.save(nib.Nifti1Image(volume.astype(np.float32), Grid(4).affine), folder / f"s{i}.nii.gz")
        rows.append(f"p{i},{70 if i % 2 else 30},s{i}.nii.gz,{'AD' if i % 2 else 'CN'}")
    (folder / "scans.csv").write_text("\n".join(rows))
    return folder


def options(*settings: str) -> list[str]:
    return [part for setting in (*TINY, *settings) for part in ("--set", setting)]


def table(heads: Path, folder: Path, edit) -> Path:
    """A copy of the cohort (the images linked) with an edited table."""
    folder.mkdir(exist_ok=True)
    for image in heads.glob("*.nii.gz"):
        (folder / image.name).symlink_to(image)
    rows = (heads / "scans.csv").read_text().splitlines()
    (folder / "scans.csv").write_text("\n".join(edit(rows)))
    return folder


def test_wrong_path(capsys, tmp_path):
    refused(capsys, 2, "nowhere", "--store", tmp_path, "--data", tmp_path / "nowhere", *options())


def test_no_data_given(capsys, tmp_path):
    refused(capsys, 2, "--data", "--store", tmp_path, *options())


def test_empty_folder(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(capsys, 2, "empty", "--store", tmp_path / "s", "--data", tmp_path / "empty", *options())


def test_table_without_the_label_column(capsys, tmp_path, heads):
    arguments = options("cohort.groups=null", "cohort.diagnosis={AD: [AD], NC: [CN]}", "cohort.columns={label: diag}")
    text = refused(capsys, 2, "diag", "--store", tmp_path, "--data", heads, *arguments)
    assert "dx" in text


def test_unknown_group_rule(capsys, tmp_path, heads):
    rule = "cohort.groups={old: 'height >= 60', young: 'age < 40'}"
    text = refused(capsys, 2, "height", "--store", tmp_path, "--data", heads, *options(rule))
    assert "age" in text
    refused(
        capsys,
        2,
        "age ==> 60",
        "--store",
        tmp_path,
        "--data",
        heads,
        *options("cohort.groups={old: 'age ==> 60', y: 'age < 4'}"),
    )


def test_one_class_only(capsys, tmp_path, heads):
    rule = "cohort.groups={old: 'age >= 99', young: 'age < 40'}"
    refused(capsys, 2, "old", "--store", tmp_path, "--data", heads, *options(rule))


def test_fewer_subjects_than_folds(capsys, tmp_path, heads):
    refused(capsys, 2, "split.folds", "--store", tmp_path, "--data", heads, *options("split.folds=5"))


def test_one_scan_with_two_labels(capsys, tmp_path, heads):
    data = table(heads, tmp_path / "d", lambda rows: [*rows, rows[1].replace("30", "70")])
    refused(capsys, 2, "p0", "--store", tmp_path / "s", "--data", data, *options())


def test_bad_scans_are_listed_exclusions_and_the_rest_goes_on(capsys, tmp_path, heads):
    data = table(heads, tmp_path / "d", lambda rows: rows)
    (data / "s0.nii.gz").unlink()
    (data / "s0.nii.gz").write_bytes(b"not an image")
    (data / "s1.nii.gz").unlink()
    code, _, text = call(
        capsys, "--store", tmp_path / "s", "--data", data, "--only", "preprocess", *options("split.folds=2")
    )
    assert code == 0, text
    assert "6 scans" in text
    assert "2 excluded" in text
    assert (heads / "s0.nii.gz").stat().st_size > 100  # the original is untouched


def test_atlas_that_misses_the_grid(capsys, tmp_path, heads):
    far = Grid(4).affine + 900 * np.eye(4, k=3)
    nib.save(nib.Nifti1Image(np.ones(Grid(4).shape, np.int16), far), tmp_path / "far.nii.gz")
    (tmp_path / "far.csv").write_text("index,name\n1,All\n")
    atlas = (f"atlas.path={tmp_path / 'far.nii.gz'}", f"atlas.labels={tmp_path / 'far.csv'}", "split.folds=2")
    refused(capsys, 2, "misses the grid", "--store", tmp_path / "s", "--data", heads, *options(*atlas))


def test_unwritable_store(capsys, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    refused(capsys, 2, "cannot be written", "--store", tmp_path / "file", "--preset", "smoke")


def test_a_store_of_a_newer_specification(capsys, tmp_path):
    (tmp_path / "later-00000000").mkdir()
    manifest = {
        "spec_version": "9.0",
        "run": "later-00000000",
        "name": "later",
        "created": "2030",
        "groups": ["AD", "NC"],
    }
    (tmp_path / "later-00000000" / "manifest.json").write_text(json.dumps(manifest))
    refused(capsys, 2, "spec 9.0", "--store", tmp_path, "--preset", "smoke")


def test_gpu_asked_for_and_absent(capsys, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    refused(capsys, 2, "--device cuda: no CUDA GPU", "--store", tmp_path, "--preset", "smoke", "--device", "cuda")


def test_full_disk(capsys, tmp_path, monkeypatch):
    def full(run):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(run_pipeline.STAGES, "preprocess", full)
    text = refused(capsys, 1, "no space left on the disk", "--store", tmp_path, "--preset", "smoke")
    assert "nothing computed is lost" in text


def test_a_fault_of_ours_is_one_line_and_a_file(capsys, tmp_path, monkeypatch):
    def broken(run):
        raise ZeroDivisionError("a bug")

    monkeypatch.setitem(run_pipeline.STAGES, "preprocess", broken)
    text = refused(capsys, 1, "unexpected ZeroDivisionError: a bug", "--store", tmp_path, "--preset", "smoke")
    file = Path(text.split("details for a report in ")[1].strip().replace("\n", ""))
    assert "Traceback" in file.read_text()


def test_a_fault_of_ours_in_another_process_says_where_it_was(capsys, tmp_path, monkeypatch):
    def broken(*_):
        return list(local.run(_divide, [0, 0], 2))

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("engine.pipeline.method_benchmark.command.run_benchmark", broken)
    text = refused(capsys, 1, "unexpected ZeroDivisionError", "benchmark", "--store", tmp_path, "--output", tmp_path)
    file = Path(text.split("details for a report in ")[1].strip().replace("\n", ""))
    assert "return 1 // number" in file.read_text(), "the line in the other process"
    assert file.parent == tmp_path


def _leave_a_mark(file):
    Finalize(None, file.touch, exitpriority=0)


def test_workers_without_work_end_by_themselves(tmp_path):
    """A killed one leaves its semaphores to the system, which warns of them when the command ends."""
    files = [tmp_path / name for name in "ab"]
    assert list(local.run(_leave_a_mark, files, 2)) == [None, None]
    assert all(file.exists() for file in files)


def test_killed_workers_leave_no_warning():
    """What they had of the system is given back all the same; Ctrl-C ends in one line."""
    items = ["globals().update(kept=__import__('multiprocessing').Lock()) or 1 / 0"] * 2
    code = f"from engine.parallel import local; list(local.run(eval, {items}, 2))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ZeroDivisionError" in ended.stderr
    assert "leaked" not in ended.stderr


def _divide(number: int) -> int:
    return 1 // number


def test_data_with_the_simulated_cohort_is_refused(capsys, tmp_path):
    refused(capsys, 2, "--data", "--store", tmp_path, "--data", tmp_path)


def test_only_needs_what_came_before(capsys, tmp_path):
    text = refused(capsys, 2, "--only explain: train", "--store", tmp_path, "--preset", "smoke", "--only", "explain")
    assert "preprocess" in text


def test_unknown_preset_and_options(capsys, tmp_path):
    refused(capsys, 2, "--preset nothing: unknown; known are", "--preset", "nothing", "--store", tmp_path)
    with pytest.raises(SystemExit) as caught:
        main.main(run_pipeline.STAGES, ["--only", "nonsense"])
    assert caught.value.code == 2


def test_plan_computes_nothing(capsys, tmp_path):
    code, out, text = call(capsys, "--plan", "--store", tmp_path / "s")
    assert code == 0
    assert not out
    assert "200 scans of 200 subjects" in text
    assert "holdout: 160 training scans, explains 40" in text
    assert "peak memory" in text
    assert not (tmp_path / "s").exists()


def test_help_names_presets_and_stages(capsys):
    with pytest.raises(SystemExit):
        main.main(run_pipeline.STAGES, ["--help"])
    text = " ".join(capsys.readouterr().out.split())  # wherever lines end
    for word in ("demo", "rieke2018", "--from", "explain", "not a medical device", *stages.ORDER):
        assert word in text


def test_a_second_process_is_told_to_wait(capsys, tmp_path):
    """The lock of a run that is being computed."""
    from engine.config.loading import load_config
    from engine.errors import UserError
    from engine.pipeline.run import Run, locked
    from engine.progress import Progress

    first, second = (Run(load_config(preset="smoke"), tmp_path, "cpu", Progress(quiet=True)) for _ in range(2))
    with locked(first), pytest.raises(UserError, match="another process"), locked(second):
        pass
    with locked(second):
        pass
