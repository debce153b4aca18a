"""What is done of a measure, kept beside the run until its tables are written: an interruption costs one part.

The work folder belongs to one fingerprint, and goes when the run is published.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from engine.pipeline.run import PARTS_FOLDER, Run
from store.files.atomic import replacing
from store.files.encoding import path_part

Rows = dict[str, list[dict[str, Any]]]  # table -> its rows


def once(run: Run, measure: str, part: str, make: Callable[[], Rows]) -> Rows:
    """Return the rows of a part of a measure, made by `make` unless an earlier attempt at this run has made them.

    Args:
        part: what is done in one go, e.g. a method.
        make: () -> table -> rows of strings, numbers and nan.
    """
    file = run.work / PARTS_FOLDER / path_part(measure) / f"{path_part(part)}.json"
    if not file.exists():
        text = json.dumps(make(), default=lambda number: number.item())  # numbers of NumPy
        with replacing(file) as partial:
            partial.write_text(text, encoding="utf-8")
    return json.loads(file.read_text(encoding="utf-8"))
