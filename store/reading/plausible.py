"""Values that cannot be right although their kind is: for `store verify`, and to say why a page failed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from store.keys import ALL
from store.spec import CELL_SCALES, MODEL_SETS, NATIVE_GRIDS, SCALES

LARGEST_INDEX = 32767  # of a region
LONGEST_UNIT = 100
# Edges of a voxel, or between the points of a native space: of a scan in MNI space only its corners are kept.
SHORTEST_MM, LONGEST_MM = 0.01, 1000.0
_SUM_OF_SHARES = 1.001  # rounding of float32
_MARKUP = re.compile(r"<\s*[a-zA-Z/!?]")
_NUMBERS: dict[str, dict[str, tuple[float, float]]] = {  # table -> column -> lowest and highest value
    "scans": {"volume_scale": (np.finfo(float).tiny, 1e30), "age": (-1e6, 1e6)},
    "predictions": {"probability": (0, 1), "margin": (-1e30, 1e30)},
    "heatmaps": {"row": (0, 1e6), "value_scale": (np.finfo(float).tiny, 1e38), "absolute_sum": (0, 1e300)},
    "cells": {"weight": (0, 1e9), "scans": (0, 1e9), "subjects": (0, 1e9)},
    "regions": {"index": (1, LARGEST_INDEX), "voxels": (0, 1e9), "volume_cm3": (0, 1e6)},
    "region_relevance": {"sum": (0, 1e300), "share": (0, _SUM_OF_SHARES)},
    "group_regions": {"share": (0, _SUM_OF_SHARES), "rank": (1, 1e6)},
    "distances": {"distance": (0, 1e300), "rank_correlation": (-_SUM_OF_SHARES, _SUM_OF_SHARES)},
    "metrics": {"value": (-1e300, 1e300)},
}
_NAMES = {"models": ("model",), "heatmaps": ("model", "method"), "cells": ("method",), "regions": ("region",)}


def table_problems(name: str, table: pa.Table, groups: Sequence[str]) -> Iterator[str]:
    """Say what cannot be right in a table whose columns are of the right kinds, one line a column."""
    for column, (low, high) in _NUMBERS.get(name, {}).items():
        values = table[column].to_pandas().to_numpy(float, na_value=np.nan)
        strange = (values < low) | (values > high)
        if strange.any():
            yield f"table {name}: column {column} holds {values[strange][0]:g}, which cannot be"
    choices = {
        ("scans", "group"): ("", *groups), ("scans", "role"): ("", "cohort", "apply"),
        ("predictions", "group"): ("", *groups), ("predictions", "predicted"): groups,
        ("cells", "predicted"): (*groups, ALL),
        ("heatmaps", "target"): groups, ("cells", "target"): (*groups, "predicted"), ("heatmaps", "scale"): SCALES,
        ("cells", "scale"): CELL_SCALES, **{(t, "native_grid"): NATIVE_GRIDS for t in ("heatmaps", "cells")},
        **{(t, "model_set"): MODEL_SETS for t in ("models", "predictions", "heatmaps", "cells")},
    }  # fmt: skip
    for (of, column), allowed in choices.items():
        if of == name:
            strange = set(table[column].unique().to_pylist()) - {None, *allowed}
            if strange:
                known = ", ".join(filter(None, allowed))
                yield f"table {name}: column {column} holds {min(strange)[:60]!r}, none of {known}"
    for column in _NAMES.get(name, ()):
        for text in table[column].unique().to_pylist():
            if text and _MARKUP.search(text):
                yield f"table {name}: column {column} holds markup, {text[:60]!r}"


def manifest_problems(manifest: dict[str, Any]) -> Iterator[str]:
    """Say what cannot be right in a manifest whose values are of the right kinds."""
    for key, texts in {"name": [manifest["name"]], "groups": manifest["groups"]}.items():
        for text in texts:
            if _MARKUP.search(text):
                yield f"manifest: {key} holds markup, {text[:60]!r}"
    try:
        datetime.fromisoformat(manifest["created"])
    except ValueError:
        yield f"manifest: created is {manifest['created']!r}, no date"


def unit_problem(unit: Any) -> str | None:
    """Say what is wrong with a unit."""
    if not isinstance(unit, str) or len(unit) > LONGEST_UNIT or not unit.isprintable() or _MARKUP.search(unit):
        return f"unit is {str(unit)[:60]!r}, must be a short text without markup"
    return None


def affine_problem(value: Any) -> str | None:
    """Say what is wrong with a matrix from voxels, or from mm, to mm."""
    rows = value if isinstance(value, list) and len(value) == 4 else []
    if not rows or not all(isinstance(row, list) and len(row) == 4 and all(map(_is_number, row)) for row in rows):
        return "is not 4 x 4 numbers"
    matrix = np.array(value, float)
    if not np.isfinite(matrix).all() or np.abs(matrix).max() > 1e6:
        return "holds numbers that cannot be"
    if matrix[3].tolist() != [0, 0, 0, 1]:
        return "has another last row than 0 0 0 1"
    edge = abs(float(np.linalg.det(matrix[:3, :3]))) ** (1 / 3)
    if not SHORTEST_MM <= edge <= LONGEST_MM:
        return f"is singular, or its voxels have edges of {edge:g} mm"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def number_problem(path: str, stored: np.ndarray) -> str | None:
    """Say what cannot be right in the numbers of an array."""
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        return "holds numbers that are not finite"
    if path.split("/")[-1] == "atlas" and stored.min(initial=0) < 0:
        return "holds a negative region index"
    return None
