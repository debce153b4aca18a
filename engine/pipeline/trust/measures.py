"""The stage trust: which measures are written for a run, in order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from engine.pipeline.remote import take_steps
from engine.pipeline.run import Run
from engine.pipeline.trust.anatomy import write_anatomy
from engine.pipeline.trust.faithfulness import write_faithfulness
from engine.pipeline.trust.randomisation import write_randomisation
from engine.pipeline.trust.scope import TrustScope
from engine.pipeline.trust.stability import write_stability

# What trust.measures may name -> what writes its tables; see CONTRIBUTING.md, Where to add.
MEASURES: dict[str, Callable[[TrustScope], None]] = {
    "randomisation": write_randomisation,
    "stability": write_stability,
    "faithfulness": write_faithfulness,
    "anatomy": write_anatomy,
}


def write_trust(run: Run) -> None:
    """Write the tables of every measure that is asked for; none without a fixed test set or without its heatmaps."""
    scope = TrustScope(run)
    if scope.job is None or not scope.methods or run.cohort.target:
        return
    names = [name for name in MEASURES if name in run.config.trust.measures]
    if run.engine.remote:
        take_steps(run, "trust", {name: partial(write_measure, name=name) for name in names})
        return
    for name in names:
        MEASURES[name](scope)  # which share what is read and made


def write_measure(run: Run, name: str) -> None:
    """Write the tables of one measure; runs in a worker."""
    MEASURES[name](TrustScope(run))
