"""What a person decided about scans: decisions.csv of the data folder."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from engine.cohort.scans import Cohort
from engine.cohort.tables import DECISIONS, read_table
from engine.cohort.values import rows_in_words
from engine.config.cohort_schema import CohortConfig
from engine.errors import UserError


def read_decisions(config: CohortConfig) -> pd.DataFrame:
    """Read decisions.csv of the data folder: columns scan, decision (accept or reject), note; it may be missing.

    Raises:
        UserError: a missing column or another word.
    """
    file = Path(config.data) / DECISIONS if config.data else None
    if file is None or not file.is_file():
        return pd.DataFrame({"scan": [], "decision": [], "note": []}, dtype="string")
    table = read_table(file)
    table.columns = [name.lower() for name in table.columns]
    for column in ("scan", "decision"):
        if column not in table.columns:
            raise UserError(f"{DECISIONS}: no column {column}; it needs scan and decision (accept or reject)")
    if "note" not in table.columns:
        table["note"] = ""
    table = table[["scan", "decision", "note"]].fillna("")
    table["decision"] = table["decision"].str.lower()
    odd = table.index[~table["decision"].isin(["accept", "reject"]).astype(bool)]
    if len(odd):
        raise UserError(
            f"{DECISIONS} row {odd[0]}: decision is {table.loc[odd[0], 'decision']!r}; write accept or reject"
        )
    return table


def accepted(config: CohortConfig) -> frozenset[str]:
    """Return the scans that decisions.csv accepts: quality limits of the preprocessing do not exclude them."""
    table = read_decisions(config)
    return frozenset(table.loc[table["decision"] == "accept", "scan"])


def rejected(scans: pd.DataFrame, config: CohortConfig) -> dict[int, str]:
    """Return the reason, with its note, for each row of `scans` that decisions.csv rejects."""
    table = read_decisions(config)
    notes = table[table["decision"] == "reject"].drop_duplicates("scan", keep="last").set_index("scan")["note"]
    return {
        index: f"rejected in {DECISIONS}" + (f": {notes[scan]}" if notes[scan] else "")
        for index, scan in scans["scan"].items()
        if scan in notes.index
    }


def unmatched(cohort: Cohort, config: CohortConfig) -> list[str]:
    """Say which rows of decisions.csv name no scan: a scan that a person rejected may be used."""
    table = read_decisions(config)
    nobody = table.index[~table["scan"].isin([*cohort.scans["scan"], *cohort.exclusions["scan"]])]
    return [f"{DECISIONS}: no scan of the cohort is named by {rows_in_words(nobody)}"] if len(nobody) else []
