"""What the networks answer: the probability of the positive group, or the value of a regression's target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dashboard.text.formatting import probability, three


@dataclass(frozen=True)
class OutputDescription:
    """The name, unit and writing of what a run's networks answer.

    Attributes:
        column: of the predictions table.
        name: for axes and columns, e.g. "p(AD)" or "predicted MMSE".
        short: before a number, e.g. "p".
        unit: of the value; empty where it has none.
        label: of the target; empty for a probability.
        middle: where it changes from one group to the other.
        margin: what the margin is called in units.
    """

    column: str
    name: str
    short: str
    unit: str
    label: str
    middle: float
    margin: str

    @property
    def is_value(self) -> bool:
        """Whether a value is predicted, and not a probability."""
        return self.column == "value"

    @property
    def axis(self) -> str:
        """The name with its unit."""
        return f"{self.name}, {self.unit}" if self.unit else self.name

    def number(self, value: float) -> str:
        """Write the value with its unit; a probability is never written as a certainty."""
        return f"{three(value)} {self.unit}".rstrip() if self.is_value else probability(value)

    def text(self, value: float) -> str:
        """Write p 0.930, or predicted 72.3 years."""
        return f"{self.short} {self.number(value)}"

    def unit_of(self, unit: str) -> str:
        """Write a unit of heatmaps for this answer: drop of margin, or drop of SD of MMSE."""
        return unit.replace("margin", self.margin)


def answer_of(manifest: Mapping[str, Any]) -> OutputDescription:
    """Describe the answer of a run's networks, by its manifest."""
    target = manifest.get("target")
    if target is None:
        return OutputDescription("probability", f"p({manifest['groups'][0]})", "p", "", "", 0.5, "margin")
    label = target["label"]
    return OutputDescription(
        "value", f"predicted {label}", "predicted", target["unit"], label, target["threshold"], f"SD of {label}"
    )
