"""What the Overview page shows of the whole run, made once a run."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard.data import runs
from dashboard.data.accuracy import LINEAR_BASELINES, value_with_interval
from dashboard.data.runs import Run
from dashboard.text import formatting
from store.accuracy import FOLDS, difference
from store.reading.verdict import against_baseline


@st.cache_data(max_entries=8, show_spinner=False)
def auc_sentence(run: Run) -> str:
    """Say the AUC of networks and baselines over all folds with intervals, and their paired differences.

    Empty where no AUC is known.
    """
    metrics, reader = runs.metrics(run), runs.opened(run)
    parts = []
    for classifier in ("cnn", *LINEAR_BASELINES):
        text = formatting.with_interval(*value_with_interval(metrics, FOLDS, "auc", classifier))
        if text == formatting.NONE:
            continue
        if reader.group_level is not None:
            text += _beside_network(reader.group_level["auc_differences"].get(classifier))
            parts.append(f"{formatting.CLASSIFIERS[classifier]} {text}")
            continue
        one = None if classifier == "cnn" else against_baseline(reader, classifier, FOLDS)
        if one is not None:
            gap = one.gaps["auc"] if one.gaps is not None else difference(one.linear, one.networks)
            text += _beside_network((0 - gap.value, 0 - gap.high, 0 - gap.low))
        parts.append(f"{formatting.CLASSIFIERS[classifier]} {text}")
    return f" AUC of all folds together, 95 % CI over subjects: {'; '.join(parts)}." if parts else ""


def _beside_network(gap: Sequence[float] | None) -> str:
    """Say the AUC of the network less that of a baseline, (value, low, high); empty where it is unknown."""
    if gap is None:
        return ""
    value, low, high = gap
    return f", the network {formatting.signed(value)} ({formatting.interval(low, high) or 'too few'})"


@st.cache_data(max_entries=8, show_spinner=False)
def truth_scores(run: Run) -> pd.DataFrame | None:
    """Return the table of truth scores; None where the run has none."""
    return runs.table(run, "truth_scores") if runs.opened(run).has_table("truth_scores") else None
