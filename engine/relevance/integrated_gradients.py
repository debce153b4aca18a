"""Integrated gradients: the gradient averaged on the way from a baseline to the scan, times that way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from engine.networks.architectures import footprint
from engine.networks.cnn3d import margins
from engine.networks.device import volumes_that_fit
from engine.relevance.base import Relevance, RelevanceMethod, check_volumes
from engine.relevance.block_gradients import Way
from engine.relevance.fills import fill_volume
from engine.relevance.gradients import summed_gradients

TOLERANCE = 0.01  # of the margin's change, by which the sum may miss it
MOST_STEPS = 256
PIECES = 8  # of the way: what is missed lies in some of them, and more of them would cost more passes to see where


@dataclass(frozen=True)
class IntegratedGradients(RelevanceMethod):
    """Contribution of each voxel on the straight way from a baseline to the scan; they add up to the margin's change.

    Source: Sundararajan et al. 2017 (arXiv 1703.01365), equation 1, by Gauss-Legendre quadrature. Where the sum misses
    the change of the margin by more than 1 % of it, more gradients are taken on the pieces of the way that miss theirs
    most, until it does not, or the most are reached.
    Unit:   margin. Sign kept.
    Cost:   `steps` forward and backward passes a scan, more where the margin bends much.

    Attributes:
        steps: gradients on the way, at first.
        reference: where the way begins: mean (0, the training mean), nc_mean, blurred, other_subject or a number.
        most_steps: gradients in all, at most.
    """

    name: ClassVar[str] = "integrated_gradients"
    antisymmetric: ClassVar[bool] = True
    contribution: ClassVar[bool] = True

    steps: int = 32
    reference: str | float = "mean"
    most_steps: int = MOST_STEPS

    def attribute(self, model: nn.Module, volumes: Tensor, explained_class: int) -> Relevance:
        """Return (n, x, y, z) integrated gradients of the margin. See RelevanceMethod.attribute."""
        check_volumes(volumes)
        maps, missed = [], []
        for volume in volumes[:, 0]:
            baseline = fill_volume(self.reference, volume, self.brain)
            found, error = _WayToScan(self, model, explained_class, baseline, volume).integrated()
            maps.append(found)
            missed.append(error)
        all_maps = torch.stack(maps) if maps else volumes[:, 0].clone()
        return Relevance(all_maps, completeness_error=torch.tensor(missed, dtype=torch.float64))


class _Piece:
    """A piece of the way with the integral of the gradient over it, refined round by round.

    Args:
        places, weights: (n,) of the gradients of the first round.
        borders: (n + 1,) of the intervals around these places, as wide as their weights.

    Attributes:
        places, weights: of the gradients of the next round.
        ends: of the piece on the way, from 0, the baseline, to 1, the scan.
        total: (x, y, z) the integral so far.
    """

    total: Tensor

    def __init__(self, places: np.ndarray, weights: np.ndarray, borders: np.ndarray) -> None:
        self.places, self.weights, self._borders = places, weights, borders
        self.ends = (float(borders[0]), float(borders[-1]))
        self._rounds = 0

    def add(self, found: Tensor) -> None:
        """Take the sum of the weighted gradients of this round, which count as much as all before.

        The second round has the borders of the intervals, by the trapezoidal rule; each later one the middles between
        all places so far.
        """
        if self._rounds == 0:
            self.total, widths = found, np.diff(self._borders)
            self.places, self.weights = self._borders, (np.append(widths, 0) + np.append(0, widths)) / 2
        else:
            self.total = (self.total + found) / 2
            self._borders = np.sort(np.append(self._borders, _middles(self._borders)))
            self.places, self.weights = _middles(self._borders), np.diff(self._borders)
        self._rounds += 1


class _WayToScan:
    """The straight way from a baseline to a scan, along which gradients are summed up."""

    def __init__(
        self, method: IntegratedGradients, model: nn.Module, explained_class: int, baseline: Tensor, scan: Tensor
    ) -> None:
        self._method, self._model, self._class = method, model, explained_class
        self._baseline, self._way = baseline, scan - baseline

    def integrated(self) -> tuple[Tensor, float]:
        """Return the (x, y, z) way times the mean gradient on it, and the share of the margin's change that it misses.

        Changes below 1e-3 of a margin count as 1e-3, so that scans that look like the baseline have no huge error.
        """
        taken, most = self._method.steps, self._method.most_steps
        pieces = self._pieces(min(PIECES, taken) if most > taken else 1)
        change = float(np.diff(self._margins([0.0, 1.0]))[0])
        wanted: list[float] = []  # of the pieces

        def missed() -> float:
            return abs(sum(self._sum(one) for one in pieces) - change) / max(abs(change), 1e-3)

        while missed() > TOLERANCE:
            possible = [number for number, one in enumerate(pieces) if taken + len(one.places) <= most]
            if not possible:
                break
            wanted = wanted or np.diff(self._margins([one.ends[0] for one in pieces] + [1.0])).tolist()
            worst = pieces[max(possible, key=lambda number: abs(self._sum(pieces[number]) - wanted[number]))]
            taken += len(worst.places)
            self._refine(worst)
        return self._way * torch.stack([one.total for one in pieces]).sum(0), missed()

    def _pieces(self, count: int) -> list[_Piece]:
        """Return the pieces of the way with all gradients of the quadrature, which has one in each interval."""
        places, weights = np.polynomial.legendre.leggauss(self._method.steps)
        places, weights = (places + 1) / 2, weights / 2  # from [-1, 1] to [0, 1]
        borders = np.append(0, np.cumsum(weights))
        found = []
        for own in np.array_split(np.arange(len(places)), count):
            found.append(_Piece(places[own], weights[own], borders[own[0] : own[-1] + 2]))
            self._refine(found[-1])
        return found

    def _refine(self, piece: _Piece) -> None:
        """Take the gradients of the next round of a piece."""
        at, by = (torch.as_tensor(one).to(self._way) for one in (piece.places, piece.weights))
        way, method = Way(self._baseline[None, None], self._way[None, None], at), self._method
        piece.add(summed_gradients(self._model, way, by, self._class, method.batch, method.brain))

    def _sum(self, piece: _Piece) -> float:
        """Return the change of the margin along a piece by the gradients so far."""
        return float((piece.total * self._way).double().sum())

    def _margins(self, places: Sequence[float]) -> np.ndarray:
        """Return the margins at places on the way, in batches that fit."""

        def part(start: int, stop: int) -> Tensor:
            volumes = torch.stack([self._baseline + at * self._way for at in places[start:stop]])
            with torch.no_grad():
                return margins(self._model(volumes[:, None]))[:, self._class].double()

        batch, voxels = self._method.batch, self._way.numel() * footprint(self._model)
        found = batch.run(len(places), part, volumes_that_fit(voxels, self._way.device, batch.at_most))
        return found.cpu().numpy()


def _middles(borders: np.ndarray) -> np.ndarray:
    return (borders[1:] + borders[:-1]) / 2
