"""Stores behind servers that are slow, silent, forbidding, wrong or plain: words by cause, within bounded time."""

from __future__ import annotations

import contextlib
import time

import numpy as np
import pandas as pd
import pytest
from remote_server import HTML, Bucket, Plain, serving
from store_factory import METHODS, copy_of_shared_store, shared_store

from store import BrokenRunError, StoreNotFoundError, UnreachableError, list_runs, open_run
from store.__main__ import main
from store.files import remote
from store.keys import GroupKey

SHARD = "/arrays.zarr/heatmaps/holdout/"


@pytest.fixture
def serve(monkeypatch):
    """serve(folder, kind) -> (address, its faults)."""
    for name, value in {"CONNECT_S": 0.5, "SILENCE_S": 0.6, "WAITS_S": (0.05, 0.1), "REMEMBERED_S": 1.0}.items():
        monkeypatch.setattr(remote, name, value)
    monkeypatch.setenv("BRAINWHY_CACHE", "off")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with contextlib.ExitStack() as servers:

        def started(folder, kind=Plain):
            address, faults = servers.enter_context(serving(folder, kind))
            if kind is Bucket:
                monkeypatch.setenv("AWS_ENDPOINT_URL", address)
                monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", address)
                address = "s3://bucket"
            return address, faults

        yield started
    import fsspec

    for name in ("http", "s3"):
        fsspec.get_filesystem_class(name).clear_instance_cache()


@pytest.fixture
def copied(tmp_path):
    return copy_of_shared_store(tmp_path / "store")


@pytest.mark.parametrize("kind", [Plain, Bucket])
def test_a_served_store_gives_the_same_answers(serve, kind):
    here = open_run(shared_store())
    address, _ = serve(shared_store(), kind)
    assert [info.run for info in list_runs(address)] == [here.run_id]
    there = open_run(address)
    for method in METHODS:
        asked = ("holdout", method, "a1-2")
        np.testing.assert_array_equal(there.heatmap(*asked, target="NC"), here.heatmap(*asked, target="NC"))
        maps = [run.group_map(GroupKey("folds", method, "AD"), statistics=["sd"]).sd for run in (here, there)]
        np.testing.assert_array_equal(*maps)
    np.testing.assert_array_equal(there.array("template"), here.array("template"))
    pd.testing.assert_frame_equal(there.table("predictions"), here.table("predictions"))
    assert there.file("models/fold-1.safetensors") == b"weights of fold-1"
    assert not there.has_table("flags")
    assert not there.has_array("native/a1-1")


def heatmap(address, method="occlusion"):
    return open_run(address).heatmap("holdout", method, "a1-1", target="AD")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [Plain, Bucket])
def test_a_deleted_shard_is_never_an_empty_map(serve, copied, kind, method):
    folder = copied / f"arrays.zarr/heatmaps/holdout/{method}/AD/margin/c/0"
    next(path for path in folder.rglob("*") if path.is_file()).unlink()
    address, _ = serve(copied.parent, kind)
    with pytest.raises(BrokenRunError, match="lacks the file at"):
        heatmap(address, method)


@pytest.mark.parametrize("kind", [Plain, Bucket])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (403, "refuses access"), (503, "in trouble .*: nothing is damaged, try again"), (429, "in trouble"),
        (HTML, "a web page instead of arrays.zarr/heatmaps"),
        ("silence", "did not answer within .*: nothing is damaged"), ("hang up", "nothing is damaged"),
    ],
)  # fmt: skip
def test_what_a_server_does_instead_of_a_shard_is_said_by_its_cause(serve, copied, kind, fault, words):
    address, faults = serve(copied.parent, kind)
    run = open_run(address)
    faults.by_pattern[f"{SHARD}occlusion/.*/c/"] = fault
    begun = time.monotonic()
    with pytest.raises(UnreachableError, match=f"^run {copied.name}: .*{words}") as caught:
        run.heatmap("holdout", "occlusion", "a1-1", target="AD")
    assert time.monotonic() - begun < 8
    assert "copy or build" not in str(caught.value)
    assert "\n" not in str(caught.value)
    faults.by_pattern.clear()
    faults.over.set()
    time.sleep(remote.REMEMBERED_S)
    assert run.heatmap("holdout", "occlusion", "a1-1", target="AD").any()


def test_trouble_that_passes_is_not_seen(serve, copied):
    address, faults = serve(copied.parent)
    answers = iter([503, "hang up"])
    faults.by_pattern[f"{SHARD}occlusion/.*/c/"] = lambda: next(answers, None)
    assert heatmap(address).any()


def test_after_a_silence_others_do_not_wait_one_after_another(serve, copied):
    address, faults = serve(copied.parent)
    run = open_run(address)
    faults.by_pattern[f"{SHARD}occlusion/.*/c/"] = "silence"
    waited = []

    def ask(method: str) -> None:
        begun = time.monotonic()
        try:
            run.heatmap("holdout", method, "a1-1", target="AD")
        except UnreachableError:
            waited.append(time.monotonic() - begun)

    ask("occlusion")
    for _ in range(20):
        ask("occlusion")
    assert len(waited) == 21
    assert sum(waited[1:]) < 1


def test_a_silent_run_holds_up_no_other_run(serve, copied):
    import shutil

    shutil.copytree(copied, copied.parent / "other-1")
    address, faults = serve(copied.parent)
    faults.by_pattern[f"/{copied.name}/"] = "silence"
    infos = {info.run: info for info in list_runs(address)}
    assert infos["other-1"].problem is None
    assert infos[copied.name].unreachable
    assert "did not answer" in infos[copied.name].problem
    assert open_run(address).run_id == "other-1"


# -- lists of runs ----------------------------------------------------------------------------------------------------


def test_a_list_that_links_to_itself_names_no_run_twice_and_none_without_a_name(serve, copied):
    address, faults = serve(copied.parent)
    links = ["", "./", "../", "/", "?C=N;O=D", "#top", f"{copied.name}/", f"./{copied.name}/", "//", "http://other/x/"]
    links += [f"{address}/", address, f"{address}/{copied.name}/", f"{address}/{copied.name}/tables/", "mailto:a@b"]
    page = "".join(f'<a href="{link}">{link}</a>' for link in links)
    faults.by_pattern["^GET /$"] = f"<html>{page}</html>".encode()
    assert [info.run for info in list_runs(address)] == [copied.name]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (404, "answers 404 .* the server must show a list"), (403, "refuses access"), (503, "in trouble"),
        (b"<html><p>Hello</p></html>", "links to nothing, .* the server must show a list"), ("silence", "not answer"),
    ],
)  # fmt: skip
def test_a_store_that_cannot_be_listed_says_what_the_server_lacks(serve, copied, answer, words, capsys):
    address, faults = serve(copied.parent)
    faults.by_pattern["^GET /$"] = answer
    with pytest.raises(UnreachableError, match=f"^store {address}: .*{words}"):
        list_runs(address)
    assert main(["list", address]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Traceback" not in said
    time.sleep(remote.REMEMBERED_S)
    assert open_run(address, copied.name).array("grid/mask").any()  # a run that is named needs no list


def test_a_server_that_is_not_there(serve):
    with pytest.raises(UnreachableError, match="cannot be reached"):
        list_runs("http://127.0.0.1:1/store")


def test_what_is_not_installed_is_named():
    with pytest.raises(StoreNotFoundError, match=r"pip install 'brainwhy\[remote\]'"):
        list_runs("gs://bucket/store")


def test_an_endless_file_is_not_read_to_its_end(serve, copied):
    address, faults = serve(copied.parent)
    faults.by_pattern["manifest.json"] = b" " * (9 << 20)
    assert "has more than the" in list_runs(address)[0].problem
