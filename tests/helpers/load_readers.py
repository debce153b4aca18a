"""Readers that a load of the dashboard is made of: what they do on a page, and what they find."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import tls
from stream import Pass, Reader

VALUES = 20  # that readers choose between
FAILED = ("This view failed", "This run cannot be shown")
# To be given what it shows, a control's key, and dice: the value to send.
Value = Callable[[Pass, str, random.Random], Mapping[str, Any]]


def _option(shown: Pass, key: str, dice: random.Random) -> Mapping[str, Any]:
    """One of the first options of a list."""
    options = list(shown.widget(key)[1].options)[:VALUES]
    return {"string_value": dice.choice(options)}


def _some_options(shown: Pass, key: str, dice: random.Random) -> Mapping[str, Any]:
    """Two of the options of a list of several."""
    options = list(shown.widget(key)[1].options)
    return {"string_array_value": dice.sample(options, min(2, len(options)))}


def _switched(_: Pass, __: str, dice: random.Random) -> Mapping[str, Any]:
    return {"bool_value": dice.random() < 0.5}


def _button(*texts: str) -> Value:
    return lambda _, __, dice: {"string_array_value": [dice.choice(texts)]}


def _view(**changes: Callable[[random.Random], Any]) -> Value:
    """What a viewer tells of its view once its reader has changed this of it."""

    def value(shown: Pass, key: str, dice: random.Random) -> Mapping[str, Any]:
        given = shown.data(key)
        view = given["options"] | {name: change(dice) for name, change in changes.items()}
        return {"json_value": json.dumps({"view": view | {"revision": given["revision"]}})}

    return value


def _place(dice: random.Random) -> list[float]:
    return [4.0 * dice.randint(-8, 8) for _ in range(3)]


def _threshold(dice: random.Random) -> float:
    return float(30 + 2 * dice.randrange(VALUES))


@dataclass(frozen=True)
class Act:
    """A change of a control: one of `keys`, the first that the page has (older versions have others).

    Attributes:
        weight: how often it is made, beside the other acts of the page.
    """

    name: str
    weight: int
    keys: tuple[tuple[str, Value], ...]


def _act(name: str, weight: int, *keys: tuple[str, Value]) -> Act:
    return Act(name, weight, keys)


def _slider(_: Pass, __: str, dice: random.Random) -> Mapping[str, Any]:
    return {"double_array_value": [_threshold(dice)]}


# Page -> what readers do there. A page without acts is opened again.
ACTS: Mapping[str, tuple[Act, ...]] = {
    "overview": (),
    "group_maps": (
        # Threshold, slices, opacity: drawn in the browser, the server keeps the link.
        _act("look", 5, ("slices", _view(**{"from": _threshold})), ("g_from", _slider)),
        _act("difference", 2, ("g_difference", _switched)),
        _act("methods", 1, ("g_methods", _some_options)),
        _act("method", 2, ("method", _option)),
    ),
    "patient": (
        _act("patient", 5, ("p_subject", _option)),
        _act("look", 3, ("p_viewer", _view(mm=_place))),
        _act("method", 2, ("method", _option)),
    ),
    "variability": (),
    "regions": (_act("rows", 1, ("r_n", _button("10", "20", "all"))),),
    "clinical": (_act("rows", 1, ("cl_n", _button("10", "20", "all"))),),
    "distances": (_act("measure", 1, ("d_measure", _button("Distance", "Rank correlation"))),),
    "compare_runs": (),
    "provenance": (),
}


@dataclass
class Found:
    """What readers have found, of all threads.

    Attributes:
        first: milliseconds of first views.
        changes: act -> milliseconds of its passes.
        fetched: milliseconds of volumes that pages then asked for.
        troubles: what went wrong, in words.
        sessions: that have begun.
    """

    first: list[float] = field(default_factory=list)
    changes: dict[str, list[float]] = field(default_factory=dict)
    fetched: list[float] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    sessions: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def times(self) -> list[float]:
        """Milliseconds of all changes, from the shortest to the longest."""
        return sorted(ms for own in self.changes.values() for ms in own)

    @property
    def passes(self) -> int:
        return len(self.first) + len(self.times)


@dataclass
class Visit:
    """One session on a page, by one reader.

    Attributes:
        cookies: of its browser.
        volumes: fetch what the page's components ask for, as a browser does, but nothing twice.
    """

    url: str
    page: str
    cookies: Mapping[str, str]
    found: Found
    dice: random.Random
    volumes: bool = True
    _known: set[str] = field(default_factory=set)
    _fetching: http.client.HTTPConnection = field(init=False)

    def run(self, changes: int, think: Callable[[], float]) -> None:
        """Open the page, and change its controls so many times; `think`: seconds before each."""
        try:
            with contextlib.closing(self._connection()) as self._fetching, Reader(self.url, self.cookies) as reader:
                with self.found.lock:
                    self.found.sessions += 1
                shown = reader.open(self.page)
                self._note("", shown)
                for _ in range(changes):
                    time.sleep(think())
                    name, after = self._change(reader, shown)
                    self._note(name, after)
                    shown = together(shown, after)
        except Exception as error:  # whatever it is, the session is lost
            with self.found.lock:
                self.found.troubles.append(f"{self.page}: {type(error).__name__} {error}")

    def _change(self, reader: Reader, shown: Pass) -> tuple[str, Pass]:
        acts = ACTS[self.page]
        if not acts:
            return "again", reader.open(self.page)
        act = self.dice.choices(acts, [one.weight for one in acts])[0]
        for key, value in act.keys[:-1]:
            if shown.has(key):
                return act.name, reader.change(shown, key, **value(shown, key, self.dice))
        key, value = act.keys[-1]
        return act.name, reader.change(shown, key, **value(shown, key, self.dice))

    def _note(self, name: str, one: Pass) -> None:
        """Keep the time of a pass ("" for the first), and fetch what it asks for."""
        title = one.headings()
        with self.found.lock:
            (self.found.changes.setdefault(name, []) if name else self.found.first).append(one.ms)
            self.found.troubles += [f"{self.page}, {name}: {said}" for said in FAILED if said in title]
        if self.volumes:
            self._fetch([address for address in one.volumes() if address.partition("?")[0] not in self._known])

    def _connection(self) -> http.client.HTTPConnection:
        """What volumes come by; it stays open, as that of a browser, and opens again where the server has closed it."""
        parts = urlsplit(self.url)
        return (
            http.client.HTTPSConnection(parts.netloc, timeout=120, context=tls.trusting())
            if parts.scheme == "https" else http.client.HTTPConnection(parts.netloc, timeout=120)
        )  # fmt: skip

    def _fetch(self, addresses: list[str]) -> None:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        for address in addresses:
            self._known.add(address.partition("?")[0])
            start = time.perf_counter()
            answer = self._asked(address + _planes(address), {"Cookie": cookies})
            with self.found.lock:
                self.found.fetched.append(1000 * (time.perf_counter() - start))
                if answer.status != 200:
                    self.found.troubles.append(f"{self.page}: {answer.status} for a volume")

    def _asked(self, address: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """The answer to a question, read to its end."""
        for is_last in (False, True):
            try:
                self._fetching.request("GET", address, headers=dict(headers))
                answer = self._fetching.getresponse()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self._fetching.close()
                if is_last:
                    raise
            else:
                answer.read()
                return answer
        raise AssertionError("unreachable")


def together(shown: Pass, after: Pass) -> Pass:
    """Return the controls that a browser shows after a pass, which may have been of a part of the page."""
    newest = {entry[1].id: entry for entry in shown.elements + after.elements if getattr(entry[1], "id", "")}
    return Pass(elements=list(newest.values()))


def _planes(address: str) -> str:
    """Return what slices add to the address of an average: three planes, which also a grid of 4 mm has."""
    token = address.partition("?")[0].rpartition("/")[2]
    kind = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))[1]
    return "&plane=coronal&at=14,20,26" if kind in ("average", "underlay") else ""
