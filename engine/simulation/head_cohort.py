"""Simulated cohorts on real heads: each subject is another person's head, and patients get the imposed change on top.

Healthy variation is that of the people: there is no simulated anatomy, size or ageing. Sham, misregistration,
intensity, bias field and noise are those of template cohorts (cohort.py), for both groups. Who becomes a patient is
drawn at random (head_files.py). Source: docs/simulation.md, Real heads.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy import ndimage

from engine.cohort.scans import Cohort, exclusion_table, scan_table
from engine.config.cohort_schema import SIMULATION_VERSION, CohortConfig, Heads, Simulation
from engine.config.preprocessing_schema import PreprocessingConfig
from engine.errors import UserError
from engine.preprocessing.steps import scale_to_white_matter
from engine.progress import Progress
from engine.simulation import heads as bodies
from engine.simulation.atrophy import Flow, surroundings
from engine.simulation.cohort import (
    ANATOMY_MM,
    JITTER_MM,
    MCI,
    NEGATIVE,
    POSITIVE,
    SHAM_MM,
    STRONGEST,
    BaseAnatomy,
    SimulatedPreparer,
    base_anatomy,
    displacement_at,
    mark_reached,
    planned,
    sham_field,
    subject_rows,
)
from engine.simulation.fields import control_points
from engine.simulation.head_files import HeadFile, draw_groups, label_names, read_heads
from engine.simulation.head_names import labels_of
from engine.simulation.scenarios import DEFAULT, Pattern, is_imposed, scenario_of

HEAD_NUISANCES = ("misregistration", "sham", "intensity", "gamma", "bias_field", "noise")
VENTRICLES = "Ventricles"


def read_on_heads(config: CohortConfig, seed: int = 0) -> Cohort:
    """Return the scans of a simulated cohort on real heads; subjects have codes, no names of files.

    Raises:
        UserError: heads that are missing or wrong, fewer than subjects, or a scenario that needs the template.
    """
    simulation = config.simulation
    scenario = scenario_of(simulation)
    _check(simulation)
    people = drawn_heads(simulation, seed)
    rows = []
    for index, ((diagnosis, scans), head) in enumerate(zip(planned(simulation), people, strict=True)):
        for row in subject_rows(simulation, seed, diagnosis, index, scans):
            own = {"age": head.age, "sex": head.sex, "icv": head.icv}
            made_of = f"{SIMULATION_VERSION} {bodies.HEAD_VERSION} {simulation.model_dump_json()} {seed} {row['scan']}"
            hashed = hashlib.blake2b(f"{made_of} {head.key}".encode(), digest_size=16).hexdigest()
            rows.append({**row, **own, "source_hash": hashed})
    assert simulation.heads is not None
    said = [] if scenario.name == DEFAULT else [f"Scenario {scenario.name}: {scenario.words}"]
    said.append(f"Heads: changes are imposed on {len(people)} real heads. {simulation.heads.note}".strip())
    groups = (POSITIVE, NEGATIVE)
    return Cohort(config.name or "Simulated", scan_table(rows), exclusion_table([]), groups, remarks=tuple(said))


def _check(simulation: Simulation) -> None:
    scenario = scenario_of(simulation)
    if scenario.shared or (scenario.years_older and not scenario.patterns):
        raise UserError(
            f"cohort.simulation.scenario: {scenario.name} changes healthy people as well, whose anatomy is their own "
            "on real heads; leave cohort.simulation.heads out, or choose another scenario"
        )


def drawn_heads(simulation: Simulation, seed: int) -> tuple[HeadFile, ...]:
    """Return the head of each subject, in the order of the subjects' numbers."""
    assert simulation.heads is not None
    diagnoses = [diagnosis for diagnosis, _ in planned(simulation)]
    return _drawn(_settings(simulation.heads), tuple(diagnoses.count(name) for name in (POSITIVE, NEGATIVE, MCI)), seed)


def _settings(heads: Heads) -> tuple[str, str]:
    """Return settings by which a cache can know them; those that are stored leave out where the heads lie."""
    return str(heads.data or ""), heads.model_dump_json()


def _heads_of(settings: tuple[str, str]) -> Heads:
    return Heads.model_validate_json(settings[1]).model_copy(
        update={"data": Path(settings[0]) if settings[0] else None}
    )


@lru_cache(maxsize=4)
def _drawn(settings: tuple[str, str], sizes: tuple[int, ...], seed: int) -> tuple[HeadFile, ...]:
    return tuple(draw_groups(read_heads(_heads_of(settings)), sizes, seed))


@lru_cache(maxsize=4)
def _names(settings: tuple[str, str]) -> dict[str, int]:
    return label_names(_heads_of(settings))


@dataclass(frozen=True)
class HeadPreparer(SimulatedPreparer):
    """Makes the volume of one simulated scan on a real head; picklable, so that worker processes can use it.

    Attributes:
        settings: how heads are brought to the template's space.
        folder: where prepared heads and solved changes are kept; None keeps nothing.
    """

    settings: PreprocessingConfig
    folder: Path | None
    label: ClassVar[str] = "Imposing changes on heads"

    def warm_up(self, progress: Progress) -> None:
        """Solve the change of the template, whose size the shams have."""
        with progress.task("solving the deformations", 1) as task:
            self.template()
            task.advance()

    def describe(self) -> dict[str, Any]:
        """Return the settings as plain values, to be stored with the volumes."""
        used = self.settings.model_dump(mode="json", exclude={"quality", "processes"})
        return {**super().describe(), "head_version": bodies.HEAD_VERSION, "preprocessing": used}

    def template(self) -> BaseAnatomy:
        """Return what template cohorts of the same settings share: grid, mask, and the size of the shams."""
        return base_anatomy(self.simulation.model_copy(update={"heads": None}), self.grid_mm)

    def head(self, row: dict) -> HeadFile:
        """Return whose head the subject of a row is."""
        return drawn_heads(self.simulation, self.seed)[int(row["subject"].removeprefix("sim-")) - 1]

    def body(self, row: dict) -> bodies.Body:
        """Return the head of a row's subject, smoothed to the resolution of the working grid."""
        heads, head = self.simulation.heads, self.head(row)
        assert heads is not None
        mm = bodies.sampling_mm(self.grid_mm)
        prepared = bodies.cached_head(head, self._head_settings, mm, self.folder, heads.brain == "segmentation")
        ventricles = labels_of(VENTRICLES, _names(_settings(heads)), heads.regions)
        return bodies.body_of(prepared, self.grid_mm, ventricles, int(head.key[:8], 16))

    @property
    def _head_settings(self) -> PreprocessingConfig:
        assert self.simulation.heads is not None
        return self.settings.model_copy(update={"registration": self.simulation.heads.registration})

    def asked(self, body: bodies.Body, pattern: Pattern) -> bodies.Asked:
        """Return what a pattern asks of a head, at the effect of the cohort; of a null cohort at effect 1."""
        simulation, mm = self.simulation, self.simulation.solve_mm
        times = simulation.effect if is_imposed(simulation) else 1.0

        covered = body.cover > 0.5
        blobs = scenario_of(simulation).blobs
        sides = {name: (name,) if name in blobs else self._sides(name) for name in pattern.change}
        changes = {side: times * change for name, change in pattern.change.items() for side in sides[name]}
        places = scenario_of(simulation).places(changes, lambda name: np.isin(body.labels, self.labels(name)), body.mm)
        places = {name: where & covered for name, where in places.items()}
        return bodies.asked_of(places, changes, body.mm, mm)

    def _sides(self, region: str) -> tuple[str, ...]:
        """Return both halves of a region where the segmentation tells them apart, else the region."""
        halves = (f"{region}_L", f"{region}_R")
        try:
            parts = [label for half in halves for label in self.labels(half)]
        except UserError:
            return (region,)
        return halves if sorted(parts) == list(self.labels(region)) else (region,)

    def labels(self, region: str) -> tuple[int, ...]:
        """Return the labels of the segmentations that make up a region of AAL2.

        Raises:
            UserError: the segmentations do not have it.
        """
        heads = self.simulation.heads
        assert heads is not None
        return labels_of(region, _names(_settings(heads)), heads.regions)

    def flow(self, row: dict, body: bodies.Body) -> tuple[Flow, bodies.Asked]:
        """Return the change of a patient, solved on the own head, and what was asked for."""
        asked = self.asked(body, self.pattern(row))
        made_by = self._head_settings.model_dump_json(exclude={"processes", "keep_transforms", "quality"})
        heads = self.simulation.heads
        key = f"{self.head(row).key} {made_by} {heads.brain if heads else ''} {body.mm} {self.grid_mm}"
        return bodies.solve_head(asked, body, key, self.folder), asked

    def pattern(self, row: dict) -> Pattern:
        """Return the pattern of a patient: that of the subtype where the scenario has several."""
        patterns = scenario_of(self.simulation).patterns
        return next((p for p in patterns if p.name == row.get("subtype")), patterns[0])

    @property
    def nuisances(self) -> tuple[str, ...]:
        """The names of what differs between scans beside the imposed change, on heads of their own anatomy."""
        return HEAD_NUISANCES

    def _render(self, row: dict, imposed: bool, wanted: dict[str, bool]) -> np.ndarray:
        """Make the scan of a row on its own head, with the nuisances that are wanted; see `volume`."""
        base, body, scan = self.template(), self.body(row), self.scan_draws(row)
        healthy = self._places(row, base, wanted, scan.normal(0, JITTER_MM, 3))
        reach = self._reach(body)
        unmoved = base.mask & ~mark_reached(replace(base, reach=reach), healthy)
        whole = base.mask & ~mark_reached(replace(base, reach=reach), base.identity)
        changed = imposed and row["severity"] > 0
        volume = self._changed(row, body, healthy) if changed else _sampled(body.brain, healthy, body.mm)
        volume = np.maximum(self.intensities(volume, base, wanted, scan), 0).astype(np.float32)
        volume[~base.mask] = 0
        scale = bodies.unmoved_scale(body, self.grid_mm, whole)
        return scale_to_white_matter(volume, unmoved) / np.float32(scale)

    def _places(self, row: dict, base: BaseAnatomy, wanted: dict[str, bool], shift_mm: np.ndarray) -> np.ndarray:
        """Return where in the person's head each voxel of the healthy scan comes from: (3, x, y, z), 1 mm voxels."""
        subject = np.random.default_rng([self.seed, 2, int(row["subject"].removeprefix("sim-"))])
        subject.normal(size=(3, *control_points(ANATOMY_MM)))  # the anatomy of template cohorts: the sham stays theirs
        sham = subject.normal(size=(3, *control_points(SHAM_MM)))
        of_sham = subject.uniform(0, STRONGEST, 2)[1]
        shift = shift_mm if wanted["misregistration"] else np.zeros(3)
        places = (base.identity + shift[:, None, None, None]).astype(np.float32)
        return places + np.float32(of_sham) * sham_field(sham, base) if wanted["sham"] else places

    def _reach(self, body: bodies.Body) -> np.ndarray:
        """Return where this head would move, if its person were a patient: (x, y, z) float32 of the solving grid."""
        asked = [self.asked(body, pattern) for pattern in scenario_of(self.simulation).shape]
        reached = [surroundings(one.anywhere, one.mm)[1] > 0 for one in asked]
        return np.any(reached, axis=0).astype(np.float32)

    def _changed(self, row: dict, body: bodies.Body, healthy: np.ndarray) -> np.ndarray:
        """Sample a patient's changed head, interpolated once as a healthy one, with fluid where space opened."""
        base, solve_mm = self.template(), self.simulation.solve_mm
        flow, _ = self.flow(row, body)
        displacement = flow.displacement(row["severity"] / self.simulation.effect)
        moved = healthy + displacement_at(displacement, healthy, base)
        tissue = _sampled(body.brain, moved, body.mm)
        left = np.clip(_sampled(body.cover, healthy, body.mm) - _sampled(body.cover, moved, body.mm), 0, 1)
        opened = bodies.opened_space(body, displacement, solve_mm) * flow.reach  # a gradient sees one voxel farther
        opened = _sampled(opened, healthy, solve_mm)
        fluid = _sampled(body.fluid, healthy, body.mm)
        return (1 - opened) * tissue + (opened * (1 - left) + left) * fluid


def _sampled(volume: np.ndarray, places: np.ndarray, mm: int) -> np.ndarray:
    """Interpolate a volume of the `mm` grid linearly at places in 1 mm voxels, 0 beyond it."""
    return ndimage.map_coordinates(volume, places / mm, order=1, mode="constant", cval=0.0)
