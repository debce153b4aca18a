"""A store behind nginx, which shows no folders: listed, opened, verified; whole files, and large tables in parts."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import numpy as np
import pandas as pd
import pytest
from store_factory import copy_of_shared_store

from store import UnreachableError, list_runs, open_run
from store.__main__ import main
from store.files import pieces, remote
from store.files.file_list import FILES
from store.spec import MANIFEST
from store.writing.run_list import write_file_list

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
SETTINGS = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    log_format asked '$request_method $uri $status "$http_range"'; access_log {folder}/access.log asked;
    sendfile on; gzip on; gzip_types *;
    server {{
        listen 127.0.0.1:{port};
        location /lab/ {{ alias {store}/; autoindex off; }}
        location /secret/ {{ return 403; }}
        location /login/ {{ return 200 '<!DOCTYPE html><html>Please sign in</html>'; }}
    }}
}}
"""


@pytest.fixture(scope="module")
def nginx(tmp_path_factory):
    """(address, run, file of the access log) of an nginx that serves an indexed store at /lab/."""
    if NGINX is None:
        pytest.skip("needs nginx: apt install nginx-light")
    folder = tmp_path_factory.mktemp("nginx")
    run = copy_of_shared_store(folder / "store")
    assert main(["index", str(run.parent)]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = SETTINGS.format(folder=folder, port=port, store=run.parent)
    if folder.stat().st_uid == 0:  # its workers would be somebody else, who may not look into this folder
        settings = f"user root;{settings}"
    (folder / "nginx.conf").write_text(settings)
    process = subprocess.Popen([NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    for _ in range(100):
        try:
            urllib.request.urlopen(f"{address}/lab/{run.name}/{MANIFEST}", timeout=1).close()
            break
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    yield address, run, folder / "access.log"
    process.terminate()
    process.wait(10)
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(remote, "WAITS_S", (0.05, 0.1))
    monkeypatch.setenv("BRAINWHY_CACHE", str(tmp_path / "cache"))


def test_a_store_is_read_without_lists_of_folders(nginx):
    address, run, log = nginx
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{address}/lab/")
    assert list_runs(f"{address}/lab") == list_runs(run.parent)
    here, there = open_run(run.parent), open_run(f"{address}/lab")
    for method in ("sensitivity", "occlusion"):
        maps = [one.heatmap("holdout", method, "a1-1", target="AD") for one in (here, there)]
        np.testing.assert_array_equal(*maps)
    np.testing.assert_array_equal(there.array("template"), here.array("template"))
    lines = log.read_text().splitlines()
    assert not [line for line in lines if line.startswith("HEAD") or not line.endswith('"-"')]
    assert main(["info", f"{address}/lab"]) == 0


def test_a_server_that_can_ranges_answers_them(nginx):
    """So that zarr-python and other viewers can read slices, and large tables are read in parts."""
    address, run, _ = nginx
    shard = next(path for path in (run / "arrays.zarr/template").rglob("*") if path.is_file())
    asked = urllib.request.Request(
        f"{address}/lab/{shard.relative_to(run.parent).as_posix()}", headers={"Range": "bytes=2-9"}
    )
    with urllib.request.urlopen(asked) as answer:
        assert answer.status == 206
        assert answer.read() == shard.read_bytes()[2:10]


def test_a_large_table_is_read_in_parts_though_nginx_packs_what_it_sends(nginx, monkeypatch):
    address, run, log = nginx
    monkeypatch.setattr(pieces, "PIECE_BYTES", 4096)
    monkeypatch.setattr(pieces, "PIECES_FROM", 4 * 4096)
    listed, before = (run / FILES).read_bytes(), len(log.read_text().splitlines())
    try:
        assert write_file_list(run)
        one, other = (open_run(place).table("group_regions") for place in (run.parent, f"{address}/lab"))
    finally:
        (run / FILES).write_bytes(listed)
    pd.testing.assert_frame_equal(one, other)
    asked = [line for line in log.read_text().splitlines()[before:] if "group_regions" in line]
    assert asked
    assert all(" 206 " in line for line in asked)


@pytest.mark.parametrize(
    ("place", "words"), [("secret", "refuses access"), ("login", "a web page instead of"), ("none", "answers 404")]
)
def test_what_nginx_answers_instead_is_said(nginx, place, words):
    with pytest.raises(UnreachableError, match=words):
        list_runs(f"{nginx[0]}/{place}")
    if place != "none":
        with pytest.raises(UnreachableError, match=words):
            open_run(f"{nginx[0]}/{place}", "tiny-1")
