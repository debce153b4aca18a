"""The dashboard on a store behind a server that has trouble: words by cause, other runs and pages go on."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time

import pytest
import streamlit as st
from pages import turn_to
from store_factory import copy_of_shared_store
from streamlit.testing.v1 import AppTest
from test_dashboard_views import text_of
from test_store_remote import HTML, serve  # noqa: F401, a fixture

from dashboard.data import listing, runs, workers
from store import UnreachableError
from store.files import remote

GROUP_MAPS, OVERVIEW = "views/group_maps/page.py", "views/overview/page.py"


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
    st.cache_data.clear()
    st.cache_resource.clear()
    return serve(run.parent)


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


def test_a_missing_cell_is_never_an_empty_map(served, monkeypatch):
    address, faults = served
    faults.by_pattern["/newer-1/arrays.zarr/cells/.*/c/"] = 404
    assert "lacks the file at" in text_of(page(address, GROUP_MAPS, monkeypatch, run="newer-1"))


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
