"""The dashboard on a store behind a server that has trouble: words by cause, other runs and pages go on."""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
import time

import pytest
from pages import forget_all, turn_to
from remote_server import HTML, Bucket
from store_factory import copy_of_shared_store
from streamlit.testing.v1 import AppTest
from test_dashboard_views import text_of
from test_store_remote import serve  # noqa: F401, a fixture

from dashboard.data import listing, runs, workers
from store import UnreachableError
from store.__main__ import main
from store.files import remote

GROUP_MAPS, OVERVIEW = "views/group_maps/page.py", "views/overview/page.py"
PROVENANCE = "views/provenance/page.py"


@pytest.fixture
def served(tmp_path, serve, monkeypatch):  # noqa: F811
    """(address, faults) of a store with the runs newer-1 and other-1."""
    run = copy_of_shared_store(tmp_path / "store")
    for name, created in (("newer-1", "2026-02-02T00:00:00"), ("other-1", "2025-01-01T00:00:00")):
        shutil.copytree(run, run.parent / name)
        manifest = json.loads((run / "manifest.json").read_text())
        changed = manifest | {"run": name, "name": name[:-2], "created": created}
        (run.parent / name / "manifest.json").write_text(json.dumps(changed))
    shutil.rmtree(run)
    monkeypatch.setattr(sys, "argv", ["home.py"])
    monkeypatch.setattr(listing, "PATIENCE_S", 0.2)
    monkeypatch.setenv("BRAINWHY_CACHE", str(tmp_path / "cache"))
    remote.forget_waits()
    forget_all()
    return serve(run.parent)


@pytest.fixture
def listed(served, tmp_path):
    """As `served`, with the lists of files and runs."""
    assert main(["index", str(tmp_path / "store")]) == 0
    return served


def page(address, view, monkeypatch, **query) -> AppTest:
    monkeypatch.setenv("BRAINWHY_STORE", address)
    app = AppTest.from_file("../dashboard/home.py", default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    return turn_to(app, view).run()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("silence", "did not answer within"),
        (403, "refuses access"),
        (503, "in trouble"),
        (HTML, "a web page instead of"),
        ("cut short", "broke off in the middle of a file"),
    ],
)
def test_a_page_says_what_the_server_does_and_the_others_go_on(served, monkeypatch, fault, words):
    address, faults = served
    faults.by_pattern["/newer-1/arrays.zarr/cells/.*/c/"] = fault
    begun = time.monotonic()
    text = text_of(app := page(address, GROUP_MAPS, monkeypatch, run="newer-1"))
    assert time.monotonic() - begun < 30
    assert "The store does not answer" in text
    assert words in text
    assert "copy or build" not in text
    assert [button.label for button in app.button if button.label == "Try again"]
    assert "The store does not answer" not in text_of(page(address, GROUP_MAPS, monkeypatch, run="other-1"))
    assert "The store does not answer" not in text_of(
        page(address, "views/provenance/page.py", monkeypatch, run="newer-1")
    )
    faults.by_pattern.clear()
    faults.over.set()
    time.sleep(remote.REMEMBERED_S)
    assert "The store does not answer" not in text_of(app.run())


def test_expired_credentials_are_said_on_the_page(served, serve, tmp_path, monkeypatch):  # noqa: F811
    address, faults = serve(tmp_path / "store", Bucket)
    faults.by_pattern["/newer-1/arrays.zarr/cells/.*/c/"] = "expired"
    text = text_of(page(address, GROUP_MAPS, monkeypatch, run="newer-1"))
    assert "The store does not answer" in text
    assert "credentials for this store have expired" in text
    assert "does not answer" not in text_of(page(address, PROVENANCE, monkeypatch, run="newer-1"))


def test_a_missing_cell_is_never_an_empty_map(served, monkeypatch):
    address, faults = served
    faults.by_pattern["/newer-1/arrays.zarr/cells/.*/c/"] = 404
    assert "lacks the file at" in text_of(page(address, GROUP_MAPS, monkeypatch, run="newer-1"))


def test_a_file_that_arrives_otherwise_is_said_and_the_others_go_on(listed, monkeypatch):
    address, faults = listed
    faults.by_pattern["/newer-1/arrays.zarr/cells/.*/c/"] = "flipped"
    text = text_of(page(address, GROUP_MAPS, monkeypatch, run="newer-1"))
    assert "The store does not answer" in text
    assert "arrives with other contents than were published" in text
    assert "does not answer" not in text_of(page(address, GROUP_MAPS, monkeypatch, run="other-1"))


def test_a_slow_store_is_said_to_be_slow_and_shown(listed, monkeypatch):
    address, faults = listed
    monkeypatch.setattr(remote, "SLOW_S", 0.2)
    faults.delay = 0.25
    text = text_of(page(address, PROVENANCE, monkeypatch, run="newer-1"))
    assert re.search(r"The store answers slowly: \d\.\d s a file", text)
    assert "does not answer" not in text
    faults.delay = 0
    for _ in range(remote.LAST_FILES):
        remote.RemoteFiles(address).read("runs.json", 1 << 20)
    assert "answers slowly" not in text_of(page(address, PROVENANCE, monkeypatch, run="newer-1"))


def test_a_run_that_is_deleted_while_it_is_open_is_said_to_be_gone(listed, monkeypatch):
    address, faults = listed
    app = page(address, PROVENANCE, monkeypatch, run="newer-1")
    faults.by_pattern["/newer-1/"] = 404
    text = text_of(turn_to(app, GROUP_MAPS).run())
    assert "This run is gone" in text
    assert "newer-1 was deleted from the store while it was open" in text
    assert "This run is gone" not in text_of(page(address, GROUP_MAPS, monkeypatch, run="other-1"))


def test_a_list_that_is_known_outlives_the_silence_of_its_server(served, monkeypatch):
    address, faults = served
    assert len(runs.runs(address)) == 2
    faults.by_pattern["."] = "silence"
    runs.runs.clear()
    waits = []

    def ask() -> None:
        begun = time.monotonic()
        assert [info.run for info in listing.of(address)] == ["newer-1", "other-1"]
        waits.append(time.monotonic() - begun)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(waits) == 20
    assert max(waits) < 5


def test_a_store_that_is_silent_from_the_first_is_said(served, monkeypatch):
    address, faults = served
    faults.by_pattern["."] = "silence"
    text = text_of(page(address, OVERVIEW, monkeypatch))
    assert "The store does not answer" in text
    assert "did not answer within" in text
    with pytest.raises(UnreachableError):
        listing.of(address)
    faults.by_pattern.clear()
    faults.over.set()
    time.sleep(remote.REMEMBERED_S)
    assert "newer-1" in text_of(page(address, OVERVIEW, monkeypatch))


def test_each_remote_run_has_threads_of_its_own():
    here = workers.readers("results", "a-1")
    assert here is workers.readers("/other", "b-1")
    there = [workers.readers("s3://bucket", f"{k}-1") for k in range(2 * workers.REMOTE_RUNS)]
    assert len({id(pool) for pool in [here, *there]}) == 2 * workers.REMOTE_RUNS + 1
    assert workers.readers("results", "a-1") is here
    held = threading.Event()
    try:
        silent = [there[-1].submit(held.wait, 30) for _ in range(workers.WORKERS)]
        assert there[-2].submit(lambda: "goes on").result(5) == "goes on"
        assert not any(future.done() for future in silent)
    finally:
        held.set()
