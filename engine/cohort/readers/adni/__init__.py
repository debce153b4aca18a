"""Reads ADNI: LONI's download tree with its collection CSVs, or the merged visit table of Rieke et al. 2018."""

from __future__ import annotations

from pathlib import Path

from engine.cohort.readers.adni import collection
from engine.cohort.readers.adni import merged as adni_merged
from engine.cohort.readers.adni.visits import VISITS, Visits
from engine.cohort.scans import Cohort
from engine.cohort.tables import data_folder, find_tables, no_table, table_file
from engine.config.cohort_schema import CohortConfig
from engine.errors import UserError


def read(config: CohortConfig) -> Cohort:
    """Read the scans of ADNI's tables, one a visit, with the diagnosis of the visit where it is known.

    Raises:
        UserError: no table of ADNI, or of both kinds; what `collection.read` and `merged.read` raise.
    """
    folder = data_folder(config)
    named = [table_file(folder, config.table)] if config.table else None
    merged = find_tables(folder, adni_merged.COLUMNS, named)
    collections = find_tables(folder, collection.COLUMNS, named)
    if not merged and not collections:
        raise no_table(folder, named, collection.COLUMNS, adni_merged.COLUMNS)
    if len(merged) > 1 or (merged and collections):
        names = ", ".join(file.name for file in (*merged, *collections))
        raise UserError(f"--data {folder}: which table describes the scans, {names}? name one with --table")
    visits = _visits(folder, config, {*merged, *collections})
    if merged:
        return adni_merged.read(merged[0], folder, config, visits)
    return collection.read(collections, folder, config, visits)


def _visits(folder: Path, config: CohortConfig, others: set[Path]) -> Visits | None:
    """Read ADNIMERGE, found by its name or its columns; None if there is none."""
    if config.adni.adnimerge:
        file = table_file(folder, config.adni.adnimerge)
        return Visits.read(file, config.adni.days)
    candidates = [file for file in find_tables(folder, VISITS) if file not in others]
    if len(candidates) > 1:
        names = ", ".join(file.name for file in candidates)
        raise UserError(f"--data {folder}: {names} all look like ADNIMERGE; name one with cohort.adni.adnimerge")
    return Visits.read(candidates[0], config.adni.days) if candidates else None
