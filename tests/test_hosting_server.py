"""What the server for others puts around every answer: logins that end, ways back, headers, its log, its start."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from asgi_browser import Client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from streamlit.auth_util import set_cookie_with_chunks
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

from dashboard import __main__ as command
from dashboard.links import records
from dashboard.serving import health, hosting, sessions, state, streamlit_login
from dashboard.serving.access_log import AccessLog
from dashboard.serving.headers import MOST_BODY, SafeHeaders, is_behind_tls
from dashboard.serving.hosting import Hosting
from dashboard.serving.logins import RETURN_COOKIE, Logins
from dashboard.serving.media import MediaForReaders
from dashboard.shell import access

SECRET = "s" * 40
PERSON = {
    "iss": "https://login.example.org", "sub": "ada-1", "name": "Ada", "email": "Ada@Example.org",
    "groups": ["patient"],
}  # fmt: skip
BASE = "/heat"
FILE = "a" * 56


def streamlit_cookies(person: dict) -> dict[str, str]:
    """The cookies that Streamlit sets after a login."""
    found: dict[str, str] = {}

    def put(name: str, value: str) -> None:
        found[name] = create_signed_value(SECRET, name, value).decode()

    user = {**person, "origin": "https://brains.example.org", "is_logged_in": True, "provider": "default"}
    sign = lambda name, value: create_signed_value(SECRET, name, value)  # noqa: E731
    set_cookie_with_chunks(put, sign, "_streamlit_user", user, cookie_attr_size=80)
    set_cookie_with_chunks(put, sign, "_streamlit_user_tokens", {"id_token": "x"}, cookie_attr_size=80)
    return found


async def seen(request: Request) -> JSONResponse:
    """What reaches Streamlit: who signed in, and the names of the cookies."""
    return JSONResponse({"sub": streamlit_login.claims(request.cookies).get("sub"), "cookies": sorted(request.cookies)})


async def callback(request: Request) -> RedirectResponse:
    """As Streamlit answers when the provider sends somebody back."""
    answer = RedirectResponse(f"{BASE}/", 302)
    for name, value in streamlit_cookies(PERSON).items() if "code" in request.query_params else ():
        answer.set_cookie(name, value, httponly=True, samesite="lax", path=BASE, max_age=30 * 24 * 3600)
    return answer


async def redirect(_: Request) -> RedirectResponse:
    return RedirectResponse(f"{BASE}/", 302)


async def body(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def stream(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_bytes(b"\x0a" + await socket.receive_bytes())
    except WebSocketDisconnect:
        pass


LOG: list[str] = []


class Lines(io.StringIO):
    def write(self, text: str) -> int:
        LOG.append(text)
        return len(text)


@pytest.fixture
def served(monkeypatch, tmp_path) -> Callable[..., Client]:
    """served(public="none"): a browser at a server for others that answers as Streamlit does."""

    def start(**settings) -> Client:
        hosting.start(Hosting("no-such-store", BASE, state=tmp_path / "state.sqlite", **settings))
        routes = [
            Route(f"{BASE}/seen", seen), Route(f"{BASE}/oauth2callback", callback),
            Route(f"{BASE}/auth/login", redirect), Route(f"{BASE}/auth/logout", redirect),
            Route(f"{BASE}/body", body, methods=["POST"]), Route(f"{BASE}/media/{{name}}", redirect),
            *health.routes(BASE), WebSocketRoute(f"{BASE}/_stcore/stream", stream),
        ]  # fmt: skip
        app = Starlette(routes=routes)
        wrapped = MediaForReaders(app, access.reader, BASE)
        wrapped = SafeHeaders(Logins(wrapped, ["patient", "overview"]), ("<script>one()</script>",))
        wrapped = AccessLog(wrapped, BASE, health.routes(BASE), ["patient"], Lines())
        return Client(wrapped)

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(streamlit_login, "get_cookie_secret", lambda: SECRET)
    is_behind_tls.cache_clear()
    LOG.clear()
    yield start
    hosting.start(None)
    is_behind_tls.cache_clear()


def sign_in(browser: Client, page: str = "") -> str:
    """Sign in from a page; return where the reader lands."""
    browser.ask(f"{BASE}/auth/login", **({"referer": f"https://brains.example.org{page}"} if page else {}))
    return browser.ask(f"{BASE}/oauth2callback?code=1&state=2").headers["location"]


# -- logins -----------------------------------------------------------------------------------------------------------


def test_a_login_counts_until_it_ends_wherever_its_cookies_were_copied(served):
    browser = served()
    sign_in(browser)
    assert browser.ask(f"{BASE}/seen").json()["sub"] == "ada-1"
    copied = dict(browser.cookies)
    thief = served()
    thief.cookies.update(copied)
    assert thief.ask(f"{BASE}/seen").json()["sub"] == "ada-1"
    browser.ask(f"{BASE}/auth/logout")
    assert thief.ask(f"{BASE}/seen").json() == {"sub": None, "cookies": []}


def test_the_cookie_of_streamlit_alone_is_no_login(served):
    browser = served()
    browser.cookies.update(streamlit_cookies(PERSON) | {"other": "kept"})
    assert browser.ask(f"{BASE}/seen").json() == {"sub": None, "cookies": ["other"]}


def test_a_login_is_of_one_person(served):
    browser = served()
    sign_in(browser)
    for name, value in streamlit_cookies(PERSON | {"sub": "eve"}).items():
        browser.cookies[name] = value
    assert browser.ask(f"{BASE}/seen").json() == {"sub": None, "cookies": []}


def test_a_long_login_is_one_too(served, monkeypatch):
    monkeypatch.setitem(PERSON, "groups", [hashlib.sha256(bytes([n])).hexdigest() for n in range(200)])
    browser = served()
    sign_in(browser)
    found = browser.ask(f"{BASE}/seen").json()
    assert found["sub"] == "ada-1"
    assert "_streamlit_user_2" in found["cookies"]
    browser.ask(f"{BASE}/auth/logout")
    assert browser.ask(f"{BASE}/seen").json()["cookies"] == []


def test_a_login_lasts_as_long_as_the_server_says(served):
    browser = served(session_hours=0.5)
    cookies = browser.ask(f"{BASE}/oauth2callback?code=1").headers.getlist("set-cookie")
    assert [line.split("=")[0] for line in cookies] == ["_streamlit_user", "_streamlit_user_tokens", sessions.COOKIE]
    for line in cookies:
        assert "max-age=1800;" in line.lower() + ";"
        assert "; Secure" in line
        assert "HttpOnly" in line
    state.of_server().write("UPDATE session SET ends = ends - 1801")
    assert browser.ask(f"{BASE}/seen").json()["sub"] is None


def test_an_open_connection_ends_with_the_login(served):
    browser = served()
    sign_in(browser)
    asked = BackMsg()
    asked.rerun_script.query_string = "v=1&r_part=methods"
    said = browser.talk(f"{BASE}/_stcore/stream", b"one", asked.SerializeToString(), before_last=sessions.end_all)
    again = ForwardMsg.FromString(said.pop(2)["bytes"])
    assert again.auth_redirect.url == "?v=1&r_part=methods"  # the page loads again, without the login
    assert [m.get("bytes") or m.get("code") for m in said] == [None, b"\x0aone", 1008]
    said = browser.talk(f"{BASE}/_stcore/stream", b"three")  # as a reader without a login
    assert [m.get("bytes") for m in said] == [None, b"\x0athree"]


# -- the way back -----------------------------------------------------------------------------------------------------


def test_a_login_leads_back_to_the_linked_view(served):
    assert sign_in(served(), f"{BASE}/patient?run=demo-1&sub=ab%2Cc&v=1") == f"{BASE}/patient?run=demo-1&sub=ab%2Cc&v=1"
    assert sign_in(served(), f"{BASE}/") == f"{BASE}/"
    browser = served()
    assert sign_in(browser, f"{BASE}/overview") == f"{BASE}/overview"
    assert RETURN_COOKIE not in browser.cookies


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example/heat/patient", "https://evil.example/", "/\\evil.example", "/heat/../patient", "/heat//patient",
        "/heat/elsewhere", "/patient", "/heatx", "/heat/patient\r\nSet-Cookie: x=1", "/heat/patient/x",
        "/heat/auth/logout",
        "/heat/patient?" + 4000 * "x", "/heat/patient?<script>", "javascript:alert(1)", "/heat/s/abc", "",
        "/heat:1/patient",
    ],
)  # fmt: skip
def test_a_login_leads_nowhere_else(served, target):
    browser = served()
    browser.cookies[RETURN_COOKIE] = quote(target, safe="")
    assert browser.ask(f"{BASE}/oauth2callback?code=1").headers["location"] == f"{BASE}/"
    assert not Logins(None, ["patient"]).is_page(target, BASE)


# -- pictures and files -----------------------------------------------------------------------------------------------


def told(browser: Client) -> int:
    browser.talk(f"{BASE}/_stcore/stream", f"picture /media/{FILE}.png".encode())
    return browser.ask(f"{BASE}/media/{FILE}.png").status


def test_a_file_is_for_the_reader_who_was_told_of_it(served):
    browser = served()
    stranger = Client(browser.app)
    assert browser.ask(f"{BASE}/media/{FILE}.png").status == 403
    sign_in(browser)
    assert told(browser) == 302
    assert stranger.ask(f"{BASE}/media/{FILE}.png").status == 403
    assert browser.ask(f"{BASE}/media/../media/{FILE}x.png").status in (403, 404)
    sessions.end_all()
    assert browser.ask(f"{BASE}/media/{FILE}.png").status == 403


def test_what_everyone_is_told_is_for_everyone(served):
    browser = served()
    assert told(browser) == 302
    sign_in(browser)
    assert browser.ask(f"{BASE}/media/{FILE}.png").status == 302


# -- headers and limits -----------------------------------------------------------------------------------------------


def test_headers_of_every_answer(served):
    found = served().ask(f"{BASE}/health").headers
    policy = dict(part.split(" ", 1) for part in found["content-security-policy"].split("; "))
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe-inline" not in policy["script-src"]
    assert "unsafe-eval'" not in policy["script-src"].replace("wasm-unsafe-eval", "")
    assert policy["script-src"].count("sha256-") == 2  # Streamlit's own, and ours
    assert (found["x-content-type-options"], found["referrer-policy"]) == ("nosniff", "same-origin")
    assert found["x-frame-options"] == "DENY"


def test_cookies_are_secure_behind_tls_only(served, monkeypatch):
    plain = Client(served().app, scheme="http")
    assert "Secure" not in plain.ask(f"{BASE}/oauth2callback?code=1").headers["set-cookie"]
    is_behind_tls.cache_clear()
    monkeypatch.setattr(streamlit_login, "address", lambda: "https://brains.example.org/heat/oauth2callback")
    assert "Secure" in plain.ask(f"{BASE}/oauth2callback?code=1").headers["set-cookie"]


def test_a_large_request_is_refused(served):
    browser = served()
    assert browser.ask(f"{BASE}/body", "POST", bytes(MOST_BODY)).body == str(MOST_BODY).encode()
    assert browser.ask(f"{BASE}/body", "POST", bytes(MOST_BODY + 1)).status == 413
    reached = []

    async def inner(scope, receive, send) -> None:
        while (message := await receive())["type"] == "http.request":
            reached.append(len(message["body"]))

    async def chunked() -> None:
        async def receive() -> dict:
            return {"type": "http.request", "body": bytes(10_000), "more_body": True}

        await SafeHeaders(inner)({"type": "http", "scheme": "http", "headers": []}, receive, None)

    asyncio.run(chunked())
    assert sum(reached) <= MOST_BODY


# -- the log and the probes -------------------------------------------------------------------------------------------


def test_the_log_says_what_was_asked_and_nothing_of_whom(served):
    browser = served(public="none")
    sign_in(browser, f"{BASE}/patient?sub=S0123&run=x")
    told(browser)
    for path in ("patient?sub=S0123", "health", "SECRET/S0123", "_stcore/upload_file/S0123/x", "static/js/S0123.js"):
        browser.ask(f"{BASE}/{path}")
    lines = [json.loads(line) for line in "".join(LOG).splitlines()]
    assert not {"S0123", "SECRET", FILE, "ada-1", "Ada", *dict(browser.cookies).values()} & set(
        json.dumps(lines).split('"')
    )
    assert "S0123" not in json.dumps(lines)
    assert [(line["method"], line["route"], line["status"], line["role"]) for line in lines] == [
        ("GET", "/auth/login", 302, "none"), ("GET", "/oauth2callback", 302, "none"),
        ("WEBSOCKET", "/_stcore/stream", 101, "patient"), ("GET", "/media/{file}", 302, "patient"),
        ("GET", "/patient", 404, "patient"), ("GET", "/health", 200, "patient"), ("GET", "/{other}", 404, "patient"),
        ("GET", "/_stcore/upload_file", 404, "patient"), ("GET", "/static/{file}", 404, "patient"),
    ]  # fmt: skip
    assert all(line["ms"] >= 0 and line["time"].endswith("+00:00") for line in lines)


def test_a_probe_is_told_whether_the_store_can_be_read(served, monkeypatch, tmp_path):
    browser = served()
    health._last.clear()
    answer = browser.ask(f"{BASE}/ready")
    assert answer.status == 503
    assert "cannot be read" in answer.json()["store"]
    assert "/" not in answer.json()["store"]
    hosting.start(Hosting(str(tmp_path), BASE, state=tmp_path / "state.sqlite"))
    assert browser.ask(f"{BASE}/ready").status == 503  # for a moment still
    health._last.clear()
    assert browser.ask(f"{BASE}/ready").json() | {"seconds": 0, "version": ""} == {
        "status": "ready", "version": "", "store": "readable", "runs": 0, "newest_run": None, "seconds": 0,
    }  # fmt: skip
    assert browser.ask(f"{BASE}/health").json()["status"] == "up"


# -- the start --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which store"), (["--store", "x", "--base-path", "/a b"], "--base-path /a b"),
        (["--store", "x", "--session-hours", "0"], "--session-hours 0"),
        (["--store", "x", "--roles", "none.toml"], "none.toml cannot be read"),
        (["--store", "x", "--frames", "evil.example;"], "--frames evil.example;"),
        (["--store", "x", "--state", "/no/such/folder/state"], "state file /no/such/folder/state cannot be written"),
    ],
)  # fmt: skip
def test_a_server_that_cannot_be_started_says_why_in_one_line(monkeypatch, capsys, arguments, said):
    monkeypatch.delenv("BRAINWHY_STORE", raising=False)
    try:
        assert command.main(["serve", *arguments]) == 2
    finally:
        hosting.start(None)
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_the_logins_of_a_person_are_ended_by_a_command(served, capsys, tmp_path):
    browser, other = served(), served()
    end = ["end-logins", "--state", str(tmp_path / "state.sqlite"), "--person"]
    sign_in(browser)
    sign_in(other)
    copied = Client(other.app)
    copied.cookies.update(other.cookies)
    bob = sessions.begin("bob", "patient", 1, sessions.name_keys({"email": "bob@example.org", "name": "Ada"}))
    assert command.main([*end, "Ada"]) == 2  # a name that several persons can have finds nobody
    error = capsys.readouterr().err
    assert "nobody of this name" in error
    assert error.count("\n") == 1
    assert "Ada" not in error
    for mine in (browser, other, copied):
        assert mine.ask(f"{BASE}/seen").json()["sub"] == "ada-1"
    asked = BackMsg()
    asked.rerun_script.query_string = "v=1"
    said = browser.talk(
        f"{BASE}/_stcore/stream",
        b"one",
        asked.SerializeToString(),
        before_last=lambda: command.main([*end, " ada@example.ORG"]),
    )
    assert said[-1]["code"] == 1008
    assert capsys.readouterr().out == "logins ended: 2\n"
    served()
    for mine in (browser, other, copied):
        assert mine.ask(f"{BASE}/seen").json() == {"sub": None, "cookies": []}
        assert access.reader({}, mine.cookies) == ""  # for whom volumes and files are
    assert sessions.is_open(sessions.session_id({sessions.COOKIE: bob}))
    (event,) = records.events(state.of_server(), 9)
    assert (event.who, event.what, event.link, event.run) == (
        "a command",
        "ended the logins of a person",
        "",
        "",
    )


def test_who_is_signed_in_stands_nowhere_in_state_and_log(served, capsys, tmp_path):
    browser = served()
    sign_in(browser)
    command.main(["end-logins", "--state", str(tmp_path / "state.sqlite"), "--person", "ada@example.org"])
    written = b"".join(file.read_bytes() for file in tmp_path.glob("state.sqlite*")).lower()
    for name in ("ada@", "ada-1", "example.org"):
        assert name.encode() not in written
        assert name not in capsys.readouterr().out + "".join(LOG)


def test_a_state_file_of_an_earlier_version_opens_and_its_logins_stay(tmp_path, monkeypatch, served):
    served()
    monkeypatch.setattr(state, "MIGRATIONS", state.MIGRATIONS[:2])
    old = state.State(tmp_path / "old.sqlite")
    old.write("INSERT INTO session (id, person, role, started, ends) VALUES ('a', 'ada', 'group', 0, 9e12)")
    old.close()
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    hosting.start(Hosting("", state=tmp_path / "old.sqlite"))
    assert sessions.is_open("a")
    assert sessions.end_named("ada@example.org") == 0
    assert sessions.open_logins() == (1, 1)
    assert sessions.end_all() == 1


def test_all_logins_are_ended_by_a_command(served, capsys, tmp_path):
    browser = served()
    sign_in(browser)
    assert command.main(["end-logins", "--state", str(tmp_path / "state.sqlite")]) == 0
    assert capsys.readouterr().out == "logins ended: 1\n"
    served()
    assert browser.ask(f"{BASE}/seen").json()["sub"] is None
    assert command.main(["end-logins", "--state", str(tmp_path / "none")]) == 2
    assert "there is no state file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "secret", "said"),
    [
        ("https://x.example/oauth2callback", SECRET, "/heat/oauth2callback"),
        ("https://x.example/heat/oauth2callback", "short", "cookie_secret"),
    ],
)
def test_a_login_that_cannot_work_is_said_at_the_start(monkeypatch, address, secret, said):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(streamlit_login, "address", lambda: address)
    monkeypatch.setattr(streamlit_login, "get_cookie_secret", lambda: secret)
    with pytest.raises(command.ServeError, match=said):
        command.check_login(BASE)
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None if name.startswith("http") else name)
    with pytest.raises(command.ServeError, match="pip install"):
        command.check_login(BASE)
