"""Runs whose store is a bucket: sent while computed, killed, refused, resumed; equal to a published local run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import fsspec
import pytest
from kill_pipeline import published
from remote_server import empty_bucket
from store_factory import copy_of_shared_store

from store import list_runs
from store.__main__ import main as store_command
from store.files import target
from store.files.file_list import paths_of
from store.spec import MANIFEST
from store.writing import upload_ahead
from store.writing.upload_ahead import UploadAhead

ROOT = Path(__file__).resolve().parent.parent
TINY = (
    "cohort.simulation.positive=6", "cohort.simulation.negative=6", "cohort.simulation.apply_mci=1",
    "training.epochs=2", "explain.occlusion={half_width_mm: 48, stride_mm: 80}", "explain.folds=[sensitivity]",
    "explain.holdout=[sensitivity, guided_backprop, occlusion]",
    "trust={networks: 1, scans: 2, measures: [randomisation, stability]}",
)  # fmt: skip
# The job as a user types it, but that it looks for finished files more often and waits less for a bucket.
JOB = (
    "import sys; from store.writing import upload_ahead; from store.files import target; import run_pipeline;"
    "upload_ahead.LOOK_S, upload_ahead.AGAIN_S, target.WAITS_S = 0.3, (5.0, 60.0), (0.01, 0.01, 0.01);"
    "from engine.cli.main import main; sys.exit(main(run_pipeline.STAGES))"
)
ADDRESS = "s3://bucket/lab"


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """(folder, faults) of an empty bucket, which s3://bucket leads to."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("BRAINWHY_CACHE", "off")
    monkeypatch.setattr(target, "WAITS_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr(upload_ahead, "LOOK_S", 0.05)
    monkeypatch.setattr(upload_ahead, "AGAIN_S", (0.1, 0.1))
    with empty_bucket(tmp_path / "bucket", monkeypatch.setenv) as served:
        yield served
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture
def staging(tmp_path):
    """What lies in the staging folder of a run that is nearly computed."""
    run = copy_of_shared_store(tmp_path / "store")
    (run / MANIFEST).unlink()
    (run / "tables/parts/heatmaps").mkdir(parents=True)
    shutil.copy(run / "tables/scans.parquet", run / "tables/parts/heatmaps/a.parquet")
    return run


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def wait_for(condition, seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def keys(faults, method: str = "PUT") -> list[str]:
    return [line.split("?")[0].removeprefix(f"{method} /bucket/") for line in faults.asked if line.startswith(method)]


# -- ahead ------------------------------------------------------------------------------------------------------------


def test_volumes_are_sent_as_they_come_and_tables_when_a_stage_has_ended(bucket, staging):
    folder, faults = bucket
    volumes = {path for path in paths_of(staging) if path.startswith("arrays.zarr/")}
    whole = {path for path in paths_of(staging) if "/parts/" not in path}
    with UploadAhead(staging, ADDRESS, "r-1", pytest.fail) as ahead:
        wait_for(lambda: ahead.files == len(volumes))
        time.sleep(0.3)
        assert set(files_in(folder / "lab/r-1")) == volumes
        ahead.stage_ended()
        wait_for(lambda: ahead.files == len(whole))
    assert set(files_in(folder / "lab/r-1")) == whole
    assert len(keys(faults)) == len(set(keys(faults)))
    # Again, as after an interruption: what is there with the right checksum is not sent again.
    changed = staging / "tables/scans.parquet"
    changed.write_bytes(changed.read_bytes() + b"0")
    faults.forget()
    with UploadAhead(staging, ADDRESS, "r-1", pytest.fail) as ahead:
        ahead.stage_ended()
        wait_for(lambda: set(ahead._sent) == whole)
    assert keys(faults) == ["lab/r-1/tables/scans.parquet"]


def test_a_file_that_is_being_written_is_not_sent(bucket, staging):
    others = {path for path in paths_of(staging) if path.startswith("arrays.zarr/")}
    growing, over = staging / "arrays.zarr/a-growing", threading.Event()
    growing.write_bytes(b"")

    def grow():
        while not over.wait(0.005):
            with growing.open("ab") as file:
                file.write(b"0")

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        with UploadAhead(staging, ADDRESS, "r-1", pytest.fail) as ahead:
            wait_for(lambda: set(ahead._sent) >= others)
            assert "lab/r-1/arrays.zarr/a-growing" not in keys(bucket[1])
    finally:
        over.set()
        writer.join()


@pytest.mark.parametrize(
    ("fault", "words"),
    [(403, "refuses access"), (503, "in trouble (503"), ("expired", "have expired"), ("hang up", "cannot be reached")],
)
def test_trouble_is_said_once_and_what_is_left_is_sent_when_it_has_passed(bucket, staging, fault, words):
    said, faults = [], bucket[1]
    faults.by_pattern["^PUT"] = fault
    with UploadAhead(staging, ADDRESS, "r-1", said.append) as ahead:
        wait_for(lambda: len(said) == 1)
        time.sleep(0.5)
        faults.by_pattern.clear()
        wait_for(lambda: ahead.files == sum(path.startswith("arrays.zarr/") for path in paths_of(staging)))
    assert len(said) == 1
    assert words in said[0]
    assert "the run goes on" in said[0]
    assert "\n" not in said[0]


def test_a_run_that_others_read_is_not_touched_before_its_end(bucket, staging):
    folder, faults = bucket
    (folder / "lab/r-1").mkdir(parents=True)
    (folder / "lab/r-1" / MANIFEST).write_text("{}")
    with UploadAhead(staging, ADDRESS, "r-1", pytest.fail) as ahead:
        wait_for(lambda: ahead._target is not None and ahead._there)
        time.sleep(0.2)
    assert not keys(faults)


# -- the job ----------------------------------------------------------------------------------------------------------


def command(work: Path, *more: str) -> list[str]:
    settings = [part for value in TINY for part in ("--set", value)]
    places = ["--store", ADDRESS, "--work", str(work)]
    return [sys.executable, "-c", JOB, "--preset", "smoke", "--device", "cpu", *places, *settings, *more]


def job(work: Path, *more: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(work, *more), cwd=ROOT, capture_output=True, text=True, timeout=1200)


@pytest.mark.timeout(2400)
def test_a_run_killed_then_refused_then_resumed_equals_a_published_one(bucket, tmp_path):
    folder, faults = bucket
    work = tmp_path / "work"
    planned = job(work, "--plan", "--json")
    assert f"store: {ADDRESS}; works in {work}" in planned.stderr
    assert json.loads(planned.stdout)["bucket"] == ADDRESS
    assert not keys(faults)
    # Killed when the first heatmaps have arrived: nobody sees a run.
    process = subprocess.Popen(
        command(work), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    wait_for(lambda: sum("/heatmaps/" in key and "/c/" in key for key in keys(faults)) > 3, 600)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(folder.rglob(MANIFEST))
    assert [info for info in list_runs(ADDRESS) if info.problem is None] == []
    before = {path for path in files_in(folder) if "/heatmaps/" in path and "/c/" in path}
    assert before
    # Refused from the middle of the second attempt on: computed to the end, one line, exit code 1.
    faults.forget()
    faults.by_pattern["^PUT.*(group_regions|manifest)"] = 403
    refused = job(work)
    assert refused.returncode == 1, refused.stderr
    errors = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "refuses access (403 Forbidden)" in errors[0]
    assert "nothing computed is lost" in errors[0]
    assert "WARNING: " in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list(folder.rglob(MANIFEST))
    run = published(work)
    same = {path for path in before if (folder / path).read_bytes() == (run / path.split("/", 2)[2]).read_bytes()}
    assert same == before
    assert not before & set(keys(faults))
    # The same command: what is missing, and nothing else.
    faults.by_pattern.clear()
    there, begun = set(files_in(folder)), len(faults.asked)
    done = job(work, "--json")
    assert done.returncode == 0, done.stderr
    assert "already finished" in done.stderr
    assert json.loads(done.stdout)["store"] == ADDRESS
    sent = [line.split("?")[0].removeprefix("PUT /bucket/") for line in faults.asked[begun:] if line.startswith("PUT")]
    assert not set(sent) & there - {"lab/.write-test"}
    assert sent[-2:] == [f"lab/{run.name}/{MANIFEST}", "lab/runs.json"]
    # Equal to what `store publish` makes of the local run, byte by byte.
    assert store_command(["publish", str(work), str(tmp_path / "www")]) == 0
    assert files_in(folder / "lab") == files_in(tmp_path / "www")
    # The run is found in the bucket also where the work folder is gone.
    shutil.rmtree(work)
    again = job(work)
    assert again.returncode == 0, again.stderr
    assert f"already finished: {run.name} in {ADDRESS}" in again.stderr
    assert f"--store {ADDRESS}" in again.stderr


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (403, 1, "refuses access (403 Forbidden)"),
        (404, 2, "there is no bucket for"),
        ("expired", 1, "credentials for this store have expired"),
        ("hang up", 1, "cannot be reached"),
    ],
)
def test_a_bucket_that_cannot_be_written_is_said_before_anything_is_computed(bucket, tmp_path, fault, code, words):
    bucket[1].by_pattern["^PUT"] = fault
    done = job(tmp_path / "work")
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_a_folder_in_which_to_work_is_for_buckets_only(tmp_path):
    command = [sys.executable, "run_pipeline.py", "--store", str(tmp_path), "--work", str(tmp_path), "--plan"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--work" in done.stderr
    assert "leave --work out" in done.stderr
