"""participants.tsv and sessions.tsv of a BIDS dataset, with their JSON sidecars, as one table a session."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from engine.config import CohortConfig
from engine.data import groups
from engine.data.columns import NUMBERS, SEXES, alias, automatic, numbers
from engine.data.images import missing_content
from engine.data.tabular import read_table
from engine.errors import UserError

PARTICIPANTS, SESSIONS = "participants.tsv", "sessions.tsv"


def read_participants(file: Path, config: CohortConfig) -> pd.DataFrame:
    """The participants, indexed by their identifier (sub-…), labels and sex in words.

    Raises:
        UserError: no column participant_id, a participant twice, a number that is none, a damaged sidecar.
    """
    return _described(file, config, "participant_id", "sub-", [file.with_suffix(".json")])


def with_sessions(
    people: pd.DataFrame, wanted: Sequence[tuple[str, str]], folder: Path, config: CohortConfig
) -> tuple[pd.DataFrame, int]:
    """A row a session: what the session's table says goes over what the participants' says.

    Args:
        people: of `read_participants`.
        wanted: (subject, session) of each row; the session is empty where a dataset has none.
        folder: of the dataset.
        config: of the cohort.

    Returns:
        The rows with the columns participant_id and session_id, and for how many participants there is a sessions.tsv.
    """
    sessions = {subject: _sessions(subject, folder, config) for subject in dict(wanted)}
    rows = []
    for subject, session in wanted:
        row = people.loc[subject].dropna().to_dict()
        table = sessions[subject]
        if table is not None and session in table.index:
            for column, value in table.loc[session].dropna().items():
                row[_column(column, people, config)] = value
        rows.append({**row, "participant_id": subject, "session_id": session})
    described = sum(table is not None for table in sessions.values())
    return pd.DataFrame(rows, dtype="string"), described


def _sessions(subject: str, folder: Path, config: CohortConfig) -> pd.DataFrame | None:
    file = folder / subject / f"{subject}_{SESSIONS}"
    if not file.is_file() and not file.is_symlink():  # a link to nowhere is no table that is not there
        return None
    sidecars = [folder / "sessions.json", file.with_suffix(".json")]
    return _described(file, config, "session_id", "ses-", sidecars)


def _column(column: str, people: pd.DataFrame, config: CohortConfig) -> str:
    """Where a value of a session goes: over the participant's column of the same name or meaning, or beside them."""
    same = next((name for name in people.columns if name.lower() == column.lower()), None)
    ours = alias(column)
    if same or ours is None or ours in config.columns:
        return same or column
    return automatic(people.columns).get(ours, column)


def _described(file: Path, config: CohortConfig, key: str, prefix: str, sidecars: list[Path]) -> pd.DataFrame:
    table = read_table(file)
    if key not in table.columns:
        raise UserError(f"{file.name}: no column {key}; the columns are {', '.join(table.columns)}")
    names = automatic(table.columns) | {ours: name for ours, name in config.columns.items() if name in table.columns}
    _in_words(table, names, config, sidecars)
    if "age" in names:
        table[names["age"]] = table[names["age"]].str.removesuffix("+")  # 89+: older ages tell who someone is
    for ours in NUMBERS:
        if ours in names:
            numbers(table, names[ours], ours, file)
    gap = table.index[table[key].isna()]
    if len(gap):
        raise UserError(f"{file.name} row {gap[0]}: no {key}")
    ids = prefix + table[key].str.removeprefix(prefix)
    if ids.duplicated().any():
        row = ids.index[ids.duplicated()][0]
        raise UserError(f"{file.name} row {row}: {ids[row]} is there twice; keep one row each")
    return table.drop(columns=key).set_axis(pd.Index(ids), axis="index")


def _in_words(table: pd.DataFrame, names: dict[str, str], config: CohortConfig, sidecars: list[Path]) -> None:
    """Codes of labels and sex that the configuration does not know become what the sidecars' Levels say."""
    known = {"label": _known_labels(config), "sex": set(SEXES)}
    for sidecar in sidecars:
        described = _sidecar(sidecar)
        for ours, words in known.items():
            levels = _levels(described.get(names.get(ours)))
            if levels:
                cells = table[names[ours]]
                coded = ~cells.str.lower().isin(words) & cells.isin(list(levels))
                table[names[ours]] = cells.mask(coded, cells.map(levels))


def _known_labels(config: CohortConfig) -> set[str]:
    labels = [label for group, known in (config.diagnosis or {}).items() for label in known or [group]]
    rules = [*(config.groups or {}).values(), *([config.where] if config.where else [])]
    compared = [term.value for rule in rules for term in groups.parse(rule) if isinstance(term.value, str)]
    return {label.lower() for label in (*labels, *config.apply, *compared)}


def _levels(column: Any) -> dict[str, str]:
    """Code -> words; since BIDS 1.9 the words may be an object with a Description."""
    levels = column.get("Levels") if isinstance(column, dict) else None
    if not isinstance(levels, dict):
        return {}
    words = {
        str(code): level.get("Description") if isinstance(level, dict) else level for code, level in levels.items()
    }
    return {code: text.strip() for code, text in words.items() if isinstance(text, str) and text.strip()}


def _sidecar(file: Path) -> dict[str, Any]:
    if absent := missing_content(file):
        raise UserError(absent)
    if not file.is_file():
        return {}
    try:
        described = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError):
        raise UserError(f"{file.name}: not valid JSON; mend it or remove it") from None
    if not isinstance(described, dict):
        raise UserError(f"{file.name}: a sidecar maps columns to what they mean")
    return described
