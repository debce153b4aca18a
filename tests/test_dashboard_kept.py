"""Answers that all readers share are made once, and not in scripts that Streamlit runs anew for every reader."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from dashboard.data.kept import forget_all, kept

DASHBOARD = Path(__file__).parents[1] / "dashboard"


def test_an_answer_is_made_once_and_forgotten_on_demand_or_when_others_were_asked_for():
    made = []

    @kept(2)
    def double(number: int) -> int | None:
        """Return twice a number."""
        made.append(number)
        return 2 * number if number else None

    assert [double(n) for n in (1, 1, 0, 0)] == [2, 2, None, None]
    assert made == [1, 0]
    assert double(3) == 6
    assert double(1) == 2
    assert made == [1, 0, 3, 1]  # of the two that are kept, 1 was not
    double.clear()
    double(1)
    forget_all()
    double(1)
    assert made == [1, 0, 3, 1, 1, 1]
    assert double.__doc__ == "Return twice a number."


def test_readers_who_ask_at_once_wait_for_one_answer():
    made, found = [], []

    @kept(4)
    def slow(question: str) -> object:
        made.append(question)
        time.sleep(0.2)
        return object()

    readers = [threading.Thread(target=lambda: found.append(slow("a"))) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert made == ["a"]
    assert len(set(map(id, found))) == 1


def test_what_fails_is_asked_again():
    made = []

    @kept(4)
    def fails(question: str) -> str:
        made.append(question)
        if len(made) == 1:
            raise ValueError(question)
        return question

    with pytest.raises(ValueError, match="a"):
        fails("a")
    assert fails("a") == "a"


def test_no_script_keeps_answers():
    """A page.py runs anew for every reader: what is kept there is kept for nobody."""
    scripts = [*DASHBOARD.glob("views/*/page.py"), DASHBOARD / "home.py"]
    assert len(scripts) > 10
    for file in scripts:
        text = file.read_text(encoding="utf-8")
        assert "@kept(" not in text, file
        assert "@byte_cache.kept_within(" not in text, file
