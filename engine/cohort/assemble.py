"""From rows under our names to a cohort: groups, duplicates, files that are not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from engine.cohort import groups
from engine.cohort.regression_target import groups_of
from engine.cohort.scans import COLUMNS, Cohort, exclusion_table, scan_table
from engine.cohort.values import zeros_lost
from engine.cohort.walking import names_in
from engine.config.cohort_schema import CohortConfig
from engine.errors import UserError
from engine.images.nifti import missing_content


@dataclass(frozen=True)
class ReaderNotes:
    """What a reader found beside the rows that it hands on.

    Attributes:
        source: the table's name, for messages.
        notes: what was found, a line each; --plan shows them.
        left_out: scan, subject and reason of what the reader itself leaves out.
        where: the option that says where files are, for messages.
        warnings: what a person should look at, a line each, without identifiers of people.
    """

    source: str
    notes: tuple[str, ...] = ()
    left_out: Sequence[dict[str, str]] = ()
    where: str = "cohort.path"
    warnings: Sequence[str] = ()


def assemble(frame: pd.DataFrame, config: CohortConfig, folder: Path, reader_notes: ReaderNotes) -> Cohort:
    """Make a cohort of rows under our names: groups by the configuration, exclusions with reasons.

    Args:
        frame: as `columns.frame_of` gives it; identifiers and files are checked to be unique.
        config: of the cohort.
        folder: of the scans; its name is the cohort's unless the configuration names it.
        reader_notes: what else the reader found.

    Raises:
        UserError: group rules that do not fit, duplicates, no file at all, a group without a scan.
    """
    frame = groups.assign(frame, config)
    _refuse_duplicates(frame, reader_notes.source)
    frame = _drop_missing_files(frame, folder, reader_notes.where)
    groups.check_both_groups(frame, config, "after leaving out files that are not there")
    keep = frame["reason"] == ""
    left_out = [*frame.loc[~keep, ["scan", "subject", "reason"]].to_dict("records"), *reader_notes.left_out]
    return Cohort(
        name=config.name or folder.resolve().name,
        scans=scan_table(frame.loc[keep, [c for c in COLUMNS if c in frame]].to_dict("records")),
        exclusions=exclusion_table([{**row, "stage": "ingest"} for row in left_out]),
        groups=groups_of(config.target) if config.target else config.group_names,
        defining=groups.defining_columns(config),
        notes=reader_notes.notes,
        warnings=tuple(dict.fromkeys(reader_notes.warnings)),
    )


def _refuse_duplicates(frame: pd.DataFrame, source: str) -> None:
    """Raise UserError for an identifier or a file that two rows share."""
    for key, what in (("path", "file"), ("scan", "identifier")):
        same = frame[key].str.lower() if key == "scan" else frame[key]
        if same.duplicated().any():
            rows = frame[same == same[same.duplicated()].iloc[0]]
            raise UserError(
                f"{source} rows {', '.join(map(str, rows['row']))}: the same {what} "
                f"({rows['scan'].iloc[0]}); keep one row a scan"
            )


def _drop_missing_files(frame: pd.DataFrame, folder: Path, where: str) -> pd.DataFrame:
    """Give a reason for exclusion to rows whose file does not exist.

    Raises:
        UserError: none of the files is there.
    """
    wanted = frame["reason"] == ""
    paths = frame.loc[wanted, "path"].map(Path)
    there = paths.map(Path.is_file).astype(bool)
    if not there.any():
        first = paths.iloc[0]
        shown = f"{first.relative_to(folder) if first.is_relative_to(folder) else first.name}"
        shown += zeros_lost(first.name, names_in(first.parent))
        raise UserError(
            f"none of the {len(paths)} files that the table names is in {folder}; the first is {shown}; see {where}"
        )
    missing = there.index[~there]
    beside = {parent: names_in(parent) for parent in {paths[i].parent for i in missing}}
    frame.loc[missing, "reason"] = [
        missing_content(paths[i])
        or f"file not found: {paths[i].name}{zeros_lost(paths[i].name, beside[paths[i].parent])}"
        for i in missing
    ]
    return frame
