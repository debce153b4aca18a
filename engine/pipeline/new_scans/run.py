"""One explanation of new scans by the networks of an earlier run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from engine.atlas.aal import Atlas
from engine.cohort.scans import Cohort
from engine.cohort.splits import Job
from engine.errors import UserError
from engine.pipeline.fingerprints import digest
from engine.pipeline.new_scans.reference_run import ReferenceRun
from engine.pipeline.run import Run


@dataclass
class NewScansRun(Run):
    """A run whose networks come from another one; nothing is trained.

    Attributes:
        reference: that run.
        files: of the scans.
        table: what is known of the scans; None: nothing.
        unjudged: quality figures that could not be compared with those of the reference.
        recognised: scan -> subject of the reference whose image it is, although the file is another.
    """

    networks_from: ClassVar[str] = "predict"
    last_stage: ClassVar[str] = "compare"  # how far to trust the networks' heatmaps is known of the reference
    has_groups: ClassVar[bool] = False

    reference: ReferenceRun = None  # type: ignore[assignment]  # always given; fields before it have defaults
    files: tuple[Path, ...] = ()
    table: Path | None = None
    unjudged: list[str] = field(default_factory=list)
    recognised: dict[str, str] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """Return the fingerprint as for every run, and of the run that the networks are from."""
        return digest(super().fingerprint, self.reference.fingerprint)

    @property
    def volumes_folder(self) -> Path:
        # A folder of its own: a packed file of everybody's scans would be written anew for each new one.
        folder = super().volumes_folder
        return folder.with_name(f"{folder.name}-{self.data_fingerprint[:8]}")

    @cached_property
    def atlas(self) -> Atlas:
        return self.reference.atlas

    def with_parts(self, cohort: Cohort) -> Cohort:
        """Return the cohort, in no fold and no test set.

        Raises:
            UserError: no scan could be prepared.
        """
        if cohort.scans.empty:
            row = cohort.exclusions.iloc[0]
            raise UserError(f"no scan can be explained; {row['scan']}: {row['reason']}")
        nothing = pd.Series(pd.NA, cohort.scans.index)
        return replace(cohort, scans=cohort.scans.assign(fold=nothing, holdout=nothing))

    @property
    def sites(self) -> dict[str, str]:
        """Return scan -> site, "" where it is not known; also of the scans that the networks were trained on."""
        theirs = self.reference.scans
        return dict(zip(theirs["scan"], theirs["site"].fillna("").astype(str), strict=True)) | super().sites

    def training_scans(self, job: Job) -> tuple[dict[str, list[str]], Callable[[Sequence[str]], np.ndarray]]:
        return self.reference.training_scans(job)

    @property
    def jobs(self) -> list[Job]:
        """Return every network, with the scans whose subject it has not learnt from.

        Raises:
            UserError: a scan that all networks were trained on.
        """
        subjects = self.known_subjects
        found = []
        for job in self.reference.jobs:
            learnt = self.reference.learnt_from(job)
            explain = tuple(s for s in self.cohort.scans["scan"] if subjects.get(s) not in learnt)
            if explain:
                found.append(replace(job, test=(), explain=explain))
        for scan in self.cohort.scans["scan"]:
            if not any(scan in job.explain for job in found):
                raise UserError(
                    f"scan {scan}: all networks of {self.reference.run_id} were trained on this person "
                    f"({subjects[scan]} there), so none of them can explain it; leave it out"
                )
        return found

    @property
    def known_subjects(self) -> dict[str, str]:
        """Return new scan -> subject of the reference's cohort, if it is one: by file, image or the table's word."""
        theirs = self.reference.scans
        by_file = theirs[theirs["source_hash"] != ""].drop_duplicates("source_hash").set_index("source_hash")["subject"]
        named = set(theirs["subject"]) if self.table else set()
        found = dict(self.recognised)
        for row in self.cohort.scans.itertuples():
            if row.source_hash in by_file.index:
                found[row.scan] = by_file[row.source_hash]
            elif row.subject in named:
                found[row.scan] = row.subject
        return found

    @property
    def differing(self) -> list[str]:
        """Return preprocessing settings that are not those of the networks' own scans, in words."""
        if self.reference.reader.simulated:
            return []
        ours = self.config.preprocessing.model_dump(mode="json", exclude={"processes", "keep_transforms", "quality"})
        theirs = self.reference.reader.manifest["config"]["preprocessing"]
        return [f"{key} {value} instead of {theirs[key]}" for key, value in ours.items() if value != theirs.get(key)]

    @property
    def warnings(self) -> list[str]:
        """Return what a reader must know before believing the result."""
        of, lines = self.reference.run_id, []
        if self.reference.reader.simulated:
            lines.append(
                f"The networks of {of} were trained on SIMULATED change: what they say of real scans is no evidence."
            )
        if self.differing:
            lines.append(f"Preprocessed otherwise than the scans of {of}: {', '.join(self.differing)}.")
        if self.unjudged:
            lines.append(f"Not to be judged by the scans of {of}: {', '.join(self.unjudged)}.")
        return lines

    @property
    def notices(self) -> list[str]:
        explained = f"Explained by the networks of {self.reference.run_id}; nothing was trained."
        return [*super().notices, explained, *self.warnings]

    def manifest(self) -> dict:
        return {**super().manifest(), "reference_run": self.reference.run_id}
