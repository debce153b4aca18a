"""Reads YAML that a stranger may have written: its size is known before anything is built of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from engine.errors import UserError

MOST_BYTES = 1 << 20
MOST_VALUES = 100_000  # with every alias written out; a card of a network has some hundred
DEEPEST = 30


def load_yaml(text: str) -> Any:
    """Return the values of a YAML document; aliases are counted as what they stand for before they are built.

    Raises:
        yaml.YAMLError: not YAML, a date or number that is none, too large, too deep, or an alias inside of itself.
    """
    if len(text) > MOST_BYTES:
        raise yaml.YAMLError(f"longer than {MOST_BYTES >> 20} MB")
    _measure(text)
    try:
        return yaml.safe_load(text)
    except (ValueError, OverflowError, RecursionError) as error:  # 2020-13-45, or an integer of 5000 digits
        raise yaml.YAMLError(f"a value that cannot be ({error})") from None


def read_yaml(file: Path) -> Any:
    """Return the values of a YAML file.

    Raises:
        UserError: no file, not a file, not text.
        yaml.YAMLError: as `load_yaml`.
    """
    if not file.exists():
        raise FileNotFoundError(file)
    if not file.is_file():
        raise UserError(f"{file}: not a file")
    if file.stat().st_size > MOST_BYTES:
        raise yaml.YAMLError(f"larger than {MOST_BYTES >> 20} MB")
    return load_yaml(file.read_text(encoding="utf-8"))


def _measure(text: str) -> None:
    """Raise yaml.YAMLError for a document that is too deep or too large; the events of the parser build nothing."""
    sizes: dict[str, int] = {}  # anchor -> values below it, aliases written out
    open_: list[tuple[str | None, int]] = []  # of each open collection: its anchor, and the values before it
    values = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:  # of an open collection, or of nothing, which the loader says better
                if any(anchor == event.anchor for anchor, _ in open_):
                    raise yaml.YAMLError(f"the alias *{event.anchor} stands inside of what it stands for")
                continue
            values += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, values))
            values += 1
            if len(open_) > DEEPEST:
                raise yaml.YAMLError(f"deeper than {DEEPEST} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            if anchor:
                sizes[anchor] = values - before
        if values > MOST_VALUES:
            raise yaml.YAMLError(f"more than {MOST_VALUES} values, aliases written out")
