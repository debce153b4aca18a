"""Scores of several networks that were trained alike, as one: the spread between them enters the interval.

The mean of their scores says what to expect of one network, the score of the mean of their maps what all mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.analysis.truth import SCORES
from engine.analysis.truth_intervals import MeanMap, Sample

DRAWS = 25  # of the networks of an ensemble: each serves several resamples of the people


@dataclass(frozen=True)
class OverNetworks:
    """Mean of the scores of networks that were trained alike; a resample takes one of them, as it takes people.

    Attributes:
        networks: a sample of each, of the same subjects in the same order.
    """

    networks: Sequence[Sample]

    @property
    def shifts(self) -> bool:
        """Return whether scores of resamples lie to one side of the score."""
        return self.networks[0].shifts

    def value(self) -> np.ndarray:
        """Return the (SCORES,) mean over the networks that have a score; nan where none has."""
        values = np.array([one.value() for one in self.networks])
        known = np.isfinite(values).sum(axis=0)
        return np.divide(np.nansum(values, axis=0), known, out=np.full(len(SCORES), np.nan), where=known > 0)

    def drawn(self, counts: np.ndarray) -> np.ndarray:
        """Return the (n, SCORES) of one network each, in turn, with each subject as often as a row of `counts` says."""
        found = np.full((len(counts), len(SCORES)), np.nan)
        for number, one in enumerate(self.networks):
            if len(rows := counts[number :: len(self.networks)]):
                found[number :: len(self.networks)] = one.drawn(rows)
        return found


class Ensemble:
    """Scores of the average of the maps of networks that were trained alike; a resample draws networks, too.

    Args:
        networks: the mean map of each, of the same subjects in the same order.
        seed: of the draws; another for networks that it is compared with, whose chance is their own.
    """

    shifts = True

    def __init__(self, networks: Sequence[MeanMap], seed: int = 0) -> None:
        self._networks = networks
        count = len(networks)
        self._draws = np.random.default_rng([seed, 12]).multinomial(count, np.full(count, 1 / count), DRAWS)

    def value(self) -> np.ndarray:
        """Return the (SCORES,) of the average over all networks and maps."""
        return MeanMap.over(self._networks, [1] * len(self._networks)).value()

    def drawn(self, counts: np.ndarray) -> np.ndarray:
        """Return the (n, SCORES) of networks drawn again, with each subject as often as a row of `counts` says."""
        found = np.full((len(counts), len(SCORES)), np.nan)
        for number, times in enumerate(self._draws.tolist()):
            if len(rows := counts[number::DRAWS]):
                found[number::DRAWS] = MeanMap.over(self._networks, times).drawn(rows)
        return found
