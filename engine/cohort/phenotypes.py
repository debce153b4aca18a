"""Phenotypes: the measured volume of a structure, made local; the second kind of truth, which alters no image.

See docs/definitions.md, Phenotypes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine.cohort.tables import hint, read_table
from engine.cohort.values import as_numbers, numbers
from engine.errors import UserError

RARE = 0.05  # a region that is 0 in at most this share of the people is lacking in them, not in everyone
PEOPLE_PER_COVARIATE = 3  # below, residuals are what the fit happened to leave
FIT = (
    "Linear regression on the covariates and the first principal components of all other regions, over all people of "
    "the table. No image and no network takes part in it; of a test person, only the volumes enter, as one of all."
)


@dataclass(frozen=True)
class Phenotype:
    """A structure whose volume is a phenotype.

    Attributes:
        name: the column of the table that is written.
        volumes: columns of the volumes table, or their labels, that are added up.
        regions: regions of the atlas in which the structure lies: the truth.
    """

    name: str
    volumes: tuple[str, ...]
    regions: tuple[str, ...]


def _both(name: str, volume: str, region: str) -> Phenotype:
    sides = ("L", "R")
    return Phenotype(name, tuple(f"{volume}_{s}" for s in sides), tuple(f"{region}_{s}" for s in sides))


# Structures of DLMUSE that are, under one name and with much the same borders, regions of AAL2. Both sides together:
# the volumes of two sides go together so closely that a phenotype of one side is not local to it.
USUAL = (
    _both("hippocampus", "Hippocampus", "Hippocampus"),
    _both("amygdala", "Amygdala", "Amygdala"),
    _both("thalamus", "ThalamusProper", "Thalamus"),
    _both("putamen", "Putamen", "Putamen"),
    _both("caudate", "Caudate", "Caudate"),
    _both("pallidum", "Pallidum", "Pallidum"),
    Phenotype("ventricles", ("LateralVentricle_L", "LateralVentricle_R"), ("Ventricles",)),
    _both("precuneus", "Precuneus", "Precuneus"),
    _both("fusiform", "FusiformGyrus", "Fusiform"),
    _both("lingual", "LingualGyrus", "Lingual"),
)


@dataclass(frozen=True)
class VolumesTable:
    """Where volumes are, and what its columns mean.

    Attributes:
        file: CSV or TSV, one row a person, one column a region.
        labels: CSV or TSV with columns index (a heading of `file`) and name; None: the headings are the names.
        key: column with the person; None: the first.
        whole: the intracranial volume.
        sums_from: regions whose index is at least this are sums of others; None: none is.
    """

    file: Path
    labels: Path | None = None
    key: str | None = None
    whole: str = "ICV"
    sums_from: int | None = None


@dataclass(frozen=True)
class Covariates:
    """What is regressed out beside the other regions.

    Attributes:
        columns: of the cohort's table; texts count as classes.
        components: how many principal components of the other regions.
    """

    columns: tuple[str, ...] = ("age", "sex")
    components: int = 10


def parse_phenotype(text: str) -> Phenotype:
    """Read NAME=VOLUME+VOLUME:REGION+REGION.

    Raises:
        UserError: it is not of that form.
    """
    name, equals, rest = text.partition("=")
    volumes, colon, regions = rest.partition(":")
    parts = [tuple(part.strip() for part in names.split("+") if part.strip()) for names in (volumes, regions)]
    if not (name.strip().isidentifier() and equals and colon and all(parts)):
        raise UserError(
            f"--phenotype {text}: write NAME=VOLUME+VOLUME:REGION+REGION, for example "
            "putamen=Putamen_L+Putamen_R:Putamen_L+Putamen_R"
        )
    return Phenotype(name.strip(), *parts)


def read_people(file: Path, key: str | None, option: str) -> tuple[pd.DataFrame, str]:
    """Return a table of one row a person, and the column that names the person: the first unless `key` names it.

    Raises:
        UserError: there is no such column, or a person is missing or there twice.
    """
    rows = read_table(file)
    key = key or str(rows.columns[0])
    if key not in rows:
        raise UserError(f"{file.name}: no column {key} ({option}){hint(key, rows)}")
    twice = rows.index[rows[key].duplicated() | rows[key].isna()]
    if len(twice):
        raise UserError(f"{file.name} row {twice[0]}: the person ({key}) is missing or there twice")
    return rows, key


def read_volumes(table: VolumesTable) -> pd.DataFrame:
    """Return volumes as numbers: a row a person, a column a region under its name; without sums, with the whole.

    Raises:
        UserError: a table, column or value that is missing or wrong.
    """
    rows, key = read_people(table.file, table.key, "--volumes-key")
    names = _names(table, [column for column in rows.columns if column != key])
    if table.whole not in names.values():
        raise UserError(f"{table.file.name}: no volume {table.whole}; name the intracranial volume with --icv")
    found = pd.DataFrame({name: numbers(rows, column, "", table.file) for column, name in names.items()})
    return found.set_axis(rows[key].astype(str), axis=0)


def _names(table: VolumesTable, columns: Sequence[str]) -> dict[str, str]:
    """Return column -> name of the regions that are no sums, and of the whole."""
    names = {column: column for column in columns}
    if table.labels:
        labels = read_table(table.labels)
        if not {"index", "name"} <= set(labels.columns):
            raise UserError(f"{table.labels.name}: columns index and name are needed (--labels)")
        names |= {i: str(name) for i, name in zip(labels["index"], labels["name"], strict=True) if i in names}
    if table.sums_from is None:
        return names
    index = as_numbers(pd.Series(columns, dtype="string"))
    if index.isna().all():
        raise UserError(f"--sums-from {table.sums_from}: the columns of {table.file.name} have no numbers as headings")
    sums = {column for column, number in zip(columns, index, strict=True) if number >= table.sums_from}
    return {column: name for column, name in names.items() if column not in sums or name == table.whole}


def phenotype_table(
    cohort: pd.DataFrame, volumes: pd.DataFrame, whole: str, phenotypes: Sequence[Phenotype], covariates: Covariates
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Add a column of z scores for each phenotype to the table of a cohort; people left out have no value.

    Args:
        cohort: as text, its index the person.
        volumes: of regions and of the whole, by person.

    Returns:
        the table with its new columns, and how they were made, as plain values without anything of a single person.

    Raises:
        UserError: a volume or covariate that is not there, a column that is, or too few people.
    """
    for one in phenotypes:
        if one.name in cohort:
            raise UserError(f"phenotype {one.name}: the cohort's table has a column of that name; give another name")
        if missing := [name for name in one.volumes if name not in volumes]:
            raise UserError(f"phenotype {one.name}: no volume {missing[0]}{hint(missing[0], volumes)}")
    left_out = _left_out(cohort, volumes, whole, covariates)
    people = left_out.index[left_out == ""]
    known, size = volumes.loc[people], volumes.loc[people, whole]
    regions = known.drop(columns=whole)
    regions = regions.loc[:, (regions > 0).all(axis=0)]
    design = _design(cohort.loc[people], covariates.columns)
    least = PEOPLE_PER_COVARIATE * (1 + design.shape[1] + covariates.components)
    if len(people) < least:
        raise UserError(
            f"{len(people)} people with volumes and covariates are too few to regress out {covariates.components} "
            f"components; at least {least} are needed, or fewer --components"
        )
    found, made = cohort.copy(), {}
    for one in phenotypes:
        if missing := [name for name in one.volumes if name not in regions]:
            raise UserError(f"phenotype {one.name}: {missing[0]} is 0 in more than {RARE:.0%} of the people")
        target = np.log(known[list(one.volumes)].sum(axis=1) / size)
        others = np.log(regions.drop(columns=list(one.volumes)).div(size, axis=0))
        value, record = _localised(target, others, design, covariates.components)
        found[one.name] = value.reindex(found.index)
        made[one.name] = {"volumes": list(one.volumes), "regions": list(one.regions), **record}
    return found, {
        "people": len(people), "left_out": dict(Counter(left_out[left_out != ""])), "relative_to": whole,
        "covariates": list(covariates.columns), "components": covariates.components, "fit": FIT, "phenotypes": made,
    }  # fmt: skip


def _left_out(cohort: pd.DataFrame, volumes: pd.DataFrame, whole: str, covariates: Covariates) -> pd.Series:
    """Return why each person has no phenotype; empty for those who have.

    A region that few people lack was not found in them: such a segmentation has failed and is not trusted elsewhere.
    """
    for column in covariates.columns:
        if column not in cohort:
            raise UserError(f"--covariates {column}: the cohort's table has no such column{hint(column, cohort)}")
    reasons = pd.Series("", cohort.index, dtype=object)
    reasons[cohort[list(covariates.columns)].isna().any(axis=1)] = "a covariate is missing"
    there = reasons.index.isin(volumes.index)
    reasons[~there] = "no volumes"
    own = volumes.loc[cohort.index[there]]
    lacking = ~(own > 0)
    seldom = lacking.columns[lacking.mean() <= RARE]
    if len(own) and whole not in seldom:
        raise UserError(f"the intracranial volume {whole} is missing in more than {RARE:.0%} of the people")
    failed = lacking[seldom].any(axis=1)
    reasons[failed.index[failed]] = "a region was not found by the segmentation"
    return reasons


def _design(cohort: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Return covariates as (people, n) float64; texts become classes, all but one."""
    parts = []
    for column in columns:
        values = as_numbers(cohort[column])
        texts = bool(values.isna().any())
        part = pd.get_dummies(cohort[column], drop_first=True).to_numpy(float) if texts else values.to_numpy()[:, None]
        parts.append(part)
    return np.hstack(parts) if parts else np.zeros((len(cohort), 0))


def _localised(
    target: pd.Series, others: pd.DataFrame, design: np.ndarray, components: int
) -> tuple[pd.Series, dict[str, Any]]:
    """Regress covariates and principal components of other regions out of a log volume: (z scores, how it went)."""
    from sklearn.decomposition import PCA  # noqa: PLC0415
    from sklearn.linear_model import LinearRegression  # noqa: PLC0415

    if not 0 <= components <= others.shape[1]:
        raise UserError(f"--components {components}: there are {others.shape[1]} other regions")
    scaled = (others - others.mean()) / others.std()
    scores, explained = np.zeros((len(others), 0)), 0.0
    if components:
        analysis = PCA(components, svd_solver="full")
        scores = analysis.fit_transform(scaled)
        explained = float(analysis.explained_variance_ratio_.sum())
    predictors, rest = np.hstack([design, scores]), target - target.mean()
    if predictors.shape[1]:
        rest = target - LinearRegression().fit(predictors, target).predict(predictors)
    before, after = scaled.corrwith(target).abs(), scaled.corrwith(rest).abs()
    closest = str(after.idxmax())
    return (rest - rest.mean()) / rest.std(), {
        "variance_left": float(rest.var() / target.var()),
        "sd_log_volume": float(rest.std()),
        "other_regions": int(others.shape[1]),
        "variance_of_others_in_components": explained,
        "largest_correlation_with_another": {"before": float(before.max()), "after": float(after.max()),
                                             "region": closest},
    }  # fmt: skip
