"""Cohort readers by name, and who prepares their scans.

Adding a reader: engine/cohort/readers/NAME.py with `read(config) -> Cohort`, and NAME in config.cohort_schema.Reader.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from engine.cohort.regression_target import by_median, with_values
from engine.cohort.scans import Cohort
from engine.config.schema import RunConfig
from engine.errors import UserError
from engine.preprocessing.quality import NO_LIMITS, Limits, limits_of
from engine.progress import Progress
from store.spec import CACHE_FOLDER, WORK_FOLDER

PARALLEL_FROM_MM = 3  # simulated volumes finer than this are worth worker processes


def read_cohort(config: RunConfig, store: Path, progress: Progress, inspect: bool = True) -> Cohort:
    """The cohort of a configuration, unusable scans moved to the exclusions.

    Args:
        store: where what was learned of unchanged files is remembered.
        inspect: look into every file; False for a quick plan.
    Raises:
        UserError: see the reader.
    """
    if config.cohort.reader == "simulated":
        from engine.simulation.cohort import read

        cohort = read(config.cohort, config.seed)
        return by_median(with_values(cohort, config.target), config.target) if config.target else cohort
    if config.cohort.data is None:
        raise UserError(f"--data: the folder of the scans is needed with cohort.reader={config.cohort.reader}")
    from engine.cohort.checks import inspect_all, without_unplaced
    from engine.cohort.dicom import convert_series

    cohort = import_module(f"engine.cohort.readers.{config.cohort.reader}").read(config.cohort)
    if config.target:
        cohort = with_values(cohort, config.target)
    if inspect:
        cohort = convert_series(cohort, store / CACHE_FOLDER / "dicom", progress)
        cohort = inspect_all(cohort, config.cohort, progress, store / WORK_FOLDER / "files.json")
        cohort = without_unplaced(cohort, config.preprocessing.registration)
    return by_median(cohort, config.target) if config.target else cohort


def limits_for(config: RunConfig) -> Limits:
    """The limits of the quality figures; simulated brains have none."""
    if config.cohort.reader == "simulated":
        return NO_LIMITS
    from engine.cohort.decisions import accepted

    return limits_of(config.preprocessing, accepted(config.cohort))


def preparer_for(config: RunConfig):
    """(preparer, processes) for the cohort's scans."""
    if config.cohort.reader == "simulated":
        from engine.simulation.cohort import SimulatedPreparer

        fine = config.grid_mm < PARALLEL_FROM_MM
        preparer = SimulatedPreparer(config.cohort.simulation, config.grid_mm, config.seed)
        return preparer, config.preprocessing.processes if fine else 1
    from engine.cohort.decisions import accepted
    from engine.preprocessing.scan import ScanPreparer

    preparer = ScanPreparer(config.preprocessing, config.grid_mm, accepted(config.cohort))
    return preparer, config.preprocessing.processes
