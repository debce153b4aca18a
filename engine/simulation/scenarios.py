"""Scenarios: what is imposed on the patients of a simulated cohort, by name.

Each scenario asks heatmaps another question: is a change on one side found on that side, does a method show all of a
change that is spread over the cortex, does it follow regions or what really changed, does it mark a cause that is no
disease. Changes of volume are those at severity 1 and effect 1. Source: docs/simulation.md, Scenarios.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from engine.config.cohort_schema import Simulation
from engine.images.grid import Grid
from engine.simulation.atrophy import AD_CHANGE

DEFAULT = "typical_ad"
MAX_FACTOR = 2.0  # of the shared factor, in standard deviations
TEMPORAL = ("Temporal_Sup", "Temporal_Mid", "Temporal_Inf")
FRONTAL = ("Frontal_Sup_2", "Frontal_Mid_2")
# All cerebral cortex of AAL2 but hippocampus and amygdala.
CORTEX = (
    "Precentral", "Frontal_Sup_2", "Frontal_Mid_2", "Frontal_Inf_Oper", "Frontal_Inf_Tri", "Frontal_Inf_Orb_2",
    "Rolandic_Oper", "Supp_Motor_Area", "Olfactory", "Frontal_Sup_Medial", "Frontal_Med_Orb", "Rectus", "OFCmed",
    "OFCant", "OFCpost", "OFClat", "Insula", "Cingulate_Ant", "Cingulate_Mid", "Cingulate_Post", "ParaHippocampal",
    "Calcarine", "Cuneus", "Lingual", "Occipital_Sup", "Occipital_Mid", "Occipital_Inf", "Fusiform", "Postcentral",
    "Parietal_Sup", "Parietal_Inf", "SupraMarginal", "Angular", "Precuneus", "Paracentral_Lobule", "Heschl",
    "Temporal_Sup", "Temporal_Pole_Sup", "Temporal_Mid", "Temporal_Pole_Mid", "Temporal_Inf",
)  # fmt: skip


@dataclass(frozen=True)
class Pattern:
    """A change of volume that a patient has.

    Attributes:
        name: of the subtype; that of the scenario where all patients have the same.
        change: region, both halves of a region, or blob -> relative change of volume at severity 1, e.g. -0.24.
        share: of the patients who have it.
    """

    name: str
    change: Mapping[str, float]
    share: float = 1.0


@dataclass(frozen=True)
class Blob:
    """A ball, wherever it lies: centre in MNI space, mm, and radius, mm."""

    centre_mm: tuple[float, float, float]
    radius_mm: float

    def mask(self, mm: int) -> np.ndarray:
        """Mark the voxels of the `mm` grid whose centre is inside, (x, y, z) bool."""
        grid = Grid(mm)
        axes = np.indices(grid.shape, dtype=np.float32, sparse=True)
        offsets = (a * mm + grid.affine[i, 3] - self.centre_mm[i] for i, a in enumerate(axes))
        squared: np.ndarray = sum(offset**2 for offset in offsets)  # type: ignore[assignment]
        return squared <= self.radius_mm**2


@dataclass(frozen=True)
class Scenario:
    """What a simulated cohort is about.

    Attributes:
        name: as in cohort.simulation.scenario.
        words: a sentence for people.
        patterns: a patient has one of them; none where nothing is imposed.
        blobs: places that are no regions -> where they are.
        shared: a factor that people of both groups have alike, of mean 0 and standard deviation 1: place -> relative
            change of volume at +1. It says nothing of the group by itself.
        years_older: patients are older by so many years, times the effect.
    """

    name: str
    words: str
    patterns: tuple[Pattern, ...] = ()
    blobs: Mapping[str, Blob] = field(default_factory=dict)
    shared: Mapping[str, float] = field(default_factory=dict)
    years_older: float = 0.0

    @property
    def shape(self) -> tuple[Pattern, ...]:
        """Return the patterns whose size the shams have: where nothing is imposed, that of the default."""
        return self.patterns or (Pattern(DEFAULT, AD_CHANGE),)

    def draw_subtype(self, seed: int, index: int) -> str:
        """Return the pattern of a patient, drawn apart from all other draws; empty where all have the same.

        Args:
            index: of the subject.
        """
        if len(self.patterns) < 2:
            return ""
        shares = [pattern.share for pattern in self.patterns]
        return self.patterns[np.random.default_rng([seed, 5, index]).choice(len(shares), p=shares)].name

    def draw_factor(self, seed: int, number: int) -> float:
        """Return the shared factor of a subject, drawn apart from all other draws: whatever the group.

        Args:
            number: of the subject, from 1.
        """
        return float(np.clip(np.random.default_rng([seed, 4, number]).normal(), -MAX_FACTOR, MAX_FACTOR))

    def places(
        self, names: Mapping[str, float], atlas_mask: Callable[[str], np.ndarray], mm: int
    ) -> dict[str, np.ndarray]:
        """Return region or blob -> its mask on the `mm` grid, (x, y, z) bool.

        Args:
            names: of regions and blobs.
            atlas_mask: region -> mask, of an atlas on that grid.
        """
        return {name: self.blobs[name].mask(mm) if name in self.blobs else atlas_mask(name) for name in names}


def _alike(name: str, words: str, change: Mapping[str, float], **more) -> Scenario:
    """Make a scenario whose patients all have the same change."""
    return Scenario(name, words, (Pattern(name, change),), **more)


_LIMBIC = {
    "Hippocampus": -0.30,
    "Amygdala": -0.30,
    "ParaHippocampal": -0.30,
    "Temporal_Pole_Mid": -0.18,
    "Temporal_Pole_Sup": -0.18,
    "Ventricles": 0.20,
}
_SPARING = {
    "Precuneus": -0.18,
    "Parietal_Inf": -0.18,
    "Parietal_Sup": -0.18,
    "Angular": -0.18,
    "Temporal_Mid": -0.15,
    "Frontal_Mid_2": -0.12,
    "Ventricles": 0.20,
}

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        _alike(
            DEFAULT,
            "Patients have the published pattern of Alzheimer's disease: loss in hippocampus, amygdala, temporal and "
            "parietal cortex of both sides, and larger ventricles.",
            AD_CHANGE,
        ),
        _alike(
            "left_hippocampus",
            "Patients have lost volume of the left hippocampus, and of nothing else.",
            {"Hippocampus_L": -0.24},
        ),
        _alike(
            "temporal_pole_right",
            "Patients have lost volume of the right temporal pole, and of nothing else.",
            {"Temporal_Pole_Sup_R": -0.30, "Temporal_Pole_Mid_R": -0.30},
        ),
        _alike(
            "diffuse_cortex",
            "Patients have lost the same share of all cerebral cortex; there is no place where more is lost.",
            dict.fromkeys(CORTEX, -0.08),
        ),
        _alike("ventricles_only", "Patients have larger ventricles, and lost no tissue.", {"Ventricles": 0.25}),
        # Subtypes by atrophy: Ferreira 2020 (Neurology 94:436), without its minimal one; the shares are rounded.
        Scenario(
            "subtypes",
            "Half of the patients have the typical pattern of Alzheimer's disease, a quarter the limbic one "
            "(hippocampus, amygdala, temporal pole), a quarter the hippocampal-sparing one (parietal, temporal and "
            "frontal cortex); each scan is scored against its own.",
            (Pattern("typical", AD_CHANGE, 0.5), Pattern("limbic", _LIMBIC, 0.25), Pattern("sparing", _SPARING, 0.25)),
        ),
        _alike(
            "two_regions",
            "Patients have lost volume of two regions far from each other: the left middle temporal and the right "
            "middle frontal gyrus.",
            {"Temporal_Mid_L": -0.20, "Frontal_Mid_2_R": -0.20},
        ),
        _alike(
            "blobs",
            "Patients have lost volume of two balls that cross the borders of regions: at the left temporo-parietal "
            "junction and in the right frontal lobe.",
            {"Blob_L": -0.25, "Blob_R": -0.25},
            blobs={"Blob_L": Blob((-50, -48, 22), 14), "Blob_R": Blob((36, 34, 28), 14)},
        ),
        Scenario(
            "confound",
            "Patients are older than controls, and nothing is imposed on them: what networks find is age, and no "
            "heatmap of it is right or wrong about a disease.",
            years_older=8.0,
        ),
        _alike(
            "suppressor",
            "Patients have lost volume of the lateral temporal cortex, which varies in everybody together with that of "
            "the superior and middle frontal gyri; those are alike in both groups, and yet a network that looks at "
            "them can take away the variation that hides the disease.",
            dict.fromkeys(TEMPORAL, -0.15),
            shared=dict.fromkeys((*TEMPORAL, *FRONTAL), -0.15),
        ),
        Scenario("null", "Nothing tells the groups apart: whatever a heatmap shows is no disease."),
    )
}


def scenario_of(simulation: Simulation) -> Scenario:
    """Return what a simulated cohort is about."""
    return SCENARIOS[simulation.scenario]


def is_imposed(simulation: Simulation) -> bool:
    """Tell whether anything is imposed on patients: not in a null cohort, nor where the groups differ otherwise."""
    return bool(scenario_of(simulation).patterns) and simulation.effect > 0
