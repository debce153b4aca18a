"""Which cohorts the benchmark has: scenarios of the simulation, at one effect or several; phenotypes of real heads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.config.loading import load_config
from engine.config.schema import TRUST_MEASURES, RunConfig
from engine.errors import UserError

PRESET, OF_PHENOTYPES = "benchmark", "phenotype"
FOCAL, DISTRIBUTED, NONE = "focal", "distributed", "none"


@dataclass(frozen=True)
class Cell:
    """One cohort of the benchmark.

    Attributes:
        scenario: of cohort.simulation.scenario; of a phenotype its name.
        effect: times the published change; nan for a phenotype.
        extent: of the imposed change: focal, distributed or none.
        measures: of trust, beside the scores against the truth.
        settings: dotted key -> value, of this cohort alone.
        regions: of a phenotype: where it lies; empty for imposed changes.
        subjects: of each group, of this cohort alone; 0 for those of the extent.
    """

    scenario: str
    effect: float
    extent: str
    measures: tuple[str, ...] = ("stability",)
    settings: tuple[tuple[str, Any], ...] = field(default=(), hash=False)
    regions: tuple[str, ...] = ()
    subjects: int = 0

    @property
    def name(self) -> str:
        """Return the name in tables: typical_ad-1.4, phenotype-putamen."""
        return f"{OF_PHENOTYPES}-{self.scenario}" if self.regions else f"{self.scenario}-{self.effect:g}"


@dataclass(frozen=True)
class Extent:
    """How much is computed.

    Attributes:
        subjects, tested: of each group: in the cohort, and of these in the fixed test set.
        networks: trained alike but for the seed.
        settings: dotted key -> value, over those of the preset.
        methods: that explain; none for those of the preset, all.
    """

    cells: Sequence[Cell]
    subjects: int
    tested: int
    networks: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    methods: tuple[str, ...] = ()


ALL = tuple(TRUST_MEASURES)


def _nuisance(**sizes: float) -> tuple[tuple[str, Any], ...]:
    return tuple((f"cohort.simulation.{name}", value) for name, value in sizes.items())


# Half of what else differs between brains: a focal change is lost to networks in all of it (docs/simulation.md).
CALM = _nuisance(anatomy_mm=0.5, scaling_sd=0.01, bias_sd=0.02, contrast_sd=0.02, noise_sd=0.02)
# A fifth to a half of it: in the few voxels of one hippocampus networks find nothing in half of it.
STILL = _nuisance(
    anatomy_mm=0.3, scaling_sd=0.005, bias_sd=0.01, contrast_sd=0.01, noise_sd=0.01, ageing=0.5, severity_sd=0.3
)
# All is measured once where the truth is distributed and once where it is focal. Effects are near those from which on
# networks were seen to find the change (docs/simulation.md); cohorts whose networks do not find it are shown and enter
# no mean.
CELLS = (
    Cell("typical_ad", 1.4, DISTRIBUTED, ALL),
    Cell("typical_ad", 0.8, DISTRIBUTED),
    Cell("typical_ad", 2.0, DISTRIBUTED),
    Cell("left_hippocampus", 2.4, FOCAL, ALL, settings=STILL),
    Cell("temporal_pole_right", 2.0, FOCAL, settings=CALM),
    Cell("diffuse_cortex", 2.0, DISTRIBUTED),
    Cell("ventricles_only", 2.0, FOCAL),
    Cell("subtypes", 1.4, DISTRIBUTED),
    Cell("two_regions", 2.0, FOCAL),
    Cell("blobs", 2.0, FOCAL, settings=CALM),
    Cell("confound", 2.0, NONE),
    Cell("suppressor", 2.0, DISTRIBUTED),
    Cell("null", 0.0, NONE),
)
FULL = Extent(CELLS, subjects=100, tested=12, networks=5)
# Without those that take many passes a scan (integrated gradients, SmoothGrad, DeepLIFT, segments): untrained and null
# networks explain all scans, too, so that a method costs a dozen times what it costs once.
QUICK = Extent(
    tuple(c for c in CELLS if c.name in ("typical_ad-1.4", "two_regions-2", "null-0")), 60, 12, 5,
    methods=("sensitivity", "guided_backprop", "occlusion", "area_occlusion", "input_x_gradient", "lrp", "grad_cam"),
)  # fmt: skip


def phenotype_cells(table: Path, data: Path, settings: Mapping[str, Any]) -> list[Cell]:
    """Return a cell for each phenotype of a table that `phenotypes` has written.

    Args:
        table: of the cohort; what its phenotypes are is in the JSON beside it.
        data: folder of the scans.
        settings: dotted key -> value, of all of them.

    Raises:
        UserError: there is no such file, or it says nothing of phenotypes.
    """
    beside = table.with_suffix(".json")
    try:
        found = json.loads(beside.read_text(encoding="utf-8"))["phenotypes"]
        regions = {str(name): tuple(map(str, made["regions"])) for name, made in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"--phenotypes {table}: {beside.name} beside it does not say what its phenotypes are; make both with "
            "run_pipeline.py phenotypes"
        ) from None
    common = {"cohort.data": str(data.absolute()), "cohort.table": str(table.absolute())} | dict(settings)
    return [
        Cell(name, math.nan, FOCAL, (), (*common.items(), ("cohort.columns.phenotype", name)), places)
        for name, places in regions.items()
    ]


def chosen(extent: Extent, scenarios: Sequence[str], phenotypes: Sequence[Cell] = ()) -> Extent:
    """Return the extent with some scenarios and phenotypes alone; all of the extent and all phenotypes by default.

    Args:
        scenarios: each the name of a scenario, of which all effects are meant, of a phenotype, or of one cohort
            (`typical_ad-1.4`); an effect that is not among them is made one (`blobs-2.2`). `:100` after it asks for so
            many subjects a group.

    Raises:
        UserError: there is no such scenario, phenotype or cohort, one is named twice, or too few subjects.
    """
    if not scenarios:
        return replace(extent, cells=[*extent.cells, *phenotypes])
    everything = (*CELLS, *phenotypes)
    wanted = [cell for text in scenarios for cell in _named(text, everything, extent)]
    names = [cell.name for cell in wanted]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--scenarios: {name} is named twice; leave one of the two out")
    order = {cell.scenario: place for place, cell in reversed([*enumerate(everything)])}
    return replace(extent, cells=sorted(wanted, key=lambda cell: order[cell.scenario]))


def _named(text: str, everything: Sequence[Cell], extent: Extent) -> list[Cell]:
    """Return the cells that one name of --scenarios means."""
    name, _, number = text.partition(":")
    cells = [cell for cell in everything if name in (cell.scenario, cell.name)] or _at_effect(name, everything)
    if not cells:
        known = ", ".join(sorted({cell.scenario for cell in everything}))
        raise UserError(f"--scenarios {text}: there are {known}; or one cohort, as {CELLS[0].name}")
    if ":" not in text:
        return cells
    if any(cell.regions for cell in cells):
        raise UserError(f"--scenarios {text}: a phenotype has the people of its table; leave :{number} out")
    least = 5 * extent.tested  # a fifth of a group is tested at most
    if not number.isdecimal() or int(number) < least:
        raise UserError(f"--scenarios {text}: after the colon stands how many subjects a group, {least} or more")
    return [replace(cell, subjects=int(number)) for cell in cells]


def _at_effect(name: str, everything: Sequence[Cell]) -> list[Cell]:
    """Return the cell of a scenario at an effect that is not in the list, else nothing."""
    scenario, _, text = name.rpartition("-")
    first = next((cell for cell in everything if cell.scenario == scenario and not cell.regions), None)
    try:
        effect = float(text)
    except ValueError:
        return []
    if first is None or not first.effect or not 0 < effect < math.inf:
        return []
    same = [cell for cell in everything if cell.scenario == scenario and cell.effect == effect]
    return same or [replace(first, effect=effect)]


def people(cell: Cell, extent: Extent) -> int:
    """Return how many subjects a group a simulated cohort has."""
    return cell.subjects or extent.subjects


def configuration(cell: Cell, extent: Extent, seed: int, methods: Sequence[str] = ()) -> RunConfig:
    """Return the configuration of the run of a cell.

    Args:
        methods: default those of the extent.
    """
    methods = methods or extent.methods
    name = f"{PRESET}-{cell.name}".replace(".", "_")
    overrides: dict[str, Any] = {
        "name": name, "seed": seed, "split.holdout_per_group": extent.tested,
        "trust.networks": extent.networks - 1, "trust.measures": list(cell.measures),
    }  # fmt: skip
    if methods:
        overrides["explain.holdout"] = list(methods)
    if cell.regions:
        overrides |= {
            "phenotype": {"name": cell.scenario, "regions": list(cell.regions)}, "training.models": ["holdout"],
            "store.scans": False,
        }  # fmt: skip
        of_all = {key: value for key, value in extent.settings.items() if not key.startswith("cohort.")}
        return load_config(None, OF_PHENOTYPES, overrides | of_all | dict(cell.settings))
    overrides |= {
        "cohort.simulation.scenario": cell.scenario, "cohort.simulation.effect": cell.effect,
        "cohort.simulation.positive": people(cell, extent), "cohort.simulation.negative": people(cell, extent),
    }  # fmt: skip
    return load_config(None, PRESET, overrides | dict(cell.settings) | dict(extent.settings))
