"""Real heads to impose changes on: their table, and who becomes a patient of the simulation.

Whatever the people of the table have, the groups are drawn at random among them, so that nothing but the imposed change
tells them apart; of many draws the one is taken whose groups are most alike in age and sex. A person is in the cohort
once: under two names one would be in training and in the test.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from engine.cohort.columns import frame_of, our_columns
from engine.cohort.readers.table import paths_of
from engine.cohort.tables import hint, read_table, tables_in
from engine.config.cohort_schema import CohortConfig, Heads
from engine.errors import UserError
from engine.images.hashing import file_hash
from engine.images.nifti import missing_content

DRAWS = 500  # of groups, from which the most balanced is taken
YEARS_OFF = 1.0  # that a group may be older or younger than asked for
OPTION = "cohort.simulation.heads"


@dataclass(frozen=True)
class HeadFile:
    """A person's head.

    Attributes:
        scan, segmentation: files.
        key: hash of both, whatever they are called.
        age: years, to the year; NaN where the table does not say.
        sex: F, M or empty.
        icv: mm3, NaN where the table does not say.
    """

    scan: Path
    segmentation: Path
    key: str
    age: float
    sex: str
    icv: float


def read_heads(heads: Heads) -> tuple[HeadFile, ...]:
    """Return all heads of a table, one of each person, in its order.

    Raises:
        UserError: a table, column or file that is missing or wrong, or one head twice. One line, with the mend.
    """
    table_file = _table_of(heads)
    table = read_table(table_file)
    columns = CohortConfig(columns=heads.columns)
    names = our_columns(table, columns, table_file)
    scans = _paths(table, names, heads.path, table_file, "path")
    segmentations = _paths(table, names, heads.segmentation, table_file, "segmentation")
    frame = frame_of(table, names, scans, table_file)
    people = frame.assign(segmentation=segmentations).drop_duplicates("subject")
    for column, file in ((c, Path(f)) for c in ("path", "segmentation") for f in people[c]):
        if absent := missing_content(file):
            raise UserError(f"{OPTION}.{column}: {absent}")
        if not file.is_file():
            raise UserError(f"{OPTION}.{column}: no file {file.name} in {file.parent}; mend the pattern or the table")
    found = tuple(_head(row) for _, row in people.iterrows())
    keys = pd.Series([head.key for head in found])
    if keys.duplicated().any():
        first = people.iloc[int(np.flatnonzero(keys.duplicated(keep=False))[0])]
        raise UserError(
            f"{OPTION}.data: {table_file.name} has the same head under two names, one in row {first['row']}; leave one "
            "row, or the head could be in training and in the test"
        )
    return found


def label_names(heads: Heads) -> dict[str, int]:
    """Return name -> label of the segmentation.

    Raises:
        UserError: the table is missing, or is no table of labels.
    """
    file = _table_of(heads).parent / heads.labels
    table = read_table(file)
    for column in ("name", "index"):
        if column not in table.columns:
            raise UserError(f"{OPTION}.labels: {file.name} has no column {column}{hint(column, table)}")
    numbers = pd.to_numeric(table["index"], errors="coerce")
    wrong = table.index[numbers.isna() | (numbers % 1 != 0) | table["name"].isna()]
    if len(wrong):
        raise UserError(f"{OPTION}.labels: {file.name} row {wrong[0]}: needs a name and a whole number as index")
    return dict(zip(table["name"].astype(str), numbers.astype(int).tolist(), strict=True))


def draw_groups(heads: tuple[HeadFile, ...], sizes: tuple[int, ...], seed: int, older: float = 0.0) -> list[HeadFile]:
    """Draw people for the groups at random, groups balanced for age and sex as far as the table has them.

    Args:
        heads: of the table.
        sizes: of each group.
        seed: of the run.
        older: years by which the mean age of the first group is to lie above that of the others.
    Returns:
        the people of the first group, then those of the second and so on; nobody twice.
    Raises:
        UserError: fewer heads than people are asked for, or no ages by which one group can be older.
    """
    total = sum(sizes)
    if len(heads) < total:
        raise UserError(
            f"{OPTION}.data: {len(heads)} heads for {total} subjects, and each needs one of its own; ask for fewer "
            "with cohort.simulation.positive, negative and apply_mci"
        )
    ends = np.cumsum(sizes)
    if older:
        return [heads[index] for index in _older_first(heads, sizes, seed, older)]
    features = _features(heads)
    random = np.random.default_rng([seed, 6])
    draws = [random.permutation(len(heads))[:total] for _ in range(DRAWS if features.size else 1)]
    best = min(draws, key=lambda draw: _imbalance(np.split(features[draw], ends[:-1])))
    return [heads[index] for index in best]


def _older_first(heads: tuple[HeadFile, ...], sizes: tuple[int, ...], seed: int, older: float) -> np.ndarray:
    """Return which heads are drawn, (people,), the first group older by so many years and alike in sex.

    In each draw the first two groups are divided by age and chance, chance weighing more or less; the draw is taken
    whose difference is nearest to the one asked for. Further groups are drawn as everybody.
    """
    ages = np.array([head.age for head in heads])
    if not np.isfinite(ages).all() or not ages.std():
        raise UserError(
            f"{OPTION}.data: patients of this scenario are older, and the table has no ages by which to tell; give the "
            "age of everybody"
        )
    random, first, two = np.random.default_rng([seed, 7]), sizes[0], sum(sizes[:2])
    features, in_sd = _features(heads), older / ages.std()
    found: list[tuple[float, float, float, np.ndarray]] = []
    for _ in range(DRAWS):
        drawn = random.permutation(len(heads))[: sum(sizes)]
        leaning = random.uniform(0, 3) * ages[drawn[:two]] / ages.std() + random.normal(size=two)
        drawn[:two] = drawn[:two][np.argsort(-leaning, kind="stable")]
        reached = float(ages[drawn[:first]].mean() - ages[drawn[first:two]].mean())
        groups = np.split(features[drawn], np.cumsum(sizes)[:-1])
        groups[0] = groups[0] - in_sd * np.eye(groups[0].shape[1])[0]  # age is the first of them
        found.append((max(abs(reached - older) - YEARS_OFF, 0.0), _imbalance(groups), reached, drawn))
    beyond, _, reached, best = min(found, key=lambda one: one[:2])
    if beyond:
        raise UserError(
            f"cohort.simulation.effect: patients are to be {older:.0f} years older, and by these heads they can be "
            f"{reached:.0f}; ask for another effect or fewer subjects, or give more heads"
        )
    return best


def _imbalance(groups: list[np.ndarray]) -> float:
    """Return the largest difference between the means of two groups, of any feature, in standard deviations."""
    means = [group.mean(axis=0) for group in groups if len(group)]
    differences = [np.abs(a - b).max(initial=0.0) for a in means for b in means]
    return max(differences, default=0.0)


def _features(heads: tuple[HeadFile, ...]) -> np.ndarray:
    """Return age and sex in standard deviations, (heads, 0 to 2); those that the table has of everybody."""
    ages, women = np.array([head.age for head in heads]), np.array([head.sex == "F" for head in heads], float)
    known = [ages] if np.isfinite(ages).all() else []
    known += [women] if all(head.sex for head in heads) else []
    return np.array([(f - f.mean()) / f.std() for f in known if f.std() > 0]).reshape(-1, len(heads)).T


def _head(row: pd.Series) -> HeadFile:
    scan, segmentation = Path(row["path"]), Path(row["segmentation"])
    key = hashlib.blake2b(f"{_hash(scan)} {_hash(segmentation)}".encode(), digest_size=16).hexdigest()
    return HeadFile(scan, segmentation, key, float(np.round(row["age"])), str(row["sex"]), float(row["icv"]))


@lru_cache(maxsize=4096)
def _hash(file: Path) -> str:
    return file_hash(file)


def _table_of(heads: Heads) -> Path:
    """Return the table of the heads: itself, or the only one of the folder that was given."""
    if heads.data is None:
        raise UserError(f"{OPTION}.data: give the folder of the heads, or their table")
    place = Path(heads.data)
    if not place.is_dir():
        if not place.is_file():
            raise UserError(f"{OPTION}.data: no folder or table {place}")
        return place
    tables = [file for file in tables_in(place) if file.name != Path(heads.labels).name]
    if len(tables) != 1:
        found = ", ".join(file.name for file in tables) or "none"
        raise UserError(f"{OPTION}.data: which table of {place} describes the heads ({found})? give its path")
    return tables[0]


def _paths(table: pd.DataFrame, names: dict[str, str], pattern: str, file: Path, option: str) -> list[Path]:
    """Return the files that a pattern names, relative to the table; errors name the option of the heads."""
    try:
        return paths_of(table, names, pattern, file.parent, file)
    except UserError as error:
        raise UserError(str(error).replace("cohort.path", f"{OPTION}.{option}")) from None
