"""Stores in buckets and behind web servers: published, listed without folders, compared on arrival, kept on disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import fsspec
import numpy as np
import pandas as pd
import pytest
from remote_server import Bucket, Unlisted, empty_bucket, serving
from store_factory import copy_of_shared_store, shared_store

from store import BrokenRunError, RunGoneError, UnreachableError, list_runs, open_run
from store.__main__ import main
from store.files import disk_cache, file_list, remote, target
from store.files.disk_cache import DiskCache
from store.files.file_list import FILES, sha256_of
from store.reading.listing import RUNS
from store.spec import MANIFEST
from store.writing.validate import validate


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Short time limits, credentials, and a cache of this test."""
    for name, value in {"CONNECT_S": 0.5, "SILENCE_S": 0.6, "WAITS_S": (0.05, 0.1), "REMEMBERED_S": 1.0}.items():
        monkeypatch.setattr(remote, name, value)
    monkeypatch.setattr(target, "WAITS_S", (0.01, 0.01, 0.01))
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv(disk_cache.FOLDER, str(tmp_path / "cache"))
    remote.forget_waits()
    yield
    for name in ("http", "s3"):
        fsspec.get_filesystem_class(name).clear_instance_cache()


@pytest.fixture
def bucket(quick, monkeypatch, tmp_path):
    """(folder, faults) of an empty bucket, which s3://bucket leads to."""
    with empty_bucket(tmp_path / "bucket", monkeypatch.setenv) as served:
        yield served


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """The run of a copy of the shared store with lists of files and runs; tests change nothing in it."""
    run = copy_of_shared_store(tmp_path_factory.mktemp("indexed") / "store")
    assert main(["index", str(run.parent)]) == 0
    yield run
    shutil.rmtree(run.parent)


@pytest.fixture
def unlisted(quick, indexed):
    """(address, faults, run) of the indexed store behind a web server that shows no folders."""
    with serving(indexed.parent, Unlisted) as (address, faults):
        yield address, faults, indexed


@pytest.fixture
def in_bucket(quick, indexed, monkeypatch):
    """(faults, run) of the indexed store in a bucket."""
    with serving(indexed.parent, Bucket) as (address, faults):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", address)
        yield faults, indexed


def asked(faults, method: str) -> list[str]:
    return [line.split("?")[0].split("/", 1)[1] for line in faults.asked if line.startswith(method)]


# -- publishing -------------------------------------------------------------------------------------------------------


def test_a_store_is_published_manifest_last_and_read_again(bucket, capsys):
    _, faults = bucket
    assert main(["publish", str(shared_store()), "s3://bucket/lab/results"]) == 0
    run = open_run(shared_store())
    sent = asked(faults, "PUT")
    assert [key.rsplit("/", 1)[-1] for key in sent[-3:]] == [FILES, MANIFEST, RUNS]
    said = capsys.readouterr().out
    assert "all arrived whole" in said
    assert "simulated persons: whoever may read the bucket sees them" in said
    there = open_run("s3://bucket/lab/results")
    assert there.run_id == run.run_id
    pd.testing.assert_frame_equal(there.table("scans"), run.table("scans"))
    np.testing.assert_array_equal(there.array("grid/atlas"), run.array("grid/atlas"))
    for command in ("list", "info"):
        assert main([command, "s3://bucket/lab/results"]) == 0
    faults.forget()
    assert main(["publish", str(shared_store() / run.run_id), "s3://bucket/lab/results"]) == 0
    assert asked(faults, "PUT") == [f"bucket/lab/results/{RUNS}"]
    assert "nothing to send" in capsys.readouterr().out


def test_publishing_goes_on_where_it_was_stopped(bucket, capsys):
    folder, faults = bucket
    count = iter(range(10_000))
    faults.by_pattern["^PUT"] = lambda: 403 if next(count) > 40 else None
    assert main(["publish", str(shared_store()), "s3://bucket"]) == 1
    assert "refuses access (403 Forbidden)" in capsys.readouterr().err
    assert not list(folder.rglob(MANIFEST))
    assert list_runs("s3://bucket") == []
    arrived = sorted(path for path in folder.rglob("*") if path.is_file())
    arrived[7].write_bytes(bytes(arrived[7].stat().st_size))  # another one of the same length
    faults.by_pattern.clear()
    faults.forget()
    assert main(["publish", str(shared_store()), "s3://bucket"]) == 0
    again = {path for path in arrived if f"bucket/{path.relative_to(folder).as_posix()}" in asked(faults, "PUT")}
    assert again == {arrived[7]}
    assert len(arrived) > 30
    assert f"{len(arrived) - 1} were there already" in capsys.readouterr().out


def test_a_file_that_arrives_otherwise_is_no_publication(bucket, capsys):
    folder, _ = bucket
    real = Bucket.do_PUT

    def lossy(self):
        real(self)
        if "tables/scans.parquet" in self.path:
            self.file_asked_for().write_bytes(b"0" * self.file_asked_for().stat().st_size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bucket, "do_PUT", lossy)
        assert main(["publish", str(shared_store()), "s3://bucket"]) == 1
    assert "scans.parquet has not arrived as it was sent" in capsys.readouterr().err
    assert not list(folder.rglob(MANIFEST))


def test_a_file_is_sent_in_parts_and_known_again(bucket, monkeypatch):
    _, faults = bucket
    monkeypatch.setattr(target, "PART_BYTES", 5 << 20)
    data = np.random.default_rng(0).bytes(11 << 20)
    place = target.Target("s3://bucket/x")
    place.write("big", data)
    assert len(asked(faults, "PUT")) == 3
    info = place.found("")["big"]
    assert target.is_tag_of(info, data)
    assert not target.is_tag_of(info, data[:-1] + b"0")


def test_another_run_of_the_same_name_is_replaced_only_when_asked(bucket, tmp_path, capsys):
    folder, _ = bucket
    run = copy_of_shared_store(tmp_path / "store")
    assert main(["publish", str(run.parent), "s3://bucket"]) == 0
    (folder / run.name / "tables/old.parquet").write_bytes(b"left of the old one")
    manifest = json.loads((run / MANIFEST).read_text())
    (run / MANIFEST).write_text(json.dumps(manifest | {"created": "2027-01-01T00:00:00"}))
    assert main(["publish", str(run), "s3://bucket"]) == 1
    assert "give --replace" in capsys.readouterr().err
    assert main(["publish", str(run), "s3://bucket", "--replace"]) == 0
    assert list_runs("s3://bucket")[0].created == "2027-01-01T00:00:00"
    assert not (folder / run.name / "tables/old.parquet").exists()


def test_a_folder_can_be_published_into(quick, tmp_path):
    assert main(["publish", str(shared_store()), str(tmp_path / "www")]) == 0
    assert validate(tmp_path / "www" / open_run(shared_store()).run_id, deep=False) == []
    with serving(tmp_path / "www", Unlisted) as (address, _):
        assert [info.run for info in list_runs(address)] == [open_run(shared_store()).run_id]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["https://host/x"], "cannot be written to: publish into a bucket"),
        (["gs://bucket/x"], "cannot open gs://bucket/x"),
        (["s3://bucket", "nobody"], "there is no run nobody"),
    ],
)
def test_what_cannot_be_published_is_said_in_a_line(quick, arguments, words, capsys):
    assert main(["publish", str(shared_store()), *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_bucket_that_is_not_there_is_said(bucket, capsys):
    bucket[1].by_pattern["^PUT"] = 404
    assert main(["publish", str(shared_store()), "s3://bucket"]) == 2
    assert "there is no bucket for s3://bucket: make it first" in capsys.readouterr().err


def test_a_broken_run_is_not_published(bucket, tmp_path, capsys):
    run = copy_of_shared_store(tmp_path / "store")
    (run / "tables/scans.parquet").unlink()
    assert main(["publish", str(run.parent), "s3://bucket"]) == 1
    assert "is not published: table scans is missing" in capsys.readouterr().err
    assert not asked(bucket[1], "PUT")


def test_checksums_of_all_object_stores_are_understood():
    data = b"abc"
    assert target.is_tag_of({"ETag": '"900150983cd24fb0d6963f7d28e17f72"'}, data)
    assert target.is_tag_of({"md5Hash": "kAFQmDzST7DWlj99KOF/cg=="}, data)
    md5 = "900150983cd24fb0d6963f7d28e17f72"
    assert target.is_tag_of({"content_settings": {"content_md5": bytearray.fromhex(md5)}}, data)
    assert not target.is_tag_of({"ETag": '"900150983cd24fb0d6963f7d28e17f73"'}, data)
    assert not target.is_tag_of({}, data)


# -- lists ------------------------------------------------------------------------------------------------------------


def test_a_server_without_folders_is_read_by_its_lists(unlisted):
    address, faults, run = unlisted
    here, infos = open_run(run.parent), list_runs(address)
    assert [info.run for info in infos] == [run.name]
    assert infos[0] == list_runs(run.parent)[0]
    there = open_run(address)
    assert there.has_table("predictions")
    assert not there.has_table("flags")
    assert not there.has_array("native/a1-1")
    maps = [one.heatmap("holdout", "occlusion", "a1-1", target="AD") for one in (here, there)]
    np.testing.assert_array_equal(*maps)
    assert not asked(faults, "HEAD")
    assert validate(f"{address}/{run.name}", deep=False) == []
    assert not [path for path in asked(faults, "GET") if path.endswith("zarr.json")]


def test_folders_say_what_is_there_where_they_are_shown(bucket, indexed):
    folder, _ = bucket
    for name in ("listed-1", "unlisted-1"):
        (folder / name).mkdir()
        shutil.copy(indexed / MANIFEST, folder / name)
    row = {"run": "listed-1", "name": "as listed", "spec_version": "1.4"}
    (folder / RUNS).write_text(json.dumps({"runs": [row, row | {"run": "deleted-1"}]}))
    assert {info.run: info.name for info in list_runs("s3://bucket")} == {"listed-1": "as listed", "unlisted-1": "tiny"}
    assert main(["index", "s3://bucket"]) == 0
    names = {row["run"]: row["name"] for row in json.loads((folder / RUNS).read_text())["runs"]}
    assert names == {"listed-1": "tiny", "unlisted-1": "tiny"}


def test_a_local_list_is_kept_true_by_what_changes_the_store(tmp_path):
    run = copy_of_shared_store(tmp_path / "store")
    assert main(["index", str(run.parent)]) == 0
    assert main(["rm", str(run.parent), run.name, "--yes"]) == 0
    assert json.loads((run.parent / RUNS).read_text()) == {"runs": []}


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"runs": [{"run": "../up"}]}', '{"runs": [{"run": ".work"}]}', '{"runs": [7]}']
)
def test_a_list_of_runs_that_is_none_is_not_believed(unlisted, text):
    address, faults, run = unlisted
    faults.by_pattern[f"GET /{RUNS}"] = text.encode()
    with pytest.raises(UnreachableError, match="refuses access"):
        list_runs(address)
    assert open_run(address, run.name).run_id == run.name


def test_a_list_of_files_belongs_to_one_manifest(unlisted):
    address, faults, run = unlisted
    manifest = json.loads((run / MANIFEST).read_text()) | {"created": "2027-01-01T00:00:00"}
    faults.by_pattern[MANIFEST] = json.dumps(manifest).encode()
    assert open_run(address, run.name).has_table("scans")
    assert f"{run.name}/tables/scans.parquet" in asked(faults, "HEAD")  # the list is another manifest's


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a//b", ""])
def test_a_list_of_files_from_a_stranger_names_no_file_outside(path):
    entries = [*file_list.describe(MANIFEST, b"{}"), file_list.FileEntry(path, 1, sha256_of(b"x"))]
    with pytest.raises(ValueError, match="cannot be one of a run"):
        file_list.parse(file_list.to_parquet(entries), b"{}")


@pytest.mark.parametrize("entry", [("tables/a", -1, "a" * 64), ("tables/a", 1, "../../x"), ("tables/a", 1, "")])
def test_a_list_of_files_with_other_values_is_refused(entry):
    entries = [*file_list.describe(MANIFEST, b"{}"), file_list.FileEntry(*entry)]
    with pytest.raises(ValueError, match="cannot be one of a run"):
        file_list.parse(file_list.to_parquet(entries), b"{}")


def test_what_does_not_belong_to_a_run_is_not_published(tmp_path):
    (tmp_path / "tables").mkdir()
    for name in ("notes.txt", "tables/.hidden.parquet", "tables/x.tmp", "subjects.csv", "tables/scans.parquet"):
        (tmp_path / name).write_text("secret")
    assert file_list.paths_of(tmp_path) == ["tables/scans.parquet"]


def test_a_link_out_of_the_run_is_not_published(tmp_path):
    (tmp_path / "run/tables").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "run/tables/scans.parquet").symlink_to(tmp_path / "secret")
    with pytest.raises(BrokenRunError, match="is a link out of the store"):
        list(file_list.read_all(tmp_path / "run"))


# -- arrival and the cache --------------------------------------------------------------------------------------------


def heatmap(address):
    return open_run(address).heatmap("holdout", "occlusion", "a1-1", target="AD")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("flipped", "arrives with other contents than were published"),
        (b"short", "arrives with 5 of"),
        ("cut short", "broke off in the middle of a file: nothing is damaged"),
    ],
)
def test_what_arrives_otherwise_than_it_was_published_is_said_and_not_kept(unlisted, fault, words):
    address, faults, run = unlisted
    answers = iter([fault])
    faults.by_pattern["heatmaps/holdout/.*/c/"] = lambda: next(answers, None)
    assert heatmap(address).any()  # once is not seen
    shutil.rmtree(disk_cache.of_environment().folder)
    disk_cache._opened.cache_clear()
    faults.by_pattern["heatmaps/holdout/.*/c/"] = fault
    with pytest.raises(UnreachableError, match=f"^run {run.name}: .*{words}"):
        heatmap(address)
    faults.by_pattern.clear()
    time.sleep(remote.REMEMBERED_S)
    assert heatmap(address).any()


def test_what_was_fetched_is_not_fetched_again(unlisted):
    address, faults, _ = unlisted
    first = heatmap(address)
    faults.forget()
    np.testing.assert_array_equal(heatmap(address), first)
    assert sorted(path.rsplit("/", 1)[-1] for path in asked(faults, "GET")) == ["", FILES, MANIFEST, RUNS]
    folder = disk_cache.of_environment().folder
    assert folder.stat().st_mode & 0o777 == 0o700
    kept = list(folder.glob("??/*"))
    assert kept
    assert {file.stat().st_mode & 0o777 for file in kept} == {0o600}
    kept[0].write_bytes(b"damaged on this disk")
    np.testing.assert_array_equal(heatmap(address), first)


def test_what_is_fetched_ahead_is_not_asked_for_twice(unlisted):
    address, faults, _ = unlisted
    faults.delay = 0.02
    run = open_run(address)
    run.fetch_ahead()
    here = open_run(shared_store())
    for name in ("cells", "predictions", "scans", "heatmaps", "metrics", "curves"):
        pd.testing.assert_frame_equal(run.table(name), here.table(name))
    while run._folder._files._coming and any(not one.done() for one in run._folder._files._coming.values()):
        time.sleep(0.01)
    assert len(asked(faults, "GET")) == len(set(asked(faults, "GET")))
    faults.forget()
    np.testing.assert_array_equal(run.array("grid/atlas"), here.array("grid/atlas"))
    run.table("regions")
    assert not faults.asked


def test_fetching_ahead_gives_up_after_the_first_failure(unlisted):
    address, faults, _ = unlisted
    faults.by_pattern["/tables/"] = 403
    run = open_run(address)
    run.fetch_ahead()
    with pytest.raises(UnreachableError, match="refuses access"):
        run.table("scans")
    while any(not one.done() for one in list(run._folder._files._coming.values())):
        time.sleep(0.01)
    assert len(asked(faults, "GET")) < 15


def test_nothing_is_kept_where_it_is_switched_off(unlisted, monkeypatch, tmp_path):
    address, _, _ = unlisted
    monkeypatch.setenv(disk_cache.FOLDER, "off")
    assert heatmap(address).any()
    assert not (tmp_path / "cache").exists()


def test_a_size_that_is_no_number_is_said(unlisted, monkeypatch, capsys):
    monkeypatch.setenv(disk_cache.GIGABYTES, "many")
    assert main(["list", unlisted[0]]) == 2
    assert "BRAINWHY_CACHE_GB is 'many': give the gigabytes" in capsys.readouterr().err


def test_the_cache_keeps_its_bound_and_what_was_used_last(tmp_path):
    cache = DiskCache(tmp_path / "kept", 100_000)
    files = {sha256_of(data): data for data in (bytes([k]) * 10_000 for k in range(30))}
    first = next(iter(files))
    for age, (name, data) in enumerate(files.items()):
        cache.put(name, data)
        os.utime(cache.folder / name[:2] / name, (0, age))
        assert cache.get(first) == files[first]  # used again and again, so marked as new
    assert sum(file.stat().st_size for file in cache.folder.glob("??/*")) <= 100_000
    assert cache.get(list(files)[1]) is None
    cache.put(sha256_of(b"1" * 30_000), b"1" * 30_000)  # larger than a quarter of all
    assert cache.get(sha256_of(b"1" * 30_000)) is None


def test_several_processes_share_a_cache(tmp_path):
    code = (
        "import sys; from pathlib import Path; from store.files.disk_cache import DiskCache, sha256_of\n"
        "cache = DiskCache(Path(sys.argv[1]), 200_000)\n"
        "for k in range(300):\n"
        "    data = bytes([k % 60]) * 10_000; name = sha256_of(data)\n"
        "    assert cache.get(name) in (None, data); cache.put(name, data)\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "kept")]) for _ in range(2)]
    assert [one.wait(60) for one in running] == [0, 0]
    cache = DiskCache(tmp_path / "kept", 200_000)
    cache.sweep()
    assert sum(file.stat().st_size for file in cache.folder.glob("??/*")) <= 220_000
    assert not list(cache.folder.glob("??/*.tmp"))


def test_a_folder_of_somebody_else_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_cache.os, "geteuid", lambda: 12345)
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        DiskCache(tmp_path / "kept", 1e9)
    monkeypatch.setenv(disk_cache.FOLDER, str(tmp_path / "kept"))
    disk_cache._opened.cache_clear()
    assert disk_cache.of_environment() is None
    disk_cache._opened.cache_clear()


# -- trouble ----------------------------------------------------------------------------------------------------------


def test_credentials_that_expire_are_said_and_renewed_ones_taken_up(in_bucket):
    faults, _ = in_bucket
    run = open_run("s3://bucket")
    faults.by_pattern["heatmaps/.*/c/"] = "expired"
    with pytest.raises(UnreachableError, match="credentials for this store have expired: renew them"):
        run.heatmap("holdout", "occlusion", "a1-1", target="AD")
    faults.by_pattern.clear()
    assert run.heatmap("holdout", "occlusion", "a1-1", target="AD").any()


def test_a_run_that_is_deleted_or_replaced_while_it_is_open_is_said(unlisted):
    address, faults, folder = unlisted
    run = open_run(address)
    faults.by_pattern = {"grid/atlas/c": 404, MANIFEST: (folder / MANIFEST).read_bytes() + b" "}
    with pytest.raises(RunGoneError, match="was replaced by another one while it was open"):
        run.array("grid/atlas")
    faults.by_pattern[MANIFEST] = 404
    with pytest.raises(RunGoneError, match="was deleted from the store while it was open"):
        run.array("grid/atlas")
    del faults.by_pattern[MANIFEST]
    with pytest.raises(BrokenRunError, match="lacks the file at"):
        run.array("grid/atlas")


def test_a_local_run_that_is_deleted_while_it_is_open_is_said(tmp_path):
    folder = copy_of_shared_store(tmp_path / "store")
    run = open_run(folder.parent)
    shutil.rmtree(folder)
    for question in (lambda: run.array("grid/atlas"), lambda: run.table("scans")):
        with pytest.raises(RunGoneError, match="was deleted from the store while it was open"):
            question()


def test_a_slow_server_is_known_as_one(unlisted):
    address, _, _ = unlisted
    heatmap(address)
    assert remote.seconds_a_file(address) is None
    for _ in range(remote.LAST_FILES):
        remote.note_wait(address, 2.0)
    assert remote.seconds_a_file(f"{address}/x") == 2.0
    assert remote.seconds_a_file("http://other") is None
