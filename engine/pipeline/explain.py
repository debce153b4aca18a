"""Heatmaps of one network by one method, scan by scan, each written as it is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from engine.cohort.splits import Job
from engine.config.schema import RunConfig
from engine.errors import RunError
from engine.images.grid import Grid
from engine.networks.blocks import sequential_blocks
from engine.pipeline.inputs import fills_of, needs_tissue
from engine.pipeline.run import Run
from engine.pipeline.training_maps import training_maps
from engine.relevance import METHODS, BatchSize, Brain, Occlusion, Relevance, RelevanceMethod
from engine.relevance.base import ShapeError
from engine.relevance.integrated_gradients import TOLERANCE
from engine.relevance.occlusion import position_shape
from engine.training.normalisation import Normalisation
from engine.training.site_effects import BySite, Normaliser, normalised
from engine.training.volumes import STREAMED, Volumes, chunked
from store.files.geometry import nearest_positions
from store.keys import TRAINING_MAPS, HeatmapKey
from store.writing.writer import HeatmapArray

CHUNK = 4  # scans written together; the same chunks after an interruption, so that results are the same
GRADIENT_UNITS = {
    "voxelwise": "margin per z-score", "scan": "margin per range of the scan's values", "zscore": "margin per z-score",
    "none": "margin per intensity of white matter", "constant": "margin per unit of the network's input",
}  # fmt: skip
DROP_UNITS = {"margin": "drop of margin", "probability": "drop of probability"}


@dataclass(frozen=True)
class Explanation:
    """All heatmaps of one network by one method for the evidence of one group.

    Attributes:
        explained_class: the group's in the network.
    """

    job: Job
    method: RelevanceMethod
    group: str
    explained_class: int


def build_method(name: str, config: RunConfig, brain: Brain, batch: BatchSize) -> RelevanceMethod:
    """Return a method with the configured parameters, lengths in voxels of the grid."""
    grid, occlusion, segment = Grid(config.grid_mm), config.explain.occlusion, config.explain.segment_occlusion
    settings: dict[str, dict[str, Any]] = {
        "occlusion": {
            "half_width": grid.voxels(occlusion.half_width_mm),
            "stride": grid.voxels(occlusion.stride_mm),
            "reference": occlusion.reference,
            "engine": config.explain.engine,
        },
        "area_occlusion": {"reference": config.explain.area_occlusion.reference, "engine": config.explain.engine},
        "segment_occlusion": {
            "levels": tuple(segment.levels),
            "compactness": segment.compactness,
            "reference": segment.reference,
            "engine": config.explain.engine,
        },
        "integrated_gradients": config.explain.integrated_gradients.model_dump(),
        "smoothgrad": config.explain.smoothgrad.model_dump(),
        "deeplift": config.explain.deeplift.model_dump(),
        "lrp": config.explain.lrp.model_dump(),
    }
    return METHODS[name](brain=brain, batch=batch, **settings.get(name, {}))


def space(run: Run, device: torch.device) -> Brain:
    """Return mask and regions of the working grid, without tissue to fill in."""
    labels = torch.from_numpy(run.atlas.labels.astype(np.int16)).to(device)
    return Brain(torch.from_numpy(run.mask.copy()).to(device), labels, run.atlas.count, run.config.grid_mm)


def build_brain(
    run: Run, job: Job, normalisation: Normaliser, device: torch.device, methods: Sequence[str] | None = None
) -> Brain:
    """Return the cohort's space, with what methods ask for of the training scans: tissue, maps of the groups.

    Args:
        methods: names of those that will be used; default: by which the job's scans are explained.
    """
    asked = fills_of(run.config)
    mean = other = None
    if needs_tissue(run.config):
        groups, read = run.training_scans(job)
        negative = groups[run.groups[1]]
    if "nc_mean" in asked:
        total = np.zeros(run.mask.shape)
        for scan in negative:
            total += normalised(normalisation, read, [scan])[0]
        mean = torch.from_numpy((total / len(negative)).astype(np.float32)).to(device)
    if "other_subject" in asked:
        chosen = negative[int(np.random.default_rng([job.seed, 8]).integers(len(negative)))]
        other = torch.from_numpy(normalised(normalisation, read, [chosen])[0]).to(device)
    brain = replace(space(run, device), negative_mean=mean, other_subject=other)
    if set(methods if methods is not None else getattr(run.config.explain, job.model_set)) & set(TRAINING_MAPS):
        maps = training_maps(run, job, normalisation)
        brain = replace(brain, training_maps={name: torch.from_numpy(one).to(device) for name, one in maps.items()})
    if isinstance(normalisation, BySite):
        normalisation = normalisation.inner
    if not isinstance(normalisation, Normalisation):  # each scan by itself: still intensities
        return brain
    return replace(
        brain,
        mean=torch.from_numpy(normalisation.mean).to(device),
        spread=torch.from_numpy(normalisation.std + np.float32(normalisation.epsilon)).to(device),
    )


def explanations_of(run: Run, job: Job, brain: Brain, batch: BatchSize) -> list[Explanation]:
    """Return what is to be computed for one network, in the paper's order of methods.

    Antisymmetric methods are kept for the positive group alone: the other map is its negative.
    """
    asked = getattr(run.config.explain, job.model_set)
    positive, negative = run.groups
    explanations = []
    for name in METHODS:
        if name in asked:
            method = build_method(name, run.config, brain, batch)
            explanations.append(Explanation(job, method, positive, 1))
            if not method.antisymmetric:
                explanations.append(Explanation(job, method, negative, 0))
    return explanations


def start_all(run: Run, explanation: Explanation) -> dict[str, HeatmapKey]:
    """Make room for the heatmaps of an explanation; returns the key of each scale."""
    job, method = explanation.job, explanation.method
    shape = _voxels_behind(run, method).shape
    scales = scales_of(run, method.gradient)
    for scale in scales:
        _start(run, explanation, scale, shape)
    return {scale: HeatmapKey(job.model, method.name, explanation.group, scale) for scale in scales}


def explain_scans(
    run: Run,
    explanation: Explanation,
    network: torch.nn.Module,
    normalisation: Normaliser,
    only: range | None = None,
) -> None:
    """Compute and write the heatmaps of an explanation that do not exist yet.

    Args:
        only: which chunks of scans; default all.
    """
    job, method, group = explanation.job, explanation.method, explanation.group
    sizes = _voxels_behind(run, method)
    scales = scales_of(run, method.gradient)
    keys = {scale: HeatmapKey(job.model, method.name, group, scale) for scale in scales}
    done = set.intersection(*(run.writer.completed(key) for key in keys.values()))
    chunks = chunked(job.explain, CHUNK)
    asked = chunks if only is None else [chunks[number] for number in only]
    count = sum(len(chunk) for chunk in asked)
    todo = [chunk for chunk in asked if not done.issuperset(chunk)]
    rows = {scan: row for row, scan in enumerate(job.explain)}
    device = next(network.parameters()).device
    volumes = Volumes(run.cache.read, job.explain, normalisation, device, STREAMED)
    label = f"{job.model} {method.name}" + ("" if method.antisymmetric else f" for {group}")
    finished = count - sum(len(chunk) for chunk in todo)
    if takes_whole_passes(method, network) and (only is None or only.start == 0):
        run.progress.say(f"  {label}: not a plain sequence of convolutions, so by whole forward passes, which is slow")

    def write(chunk: list[str], found: Relevance) -> int:
        for scale in scales:
            values = getattr(found, scale).cpu().numpy().astype(np.float32)
            if method.native_grid == "voxels":
                values[:, ~run.mask] = 0
            run.writer.put_heatmaps(
                keys[scale],
                rows=[rows[scan] for scan in chunk],
                scans=chunk,
                values=values,
                absolute_sums=[float((np.abs(v) * sizes).sum(dtype=np.float64)) for v in values],
                completeness_errors=None if found.completeness_error is None else found.completeness_error.tolist(),
            )
        return len(chunk)

    with run.progress.task(label, count, finished) as task, ThreadPoolExecutor(1) as beside:
        incomplete = 0
        writing = None  # one chunk is written while the next is computed
        for chunk, batch in zip(todo, volumes.batches(todo), strict=True):
            with _naming(chunk):
                found = _attribute(method, network, batch, explanation.explained_class)
            incomplete += _incomplete(found)
            if writing is not None:
                task.advance(writing.result())
            writing = beside.submit(write, chunk, found)
        if writing is not None:
            task.advance(writing.result())
    if incomplete:
        run.progress.say(
            f"  {label}: of {incomplete} of {count} heatmaps the sum misses the margin's change by more "
            f"than {TOLERANCE:.0%}, with the most steps that are taken"
        )


@contextmanager
def _naming(scans: Sequence[str]) -> Iterator[None]:
    """Note on an error which scans were explained."""
    try:
        yield
    except Exception as error:
        error.add_note(f"while explaining {', '.join(scans)}")
        raise


def _attribute(
    method: RelevanceMethod, network: torch.nn.Module, volumes: torch.Tensor, explained_class: int
) -> Relevance:
    """Explain a batch; a network that the method cannot explain is an error that names the method and the mend."""
    try:
        return method.attribute(network, volumes, explained_class)
    except ShapeError:
        raise
    except ValueError as error:
        raise RunError(f"{error}: take {method.name} out of explain.holdout and explain.folds") from error


def _incomplete(found: Relevance) -> int:
    """Count the heatmaps whose sum misses what it should add up to."""
    return 0 if found.completeness_error is None else int((found.completeness_error > TOLERANCE).sum())


def scales_of(run: Run, gradient: bool) -> tuple[str, ...]:
    """Return what is stored of a map: gradients as margin, drops also as probability, which a regression lacks."""
    return ("margin",) if gradient or run.cohort.target else ("probability", "margin")


def unit_of(run: Run, method: RelevanceMethod, scale: str) -> str:
    """Return the unit of a map; of a regression, standard deviations of the target are what else is the margin."""
    if not method.explanation:
        return f"{method.own_unit}, no explanation"
    unit = GRADIENT_UNITS[run.config.normalisation] if method.gradient else DROP_UNITS[scale]
    unit = "margin" if method.contribution else unit
    return unit.replace("margin", f"SD of {run.cohort.target.label}") if run.cohort.target else unit


def takes_whole_passes(method: RelevanceMethod, network: torch.nn.Module) -> bool:
    """Return whether an occlusion cannot be incremental although it was asked to be."""
    return getattr(method, "engine", "dense") == "incremental" and sequential_blocks(network) is None


def _start(run: Run, explanation: Explanation, scale: str, shape: Sequence[int]) -> None:
    job, method = explanation.job, explanation.method
    array = HeatmapArray(
        method.native_grid, unit_of(run, method, scale), Grid(run.config.grid_mm).affine,
        getattr(method, "stride", None), count=len(job.explain), shape=shape, parameters=method.parameters(),
        antisymmetric=method.antisymmetric,
    )  # fmt: skip
    run.writer.start_heatmaps(HeatmapKey(job.model, method.name, explanation.group, scale), array)


def _voxels_behind(run: Run, method: RelevanceMethod) -> np.ndarray:
    """Return how many brain voxels each number of a native grid stands for, (*native)."""
    if method.native_grid == "voxels":
        return run.mask.astype(np.float32)
    if method.native_grid == "regions":
        counts = np.bincount(run.atlas.labels.ravel(), minlength=run.atlas.count + 1)
        return counts[1 : run.atlas.count + 1].astype(float)
    assert isinstance(method, Occlusion)
    shape = position_shape(run.mask.shape, method.stride)
    nearest = [nearest_positions(n, method.stride, p) for n, p in zip(run.mask.shape, shape, strict=True)]
    owner = np.ravel_multi_index(np.ix_(*nearest), shape)
    return np.bincount(owner[run.mask], minlength=int(np.prod(shape))).reshape(shape).astype(float)
