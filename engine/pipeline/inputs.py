"""Cohort readers by name, and who prepares their scans.

Adding a reader: engine/cohort/readers/NAME.py with `read(config) -> Cohort`, and NAME in config.cohort_schema.Reader.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from engine.cohort.checks import inspect_all, without_unplaced
from engine.cohort.decisions import accepted
from engine.cohort.dicom import convert_series
from engine.cohort.regression_target import by_median, with_values
from engine.cohort.scans import Cohort
from engine.config.schema import RunConfig
from engine.errors import UserError
from engine.preprocessing.quality import NO_LIMITS, Limits, limits_of
from engine.preprocessing.scan import ScanPreparer
from engine.progress import Progress
from engine.simulation.cohort import SimulatedPreparer
from engine.simulation.cohort import read as read_simulated
from engine.simulation.head_cohort import HeadPreparer, read_on_heads
from store.keys import TRAINING_MAPS
from store.spec import CACHE_FOLDER, WORK_FOLDER

OF_THE_NEGATIVE_GROUP = {"nc_mean", "other_subject"}  # what replaces tissue, made of its training scans
HEADS_FOLDER = "heads"  # in the cache of the store


def read_cohort(config: RunConfig, store: Path, progress: Progress, inspect: bool = True) -> Cohort:
    """Read the cohort of a configuration, unusable scans moved to the exclusions.

    Args:
        store: where what was learned of unchanged files is remembered.
        inspect: look into every file; False for a quick plan.
    Raises:
        UserError: see the reader.
    """
    if config.cohort.reader == "simulated":
        read = read_on_heads if config.cohort.simulation.heads else read_simulated
        cohort = read(config.cohort, config.seed)
        return by_median(with_values(cohort, config.target), config.target) if config.target else cohort
    if config.cohort.data is None:
        raise UserError(f"--data: the folder of the scans is needed with cohort.reader={config.cohort.reader}")
    cohort = import_module(f"engine.cohort.readers.{config.cohort.reader}").read(config.cohort)
    if config.target:
        cohort = with_values(cohort, config.target)
    if inspect:
        cohort = convert_series(cohort, store / CACHE_FOLDER / "dicom", progress)
        cohort = inspect_all(cohort, config.cohort, progress, store / WORK_FOLDER / "files.json")
        cohort = without_unplaced(cohort, config.preprocessing.registration)
    label = f"phenotype of the {config.phenotype.name}" if config.phenotype else ""
    return by_median(cohort, config.target, label) if config.target else cohort


def limits_for(config: RunConfig) -> Limits:
    """Return the limits of the quality figures; simulated brains have none."""
    if config.cohort.reader == "simulated":
        return NO_LIMITS
    return limits_of(config.preprocessing, accepted(config.cohort))


def preparer_for(config: RunConfig, store: Path) -> tuple[ScanPreparer | SimulatedPreparer, int]:
    """Return what prepares the scans of a cohort, and by how many processes.

    Args:
        store: where prepared heads and their changes are kept, for simulated cohorts on real heads.
    """
    if config.cohort.reader == "simulated" and config.cohort.simulation.heads:
        folder = store / CACHE_FOLDER / HEADS_FOLDER
        on_heads = HeadPreparer(config.cohort.simulation, config.grid_mm, config.seed, config.preprocessing, folder)
        return on_heads, config.preprocessing.processes
    if config.cohort.reader == "simulated":
        simulated = SimulatedPreparer(config.cohort.simulation, config.grid_mm, config.seed)
        return simulated, 1 if simulated.quick else config.preprocessing.processes
    preparer = ScanPreparer(config.preprocessing, config.grid_mm, accepted(config.cohort))
    return preparer, config.preprocessing.processes


def fills_of(config: RunConfig) -> set[str | float]:
    """Return what occlusions put in the place of tissue, and where ways of integrated gradients and DeepLIFT begin."""
    explain = config.explain
    asking = (
        explain.occlusion, explain.area_occlusion, explain.segment_occlusion, explain.integrated_gradients,
        explain.deeplift,
    )  # fmt: skip
    return {one.reference for one in asking}


def needs_tissue(config: RunConfig) -> bool:
    """Return whether a method puts training scans of the negative group in the place of tissue."""
    return bool(fills_of(config) & OF_THE_NEGATIVE_GROUP)


def needs_training_scans(config: RunConfig) -> bool:
    """Return whether a method that explains scans needs those that the networks were trained on."""
    asked = {method for model_set in config.training.models for method in getattr(config.explain, model_set)}
    return needs_tissue(config) or bool(asked & set(TRAINING_MAPS))
