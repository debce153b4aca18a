"""Preparing a cohort: once a scan, in any number of processes, whatever happens in between."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from engine.cohort.scans import Cohort, exclusion_table, scan_table
from engine.errors import RunError, UserError
from engine.preprocessing import cohort as preprocessing_cohort
from engine.preprocessing.volume_cache import write_part
from engine.progress import Progress

SHAPE = (4, 5, 6)


@dataclass
class Made:
    volume: np.ndarray | None
    quality: dict = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class FakePreparer:
    """Notes which scans it makes; does to some what the test wants."""

    does: dict = field(default_factory=dict)
    pictures: bool = False
    accepted: frozenset = frozenset()

    def __call__(self, row, folder):
        scan = row["scan"]
        with (folder / "made.txt").open("a") as stream:
            stream.write(f"{scan}\n")
        what = self.does.get(scan)
        if what == "crash":
            os._exit(9)
        if what == "error":
            raise ValueError(f"cannot\nread {row['path']}")
        if what == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        if what == "missing package":
            raise RunError("pip install something")
        if what == "nan":
            return Made(np.full(SHAPE, np.nan))
        if what == "reason":
            return Made(None, reason="covers 10 %")
        if what == "sleep":
            time.sleep(600)
        return Made(np.full(SHAPE, int(scan[1:]) + 1.0), {"template_correlation": 0.5, "seconds": 0.1})


def cohort(n=6, hashes=None) -> Cohort:
    rows = [
        {
            "scan": f"s{i}", "subject": f"p{i}", "group": "AD" if i % 2 else "NC", "role": "cohort",
            "path": f"/private/s{i}.nii", "source_hash": (hashes or {}).get(f"s{i}", f"h{i}"),
        }
        for i in range(n)
    ]  # fmt: skip
    return Cohort("test", scan_table(rows), exclusion_table([]), ("AD", "NC"))


def go(folder, preparer=None, found=None, fingerprint="f", processes=1):
    made = folder / "made.txt"
    made.parent.mkdir(exist_ok=True)
    made.write_text("")
    preparation = preprocessing_cohort.Preparation(
        preparer or FakePreparer(), folder, fingerprint, Progress(quiet=True), processes
    )
    prepared = preprocessing_cohort.prepare_cohort(found or cohort(), preparation)
    return prepared, sorted(made.read_text().split())


@pytest.mark.parametrize("processes", [1, 2])
def test_all_scans_are_made_once(tmp_path, processes):
    prepared, made = go(tmp_path, processes=processes)
    assert made == [f"s{i}" for i in range(6)]
    assert prepared.cache.ids == made
    volumes = prepared.cache.read(["s4", "s0"])
    assert volumes.shape == (2, *SHAPE)
    assert volumes[:, 0, 0, 0].tolist() == [5.0, 1.0]
    assert prepared.quality["scan"].tolist() == made
    assert np.isnan(prepared.quality["brain_ml"]).all()
    assert not (tmp_path / "parts").exists()
    assert (tmp_path / "quality.csv").is_file()
    again, made = go(tmp_path, processes=processes)
    assert made == []
    assert again.cache.ids == prepared.cache.ids


def test_an_interrupted_run_goes_on(tmp_path):
    for scan, key in (("s0", "f"), ("s3", "f"), ("s4", "another fingerprint")):
        write_part(tmp_path / "parts", scan, np.ones(SHAPE), {}, preprocessing_cohort._key(key, f"h{scan[1:]}"))
    (tmp_path / "parts" / "s5.npz").write_bytes(b"half")
    prepared, made = go(tmp_path)
    assert made == ["s1", "s2", "s4", "s5"]
    assert prepared.cache.read(["s3"]).max() == 1.0


def test_only_what_changed_is_made_again(tmp_path):
    go(tmp_path)
    changed = cohort(7, {"s2": "new"})
    prepared, made = go(tmp_path, found=changed)
    assert made == ["s2", "s6"]
    assert prepared.cache.ids == [f"s{i}" for i in range(7)]
    fewer = dataclasses.replace(changed, scans=changed.scans.iloc[:3])
    prepared, made = go(tmp_path, found=fewer)
    assert made == []
    assert prepared.quality["scan"].tolist() == ["s0", "s1", "s2"]
    _, made = go(tmp_path, fingerprint="other", found=fewer)
    assert made == ["s0", "s1", "s2"]


@pytest.mark.parametrize("processes", [1, 2])
def test_failures_are_exclusions_and_remembered(tmp_path, processes):
    preparer = FakePreparer({"s1": "error", "s2": "reason", "s4": "nan"})
    prepared, _ = go(tmp_path, preparer, processes=processes)
    assert prepared.cohort.scans["scan"].tolist() == ["s0", "s3", "s5"]
    assert prepared.cache.ids == ["s0", "s3", "s5"]
    reasons = dict(zip(prepared.cohort.exclusions["scan"], prepared.cohort.exclusions["reason"], strict=True))
    assert reasons == {
        "s1": "cannot read s1.nii",
        "s2": "covers 10 %",
        "s4": "the prepared volume has voxels that are NaN or infinite",
    }
    assert set(prepared.cohort.exclusions["stage"]) == {"preprocess"}
    again, made = go(tmp_path, preparer, processes=processes)
    assert made == []
    assert again.cohort.exclusions["scan"].tolist() == ["s1", "s2", "s4"]
    # A changed input and a person's word are reasons to try again.
    _, made = go(tmp_path, preparer, cohort(6, {"s4": "new"}))
    assert made == ["s4"]
    repaired, made = go(tmp_path, FakePreparer(accepted=frozenset({"s2"})))
    assert made == ["s2", "s4"]
    assert repaired.cohort.scans["scan"].tolist() == ["s0", "s2", "s3", "s4", "s5"]


def test_a_group_without_a_prepared_scan_ends_the_run(tmp_path):
    with pytest.raises(UserError, match=r"no scan of group AD can be used .* the first, s1: cannot read"):
        go(tmp_path, FakePreparer({f"s{i}": "error" for i in (1, 3, 5)}))


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(("what", "message"), [("full", "no room left"), ("missing package", "scan s5: pip install")])
def test_failures_of_the_machine_end_the_run_and_lose_nothing(tmp_path, what, message, processes):
    with pytest.raises(RunError, match=f"{message}.*the same command goes on from there"):
        go(tmp_path, FakePreparer({"s5": what}), processes=processes)
    finished = {file.stem for file in (tmp_path / "parts").glob("*.npz")}
    assert finished
    _, made = go(tmp_path)
    assert set(made) == {f"s{i}" for i in range(6)} - finished


def test_a_full_disk_while_packing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(preprocessing_cohort, "pack", full)
    with pytest.raises(RunError, match="no room left"):
        go(tmp_path)
    monkeypatch.undo()
    assert go(tmp_path)[1] == []


def test_a_crashed_worker_names_the_scan(tmp_path):
    with pytest.raises(RunError, match=r"worker process ended \(code 9\) while preparing s5.*goes on from there"):
        go(tmp_path, FakePreparer({"s5": "crash"}), processes=2)
    finished = {file.stem for file in (tmp_path / "parts").glob("*.npz")}
    assert finished
    prepared, made = go(tmp_path, processes=2)
    assert set(made) == {f"s{i}" for i in range(6)} - finished
    assert len(prepared.cache) == 6


SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background ignore it
sys.path.insert(0, {tests!r})
from pathlib import Path
import test_engine_prepare as t
if __name__ == "__main__":
    t.go(Path(sys.argv[1]), t.FakePreparer({{f"s{{i}}": "sleep" for i in range(2, 6)}}), processes=2)
"""


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def _alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_the_run(tmp_path, how):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    run = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "out")],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        made = tmp_path / "out" / "made.txt"
        deadline = time.monotonic() + 60
        while not (made.is_file() and {"s2", "s3"} <= set(made.read_text().split())):
            assert time.monotonic() < deadline
            assert run.poll() is None
            time.sleep(0.05)
        workers = _children(run.pid)
        assert len(workers) >= 2
        # Ctrl-C reaches the whole process group, the others only the run.
        os.killpg(run.pid, how) if how == signal.SIGINT else os.kill(run.pid, how)
        _, errors = run.communicate(timeout=30)
        deadline = time.monotonic() + 5
        while any(map(_alive, workers)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        # At most the traceback of the run itself; none from a worker.
        assert errors.count("Traceback") <= (1 if how == signal.SIGINT else 0)
        assert "Process Spawn" not in errors
    finally:
        if run.poll() is None:
            run.kill()
            run.wait()
