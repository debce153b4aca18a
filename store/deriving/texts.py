"""Texts of a run without what could name a person, a place or a file."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

HIDDEN = "…"
NAMING = ("cohort", "scans", "table")  # sections of the settings that may name people or folders
PLAIN_WORD = re.compile(r"[a-z]+[.,;]?")
_PLACE = re.compile(r"[/\\]|\.[A-Za-z][A-Za-z0-9]{0,5}(\W|$)")  # a path, or the ending of a file


def kind_of(reason: str, names: Collection[str]) -> str:
    """Return the plain words of a reason before its first colon or bracket, with dots for what could be a name.

    Args:
        names: of subjects and scans, and parts of them.
    """
    found: list[str] = []
    for word in re.split(r"[:(]", reason)[0].split():
        plain = PLAIN_WORD.fullmatch(word) and word.rstrip(".,;") not in names
        if plain or found[-1:] != [HIDDEN]:
            found.append(word if plain else HIDDEN)
    return " ".join(found)


def name_parts(names: Collection[str]) -> set[str]:
    """Return names and the words that they are made of."""
    return {part for name in names for part in (name, *re.split(r"\W", name)) if part}


def settings_without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without the sections that may name people, and without paths and names of files."""
    return {key: without_places(part) for key, part in config.items() if key not in NAMING}


def without_places(value: Any) -> Any:
    """Return a value of the settings with dots in the place of paths and names of files."""
    if isinstance(value, Mapping):
        return {str(key): without_places(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(part) for part in value]
    return HIDDEN if isinstance(value, str) and _PLACE.search(value) else value
