"""All networks of a run: trained, stored, and judged by the scans that they have not seen."""

from __future__ import annotations

import hashlib

import pandas as pd
import torch

from engine.config.schema import TrainingConfig
from engine.networks.card_check import check_card
from engine.networks.device import choose_device, make_deterministic
from engine.pipeline.evaluate import answer_rows, evaluation_tables
from engine.pipeline.run import Run
from engine.training.checkpoints import model_card
from engine.training.objective import Classification, Objective, Regression
from engine.training.parallel import PackedNetwork, Training, train_all
from engine.training.stopping import chosen_epoch
from engine.training.trainer import TrainingSetup


def write_networks(run: Run) -> None:
    """Train every network of a run and write it with its learning curve, predictions, metrics and baselines."""
    device = torch.device(run.device) if run.engine.remote else choose_device(run.device)  # where they are trained
    make_deterministic(device)
    if not run.engine.remote:
        check_card(device, run.config.training.precision, run.progress.say)
    config, scans = run.config, run.cohort.scans.set_index("scan")
    objective: Objective
    if target := run.cohort.target:
        objective = Regression(target.column, scans[target.column].to_dict())
    else:
        objective = Classification((scans["group"] == run.groups[0]).to_dict())
    setup = TrainingSetup(
        objective,
        run.cache.read,
        run.mask,
        config.grid_mm,
        config.training,
        device,
        run.networks_folder,
        sites=run.harmonised_sites,
    )
    with run.progress.task("training, epochs", len(run.jobs) * config.training.epochs) as task:
        trained = train_all(run.jobs, setup, Training(task.advance, run.progress.say, run.engine))
    card = model_card(config.grid_mm, config.training, run.groups)
    for one in trained:
        run.writer.put_model(one.job.model, one.weights, card | one.card)
    predictions = pd.concat([answer_rows(one.job, one.margin, scans, run.cohort, one.objective) for one in trained])
    tables = {
        "models": pd.DataFrame([_model_row(one, scans, config.training) for one in trained]),
        "training": pd.DataFrame([{"model": one.job.model, **row} for one in trained for row in one.curve]),
        "predictions": predictions,
    }
    tables |= evaluation_tables(run, run.jobs, predictions)
    for name, table in tables.items():
        run.writer.put_table(name, table)


def _model_row(trained: PackedNetwork, scans: pd.DataFrame, config: TrainingConfig) -> dict:
    """Return the row of the models table of a network."""
    job = trained.job
    return {
        "model": job.model,
        "model_set": job.model_set,
        "seed": job.seed,
        "training_scans": len(job.train),
        "training_subjects": scans.loc[list(job.train), "subject"].nunique(),
        "test_scans": len(job.test),
        "parameters": trained.parameters,
        "epochs": len(trained.curve),
        "network": config.network,
        "validation_scans": len(job.validation),
        "chosen_epoch": chosen_epoch(trained.curve, config),
        "seconds": sum(row["seconds"] for row in trained.curve),
        "weights_sha256": hashlib.sha256(trained.weights).hexdigest(),
    }
