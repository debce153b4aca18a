"""Who is the person at this computer: declared, never guessed; and what the server refuses before all pages."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPMessage

import pytest
import streamlit as st
from browser import ROOT, start_server
from store_factory import shared_store
from stream import Reader
from streamlit.errors import StreamlitSecretNotFoundError
from streamlit.proto.BackMsg_pb2 import BackMsg
from websockets.exceptions import ConnectionClosed, InvalidStatus

from dashboard.serving import secret_files
from dashboard.serving.roles import Roles
from dashboard.serving.secret_files import SecretFileError
from dashboard.shell import access, guard, locality

pytestmark = pytest.mark.usefixtures("anonymous")
HERE = {"Host": "localhost:8501"}
NEEDS_LOGIN = "needs a login"


@pytest.fixture
def server_here(monkeypatch, tmp_path):
    """Settings of a server that answers this computer only, without a login; returns them to be changed."""
    options = {"server.address": "localhost", "server.port": 8501, "login": False}
    monkeypatch.setattr(st, "get_option", options.get)
    monkeypatch.setattr(locality, "has_login", lambda: options["login"])
    monkeypatch.setattr(sys, "argv", ["home.py"])
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    locality._cookie.cache_clear()
    yield options
    locality._cookie.cache_clear()


def cookie() -> dict[str, str]:
    return {locality.COOKIE: locality._cookie()}


def declare(monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["home.py", "--store", "x", "--local"])


# -- the rule ---------------------------------------------------------------------------------------------------------


def test_an_address_alone_makes_nobody_local(server_here, monkeypatch):
    assert not locality.is_local(HERE, {})
    assert not locality.is_local(HERE, {locality.COOKIE: "0" * 64})
    assert not locality.is_local(HERE, {locality.COOKIE: ""})
    assert locality.is_local(HERE, cookie())
    declare(monkeypatch)
    assert locality.is_local(HERE, {})


@pytest.mark.parametrize("address", [None, "", "0.0.0.0", "::", "192.0.2.7", "example.org"])
def test_where_other_computers_are_answered_nobody_is_local(server_here, monkeypatch, address):
    server_here["server.address"] = address
    declare(monkeypatch)
    assert not locality.is_local(HERE, cookie())


def test_where_a_login_is_configured_nobody_is_local(server_here, monkeypatch):
    server_here["login"] = True
    declare(monkeypatch)
    assert not locality.is_local(HERE, cookie())


@pytest.mark.parametrize("host", ["localhost", "localhost:8501", "LOCALHOST:80", "127.0.0.1:8501", "[::1]:8501"])
def test_the_names_of_this_computer(server_here, host):
    assert locality.is_local({"host": host}, cookie())


@pytest.mark.parametrize(
    "host",
    ["brains.example.org", "localhost.example.org", "127.0.0.1.nip.io:8501", "192.0.2.7", "", "localhost@evil.example",
     "user@localhost", "[::1", "localhost/x", "0.0.0.0"],
)  # fmt: skip
def test_a_foreign_host_is_not_local(server_here, monkeypatch, host):
    declare(monkeypatch)
    assert not locality.is_local({"Host": host}, cookie())


def test_a_request_without_a_host_is_not_local(server_here, monkeypatch):
    declare(monkeypatch)
    assert not locality.is_local({}, cookie())


@pytest.mark.parametrize(
    "header",
    ["X-Forwarded-For", "x-forwarded-host", "X-Forwarded-Proto", "X-Forwarded-Anything", "Forwarded", "Via",
     "X-Real-IP", "CF-Connecting-IP"],
)  # fmt: skip
def test_what_has_come_through_a_proxy_is_not_local(server_here, monkeypatch, header):
    declare(monkeypatch)
    assert not locality.is_local({**HERE, header: "127.0.0.1"}, cookie())


def test_a_login_is_known_by_the_secrets_or_by_headers_that_name_the_user(monkeypatch):
    def missing(error_id: str):
        class Secrets:
            def __contains__(self, _: str) -> bool:
                error = StreamlitSecretNotFoundError("none")
                error.error_id = error_id
                raise error

        return Secrets()

    headers = {}
    monkeypatch.setattr(st, "get_option", lambda name: headers)
    for found, expected in (
        (missing("no-secrets-found"), False), (missing("unreadable"), True), ({}, False), ({"auth": {}}, True),
    ):  # fmt: skip
        monkeypatch.setattr(st, "secrets", found)
        assert locality.has_login() == expected
    headers["X-User"] = "email"
    monkeypatch.setattr(st, "secrets", {})
    assert locality.has_login()


def test_without_a_file_of_secrets_there_is_no_login(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert not locality.has_login()


def test_the_server_says_who_sees_what(server_here, monkeypatch):
    assert f"http://localhost:8501/brainwhy/local/{locality.TOKEN}" in locality.greeting()
    assert f"/heat/brainwhy/local/{locality.TOKEN}" in locality.greeting("/heat")
    declare(monkeypatch)
    assert locality.TOKEN not in locality.greeting()
    assert "--local" in locality.greeting()
    for changed, said in (({"login": True}, "after a login"), ({"server.address": None}, "groups alone")):
        server_here.update(changed)
        assert said in locality.greeting()
        assert locality.TOKEN not in locality.greeting()
        server_here.update({"login": False})


# -- roles ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "held"),
    [
        ({"roles": ["patient"]}, True), ({"groups": ["staff", "patient"]}, True), ({"roles": ("patient",)}, True),
        ({"groups": "outpatient-billing"}, False), ({"roles": "patient"}, False), ({"roles": ["outpatient"]}, False),
        ({"roles": {"patient": False}}, False), ({"roles": {"patient": True}}, False),
        ({"roles": [["patient"]]}, False), ({"roles": True}, False), ({"roles": None}, False),
        ({"roles": 1, "groups": ["patient"]}, True),
        ({"roles": ["Patient"]}, False), ({"role": ["patient"]}, False), ({}, False),
    ],
)  # fmt: skip
def test_a_role_is_a_whole_word_in_a_list(claims, held):
    assert (Roles().role({"is_logged_in": True, **claims}, "none") == "patient") == held
    for nobody in (False, "true", "yes", 1, None):
        assert Roles().role({"is_logged_in": nobody, **claims}, "none") == "none"


def test_a_volume_is_for_the_reader_who_was_given_its_address(server_here):
    login = {"_streamlit_user": "abc", "_streamlit_user__1": "def", "other": "1"}
    names = [
        access.reader(HERE, cookie()), access.reader(HERE, login), access.reader(HERE, {"_streamlit_user": "abc"}),
        access.reader(HERE, {}),
    ]  # fmt: skip
    assert len(set(names)) == 4
    assert names[-1] == ""
    assert access.reader({"Host": "brains.example.org"}, {**cookie(), **login}) == names[1]


# -- the key of links -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["BRAINWHY_LINK_KEY_FILE", "BRAINWHY_LINK_KEY"])
@pytest.mark.parametrize("value", ["s3cr3t", "aGVs/bG8", "/c2VjcmV0", "folder/that/is/not/there.key"])
def test_a_secret_in_the_place_of_a_file_makes_no_file_and_is_not_repeated(monkeypatch, tmp_path, variable, value):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BRAINWHY_LINK_KEY_FILE", raising=False)
    monkeypatch.setenv(variable, value)
    access._key.cache_clear()
    with pytest.raises(SecretFileError, match="BRAINWHY_LINK_KEY_FILE") as error:
        access.pseudonym("sub-001")
    assert value not in str(error.value)
    assert not list(tmp_path.rglob("*"))


def test_the_old_name_of_the_variable_still_works(monkeypatch, tmp_path):
    file = tmp_path / "link.key"
    file.write_bytes(b"k" * 32)
    found = []
    for old, new in ((None, file), (file, None), (tmp_path / "other.key", file)):
        for variable, value in (("BRAINWHY_LINK_KEY", old), ("BRAINWHY_LINK_KEY_FILE", new)):
            monkeypatch.setenv(variable, str(value)) if value else monkeypatch.delenv(variable, raising=False)
        access._key.cache_clear()
        found.append(access.pseudonym("sub-001"))
    access._key.cache_clear()
    assert len(set(found)) == 1
    assert not (tmp_path / "other.key").exists()


def test_processes_that_start_at_once_have_one_key(tmp_path):
    """Each sees the file whole or not at all; nothing else is left beside it."""
    for number in range(20):
        place, barrier = tmp_path / f"{number}.key", threading.Barrier(8)

        def start(place=place, barrier=barrier) -> bytes:
            barrier.wait()
            return secret_files.kept(place)

        with ThreadPoolExecutor(8) as pool:
            found = {future.result() for future in [pool.submit(start) for _ in range(8)]}
        assert found == {place.read_bytes()}
        assert place.stat().st_mode & 0o777 == 0o600
    assert len(list(tmp_path.iterdir())) == 20


def test_a_key_file_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "empty.key").touch()
    with pytest.raises(SecretFileError, match=r"empty\.key is empty"):
        secret_files.kept(tmp_path / "empty.key")
    (tmp_path / "folder.key").mkdir()
    with pytest.raises(SecretFileError, match=r"folder\.key cannot be read"):
        secret_files.kept(tmp_path / "folder.key")


# -- the guard --------------------------------------------------------------------------------------------------------


def through_the_guard(messages: list[dict], scope: dict, app) -> list[dict]:
    """What the guard sends where the client sends these messages."""
    sent, waiting = [], list(messages)

    async def receive() -> dict:
        assert waiting, "more was read than it should"
        return waiting.pop(0)

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.run(guard.Guard(app)(scope, receive, send))
    return sent


@pytest.mark.parametrize("base", ["", "/heat"])
def test_uploads_are_refused_before_anything_of_them_is_read(base):
    async def app(*_: object) -> None:
        raise AssertionError("it has come through")

    path = f"{base}/_stcore/upload_file/session/file"
    sent = through_the_guard([], {"type": "http", "path": path, "method": "PUT", "headers": []}, app)
    assert sent[0]["status"] == 404


def rerun() -> bytes:
    message = BackMsg()
    message.rerun_script.page_name = "patient"
    return message.SerializeToString()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"text": "hello", "bytes": None}, 1003), ({"text": "hello"}, 1003), ({"bytes": b"\xff" * 9}, 1002),
        ({"bytes": b""}, 1002), ({"bytes": rerun()[:-3]}, 1002), ({"bytes": rerun()}, 1011),
    ],
)  # fmt: skip
def test_a_malformed_message_is_one_line_of_the_log(caplog, content, code):
    async def app(_: dict, receive, send) -> None:
        await send({"type": "websocket.accept"})
        message = await receive()
        if message["type"] == "websocket.disconnect":
            await send({"type": "websocket.close", "code": 1000})  # as a library may do once more
            return
        raise TypeError(f"unexpected {message}")

    scope = {"type": "websocket", "path": "/", "headers": []}
    sent = through_the_guard([{"type": "websocket.receive", **content}], scope, app)
    assert [message.get("code") for message in sent] == [None, code]
    assert len(caplog.records) == 1
    assert "A connection was closed" in caplog.text
    assert "Traceback" not in caplog.text


# -- a server as it is started -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """`streamlit run dashboard/app.py` from another folder, without any option."""
    folder = tmp_path_factory.mktemp("elsewhere")
    environment = {"XDG_CONFIG_HOME": str(folder / "config")}
    server = start_server(shared_store(), folder, options=(), cwd=folder, **environment)
    yield server
    server.stop()


def printed(server) -> str:
    return re.search(r"http://localhost:\d+/brainwhy/local/\S+", server.log)[0]


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def asked(url: str, method: str = "GET", data: bytes | None = None, **headers: str) -> tuple[int, HTTPMessage]:
    request = urllib.request.Request(url, data, {k.replace("_", "-"): v for k, v in headers.items()}, method=method)
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=20) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.headers


def of_the_browser(server) -> dict[str, str]:
    """The cookies after the printed address was opened."""
    status, headers = asked(printed(server))
    assert (status, headers["Location"]) == (303, "/")
    assert "HttpOnly" in headers["Set-Cookie"]
    assert "SameSite=Strict" in headers["Set-Cookie"]
    return dict([headers["Set-Cookie"].split(";")[0].split("=")])


def sees_patients(server, page: str = "patient", **how) -> bool:
    with Reader(server.url, **how) as reader:
        return NEEDS_LOGIN not in reader.open(page).text()


def test_only_who_opens_the_printed_address_sees_patients(plain):
    assert not sees_patients(plain)
    assert sees_patients(plain, cookies=of_the_browser(plain))


@pytest.mark.parametrize(
    "headers", [{"X-Forwarded-For": "203.0.113.9"}, {"Forwarded": "for=203.0.113.9"}, {"X-Real-IP": "203.0.113.9"}]
)
def test_behind_a_proxy_a_server_for_its_own_computer_answers_nothing(plain, headers):
    cookies = of_the_browser(plain)
    for address in ("/", "/patient", "/_stcore/health", "/brainwhy/local/x"):
        assert asked(plain.url + address, **headers)[0] == 403
    with pytest.raises(InvalidStatus, match="403"), Reader(plain.url, cookies=cookies, headers=headers):
        pass
    assert asked(f"{plain.url}/patient")[0] == 200


def test_a_wrong_token_and_a_foreign_host_are_refused(plain):
    assert asked(printed(plain)[:-1])[0] == 403
    assert asked(printed(plain), Host="brains.example.org")[0] == 403


def test_the_address_of_a_volume_is_of_no_use_to_others(plain):
    cookies = of_the_browser(plain)
    with Reader(plain.url, cookies=cookies) as reader:
        address = re.search(r"/brainwhy/volume/[\w\-]+\?expires=\d+&signature=\w+", reader.open("patient").text())[0]
    of_reader = "; ".join(f"{name}={value}" for name, value in cookies.items())
    assert asked(plain.url + address, Cookie=of_reader)[0] == 200
    assert asked(plain.url + address)[0] == 403
    assert asked(plain.url + address, Cookie=of_reader, X_Forwarded_For="203.0.113.9")[0] == 403
    assert asked(plain.url + address, Cookie=of_reader, Host="brains.example.org")[0] == 403


def test_a_server_takes_no_files_wherever_it_is_started(plain):
    status, _ = asked(f"{plain.url}/_stcore/upload_file/a/b", "PUT", bytes(1000))
    assert status == 404


@pytest.mark.parametrize("nonsense", ["text", b"", b"\xff\xff\xff\xff", rerun()[:-3]])
def test_nonsense_on_the_wire_leaves_no_traceback(plain, nonsense):
    before = len(plain.log)
    with Reader(plain.url) as reader:
        reader.send(nonsense)
        with pytest.raises(ConnectionClosed):
            reader.read_all()
    said = plain.log[before:]
    assert "Traceback" not in said
    assert said.count("A connection was closed") == 1


def test_a_server_for_other_computers_prints_no_token_and_makes_nobody_local(tmp_path):
    server = start_server(shared_store(), tmp_path, STREAMLIT_SERVER_ADDRESS="0.0.0.0")
    try:
        assert "brainwhy/local" not in server.log
        assert "groups alone" in server.log
        assert not sees_patients(server)
    finally:
        server.stop()


def test_a_login_ends_locality(tmp_path):
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text(
        '[auth]\nredirect_uri = "http://localhost/oauth2callback"\ncookie_secret = "x"\nclient_id = "x"\n'
        'client_secret = "x"\nserver_metadata_url = "http://127.0.0.1:9/none"\n'
    )
    server = start_server(shared_store(), tmp_path, cwd=tmp_path)
    try:
        assert "after a login" in server.log
        assert not sees_patients(server)
    finally:
        server.stop()


# -- the load of a pass ------------------------------------------------------------------------------------------------

READY = """
import gc, sys
from dashboard import app
app.make_ready()
assert gc.get_freeze_count() > 100_000, gc.get_freeze_count()
heavy = {"torch", "ants", "sklearn", "nilearn", "scipy.stats", "scipy.cluster", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
assert {"plotly", "pandas", "dashboard.data.averages", "dashboard.shell.sidebar"} <= set(sys.modules)
"""


def test_what_is_loaded_at_the_start_is_not_searched_for_garbage_after_every_pass():
    done = subprocess.run([sys.executable, "-c", READY], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
