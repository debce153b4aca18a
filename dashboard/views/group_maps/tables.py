"""Numbers behind pictures of group averages. Frames in, frames out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from dashboard.drawing.brain_maps import BrainMap
from dashboard.drawing.planes import Range
from dashboard.text import formatting
from dashboard.text.outputs import OutputDescription


@dataclass(frozen=True)
class Numbers:
    """What one picture of an average shows, each value times `factor`."""

    method: str
    group: str
    figures: BrainMap
    factor: float
    scale: Range


def table(rows: Sequence[Numbers], peaks: Sequence[str]) -> pd.DataFrame:
    """Return one row a picture, as text: who is behind it, its range, and where it is strongest."""
    return pd.DataFrame([
        {
            "Method": formatting.method_name(row.method), "Group": row.group, "Subjects": str(row.figures.subjects),
            "Scans": str(row.figures.scans), "Without relevance": str(row.figures.without_relevance),
            "Unit": row.scale.unit, "Colour from": formatting.three(row.scale.low),
            "to": formatting.three(row.scale.high), "Peak": formatting.three(row.factor * row.figures.peak),
            "at x, y, z mm": ", ".join(f"{v:.0f}" for v in row.figures.peak_mm), "in": peak,
        }
        for row, peak in zip(rows, peaks, strict=True)
    ])  # fmt: skip


def numbers(rows: Sequence[Numbers], peaks: Sequence[str]) -> pd.DataFrame:
    """Return one row a picture as numbers, for a file."""
    return pd.DataFrame([
        {
            "method": row.method, "group": row.group, "subjects": row.figures.subjects, "scans": row.figures.scans,
            "scans_without_relevance": row.figures.without_relevance,
            "unit": row.scale.unit, "colour_from": row.scale.low, "colour_to": row.scale.high,
            "median_size": row.factor * float(row.figures.levels[len(row.figures.levels) // 2]),
            "peak": row.factor * row.figures.peak,
            **{f"peak_{axis}_mm": mm for axis, mm in zip("xyz", row.figures.peak_mm, strict=True)},
            "peak_region": peak,
        }
        for row, peak in zip(rows, peaks, strict=True)
    ])  # fmt: skip


def scans(rows: pd.DataFrame, answer: OutputDescription) -> pd.DataFrame:
    """Return the explained scans as a list for the page, in the order given."""
    return pd.DataFrame({
        "Subject": rows.subject, "Session": rows.session, "Diagnosis": rows.diagnosis, "Predicted": rows.predicted,
        answer.axis: rows[answer.column].round(3), "Age": rows.age, "Sex": rows.sex,
    })  # fmt: skip
