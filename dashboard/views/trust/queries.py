"""What the Trust page asks of a run: its tables of trust, without the groups that this reader may not see."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.data import runs, trust
from dashboard.data.runs import Run
from dashboard.shell import public
from store.files.tables import known_table
from store.keys import explains
from store.reading.trust import TrustLine

TABLES = (
    "randomisation", "stability", "stability_pairs", "faithfulness", "faithfulness_curves", "false_positives",
    "anatomy",
)  # fmt: skip
# Tables that do not count subjects -> the table that does, and the columns that both have.
COUNTED_BY = {
    "faithfulness_curves": (
        "faithfulness",
        ["model_set", "method", "target", "diagnosis", "unit", "direction", "order"],
    ),
    "stability_pairs": ("stability", ["model_set", "method", "target", "diagnosis"]),
}


@st.cache_data(max_entries=32, show_spinner=False)
def _stored(run: Run, name: str) -> pd.DataFrame:
    reader = runs.opened(run)
    if not reader.has_table(name):
        return pd.DataFrame(columns=list(dict.fromkeys([*known_table(name).columns, "subjects"])))
    frame = reader.table(name)
    if name not in COUNTED_BY:
        return frame
    other, keys = COUNTED_BY[name]
    counted = _stored(run, other)
    if name == "stability_pairs":
        counted = counted[counted["change"] == "retrained"]
    subjects = counted.groupby(keys, as_index=False)["subjects"].min()
    return frame.merge(subjects, on=keys, how="left").assign(subjects=lambda rows: rows["subjects"].fillna(0))


def table(run: Run, name: str) -> pd.DataFrame:
    """Return a table of trust, subjects counted in each row; empty where the run has none."""
    return public.large_cells(_stored(run, name))


def is_hidden(run: Run, name: str) -> bool:
    """Say whether the run has rows of a table, all of which are of too few subjects for this reader."""
    return not _stored(run, name).empty and table(run, name).empty


def was_measured(run: Run) -> bool:
    """Say whether the run has any table of trust."""
    return any(runs.opened(run).has_table(name) for name in TABLES)


def truth_scores(run: Run) -> pd.DataFrame:
    """Return the truth scores of the fixed test set; empty for real scans and where nothing was imposed."""
    found = _stored(run, "truth_scores")
    return public.large_cells(found[found["model_set"] == "holdout"])


def maps_of(run: Run) -> list[str]:
    """Return what has mean maps of the fixed test set: methods in the fixed order, then what explains nothing."""
    return sorted(runs.available(run).get("holdout", []), key=lambda method: not explains(method))


def verdicts(run: Run) -> dict[str, TrustLine]:
    """Return method -> what is known of how far it can be trusted, as this reader may know it."""
    return trust.lines(run, public.fewest())
