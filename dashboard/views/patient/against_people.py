"""The regions of a scan against other people: tables, chart and what the viewer writes, made once for all readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd

from dashboard.data import runs
from dashboard.data.kept import kept
from dashboard.data.runs import Run
from dashboard.data.selection import Selection
from dashboard.drawing import palette
from dashboard.drawing.chart import Chart
from dashboard.viewer import RegionFigures
from dashboard.views.patient import charts, reference_groups
from dashboard.views.patient import queries as patient_queries
from dashboard.views.patient import tables as patient_tables

TOP = 10
SCANS_KEPT = 512  # by methods and evidence: their tables of regions, 40 kB each
Figures = Mapping[str, Mapping[int, RegionFigures]]


class Question(NamedTuple):
    """Whose regions, by which methods, against the other subjects of which diagnosis."""

    run: Run
    model_set: str
    methods: tuple[str, ...]
    target: str
    model: str
    scan: str
    subject: str
    diagnosis: str


def question(selection: Selection, model: str, row: pd.Series, methods: Sequence[str], diagnosis: str) -> Question:
    """Ask for the regions of a scan against the other subjects of a diagnosis."""
    return Question(
        selection.run, selection.model_set, tuple(methods), selection.target, model, row["scan"], row["subject"],
        diagnosis,
    )  # fmt: skip


@kept(SCANS_KEPT)
def tables(asked: Question) -> Mapping[str, pd.DataFrame]:
    """Return method -> regions of the scan against the others."""
    found = {}
    for method in asked.methods:
        shares = patient_queries.region_shares(asked.run, asked.model_set, method, asked.target)
        if (asked.model, asked.scan) not in shares.index:
            continue
        people = patient_queries.subject_means(asked.run, asked.model_set, method, asked.target)
        own = shares.loc[(asked.model, asked.scan)]
        found[method] = patient_tables.against_group(own, people, asked.subject, asked.diagnosis)
    return MappingProxyType(found)


@kept(SCANS_KEPT)
def figures(asked: Question) -> Figures:
    """Return what the viewer writes under the cursor of these tables."""
    return viewer_figures(asked.run, tables(asked))


def viewer_figures(run: Run, found: Mapping[str, pd.DataFrame]) -> Figures:
    """Return method -> region -> what the viewer writes under the cursor."""
    regions = runs.table(run, "regions")
    index = dict(zip(regions.region.tolist(), regions["index"].astype(int).tolist(), strict=True))

    def known(number: float) -> float | None:
        return number if number == number else None

    return {
        method: {
            index[region]: RegionFigures(share, known(percentile), n, known(mean))
            for region, share, percentile, n, mean in zip(
                *(table[name].tolist() for name in ("region", "share", "percentile", "n", "mean")), strict=True
            )
            if region in index and share == share  # a heatmap that is 0 everywhere has no shares
        }
        for method, table in found.items()
    }


@kept(SCANS_KEPT)
def strongest(asked: Question, method: str) -> pd.DataFrame:
    """Return the regions of the atlas that hold most of the patient's relevance by a method."""
    known = runs.table(asked.run, "regions")
    return patient_tables.top_regions(tables(asked)[method], set(known.region[known.in_atlas.astype(bool)]), TOP)


def tables_of_groups(asked: Question) -> dict[str, Mapping[str, pd.DataFrame]]:
    """Return group of the run -> method -> regions of the scan against that group."""
    return {group: tables(asked._replace(diagnosis=group)) for group in runs.manifest(asked.run)["groups"]}


@kept(SCANS_KEPT)
def chart_of_groups(asked: Question, method: str) -> Chart:
    """Return the chart of these regions against both groups of the run."""
    groups, top = runs.manifest(asked.run)["groups"], strongest(asked, method).region.tolist()
    return reference_groups.chart(tables_of_groups(asked), method, top, groups).ready()


@kept(SCANS_KEPT)
def chart(asked: Question, method: str) -> Chart:
    """Return the chart of these regions against the others."""
    return charts.against_group(strongest(asked, method), asked.diagnosis, palette.method_colour(method)).ready()
