"""Who holds which role on which run, and what a server for others keeps: logins in a file of its own."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from browser import ROOT
from pages import turn_to
from store_factory import shared_store
from streamlit.testing.v1 import AppTest

from dashboard.serving import hosting, sessions, state
from dashboard.serving.hosting import Hosting
from dashboard.serving.roles import Grant, Roles, RolesFileError, is_named, read_roles
from dashboard.serving.secret_files import SecretFileError
from dashboard.serving.state import State
from dashboard.shell import access

pytestmark = pytest.mark.usefixtures("anonymous")
FILE = """
public = "group"
public_runs = ["demo*"]

[[grant]]
role = "group"
claim = "groups"
values = ["consortium"]

[[grant]]
role = "patient"
claim = "realm_access.roles"
values = ["memory-clinic", "raters"]
runs = ["adni-*", "ixi"]

[[grant]]
role = "admin"
claim = "email"
values = ["ada@example.org"]
runs = ["adni-*"]
"""
RATER = {"is_logged_in": True, "realm_access": {"roles": ["raters"]}}
ADA = {"is_logged_in": True, "email": "ada@example.org", "email_verified": True}


@pytest.fixture
def served(monkeypatch, tmp_path):
    """served(public="none"): this process is a server for others from now on; its file of logins is empty."""

    def start(store=None, **settings) -> Hosting:
        found = Hosting(store or str(shared_store()), state=tmp_path / "state.sqlite", **settings)
        hosting.start(found)
        return found

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    yield start
    hosting.start(None)


# -- the file of roles ------------------------------------------------------------------------------------------------


def written(folder: Path, text: str) -> Path:
    (folder / "roles.toml").write_text(text)
    return folder / "roles.toml"


@pytest.mark.parametrize(
    ("claims", "run", "role"),
    [
        ({}, "demo-1e1dd3c4", "group"), ({}, "adni-0a", "none"), ({}, None, "group"),
        ({"is_logged_in": True, "groups": ["consortium"]}, "adni-0a", "group"),
        ({"is_logged_in": True, "groups": "consortium"}, "adni-0a", "group"),
        ({"is_logged_in": True, "groups": ["consortium2"]}, "adni-0a", "none"),
        (RATER, "adni-0a", "patient"), (RATER, "ixi-77", "patient"), (RATER, "ixi2-77", "none"),
        (RATER, "demo-1e1dd3c4", "group"), (RATER, None, "patient"),
        (RATER | {"is_logged_in": "yes"}, "adni-0a", "none"),
        (ADA, "adni-0a", "admin"), (ADA, "ixi-77", "none"), (ADA | {"email_verified": False}, "adni-0a", "none"),
        ({"is_logged_in": True, "realm_access": "raters"}, "adni-0a", "none"),
        ({"is_logged_in": True, "realm_access": {"roles": [["raters"]]}}, "adni-0a", "none"),
    ],
)  # fmt: skip
def test_a_role_comes_from_the_claims_and_the_run(tmp_path, claims, run, role):
    roles = read_roles(written(tmp_path, FILE))
    assert roles.role(claims, roles.public, run) == role


def test_the_public_sees_nothing_where_the_server_says_so():
    assert Roles().role({}, "none", "demo-1") == "none"
    assert Roles().role({"is_logged_in": True, "roles": ["admin"]}, "none", "demo-1") == "admin"


def test_a_pattern_fits_an_identifier_or_a_name():
    assert is_named("demo-1e1dd3c4", ["demo"])
    assert is_named("demo-1e1dd3c4", ["demo-1e1dd3c4"])
    assert not is_named("demo-1e1dd3c4", ["Demo", "dem", "emo*", ""])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[grant]\n", "not TOML"), ('public = "everyone"', 'write "group" or "none"'), ("x = 1", "has x"),
        ('[[grant]]\nrole = "boss"', "the role of grant 1 is 'boss'"), ("grant = 3", r"\[\[grant\]\]"),
        ('[[grant]]\nrole = "group"', "grant 1 needs claim"), ("public_runs = []", "public_runs must be a list"),
        ('[[grant]]\nrole = "group"\nclaim = "groups"\nvalues = "x"', "values of grant 1 must be a list"),
        ('[[grant]]\nrole = "group"\nclaim = "groups"\nvalues = ["x"]\nrun = ["x"]', "grant 1 has run"),
    ],
)  # fmt: skip
def test_a_file_of_roles_that_is_wrong_is_one_line_that_names_it(tmp_path, text, said):
    with pytest.raises(RolesFileError, match=said) as error:
        read_roles(written(tmp_path, text))
    assert str(tmp_path / "roles.toml") in str(error.value)
    with pytest.raises(RolesFileError, match="cannot be read"):
        read_roles(tmp_path / "none.toml")


# -- the state file ---------------------------------------------------------------------------------------------------


OTHER_PROCESS = """
import sys
from pathlib import Path
from dashboard.serving import hosting, sessions
hosting.start(hosting.Hosting("", state=Path(sys.argv[1])))
assert sessions.is_open(sys.argv[2])
sessions.end(sys.argv[2])
"""


def begun(person: str = "ada", hours: float = 1) -> str:
    return sessions.session_id({sessions.COOKIE: sessions.begin(person, "patient", hours)})


def test_what_one_process_ends_is_ended_in_all(served):
    settings, one, two = served("store"), begun(), begun()
    assert sessions.person_of(two) == "ada"
    subprocess.run([sys.executable, "-c", OTHER_PROCESS, str(settings.state), one], check=True, cwd=ROOT)
    assert (sessions.is_open(one), sessions.is_open(two)) == (False, True)


def test_a_login_ends_after_its_time_and_is_forgotten_a_day_later(served, monkeypatch):
    served("store")
    one, now = begun(hours=2), time.time()
    monkeypatch.setattr(time, "time", lambda: now + 7100)
    assert sessions.is_open(one)
    monkeypatch.setattr(time, "time", lambda: now + 7300)
    assert not sessions.is_open(one)
    monkeypatch.setattr(time, "time", lambda: now + 7300 + sessions.DAY)
    assert [row["id"] for row in state.of_server().rows("SELECT id FROM session")] == [one]
    two = begun()
    assert [row["id"] for row in state.of_server().rows("SELECT id FROM session")] == [two]


def test_all_logins_of_a_person_can_be_ended(served):
    served("store")
    every = [begun("ada"), begun("ada"), begun("bob")]
    assert sessions.end_all("ada") == 2
    assert [sessions.is_open(name) for name in (*every, "", "other")] == [False, False, True, False, False]
    assert sessions.end_all() == 1


def test_the_state_holds_neither_the_cookie_nor_the_person(served):
    settings = served("store")
    key = sessions.person_key({"iss": "https://login.example.org", "sub": "ada"})
    token = sessions.begin(key, "patient", 1)
    written = b"".join(file.read_bytes() for file in settings.state.parent.glob("state.sqlite*"))
    assert key.encode() in written
    assert token.encode() not in written
    assert b"ada" not in written
    assert key != sessions.person_key({"iss": "https://other.example.org", "sub": "ada"})


def test_only_the_owner_can_read_the_state_and_it_is_written_ahead(tmp_path):
    found = State(tmp_path / "state.sqlite")
    assert (tmp_path / "state.sqlite").stat().st_mode & 0o777 == 0o600
    assert found.rows("PRAGMA journal_mode")[0][0] == "wal"
    assert found.rows("PRAGMA user_version")[0][0] == len(state.MIGRATIONS)
    found.close()
    os.chmod(tmp_path / "state.sqlite", 0o640)
    with pytest.raises(SecretFileError, match=r"others can read the state file .* chmod 600"):
        State(tmp_path / "state.sqlite")


def test_a_state_file_that_cannot_be_used_is_one_line(tmp_path):
    os.close(os.open(tmp_path / "text", os.O_CREAT | os.O_WRONLY, 0o600))
    (tmp_path / "text").write_text("no database" * 99)
    with pytest.raises(SecretFileError, match=r"cannot be used .*--state"):
        State(tmp_path / "text")
    with pytest.raises(SecretFileError, match=r"cannot be written .*--state"):
        State(tmp_path / "no folder" / "state.sqlite")
    State(tmp_path / "new").close()
    with sqlite3.connect(tmp_path / "new") as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(SecretFileError, match="newer version"):
        State(tmp_path / "new")


def test_a_change_that_fails_leaves_nothing(tmp_path):
    found = State(tmp_path / "state.sqlite")
    with pytest.raises(sqlite3.IntegrityError):
        found.write("INSERT INTO session (id, person) VALUES ('x', 'y')")
    assert found.rows("SELECT * FROM session") == []
    found.write("DELETE FROM session")  # the file is not held


# -- pages ------------------------------------------------------------------------------------------------------------


SIGNED_IN = [""]  # the login of the browser


def page_as(name: str | None, claims: dict | None = None, known: bool = True) -> AppTest:
    """A page as a reader with these claims sees it; `known`: the server has begun their login and not ended it."""
    if claims and known:
        SIGNED_IN[:] = [begun()]
    app = AppTest.from_file("../dashboard/home.py", default_timeout=60)
    with (
        mock.patch("streamlit.user_info._get_user_info", return_value=claims or {}),
        mock.patch.object(sessions, "session_id", side_effect=lambda _: SIGNED_IN[0]),
        mock.patch.object(access.locality, "has_login", return_value=True),
    ):
        return (turn_to(app, f"views/{name}/page.py") if name else app).run()


def said(app: AppTest) -> str:
    assert not app.exception
    return "\n".join(part.value for kind in (app.title, app.markdown, app.info, app.caption) for part in kind)


def test_on_a_server_for_others_nobody_is_at_this_computer(served, monkeypatch):
    monkeypatch.setattr(access.locality, "is_local", lambda headers, cookies: True)
    assert access.role("demo-1") == "admin"
    served("store")
    assert access.is_hosted()
    assert access.role("demo-1") == "group"
    assert not access.is_local()
    assert access.reader({}, {"_streamlit_user": "made up", sessions.COOKIE: "made up"}) == ""


def test_without_a_role_there_is_a_page_to_sign_in_and_nothing_else(served):
    served(public="none")
    app = page_as("overview")
    assert "for people who sign in" in said(app)
    assert [button.label for button in app.button] == ["Sign in"]
    assert not app.selectbox
    app = page_as("overview", {"is_logged_in": True, "name": "Ada [L](x)", "groups": ["guests"]})
    assert "hold no role here" in said(app)
    assert "Ada [L](x)" not in said(app)  # no link of theirs
    assert [button.label for button in app.button] == ["Sign out"]


def test_each_role_on_the_page_of_patients(served):
    served()
    patient = {"is_logged_in": True, "name": "Ada", "roles": ["patient"]}
    assert "Sign in" in [button.label for button in page_as("patient").button]
    assert "needs a login" in said(page_as("patient", {"is_logged_in": True, "groups": ["group"]}))
    sessions.end(SIGNED_IN[0])
    assert "needs a login" in said(page_as("patient", patient, known=False))
    shown = page_as("patient", patient)
    assert "needs a login" not in said(shown)
    assert "sees results of groups and single patients" in said(shown)
    sessions.end(SIGNED_IN[0])
    assert "needs a login" in said(page_as("patient", patient, known=False))


def test_a_run_that_is_not_named_is_not_there(served):
    rater = {"is_logged_in": True, "groups": ["raters"]}
    grant = Grant("patient", "groups", ("raters",), ("other-*",))
    served(roles=Roles((grant,)), public="none")
    app = page_as("overview", rater)
    assert "no run that you may see" in said(app)
    assert not app.selectbox
    served(roles=Roles((replace(grant, runs=("*",)),)), public="none")
    assert page_as("overview", rater).selectbox


def test_a_server_without_a_login_says_so_in_one_sentence(served):
    served()
    app = AppTest.from_file("../dashboard/home.py", default_timeout=60)
    with mock.patch.object(access.locality, "has_login", return_value=False):
        app = turn_to(app, "views/overview/page.py").run()
    assert "This server has no login, so it shows results of groups only." in said(app)
