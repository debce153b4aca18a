"""What a manifest must hold so that a reader can rely on it: spec.MANIFEST_KEYS with values of the right kind."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

from store.spec import MANIFEST_KEYS

CONTENTS = ("arrays", "tables", "models", "heatmaps", "bytes")
TARGET = ("column", "label", "threshold", "unit")
LONGEST_NAME = 200
MOST_DRAWS = 1_000_000  # of the bootstrap

Test = Callable[[Any], bool]
_TURNS = ("LRE", "LRO", "RLE", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _named(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and len(value) <= LONGEST_NAME and _is_plain(value)


def _is_plain(text: str) -> bool:
    """Return whether a text holds no control characters and none that turn the direction of writing."""
    return not any(unicodedata.category(c) in ("Cc", "Cs") or unicodedata.bidirectional(c) in _TURNS for c in text)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _length(value: Any) -> bool:
    return _number(value) and 0 < value < 1000


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _numbers(value: Any) -> bool:
    return _object(value) and all(map(_number, value.values()))


def _texts_by_name(value: Any) -> bool:
    return _object(value) and all(map(_text, value.values()))


def _groups(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_named, value)) and value[0] != value[1]


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value))


# Key -> test and what must be there.
_KINDS: dict[str, tuple[Test, str]] = {
    "run": (_named, "a name"),
    "name": (_named, "a name"),
    "created": (_named, "a date"),
    "simulated": (lambda value: isinstance(value, bool), "true or false"),
    "cohort": (_text, "a text"),
    "groups": (_groups, "two different names"),
    "fingerprint": (_text, "a text"),
    "data_fingerprint": (_text, "a text"),
    "config": (_object, "an object"),
    "versions": (_object, "an object"),
    "commit": (lambda value: value is None or _text(value), "a text"),
    "device": (_text, "a text"),
    "seeds": (_object, "an object"),
    "seconds": (_numbers, "numbers by stage"),
    "peak_mib": (_number, "a number"),
    "grid_mm": (_length, "a length in mm"),
    "notices": (_texts, "texts"),
    "contents": (_object, "an object"),
}
_OPTIONAL: dict[str, tuple[Test, str]] = {
    "reference_run": (lambda value: value is None or _named(value), "the name of a run"),
    "task": (lambda value: value in ("classification", "regression"), "classification or regression"),
    "target": (lambda value: value is None or _object(value), "an object"),
    "derived": (lambda value: value is None or _texts_by_name(value), "an object of texts"),
    "group_level": (lambda value: value is None or _object(value), "an object"),
}
_GROUP_LEVEL: dict[str, tuple[Test, str]] = {
    "fewest": (_count, "a count"),
    "subjects": (lambda value: _object(value) and all(map(_count, value.values())), "counts"),
    "methods": (lambda value: _object(value) and all(map(_object, value.values())), "an object a method"),
    "verdict": (lambda value: value is None or _object(value), "an object"),
    "auc_differences": (_object, "an object"),
}
_SHOWN: dict[str, tuple[Test, str]] = {"shown": (_count, "a count")}
_ANALYSIS: dict[str, tuple[Test, str]] = {
    "target": (_named, "a name"),
    "gradient_scale": (_named, "a name"),
    "occlusion_scale": (_named, "a name"),
    "weights": (_named, "a name"),
    "bootstrap": (lambda value: _count(value) and value <= MOST_DRAWS, f"a number up to {MOST_DRAWS}"),
}


def problems(manifest: dict[str, Any]) -> list[str]:
    """Say what is wrong with a manifest of this major version, one line each; empty if a reader can rely on it."""
    lines = [f"manifest: {key} is missing" for key in MANIFEST_KEYS if key not in manifest]
    lines += _kinds(manifest, _KINDS | _OPTIONAL, "")
    if lines:
        return lines
    analysis = manifest["config"].get("analysis", {})
    if not isinstance(analysis, dict):
        return ["manifest: config.analysis must be an object"]
    lines += _kinds(analysis, _ANALYSIS, "config.analysis.")
    lines += _kinds(manifest["config"], {"seed": (_number, "a number")}, "config.")
    if manifest.get("group_level") is not None:
        missing = [name for name in _GROUP_LEVEL if name not in manifest["group_level"]]
        lines += [f"manifest: group_level.{name} is missing" for name in missing]
        lines += _kinds(manifest["group_level"], _GROUP_LEVEL | _SHOWN, "group_level.")
    if manifest.get("task") == "regression" or manifest.get("target") is not None:
        lines += _target_problems(manifest.get("target") or {})
    return lines + list(_contents_problems(manifest["contents"]))


def _kinds(values: dict[str, Any], kinds: dict[str, tuple[Test, str]], prefix: str) -> list[str]:
    return [
        f"manifest: {prefix}{key} must be {words}"
        for key, (test, words) in kinds.items()
        if key in values and not test(values[key])
    ]


def _target_problems(target: dict[str, Any]) -> list[str]:
    if not target.keys() >= set(TARGET):
        return [f"manifest: the target of a regression must hold {', '.join(TARGET)}"]
    texts = dict.fromkeys(("column", "label", "unit"), (_text, "a text"))
    return _kinds(target, texts | {"threshold": (_number, "a number")}, "target.")


def _contents_problems(contents: dict[str, Any]) -> Iterator[str]:
    if not contents.keys() >= set(CONTENTS):
        yield f"manifest: contents must hold {', '.join(sorted(CONTENTS))}"
        return
    kinds = {"arrays": (lambda v: isinstance(v, list), "a list"), "tables": (_object, "an object")}
    kinds |= {"models": (_object, "an object"), "heatmaps": (_count, "a count"), "bytes": (_count, "a count")}
    if lines := _kinds(contents, kinds, "contents."):
        yield from lines
        return
    for entry in contents["arrays"]:
        known = isinstance(entry, dict) and _shape(entry.get("shape")) and _text(entry.get("dtype"))
        if not known or not is_inside(entry.get("path")):
            yield "manifest: contents.arrays must hold a path inside the run, shape and dtype of each array"
            return
    for kind, fields in (("tables", {"rows": _count, "sha256": _text}), ("models", {"sha256": _text})):
        for name, entry in contents[kind].items():
            fine = isinstance(entry, dict) and all(
                field in entry and test(entry[field]) for field, test in fields.items()
            )
            if not fine or not is_inside(name) or "/" in name:
                yield f"manifest: contents.{kind} must hold {' and '.join(fields)} of names inside the run"
                return


def _shape(value: Any) -> bool:
    return isinstance(value, list) and all(map(_count, value))


def is_inside(path: Any) -> bool:
    """Return whether a text is a path below a folder: not absolute, without empty parts and parts of dots alone."""
    if not isinstance(path, str) or "\\" in path or not _is_plain(path):
        return False
    return all(part.strip(". ") for part in path.split("/"))
