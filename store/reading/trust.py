"""How far the heatmaps of a method can be trusted: one line of four figures, for what stands under a heatmap.

The rules and where each threshold comes from: docs/definitions.md, Trust line. Everything is of the fixed test set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from store.keys import explains
from store.reading.reader import RunReader
from store.reading.trust_figures import FAILS, FIGURES, NOT_MEASURED, Facts, TrustFigure

TABLES = ("truth_scores", "randomisation", "stability", "faithfulness", "false_positives", "anatomy")
FAILURES = {
    "truth": "finds what is known to be there no better than networks that know nothing of it",
    "randomisation": "does not show what the network learned",
    "stability": "gives another map after another training",
    "faithfulness": "marks other places than those the network uses most",
}
NO_EXPLANATION = "no explanation: this map would be the same for any network"


@dataclass(frozen=True)
class TrustLine:
    """What is known of how far heatmaps of a method can be trusted.

    Attributes:
        method: relevance method.
        figures: truth, randomisation, stability, faithfulness; none for a baseline, which explains nothing.
        source: the run whose networks these are, where it is not the run that is shown; else empty.
    """

    method: str
    figures: tuple[TrustFigure, ...]
    source: str = ""

    @property
    def failing(self) -> tuple[str, ...]:
        """Return the names of the figures that fail."""
        return tuple(figure.name for figure in self.figures if figure.verdict == FAILS)

    @property
    def failure(self) -> str:
        """Say what the figures that fail mean: "does not show what the network learned"; empty where none fails."""
        return "; ".join(FAILURES[name] for name in self.failing)

    def heading(self, model_set: str = "holdout") -> str:
        """Return the first words of the line: of which networks and scans the figures are."""
        parts = [f"networks of {self.source}"] if self.source else []
        parts += ["of the fixed test set"] if model_set == "folds" else []
        return f"Trust ({', '.join(parts)})" if parts else "Trust"

    def text(self, model_set: str = "holdout") -> str:
        """Write the whole line as plain text.

        Args:
            model_set: of the heatmaps above it; beside folds the line says that it is of the fixed test set.
        """
        if not self.figures:
            return f"{self.heading(model_set)}: {NO_EXPLANATION}"
        fails = f". This method {self.failure}." if self.failing else ""
        return f"{self.heading(model_set)}: {' · '.join(figure.text for figure in self.figures)}{fails}"

    def marks(self) -> str:
        """Write the verdicts alone, for small pictures: "truth ✓ · randomisation ✗ fails"."""
        if not self.figures:
            return "no explanation"
        return " · ".join(figure.mark for figure in self.figures if figure.verdict != NOT_MEASURED)

    def sentences(self) -> list[str]:
        """Write what stands behind the figures, a sentence each."""
        if not self.figures:
            return [f"{NO_EXPLANATION[:1].upper()}{NO_EXPLANATION[1:]}, so that there is nothing to trust."]
        return [figure.words for figure in self.figures]


def has_trust(run: RunReader) -> bool:
    """Return whether anything is known of how far this run's heatmaps can be trusted."""
    return any(run.has_table(name) for name in TABLES)


def trust_lines(
    run: RunReader, *, benchmark: Mapping[str, Mapping[str, Any]] | None = None, fewest: int = 0, source: str = ""
) -> dict[str, TrustLine]:
    """Return the line of every method of a run; empty where neither its tables nor a benchmark say anything of it.

    Args:
        benchmark: method -> a row as of truth_scores (voxel AUC, level group), from simulated cohorts, with `kind`: of
            which truth, in words. Stands in runs that classify real scans, where nothing is known of the truth.
        fewest: figures of fewer subjects are not given, for readers who may see no single patients.
        source: the run whose networks these are, where another run shows them.
    """
    benchmark = {} if run.simulated or run.task == "regression" else benchmark
    if not has_trust(run) and not benchmark:
        return {}
    facts = Facts(run, fewest, benchmark)
    return {
        method: TrustLine(method, tuple(make(facts, method) for make in FIGURES) if explains(method) else (), source)
        for method in facts.methods
    }


def trust_line(run: RunReader, method: str, **options: Any) -> TrustLine | None:
    """Return the line of one method; None where nothing is known of it. Options as for `trust_lines`."""
    return trust_lines(run, **options).get(method)
