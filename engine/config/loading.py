"""The effective configuration: presets, files, settings of the command line, and what a run has kept."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from engine.config.messages import describe_error
from engine.config.schema import RunConfig
from engine.config.yaml_text import load_yaml, read_yaml
from engine.errors import UserError

DEFAULT_PRESET = "demo"
GRID_MM, BRAIN_END_MM = (193, 229, 193), (169, 206, 161)  # length of the grid and end of the brain along each axis


def preset_names() -> list[str]:
    """Return the names of the presets that ship with the project."""
    folder = resources.files("engine.config") / "presets"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_config(
    file: Path | None = None, preset: str | None = None, overrides: dict[str, Any] | None = None
) -> RunConfig:
    """Return the effective configuration: the preset, over it the file's keys, over these `overrides`.

    A file may name the preset it starts from with a top-level key `preset`.

    Args:
        file: YAML, or None.
        preset: name of the preset; default: the file's, else `demo`.
        overrides: dotted key -> value.

    Raises:
        UserError: an unreadable file, an unknown preset or key, a wrong type or an impossible value.
    """
    given = _read_yaml(file) if file else {}
    named = given.pop("preset", None)
    values = _merge(_preset(preset or (DEFAULT_PRESET if named is None else str(named))), given)
    for key, value in (overrides or {}).items():
        _set(values, key, value)
    config = _validate(values)
    _check_cubes(config)
    return config


def _check_cubes(config: RunConfig) -> None:
    """Raise UserError where the cubes of occlusion leave out voxels of the brain, which would seem irrelevant."""
    asked = {method for model_set in config.training.models for method in getattr(config.explain, model_set)}
    if "occlusion" not in asked:
        return
    occlusion, mm = config.explain.occlusion, config.grid_mm
    half, stride = (max(1, int(length / mm + 0.5)) for length in (occlusion.half_width_mm, occlusion.stride_mm))
    settings = f"explain.occlusion.stride_mm={occlusion.stride_mm:g} with half_width_mm={occlusion.half_width_mm:g}"
    if stride > 2 * half:
        raise UserError(
            f"{settings}: the cubes do not touch, voxels between them would never be occluded; stride_mm is at most "
            f"twice half_width_mm, here {2 * half * mm}"
        )
    for length, end in zip(GRID_MM, BRAIN_END_MM, strict=True):
        last = -(-length // mm) - 1
        if last // stride * stride + half < -(-end // mm):
            raise UserError(f"{settings}: the last cubes do not reach the end of the brain; choose a smaller stride_mm")


def restored_config(stored: dict[str, Any], overrides: dict[str, Any], run: str) -> RunConfig:
    """Return the configuration that a run keeps, with `overrides` (dotted key -> value) over it.

    Raises:
        UserError: an override with an unknown key or an impossible value, or a run of a later version.
    """
    values = json.loads(json.dumps(stored))
    try:
        _validate(values)
    except UserError as error:
        raise UserError(f"run {run}: its settings are not those of this version ({error})") from None
    for key, value in overrides.items():
        _set(values, key, value)
    config = _validate(values)
    if any(key.startswith("explain") for key in overrides):  # a run keeps what it was made with
        _check_cubes(config)
    return config


def parse_override(text: str) -> tuple[str, Any]:
    """Split "training.epochs=5" into ("training.epochs", 5); the value is read as YAML.

    Raises:
        UserError: no equals sign, no key, or a value that is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {text}: write it as key=value, e.g. --set training.epochs=5")
    try:
        return key.strip(), load_yaml(value)
    except yaml.YAMLError:
        mend = f"text with braces or colons needs quotes: {key}='...'"
        raise UserError(f"--set {text}: the value is not valid YAML; {mend}") from None


def _validate(values: dict[str, Any]) -> RunConfig:
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(describe_error(error, RunConfig)) from None


def _preset(name: str) -> dict[str, Any]:
    if name not in preset_names():
        raise UserError(f"--preset {name}: unknown; known are {', '.join(preset_names())}")
    return yaml.safe_load((resources.files("engine.config") / "presets" / f"{name}.yaml").read_text(encoding="utf-8"))


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        values = read_yaml(file)
    except FileNotFoundError:
        raise UserError(f"{file}: no such configuration file; presets are chosen with --preset NAME") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else f": {' '.join(str(error).split())}"
        raise UserError(f"{file}: not valid YAML{where}") from None
    if values is not None and not isinstance(values, dict):
        raise UserError(f"{file}: a configuration is a mapping of keys to values")
    return values or {}


# Mappings whose keys are the user's own: a later one replaces an earlier one instead of being mixed with it.
_WHOLE = {"diagnosis", "groups", "columns", "join"}


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict) and key not in _WHOLE
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        if not isinstance(values.get(parent), dict):
            values[parent] = {}
        values = values[parent]
    values[last] = value
