"""Links: every value written out, read back, checked, and what could not be used said."""

from __future__ import annotations

import os
import stat
from functools import partial
from urllib.parse import parse_qs

import pandas as pd
import pytest
from store_factory import copy_of_shared_store
from streamlit.testing.v1 import AppTest

from dashboard.data.selection import MISSING, ScanFilter
from dashboard.shell import access, locality

REGIONS = "views/regions/page.py"


def script():
    import streamlit as st

    from dashboard.shell import url_state

    url_state.begin()
    plane = url_state.choose("t_plane", "Plane", ["coronal", "axial"], widget="segmented")
    some = url_state.choose_many("t_some", "Some", ["a", "b", "c"])
    low = url_state.slide("t_low", "Low", 0.0, 1.0, 0.25, 0.05)
    ends = url_state.slide_range("t_ages", "Ages", 50, 90, 1)
    on = url_state.toggle("t_on", "On")
    mm = url_state.value("t_mm", "0,0", lambda text: [float(part) for part in text.split(",")])
    if st.button("move"):
        url_state.put("t_mm", "3,4")
    st.write(repr((plane, some, low, ends, on, mm)))
    for part in url_state.finish():
        st.warning(part)
    st.code(url_state.query())


@pytest.fixture
def opened():
    def run(**query) -> AppTest:
        app = AppTest.from_function(script, default_timeout=20)
        for key, value in query.items():
            app.query_params[key] = value
        return app.run()

    return run


def seen(app: AppTest) -> tuple:
    assert not app.exception
    return eval(app.markdown[0].value)


DEFAULTS = ("coronal", (), 0.25, (50, 90), False, [0.0, 0.0])


def test_defaults_are_written_out(opened):
    app = opened()
    assert seen(app) == DEFAULTS
    assert parse_qs(app.code[0].value) == {
        "v": ["1"], "t_plane": ["coronal"], "t_some": ["all"], "t_low": ["0.25"], "t_ages": ["all"], "t_on": ["off"],
        "t_mm": ["0,0"],
    }  # fmt: skip
    assert {k: v for k, v in app.query_params.items() if k == "t_low"} in ({"t_low": ["0.25"]}, {"t_low": "0.25"})


def test_a_link_restores_every_value(opened):
    query = {
        "v": "1", "t_plane": "axial", "t_some": ["a", "c"], "t_low": "0.8", "t_ages": "60~75", "t_on": "on",
        "t_mm": "-26,18.5",
    }  # fmt: skip
    app = opened(**query)
    assert seen(app) == ("axial", ("a", "c"), 0.8, (60, 75), True, [-26.0, 18.5])
    assert not app.warning
    assert parse_qs(app.code[0].value) == {k: v if isinstance(v, list) else [v] for k, v in query.items()}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"t_plane": "oblique"}, "choose coronal, axial"),
        ({"t_some": ["x"]}, "unknown"),
        ({"t_low": "2"}, "choose from 0 to 1"),
        ({"t_low": "nan"}, "choose from 0 to 1"),
        ({"t_low": "much"}, "write a number"),
        ({"t_ages": "75~60"}, "above the second"),
        ({"t_ages": "60"}, "two numbers"),
        ({"t_ages": "1e999~70"}, "write a number"),
        ({"t_on": "perhaps"}, "choose on, off"),
        ({"t_mm": "<script>"}, "t_mm"),
        ({"v": "7"}, "links of version 1"),
        ({"old_name": "3"}, "not known on this page"),
    ],
)
def test_what_cannot_be_used_is_said_and_the_rest_is_shown(opened, query, said):
    app = opened(**query)
    assert seen(app) == DEFAULTS
    assert len(app.warning) == 1
    assert said in app.warning[0].value


def test_the_valid_part_of_a_list_is_used(opened):
    app = opened(t_some=["b", "zzz"])
    assert seen(app)[1] == ("b",)
    assert "zzz" in app.warning[0].value


def test_widgets_win_over_the_link_once_it_was_read(opened):
    app = opened(t_low="0.8")
    app.slider(key="t_low").set_value(0.5).run()
    assert seen(app)[2] == 0.5
    app.button[0].click().run()
    assert seen(app)[5] == [0.0, 0.0]  # set after it was read ...
    assert "t_mm=3%2C4" in app.code[0].value  # ... and in the link at once
    assert seen(app.run())[5] == [3.0, 4.0]


def typed():
    import streamlit as st

    from dashboard.shell import url_state

    url_state.begin()
    value = url_state.number("t_typed", "Typed", 0.0, 10.0, 2.5)
    st.write(repr(value))
    for part in url_state.finish():
        st.warning(part)
    st.code(url_state.query())


@pytest.mark.parametrize(
    ("text", "value", "said"),
    [
        (None, 2.5, ""), ("7.25", 7.25, ""), ("1e-3", 0.001, ""), ("10", 10.0, ""),
        ("11", 2.5, "choose from 0 to 10"), ("nan", 2.5, "choose from 0 to 10"), ("ten", 2.5, "write a number"),
    ],
)  # fmt: skip
def test_a_typed_number_is_in_the_link_and_checked(text, value, said):
    app = AppTest.from_function(typed, default_timeout=20)
    if text is not None:
        app.query_params["t_typed"] = text
    app.run()
    assert seen(app) == value
    assert parse_qs(app.code[0].value)["t_typed"] == [repr(value)]
    assert said in " ".join(warning.value for warning in app.warning)
    assert bool(app.warning) == bool(said)
    app.number_input(key="t_typed").set_value(4.5).run()
    assert seen(app) == 4.5


# -- filters ------------------------------------------------------------------------------------------------------


def rows() -> pd.DataFrame:
    return pd.DataFrame({
        "scan": list("abcd"), "subject": ["1", "1", "2", "3"], "diagnosis": ["AD", "AD", "NC", "MCI"],
        "correct": [True, False, True, None], "sex": ["F", "F", "M", None], "age": [70.0, 71.0, 60.0, None],
        "session": ["1", "2", "1", None], "screening_diagnosis": ["AD", "MCI", "", None],
    })  # fmt: skip


@pytest.mark.parametrize(
    ("whom", "expected"),
    [
        (ScanFilter(), "abcd"),
        (ScanFilter(diagnosis=("AD", "MCI")), "abd"),
        (ScanFilter(correct=True), "ac"),
        (ScanFilter(correct=False), "b"),
        (ScanFilter(sex=("F",)), "ab"),
        (ScanFilter(age=(60, 70)), "ac"),
        (ScanFilter(session=("1",)), "ac"),
        (ScanFilter(session=(MISSING,)), "d"),
        (ScanFilter(diagnosis=("AD",), screening_diagnosis=("MCI",)), "b"),
        (ScanFilter(screening_diagnosis=(MISSING,)), "cd"),
        (ScanFilter(subject=("1",), age=(71, 99)), "b"),
        (ScanFilter(diagnosis=("NC",), sex=("F",)), ""),
    ],
)
def test_filters_pass_what_they_say(whom, expected):
    assert "".join(rows().scan[whom.passing(rows())]) == expected


def test_only_diagnosis_and_correct_are_answered_from_the_cells():
    assert not ScanFilter(diagnosis=("AD",), correct=True).needs_streaming
    assert all(ScanFilter(**f).needs_streaming for f in ({"sex": ("F",)}, {"age": (1, 2)}, {"session": ("1",)}))
    assert ScanFilter(screening_diagnosis=("MCI",)).needs_streaming


def test_filters_in_words():
    whom = ScanFilter(("AD",), True, ("F",), (60, 75), ("m12",), ("a", "b"), ("MCI",))
    assert whom.in_words() == (
        "AD, women, 60 to 75 years, predicted as their group, session m12, MCI at screening, 2 hand-picked subjects"
    )


@pytest.fixture
def regions_page(open_view):
    return partial(open_view, REGIONS)


def test_the_sidebar_says_how_many_remain(regions_page):
    app = regions_page()
    assert not app.exception
    assert "**7 of 7 scans**, 4 subjects" in [caption.value for caption in app.sidebar.caption]
    app.button_group(key="dx").set_value(["AD"]).run()
    assert "**3 of 7 scans**, 1 subject" in [caption.value for caption in app.sidebar.caption]


def test_a_filter_that_leaves_nothing_is_named_and_can_be_dropped(regions_page):
    app = regions_page()
    app.button_group(key="dx").set_value(["MCI"]).run()
    app.button_group(key="ok").set_value("correct").run()
    said = [warning.value for warning in app.sidebar.warning]
    assert "The filter on decision leaves no scan." in said
    app.button(key="drop-correct").click().run()
    assert not app.sidebar.warning
    assert "**1 of 7 scans**, 1 subject" in [caption.value for caption in app.sidebar.caption]


# -- access -------------------------------------------------------------------------------------------------------


@pytest.fixture
def own_key(monkeypatch, tmp_path):
    monkeypatch.setenv(access.KEY_FILE, str(tmp_path / "link.key"))
    access._key.cache_clear()
    yield tmp_path / "link.key"
    access._key.cache_clear()


def test_pseudonyms_are_keyed_and_the_key_is_private(own_key, monkeypatch, tmp_path):
    first = access.pseudonym("sub-001")
    assert "001" not in first
    assert stat.S_IMODE(os.stat(own_key).st_mode) == 0o600
    access._key.cache_clear()
    assert access.pseudonym("sub-001") == first  # read back
    monkeypatch.setenv(access.KEY_FILE, str(tmp_path / "other.key"))
    access._key.cache_clear()
    assert access.pseudonym("sub-001") != first


def test_patients_are_shown_locally_and_else_by_role_only(anonymous, monkeypatch):
    for user, expected in (
        ({"is_logged_in": False, "roles": ["patient"]}, False),
        ({"is_logged_in": True, "roles": ["viewer"]}, False),
        ({"is_logged_in": True}, False),
        ({"is_logged_in": True, "roles": ["patient"]}, True),
        ({"is_logged_in": True, "groups": ["patient"]}, True),
    ):
        monkeypatch.setattr(access, "_user", lambda user=user: user)
        assert access.may_see_patients() == expected
    monkeypatch.setattr(locality, "is_local", lambda headers, cookies: True)
    monkeypatch.setattr(access, "_user", dict)
    assert access.may_see_patients()


def script_with_a_fold():
    import streamlit as st

    from dashboard.shell import url_state

    url_state.begin()
    box = url_state.fold("t_more", "More")
    if box is not None:
        box.write("made")
    for part in url_state.finish():
        st.warning(part)
    st.code(url_state.query())


@pytest.mark.parametrize(
    ("linked", "made", "written", "said"),
    [(None, 0, "closed", 0), ("open", 1, "open", 0), ("closed", 0, "closed", 0), ("ajar", 0, "closed", 1)],
)
def test_what_is_folded_is_made_when_opened_and_the_link_says_so(linked, made, written, said):
    app = AppTest.from_function(script_with_a_fold, default_timeout=20)
    if linked is not None:
        app.query_params["t_more"] = linked
    app.run()
    assert not app.exception
    assert len(app.markdown) == made
    assert len(app.warning) == said
    assert parse_qs(app.code[0].value)["t_more"] == [written]


@pytest.mark.parametrize(("screening", "shown"), [("MCI", True), ("AD", False), ("", False)])
def test_the_filter_on_screening_is_there_where_someone_has_converted(tmp_path, open_view, screening, shown):
    folder = copy_of_shared_store(tmp_path)
    file = folder / "tables" / "scans.parquet"
    scans = pd.read_parquet(file)
    scans["screening_diagnosis"] = scans["diagnosis"].where(scans["diagnosis"] != "AD", screening)
    scans.to_parquet(file)
    app = open_view(REGIONS, tmp_path)
    assert not app.exception
    assert ("Diagnosis at screening" in [group.label for group in app.button_group]) == shown
