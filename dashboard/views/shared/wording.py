"""Sentences that several pages say."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dashboard.text.formatting import plain


def people(rows: pd.DataFrame, diagnoses: Sequence[str]) -> str:
    """How many subjects of each diagnosis, in words: 80 AD, 80 NC and 19 MCI subjects."""
    parts = [f"{rows['subject'][rows['diagnosis'] == d].nunique()} {plain(d)}" for d in diagnoses]
    listed = " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)
    return f"{listed or 'no'} subject{'' if rows['subject'].nunique() == 1 else 's'}"
