"""Streamlit's files for the browser are served from memory, and its page asks for nothing in vain."""

from __future__ import annotations

import gzip
import re

import pytest
from asgi import Client
from starlette.responses import PlainTextResponse
from starlette.routing import Mount

from dashboard.serving import browser_files
from dashboard.serving.browser_files import BrowserFiles, files

SCRIPT = max((name for name in files() if name.endswith(".js")), key=lambda name: files()[name].stat().st_size)
LETTERS = next(name for name in files() if name.endswith(".woff2"))


@pytest.fixture(params=["", "/heat"])
def client(request):
    app = BrowserFiles(PlainTextResponse("of the app", 404), request.param, ["patient"])
    with Client([Mount("/", app=app)]) as one:
        yield lambda path, **asked: one.ask(f"{request.param}/{path}", **asked)


def test_a_script_comes_packed_and_may_be_kept(client):
    found = client(SCRIPT, headers={"Accept-Encoding": "gzip, br"})
    assert gzip.decompress(found.body) == files()[SCRIPT].read_bytes()
    assert found.headers["content-type"].startswith("text/javascript")
    assert found.headers["content-encoding"] == "gzip"
    assert "immutable" in found.headers["cache-control"]
    assert found.headers["vary"] == "Accept-Encoding"


def test_who_takes_no_gzip_and_what_is_packed_already_get_it_as_it_is(client):
    assert client(SCRIPT).body == files()[SCRIPT].read_bytes()
    found = client(LETTERS, headers={"Accept-Encoding": "gzip"})
    assert found.body == files()[LETTERS].read_bytes()
    assert "content-encoding" not in found.headers
    assert found.headers["content-type"] == "font/woff2"


def test_everything_else_is_the_apps(client):
    for path in ("static/js/x.js", "static/../index.html", "static/js/%2e%2e/%2e%2e/index.html", "other", "index.html"):
        assert client(path).text == "of the app"
    assert client(SCRIPT, method="POST").text == "of the app"


def test_pages_do_not_ask_for_letters_that_they_are_not_written_in(client):
    whole = (browser_files.STATIC / "index.html").read_text(encoding="utf-8")
    for path in ("", "patient"):
        text = client(path).text
        assert "SourceSans" in whole
        assert "SourceSans" not in text
        assert re.findall("<script.*", text) == re.findall("<script.*", whole)
        assert len(whole) - len(text) < 300
        assert client(path).headers["cache-control"] == "no-cache"
