"""What somebody sees who has opened a signed link, what an admin sees, and what a member confirms."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from unittest import mock
from urllib.parse import urlencode

import pytest
from pages import NAMES, turn_to
from store_factory import shared_store
from streamlit.proto.WidgetStates_pb2 import WidgetStates
from streamlit.testing.v1 import AppTest

from dashboard.data import runs as data_runs
from dashboard.links import keys, records, signed, tokens, words
from dashboard.links.routes import COOKIE
from dashboard.links.short import View
from dashboard.links.signed import NewLink, SignedLink
from dashboard.links.tables import LinkError
from dashboard.serving import hosting, sessions, state
from dashboard.serving.hosting import Hosting
from dashboard.serving.roles import Grant, Roles
from dashboard.shell import access, agreement, shared, sharing
from store import list_runs

pytestmark = pytest.mark.usefixtures("anonymous")
ADMIN = {"is_logged_in": True, "name": "Ada", "roles": ["admin"], "iss": "x", "sub": "ada"}
PATIENT = {"is_logged_in": True, "name": "Bea", "roles": ["patient"], "iss": "x", "sub": "bea"}
TITLE = "Your link does not show this page"
GONE = "This view is not there any more"


@pytest.fixture
def served(monkeypatch, tmp_path):
    """This process is a server for others; nobody sees anything without a login or a link."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    hosting.start(Hosting(str(shared_store()), public="none", state=tmp_path / "state.sqlite"))
    yield
    hosting.start(None)


def run_id() -> str:
    return list_runs(shared_store())[0].run


def linked(page: str = "group_maps", role: str = "group", **query: str) -> SignedLink:
    """A link that was made and opened."""
    view = View(page, urlencode({"v": "1", "run": run_id()} | query))
    wanted = NewLink(view, run_id(), role, int(time.time()) + words.DAY, "Reviewer 2", "Ada")
    token = signed.make(state.of_server(), keys.signing_key(), wanted, time.time())
    return signed.check(state.of_server(), keys.signing_key(), token, time.time())


def opened(page: str, link: SignedLink | None = None, claims: dict | None = None, **query: str) -> AppTest:
    """A page, as who has opened a link sees it, or who has signed in; the address says something of its own."""
    app = AppTest.from_file("../dashboard/home.py", default_timeout=60)
    for name, text in query.items():
        app.query_params[name] = text
    return seen(turn_to(app, f"views/{page}/page.py"), link, claims)


def seen(app: AppTest, link: SignedLink | None = None, claims: dict | None = None) -> AppTest:
    with (
        mock.patch("streamlit.user_info._get_user_info", return_value=claims or {}),
        mock.patch.object(access, "_user", return_value=claims or {}),
        mock.patch.object(access.locality, "has_login", return_value=True),
        mock.patch.object(shared, "of_cookies", return_value=link),
    ):
        return app.run()


@contextlib.contextmanager
def sending(app: AppTest, **texts: str) -> Iterator[None]:
    """The browser sends other values of its boxes, also such as the page does not offer."""
    states = WidgetStates()
    for box in app.selectbox:
        if box.key in texts:
            states.widgets.add(id=box.id, string_value=texts[box.key])
    assert len(states.widgets) == len(texts)
    with mock.patch.object(type(app._tree), "get_widget_states", return_value=states):
        yield


def said(app: AppTest) -> str:
    assert not app.exception
    kinds = (app.title, app.markdown, app.info, app.caption, app.warning, app.success, app.subheader)
    return "\n".join(str(part.value) for kind in kinds for part in kind)


# -- outsiders ------------------------------------------------------------------------------------------------------


def test_a_link_shows_its_view_and_nothing_that_the_address_asks_for(served):
    link = linked(method="guided_backprop", target="AD")
    app = opened("group_maps", link, run="another", method="sensitivity", dx="MCI", g_plane="axial")
    assert "Group maps" in said(app)
    assert f"until {words.minute(link.ends_at)}" in said(app)
    boxes = {box.key: box for box in app.selectbox}
    assert boxes["method"].value == "guided_backprop"
    assert boxes["method"].disabled
    assert boxes["method"].options == ["Guided backpropagation"]
    assert boxes["run"].options == [run_id()]
    assert "g_plane" not in boxes  # how the same values look is the browser's
    assert not app.get("page_link")
    assert not app.get("download_button")


def test_what_the_browser_sends_changes_nothing(served):
    link = linked(method="guided_backprop")
    app = opened("group_maps", link)
    with sending(app, method="Sensitivity analysis", run="another", target="NC"):
        app = seen(app, link)
    boxes = {box.key: box for box in app.selectbox}
    assert (boxes["method"].value, boxes["run"].value) == ("guided_backprop", run_id())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "group_maps"])
def test_every_other_page_is_refused(served, name):
    app = opened(name, linked(role="patient"))
    assert TITLE in said(app)
    assert not app.selectbox
    assert not app.get("arrow_data_frame")


def test_a_link_of_groups_never_opens_a_page_of_patients(served):
    assert "single patients" in said(opened("patient", linked("patient")))


def test_a_link_of_a_patient_shows_no_other_one(served):
    first = opened("patient", claims=PATIENT)
    box = next(box for box in first.selectbox if box.key == "p_subject")
    mine, other = box.options[1], box.options[0]
    code = access.pseudonym(mine.split(" ")[0])
    link, mine = linked("patient", "patient", p_subject=code), mine.replace(mine.split(" ")[0], code)
    app = opened("patient", link, p_subject=access.pseudonym(other.split(" ")[0]))
    box = next(box for box in app.selectbox if box.key == "p_subject")
    assert box.options == [mine]
    assert box.disabled
    with sending(app, p_subject=other):
        app = seen(app, link)
    box = next(box for box in app.selectbox if box.key == "p_subject")
    assert box.options == [mine]
    for button in app.button:  # back, next, whatever there is
        clicked = seen(app, link) if button.disabled else seen(button.click(), link)
        assert all(box.options == [mine] for box in clicked.selectbox if box.key == "p_subject")


def test_a_link_to_a_patient_under_another_key_shows_nobody(served):
    link = linked("patient", "patient", p_subject="0123456789")
    app = opened("patient", link)
    assert "another key" in said(app)
    assert not {"p-choose", "p_subject"} & {part.key for part in (*app.button, *app.selectbox)}


@pytest.mark.parametrize("key", ["method", "set", "dx", "sub", "target"])
def test_what_a_link_names_and_is_not_there_has_no_stand_in(served, key):
    assert GONE in said(opened("group_maps", linked(role="patient", **{key: "gone"})))


def test_a_link_to_a_run_that_is_gone_shows_no_other_run(served):
    link = replace(linked(), run="gone-12345678")
    app = opened("group_maps", link)
    assert GONE in said(app)
    assert not app.selectbox


def test_an_ended_link_says_so_on_every_page(served):
    with mock.patch.object(shared, "refusal", return_value="This link was withdrawn on 5 December 2026: ask."):
        app = opened("group_maps", method="sensitivity")
    assert "withdrawn on 5 December 2026" in said(app)
    assert not app.selectbox


def test_the_cookie_of_a_browser_is_asked_for_again(served):
    link = linked()
    start = time.time()
    _, session = signed.enter(state.of_server(), keys.signing_key(), _token(link), "", start)
    shared._kept.cache.clear()
    assert shared.of_cookies({COOKIE: session}).id == link.id
    assert access.reader({}, {COOKIE: session}) == f"link {link.id}"
    signed.revoke(state.of_server(), link.id, "Ada", start)
    shared._kept.cache.clear()
    assert shared.of_cookies({COOKIE: session}) is None
    assert "withdrawn" in shared.refusal({COOKIE: session})
    assert access.reader({}, {COOKIE: session}) == ""
    assert shared.refusal({COOKIE: "made up"}) == signed.NOT_VALID
    assert shared.refusal({}) == ""
    hosting.start(None)
    assert shared.of_cookies({COOKIE: session}) is None


def _token(link: SignedLink) -> str:
    return link.id + tokens.signature(keys.signing_key(), signed.PURPOSE, *link.bound())


def test_a_link_gives_its_role_on_its_run_alone(served):
    with mock.patch.object(shared, "of_cookies", return_value=linked(role="patient")):
        assert access.role(run_id()) == "patient"
        assert access.role("another-12345678") == "none"
        assert not access.may_administer()


# -- admins ---------------------------------------------------------------------------------------------------------


def test_the_page_of_admins_is_for_admins(served):
    linked()
    for claims in (PATIENT, {}):
        app = opened("admin", claims=claims)
        assert "Reviewer 2" not in said(app)
        assert not app.dataframe
        assert not app.button or {button.label for button in app.button} <= {"Sign in", "Sign out"}


def test_an_admin_sees_links_and_revokes_one(served):
    link = linked()
    app = opened("admin", claims=ADMIN)
    table = app.dataframe[0].value
    assert table["For"].tolist() == ["Reviewer 2"]
    assert table["Opens"][0].startswith("until")
    assert table["Last opened"].tolist() == ["never"]
    assert "1 link for outsiders open now" in said(app)
    app = seen(app.button(key="admin-revoke").click(), claims=ADMIN)
    assert "is revoked" in said(app)
    assert signed.listed(state.of_server())[0].revoked_by == "Ada"
    assert app.dataframe[1].value["Did"].tolist() == ["revoked", "made"]
    assert link.query not in str(app.dataframe[1].value)


def test_an_admin_ends_the_logins_of_a_person(served):
    names = sessions.name_keys({"email": "bea@example.org", "sub": "bea"})
    both = [sessions.begin("bea", "patient", 1, names) for _ in range(2)]
    carl = sessions.begin("carl", "patient", 1, sessions.name_keys({"email": "carl@example.org"}))
    app = opened("admin", claims=ADMIN)
    assert "3 logins of 2 persons open now" in said(app)
    app.text_input(key="admin-name").input("nobody@example.org")
    app = seen(press_end(app), claims=ADMIN)
    assert "Nobody of this name" in said(app)
    app.text_input(key="admin-name").input("Bea@example.org")
    app = seen(press_end(app), claims=ADMIN)
    assert "2 logins ended" in said(app)
    assert app.text_input(key="admin-name").value == ""
    assert "1 login of 1 person open now" in said(app)
    is_open = [sessions.is_open(sessions.session_id({sessions.COOKIE: token})) for token in (*both, carl)]
    assert is_open == [False, False, True]
    row = app.dataframe[0].value.iloc[0]
    assert (row["Who"], row["Did"]) == ("Ada", "ended the logins of a person")
    assert "bea" not in str(app.dataframe[0].value).lower()


def press_end(app: AppTest) -> AppTest:
    return next(button for button in app.button if button.label == "End logins").click()


def test_an_admin_of_some_runs_ends_nobodys_logins(served, monkeypatch):
    token = sessions.begin("bea", "patient", 1, sessions.name_keys({"email": "bea@example.org"}))
    records.note(state.of_server(), records.COMMAND, records.ENDED_ALL)
    app = opened("admin", claims=ADMIN)
    app.text_input(key="admin-name").input("bea@example.org")
    grant = Grant("admin", "roles", ("admin",), (f"{run_id()[:3]}*",))
    hosting.start(replace(hosting.current(), roles=Roles((grant,))))
    app = seen(press_end(app), claims=ADMIN)  # who was one of all runs when the page was made
    assert "Logins" not in said(app)
    assert records.ENDED_ALL not in str([table.value for table in app.dataframe])
    assert sessions.is_open(sessions.session_id({sessions.COOKIE: token}))


def test_an_admin_of_some_runs_sees_no_links_of_others(served):
    linked()
    grant = Grant("admin", "roles", ("admin",), ("other-*",))
    hosting.start(replace(hosting.current(), public="group", roles=Roles((grant,))))
    with mock.patch.object(access, "_user", return_value=ADMIN):
        assert access.role(run_id()) == "group"
    app = opened("admin", claims=ADMIN)
    assert "Reviewer 2" not in said(app)
    assert not app.dataframe


def test_there_is_no_page_of_admins_on_the_local_way(monkeypatch):
    monkeypatch.setattr(access.locality, "is_local", lambda headers, cookies: True)
    monkeypatch.setenv("BRAINWHY_STORE", str(shared_store()))
    app = turn_to(AppTest.from_file("../dashboard/home.py", default_timeout=60), "views/admin/page.py").run()
    assert "server for others" in said(app)
    assert not app.dataframe


def test_a_link_of_groups_takes_no_filter_along():
    view = View("group_maps", "v=1&run=a&dx=AD&sub=0a1b&sex=F&method=sensitivity&g_a=sub%3D0a1b&p_subject=0a1b")
    assert sharing.filtered(view)
    narrowed = sharing.of_groups(view)
    assert narrowed.query == "v=1&run=a&method=sensitivity"
    assert not sharing.filtered(narrowed)
    with pytest.raises(LinkError, match="evidence for one group"):
        sharing.of_groups(View("group_maps", "target=predicted"))


# -- members --------------------------------------------------------------------------------------------------------


def test_a_member_confirms_the_agreement_once(served):
    real = data_runs.manifest.__wrapped__ if hasattr(data_runs.manifest, "__wrapped__") else data_runs.manifest
    with mock.patch.object(agreement.runs, "manifest", side_effect=lambda run: real(run) | {"simulated": False}):
        app = opened("patient", claims=PATIENT, p_subject="0123456789")
        assert "Before single participants are shown" in said(app)
        assert not [box for box in app.selectbox if box.key == "p_subject"]
        assert app.button(key="agree").disabled
        app = seen(app.checkbox(key="agreement").check(), claims=PATIENT)
        app = seen(app.button(key="agree").click(), claims=PATIENT)
        assert "another key" in said(app)  # the link was kept while the page asked
        assert "Before single" not in said(opened("patient", claims=PATIENT))
        assert "Before single" in said(opened("patient", claims=PATIENT | {"sub": "another"}))
    events = records.events(state.of_server(), 9)
    assert [(event.who, event.what) for event in events] == [("Bea", records.CONFIRMED)]


def test_simulated_people_have_no_agreement(served):
    assert "Before single" not in said(opened("patient", claims=PATIENT))
