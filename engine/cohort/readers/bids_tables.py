"""participants.tsv and sessions.tsv of a BIDS dataset, with their JSON sidecars, as one table a session."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from engine.cohort import groups
from engine.cohort.columns import NUMBERS, alias, automatic
from engine.cohort.tables import is_there, plain, read_table, read_text
from engine.cohort.values import SEXES, alike, as_text, without_zeros
from engine.config.cohort_schema import CohortConfig
from engine.errors import UserError

PARTICIPANTS, SESSIONS = "participants.tsv", "sessions.tsv"
PERSON, SESSION = "participant_id", "session_id"
SHOWN = 4


@dataclass(frozen=True)
class People:
    """What the tables say of participants.

    Attributes:
        table: one row a participant, indexed by the identifier (sub-…), labels and sex in words.
        sessions: participant -> rows of `table`'s file that are one a session, indexed by session (ses-…); empty where
            the file has a row a participant.
        remarks: values that were not taken as they are written, a line each.
    """

    table: pd.DataFrame
    sessions: Mapping[str, pd.DataFrame]
    remarks: list[str]


@dataclass(frozen=True)
class Described:
    """Sessions with what the tables say of them.

    Attributes:
        rows: one a session, with the columns participant_id and session_id; positions as in the question.
        unknown: position of a session that a table of its participant's sessions does not have -> the reason.
        tables: for how many participants there is such a table.
        remarks: as of `People`, of the tables of sessions.
    """

    rows: pd.DataFrame
    unknown: dict[int, str]
    tables: int
    remarks: list[str]


def read_participants(file: Path, config: CohortConfig) -> People:
    """Read participants.tsv; a file with a row a session (and a column session_id) is read by its sessions.

    Raises:
        UserError: no column participant_id, a row twice, a number that is none, a damaged sidecar.
    """
    remarks: list[str] = []
    table = _read(file, config, PERSON, [file.with_suffix(".json")], remarks)
    ids = _identifiers(table, file, PERSON, "sub-")
    table = table.drop(columns=PERSON).set_axis(pd.Index(ids), axis="index")
    column = _session_column(table, ids.duplicated().any())
    if column is None:
        _refuse_twice(ids, file, "; keep one row each, or give the sessions in a column session_id")
        return People(table, {}, remarks)
    rows = pd.Series(ids.index, index=table.index)
    sessions = {}
    for person, mine in table.groupby(level=0, sort=False):
        visits = pd.Series(mine[column].to_numpy(), index=rows[[person]].to_numpy(), dtype="string")
        visits = _identifiers(visits.to_frame(column), file, column, "ses-")
        _refuse_twice(visits, file, f" for {person}; keep one row a session")
        sessions[person] = mine.drop(columns=column).set_axis(pd.Index(visits), axis="index")
    # What changes between the rows of a participant is known of their sessions alone.
    constant = table.groupby(level=0, sort=False).agg(_only_value)
    return People(constant.drop(columns=column).astype("string"), sessions, remarks)


def _session_column(table: pd.DataFrame, several: bool) -> str | None:
    """Find the column that names the session of a row; "visit" counts only where participants have several rows."""
    sure = [name for name in table.columns if plain(name) in ("sessionid", "session", "ses")]
    return next(iter(sure or [name for name in table.columns if several and alias(name) == "session"]), None)


def _only_value(cells: pd.Series) -> str | None:
    values = cells.dropna().unique()
    return values[0] if len(values) == 1 else None


def with_sessions(
    people: People, wanted: Sequence[tuple[str, str]], folder: Path, file: Path, config: CohortConfig
) -> Described:
    """Return a row a session: what the table of its participant's sessions says goes over what the participants' says.

    A session is found by its name, else by the only one that is the same but for leading zeros (ses-M48, ses-M048).
    Where that table has a column of what changes (label, age, scores), its blank is a blank: the participant's value
    is that of another day. An image outside of sessions, as derivatives have them, gets the participant's values.

    Args:
        people: of `read_participants`.
        wanted: (participant, session) of each row; the session is empty where a dataset has none.
        folder: of the dataset.
        file: of the participants.
        config: of the cohort.
    """
    remarks: list[str] = []
    tables = {subject: _sessions(subject, people, folder, file, config, remarks) for subject in dict(wanted)}
    folders = {subject: [session for person, session in wanted if person == subject] for subject in tables}
    rows, unknown = [], {}
    for position, (subject, session) in enumerate(wanted):
        row = people.table.loc[subject].dropna().to_dict()
        for name, table in tables[subject].items():
            key = _session_in(table, session, folders[subject])
            if key is not None:
                row |= _over(table.loc[key], people.table, config)
            elif session and _changing(table.columns, config):
                shown = ", ".join(table.index[:SHOWN]) + (", …" if len(table) > SHOWN else "")
                unknown[position] = f"{session} is not in {name}, which has {shown}"
        rows.append({**row, PERSON: subject, SESSION: session})
    described = sum(bool(files) for files in tables.values())
    return Described(pd.DataFrame(rows, dtype="string"), unknown, described, _of_many(remarks))


def _sessions(
    subject: str, people: People, folder: Path, participants: Path, config: CohortConfig, remarks: list[str]
) -> dict[str, pd.DataFrame]:
    """Name of a file -> what it says of the sessions of a participant; a later one goes over an earlier one."""
    tables = {participants.name: people.sessions[subject]} if subject in people.sessions else {}
    file = folder / subject / f"{subject}_{SESSIONS}"
    if is_there(file):
        mine: list[str] = []
        table = _read(file, config, SESSION, [folder / "sessions.json", file.with_suffix(".json")], mine)
        ids = _identifiers(table, file, SESSION, "ses-")
        _refuse_twice(ids, file, "; keep one row each")
        tables[file.name] = table.drop(columns=SESSION).set_axis(pd.Index(ids), axis="index")
        remarks += [remark.removeprefix(f"{file.name}: ") for remark in mine]
    return tables


def _of_many(remarks: Sequence[str]) -> list[str]:
    """Summarise remarks of one file a participant, without their rows, which would be a line a participant."""
    counted = Counter(re.sub(r" in \d+ rows? \([^)]*\)", "", remark) for remark in remarks)
    return [f"{SESSIONS} of {count} participant{'s' * (count > 1)}: {text}" for text, count in counted.items()]


def _session_in(table: pd.DataFrame, session: str, folders: Sequence[str]) -> str | None:
    """Find the row of a session; a name that is alike only counts where one row and one folder have it."""
    if session in table.index:
        return session
    twins = [other for other in folders if without_zeros(other) == without_zeros(session)]
    return alike(session, dict(zip(table.index, table.index, strict=True))) if len(twins) == 1 else None


def _over(row: pd.Series, people: pd.DataFrame, config: CohortConfig) -> dict[str, str]:
    kept = row[row.notna() | row.index.isin(_changing(row.index, config))]
    return {_column(column, people, config): value for column, value in kept.items()}


def _changing(columns: Sequence[str], config: CohortConfig) -> list[str]:
    """Return the columns of what changes from session to session: label, age, scores, what the rules read."""
    given = {theirs: ours for ours, theirs in config.columns.items()}
    rules = {term.column.lower() for term in groups.terms_of(config)}
    return [
        column
        for column in columns
        if given.get(column, alias(column)) in ("label", *NUMBERS) or column.lower() in rules
    ]


def _column(column: str, people: pd.DataFrame, config: CohortConfig) -> str:
    """Return the participant's column that a session's value goes over, by name or meaning, else its own name."""
    same = next((name for name in people.columns if name.lower() == column.lower()), None)
    ours = alias(column)
    if same or ours is None or ours in config.columns:
        return same or column
    return automatic(people.columns).get(ours, column)


def _read(file: Path, config: CohortConfig, key: str, sidecars: list[Path], remarks: list[str]) -> pd.DataFrame:
    """Read a table, codes put into words and numbers checked; the index is the row of the file."""
    table = read_table(file)
    if key not in table.columns:
        raise UserError(f"{file.name}: no column {key}; the columns are {', '.join(table.columns)}")
    names = automatic(table.columns) | {ours: name for ours, name in config.columns.items() if name in table.columns}
    _in_words(table, names, config, sidecars)
    for ours in NUMBERS:
        if ours in names:
            table[names[ours]] = as_text(table, names[ours], ours, file, remarks)
    return table


def _identifiers(table: pd.DataFrame, file: Path, column: str, prefix: str) -> pd.Series:
    gap = table.index[table[column].isna()]
    if len(gap):
        raise UserError(f"{file.name} row {gap[0]}: no {column}")
    return prefix + table[column].str.removeprefix(prefix)


def _refuse_twice(ids: pd.Series, file: Path, mend: str) -> None:
    if ids.duplicated().any():
        row = ids.index[ids.duplicated()][0]
        raise UserError(f"{file.name} row {row}: {ids[row]} is there twice{mend}")


def _in_words(table: pd.DataFrame, names: dict[str, str], config: CohortConfig, sidecars: list[Path]) -> None:
    """Replace codes of labels and sex that the configuration does not know by the sidecars' Levels."""
    known = {"label": _known_labels(config), "sex": set(SEXES)}
    for sidecar in sidecars:
        described = _sidecar(sidecar)
        for ours, words in known.items():
            levels = _levels(described.get(names.get(ours, "")))
            if ours in names and levels:
                cells = table[names[ours]]
                coded = ~cells.str.lower().isin(words) & cells.isin(list(levels))
                table[names[ours]] = cells.mask(coded, cells.map(levels))


def _known_labels(config: CohortConfig) -> set[str]:
    labels = [label for group, names in (config.diagnosis or {}).items() for label in names or [group]]
    compared = [term.value for term in groups.terms_of(config) if isinstance(term.value, str)]
    return {label.lower() for label in (*labels, *config.apply, *compared)}


def _levels(column: Any) -> dict[str, str]:
    """Return code -> words; since BIDS 1.9 the words may be an object with a Description."""
    levels = column.get("Levels") if isinstance(column, dict) else None
    if not isinstance(levels, dict):
        return {}
    words = {
        str(code): level.get("Description") if isinstance(level, dict) else level for code, level in levels.items()
    }
    return {code: text.strip() for code, text in words.items() if isinstance(text, str) and text.strip()}


def _sidecar(file: Path) -> dict[str, Any]:
    if not is_there(file):
        return {}
    try:
        described = json.loads(read_text(file))
    except (ValueError, RecursionError):
        raise UserError(f"{file.name}: not valid JSON; mend it or remove it") from None
    if not isinstance(described, dict):
        raise UserError(f"{file.name}: a sidecar maps columns to what they mean")
    return described
