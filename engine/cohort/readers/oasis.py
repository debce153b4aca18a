"""Reads OASIS-1 (cross-sectional) and OASIS-2 (longitudinal): their CSV and their folders as they were downloaded.

Source: Marcus et al. 2007, J Cogn Neurosci 19:1498, and 2010, J Cogn Neurosci 22:2677; their fact sheets.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from engine.cohort.assemble import ReaderNotes, assemble
from engine.cohort.columns import frame_of, our_columns
from engine.cohort.scans import Cohort
from engine.cohort.tables import data_folder, find_table, plain, read_table
from engine.cohort.values import numbers
from engine.cohort.walking import visible_files
from engine.config.cohort_schema import CohortConfig
from engine.errors import UserError

CROSS_SECTIONAL = {"id", "cdr", "etiv"}
LONGITUDINAL = {"subjectid", "mriid", "cdr"}
GROUPS = {"nondemented": "NC", "demented": "AD", "converted": "Converted"}
SESSION = re.compile(r"(OAS[12]_\d{4})_(MR\d+)")
ENDINGS = (".nii", ".nii.gz", ".img", ".img.gz")
# What an image is, by its name, in the order in which kinds are tried and preferred.
KINDS = {
    "atlas": re.compile(r"_t88_gfc\."),
    "subject": re.compile(r"_sbj_111\."),
    "raw": re.compile(r"mpr-\d+(_anon)?\."),
    "masked": re.compile(r"_t88_masked_gfc\."),
    "other": re.compile(r"^OAS[12]_\d{4}_MR\d+"),
}
SEGMENTATION = re.compile(r"_fseg\.")


@dataclass(frozen=True)
class Image:
    """An image of a session, e.g. OAS1_0001_MR1."""

    path: Path
    session: str
    kind: str


def read(config: CohortConfig) -> Cohort:
    """Read one image a session of the table, with a label from the CDR (OASIS-1) or from the group (OASIS-2).

    Raises:
        UserError: no table or image of OASIS, a session that is none, see also `assemble`.
    """
    folder = data_folder(config)
    file = find_table(folder, config.table, CROSS_SECTIONAL, LONGITUDINAL)
    table = read_table(file)
    sessions = _sessions(table, file)
    images = list(_images(folder))
    kind = _kind(images, sessions, folder, config.oasis.image)
    chosen, left_out = _one_a_session(images, kind, sessions, file)
    with_image = sessions.isin(list(chosen))
    left_out += [
        {"scan": session, "subject": _subject(session), "reason": f"no image of the kind {kind}"}
        for session in sessions[~with_image]
    ]
    remarks: list[str] = []
    labelled, names = _in_our_words(table, sessions, config, file, remarks)
    paths = [chosen[session].path for session in sessions[with_image]]
    frame = frame_of(labelled[with_image], names, paths, file, remarks)
    notes = (
        f"{len(table)} sessions in {file.name}, {with_image.sum()} of them with an image",
        f"images: {', '.join(f'{count} {name}' for name, count in Counter(i.kind for i in images).items())}; "
        f"used: {kind} (cohort.oasis.image)",
    )
    return assemble(frame, config, folder, ReaderNotes(file.name, notes, left_out, "--data", remarks))


def _sessions(table: pd.DataFrame, file: Path) -> pd.Series:
    """Return the session of each row, e.g. OAS1_0001_MR1."""
    column = next(name for name in table.columns if plain(name) in ("mriid", "id"))
    sessions = table[column].fillna("")
    wrong = sessions[~sessions.str.fullmatch(SESSION.pattern)]
    if len(wrong):
        raise UserError(
            f"{file.name} row {wrong.index[0]}: {column} is {wrong.iloc[0]!r}, not a session such as OAS1_0001_MR1"
        )
    twice = sessions[sessions.duplicated()]
    if len(twice):
        raise UserError(f"{file.name} row {twice.index[0]}: {twice.iloc[0]} is there twice; keep one row a session")
    return sessions


def _subject(session: str) -> str:
    return session.partition("_MR")[0]


def _images(folder: Path) -> Iterator[Image]:
    for parent, files in visible_files(folder):
        for name in files:
            if not name.endswith(ENDINGS) or SEGMENTATION.search(name):
                continue
            path = parent / name
            kind = next((kind for kind, pattern in KINDS.items() if pattern.search(name)), None)
            parts = reversed(path.relative_to(folder.parent).parts)
            session = next((found[0] for part in parts if (found := SESSION.match(part))), None)
            if kind and session:
                yield Image(path, session, kind)


def _kind(images: list[Image], sessions: pd.Series, folder: Path, wanted: str) -> str:
    """Choose the kind of image: the wanted one, or that of most sessions; one for all, or it would be a clue."""
    there: dict[str, set[str]] = defaultdict(set)
    for image in images:
        there[image.kind].add(image.session)
    if not images:
        raise UserError(f"--data {folder}: no image of OASIS ({', '.join(ENDINGS)}, in or named as OAS1_0001_MR1)")
    if wanted != "auto" and wanted not in there:
        raise UserError(f"cohort.oasis.image {wanted}: there are only images of the kinds {', '.join(there)}")
    in_table = set(sessions)
    kind = max(KINDS, key=lambda kind: len(there[kind] & in_table)) if wanted == "auto" else wanted
    if not there[kind] & in_table:
        first = images[0].path.name
        raise UserError(f"--data {folder}: none of its images is of a session in the table; the first is {first}")
    return kind


def _one_a_session(
    images: list[Image], kind: str, sessions: pd.Series, file: Path
) -> tuple[dict[str, Image], list[dict[str, str]]]:
    """Return session -> its first image of the kind, and why other images of the kind are left out."""
    chosen: dict[str, Image] = {}
    left_out = []
    in_table = set(sessions)
    for image in (image for image in images if image.kind == kind):
        if image.session in in_table and image.session not in chosen:
            chosen[image.session] = image
            continue
        stem = image.path.name.split(".")[0]
        scan = stem if stem.startswith(image.session) else f"{image.session}_{stem}"
        reason = (
            f"another image of the session is used: {chosen[image.session].path.name}"
            if image.session in chosen
            else f"{image.session} is not in {file.name}"
        )
        left_out.append({"scan": scan, "subject": _subject(image.session), "reason": reason})
    return chosen, left_out


def _in_our_words(
    table: pd.DataFrame, sessions: pd.Series, config: CohortConfig, file: Path, remarks: list[str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Add subject, session, label and screening diagnosis to the table; return which columns are ours, too."""
    parts = sessions.str.extract(SESSION.pattern)
    columns = {plain(name): name for name in reversed(table.columns)}
    column, group = columns["cdr"], columns.get("group")
    cdr = numbers(table, column, "cdr", file, remarks)
    table = table.assign(**{column: table[column].mask(cdr.isna())})
    by_cdr = pd.Series("", index=table.index, dtype="string").mask(cdr == 0, "NC").mask(cdr > 0, "AD")
    ours = {"scan": sessions, "subject": parts[0], "session": parts[1], "label": by_cdr}
    if group:
        first = sessions.sort_values().groupby(parts[0]).transform("first")
        ours["screening_diagnosis"] = first.map(by_cdr.set_axis(sessions))
        if config.oasis.label != "cdr":
            ours["label"] = table[group].str.lower().map(GROUPS).fillna(table[group])
    elif config.oasis.label == "group":
        raise UserError(f"cohort.oasis.label=group: {file.name} has no column Group; use cdr")
    if "label" in config.columns:
        ours.pop("label")
    given = {name: f"{name} (OASIS)" for name in ours}
    table = table.assign(**{given[name]: values for name, values in ours.items()})
    return table, our_columns(table, config, file, given)
