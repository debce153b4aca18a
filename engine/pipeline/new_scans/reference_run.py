"""The run whose networks explain new scans: its settings, weights, atlas, and what each network has learnt from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine.atlas.aal import Atlas
from engine.cohort.scans import Target
from engine.cohort.splits import Job, job_of, with_validation
from engine.config.cohort_schema import USUAL_LABELS
from engine.config.loading import restored_config
from engine.config.preprocessing_schema import PreprocessingConfig
from engine.config.schema import RunConfig
from engine.errors import RunError, UserError
from store import RunReader, list_runs, open_run
from store.errors import StoreError
from store.files.bounds import parsed_json
from store.keys import TRAINING_MAPS
from store.spec import MANIFEST, MODELS_FOLDER

NAME = "New scans"
SETTABLE = ("preprocessing", "explain", "analysis", "store", "cluster")


@dataclass(frozen=True)
class ReferenceRun:
    """A published run with networks.

    Attributes:
        store: the store that it lies in.
    """

    store: Path
    reader: RunReader

    def __getstate__(self) -> dict[str, Any]:
        """Pickle nothing that can be read again, such as the atlas."""
        return {"store": self.store, "reader": self.reader}

    @property
    def run_id(self) -> str:
        return self.reader.run_id

    @property
    def fingerprint(self) -> str:
        return self.reader.manifest["fingerprint"]

    def configuration(self, name: str | None, overrides: dict) -> RunConfig:
        """Return the run's settings for scans from files; of a simulated run the preprocessing is the default one.

        Raises:
            UserError: a setting that the networks as they are leave no choice of.
        """
        for key in overrides:
            if key.split(".")[0] not in SETTABLE:
                raise UserError(
                    f"--set {key}: the networks of {self.run_id} explain as they are; what can be set begins with "
                    f"{', '.join(SETTABLE)}"
                )
        stored = dict(self.reader.manifest["config"])
        labels = {key: stored["cohort"].get(key) for key in ("diagnosis", "groups")}
        if self.reader.simulated:
            labels = {"diagnosis": USUAL_LABELS}
            stored["preprocessing"] = PreprocessingConfig().model_dump(mode="json")
        stored["cohort"] = {"reader": "table", "name": NAME, **labels}
        stored["name"] = name or f"{stored['name'][:50]}-scans"
        return restored_config(stored, overrides, self.run_id)

    @cached_property
    def jobs(self) -> list[Job]:
        """Return the networks of the run, with the scans that each was trained on."""
        scans, share = self.scans.reset_index(drop=True), self._config.training.validation_share
        models = self._models.fillna({"seed": 0})  # of imported networks nobody knows it
        jobs = [job_of(scans, row.model, row.model_set, int(row.seed)) for row in models.itertuples()]
        return [with_validation(job, scans, self.reader.groups, share) for job in jobs]

    @cached_property
    def _config(self) -> RunConfig:
        return restored_config(self.reader.manifest["config"], {}, self.run_id)

    @cached_property
    def _models(self) -> pd.DataFrame:
        return self.reader.table("models")

    @cached_property
    def scans(self) -> pd.DataFrame:
        """Return the scans table of the run."""
        return self.reader.table("scans")

    @property
    def target(self) -> Target | None:
        """Return what the networks predict, where they are of a regression."""
        return Target(**self.reader.target) if self.reader.target else None

    def learnt_from(self, job: Job) -> set[str]:
        """Return the subjects that a network was trained on or chosen by."""
        known = {*job.train, *job.validation}
        return set(self.scans.loc[self.scans["scan"].isin(known), "subject"])

    def models(self, names: Sequence[str]) -> pd.DataFrame:
        """Return rows of the models table of the run."""
        return self._models[self._models["model"].isin(list(names))]

    def weights(self, model: str) -> tuple[bytes, dict]:
        """Return (safetensors, card) of a network, checked against the checksum taken when it was trained.

        Raises:
            RunError: missing, or not what was written.
        """
        try:
            weights = self.reader.file(f"{MODELS_FOLDER}/{model}.safetensors")
            card = parsed_json(self.reader.file(f"{MODELS_FOLDER}/{model}.json"))
        except (StoreError, ValueError) as error:
            raise RunError(f"run {self.run_id}: the network {model} cannot be read ({error})") from None
        if hashlib.sha256(weights).hexdigest() != self._models.set_index("model")["weights_sha256"][model]:
            raise RunError(
                f"run {self.run_id}: the checksum of the network {model} is wrong: copy or build the run again"
            )
        return weights, card

    @cached_property
    def atlas(self) -> Atlas:
        """Return the regions as they lie in the store: an own atlas need not be given again."""
        labels, fine = (self.reader.array(path).astype(np.int16) for path in ("grid/atlas", "atlas"))
        return Atlas(labels, fine, self.reader.table("regions"))

    def training_scans(self, job: Job) -> tuple[dict[str, list[str]], Callable[[Sequence[str]], np.ndarray]]:
        """Return the training scans of a network by group, and what reads their volumes out of the store.

        Raises:
            UserError: the run holds none.
        """
        scans = self.scans[self.scans["scan"].isin(job.train)]
        by_group = {group: scans.loc[scans["group"] == group, "scan"].tolist() for group in self.reader.groups}
        if not all(by_group.values()) or not self.reader.has_array("scans"):
            raise UserError(
                f"run {self.run_id} does not hold the training scans that occlusions put in the place of tissue, and "
                "that maps of the training groups are made of; use --set explain.occlusion.reference=mean --set "
                f"explain.area_occlusion.reference=mean, and take {', '.join(TRAINING_MAPS)} out of explain"
            )
        return by_group, lambda scans: np.stack([self.reader.volume(scan) for scan in scans])


def find_reference(name: str, store: Path) -> ReferenceRun:
    """Find a run by its identifier, by its name if only one run of the store has it, or by its folder.

    Raises:
        UserError: there is none, there are several, or it has no networks of its own to explain with.
    """
    folder = Path(name)
    try:
        if (folder / MANIFEST).is_file():
            folder = folder.resolve()
            reader = open_run(folder.parent, folder.name)
        else:
            reader = open_run(store, _identifier(name, store))
    except StoreError as error:
        raise UserError(f"RUN {name}: {error}") from None
    return ReferenceRun(folder.parent if (folder / MANIFEST).is_file() else store, _checked(reader))


def _identifier(name: str, store: Path) -> str:
    same = [info.run for info in list_runs(store) if info.name == name]
    if len(same) > 1 and name not in same:
        raise UserError(f"RUN {name}: {len(same)} runs of {store} are called so: {', '.join(same)}; name one of these")
    return name


def _checked(reader: RunReader) -> RunReader:
    if reader.reference_run:
        raise UserError(
            f"RUN {reader.run_id}: its scans were explained by the networks of {reader.reference_run}; give that run"
        )
    if reader.table("models").empty:
        raise UserError(f"RUN {reader.run_id}: it has no networks")
    return reader
