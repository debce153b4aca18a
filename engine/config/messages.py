"""Errors of a configuration or of a card, in words: one line that names the key."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ValidationError

SHOWN = 200  # characters of a value that is not allowed


def describe_error(error: ValidationError, model: type[BaseModel]) -> str:
    """Describe the first error of a configuration in one line: its key, the value and what is allowed."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if not _is_union_branch(part)) or "configuration"
    more = "" if error.error_count() == 1 else f" (and {error.error_count() - 1} more)"
    if first["type"] == "extra_forbidden":
        known = _keys_beside(first["loc"], model)
        close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"allowed are {', '.join(known)}"
        return f"{key}: unknown key; {hint}{more}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{key}: {message}{more}"
    return f"{key}: {_shown(first['input'])} is not allowed; {message[0].lower()}{message[1:]}{more}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _is_union_branch(part: Any) -> bool:
    return isinstance(part, str) and (part.startswith(("literal[", "function-")) or part in {"float", "int", "str"})


def _keys_beside(location: tuple, model: type[BaseModel]) -> list[str]:
    section: Any = model
    for part in location[:-1]:
        field = section.model_fields.get(part) if isinstance(section, type) and issubclass(section, BaseModel) else None
        annotation = field.annotation if field else None
        options = [annotation, *getattr(annotation, "__args__", ())]
        section = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
    return list(section.model_fields) if section else []


def describe_card_error(error: ValidationError) -> str:
    """Describe the first error of an imported network's card in one line: the layer or key and what is wrong."""
    problem = error.errors()[0]
    location: list[Any] = list(problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if location[:1] == ["layers"] and len(location) > 1:
        number, *inside = location[1:]
        where = f"layer {number + 1}" + (f" ({inside[0]})" if inside else "")
        key = ".".join(str(part) for part in inside[1:2])
        return f"{where}: {key + ': ' if key else ''}{message}"
    return f"{'.'.join(str(part) for part in location[:1])}{': ' if location else ''}{message}"
