"""A person's head as the body of a simulated subject: its regions, its fluid, and the change imposed on it.

The change is solved on the person's own segmentation. What a region loses, the fluid beside it gains more readily than
tissue, and what tissue beside it gains all the same is space that opened: as much of it as was gained is filled with
the person's own cerebrospinal fluid, and so is what the brain leaves behind at its border. Source: docs/simulation.md,
Real heads.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from engine.config.preprocessing_schema import PreprocessingConfig
from engine.errors import RunError, UserError
from engine.images.grid import FWHM_TO_SIGMA, coarsen, coarsen_labels
from engine.images.template import brain_mask
from engine.preprocessing.scan import sampling_mm
from engine.preprocessing.segmented import SegmentedHead, prepare_head
from engine.preprocessing.steps import scale_to_white_matter
from engine.simulation.atrophy import (
    LARGEST_LOSS,
    TOLERANCE,
    Flow,
    flow_along,
    log_jacobian,
    sample,
    solve_velocity,
    surroundings,
)  # fmt: skip
from engine.simulation.head_files import HeadFile
from engine.simulation.imposed import warped_volume
from store.files.atomic import replacing

HEAD_VERSION = 1  # raised when the same files and settings give other heads or changes
TISSUE_YIELDS = 0.05  # how readily tissue gains what a region loses, fluid and what is outside the brain 1
FLUID_CORE = 20  # voxels of inner ventricles that are enough to know the person's fluid by
GREY = 0.70  # of white matter's intensity; what is darker is fluid in part
WHITE = (0.80, 0.92)  # below all grey or fluid, above all white matter, of white matter's intensity
BESIDE_MM = 6.0  # of fluid: nearer than half of it all that tissue gains opens, at it nothing but grey matter's
MAX_SEVERITY = 2.0
MAX_TRIALS = 4  # of the solver, each with a goal corrected by what the last one reached


@dataclass(frozen=True)
class Body:
    """A person's head, ready to be deformed.

    Attributes:
        mm: of the grid of brain, cover, fluid and labels.
        brain: (x, y, z) float32, smoothed to the resolution of the working grid.
        cover: (x, y, z) float32, share of a voxel that is this brain, smoothed alike.
        fluid: (x, y, z) float32, intensities of the person's own fluid.
        labels: (x, y, z) int16, the person's own segmentation.
        ventricles: (x, y, z) bool.
        sharp: (x, y, z) float32, brain before it was smoothed.
    """

    mm: int
    brain: np.ndarray
    cover: np.ndarray
    fluid: np.ndarray
    labels: np.ndarray
    ventricles: np.ndarray
    sharp: np.ndarray


def cached_head(
    file: HeadFile, settings: PreprocessingConfig, mm: int, folder: Path | None, by_labels: bool = False
) -> SegmentedHead:
    """Prepare a person's head, or find it where it was prepared before.

    Args:
        file: of the person.
        settings: of the preprocessing.
        mm: of the grid.
        folder: of the cache; None keeps nothing.
        by_labels: the segmentation tells brain from skull.
    Raises:
        UserError: the head cannot be prepared, with its file.
    """

    def make() -> dict[str, np.ndarray]:
        try:
            head = prepare_head(file.scan, file.segmentation, settings, mm, by_labels)
        except ValueError as error:
            raise UserError(f"cohort.simulation.heads: {file.scan.name}: {error}; leave it out of the table") from None
        cover = np.rint(head.cover * 255).astype(np.uint8)
        return {"brain": head.brain.astype(np.float16), "cover": cover, "labels": head.labels}

    used = settings.model_dump_json(exclude={"processes", "keep_transforms", "quality", "intensity"})
    found = _kept(folder, ("head", HEAD_VERSION, file.key, used, by_labels, mm), make)
    return SegmentedHead(found["brain"].astype(np.float32), (found["cover"] / 255).astype(np.float32), found["labels"])


def body_of(head: SegmentedHead, grid_mm: int, ventricles: tuple[int, ...], seed: int) -> Body:
    """Smooth a head to the working grid's resolution and draw fluid of its own.

    Args:
        head: on the sampling grid of the working grid.
        grid_mm: working grid.
        ventricles: labels of its ventricles.
        seed: of the person.
    """
    mm = sampling_mm(grid_mm)
    sigma = FWHM_TO_SIGMA * np.sqrt(max(grid_mm**2 - mm**2, 0)) / mm

    def smooth(volume: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(volume, sigma) if sigma else volume

    values = own_fluid(head, ventricles)
    fluid = np.random.default_rng(seed).choice(values, head.brain.shape).astype(np.float32)
    inside = np.isin(head.labels, ventricles)
    return Body(mm, smooth(head.brain), smooth(head.cover), smooth(fluid), head.labels, inside, head.brain)


def own_fluid(head: SegmentedHead, ventricles: tuple[int, ...]) -> np.ndarray:
    """Return intensities of the person's own cerebrospinal fluid, (n,): the inside of the ventricles.

    Where they are too small to have an inside, the darker half of them; without any, the darkest 5 % of the brain.
    """
    whole = np.isin(head.labels, ventricles) & (head.cover > 0.5)
    core = head.brain[ndimage.binary_erosion(whole)]
    if core.size >= FLUID_CORE:
        return core
    inside = head.brain[whole] if whole.any() else head.brain[head.cover > 0.9]
    return inside[inside <= np.quantile(inside, 0.5 if whole.any() else 0.05)]


@dataclass(frozen=True)
class Asked:
    """What is asked of a head: places that are to change.

    Attributes:
        mm: of the solving grid.
        targets: name -> (x, y, z) bool of the solving grid.
        fine: the same on the grid of the body, on which the reached change is measured.
        change: name -> relative change of volume at severity 1.
    """

    mm: int
    targets: Mapping[str, np.ndarray]
    fine: Mapping[str, np.ndarray]
    change: Mapping[str, float]

    @property
    def anywhere(self) -> np.ndarray:
        """Mark all that is to change, (x, y, z) bool."""
        return np.any(list(self.targets.values()), axis=0)


def asked_of(fine: Mapping[str, np.ndarray], change: Mapping[str, float], fine_mm: int, mm: int) -> Asked:
    """Gather what a pattern asks of a head; places that are the same tissue count once, with their mean change.

    Args:
        fine: place -> (x, y, z) bool of the `fine_mm` grid.
        change: place -> relative change of volume at severity 1.
        fine_mm: of the body's grid.
        mm: of the solving grid.
    Raises:
        UserError: a place would lose nearly all of its volume, or the head has none of the places.
    """
    same: dict[bytes, list[str]] = {}
    for name, place in fine.items():
        if change[name] and coarsen_labels(place, fine_mm, mm).any():
            same.setdefault(np.packbits(place).tobytes(), []).append(name)
    if not same:
        raise UserError(f"cohort.simulation.heads: a head has none of the regions {', '.join(fine)}")
    places = {"+".join(names): fine[names[0]] for names in same.values()}
    changes = {"+".join(names): float(np.mean([change[name] for name in names])) for names in same.values()}
    largest = min(changes, key=changes.__getitem__)
    if changes[largest] < LARGEST_LOSS:
        raise UserError(
            f"cohort.simulation.effect: {largest} would change by {changes[largest]:.0%}; ask for an effect below "
            f"{LARGEST_LOSS / changes[largest]:.2f} times this one"
        )
    return Asked(mm, {name: coarsen_labels(place, fine_mm, mm) for name, place in places.items()}, places, changes)


def solve_head(asked: Asked, body: Body, key: str, folder: Path | None, lowest: float = 0.0) -> Flow:
    """Solve the deformation of one head, or find it where it was solved before.

    What cannot be reached within 10 % is reached as nearly as can be; `Flow.achieved` has it, and so has the run.

    Args:
        asked: of this head.
        body: the head.
        key: of the head's files and all settings that made the body.
        folder: of the cache; None keeps nothing.
        lowest: severity to keep, at most 0: below it the regions change the other way.
    Raises:
        RunError: the change folds space.
    """
    names = list(asked.targets)

    def make() -> dict[str, np.ndarray]:
        halo, taper = surroundings(asked.anywhere, asked.mm, _yielding(body, asked.mm))
        goal, flow = dict(asked.change), None
        for _ in range(MAX_TRIALS):  # what the solving grid has of a thin region is not the whole of it
            try:
                velocity, reached = solve_velocity(asked.targets, goal, halo, taper, asked.mm)
            except RunError as error:
                raise RunError(f"{error}, or for solve_mm 2") from None
            flow = flow_along(velocity, reached, 0, 1, taper > 0)
            achieved = measured_change(asked, flow.displacement(1.0), body.mm)
            if all(abs(achieved[name] / asked.change[name] - 1) < TOLERANCE / 2 for name in names):
                break
            goal = {name: _next_goal(goal[name], asked.change[name], achieved[name]) for name in names}
        of_all = np.array([achieved[name] for name in names])
        return {"velocity": velocity.astype(np.float16), "achieved": of_all, "reach": taper > 0}

    places = [hashlib.blake2b(np.packbits(asked.targets[name]).tobytes()).hexdigest() for name in names]
    changes = [(name, round(asked.change[name], 9)) for name in names]
    found = _kept(folder, ("change", HEAD_VERSION, key, asked.mm, changes, places), make)
    achieved = dict(zip(names, found["achieved"].tolist(), strict=True))
    return flow_along(found["velocity"].astype(np.float32), achieved, lowest, MAX_SEVERITY, found["reach"])


def _next_goal(goal: float, asked: float, achieved: float) -> float:
    """Return what to ask of the solver where this goal led to another change than was asked for."""
    corrected = np.log1p(goal) * np.clip(np.log1p(asked) / np.log1p(achieved), 0.7, 1.5) if achieved * asked > 0 else 0
    return float(max(np.expm1(corrected), LARGEST_LOSS)) if corrected else goal


def measured_change(asked: Asked, displacement: np.ndarray, fine_mm: int) -> dict[str, float]:
    """Measure the relative change of volume of each place by carrying it along, on the body's grid.

    Args:
        asked: of a head.
        displacement: (3, x, y, z) voxels of the solving grid, where the deformed image comes from.
        fine_mm: of the body's grid.
    """
    first = next(iter(asked.fine.values()))
    at = np.indices(first.shape, dtype=np.float32) * (fine_mm / asked.mm)
    pulled = sample(displacement, at) * (asked.mm / fine_mm)
    return {name: warped_volume(place, pulled) - 1 for name, place in asked.fine.items()}


def opened_space(body: Body, displacement: np.ndarray, mm: int, grown: np.ndarray | None = None) -> np.ndarray:
    """Return the share of each voxel that tissue gained without being asked to: (x, y, z) float32, 0 to 1.

    It is of the deformed head. Grey matter is not stretched: the fold beside it opens. Nor is what lies beside a
    ventricle or cistern, however narrow: it opens. Other white matter is stretched, as there is no fluid in it.

    Args:
        displacement: (3, x, y, z) voxels of the `mm` grid, where the deformed image comes from.
        mm: of the solving grid.
        grown: (x, y, z) bool of the head before the change: what was asked to grow, and is larger tissue, not space.
    """
    grey = np.clip((WHITE[1] - coarsen(body.sharp, body.mm, mm)) / (WHITE[1] - WHITE[0]), 0, 1)
    fluid = body.ventricles | (_fluid_share(body) > 0.5)
    if fluid.any():
        step, away_mm = mm // body.mm, ndimage.distance_transform_edt(~fluid) * body.mm
        beside = np.clip((BESIDE_MM - away_mm[::step, ::step, ::step]) / (BESIDE_MM / 2), 0, 1)
        grey = np.maximum(grey, beside)
    if grown is not None:
        grey = np.where(grown, 0, grey)
    source = np.indices(displacement.shape[1:], dtype=np.float32) + displacement
    gained = -np.expm1(log_jacobian(displacement))  # the pull-back shrinks where tissue grew
    opens = ndimage.map_coordinates(grey, source, order=1, mode="nearest")
    return (np.clip(gained, 0, 1) * opens).astype(np.float32)


def unmoved_scale(body: Body, grid_mm: int, unmoved: np.ndarray) -> float:
    """Return the white matter of the whole brain where that of its unmoved part is 1."""
    step = grid_mm // body.mm
    still = body.brain[::step, ::step, ::step]
    by_part, by_whole = (scale_to_white_matter(still, where) for where in (unmoved, brain_mask(grid_mm)))
    return float(by_part.sum() / by_whole.sum())


def _fluid_share(body: Body) -> np.ndarray:
    """Return how much of each voxel is fluid, by its intensity, (x, y, z) float32; 1 outside the brain."""
    level = float(np.median(body.fluid))
    share = np.clip((GREY - body.sharp) / max(GREY - level, 0.1), 0, 1)
    return np.maximum(share, 1 - body.cover).astype(np.float32)


def _yielding(body: Body, mm: int) -> np.ndarray:
    """Return how readily each voxel gains what a region beside it loses, (x, y, z) float32: fluid most of all."""
    return TISSUE_YIELDS + (1 - TISSUE_YIELDS) * coarsen(_fluid_share(body), body.mm, mm)


def _kept(folder: Path | None, key: tuple, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return arrays by name that were made before of the same, else make and keep them."""
    if folder is None:
        return make()
    name = hashlib.blake2b(repr(key).encode(), digest_size=16).hexdigest()
    file = folder / f"{key[0]}-{name}.npz"
    try:
        with np.load(file, allow_pickle=False) as stored:
            return {part: stored[part] for part in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        made = make()
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **made)  # type: ignore[arg-type]
    return made
