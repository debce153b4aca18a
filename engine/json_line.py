"""One line of strict JSON (RFC 8259), in which there is no NaN and no Infinity."""

from __future__ import annotations

import json
import math
from typing import Any


def json_line(found: Any) -> str:
    """Return the value as one line; numbers that are not finite become null, for a parser may refuse them."""
    return json.dumps(_finite(found), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
