"""The merged visit table of Rieke et al. 2018: a row a scan; files are registered, their names say visit and diagnosis.

Source: github.com/jrieke/cnn-interpretability, of which the format alone is taken.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from engine.cohort.assemble import ReaderNotes, assemble
from engine.cohort.columns import automatic, frame_of, our_columns
from engine.cohort.readers.adni.visits import Visits, age_at, clean_numbers, site_of
from engine.cohort.readers.table import paths_of
from engine.cohort.scans import Cohort
from engine.cohort.tables import plain, read_table, read_text
from engine.config.cohort_schema import CohortConfig
from engine.errors import UserError

COLUMNS = {"ptid", "imageid", "visit", "scandate", "dx"}
PATTERN = "{PTID}/{Visit}/{PTID}_{Scan.Date}_{Visit}_{Image.ID}_{DX}_Warped.nii.gz"


def read(file: Path, folder: Path, config: CohortConfig, visits: Visits | None) -> Cohort:
    """Read the scans of the table, in its order; those whose preprocessing failed are left out.

    Args:
        file: the table.
        folder: of the scans.
        config: of the cohort; its `path` is a pattern, by default the original's. In it, spaces are taken out of the
            visit and slashes of the date become dashes.
        visits: ADNIMERGE, for what the table itself does not say.

    Raises:
        UserError: a value that is missing or wrong, see also `assemble`.
    """
    table = read_table(file)
    remarks = [*(visits.warnings if visits else ()), *clean_numbers(table, file)]
    by_plain = {plain(name): name for name in reversed(table.columns)}
    keys = {name: table[by_plain[plain(name)]] for name in ("PTID", "Image.ID", "Visit", "Scan.Date", "DX")}
    for name in ("PTID", "Image.ID", "Visit"):
        gap = table.index[keys[name].isna()]
        if len(gap):
            raise UserError(f"{file.name} row {gap[0]}: no {name}")
    named = pd.DataFrame(
        {**keys, "Visit": keys["Visit"].str.replace(" ", ""), "Scan.Date": keys["Scan.Date"].str.replace("/", "-")}
    )
    scans = named["PTID"] + "_" + named["Image.ID"]
    failed, listed = _find_failed(named, folder, config)
    unlabelled = named["DX"].isna()
    left_out = [
        {"scan": scans[row], "subject": named["PTID"][row], "reason": reason}
        for rows, reason in ((failed, "its preprocessing failed (cohort.adni.failed)"), (unlabelled & ~failed, "no DX"))
        for row in table.index[rows]
    ]
    kept = ~(failed | unlabelled)
    if not kept.any():
        raise UserError(f"{file.name}: no scan is left; {left_out[0]['reason']}")
    ours = {"scan": scans, "subject": named["PTID"], **_facts(table, named, by_plain, visits)}
    ours["session"] = table[by_plain["viscode"]] if "viscode" in by_plain else named["Visit"]
    if "label" not in config.columns:
        ours["label"] = named["DX"]
    given = {name: f"{name} (ADNI)" for name in ours}
    own = table.assign(**{given[name]: values for name, values in ours.items()})[kept]
    columns = pd.concat([named, table.drop(columns=list(named), errors="ignore")], axis="columns")[kept]
    paths = paths_of(columns, {}, config.path or PATTERN, folder, file)
    frame = frame_of(own, our_columns(own, config, file, given), paths, file, remarks)
    notes = [f"{len(table)} scans of {named['PTID'].nunique()} subjects in {file.name}"]
    if listed:
        notes.append(f"failed: {failed.sum()} scans of the table, by {listed} entries of cohort.adni.failed")
    return assemble(frame, config, folder, ReaderNotes(file.name, tuple(notes), left_out, warnings=remarks))


def _find_failed(named: pd.DataFrame, folder: Path, config: CohortConfig) -> tuple[pd.Series, int]:
    """Mark the rows that the list of failed scans names, by PTID/Visit or image; return its length, too."""
    entries = config.adni.failed
    if isinstance(entries, str):
        try:
            lines = read_text(folder / entries).splitlines()
        except UserError:
            raise UserError(f"cohort.adni.failed {entries}: cannot be read; one PTID/Visit a line is wanted") from None
        entries = [line.strip() for line in lines if line.strip()]
    wanted = {entry.replace(" ", "") for entry in entries}
    hit = (named["PTID"] + "/" + named["Visit"]).isin(list(wanted)) | named["Image.ID"].isin(list(wanted))
    return hit.astype(bool), len(wanted)


def _facts(
    table: pd.DataFrame, named: pd.DataFrame, by_plain: dict[str, str], visits: Visits | None
) -> dict[str, pd.Series]:
    """Return age at the scan and site, and what ADNIMERGE says where the table has no column of it."""
    rows = table.rename(columns={name: key for key, name in by_plain.items()}).to_dict("records")
    own_site = table[by_plain["site"]] if "site" in by_plain else [None] * len(table)
    columns = {
        "age": [age_at(row) for row in rows],
        "site": [site_of(subject, site) for subject, site in zip(named["PTID"], own_site, strict=True)],
    }
    if visits:
        codes = table[by_plain["viscode"]].fillna("") if "viscode" in by_plain else named["Visit"]
        asked = zip(named["PTID"], codes, named["Scan.Date"].fillna(""), strict=True)
        known = [visits.facts(*one) or {} for one in asked]
        for ours in ("age", "sex", "mmse", "cdr_sb", "icv", "screening_diagnosis"):
            if ours not in automatic(list(table.columns)):
                columns[ours] = [facts.get(ours) for facts in known]
    series = {name: pd.Series(values, index=table.index, dtype="string") for name, values in columns.items()}
    return {name: values for name, values in series.items() if values.notna().any()}
