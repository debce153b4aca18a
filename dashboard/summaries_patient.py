"""One patient against the group: frames and numbers. Nothing here knows Streamlit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dashboard.figures.answers import Answer
from dashboard.figures.words import region_name, three

FEWEST = 10  # below so many other subjects no percentile is given (design, section 6)
SEX_LETTERS = {"F": "F", "M": "M"}


def against_group(own: pd.Series, people: pd.DataFrame, subject: str, diagnosis: str) -> pd.DataFrame:
    """A patient's shares beside those of the other subjects of the same diagnosis.

    Args:
        own: (regions,) shares of one scan.
        people: subject means, index (subject, diagnosis), one column a region.
    Returns:
        One row a region: region, share, percentile (0 to 100, mid-rank; NaN below 10 others), mean, sd (ddof 1) and
        n of the others. Source: design, section 6.
    """
    names = people.index.get_level_values
    others = people[(names("diagnosis") == diagnosis) & (names("subject") != subject)].reindex(columns=own.index)
    values, mine = others.to_numpy(float), own.to_numpy(float)
    n = len(others)
    table = pd.DataFrame(
        {"region": own.index, "share": mine, "percentile": np.nan, "mean": np.nan, "sd": np.nan, "n": n}
    )
    if n:
        table["mean"] = values.mean(axis=0)
    if n > 1:
        table["sd"] = values.std(axis=0, ddof=1)
    if n >= FEWEST:
        table["percentile"] = 100 * ((values < mine).mean(axis=0) + 0.5 * (values == mine).mean(axis=0))
    return table


def top_regions(table: pd.DataFrame, atlas_regions: set[str], count: int = 10) -> pd.DataFrame:
    """The regions of the atlas with the largest share of a patient, the largest first."""
    return table[table.region.isin(atlas_regions)].nlargest(count, "share").reset_index(drop=True)


def covariates(row: Mapping[str, Any]) -> str:
    """Diagnosis, age, sex, scores and session of a scan in a line; what is not known is left out."""
    parts = [f"**{row['diagnosis']}**"]
    if isinstance(label := row.get("clinical_label"), str) and label:
        parts.append(label)
    screening = row["screening_diagnosis"]
    if isinstance(screening, str) and screening not in ("", row["diagnosis"]):
        parts.append(f"{screening} at screening")
    if np.isfinite(row["age"]):
        parts.append(f"{row['age']:.0f} y")
    if row["sex"] in SEX_LETTERS:
        parts.append(row["sex"])
    for name, label, digits in (("mmse", "MMSE", 0), ("cdr", "CDR", 1)):
        if np.isfinite(row[name]):
            parts.append(f"{label} {row[name]:.{digits}f}")
    for name, label in (("session", "session"), ("site", "site")):
        if isinstance(row[name], str) and row[name]:
            parts.append(f"{label} {row[name]}")
    if np.isfinite(row["severity"]) and row["severity"] > 0:
        parts.append(f"imposed severity {row['severity']:.2f}")
    return " · ".join(parts)


def spread_of_predictions(table: pd.DataFrame, answer: Answer) -> str:
    """What the models say: 'holdout 0.930; 5 retrained models 0.880 to 0.960'."""
    parts = []
    for model_set, rows in table.groupby("model_set", sort=False):
        again = rows.model.str.contains("-seed-", regex=False)
        for row in rows[~again].itertuples():
            parts.append(f"{row.model} {three(getattr(row, answer.column))}")
        if again.any():
            low, high = rows[answer.column][again].min(), rows[answer.column][again].max()
            parts.append(f"{int(again.sum())} retrained {model_set} {three(low)} to {three(high)}")
    return f"{answer.name}: {'; '.join(parts)}"


def export(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Method -> table of regions, as one table to take away; shares in percent."""
    frames = [table.assign(method=method) for method, table in tables.items()]
    whole = pd.concat(frames, ignore_index=True)
    whole["region_words"] = whole.region.map(region_name)
    for column in ("share", "mean", "sd"):
        whole[f"{column}_percent"] = 100 * whole.pop(column)
    return whole[["method", "region", "region_words", "share_percent", "percentile", "mean_percent", "sd_percent", "n"]]
