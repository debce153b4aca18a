"""Simulated cohorts on real heads: each subject is another person's head, and patients get the imposed change on top.

Healthy variation is that of the people: there is no simulated anatomy, size or ageing. Sham, misregistration,
intensity, bias field and noise are those of template cohorts (cohort.py), for both groups. Who becomes a patient is
drawn at random (head_files.py). Source: docs/simulation.md, Real heads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
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
    SHARED_FACTOR,
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
from engine.simulation.scenarios import DEFAULT, MAX_FACTOR, Pattern, is_imposed, scenario_of

HEAD_NUISANCES = ("misregistration", "sham", "intensity", "gamma", "bias_field", "noise")
VENTRICLES = "Ventricles"


def read_on_heads(config: CohortConfig, seed: int = 0) -> Cohort:
    """Return the scans of a simulated cohort on real heads; subjects have codes, no names of files.

    Raises:
        UserError: heads that are missing or wrong, fewer than subjects, or none by which patients can be older.
    """
    simulation = config.simulation
    scenario = scenario_of(simulation)
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


def as_patient(simulation: Simulation, seed: int, row: dict) -> dict:
    """Return the row of a person as it would be were the person a patient: severity and subtype drawn as for those."""
    number = int(row["subject"].removeprefix("sim-"))
    ill = subject_rows(simulation, seed, POSITIVE, number - 1, 1)[0]
    return {**row, **{name: ill[name] for name in ("group", "diagnosis", "severity", "subtype")}}


def drawn_heads(simulation: Simulation, seed: int) -> tuple[HeadFile, ...]:
    """Return the head of each subject, in the order of the subjects' numbers."""
    assert simulation.heads is not None
    diagnoses = [diagnosis for diagnosis, _ in planned(simulation)]
    sizes = tuple(diagnoses.count(name) for name in (POSITIVE, NEGATIVE, MCI))
    return _drawn(_settings(simulation.heads), sizes, seed, scenario_of(simulation).years_older * simulation.effect)


def _settings(heads: Heads) -> tuple[str, str]:
    """Return settings by which a cache can know them; those that are stored leave out where the heads lie."""
    return str(heads.data or ""), heads.model_dump_json()


def _heads_of(settings: tuple[str, str]) -> Heads:
    return Heads.model_validate_json(settings[1]).model_copy(
        update={"data": Path(settings[0]) if settings[0] else None}
    )


@lru_cache(maxsize=4)
def _drawn(settings: tuple[str, str], sizes: tuple[int, ...], seed: int, older: float) -> tuple[HeadFile, ...]:
    return tuple(draw_groups(read_heads(_heads_of(settings)), sizes, seed, older))


@lru_cache(maxsize=4)
def _names(settings: tuple[str, str]) -> dict[str, int]:
    return label_names(_heads_of(settings))


def head_nuisances_of(simulation: Simulation) -> tuple[str, ...]:
    """Return the names of what is added to heads of both groups beside the imposed change."""
    return (*HEAD_NUISANCES, SHARED_FACTOR) if scenario_of(simulation).shared else HEAD_NUISANCES


@dataclass(frozen=True)
class Step:
    """One deformation of a head.

    Attributes:
        displacement: (3, x, y, z) voxels of the `mm` grid, where the deformed image comes from.
        reach: (x, y, z) bool, False where nothing moves.
        mm: of the solving grid.
        grown: (x, y, z) bool, see bodies.opened_space.
    """

    displacement: np.ndarray
    reach: np.ndarray
    mm: int
    grown: np.ndarray | None = None


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
    quick: ClassVar[bool] = False  # type: ignore[misc]  # of every grid

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
        return self._asked(body, pattern.change, self.simulation.effect if is_imposed(self.simulation) else 1.0)

    def _asked(self, body: bodies.Body, change: Mapping[str, float], times: float) -> bodies.Asked:
        """Return what changes of volume ask of the regions of a head, on each side for itself."""
        covered, blobs = body.cover > 0.5, scenario_of(self.simulation).blobs
        sides = {name: (name,) if name in blobs else self._sides(name) for name in change}
        changes = {side: times * of_all for name, of_all in change.items() for side in sides[name]}
        places = scenario_of(self.simulation).places(
            changes, lambda name: np.isin(body.labels, self.labels(name)), body.mm
        )
        places = {name: where & covered for name, where in places.items()}
        return bodies.asked_of(places, changes, body.mm, self.simulation.solve_mm)

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
        return bodies.solve_head(asked, body, self._key(row, body), self.folder), asked

    def _key(self, row: dict, body: bodies.Body) -> str:
        """Return all that made the body of a row's subject, to find what was solved on it before."""
        made_by = self._head_settings.model_dump_json(exclude={"processes", "keep_transforms", "quality"})
        heads = self.simulation.heads
        return f"{self.head(row).key} {made_by} {heads.brain if heads else ''} {body.mm} {self.grid_mm}"

    def _shared_step(self, row: dict, body: bodies.Body) -> Step:
        """Return the variation that people of both groups have alike, at the subject's own factor."""
        scenario, mm = scenario_of(self.simulation), self.simulation.solve_mm
        factor = scenario.draw_factor(self.seed, int(row["subject"].removeprefix("sim-")))
        asked = self._asked(body, scenario.shared, 1.0)
        flow = bodies.solve_head(asked, body, self._key(row, body), self.folder, -MAX_FACTOR)
        grown = [place for name, place in asked.targets.items() if factor * asked.change[name] > 0]
        larger = np.any(grown, axis=0) if grown else None
        return Step(flow.displacement(factor), flow.reach, mm, larger)

    def _imposed_step(self, row: dict, body: bodies.Body) -> Step:
        """Return the imposed change of a patient, at the patient's severity."""
        flow, asked = self.flow(row, body)
        return Step(flow.displacement(row["severity"] / self.simulation.effect), flow.reach, asked.mm)

    def pattern(self, row: dict) -> Pattern:
        """Return the pattern of a patient: that of the subtype where the scenario has several."""
        patterns = scenario_of(self.simulation).patterns
        return next((p for p in patterns if p.name == row.get("subtype")), patterns[0])

    @property
    def nuisances(self) -> tuple[str, ...]:
        """The names of what differs between scans beside the imposed change, on heads of their own anatomy."""
        return head_nuisances_of(self.simulation)

    def _render(self, row: dict, imposed: bool, wanted: dict[str, bool]) -> np.ndarray:
        """Make the scan of a row on its own head, with the nuisances that are wanted; see `volume`."""
        base, body, scan = self.template(), self.body(row), self.scan_draws(row)
        healthy = self._places(row, base, wanted, scan.normal(0, JITTER_MM, 3))
        reach = self._reach(body)
        unmoved = base.mask & ~mark_reached(replace(base, reach=reach), healthy)
        whole = base.mask & ~mark_reached(replace(base, reach=reach), base.identity)
        steps = [self._shared_step(row, body)] if wanted.get(SHARED_FACTOR) else []
        steps += [self._imposed_step(row, body)] if imposed and row["severity"] > 0 else []
        volume = self._deformed(body, healthy, steps)
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

    def _deformed(self, body: bodies.Body, healthy: np.ndarray, steps: list[Step]) -> np.ndarray:
        """Sample a head after all its changes, interpolated once, with fluid where space opened; as it is without any.

        Args:
            body: the head.
            healthy: (3, x, y, z) where in the head each voxel comes from, 1 mm voxels.
            steps: the last one acts on the head as it is, each other on what the one after it has left.
        """
        base, moved, opened = self.template(), healthy, np.float32(0)
        for step in steps:
            gained = bodies.opened_space(body, step.displacement, step.mm, step.grown)
            gained = _sampled(gained * step.reach, moved, step.mm)  # a gradient sees one voxel farther
            opened = opened + gained * (1 - opened)
            moved = moved + displacement_at(step.displacement, moved, base)
        tissue = _sampled(body.brain, moved, body.mm)
        if not steps:
            return tissue
        left = np.clip(_sampled(body.cover, healthy, body.mm) - _sampled(body.cover, moved, body.mm), 0, 1)
        fluid = _sampled(body.fluid, healthy, body.mm)
        return (1 - opened) * tissue + (opened * (1 - left) + left) * fluid


def _sampled(volume: np.ndarray, places: np.ndarray, mm: int) -> np.ndarray:
    """Interpolate a volume of the `mm` grid linearly at places in 1 mm voxels, 0 beyond it."""
    return ndimage.map_coordinates(volume, places / mm, order=1, mode="constant", cval=0.0)
