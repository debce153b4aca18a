"""The networks of an earlier run on new scans: what they answer."""

from __future__ import annotations

import pandas as pd

from engine.networks.device import choose_device, make_deterministic
from engine.pipeline.evaluate import answer_rows
from engine.pipeline.new_scans.run import NewScansRun
from engine.training.checkpoints import load_model
from engine.training.objective import objective_of
from engine.training.trainer import predict_margins
from engine.training.volumes import STREAMED, Volumes
from store.spec import MODELS_FOLDER, table_spec

OF_TRAINING = ("training", "metrics", "curves", "balance")  # tables that say how networks were trained and judged


def write_predictions(run: NewScansRun) -> None:
    """Write the networks of the reference run as they are, and what they predict of the new scans."""
    device = choose_device(run.device)
    make_deterministic(device)
    jobs, scans, predictions = run.jobs, run.cohort.scans.set_index("scan"), []
    with run.progress.task("predicting, networks", len(jobs)) as task:
        for job in jobs:
            run.writer.put_model(job.model, *run.reference.weights(job.model))
            network, normalisation, card = load_model(run.staging / MODELS_FOLDER, job.model, run.mask, run.sites)
            volumes = Volumes(run.cache.read, job.explain, normalisation, device, STREAMED)
            margin = predict_margins(network.to(device), volumes, job.explain)
            predictions.append(answer_rows(job, margin, scans, run.cohort, objective_of(card)))
            task.advance()
    run.writer.put_table("models", run.reference.models([job.model for job in jobs]))
    run.writer.put_table("predictions", pd.concat(predictions, ignore_index=True))
    for name in OF_TRAINING:
        run.writer.put_table(name, pd.DataFrame(columns=list(table_spec(name).columns)))
