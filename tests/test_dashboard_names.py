"""Who has opened a signed link reads pseudonyms in the place of the names of the store, on every page."""

from __future__ import annotations

import time
from pathlib import Path
from unittest import mock
from urllib.parse import urlencode

import pandas as pd
import pytest
from crowd import NAME, elements, make_crowd
from pages import turn_to
from streamlit.testing.v1 import AppTest

from dashboard.links import keys, signed, words
from dashboard.links.short import View
from dashboard.links.signed import NewLink, SignedLink
from dashboard.serving import hosting, state
from dashboard.serving.hosting import Hosting
from dashboard.shell import access, names, shared
from store import list_runs

MEMBER = {"is_logged_in": True, "name": "Bea", "roles": ["patient"], "iss": "x", "sub": "bea"}
SUBJECT = f"{NAME}-AD1"
PARTS = ("regions", "lobes", "spread", "similarity", "outliers", "sheet")  # of Variability
VISITS = [
    ("patient", {"p_subject": SUBJECT}), ("group_maps", {"g_scans": "open", "g_numbers": "open"}), ("overview", {}),
    *(("variability", {"v_view": view}) for view in PARTS),
    ("regions", {"r_part": "region"}), ("clinical", {"cl_numbers": "open"}), ("distances", {"d_level": "scan"}),
    ("trust", {}), ("provenance", {}),
]  # fmt: skip


@pytest.fixture(scope="module")
def crowd(tmp_path_factory) -> Path:
    return make_crowd(tmp_path_factory.mktemp("crowd"))


@pytest.fixture
def served(crowd, monkeypatch, tmp_path, anonymous):
    """This process is a server for others; nobody sees anything without a login or a link."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("BRAINWHY_STORE", str(crowd))
    hosting.start(Hosting(str(crowd), public="none", state=tmp_path / "state.sqlite"))
    yield
    hosting.start(None)


def linked(store: Path, page: str, **query: str) -> SignedLink:
    """A link of single patients that was made and opened."""
    run = next(found.run for found in list_runs(store) if found.run.startswith("one"))
    query = {key: access.pseudonym(value) if key == "p_subject" else value for key, value in query.items()}
    view = View(page, urlencode({"v": "1", "run": run} | query))
    wanted = NewLink(view, run, "patient", int(time.time()) + words.DAY, "Reviewer 2", "Ada")
    token = signed.make(state.of_server(), keys.signing_key(), wanted, time.time())
    return signed.check(state.of_server(), keys.signing_key(), token, time.time())


def sent(page: str, link: SignedLink | None, claims: dict | None = None, **query: str) -> str:
    """Everything that a page sends to the browser of a reader, as text."""
    app = AppTest.from_file("../dashboard/home.py", default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = access.pseudonym(value) if key == "p_subject" else value
    app = turn_to(app, f"views/{page}/page.py")
    with (
        mock.patch("streamlit.user_info._get_user_info", return_value=claims or {}),
        mock.patch.object(access, "_user", return_value=claims or {}),
        mock.patch.object(access.locality, "has_login", return_value=True),
        mock.patch.object(shared, "of_cookies", return_value=link),
    ):
        app.run()
    assert not app.exception
    frames = [element.value.to_csv() for kind in ("dataframe", "table") for element in app.get(kind)]
    return "\n".join([*(str(element.proto) for element in elements(app._tree)), *frames])


@pytest.mark.parametrize(("page", "query"), VISITS)
def test_a_signed_link_names_nobody(served, crowd, page, query):
    said = sent(page, linked(crowd, page, **query))
    assert "This view failed" not in said
    assert NAME not in said.lower()


def test_a_member_reads_the_names(served):
    assert SUBJECT in sent("patient", None, MEMBER, p_subject=SUBJECT)


def test_the_patient_of_a_link_is_called_by_the_name_of_the_link(served, crowd):
    assert f"**{access.pseudonym(SUBJECT)}**" in sent("patient", linked(crowd, "patient", p_subject=SUBJECT))


def test_visits_with_a_date_are_months_and_missing_names_stay_missing():
    rows = pd.DataFrame({
        "subject": ["a", "a", "b"], "scan": ["a-1", "a-2", "b-1"], "session": ["2019-03-04", "2020-03-05", None],
        "site": ["Oslo", None, ""], "age": [70.0, 71.0, 65.0],
    })  # fmt: skip
    with mock.patch.object(names, "are_shown", return_value=False):
        found = names.shown(rows)
    assert found["session"].tolist() == ["month-0", "month-12", ""]
    assert found["subject"].tolist() == [access.pseudonym(one) for one in ("a", "a", "b")]
    assert found["site"].tolist()[0] == access.pseudonym("Oslo")
    assert pd.isna(found["site"][1])
    assert found["age"].equals(rows["age"])
    assert names.shown(rows) is rows


@pytest.mark.parametrize("page", ["group_maps", "variability", "regions", "clinical", "distances", "patient"])
def test_subjects_of_another_key_are_nobody_and_not_everybody(open_view, page):
    app = open_view(f"views/{page}/page.py", sub="0123456789", set="folds")
    assert not app.exception
    said = [str(part.value) for kind in (app.warning, app.info, app.caption, app.markdown) for part in kind]
    assert any("subjects of this link are not known here" in text for text in said)
    selection = app.session_state["_selection"]
    assert selection.rows().empty
    assert "0123456789" in app.query_params["sub"]
    app = app.button(key="sub-all").click().run()
    assert not app.session_state["_selection"].rows().empty
    assert not [part for part in app.warning if "of this link" in part.value]
