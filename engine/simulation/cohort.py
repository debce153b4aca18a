"""Simulated cohorts: the template brain with imposed change (scenarios.py), and nuisance that both groups share.

Every subject of both groups gets an individual anatomy, an age, a global size and a sham warp: random, all over the
brain, as large as the imposed displacement within its reach, without a change of volume. Every scan gets a
misregistration, an intensity scale, a gamma, a bias field and noise. Patients get the imposed flow at their severity on
top, and nothing else tells the groups apart: a sham that only controls had would itself be the label. All displacements
are composed, and the template is interpolated once. Source: docs/definitions.md, Known truth.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy import ndimage

from engine.atlas.aal import load_atlas
from engine.cohort.scans import Cohort, exclusion_table, scan_table
from engine.config.cohort_schema import SIMULATION_VERSION, CohortConfig, Simulation
from engine.config.schema import AtlasConfig
from engine.images.grid import FWHM_TO_SIGMA, Grid
from engine.images.template import brain_mask, template_brain
from engine.preprocessing.scan import PreparedScan, quality_metrics
from engine.preprocessing.steps import scale_to_white_matter
from engine.progress import Progress
from engine.simulation.atrophy import AGEING_CHANGE, Flow, sample, solve_flow, truth_map
from engine.simulation.fields import control_points, smooth_field
from engine.simulation.scenarios import DEFAULT, MAX_FACTOR, is_imposed, scenario_of

POSITIVE, NEGATIVE, MCI = "AD", "NC", "MCI"
QUICK_FROM_MM = 3  # simulated volumes finer than this are worth worker processes
MCI_SEVERITY = 0.5
MAX_SEVERITY = MAX_DECADES = 2.0
YEARS_BETWEEN_SESSIONS, SEVERITY_A_YEAR = 0.5, 0.1
ANATOMY_MM, SHAM_MM, BIAS_MM = 24, 16, 60  # spacing of the control points of each smooth random field
JITTER_MM = 0.3
# Each scan has its own strength of anatomy, sham, bias field and noise, from 0 to this: root mean square 1. A network
# that never saw a brain with little of them is not at chance where they are left out.
STRONGEST = np.sqrt(3)
MEAN_ICV_MM3 = 1.45e6
# What differs between scans beside the imposed change, in both groups alike.
NUISANCES = ("anatomy", "ageing", "size", "misregistration", "sham", "intensity", "gamma", "bias_field", "noise")
SHARED_FACTOR = "shared_factor"  # a nuisance of scenarios that have one


def read(config: CohortConfig, seed: int = 0) -> Cohort:
    """Return the scans of a simulated cohort; their volumes are made by SimulatedPreparer."""
    simulation = config.simulation
    rows = []
    for index, (diagnosis, scans) in enumerate(planned(simulation)):
        rows += subject_rows(simulation, seed, diagnosis, index, scans)
    scenario = scenario_of(simulation)
    said = () if scenario.name == DEFAULT else (f"Scenario {scenario.name}: {scenario.words}",)
    groups = (POSITIVE, NEGATIVE)
    return Cohort(config.name or "Simulated", scan_table(rows), exclusion_table([]), groups, remarks=said)


def planned(simulation: Simulation) -> list[tuple[str, int]]:
    """Return (diagnosis, number of scans) of every subject, patients first."""
    s = simulation
    groups = (
        (POSITIVE, s.positive, s.positive_scans),
        (NEGATIVE, s.negative, s.negative_scans),
        (MCI, s.apply_mci, None),
    )
    return [(name, _sessions(number, people, scans)) for name, people, scans in groups for number in range(people)]


def _sessions(number: int, subjects: int, scans: int | None) -> int:
    """Return the number of scans of the subject: `scans` dealt out evenly, at least one each."""
    more, rest = divmod(max(scans or subjects, subjects), subjects)
    return more + (number < rest)


def subject_rows(simulation: Simulation, seed: int, diagnosis: str, index: int, sessions: int) -> list[dict]:
    """Draw a subject: rows of its scans, as in the scans table."""
    random, scenario = np.random.default_rng([seed, 1, index]), scenario_of(simulation)
    older = scenario.years_older * simulation.effect if diagnosis == POSITIVE else 0.0
    age = float(np.clip(random.normal(simulation.age_mean + older, simulation.age_sd), 20, 100))
    severity = float(np.clip(random.normal(1.0, simulation.severity_sd), 0.2, MAX_SEVERITY))
    severity *= {POSITIVE: 1.0, MCI: MCI_SEVERITY, NEGATIVE: 0.0}[diagnosis]
    sex, size = random.choice(["F", "M"]), random.normal(0, simulation.scaling_sd)
    clinical = random.normal(size=2)
    subtype = scenario.draw_subtype(seed, index) if diagnosis != NEGATIVE and is_imposed(simulation) else ""
    rows = []
    for session in range(sessions):
        years = session * YEARS_BETWEEN_SESSIONS
        current = min(severity * (1 + SEVERITY_A_YEAR * years), MAX_SEVERITY)
        scan = f"sim-{index + 1:04d}" + (f"_ses-{session + 1}" if sessions > 1 else "")
        role = "apply" if diagnosis == MCI else "cohort"
        rows.append(
            {
                "scan": scan,
                "subject": f"sim-{index + 1:04d}",
                "session": f"ses-{session + 1}",
                "group": "" if role == "apply" else diagnosis,
                "diagnosis": diagnosis,
                "role": role,
                "age": round(age + years, 1),
                "sex": sex,
                "mmse": float(np.clip(round(29 - 6 * current + clinical[0]), 0, 30)),
                "icv": MEAN_ICV_MM3 * float(np.exp(3 * size)),
                "severity": current * simulation.effect if is_imposed(simulation) else 0.0,
                "subtype": subtype,
                "simulated": True,
                "source_hash": hashlib.blake2b(
                    f"{SIMULATION_VERSION} {simulation.model_dump_json()} {seed} {scan}".encode(), digest_size=16
                ).hexdigest(),
            }
        )
    return rows


@dataclass(frozen=True)
class SimulatedPreparer:
    """Makes the volume of one simulated scan; picklable, so that worker processes can use it."""

    simulation: Simulation
    grid_mm: int
    seed: int
    pictures: ClassVar[bool] = False
    label: ClassVar[str] = "Simulating"

    def __call__(self, row: dict, _folder: Path) -> PreparedScan:
        """Make the scan's volume on the working grid, white matter about 1, 0 outside the brain mask."""
        started = time.perf_counter()
        volume = self.volume(row)
        quality = quality_metrics(volume, brain_mask(self.grid_mm), self.grid_mm, self.grid_mm)
        quality |= {"brain_ml": row["icv"] / 1000, "seconds": round(time.perf_counter() - started, 2)}
        return PreparedScan(volume, quality)

    def warm_up(self, progress: Progress) -> None:
        """Solve the deformations, which every scan of the cohort shares."""
        with progress.task("solving the deformations", 1) as task:
            base_anatomy(self.simulation, self.grid_mm)
            task.advance()

    @property
    def quick(self) -> bool:
        """Whether a scan takes less time than handing it to a worker."""
        return self.grid_mm >= QUICK_FROM_MM

    def describe(self) -> dict[str, Any]:
        """Return the settings as plain values, to be stored with the volumes."""
        version = {"simulation_version": SIMULATION_VERSION}
        return {**version, **self.simulation.model_dump(mode="json"), "grid_mm": self.grid_mm, "seed": self.seed}

    def volume(self, row: dict, imposed: bool = True, without: Collection[str] = ()) -> np.ndarray:
        """Make the scan of a row: (x, y, z) float32, white matter about 1, 0 outside the brain mask.

        What is left out changes no other draw: the rest of the scan stays as it is.

        Args:
            row: of the scans table.
            imposed: False leaves a patient's imposed change out.
            without: names of `nuisances` to leave out.
        """
        return self._render(row, imposed, {name: name not in without for name in self.nuisances})

    @property
    def nuisances(self) -> tuple[str, ...]:
        """The names of what differs between scans beside the imposed change."""
        return (*NUISANCES, SHARED_FACTOR) if scenario_of(self.simulation).shared else NUISANCES

    def _render(self, row: dict, imposed: bool, wanted: dict[str, bool]) -> np.ndarray:
        """Make the scan of a row with the nuisances that are wanted; see `volume`."""
        base, scan = base_anatomy(self.simulation, self.grid_mm), self.scan_draws(row)
        healthy = self._coordinates(row, wanted, scan.normal(0, JITTER_MM, 3))
        coordinates = self._add_disease(row, healthy) if imposed else healthy
        volume = ndimage.map_coordinates(base.template, coordinates, order=1, mode="constant", cval=0.0)
        volume = np.maximum(self.intensities(volume, base, wanted, scan), 0).astype(np.float32)
        volume[~base.mask] = 0
        # White matter that the imposed change reaches would make the scale of the whole scan depend on the group.
        unmoved = base.mask & ~mark_reached(base, healthy)
        return scale_to_white_matter(volume, unmoved) / np.float32(base.unmoved_scale)

    def scan_draws(self, row: dict) -> np.random.Generator:
        """Return the draws of a scan: shift, intensity and gamma, bias field, noise, in this order."""
        session = int(row["session"].removeprefix("ses-"))
        return np.random.default_rng([self.seed, 3, int(row["subject"].removeprefix("sim-")), session])

    def _coordinates(self, row: dict, wanted: dict[str, bool], shift_mm: np.ndarray) -> np.ndarray:
        """Return where in the template each voxel of the healthy scan comes from: (3, x, y, z), 1 mm voxels."""
        simulation, base, grid_mm = self.simulation, base_anatomy(self.simulation, self.grid_mm), self.grid_mm
        subject = np.random.default_rng([self.seed, 2, int(row["subject"].removeprefix("sim-"))])
        anatomy = subject.normal(size=(3, *control_points(ANATOMY_MM)))
        sham = subject.normal(size=(3, *control_points(SHAM_MM)))
        of_anatomy, of_sham = subject.uniform(0, STRONGEST, 2)
        size = np.log(row["icv"] / MEAN_ICV_MM3) / 3
        shift_mm = shift_mm if wanted["misregistration"] else np.zeros(3)
        coordinates = resize(base.identity, size if wanted["size"] else 0.0, shift_mm, base)
        if wanted["anatomy"]:
            coordinates += _scale(smooth_field(anatomy, grid_mm, ANATOMY_MM), of_anatomy * simulation.anatomy_mm, base)
        if wanted["sham"]:
            coordinates += np.float32(of_sham) * sham_field(sham, base)
        if wanted["ageing"]:
            decades = np.clip((row["age"] - simulation.age_mean) / 10, -MAX_DECADES, MAX_DECADES)
            coordinates += displacement_at(base.ageing.displacement(decades * simulation.ageing), coordinates, base)
        if base.shared is not None and wanted[SHARED_FACTOR]:
            factor = scenario_of(simulation).draw_factor(self.seed, int(row["subject"].removeprefix("sim-")))
            coordinates += displacement_at(base.shared.displacement(factor), coordinates, base)
        return coordinates

    def _add_disease(self, row: dict, coordinates: np.ndarray) -> np.ndarray:
        """Add the imposed change to coordinates: the last step, in the frame of the template, which has the regions."""
        base = base_anatomy(self.simulation, self.grid_mm)
        if not base.imposed or not row["severity"] > 0:
            return coordinates
        flow = base.imposed[row.get("subtype") or self.simulation.scenario]
        severity = min(row["severity"] / self.simulation.effect, MAX_SEVERITY)
        return coordinates + displacement_at(flow.displacement(severity), coordinates, base)

    def intensities(
        self, volume: np.ndarray, base: BaseAnatomy, wanted: dict[str, bool], scan: np.random.Generator
    ) -> np.ndarray:
        """Add what a scanner adds: intensity and gamma, bias field and noise, drawn in this order."""
        simulation = self.simulation
        gain, gamma = np.exp(scan.normal(0, simulation.contrast_sd, 2))
        bias = smooth_field(scan.normal(size=(1, *control_points(BIAS_MM))), self.grid_mm, BIAS_MM)[0]
        noise = scan.standard_normal(volume.shape, dtype=np.float32)
        of_bias, of_noise = scan.uniform(0, STRONGEST, 2)
        bias = np.exp(bias * (of_bias * simulation.bias_sd / bias[base.mask].std()))
        noise *= np.float32(of_noise * simulation.noise_sd)
        volume = np.maximum(volume, 0) ** (gamma if wanted["gamma"] else 1.0)
        volume *= (gain if wanted["intensity"] else 1.0) * (bias if wanted["bias_field"] else 1.0)
        return volume + noise if wanted["noise"] else volume


@dataclass(frozen=True)
class BaseAnatomy:
    """What all subjects of a cohort share."""

    grid_mm: int
    solve_mm: int
    template: np.ndarray  # 1 mm, smoothed to the resolution of the working grid
    mask: np.ndarray
    identity: np.ndarray  # (3, x, y, z) of the working grid, in 1 mm voxels
    centre: np.ndarray  # (3, 1, 1, 1) of the brain mask, in 1 mm voxels
    imposed: Mapping[str, Flow]  # pattern -> flow; empty where nothing is imposed
    ageing: Flow
    shared: Flow | None  # the factor that people of both groups have alike, where the scenario has one
    sham_rms_mm: float
    reach: np.ndarray  # (x, y, z) of the solving grid, 1 where the imposed change may move tissue, else 0
    unmoved_scale: float  # white matter of the whole brain, where that outside the reach is 1


@lru_cache(maxsize=1)
def base_anatomy(simulation: Simulation, grid_mm: int) -> BaseAnatomy:
    """Solve and build what all subjects of a simulated cohort share."""
    solve_mm, scenario = simulation.solve_mm, scenario_of(simulation)
    atlas = load_atlas(AtlasConfig(), solve_mm)
    brain = template_brain(solve_mm)

    def flow(changes: Mapping[str, float], times: float, lowest: float, highest: float) -> Flow:
        regions = scenario.places(changes, atlas.mask, solve_mm)
        return solve_flow(brain, regions, {n: c * times for n, c in changes.items()}, solve_mm, lowest, highest)

    # Where nothing is imposed, the shams are those of the default at effect 1. In other scenarios they do not grow with
    # the effect: a larger change of one place would come with larger shams all over the brain.
    times = simulation.effect if is_imposed(simulation) else 1.0
    shapes = {pattern.name: flow(pattern.change, times, 0, MAX_SEVERITY) for pattern in scenario.shape}
    ageing = flow(AGEING_CHANGE, 1.0, -MAX_DECADES, MAX_DECADES)
    shared = flow(scenario.shared, 1.0, -MAX_FACTOR, MAX_FACTOR) if scenario.shared else None
    imposed = shapes if is_imposed(simulation) else {}
    sigma = FWHM_TO_SIGMA * np.sqrt(max(grid_mm**2 - 1, 0))
    template = ndimage.gaussian_filter(template_brain(1), sigma) if sigma else template_brain(1)
    identity = np.indices(Grid(grid_mm).shape, dtype=np.float32) * grid_mm
    sham_at = 1.0 if scenario.name == DEFAULT else 1 / times
    rms = float(np.sqrt(np.mean([_mean_squared_mm(shape, sham_at, solve_mm) for shape in shapes.values()])))
    mask = brain_mask(grid_mm)
    reach = np.any([shape.reach for shape in shapes.values()], axis=0).astype(np.float32)
    centre = np.array([np.mean(where) for where in np.nonzero(mask)], np.float32)[:, None, None, None] * grid_mm
    base = BaseAnatomy(
        grid_mm, solve_mm, template, mask, identity, centre, imposed, ageing, shared, rms, reach, 1.0
    )  # fmt: skip
    still = ndimage.map_coordinates(template, identity, order=1)
    by_unmoved, by_whole = (
        scale_to_white_matter(still, where) for where in (mask & ~mark_reached(base, identity), mask)
    )
    return replace(base, unmoved_scale=float(by_unmoved.sum() / by_whole.sum()))


def _mean_squared_mm(flow: Flow, severity: float, solve_mm: int) -> float:
    """Return the mean squared displacement of the brain within reach, mm2."""
    moved = np.sqrt((flow.displacement(severity) ** 2).sum(axis=0)) * solve_mm
    return (moved[brain_mask(solve_mm) & flow.reach] ** 2).mean()


def mark_reached(base: BaseAnatomy, coordinates: np.ndarray) -> np.ndarray:
    """Mark voxels whose place in the template, before the imposed change, is within its reach; (x, y, z)."""
    return ndimage.map_coordinates(base.reach, coordinates / base.solve_mm, order=1, mode="nearest") > 0


def imposed_truth(
    preparer: SimulatedPreparer, shares: Mapping[str, float] | None = None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return (binary, log_jacobian) on the working grid, the mean over patterns; None where nothing is imposed.

    Args:
        shares: pattern -> share of the patients; default: as the scenario deals them out.
    """
    base = base_anatomy(preparer.simulation, preparer.grid_mm)
    if not base.imposed:
        return None
    patterns = scenario_of(preparer.simulation).patterns
    shares = shares or {pattern.name: pattern.share for pattern in patterns}
    first, *others = (name for name, share in shares.items() if share)
    flow = base.imposed[first]
    if others:
        weighted = [share * base.imposed[name].log_jacobian for name, share in shares.items()]
        flow = replace(flow, log_jacobian=np.sum(weighted, axis=0) / sum(shares.values()))
    return truth_map(flow, base.mask, base.solve_mm, preparer.grid_mm)


def resize(coordinates: np.ndarray, log_size: float, shift_mm: np.ndarray, base: BaseAnatomy) -> np.ndarray:
    """Scale coordinates about the brain's centre and shift them: larger brains pull from nearer the centre."""
    return (
        (coordinates - base.centre) * np.float32(np.exp(-log_size)) + base.centre + shift_mm[:, None, None, None]
    ).astype(np.float32)


def displacement_at(field: np.ndarray, coordinates: np.ndarray, base: BaseAnatomy) -> np.ndarray:
    """Interpolate a displacement of the solving grid at 1 mm coordinates; the result is in 1 mm voxels."""
    return sample(field, coordinates / base.solve_mm) * base.solve_mm


def sham_field(points: np.ndarray, base: BaseAnatomy) -> np.ndarray:
    """Return a displacement that changes no volume (a curl), as large as the imposed one within its reach, mm."""
    a, b, c = smooth_field(points, base.grid_mm, SHAM_MM)
    da, db, dc = np.gradient(a), np.gradient(b), np.gradient(c)
    curl = np.stack([dc[1] - db[2], da[2] - dc[0], db[0] - da[1]])
    return _scale(curl, base.sham_rms_mm, base)


def _scale(displacement: np.ndarray, rms: float, base: BaseAnatomy) -> np.ndarray:
    """Scale a displacement to a root mean square length of `rms` in the brain mask."""
    return displacement * np.float32(rms / np.sqrt((displacement[:, base.mask] ** 2).sum(axis=0).mean()))
