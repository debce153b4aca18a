"""Networks that are trained on labels dealt out anew: they learn scans by heart, and nothing of the disease."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from engine.cohort.splits import Job
from engine.pipeline.explain_again import Explainable
from engine.pipeline.reference_networks import train_references
from engine.pipeline.trust.scope import TrustScope
from engine.training.objective import Classification

SHUFFLED = "shuffled"
SEED = 4_000_000


def shuffled_networks(scope: TrustScope) -> list[Explainable]:
    """Train networks as the held-out one, on the same scans, with the labels of the subjects dealt out anew.

    trust.shuffled_networks of them, each with labels and first weights of its own. Source: Adebayo et al. 2018,
    section 4.2 (data randomisation test).
    """
    run, job = scope.run, scope.job
    assert job is not None
    networks = []
    for number in range(1, run.config.trust.shuffled_networks + 1):
        seed = SEED + 1000 * run.config.seed + number
        objective = Classification(deal_labels(run.cohort.scans, job, run.groups[0], seed))
        own = replace(job, model=f"{SHUFFLED}-{number}", seed=seed, test=(), explain=())
        ((network, normalisation),) = train_references(run, SHUFFLED, [own], objective, run.cache.read)
        networks.append(Explainable(network.to(scope.device), normalisation, job, trained=False))
    return networks


def deal_labels(scans: pd.DataFrame, job: Job, positive_group: str, seed: int) -> dict[str, bool]:
    """Draw the labels of a network's subjects anew: scan -> called positive.

    A subject's scans keep one label, and a subject with scans in both groups counts as positive, as in the split. The
    training subjects exchange their labels among themselves, and those of the validation likewise, so that each part
    keeps as many positive subjects as it has.
    """
    random = np.random.default_rng([seed, 13])
    dealt: dict[str, bool] = {}
    for part in (job.train, job.validation):
        dealt |= _deal(scans.set_index("scan").loc[list(part)], positive_group, random)
    return dealt


def _deal(rows: pd.DataFrame, positive_group: str, random: np.random.Generator) -> dict[str, bool]:
    """Draw the labels of the subjects of some scans: scan -> called positive."""
    positive = (rows["group"] == positive_group).groupby(rows["subject"], sort=False).any()
    dealt = pd.Series(random.permutation(positive.to_numpy()), positive.index)
    return rows["subject"].map(dealt).astype(bool).to_dict()
