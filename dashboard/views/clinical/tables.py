"""The correlations as the page shows them. Frames in, frames out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from dashboard.views.clinical.correlations import SCORES, TOGETHER


def diagnoses_to_fit(table: pd.DataFrame, score: str, feature: str) -> list[str]:
    """Return the diagnoses that get a fitted line: those whose interval of the correlation leaves 0 out."""
    rows = table[(table["score"] == score) & (table["feature"] == feature) & (table["among"] != TOGETHER)]
    return rows["among"][(rows["low"] > 0) | (rows["high"] < 0)].tolist()


def in_table(table: pd.DataFrame, sets: Sequence[str], feature_words: Callable[[str], str]) -> pd.DataFrame:
    """Return the table as the page shows it: names in words, set after set, the smallest p first."""
    words = {"score": table["score"].map(SCORES), "feature": table["feature"].map(feature_words)}
    place = table["among"].map({name: place for place, name in enumerate(sets)})
    ordered = table.assign(**words, place=place).sort_values(["place", "p"], kind="stable")
    return ordered.drop(columns="place").reset_index(drop=True)
