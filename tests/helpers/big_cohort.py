"""The people of the made-up run: mostly one scan each, some identifiers long, some values missing."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from store_factory import GROUPS

from engine.cohort.scans import Cohort, exclusion_table, scan_table

COHORT = "Random numbers of real size, for measuring"
SHARES = {"AD": 0.45, "NC": 0.45, "MCI": 0.1}
TENTH = 10  # every tenth subject has two or three sessions
LONG = 15  # every fifteenth subject has a long identifier
LONG_SUBJECT = "memory-clinic-north_study-2018_participant-{:06d}_rescan"
CLINICAL = {"AD": (1.0, 21.0, 1.0), "NC": (0.0, 29.0, 0.0), "MCI": (0.5, 26.5, 0.5)}  # severity, MMSE, CDR
SITES = ("Berlin", "Lisboa", "University Hospital of Northern Norway, Tromsø", "Oxford")
EPOCHS = 20


def cohort_of(count: int, seed: int) -> Cohort:
    """`count` scans: mostly one of a subject, for a tenth of the subjects two or three; some values are missing."""
    random, rows, number = np.random.default_rng([seed, 2]), [], 1
    left = {group: round(share * count) for group, share in SHARES.items()}
    left["MCI"] = count - left["AD"] - left["NC"]
    for diagnosis in left:
        while left[diagnosis]:
            several = number % TENTH == 0
            sessions = min(int(random.integers(2, 4)) if several else 1, left[diagnosis])
            rows += _subject(random, number, diagnosis, sessions)
            left[diagnosis] -= sessions
            number += 1
    left_out = [
        {"scan": "sub-9001_ses-1", "subject": "sub-9001", "stage": "ingest", "reason": "the file is truncated"},
        {"scan": "sub-9002_ses-1", "subject": "sub-9002", "stage": "preprocess", "reason": "correlation 0.41 < 0.6"},
    ]
    return Cohort(COHORT, scan_table(rows), exclusion_table(left_out), GROUPS)


def _subject(random: np.random.Generator, number: int, diagnosis: str, sessions: int) -> list[dict]:
    subject = LONG_SUBJECT.format(number) if number % LONG == 0 else f"sub-{number:04d}"
    mean_severity, mmse, cdr = CLINICAL[diagnosis]
    severity = mean_severity * float(np.clip(random.normal(1, 0.4), 0.1, 2))
    age, icv = float(np.clip(random.normal(74, 7), 51, 95)), random.normal(1.45, 0.12)
    sex, site = str(random.choice(["F", "M"])), SITES[int(random.integers(len(SITES)))]
    known = random.random() > 0.05
    return [
        {
            "scan": f"{subject}_ses-{session}", "subject": subject, "session": f"ses-{session}",
            "group": diagnosis if diagnosis in GROUPS else "", "diagnosis": diagnosis,
            "role": "cohort" if diagnosis in GROUPS else "apply", "age": round(age + session - 1, 1), "sex": sex,
            "site": site, "mmse": float(np.clip(round(random.normal(mmse, 1.5)), 0, 30)) if known else None,
            "cdr": cdr if known else None, "icv": icv * 1e6, "severity": severity, "simulated": diagnosis != "NC",
            "source_hash": hashlib.sha256(f"{subject}{session}".encode()).hexdigest()[:32],
        }
        for session in range(1, sessions + 1)
    ]  # fmt: skip


def quality_of(scans: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The quality table."""
    random = np.random.default_rng([seed, 3])
    return pd.DataFrame(
        {
            "scan": scans["scan"],
            "template_correlation": random.uniform(0.82, 0.96, len(scans)),
            "mask_dice": random.uniform(0.93, 0.99, len(scans)),
            "brain_ml": scans["icv"] / 1e3 * random.uniform(0.72, 0.8, len(scans)),
            "intensity_low": random.uniform(0.1, 0.3, len(scans)),
            "intensity_high": random.uniform(1.02, 1.1, len(scans)),
            "seconds": random.uniform(20, 60, len(scans)),
        }
    )


def learning_of(models: list[str], seed: int) -> Iterator[dict[str, Any]]:
    """Rows of the training table."""
    random = np.random.default_rng([seed, 4])
    for model in models:
        for epoch in range(1, EPOCHS + 1):
            done, noise = 1 - math.exp(-epoch / 6), random.normal(0, 0.02, 4)
            yield {
                "model": model, "epoch": epoch, "loss": 0.7 - 0.55 * done + noise[0], "seconds": 30.0,
                "accuracy": 0.5 + 0.45 * done + noise[1], "test_loss": 0.72 - 0.3 * done + noise[2],
                "test_accuracy": 0.5 + 0.3 * done + noise[3], "test_auc": 0.55 + 0.33 * done + noise[3] / 2,
            }  # fmt: skip
