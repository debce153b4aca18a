"""A look at a patient (crosshair, threshold) runs the viewer alone, unless something else on the page shows it."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest
from load_readers import together
from store_factory import shared_store
from stream import Pass, Reader


@pytest.fixture(scope="module")
def url(server) -> str:
    return server(shared_store()).url


def patient(reader: Reader, name: str) -> Pass:
    """The page of a person."""
    shown = reader.open("patient", set="folds")
    label = next(one for one in shown.widget("p_subject")[1].options if one.startswith(f"{name} "))
    if label == shown.widget("p_subject")[1].raw_value:
        return shown
    return together(shown, reader.change(shown, "p_subject", string_value=label))


def look(reader: Reader, shown: Pass, **changes) -> Pass:
    """What is sent once the browser tells of another view."""
    given = shown.data("p_viewer")
    view = given["options"] | changes | {"revision": given["revision"]}
    return reader.change(shown, "p_viewer", json_value=json.dumps({"view": view}))


def headings(shown: Pass) -> str:
    return "\n".join(element.body for kind, element, _ in shown.elements if kind == "heading")


def test_a_look_runs_the_viewer_alone_and_is_in_the_link(url):
    with Reader(url) as reader:
        shown = patient(reader, "n2")
        assert "Strongest regions" in headings(reader.open("patient", set="folds"))
        shown = patient(reader, "n2")
        after = look(reader, shown, mm=[4.0, -8.0, 12.0], threshold=80.0)
        assert {kind for kind, _, _ in after.elements} == {"bidi_component"}
        assert {element.component_name for _, element, _ in after.elements} == {"brainwhy_viewer"}
        assert parse_qs(reader.query)["p_mm"] == ["4,-8,12"]
        assert parse_qs(reader.query)["p_threshold"] == ["80"]


def test_another_main_map_runs_the_page(url):
    with Reader(url) as reader:
        shown = patient(reader, "n2")
        methods = [one["method"] for one in shown.data("p_viewer")["scene"]["maps"]]
        assert len(methods) > 1
        after = look(reader, shown, method=methods[1])
        assert "Strongest regions" in headings(after)
        assert parse_qs(reader.query)["p_method"] == [methods[1]]


def test_what_shows_the_look_follows_it(url):
    with Reader(url) as reader:  # the same slice at every visit
        after = look(reader, patient(reader, "a1"), mm=[4.0, -8.0, 12.0])
        assert any(kind == "imgs" for kind, _, _ in after.elements)
    with Reader(url) as reader:  # the brain in 3D, which starts at the threshold
        shown = patient(reader, "n2")
        shown = together(shown, reader.change(shown, "p_3d", bool_value=True))
        after = look(reader, shown, threshold=80.0)
        assert any("80 % of the brain have no more" in str(element) for _, element, _ in after.elements)
