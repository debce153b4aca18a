"""Which cohorts the benchmark has: scenarios of the simulation, each at one effect or at several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from engine.config.loading import load_config
from engine.config.schema import TRUST_MEASURES, RunConfig
from engine.errors import UserError

PRESET = "benchmark"
FOCAL, DISTRIBUTED, NONE = "focal", "distributed", "none"


@dataclass(frozen=True)
class Cell:
    """One cohort of the benchmark.

    Attributes:
        scenario: of cohort.simulation.scenario.
        effect: times the published change.
        extent: of the imposed change: focal, distributed or none.
        measures: of trust, beside the scores against the truth.
        settings: dotted key -> value, of this cohort alone.
    """

    scenario: str
    effect: float
    extent: str
    measures: tuple[str, ...] = ("stability",)
    settings: tuple[tuple[str, float], ...] = ()

    @property
    def name(self) -> str:
        """Return the name in tables: typical_ad-1.4."""
        return f"{self.scenario}-{self.effect:g}"


@dataclass(frozen=True)
class Extent:
    """How much is computed.

    Attributes:
        subjects, tested: of each group: in the cohort, and of these in the fixed test set.
        networks: trained alike but for the seed.
        settings: dotted key -> value, over those of the preset.
    """

    cells: Sequence[Cell]
    subjects: int
    tested: int
    networks: int
    settings: Mapping[str, Any] = field(default_factory=dict)


ALL = tuple(TRUST_MEASURES)
_SIZES = {"anatomy_mm": 0.5, "scaling_sd": 0.01, "bias_sd": 0.02, "contrast_sd": 0.02, "noise_sd": 0.02}
# Half of what else differs between brains: a focal change is lost to networks in all of it (docs/simulation.md).
CALM = tuple((f"cohort.simulation.{name}", value) for name, value in _SIZES.items())
# Near the effects from which on networks were seen to find the change (docs/simulation.md); cohorts whose networks do
# not find it are shown and enter no mean.
CELLS = (
    Cell("typical_ad", 1.4, DISTRIBUTED, ALL),
    Cell("typical_ad", 0.8, DISTRIBUTED),
    Cell("typical_ad", 2.0, DISTRIBUTED),
    Cell("left_hippocampus", 2.4, FOCAL, ALL, CALM),
    Cell("temporal_pole_right", 2.0, FOCAL, settings=CALM),
    Cell("diffuse_cortex", 2.0, DISTRIBUTED),
    Cell("ventricles_only", 2.0, FOCAL),
    Cell("subtypes", 1.4, DISTRIBUTED),
    Cell("two_regions", 2.0, FOCAL),
    Cell("blobs", 2.0, FOCAL, settings=CALM),
    Cell("confound", 2.0, NONE),
    Cell("suppressor", 2.0, DISTRIBUTED),
    Cell("null", 0.0, NONE, ALL),
)
FULL = Extent(CELLS, subjects=100, tested=20, networks=5)
QUICK = Extent(tuple(c for c in CELLS if c.name in ("typical_ad-1.4", "two_regions-2", "null-0")), 60, 12, 5)


def chosen(extent: Extent, scenarios: Sequence[str]) -> Extent:
    """Return the extent with some scenarios alone.

    Raises:
        UserError: there is no such scenario.
    """
    known = {cell.scenario for cell in CELLS}
    for name in scenarios:
        if name not in known:
            raise UserError(f"--scenarios {name}: there are {', '.join(sorted(known))}")
    cells = [cell for cell in (CELLS if scenarios else extent.cells) if not scenarios or cell.scenario in scenarios]
    return replace(extent, cells=cells)


def configuration(cell: Cell, extent: Extent, seed: int, methods: Sequence[str] = ()) -> RunConfig:
    """Return the configuration of the run of a cell.

    Args:
        methods: default all.
    """
    name = f"{PRESET}-{cell.name}".replace(".", "_")
    overrides = {
        "name": name, "seed": seed, "cohort.simulation.scenario": cell.scenario,
        "cohort.simulation.effect": cell.effect, "cohort.simulation.positive": extent.subjects,
        "cohort.simulation.negative": extent.subjects, "split.holdout_per_group": extent.tested,
        "trust.networks": extent.networks - 1, "trust.measures": list(cell.measures),
    }  # fmt: skip
    if methods:
        overrides["explain.holdout"] = list(methods)
    return load_config(None, PRESET, overrides | dict(cell.settings) | dict(extent.settings))
