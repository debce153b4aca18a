"""Who is in the check of a simulated cohort: people to train on, and others, whom no network has seen, to ask about.

People of template cohorts are made up, as many as are wanted. Real heads are given: a third of them at most is kept to
be asked about, the others are trained on. Source: docs/simulation.md, Proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.config.cohort_schema import Simulation
from engine.config.schema import RunConfig
from engine.errors import UserError
from engine.pipeline.inputs import preparer_for
from engine.simulation.cohort import POSITIVE, SimulatedPreparer, read
from engine.simulation.head_cohort import HeadPreparer, as_patient, read_on_heads
from engine.simulation.head_files import read_heads

OTHER_PEOPLE = 1_000_003  # added to the seed: people of the tests are none of the training
LEAST_HEADS = 30  # a third of them is asked about: of fewer no interval would leave 0.5 out


@dataclass(frozen=True)
class Extent:
    """How much is computed.

    Attributes:
        networks: trained, alike but for their seed; AUCs are their means.
        training: subjects of each group at most.
        people: that are asked about, at most.
    """

    networks: int
    training: int | None
    people: int


@dataclass(frozen=True)
class People:
    """The scans of a check and what renders them.

    Attributes:
        training: rows of both groups.
        asked: rows of people of none, as patients: rendered with the change and without.
        train_preparer, ask_preparer: of each.
    """

    training: list[dict]
    asked: list[dict]
    train_preparer: SimulatedPreparer
    ask_preparer: SimulatedPreparer

    @property
    def are_real(self) -> bool:
        """Return whether the people are real heads."""
        return isinstance(self.ask_preparer, HeadPreparer)


def people_of(config: RunConfig, extent: Extent, store: Path) -> People:
    """Return the people of a check of a cohort.

    Args:
        store: in whose cache prepared heads and their changes are kept.
    Raises:
        UserError: too few heads.
    """
    if config.cohort.simulation.heads:
        return _real_people(config, extent, store)
    settings = config.cohort.simulation
    others = settings.model_copy(update={"positive": extent.people, "positive_scans": None, "negative": 1})
    seed = config.seed + OTHER_PEOPLE
    scans = read(config.cohort.model_copy(update={"simulation": others}), seed).scans
    cohort = read(config.cohort, config.seed).scans
    cohort = cohort[cohort["role"] == "cohort"]
    kept = cohort.drop_duplicates("subject").groupby("group").head(extent.training or len(cohort))["subject"]
    return People(
        cohort[cohort["subject"].isin(kept)].to_dict("records"),
        scans[scans["group"] == POSITIVE].to_dict("records"),
        SimulatedPreparer(settings, config.grid_mm, config.seed),
        SimulatedPreparer(settings, config.grid_mm, seed),  # the settings of the training: one solution of them
    )


def _real_people(config: RunConfig, extent: Extent, store: Path) -> People:
    """Divide real heads: both groups of the training, and further people, who are in neither."""
    settings = _divided(config.cohort.simulation, extent)
    config = config.model_copy(update={"cohort": config.cohort.model_copy(update={"simulation": settings})})
    scans = read_on_heads(config.cohort, config.seed).scans
    preparer, _ = preparer_for(config, store)
    assert isinstance(preparer, HeadPreparer)
    others = scans[scans["role"] != "cohort"].to_dict("records")
    asked = [as_patient(settings, config.seed, row) for row in others]
    return People(scans[scans["role"] == "cohort"].to_dict("records"), asked, preparer, preparer)


def _divided(simulation: Simulation, extent: Extent) -> Simulation:
    """Return the cohort with as many people in training as there are heads for, and further people to ask about."""
    assert simulation.heads is not None
    heads = len(read_heads(simulation.heads))
    if heads < LEAST_HEADS:
        raise UserError(
            f"cohort.simulation.heads: {heads} heads are too few to train on some and ask about others; give "
            f"{LEAST_HEADS} or more"
        )
    people = min(extent.people, heads // 3)
    each = (heads - people) // 2
    positive, negative = (min(n, each, extent.training or n) for n in (simulation.positive, simulation.negative))
    return simulation.model_copy(
        update={
            "positive": positive, "negative": negative, "positive_scans": None, "negative_scans": None,
            "apply_mci": people,
        }
    )  # fmt: skip
