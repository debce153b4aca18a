"""The cohort of a regression: everyone with a value of the target, in two groups by its median."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from engine.cohort.scans import Cohort, Target, exclude
from engine.config.schema import TARGETS
from engine.errors import UserError

LABELS = {"age": "age", "mmse": "MMSE", "cdr": "CDR", "cdr_sb": "CDR-SB", "icv": "ICV", "phenotype": "phenotype"}
UNITS = {"age": "years", "icv": "mm3", "phenotype": "SD"}


def groups_of(column: str) -> tuple[str, str]:
    """Return the two groups of a target, e.g. ("higher MMSE", "lower MMSE")."""
    return f"higher {LABELS[column]}", f"lower {LABELS[column]}"


def with_values(cohort: Cohort, column: str) -> Cohort:
    """Leave out scans without a value of the target; all others are trained on, whatever their label.

    Raises:
        UserError: no scan has a value.
    """
    scans = cohort.scans
    if scans[column].isna().all():
        filled = [name for name in TARGETS if scans[name].notna().any()]
        mend = "" if cohort.simulated else f"; if the table has it, name its column with cohort.columns.{column}"
        raise UserError(
            f"target {column}: none of the {len(scans)} scans has a value of it, they have {', '.join(filled)}{mend}"
        )
    label = scans["clinical_label"].where(scans["clinical_label"] != "", scans["diagnosis"])
    everyone = dataclasses.replace(
        cohort,
        scans=scans.assign(role="cohort", group="", clinical_label=label),
        groups=groups_of(column),
        defining=(column,),
    )
    reasons = pd.Series(np.where(scans[column].isna(), f"no value of {LABELS[column]}, the target", ""), scans.index)
    return exclude(everyone, reasons, "ingest")


def by_median(cohort: Cohort, column: str, label: str = "") -> Cohort:
    """Put scans into groups above and below the median over subjects, which are the diagnosis, too.

    A subject counts with the mean of its scans; each scan is then of the group of its own value. Where subjects have
    the median itself, they go together to the side that makes the groups more alike in size, else to the higher one.

    Args:
        label: of the target, for people; default: the usual one of the column.

    Raises:
        UserError: every subject has the same value.
    """
    scans = cohort.scans
    people = scans.groupby("subject")[column].mean().to_numpy(float)
    threshold = _threshold(people)
    if threshold is None:
        raise UserError(
            f"target {column}: it is {people[0]:g} in all {len(people)} subjects; a regression needs different values"
        )
    higher, lower = cohort.groups
    group = pd.Series(np.where(scans[column] >= threshold, higher, lower), scans.index, "string")
    return dataclasses.replace(
        cohort,
        scans=scans.assign(group=group, diagnosis=group),
        target=Target(column, label or LABELS[column], UNITS.get(column, ""), threshold),
    )


def _threshold(values: np.ndarray) -> float | None:
    """Return the midpoint of two neighbouring values that parts subjects most evenly; None if all are the same."""
    distinct = np.unique(values)
    if len(distinct) < 2:
        return None
    between = (distinct[:-1] + distinct[1:]) / 2
    uneven = np.abs((values[:, None] >= between).mean(axis=0) - 0.5)
    return float(between[int(np.argmin(np.round(uneven, 9)))])
