"""What is wrong with the description of an array: dimensions, dtype, attributes. No number is read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from store.errors import SpecViolationError
from store.files.bounds import LARGEST_EDGE, LARGEST_FILE_SHAPE
from store.files.encoding import dimension_names
from store.reading import plausible
from store.reading.native_space import NativeSpace
from store.spec import CELLS, HEATMAPS, NATIVE, SPEC_VERSION, array_spec

FULL_GRID = ("template", "mask", "atlas")


def readable(version: object) -> bool:
    """Return whether this code reads a run of that spec version: the same major version."""
    return str(version).split(".")[0] == SPEC_VERSION.split(".")[0]


def array_problems(
    path: str, shape: Sequence[int], dtype: str, dims: Sequence[str], attributes: dict[str, Any]
) -> list[str]:
    """Say what is wrong with one array, by its description alone."""
    try:
        spec = array_spec(path)
        expected = dimension_names(spec, attributes.get("native_grid"))
    except KeyError:
        return [f"array {path}: not in store/spec.py"]
    except SpecViolationError as error:
        return [str(error)]
    lines = [f"array {path}: attribute {name} is missing" for name in spec.attributes if name not in attributes]
    if dtype not in spec.dtype.split(" | "):
        lines.append(f"array {path}: dtype is {dtype}, must be {spec.dtype}")
    if spec is HEATMAPS and (dtype == "int16") != (attributes.get("native_grid") == "voxels"):
        lines.append(f"array {path}: dtype is {dtype}, must be int16 for voxels and float32 else")
    if len(shape) != len(expected) or tuple(dims) != expected:
        lines.append(f"array {path}: has {len(shape)} dimensions {tuple(dims)}, must be {expected}")
    if spec is CELLS and tuple(shape[:1]) != (3,):
        lines.append(f"array {path}: the first dimension is {shape[0]}, must be 3 (sum wh, sum w|h|, sum wh^2)")
    for name in [name for name in spec.attributes if name.endswith(("affine", "linear"))]:
        if problem := plausible.affine_problem(attributes.get(name)):
            lines.append(f"array {path}: {name} {problem}")
    if "unit" in attributes and (problem := plausible.unit_problem(attributes["unit"])):
        lines.append(f"array {path}: {problem}")
    if "antisymmetric" in attributes and not isinstance(attributes["antisymmetric"], bool):
        lines.append(f"array {path}: antisymmetric must be true or false")
    if attributes.get("native_grid") == "positions" and not _is_stride(attributes.get("stride")):
        lines.append(f"array {path}: stride must be a number of voxels")
    return lines or (_native_problems(path, shape, attributes) if spec is NATIVE else [])


def _is_stride(value: Any) -> bool:
    return type(value) is int and 0 < value <= LARGEST_EDGE


def _native_problems(path: str, shape: Sequence[int], attributes: dict[str, Any]) -> list[str]:
    """Say what is wrong with the geometry of a native space."""
    native_shape = attributes["native_shape"]
    whole = isinstance(native_shape, list) and [type(n) for n in native_shape] == [int] * 3 and min(native_shape) > 0
    if not whole or max(native_shape) > LARGEST_EDGE or math.prod(native_shape) > LARGEST_FILE_SHAPE:
        return [f"array {path}: native_shape is {native_shape}, must be three numbers of voxels"]
    if shape[0] != 3:
        return [f"array {path}: the first dimension is {shape[0]}, must be 3 (x, y, z)"]
    try:
        affine, linear, field_affine = (
            np.array(attributes[name], float) for name in ("native_affine", "linear", "affine")
        )
        NativeSpace(tuple(native_shape), affine, linear, np.empty(shape, np.int16), field_affine).steps()
    except ValueError as error:
        return [f"array {path}: {error}"]
    return []


def shape_problem(path: str, shape: Sequence[int], attributes: Mapping[str, Any], grid: Sequence[int]) -> str | None:
    """Say why an array does not lie on its grid; None where it does, or has another one."""
    on_voxels = attributes.get("native_grid", "voxels") == "voxels" and array_spec(path) is not NATIVE
    if on_voxels and tuple(shape[-3:]) != tuple(grid):
        return f"array {path}: {tuple(shape[-3:])} is not the shape of the grid, {tuple(grid)}"
    return None
