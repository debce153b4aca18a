"""Rankings of regions as words and tables: agreement of methods, who is left out, one region. Without Streamlit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from dashboard.text.formatting import agreement_verdict
from store.measures import rank_correlation


def say_left_out(rankings: Mapping[str, pd.DataFrame], say: Callable[[str], str]) -> str:
    """Say who has no relevance and is in no mean: "Guided backpropagation: 64 of 100 NC"; empty where all have some."""
    parts = []
    for method, frame in rankings.items():
        counts = frame.drop_duplicates("diagnosis")
        said = [
            f"{row.without_relevance} of {row.subjects + row.without_relevance} {row.diagnosis}"
            for row in counts.itertuples()
            if row.without_relevance > 0
        ]
        if said:
            parts.append(f"{say(method)} {', '.join(said)}")
    if not parts:
        return ""
    return f"Subjects whose heatmaps are 0 everywhere have no share and are left out: {'; '.join(parts)}."


def agreement(rankings: Mapping[str, pd.DataFrame], diagnosis: str) -> pd.DataFrame:
    """Return the Spearman correlation of the atlas regions' values between methods, (methods, methods).

    NaN for a method whose values are constant.
    """
    wide = {
        method: frame[(frame["diagnosis"] == diagnosis) & frame["in_atlas"].astype(bool)].set_index("region")["value"]
        for method, frame in rankings.items()
    }
    return pd.DataFrame(wide).rank().corr()


SIZE_FREE = ("density", "gain")  # measures that do not grow with the volume of a region


def by_size_alone(rankings: Mapping[str, pd.DataFrame], diagnosis: str, volumes: pd.Series) -> pd.Series:
    """Return method -> Spearman correlation of its shares with the volumes of the atlas regions.

    Shares of any two methods correlate because large regions hold more of everything; this is how much of it.

    Args:
        rankings: of shares.
        volumes: region -> cm3.
    """
    found = {}
    for method, frame in rankings.items():
        rows = frame[(frame["diagnosis"] == diagnosis) & frame["in_atlas"].astype(bool)]
        sizes = rows["region"].map(volumes).to_numpy(float)
        found[method] = rank_correlation(rows["value"].to_numpy(float), sizes, fewest=3)
    return pd.Series(found, dtype=float)


def verdict_on_agreement(correlations: pd.DataFrame) -> str:
    """Say in a sentence whether methods agree, from the median over their pairs; empty where none is known."""
    upper = correlations.to_numpy(float)[np.triu_indices(len(correlations), 1)]
    known = upper[np.isfinite(upper)]
    if not known.size:
        return ""
    middle = float(np.median(known))
    spread = f"median {middle:.2f}, {known.min():.2f} to {known.max():.2f}".replace("-", "−")
    return f"The methods {agreement_verdict(middle)} ({spread})."


def choices(regions: pd.DataFrame) -> list[str]:
    """Return the regions to choose from: left and right together first, then each side; every name once."""
    return list(dict.fromkeys([*regions["merged"], *regions["region"]]))


def spread(table: pd.DataFrame, diagnoses: Sequence[str]) -> pd.DataFrame:
    """Summarise one region by diagnosis: scans, subjects, median, lower and upper quartile, mean, SD (ddof 1)."""
    rows = []
    for diagnosis in diagnoses:
        part = table[table["diagnosis"] == diagnosis]
        if part.empty:
            continue
        low, median, high = part["value"].quantile([0.25, 0.5, 0.75])
        rows.append({
            "diagnosis": diagnosis, "scans": len(part), "subjects": part["subject"].nunique(), "median": median,
            "lower": low, "upper": high, "mean": part["value"].mean(), "sd": part["value"].std(ddof=1),
        })  # fmt: skip
    return pd.DataFrame(rows)
