"""The load of the dashboard changes controls that its pages have, and notices what is lost."""

from __future__ import annotations

import random

import pytest
from load_readers import ACTS, FAILED, Found, Visit
from store_factory import shared_store
from stream import Reader


@pytest.fixture(scope="module")
def url(server) -> str:
    return server(shared_store()).url


@pytest.mark.parametrize("page", [page for page, acts in ACTS.items() if acts])
def test_each_act_of_a_page_changes_a_control_that_it_has(url, page):
    with Reader(url) as reader:
        shown = reader.open(page)
        for act in ACTS[page]:
            key, value = act.keys[0]
            after = reader.change(shown, key, **value(shown, key, random.Random(1)))
            assert after.elements, act.name
            assert not any(words in after.text() for words in FAILED), act.name


def test_a_visit_notes_times_and_volumes(url):
    found = Found()
    Visit(url, "patient", {}, found, random.Random(1)).run(3, lambda: 0)
    assert (found.sessions, found.passes, len(found.times), found.troubles) == (1, 4, 3, [])
    assert len(found.fetched) >= 6


def test_a_visit_that_is_lost_is_counted(url):
    found = Found()
    Visit(url, "no_such_page", {}, found, random.Random(1)).run(1, lambda: 0)
    Visit("http://127.0.0.1:9", "patient", {}, found, random.Random(1)).run(1, lambda: 0)
    assert len(found.troubles) == 2
    assert found.sessions == 1


def test_messages_that_a_reader_has_are_not_sent_again(url):
    with Reader(url) as reader:
        first, again = reader.open("patient"), reader.open("patient")
    assert [kind for kind, _, _ in again.elements] == [kind for kind, _, _ in first.elements]
    assert again.bytes < 0.75 * first.bytes
