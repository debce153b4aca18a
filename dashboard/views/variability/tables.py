"""How patients differ: a row a subject or a scan, covariates and shares of regions. Frames in, frames out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dashboard.data.cohort import ordered_diagnoses
from dashboard.drawing import ordering
from dashboard.drawing.ordering import SimilarityMap
from dashboard.text.outputs import OutputDescription
from dashboard.views.shared.region_values import RegionSizes, per_scan
from store.measures import divide

CLUSTERED = "cluster"
NUMBERS = {
    "age": "Age, years",
    "probability": "p",
    "value": "Predicted",
    "mmse": "MMSE",
    "cdr": "CDR",
    "cdr_sb": "CDR sum of boxes",
    "severity": "Imposed severity",
}
KINDS = {"diagnosis": "Diagnosis", "predicted": "Predicted group", "sex": "Sex", "site": "Site"}
DISTANCES = {"hellinger": "Hellinger", "euclidean": "Euclidean"}
FEWEST_FOR_Z = 3  # subjects or scans of a diagnosis, below which no spread is given


@dataclass(frozen=True)
class Sample:
    """Patients and where their relevance lies.

    Attributes:
        rows: a row a subject and diagnosis, or a scan: subject, scan (the first), diagnosis, scans, covariates.
        shares: (rows, k) share of the brain; NaN in regions without voxels on the grid.
        areas: names of the k columns.
        left_out: scans whose heatmaps are 0 everywhere, so that they have no share.
    """

    rows: pd.DataFrame
    shares: np.ndarray
    areas: RegionSizes
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def taken(self, places: np.ndarray) -> Sample:
        """Return some rows, in the order of `places`, or where it is True."""
        rows = self.rows.iloc[places].reset_index(drop=True)
        return Sample(rows, self.shares[places], self.areas, self.left_out)

    def largest(self, count: int | None) -> np.ndarray:
        """Return the columns of the atlas by their mean share, the largest first."""
        mean = self.shares.mean(axis=0) if len(self) else np.zeros(len(self.areas.names))
        order = np.argsort(-mean, kind="stable")
        return order[self.areas.inside[order]][:count]


def sample(rows: pd.DataFrame, sums: np.ndarray, areas: RegionSizes, by_subject: bool) -> Sample:
    """Build the sample from the sum of m in every region.

    Scans without a heatmap are left out; so are those without relevance, which are counted.

    Args:
        rows: explained scans.
        sums: (scans, regions) sum of m; NaN where there is no heatmap.
        by_subject: mean share over the scans of each subject and diagnosis.
    """
    known = np.nansum(sums, axis=1) > 0
    left_out = int(rows["scan"][np.isfinite(sums).any(axis=1)].nunique() - rows["scan"][known].nunique())
    rows, shares = rows[known].reset_index(drop=True), per_scan(np.nan_to_num(sums[known]), areas, "share")
    if rows["scan"].duplicated().any():  # a new scan, explained by several models
        rows, shares = _means(rows, shares, ["scan"])
    rows = rows.assign(scans=1)
    rows, shares = _means(rows, shares, ["subject", "diagnosis"]) if by_subject else (rows, shares)
    return Sample(rows, shares, areas, left_out)


def _means(rows: pd.DataFrame, shares: np.ndarray, by: list[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Return one row for each of the values of some columns: means of numbers and shares, the number of scans."""
    own = rows.groupby(by, sort=False).ngroup()
    how = {c: "mean" if c in NUMBERS else "sum" if c == "scans" else "first" for c in rows.columns}
    return rows.groupby(own).agg(how).reset_index(drop=True), pd.DataFrame(shares).groupby(own).mean().to_numpy()


def labels(rows: pd.DataFrame, by_subject: bool) -> list[str]:
    """Return what each row is called, every name once."""
    names = rows["subject" if by_subject else "scan"].astype(str)
    twice = names.duplicated(keep=False)
    return list(names.where(~twice, names + ", " + rows["diagnosis"].astype(str)))


def features(rows: pd.DataFrame) -> list[str]:
    """Return the covariates with at least two values among some scans; the diagnosis always."""
    names = [*KINDS, *NUMBERS]
    return [n for n in names if n == "diagnosis" or (n in rows and rows[n].replace("", np.nan).nunique() > 1)]


def feature_name(name: str, answer: OutputDescription) -> str:
    """Name a covariate in words."""
    return answer.axis if name == answer.column else {**KINDS, **NUMBERS}[name]


def describe_rows(rows: pd.DataFrame, names: Sequence[str], answer: OutputDescription) -> list[str]:
    """Return a line about each row for the pointer: sim-0001, AD, 75 y, F, p(AD) 0.930."""
    lines = []
    for name, row in zip(names, rows.itertuples(), strict=True):
        age = f"{row.age:.0f} y" if np.isfinite(row.age) else ""
        sex = row.sex if isinstance(row.sex, str) else ""
        parts = [name, row.diagnosis, age, sex, f"{answer.name} {answer.number(getattr(row, answer.column))}"]
        lines.append(", ".join(part for part in parts if part))
    return lines


def z_scores(found: Sample, everyone: Sample) -> np.ndarray:
    """Return the distance from the mean of the own diagnosis in SD (ddof 1), over everyone of the model set.

    Shape (rows, k). NaN below three of a diagnosis, and where nobody differs.
    """
    z = np.full(found.shares.shape, np.nan)
    for diagnosis in found.rows["diagnosis"].unique():
        own = (found.rows["diagnosis"] == diagnosis).to_numpy()
        reference = everyone.shares[(everyone.rows["diagnosis"] == diagnosis).to_numpy()]
        if len(reference) >= FEWEST_FOR_Z:
            spread = reference.std(axis=0, ddof=1)
            away = found.shares[own] - reference.mean(axis=0)
            z[own] = np.divide(away, spread, out=np.full(away.shape, np.nan), where=spread > 0)
    return z


def some_rows(count: int, most: int) -> np.ndarray:
    """Choose at most so many rows at random, always the same, in their order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def order(rows: pd.DataFrame, values: np.ndarray, by: str, groups: Sequence[str]) -> np.ndarray:
    """Return the order of the rows: similar ones together, or by a covariate and within it by similarity.

    Unknown values come last. NaN of `values` counts as 0.
    """
    clustered = ordering.hierarchical_order(np.nan_to_num(values)) if len(values) else np.arange(0)
    if by == CLUSTERED:
        return clustered
    keys = rows[by].replace("", np.nan)
    if by in ("diagnosis", "predicted"):
        places = {name: place for place, name in enumerate(kinds(rows, by, groups))}
        keys = keys.map(places)
    known = pd.Series(keys.to_numpy(), index=np.arange(len(rows)), dtype=object if by in KINDS else float)
    return known.iloc[clustered].sort_values(kind="stable", na_position="last").index.to_numpy()


def kinds(rows: pd.DataFrame, name: str, groups: Sequence[str]) -> list[str]:
    """Return the values of a covariate that is not a number, in the order of legends."""
    if name == "diagnosis":
        return ordered_diagnoses(rows, groups)
    found = sorted(str(v) for v in rows[name].dropna().unique() if v != "")
    return sorted(found, key=lambda v: list(groups).index(v) if v in groups else len(groups))


def add_lobe_shares(found: Sample, regions: pd.DataFrame) -> pd.DataFrame:
    """Return temporal and cortical share of each row; see docs/definitions.md, Share and density.

    Args:
        found: its columns are the regions of the table, one by one.
    """
    inside = regions["in_atlas"].to_numpy(bool)
    parts = {lobe: found.shares[:, inside & (regions["lobe"] == lobe).to_numpy()] for lobe in ("temporal", "cortical")}
    return found.rows.assign(**{f"{lobe}_share": np.nansum(part, axis=1) for lobe, part in parts.items()})


def without_lobe(regions: pd.DataFrame) -> list[str]:
    """Return the regions of the atlas whose lobe is not known, without their sides, in the atlas's order."""
    unknown = regions["in_atlas"].to_numpy(bool) & ~regions["lobe"].isin(["temporal", "cortical", "other"]).to_numpy(
        bool
    )
    return list(dict.fromkeys(regions.loc[unknown, "merged"]))


def drop_without_relevance(found: Sample) -> Sample:
    """Return the sample without the rows that have no relevance in any region of the atlas."""
    return found.taken(np.nansum(found.shares[:, found.areas.inside], axis=1) > 0)


def similarity(found: Sample, kind: str) -> SimilarityMap:
    """Place patients as points: the closer, the more alike are their shares of the atlas regions.

    Args:
        found: every row with relevance.
        kind: hellinger or euclidean.
    """
    inside = np.nan_to_num(found.shares[:, found.areas.inside])
    shares = divide(inside, inside.sum(axis=1, keepdims=True))
    features = np.sqrt(shares / 2) if kind == "hellinger" else shares
    return ordering.similarity_map(features)


def distances(rows: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return the scans with their distance to the mean of the others of their diagnosis, and its robust z.

    Args:
        rows: explained scans.
        table: rows of the variability table, of one model set and method.
    """
    own = table.set_index(["model", "scan"])["distance_to_group"]
    pairs = pd.MultiIndex.from_frame(rows[["model", "scan"]])
    away = pd.Series(own.reindex(pairs).to_numpy(float), index=rows.index)
    return rows.assign(distance=away, z=ordering.outliers(away, rows["diagnosis"]))
