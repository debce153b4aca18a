"""A network that was trained elsewhere explains a cohort: the main job without its training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from engine.cohort.scans import Cohort
from engine.cohort.splits import Job
from engine.config.model_card import Card, Imported, read_card
from engine.errors import UserError
from engine.networks.cnn3d import parameter_count
from engine.networks.device import choose_device, make_deterministic
from engine.pipeline import stages
from engine.pipeline.evaluate import evaluation_tables, prediction_rows
from engine.pipeline.inputs import needs_training_scans
from engine.pipeline.remote import take_steps
from engine.pipeline.run import Run
from engine.training.checkpoints import load_model, pack_model
from engine.training.imported import NAME, normalisation_of, read_network, stored_card
from engine.training.trainer import predict_margins
from engine.training.volumes import STREAMED, Volumes
from store.keys import TRAINING_MAPS
from store.spec import MODELS_FOLDER, table_spec

MODEL = "holdout"  # whose test set is the whole cohort
FIXED = ("grid_mm", "imported", "training", "split")


@dataclass
class ImportedRun(Run):
    """A run with one network, which is not trained.

    Attributes:
        file: of its weights.
    """

    networks_from: ClassVar[str] = "import"

    file: Path = Path()

    @property
    def card(self) -> Card:
        """Return the card of the network."""
        return self._imported.card

    @property
    def _imported(self) -> Imported:
        assert self.config.imported is not None
        return self.config.imported

    def with_parts(self, cohort: Cohort) -> Cohort:
        """Put all scans of the cohort into the fixed test set.

        Raises:
            UserError: its groups are not the network's.
        """
        if cohort.groups != self.card.groups:
            theirs, ours = " and ".join(self.card.groups), " and ".join(cohort.groups)
            raise UserError(
                f"the network tells {theirs} apart, positive first, and the cohort {ours}: mend classes and positive "
                "in the card, or cohort.diagnosis or cohort.groups"
            )
        nothing = pd.Series(pd.NA, cohort.scans.index)
        return replace(cohort, scans=cohort.scans.assign(fold=nothing, holdout=True))

    @property
    def jobs(self) -> list[Job]:
        scans = self.cohort.scans
        test = tuple(scans.loc[scans["role"] == "cohort", "scan"])
        return [Job(MODEL, "holdout", self.config.seed, (), test, tuple(scans["scan"]))]

    def training_scans(self, _job: Job) -> tuple[dict[str, list[str]], Callable[[Sequence[str]], np.ndarray]]:
        raise UserError(
            "explain: the training scans of an imported network are not known; as the reference of occlusions use "
            f"mean, blurred or a number, and take {', '.join(TRAINING_MAPS)} out of explain.holdout"
        )

    @property
    def notices(self) -> list[str]:
        said = (
            f"The network was trained elsewhere ({self._imported.file}), nothing was trained here; its accuracy "
            "means something only if none of these people were trained on."
        )
        return [*super().notices, said]


def settings(file: Path, card_file: Path | None, overrides: dict[str, Any]) -> dict[str, Any]:
    """Return the run's settings that follow from the card: overrides (dotted key -> value), over the user's.

    Raises:
        UserError: an unreadable card or file, or a setting that the card decides.
    """
    for key in overrides:
        if key.split(".")[0] in FIXED:
            raise UserError(f"--set {key}: the network is imported as it is; its card says what there is to say")
    card = read_card(card_file or file.with_suffix(".yaml"))
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    imported = Imported(file=file.name, sha256=digest, card=card)
    return {
        **overrides,
        "grid_mm": card.grid_mm,
        "imported": imported.model_dump(mode="json"),
        "training.models": ["holdout"],
        "analysis.untrained_networks": 0,
        "analysis.null_networks": 0,
    }


def ingest(run: ImportedRun) -> None:
    """Read the cohort as in the main job; look at the network first, so that a wrong card is told at once."""
    read_network(run.card, run.file)
    stages.ingest(run)
    run.with_parts(run.cohort)
    if needs_training_scans(run.config):
        run.training_scans(run.jobs[0])


def import_network(run: ImportedRun) -> None:
    """Apply the network as it is to the cohort's volumes, once."""
    stages.do_once(run, "import", partial(take_steps, label="import", steps={"predictions": write_network}))


def write_network(run: ImportedRun) -> None:
    """Write the network, its predictions and metrics."""
    device = choose_device(run.device)
    make_deterministic(device)
    network, tensors = read_network(run.card, run.file)
    weights = pack_model(network, normalisation_of(run.card, tensors, run.mask, run.file.name))
    card = stored_card(run.card)
    run.writer.put_model(
        MODEL, weights,
        {
            "network": NAME, "classes": list(card.classes), "normalisation": run.config.normalisation,
            "normalisation_epsilon": 0.0, "card": card.model_dump(mode="json"),
        },
    )  # fmt: skip
    network, normalisation, _ = load_model(run.staging / MODELS_FOLDER, MODEL, run.mask)
    (job,) = run.jobs
    scans = run.cohort.scans.set_index("scan")
    with run.progress.task("predicting, scans", len(job.explain)) as task:
        volumes = Volumes(run.cache.read, job.explain, normalisation, device, STREAMED)
        margin = predict_margins(network.to(device), volumes, job.explain)
        task.advance(len(job.explain))
    predictions = prediction_rows(job, margin, scans, run.groups)
    row = {
        "model": MODEL, "model_set": job.model_set, "test_scans": len(job.test), "network": NAME,
        "parameters": parameter_count(network), "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }  # fmt: skip
    tables = {
        "models": pd.DataFrame([row], columns=list(table_spec("models").columns)),
        "training": pd.DataFrame(columns=list(table_spec("training").columns)),
        "predictions": predictions,
    }
    for name, table in (tables | evaluation_tables(run, run.jobs, predictions)).items():
        run.writer.put_table(name, table)


STAGES = {
    "ingest": ingest,
    "preprocess": stages.preprocess,
    "import": import_network,  # weights and card x volumes -> predictions, metrics
    "explain": stages.explain,
    "aggregate": stages.aggregate,
    "compare": stages.compare,
    "trust": stages.trust,
    "publish": stages.publish,
}
