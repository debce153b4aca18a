"""Settings and other facts of a run as tables. Mappings in, frames out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from dashboard.text.formatting import NONE


def settings_table(config: Mapping[str, Any], prefix: str = "") -> pd.DataFrame:
    """Return every setting as a row: section.name, value."""
    rows: list[tuple[str, str]] = []
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            rows.extend(settings_table(value, f"{prefix}{key}.").itertuples(index=False, name=None))
        else:
            rows.append((f"{prefix}{key}", _text(value)))
    return pd.DataFrame(rows, columns=["Setting", "Value"])


def _text(value: Any) -> str:
    if value is None:
        return NONE
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def pairs_table(values: Mapping[str, Any], key: str, value: str) -> pd.DataFrame:
    """Return a mapping as a table of two columns."""
    return pd.DataFrame([(str(k), _text(v)) for k, v in values.items()], columns=[key, value])
