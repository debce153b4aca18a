"""Proof that a network trained on a simulated cohort sees the imposed change and nothing else that its makers put in.

A network is trained on the cohort as a run would. Then it is asked about people whom it has never seen, each rendered
twice: with and without the imposed change, and, healthy, with and without the sham and every other nuisance. What is
not the disease must leave it at chance. Source: docs/definitions.md, Known truth.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import optimize, stats
from sklearn.metrics import roc_auc_score

from engine.cohort.splits import Job
from engine.config.cohort_schema import Simulation
from engine.config.schema import RunConfig
from engine.errors import UserError
from engine.images.template import brain_mask
from engine.networks.device import make_deterministic
from engine.pipeline.check_people import Extent, People, people_of
from engine.progress import Progress
from engine.simulation.cohort import NUISANCES, POSITIVE, SHARED_FACTOR
from engine.simulation.head_cohort import HEAD_NUISANCES
from engine.simulation.scenarios import is_imposed, scenario_of
from engine.training.objective import Classification
from engine.training.trainer import TrainedNetwork, Trainer, TrainingSetup, predict_margins
from engine.training.volumes import STREAMED, Volumes

FINEST_MM = 2
STORE = Path("results")
IMPOSED, SHAM = "imposed_and_sham_against_sham", "sham_against_nothing"
OLDER = "older_against_younger"
CHUNK = 8


FULL, QUICK = Extent(3, None, 100), Extent(1, 60, 40)


@dataclass(frozen=True)
class Question:
    """Two sets of scans that a network may or may not tell apart, of the same people unless by age.

    Attributes:
        first, second: how each is rendered, as arguments of SimulatedPreparer.volume; the AUC is above 0.5 where the
            first is called AD more.
        differ: True where the network should tell them apart: the imposed change, and a confound.
        by_age: the first set is of the older half of the people, the second of the younger.
    """

    name: str
    first: tuple[bool, tuple[str, ...]]
    second: tuple[bool, tuple[str, ...]]
    differ: bool = False
    by_age: bool = False


def questions(simulation: Simulation) -> list[Question]:
    """Return all that is asked; where nothing is imposed there is no disease to find.

    Where patients are older, the network must take age for the disease: that is what such a cohort is for. The ageing
    of template brains can be switched off; that of real heads cannot, and older are asked about against younger people.
    """
    scenario, imposed = scenario_of(simulation), is_imposed(simulation)
    healthy, ill = (False, ()), (True, ())
    asked = [Question(IMPOSED, ill, healthy, differ=True)] if imposed else []
    asked.append(Question(SHAM, healthy, (False, ("sham",))))
    if imposed:  # of the ill: a sham that hides or feigns the disease
        asked.append(Question("nuisance_sham", ill, (True, ("sham",))))
    older = bool(scenario.years_older and simulation.effect)
    if older and simulation.heads:
        asked.append(Question(OLDER, healthy, healthy, differ=True, by_age=True))
    names = [*(HEAD_NUISANCES if simulation.heads else NUISANCES), *([SHARED_FACTOR] if scenario.shared else [])]
    asked += [
        Question(f"nuisance_{name}", healthy, (False, (name,)), differ=older and name == "ageing")
        for name in names
        if name != "sham"
    ]
    return asked


def check(
    config: RunConfig, extent: Extent, device: torch.device, progress: Progress, store: Path = STORE
) -> dict[str, Any]:
    """Train on the cohort of a configuration, ask all questions of people whom no network has seen.

    Args:
        store: in whose cache prepared heads are kept, of cohorts on real heads.
    Returns:
        auc: question -> AUC; interval: -> [low, high] of 95 %; n: -> scans on each side; share_called_AD: -> of each
        side; passed: -> bool; expected: questions whose AUC must be above 0.5; and what it was measured with.
    Raises:
        UserError: the cohort is not simulated, on too fine a grid, or of too few heads.
    """
    started = time.monotonic()
    if config.cohort.reader != "simulated":
        raise UserError(f"cohort.reader: {config.cohort.reader}; check-simulation is of simulated cohorts")
    if config.grid_mm < FINEST_MM:
        raise UserError(f"grid_mm: {config.grid_mm}; the check takes hours on it, use 2 or 4")
    make_deterministic(device)
    people = people_of(config, extent, store)
    people.train_preparer.warm_up(progress)
    trained = _networks(config, extent, people, device, progress)
    margins = _margins(config.cohort.simulation, people, trained, device, progress)
    report: dict[str, Any] = {name: {} for name in ("auc", "interval", "n", "share_called_AD", "passed")}
    asked = questions(config.cohort.simulation)
    for question in asked:
        first, second = _sides(question, margins, people.asked)
        auc = float(np.mean([_auc(a, b) for a, b in zip(first, second, strict=True)]))
        sizes = first.shape[1], second.shape[1]
        low, high = auc_interval(auc, *sizes)
        report["auc"][question.name] = round(auc, 4)
        report["interval"][question.name] = [round(low, 4), round(high, 4)]
        report["n"][question.name] = list(sizes)
        report["share_called_AD"][question.name] = [round(float((side >= 0).mean()), 4) for side in (first, second)]
        if not question.differ:  # many are asked, and one of them would be beyond 95 % by chance
            low, high = auc_interval(auc, *sizes, level=1 - 0.05 / len(asked))
        report["passed"][question.name] = low > 0.5 if question.differ else low <= 0.5 <= high
    report["expected"] = [question.name for question in asked if question.differ]
    report |= {
        "networks": extent.networks, "training_scans": len(people.training), "heads": people.are_real,
        "scenario": config.cohort.simulation.scenario, "effect": config.cohort.simulation.effect,
        "grid_mm": config.grid_mm, "seed": config.seed,
        "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    return report


def lines(report: dict[str, Any]) -> list[str]:
    """Return the report for people, a question a line."""
    width = max(map(len, report["auc"]))
    said = []
    for name, auc in report["auc"].items():
        (low, high), (first, second) = report["interval"][name], report["share_called_AD"][name]
        said.append(
            f"  {name:{width}}  AUC {auc:.3f} ({low:.3f} to {high:.3f}), called AD {first:.0%} and {second:.0%}"
            + ("" if report["passed"][name] else "  NOT AS IT SHOULD BE")
        )
    return said


def sentence(report: dict[str, Any]) -> str:
    """Return what is wrong, in one sentence; empty where all is as it should be."""
    wrong = []
    for name in (name for name, passed in report["passed"].items() if not passed):
        (low, high), auc = report["interval"][name], report["auc"][name]
        said = f"AUC {auc:.2f}, 95 % interval {low:.2f} to {high:.2f}"
        if name == IMPOSED:
            wrong.append(f"the network does not find the imposed change ({said})")
        elif name in report.get("expected", ()):
            wrong.append(f"the network does not find that patients are older ({said})")
        else:
            wrong.append(
                f"the network takes {name.removeprefix('nuisance_').replace('_', ' ')} for the disease ({said})"
            )
    return "; ".join(wrong)


def auc_interval(auc: float, first: int, second: int, level: float = 0.95) -> tuple[float, float]:
    """Return the confidence interval of an AUC of two independent sets, without certainty at 0 and 1.

    The score interval on the variance of Hanley & McNeil (1982): Newcombe 2006, Stat Med 25:559, method 5.
    Where both sets are of the same people, whose differences cancel, it is wider than it need be.

    Args:
        first, second: size of each set.
    """
    z, larger = stats.norm.ppf(0.5 + level / 2), (first + second) / 2 - 1

    def beyond(true: float) -> float:
        variance = true * (1 - true) / (first * second)
        variance *= 1 + larger * (1 - true) / (2 - true) + larger * true / (1 + true)
        return (auc - true) ** 2 - z**2 * variance

    edge = 1e-9  # at 0 and 1 themselves the variance is 0
    auc = min(max(auc, 10 * edge), 1 - 10 * edge)
    low = optimize.brentq(beyond, edge, auc) if beyond(edge) > 0 else 0.0
    high = optimize.brentq(beyond, auc, 1 - edge) if beyond(1 - edge) > 0 else 1.0
    return float(low), float(high)


def _auc(first: np.ndarray, second: np.ndarray) -> float:
    truth = np.r_[np.ones(len(first)), np.zeros(len(second))]
    return float(roc_auc_score(truth, np.r_[first, second]))


def _sides(
    question: Question, margins: dict[tuple[bool, tuple[str, ...]], np.ndarray], asked: list[dict]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the margins of both sides of a question, (networks, people) each."""
    first, second = margins[question.first], margins[question.second]
    if not question.by_age:
        return first, second
    ages = np.array([row["age"] for row in asked])
    return first[:, ages > np.median(ages)], second[:, ages < np.median(ages)]


def _networks(
    config: RunConfig, extent: Extent, people: People, device: torch.device, progress: Progress
) -> list[TrainedNetwork]:
    """Train networks as a run does, on all subjects: those that they are asked about are others."""
    rows = people.training
    scans = tuple(row["scan"] for row in rows)
    volumes = dict(zip(scans, _render(people, progress, "simulating the training scans"), strict=True))
    objective = Classification({row["scan"]: row["group"] == POSITIVE for row in rows})
    networks, epochs = [], config.training.epochs
    with tempfile.TemporaryDirectory() as folder, progress.task("training, epochs", extent.networks * epochs) as task:
        setup = TrainingSetup(
            objective, lambda wanted: np.stack([volumes[scan] for scan in wanted]), brain_mask(config.grid_mm),
            config.grid_mm, config.training, device, Path(folder),
        )  # fmt: skip
        for number in range(extent.networks):
            job = Job(f"check-{number}", "check", config.seed + number, scans, (), ())
            networks.append(Trainer(setup, job, task.advance, progress.say).train())
    return networks


def _margins(
    settings: Simulation, people: People, trained: Sequence[TrainedNetwork], device: torch.device, progress: Progress
) -> dict[tuple[bool, tuple[str, ...]], np.ndarray]:
    """Return how scans are rendered -> (networks, people) margin of the positive group."""
    rows, preparer = people.asked, people.ask_preparer
    ways = list(dict.fromkeys(way for q in questions(settings) for way in (q.first, q.second)))
    found = {}
    with progress.task("asking about unseen people, scans", len(ways) * len(rows)) as task:
        for imposed, without in ways:
            parts = []
            for start in range(0, len(rows), CHUNK):
                chunk = rows[start : start + CHUNK]
                with ThreadPoolExecutor(_threads(people)) as threads:
                    made = list(threads.map(lambda row, i=imposed, w=without: preparer.volume(row, i, w), chunk))
                parts.append([_predicted(network, np.stack(made), device) for network in trained])
                task.advance(len(chunk))
            found[imposed, without] = np.concatenate(parts, axis=1)
    return found


def _predicted(trained: TrainedNetwork, volumes: np.ndarray, device: torch.device) -> np.ndarray:
    names = [str(i) for i in range(len(volumes))]
    rendered = Volumes(lambda ids: volumes[[int(i) for i in ids]], names, trained.normalisation, device, STREAMED)
    return predict_margins(trained.network, rendered, names)


def _render(people: People, progress: Progress, label: str) -> list[np.ndarray]:
    """Render every training scan, on all cores: SciPy lets go of the interpreter while it interpolates."""
    volumes, rows = [], people.training
    with progress.task(label, len(rows)) as task, ThreadPoolExecutor(_threads(people)) as threads:
        for volume in threads.map(people.train_preparer.volume, rows):
            volumes.append(volume)
            task.advance()
    return volumes


def _threads(people: People) -> int | None:
    """Return how many scans are rendered at once: of real heads one, whose preparation takes all cores itself."""
    return 1 if people.are_real else os.cpu_count()
