"""What decides the results of a run, its networks and its volumes, each as one short text."""

from __future__ import annotations

import hashlib

from engine.cohort.scans import Cohort
from engine.config.cohort_schema import SIMULATION_VERSION
from engine.config.schema import RunConfig
from engine.simulation.heads import HEAD_VERSION
from store import SPEC_VERSION

VERSION = "0.2.0"
TRAINING_VERSION = "0.1.0"  # of how networks are trained: whoever changes it makes all cached networks new
PREPROCESSING_VERSION = 1  # raised when the same settings give other volumes
NULL_VERSION = "null networks 2"  # raised when null networks are made otherwise; runs without them do not know of it
STRETCHED_VERSION = "stretched atlas 2"  # raised when a stretched atlas lies elsewhere; placed ones do not know of it


def digest(*parts: object) -> str:
    """Return the SHA-256 of texts and numbers, hexadecimal."""
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()


def data_fingerprint(cohort: Cohort, accepted: frozenset[str] = frozenset()) -> str:
    """Return the fingerprint of what the scans are and say, not of where they lie, and of a person's decisions."""
    scans = cohort.scans.drop(columns="path").sort_values("scan")
    if (scans["subtype"] == "").all():  # cohorts of before there were subtypes keep their identity
        scans = scans.drop(columns="subtype")
    if scans["phenotype"].isna().all():  # nor phenotypes
        scans = scans.drop(columns="phenotype")
    left_out = cohort.exclusions.sort_values(["scan", "reason"])
    return digest(scans.to_csv(index=False), left_out.to_csv(index=False), *cohort.groups, *sorted(accepted))


def computing_of(device: str) -> str:
    """Return the kind of device, and on the CPU how many threads: what they add up differs in the last digits.

    Small differences grow in training, so that one and two threads end in other ranks. OMP_NUM_THREADS sets them.
    """
    if device != "cpu":
        return device
    import torch  # noqa: PLC0415

    threads = torch.get_num_threads()
    return f"{device}, {threads} thread{'' if threads == 1 else 's'}"


def run_fingerprint(config: RunConfig, data: str, computing: str) -> str:
    """Return the fingerprint of all that decides the results: configuration, data, device kind, threads, versions."""
    parts = [config.fingerprint(), data, computing, VERSION, SPEC_VERSION]
    if config.atlas.placement == "stretched":
        parts.append(STRETCHED_VERSION)
    if config.cohort.reader == "simulated" and config.analysis.null_networks:
        parts.append(NULL_VERSION)
    return digest(*parts)


def volumes_fingerprint(config: RunConfig) -> str:
    """Return the fingerprint of all that decides a volume, its input aside."""
    made_of: list[object] = []
    if config.cohort.reader == "simulated":
        made_of = [SIMULATION_VERSION, config.cohort.simulation.model_dump_json(), config.seed]
    if config.cohort.reader == "simulated" and config.cohort.simulation.heads:
        made_of.append(HEAD_VERSION)
    if config.cohort.reader != "simulated" or config.cohort.simulation.heads:
        made_of.append(config.preprocessing.model_dump_json(exclude={"processes", "keep_transforms", "quality"}))
    return digest("volumes", PREPROCESSING_VERSION, config.grid_mm, *made_of)


def networks_fingerprint(config: RunConfig, data: str, computing: str) -> str:
    """Return the fingerprint of all that decides the networks."""
    return digest(
        "networks", TRAINING_VERSION, data, volumes_fingerprint(config), computing, config.seed,
        config.preprocessing.quality.exclude.model_dump_json(),
        config.split.dealt(),
        config.training.model_dump_json(exclude={"models", "only_folds", "resident"}),
        *([config.harmonisation.intensity] if config.harmonisation.intensity != "none" else []),
    )  # fmt: skip
