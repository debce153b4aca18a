"""The internal table of scans that every cohort reader returns."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pandas as pd

from engine.errors import UserError

COLUMNS = {
    "scan": "string",  # unique identifier
    "subject": "string",
    "session": "string",
    "group": "string",  # one of the two groups, empty for apply scans
    "diagnosis": "string",  # clinical label; the group where rules are expressions
    "screening_diagnosis": "string",  # when the subject entered the study, where known
    "clinical_label": "string",  # where diagnosis is a group by the median of a target
    "role": "string",  # cohort | apply
    "age": "float64",  # years
    "sex": "string",  # F | M
    "site": "string",
    "mmse": "float64",
    "cdr": "float64",
    "cdr_sb": "float64",  # sum of boxes
    "icv": "float64",  # mm3
    "phenotype": "float64",  # z score; of a regression on one only
    "severity": "float64",  # simulated scans only
    "subtype": "string",  # simulated scans of a scenario with several patterns only
    "simulated": "bool",
    "path": "string",  # input file; empty for simulated scans
    "source_hash": "string",  # fingerprint of the input
}
EXCLUSION_COLUMNS = ("scan", "subject", "stage", "reason")


@dataclass(frozen=True)
class Target:
    """What a regression predicts.

    Attributes:
        column: of the scans table.
        label: for people, e.g. "MMSE".
        unit: of its values; empty where they are a score's points.
        threshold: scans of at least this value are of the group "higher"; between two values that occur.
    """

    column: str
    label: str
    unit: str
    threshold: float


@dataclass(frozen=True)
class Cohort:
    """What a reader found: scans to use, scans left out and why, and the two groups.

    Attributes:
        name: what to call the data, e.g. "Simulated" or the folder's name.
        scans: one row a scan, columns as in COLUMNS.
        exclusions: columns as in EXCLUSION_COLUMNS.
        groups: (positive, negative), e.g. ("AD", "NC").
        defining: columns the group rules read; not to be used as covariates.
        notes: what the reader found and chose, a line each, for --plan.
        remarks: what a reader must know of the cohort, a line each; published, like warnings.
        warnings: what a person should look at, a line each, without identifiers of people: they are published.
        target: of a regression; the two groups are then those above and below its median.
    """

    name: str
    scans: pd.DataFrame
    exclusions: pd.DataFrame
    groups: tuple[str, str]
    defining: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
    remarks: tuple[str, ...] = field(default=())
    warnings: tuple[str, ...] = field(default=())
    target: Target | None = None

    @property
    def simulated(self) -> bool:
        return bool(self.scans["simulated"].any())


def scan_table(rows: list[dict]) -> pd.DataFrame:
    """Make a scans table of dictionaries; missing columns become missing values."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame["simulated"] = [row.get("simulated") is True for row in rows]
    for column, dtype in COLUMNS.items():
        if dtype == "string":
            frame[column] = frame[column].astype("string").fillna("")
        elif dtype == "float64":
            frame[column] = pd.to_numeric(frame[column]).astype("float64")
    return frame


def exclusion_table(rows: list[dict]) -> pd.DataFrame:
    """Make an exclusions table of dictionaries."""
    return pd.DataFrame(rows, columns=list(EXCLUSION_COLUMNS)).astype("string")


def exclude(cohort: Cohort, reasons: pd.Series, stage: str) -> Cohort:
    """Return the cohort without the scans that have a reason; they become exclusions.

    Args:
        cohort: any.
        reasons: one text a row of `cohort.scans`, empty to keep it.
        stage: ingest or preprocess.

    Raises:
        UserError: a group that had scans has none left.
    """
    bad = (reasons != "").to_numpy(dtype=bool)
    if not bad.any():
        return cohort
    scans = cohort.scans
    for group in cohort.groups:
        mine = (scans["group"] == group).to_numpy(dtype=bool)
        if mine.any() and bad[mine].all():
            row = scans[mine].iloc[0]
            why = f"the first, {row['scan']}: {reasons[row.name]}"
            alike = int((reasons[mine] == reasons[row.name]).sum())
            why += f" ({alike} of them for this reason)" if alike > 1 else ""
            raise UserError(f"no scan of group {group} can be used ({mine.sum()} left out); {why}")
    rows = [
        {"scan": row["scan"], "subject": row["subject"], "stage": stage, "reason": reasons[index]}
        for index, row in scans[bad].iterrows()
    ]
    exclusions = pd.concat([cohort.exclusions, exclusion_table(rows)], ignore_index=True)
    return replace(cohort, scans=scans[~bad].reset_index(drop=True), exclusions=exclusions)
