"""Names of what a run holds: models, the heatmaps of one model, and the averages over a group."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from store.files.encoding import array_path
from store.spec import CELLS, HEATMAPS

if TYPE_CHECKING:
    import pandas as pd

# Methods whose maps are the same for any network: baselines beside which explanations stand, and no explanation.
TRAINING_MAPS = ("t_map", "linear_weights", "linear_pattern")  # of the groups that a network was trained on
BASELINES = ("sobel", "intensity", "smooth_random", *TRAINING_MAPS)
ALL = "all"  # in the place of a predicted group: cells of all scans of a diagnosis, in runs without persons
_FOLD, _RETRAINED = re.compile(r"fold-(\d+)"), "-seed-"


class ModelName(str):
    """Name of a trained network: fold-1..fold-k or holdout, with -seed-n behind it where it was trained again."""

    __slots__ = ()

    @classmethod
    def of_fold(cls, fold: int) -> ModelName:
        """Return the name of the network that has not seen a fold, counted from 1."""
        return cls(f"fold-{fold}")

    @classmethod
    def of_seed(cls, number: int) -> ModelName:
        """Return the name of the held-out network trained again, counted from 1."""
        return cls(f"holdout{_RETRAINED}{number}")

    @property
    def fold(self) -> int | None:
        """Return the fold that the network has not seen; None for the held-out model."""
        found = _FOLD.match(self)
        return int(found[1]) if found else None

    @property
    def model_set(self) -> str:
        """Return which networks it belongs to, folds or holdout."""
        return "holdout" if self.fold is None else "folds"

    @property
    def retrained(self) -> bool:
        """Return whether the network is another one's again with another seed: it explains the same scans."""
        return _RETRAINED in self


def are_of_folds(models: pd.Series) -> pd.Series:
    """Return which model names of a column are networks of the cross-validation."""
    return models.map({name: ModelName(name).fold is not None for name in models.unique()}).astype(bool)


def are_retrained(models: pd.Series) -> pd.Series:
    """Return which model names of a column are trained again; they count no scan a second time."""
    return models.map({name: ModelName(name).retrained for name in models.unique()}).astype(bool)


def explains(method: str) -> bool:
    """Return whether maps of a method say something of the network; those of baselines do not."""
    return method not in BASELINES


class HeatmapKey(NamedTuple):
    """The heatmaps of one model by one method, for the evidence of one group, in one scale.

    Attributes:
        target: the group whose evidence is explained, as heatmaps are stored.
        scale: of spec.SCALES.
    """

    model: str
    method: str
    target: str
    scale: str = "margin"

    @property
    def path(self) -> str:
        """Return the path of the array that holds these heatmaps, one scan a row."""
        return array_path(HEATMAPS, **self._asdict())


class GroupKey(NamedTuple):
    """The averages of heatmaps of one model set by one method, for the evidence of one group, in one scale.

    Attributes:
        model_set: folds or holdout.
        target: a group; where averages are asked for, also "true" or "predicted", for each scan its own.
        scale: of spec.CELL_SCALES.
    """

    model_set: str
    method: str
    target: str
    scale: str = "margin"

    def cell_path(self, diagnosis: str, predicted: str) -> str:
        """Return the path of the array of one group cell."""
        return array_path(CELLS, **self._asdict(), diagnosis=diagnosis, predicted=predicted)
