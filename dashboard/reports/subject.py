"""Who a patient report is about, and the people that this one is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from dashboard.data import shares
from dashboard.views.patient import tables as patient_tables
from store import RunReader


@dataclass(frozen=True)
class Subject:
    """The scan that is reported, the model that explains it, and the words for both.

    Attributes:
        mm: (x, y, z) of the crosshair.
        reference: of a new scan the run whose networks explained it, where it is at hand.
        simulated_networks: these were trained on simulated change.
    """

    run: RunReader
    model: str
    scan: str
    target: str
    words: str
    mm: tuple[float, float, float]
    reference: RunReader | None = None
    simulated_networks: bool = False

    @property
    def row(self) -> pd.Series:
        """The scan's covariates."""
        return self.run.table("scans", scan=self.scan).iloc[0]

    @property
    def flags(self) -> list[str]:
        """What is out of bounds in the scan, in words; empty where all is well or the run judged nothing."""
        if not self.run.has_table("flags"):
            return []
        return patient_tables.flag_texts(self.run.table("flags", scan=self.scan))

    @property
    def model_set(self) -> str:
        """The set of the explaining model."""
        return self.run.table("models", ["model_set"], model=self.model).model_set.iloc[0]

    @property
    def evidence(self) -> str:
        """The group whose evidence is explained."""
        return self.run.target_of(self.model, self.scan, self.target)

    @property
    def networks_known(self) -> bool:
        """Whether the run whose networks explain the scan is at hand."""
        return self.reference is not None or not self.run.reference_run

    @property
    def compared_run(self) -> RunReader:
        """The run of the people that the scan is compared with."""
        return self.reference or self.run

    @property
    def groups(self) -> tuple[str, ...]:
        """What the scan is compared with: the groups of the reference, else its own diagnosis."""
        return tuple(self.reference.groups) if self.reference else (str(self.row.diagnosis),)

    def others(self) -> dict[str, int]:
        """Count for each group its subjects, without this one, that the same model set explains."""
        said = self.compared_run.table("predictions", ["subject", "diagnosis"], model_set=self.model_set)
        said = said[said.subject != self.row.subject]
        return {group: said.subject[said.diagnosis == group].nunique() for group in self.groups}

    def against(self, method: str) -> dict[str, pd.DataFrame] | None:
        """Return group -> regions as `against_group` gives them; None where they were not measured."""
        wide = shares.region_shares(self.run, self.model_set, method, self.target)
        if (self.model, self.scan) not in wide.index:
            return None
        own, theirs = wide.loc[(self.model, self.scan)], wide
        if self.reference:
            theirs = shares.region_shares(self.reference, self.model_set, method, self.target)
        people = shares.subject_means(self.compared_run, theirs)
        return {group: patient_tables.against_group(own, people, self.row.subject, group) for group in self.groups}
