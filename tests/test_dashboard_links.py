"""Short and signed links: what they open, when they end, and that nothing but a right address opens them."""

from __future__ import annotations

import json
import random
import re
import sqlite3
import threading
from dataclasses import replace
from urllib.parse import quote, urlencode

import pytest
from asgi import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some

from dashboard.links import passwords, records, routes, short, signed, tokens, words
from dashboard.links.routes import COOKIE, LinkServer
from dashboard.links.short import View
from dashboard.links.signed import NewLink
from dashboard.links.tables import LinkError, LinkRefusedError
from dashboard.serving.state import State

KEY = bytes(range(32))
NOW = 1796467200.0  # 5 December 2026, 10:40 UTC
VIEW = View("group_maps", "v=1&run=demo-1e1dd3c4&method=sensitivity")
TITLES = {"group_maps": "Group maps", "patient": "Patient"}
WANTED = NewLink(VIEW, "demo-1e1dd3c4", "group", int(NOW) + 8 * words.DAY, "Dr Rossi, reviewer", "admin@clinic.org")
BASE = "/heat"


class Clock:
    """A time that tests set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch):
    monkeypatch.setattr(passwords, "COST", 16)


@pytest.fixture
def state(tmp_path):
    found = State(tmp_path / "state.sqlite")
    yield found
    found.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(state, clock):
    with Client(routes.routes(LinkServer(BASE, lambda: state, lambda: KEY, TITLES, clock))) as found:
        yield found


def make(state, **changes) -> str:
    return signed.make(state, KEY, replace(WANTED, **changes), NOW)


def enter(client, token: str, headers=None, **form: str):
    return client.ask(f"{BASE}/share/{token}", "POST", urlencode(form).encode(), headers)


# -- short links ----------------------------------------------------------------------------------------------------


def sent(view: View, token: str) -> bytes:
    return json.dumps({"page": view.page, "query": view.query, "token": token}).encode()


def test_a_short_link_leads_to_the_long_form(state, client):
    token = short.token(KEY, VIEW)
    assert len(token) == 24
    assert client.ask(f"{BASE}/s", "POST", sent(VIEW, token)).status == 204
    assert client.ask(f"{BASE}/s", "POST", sent(VIEW, token)).status == 204  # again: nothing is kept twice
    answer = client.ask(f"{BASE}/s/{token}")
    assert answer.status == 302
    assert answer.headers["location"] == f"{BASE}/group_maps?{VIEW.query}"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert state.rows("SELECT count(*) AS n FROM short_link")[0]["n"] == 1


def test_an_unknown_short_link_says_so_in_one_line(client):
    answer = client.ask(f"{BASE}/s/{tokens.new_identifier()}")
    assert answer.status == 404
    assert "not known here" in answer.text


def test_only_views_that_a_page_has_written_are_kept(state, client):
    good = short.token(KEY, VIEW)
    bad = [
        sent(VIEW, tokens.new_identifier()), sent(View("group_maps", VIEW.query + "&dx=AD"), good),
        sent(View("patient", VIEW.query), good), sent(View("admin", ""), short.token(KEY, View("admin", ""))),
        *(sent(view, short.token(KEY, view)) for view in (
            View("group_maps", "a\r\nSet-Cookie: x=1"), View("/evil.example", "a"), View("group_maps", "a#b"),
            View("group_maps", "a" * (short.LONGEST_QUERY + 1)), View("..", ""), View("group_maps", "é"),
        )),
        b"", b"[]", b"null", b"{}", b'{"page": 1, "query": 2, "token": 3}', b"\xff\xfe", b"[" * 5000, b"x" * 100_000,
        sent(VIEW, "é" * 24),
    ]  # fmt: skip
    assert {client.ask(f"{BASE}/s", "POST", body).status for body in bad} == {400, 413}
    assert state.rows("SELECT * FROM short_link") == []


def test_a_server_keeps_so_many_short_links_and_no_more(state, monkeypatch):
    monkeypatch.setattr(short, "MOST", 2)
    views = [View("group_maps", f"g_x={number}") for number in range(3)]
    for view in views[:2]:
        short.keep(state, KEY, view, short.token(KEY, view), NOW)
    with pytest.raises(LinkError, match="use the long form"):
        short.keep(state, KEY, views[2], short.token(KEY, views[2]), NOW)


def test_a_short_link_that_was_changed_in_the_file_leads_nowhere(state, client):
    token = short.token(KEY, VIEW)
    short.keep(state, KEY, VIEW, token, NOW)
    state.write("UPDATE short_link SET query = 'run=other'")
    assert client.ask(f"{BASE}/s/{token}").status == 404


# -- signed links ---------------------------------------------------------------------------------------------------


def test_a_signed_link_opens_after_a_click_and_is_counted(state, client, clock):
    token = make(state)
    before = client.ask(f"{BASE}/share/{token}")
    assert before.status == 200
    assert "Group maps" in before.text
    assert "until 13 December 2026, 10:40 (UTC), in 8 days" in before.text
    assert "Rossi" not in before.text
    assert "clinic" not in before.text
    assert "default-src 'none'" in before.headers["content-security-policy"]
    assert "set-cookie" not in before.headers
    assert signed.listed(state)[0].opened == 0  # programs that look into mails open nothing
    clock.now += 60
    opened = enter(client, token)
    assert opened.status == 303
    assert opened.headers["location"] == f"{BASE}/group_maps?{VIEW.query}"
    flags = opened.headers["set-cookie"]
    assert "HttpOnly" in flags
    assert "SameSite=Lax" in flags
    assert f"Path={BASE}" in flags
    assert "Secure" not in flags
    link = signed.of_session(state, KEY, opened.cookies[COOKIE], clock.now)
    assert (link.view, link.run, link.role) == (VIEW, WANTED.run, "group")
    assert (link.opened, link.opened_first, link.opened_last) == (1, NOW + 60, NOW + 60)
    assert [event.what for event in records.events(state, 9)] == ["opened", "made"]


def test_behind_tls_the_cookie_is_secure(state, client):
    assert "Secure" in enter(client, make(state), {"x-forwarded-proto": "https"}).headers["set-cookie"]


def test_a_form_of_another_site_opens_nothing(state, client):
    answer = enter(client, make(state), {"sec-fetch-site": "cross-site"})
    assert answer.status == 403
    assert "set-cookie" not in answer.headers


def test_a_link_ends_when_it_said(state, client, clock):
    token = make(state)
    session = enter(client, token).cookies[COOKIE]
    clock.now = WANTED.ends_at
    assert client.ask(f"{BASE}/share/{token}").status == 200
    clock.now += 1
    answer = client.ask(f"{BASE}/share/{token}")
    assert answer.status == 410
    assert "ended on 13 December 2026" in answer.text
    assert enter(client, token).status == 410
    with pytest.raises(LinkRefusedError):
        signed.of_session(state, KEY, session, clock.now)


def test_a_revoked_link_ends_for_those_who_have_opened_it(state, client):
    token = make(state)
    session = enter(client, token).cookies[COOKIE]
    link = signed.of_session(state, KEY, session, NOW)
    signed.revoke(state, link.id, "other@clinic.org", NOW + 5)
    with pytest.raises(LinkRefusedError, match="withdrawn on 5 December 2026"):
        signed.of_session(state, KEY, session, NOW + 6)
    assert client.ask(f"{BASE}/share/{token}").status == 410
    assert enter(client, token).status == 410
    assert signed.listed(state)[0].standing(NOW) == "revoked on 5 December 2026"
    with pytest.raises(LinkError, match="before"):
        signed.revoke(state, link.id, "other@clinic.org", NOW + 7)
    with pytest.raises(LinkError, match="no such link"):
        signed.revoke(state, "x", "other@clinic.org", NOW + 7)
    assert records.events(state, 1)[0][1:] == ("other@clinic.org", "revoked", link.label, VIEW.page, WANTED.run)


def test_a_visit_ends_after_half_a_day(state, client):
    session = enter(client, make(state)).cookies[COOKIE]
    assert signed.of_session(state, KEY, session, NOW + signed.SESSION_SECONDS - 61)
    with pytest.raises(LinkRefusedError, match="open the link again"):
        signed.of_session(state, KEY, session, NOW + signed.SESSION_SECONDS)
    with pytest.raises(LinkRefusedError):
        signed.of_session(state, KEY, session, NOW - 3600)  # from the future


def test_leaving_takes_the_cookie_away(client):
    answer = client.ask(f"{BASE}/share/leave")
    assert answer.status == 303
    assert answer.headers["location"] == f"{BASE}/"
    assert "Max-Age=0" in answer.headers["set-cookie"]


@pytest.mark.parametrize(("changes", "words_of_it"), [
    ({"role": "admin"}, "role"), ({"role": "none"}, "role"), ({"ends_at": int(NOW)}, "end"),
    ({"ends_at": int(NOW) + 400 * words.DAY}, "366 days"), ({"note": "  "}, "for whom"),
    ({"note": "x" * 201}, "for whom"), ({"note": "a\x00b"}, "for whom"), ({"password": "short"}, "8 to 200"),
    ({"password": "x" * 201}, "8 to 200"), ({"view": View("Group", "")}, "cannot be linked"),
    ({"view": View("patient", "a b")}, "cannot be linked"),
])  # fmt: skip
def test_what_cannot_be_made_says_why(state, changes, words_of_it):
    with pytest.raises(LinkError, match=words_of_it):
        make(state, **changes)
    assert signed.listed(state) == []
    assert records.events(state, 9) == []


@pytest.mark.parametrize(("column", "value"), [
    ("role", "patient"), ("run", "other"), ("query", "run=other"), ("page", "patient"), ("ends_at", int(NOW) + 10**7),
    ("password", ""),
])  # fmt: skip
def test_a_link_that_was_widened_in_the_file_opens_nothing(state, client, column, value):
    token = make(state, password="correct horse")
    session = enter(client, token, password="correct horse").cookies[COOKIE]
    state.write(f"UPDATE signed_link SET {column} = ?", value)
    assert client.ask(f"{BASE}/share/{token}").status == 404
    with pytest.raises(LinkRefusedError, match="not valid"):
        signed.of_session(state, KEY, session, NOW)


def test_what_opens_one_link_opens_no_other(state, client):
    first, second = make(state), make(state, run="secret-run", role="patient")
    session = enter(client, first).cookies[COOKIE]
    mixed = [first[:24] + second[24:], second[:24] + first[24:], session.partition(".")[0]]
    assert {client.ask(f"{BASE}/share/{token}").status for token in mixed} == {404}
    for wrong in (second[:24] + session[24:], first + ".1796467200", session[:-1] + "9", session + "0", first):
        with pytest.raises(LinkRefusedError):
            signed.of_session(state, KEY, wrong, NOW)
    with pytest.raises(LinkRefusedError):
        signed.check(state, b"another key", first, NOW)


def test_a_patient_link_asks_to_confirm_the_agreement_which_is_recorded(state, client):
    token = make(state, view=View("patient", "v=1&p_subject=0a1b2c3d4e"), role="patient")
    assert "data use agreement" in client.ask(f"{BASE}/share/{token}").text
    refused = enter(client, token)
    assert refused.status == 403
    assert "Confirm" in refused.text
    assert "set-cookie" not in refused.headers
    assert enter(client, token, agreed="yes").status == 303
    found = records.events(state, 9)
    assert [event.what for event in found] == [records.CONFIRMED, "opened", "made"]
    assert "0a1b2c3d4e" not in str(found)


def test_a_member_confirms_once_for_a_cohort(state):
    assert not records.has_confirmed(state, "ana@clinic.org", "ADNI")
    for _ in range(2):
        records.confirm(state, ("ana@clinic.org", "Ana"), "ADNI", "run-1", NOW)
    assert records.has_confirmed(state, "ana@clinic.org", "ADNI")
    assert not records.has_confirmed(state, "ana@clinic.org", "OASIS")
    assert not records.has_confirmed(state, "bea@clinic.org", "ADNI")


# -- passwords ------------------------------------------------------------------------------------------------------


def test_a_password_opens_and_a_wrong_one_does_not(state, client):
    token = make(state, password="pässword ✓")
    assert 'type="password"' in client.ask(f"{BASE}/share/{token}").text
    for wrong in ("", "password", "pässword ✓ ", "pässword ✓" * 50):
        answer = enter(client, token, password=wrong)
        assert answer.status == 403
        assert "wrong" in answer.text
        assert "set-cookie" not in answer.headers
    assert enter(client, token, password="pässword ✓").status == 303
    assert [event.what for event in records.events(state, 2)] == ["opened", "refused: wrong password"]
    assert b"ssword" not in b"".join(str(tuple(row)).encode() for row in state.rows("SELECT * FROM signed_link"))


def test_five_wrong_passwords_close_the_link_for_a_quarter_of_an_hour(state, client, clock):
    token, other = make(state, password="correct horse"), make(state, password="correct horse")
    for _ in range(passwords.TRIES):
        assert enter(client, token, password="wrong horse").status == 403
        clock.now += 1
    answer = enter(client, token, password="correct horse")
    assert answer.status == 429
    assert "try again in 15 minutes" in answer.text
    assert enter(client, other, password="correct horse").status == 303
    clock.now = NOW + passwords.WITHIN
    assert enter(client, token, password="correct horse").status == 303
    assert len([event for event in records.events(state, 99) if "refused" in event.what]) == passwords.TRIES


def test_tries_at_the_same_time_count_all(state):
    link, kept, refused = "x", passwords.kept("correct horse"), []

    def guess() -> None:
        try:
            passwords.check(state, link, kept, "wrong horse", NOW)
        except LinkRefusedError as error:
            refused.append(error.status)

    threads = [threading.Thread(target=guess) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(refused) == [403] * passwords.TRIES + [429] * 15


def test_passwords_are_kept_at_their_full_cost(monkeypatch):
    monkeypatch.undo()
    kept = passwords.kept("correct horse")
    assert re.fullmatch(r"32768\$[0-9a-f]{32}\$[0-9a-f]{128}", kept)
    assert kept != passwords.kept("correct horse")


# -- attacks --------------------------------------------------------------------------------------------------------


def mutated(token: str, draw: random.Random) -> str:
    """The token with one letter changed, dropped or doubled, or its ends cut: never itself."""
    place, letter = draw.randrange(len(token)), draw.choice("ABab01-_.%/~ ")
    kinds = [
        token[:place] + letter + token[place + 1 :], token[:place] + token[place + 1 :], token + token[place],
        token[:place], token[place:], token[::-1], token.swapcase(), token[24:] + token[:24], token * 2,
    ]  # fmt: skip
    return next((one for one in draw.sample(kinds, len(kinds)) if one != token), token + "x")


def test_thousands_of_changed_tokens_open_nothing(state, client):
    token = make(state)
    session = enter(client, token).cookies[COOKIE]
    keeper = short.token(KEY, VIEW)
    short.keep(state, KEY, VIEW, keeper, NOW)
    draw = random.Random(17)
    for _ in range(1800):
        answer = client.ask(f"{BASE}/share/{quote(mutated(token, draw), safe='')}")
        assert answer.status == 404
        assert "demo" not in answer.text
        assert client.ask(f"{BASE}/s/{quote(mutated(keeper, draw), safe='')}").status == 404
        with pytest.raises(LinkRefusedError):
            signed.of_session(state, KEY, mutated(session, draw), NOW)
    assert signed.listed(state)[0].opened == 1


HOSTILE = [
    "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/", "%00", "a%00b", "%ff%fe", "' OR 1=1 --", "<script>alert(1)</script>",
    "A" * 24, "A" * 48, "A" * 100_000, "%0d%0aSet-Cookie:x=1", "//evil.example", "\\\\evil.example", "{{7*7}}",
    "☃" * 24, "..", ".", "", "leave/..", "A" * 23 + "%0a", "A" * 47 + "\u00e9",
]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_hostile_addresses_get_one_line(client, method):
    for text in HOSTILE:
        for path in ("s", "share"):
            address = quote(text, safe="%/")
            answer = client.ask(f"{BASE}/{path}/{address}", method)
            assert answer.status in (404, 405), text
            assert "location" not in answer.headers
            assert "set-cookie" not in answer.headers
            assert "Traceback" not in answer.text
            assert "<script" not in answer.text


def check_nothing_opens(state, client, path: str, body: bytes, cookie: str) -> None:
    address = quote(path.encode("utf-8", "replace"), safe="")
    answers = [client.ask(f"{BASE}/s/{address}"), client.ask(f"{BASE}/share/{address}", "POST", body),
               client.ask(f"{BASE}/s", "POST", body)]  # fmt: skip
    for answer in answers:
        assert answer.status in (400, 404)
        assert "location" not in answer.headers
        assert "Traceback" not in answer.text
    with pytest.raises(LinkRefusedError):
        signed.of_session(state, KEY, cookie, NOW)


def test_thousands_of_random_requests_get_no_data_and_no_traceback(state, client):
    make(state)
    draw = random.Random(18)
    for _ in range(1000):
        path = "".join(
            chr(draw.choice((draw.randrange(128), draw.randrange(0xD800)))) for _ in range(draw.randrange(60))
        )
        check_nothing_opens(state, client, path, draw.randbytes(draw.randrange(300)), path)


@settings(max_examples=200, deadline=None, database=None, phases=[Phase.generate],
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(path=some.text(max_size=90), body=some.binary(max_size=300), cookie=some.text(max_size=90))
def test_whatever_is_sent_gets_no_data_and_no_traceback(state, client, path, body, cookie):
    check_nothing_opens(state, client, path, body, cookie)


@settings(max_examples=150, deadline=None, database=None, phases=[Phase.generate],
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(body=some.binary(max_size=400))
def test_whatever_form_is_sent_to_a_link_with_a_password_opens_nothing(state, client, body):
    rows = signed.listed(state)
    token = make(state, password="correct horse") if not rows else None
    token = token or rows[0].id + tokens.signature(KEY, signed.PURPOSE, *rows[0].bound())
    answer = client.ask(f"{BASE}/share/{token}", "POST", body)
    assert answer.status in (400, 403, 429)
    assert "set-cookie" not in answer.headers
    assert signed.listed(state)[0].opened == 0


def test_a_broken_state_file_is_said_in_one_line(client, state, monkeypatch, caplog):
    def broken(*_):
        raise sqlite3.OperationalError("disk I/O error at /secret/place")

    token = make(state)
    monkeypatch.setattr(state, "rows", broken)
    for path in (f"{BASE}/share/{token}", f"{BASE}/s/{token[:24]}"):
        answer = client.ask(path)
        assert answer.status == 503
        assert answer.text.startswith("The server cannot read its links")
    assert token not in caplog.text
    assert "/secret" not in caplog.text


# -- letters and words ----------------------------------------------------------------------------------------------


def test_a_signature_is_of_its_purpose_and_of_every_part():
    one = tokens.signature(KEY, "a", "b", "c")
    others = [
        tokens.signature(KEY, "b", "b", "c"), tokens.signature(KEY, "a", "bc"),
        tokens.signature(KEY, "a", "b", "c", ""), tokens.signature(KEY, 'a", "b', "c"),
        tokens.signature(b"x", "a", "b", "c"),
    ]  # fmt: skip
    assert one not in others
    assert len(set(others)) == 5
    assert all(tokens.is_identifier(text) for text in (one, *others, tokens.new_identifier()))
    assert len({tokens.new_identifier() for _ in range(1000)}) == 1000


def test_ends_are_said_in_words():
    end = words.end_of_day(2026, 12, 13)
    assert words.until(end, NOW) == "until the end of 13 December 2026 (UTC), in 8 days"
    assert words.until(end, end - 5) == "until the end of 13 December 2026 (UTC), in less than a minute"
    assert words.until(end, end - 3601).endswith("in 1 hour")
    assert words.until(end, end - 120).endswith("in 2 minutes")
    assert words.until(end, end + 1).endswith("which is over")
