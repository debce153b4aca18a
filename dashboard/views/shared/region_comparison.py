"""Do two sets of scans differ in their share of relevance, region by region, with the false discovery rate."""

from __future__ import annotations

import pandas as pd
from streamlit.delta_generator import DeltaGenerator

from dashboard.data import comparison
from dashboard.data.averages import Average
from dashboard.data.comparison import ALPHA
from dashboard.shell import display
from dashboard.text import formatting
from dashboard.views.shared import region_relevance

SHOWN = 15  # regions on the page; the file has all


def test(first: Average, second: Average) -> pd.DataFrame:
    """Test the share of relevance of every region, two averages of one run, method and target; see
    `comparison.regions`.
    """
    chosen = first.selection
    relevance = region_relevance.relevance(chosen.run, chosen.model_set)
    sums = relevance.entering_average(chosen.method, relevance.of_target(chosen.method, chosen.target))
    return comparison.regions(first, second, sums, relevance.rows, relevance.regions)


def verdict(table: pd.DataFrame) -> str:
    """Say in how many regions two sets differ, as Markdown."""
    count = int((table["q"] < ALPHA).sum())
    told = f"{formatting.count(count, 'region')} of {len(table)}" if count else f"None of {len(table)} regions"
    return f"**By region**: {told} with a false discovery rate below {ALPHA:g}, by share of relevance."


def show_smallest_p(box: DeltaGenerator, table: pd.DataFrame, first: str, second: str) -> None:
    """Show the regions with the smallest p, with the means of both sets and their difference."""
    box.markdown(verdict(table))
    shown = table.head(SHOWN)
    percent = formatting.percent
    display.table(box, pd.DataFrame({
        "Region": [formatting.region_name(region) for region in shown["region"]],
        first: shown["first"].map(percent), second: shown["second"].map(percent),
        "Difference (95 % CI), percentage points": [
            formatting.with_interval(100 * r.difference, 100 * r.low, 100 * r.high).replace("-", "−")
            for r in shown.itertuples()
        ],
        "p": shown["p"].map(formatting.probability), "q": shown["q"].map(formatting.probability),
    }))  # fmt: skip
    box.caption(f"The {len(shown)} regions with the smallest p; Welch’s t over subjects, q after Benjamini-Hochberg.")
