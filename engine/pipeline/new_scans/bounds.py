"""Is a new scan like those that the networks know? Its quality figures against the range of the run's cohort."""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.preprocessing.quality import write_figure
from store.spec import table_spec

LEAST = 8  # scans that a range is taken from
SPREADS = 3.5  # robust standard deviations from the median; Iglewicz & Hoaglin 1993
LEAST_SPREAD = 0.01  # of the median: what never varies in the cohort may differ by rounding
MAD_TO_SD = 1.4826
# Figure -> how a message calls it, and whether more than usual is as strange as less.
FIGURES = {
    "template_correlation": ("correlation with the template", False),
    "mask_dice": ("overlap with the template's brain", False),
    "brain_ml": ("brain volume in ml", True),
    "intensity_low": ("2nd percentile of the intensities", True),
    "intensity_high": ("98th percentile of the intensities", True),
}


def bounds(values: pd.Series, both: bool) -> tuple[float, float] | None:
    """Return (low, high) that nearly all scans of a cohort lie within; None where they are too few to say.

    The median plus and minus 3.5 times 1.4826 times the median absolute deviation: a few scans that went wrong in the
    cohort do not widen it. Source: Iglewicz & Hoaglin 1993, How to detect and handle outliers.

    Args:
        values: one figure of the cohort's scans.
        both: whether there is an upper bound; nan otherwise.
    """
    known = values.dropna().to_numpy(float)
    if len(known) < LEAST:
        return None
    middle = float(np.median(known))
    spread = max(MAD_TO_SD * float(np.median(np.abs(known - middle))), LEAST_SPREAD * abs(middle))
    return middle - SPREADS * spread, middle + SPREADS * spread if both else float("nan")


def reference_flags(quality: pd.DataFrame, cohort: pd.DataFrame, run_id: str) -> tuple[pd.DataFrame, list[str]]:
    """Return (rows of the flags table, names of the figures that cannot be judged).

    Args:
        quality: of the new scans; cohort: of the run whose networks explain them. Both as the quality table.
    """
    rows, unjudged = [], []
    for figure, (words, both) in FIGURES.items():
        limits = bounds(cohort[figure], both)
        values = quality.set_index("scan")[figure].dropna()
        if limits is None or values.empty:
            unjudged.append(words)
            continue
        low, high = limits
        for scan, value in values.items():
            if value < low or value > high:
                rows.append((scan, figure, "reference", value, low, high, "", _text(words, value, low, high, run_id)))
    return pd.DataFrame(rows, columns=list(table_spec("flags").columns)), unjudged


def _text(words: str, value: float, low: float, high: float, run_id: str) -> str:
    usual = f"at least {write_figure(low)}" if np.isnan(high) else f"{write_figure(low)} to {write_figure(high)}"
    return f"{words} {write_figure(value)}; in {run_id} it is {usual}"
