"""Quality figures against the limits of the configuration: which scans are flagged, which left out, and why.

Limits are applied to the figures, not while a scan is prepared: other limits need no new registration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from engine.config.preprocessing_schema import PreprocessingConfig, QualityLimits
from store.spec import table_spec

SOURCE, ACCEPT, EXCLUDED = "limits", "accept", "excluded"
WORDS = {
    "template_correlation": "does not match the template after registration: r",
    "mask_dice": "the brain does not overlap with the template's: Dice",
    "brain_ml": "the extracted brain has an unusual volume in ml (is it a whole head?):",
    "intensity_low": "unusual dark intensities, 2nd percentile:",
    "intensity_high": "unusual bright intensities, 98th percentile:",
}
Bounds = tuple[float | None, float | None]


@dataclass(frozen=True)
class Limits:
    """What is out of the ordinary.

    Attributes:
        flag, exclude: figure -> (lowest, highest) that is in bounds.
        accepted: scans that a person accepted: they are flagged, with that decision, and never left out.
    """

    flag: dict[str, Bounds]
    exclude: dict[str, Bounds]
    accepted: frozenset[str] = frozenset()

    def reasons(self, quality: pd.DataFrame) -> dict[str, str]:
        """Return scan -> why it is left out.

        Args:
            quality: rows of the quality table.
        """
        return {
            row["scan"]: self._problems(row, self.exclude)[0]["text"]
            for row in quality.to_dict("records")
            if row["scan"] not in self.accepted and self._problems(row, self.exclude)
        }

    def flags(self, quality: pd.DataFrame) -> pd.DataFrame:
        """Return rows of the flags table, one a figure of a scan that is out of bounds.

        Args:
            quality: rows of the quality table, of scans that are used.
        """
        rows = []
        for row in quality.to_dict("records"):
            problems = {problem["figure"]: problem for problem in self._problems(row, self.exclude)}
            problems |= {problem["figure"]: problem for problem in self._problems(row, self.flag)}
            decision = ACCEPT if row["scan"] in self.accepted else ""
            rows += [{**problem, "scan": row["scan"], "source": SOURCE, "decision": decision}
                     for problem in problems.values()]  # fmt: skip
        columns = table_spec("flags").columns
        frame = pd.DataFrame(rows, columns=list(columns))
        return frame.astype({name: kind for name, (kind, _) in columns.items()})

    def _problems(self, row: dict, limits: dict[str, Bounds]) -> list[dict]:
        problems = []
        for figure, (low, high) in limits.items():
            value = float(row[figure])
            # A figure that could not be computed is in no bounds.
            if (low is None or value >= low) and (high is None or value <= high) and not math.isnan(value):
                continue
            text = f"{WORDS[figure]} {write_figure(value)}, {_bounds(low, high)}"
            problems.append({"figure": figure, "value": value, "low": low, "high": high, "text": text})
        return problems


NO_LIMITS = Limits({}, {})


def limits_of(settings: PreprocessingConfig, accepted: frozenset[str] = frozenset()) -> Limits:
    """Return the limits that can be checked: intensities only if scaled, the brain only if extracted."""
    unknown = {"brain_ml"} if settings.brain_extraction == "none" else set()
    unknown |= {"intensity_low", "intensity_high"} if settings.intensity == "none" else set()

    def given(limits: QualityLimits) -> dict[str, Bounds]:
        values = limits.model_dump()
        return {figure: pair for figure, pair in values.items() if figure not in unknown and any(
            bound is not None for bound in pair)}  # fmt: skip

    return Limits(given(settings.quality.flag), given(settings.quality.exclude), accepted)


def undecided(flags: pd.DataFrame) -> int:
    """Count the scans beyond the limits without a person's decision."""
    return int(flags.loc[flags["decision"] == "", "scan"].nunique())


def marks(flags: pd.DataFrame, reasons: dict[str, str]) -> dict[str, str]:
    """Return scan -> words for the contact sheet: excluded, or the flagged figures and any acceptance."""
    words = dict.fromkeys(reasons, EXCLUDED)
    for scan, rows in flags.groupby("scan", sort=False):
        accepted = " (accepted)" if (rows["decision"] == ACCEPT).all() else ""
        words[str(scan)] = f"flagged: {', '.join(rows['figure'])}{accepted}"
    return words


def write_figure(value: float | None) -> str:
    """Write a figure with three digits, a large one whole: 1951, never 1.95e+03."""
    if value is None or math.isnan(value):
        return "not computable"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _bounds(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {write_figure(high)} expected"
    return (
        f"at least {write_figure(low)} expected"
        if high is None
        else f"{write_figure(low)} to {write_figure(high)} expected"
    )
