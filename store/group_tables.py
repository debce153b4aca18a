"""Tables of runs that hold results of groups alone (`python -m store derive --group-level`); part of store/spec.py.

They count what the tables with a row a scan would show. Numbers of too few subjects are missing.
"""

from __future__ import annotations

from store.spec_types import BOOLEAN, FLOAT, INTEGER, STRING, TableSpec

COHORT = "cohort"  # in the place of a model set: all scans that were used

GROUP_TABLES = (
    TableSpec(
        "group_counts",
        ("model_set", "diagnosis"),
        {
            "model_set": (
                STRING,
                "folds or holdout: the scans that these networks explain; cohort: all that were used",
            ),
            "diagnosis": (STRING, "clinical label; of fewer subjects than group_level.fewest there is no row"),
            "group": (STRING, "one of the two groups; empty for scans that are explained and never trained on"),
            "role": (STRING, "cohort or apply, as in scans"),
            "subjects": (INTEGER, "persons"),
            "scans": (INTEGER, "of them"),
            "shared": (BOOLEAN, "some of the subjects have scans of another diagnosis, too"),
            "test_subjects": (INTEGER, "in the fixed test set; this and what follows but the last two: cohort alone"),
            "women": (INTEGER, "by the first scan of each subject, as all that follows"),
            "men": (INTEGER, ""),
            "age_known": (INTEGER, "subjects with an age"),
            "age_mean": (FLOAT, "years"),
            "age_sd": (FLOAT, "years, ddof 1"),
            "mmse_known": (INTEGER, "subjects with a Mini-Mental State Examination"),
            "mmse_mean": (FLOAT, ""),
            "mmse_sd": (FLOAT, "ddof 1"),
            "predicted_positive": (INTEGER, "scans that are predicted as the positive group; not of cohort"),
            "predicted_negative": (INTEGER, "scans that are predicted as the negative group"),
        },
        "how many subjects and scans are behind the results; in runs with group_level alone",
        optional=True,
    ),
    TableSpec(
        "exclusion_counts",
        ("stage", "reason"),
        {
            "stage": (STRING, "where they were left out: ingest, preprocess"),
            "reason": (STRING, "why, in words that name nobody"),
            "scans": (INTEGER, "missing where there are fewer than group_level.fewest, as the next"),
            "subjects": (INTEGER, ""),
        },
        "how many scans were found and not used; in runs with group_level alone",
        optional=True,
    ),
)
