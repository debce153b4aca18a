"""What the networks learn by their margin: the group of a scan, or the value of a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from engine.networks.cnn3d import margins


@dataclass(frozen=True)
class Classification:
    """Cross-entropy of the two groups.

    Attributes:
        positive: scan -> truly of the positive group.
    """

    positive: Mapping[str, bool]

    def fitted(self, _scans: Sequence[str]) -> Classification:
        """Return the same: nothing is learned of the training scans."""
        return self

    def label(self, scans: Sequence[str]) -> np.ndarray:
        """Return the (n,) float64 label of training scans: 1 for the positive group, else 0."""
        return np.array([float(self.positive[s]) for s in scans])

    def truth(self, scans: Sequence[str], device: torch.device) -> Tensor:
        """Return the (n,) int64 class of each scan."""
        return torch.tensor([int(self.positive[s]) for s in scans], device=device)

    def loss(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Return the () mean cross-entropy of a batch."""
        return nn.functional.cross_entropy(logits, truth)

    def right(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Return how many of a batch are called right, ()."""
        return (logits.argmax(1) == truth).sum()

    def judge(self, margin: np.ndarray, scans: Sequence[str]) -> dict[str, float]:
        """Return loss, accuracy and auc of (n,) margins."""
        labels = np.array([self.positive[s] for s in scans])
        signed = np.where(labels, margin, -margin)
        return {
            "loss": float(np.logaddexp(0, -signed).mean()),
            "accuracy": float(((margin >= 0) == labels).mean()),
            "auc": float(roc_auc_score(labels, margin)) if labels.any() and not labels.all() else np.nan,
        }

    def card(self) -> dict:
        """Return nothing to add to the model card."""
        return {}


@dataclass(frozen=True)
class Regression:
    """Mean squared error of the margin, which is the value of the target in standard deviations of the training scans.

    The networks have two outputs as for two groups; their difference is what is learned, so that every relevance method
    explains it as it explains the margin of a group.

    Attributes:
        column: of the scans table.
        values: scan -> value of the target, in its unit.
        mean, sd: of the training scans (ddof 0); set by `fitted`.
    """

    column: str
    values: Mapping[str, float]
    mean: float = 0.0
    sd: float = 1.0

    def fitted(self, scans: Sequence[str]) -> Regression:
        """Return the objective with mean and sd of these scans alone; a sd of 0 becomes 1."""
        known = np.array([self.values[s] for s in scans], float)
        return replace(self, mean=float(known.mean()), sd=float(known.std()) or 1.0)

    def label(self, scans: Sequence[str]) -> np.ndarray:
        """Return the (n,) float64 values of training scans."""
        return np.array([self.values[s] for s in scans], float)

    def standardised(self, scans: Sequence[str]) -> np.ndarray:
        """Return the (n,) float64 values in standard deviations from the training mean."""
        return (np.array([self.values[s] for s in scans], float) - self.mean) / self.sd

    def truth(self, scans: Sequence[str], device: torch.device) -> Tensor:
        """Return the (n,) float32 standardised value of each scan."""
        return torch.tensor(self.standardised(scans), dtype=torch.float32, device=device)

    def loss(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Return the () mean squared error of a batch."""
        return nn.functional.mse_loss(margins(logits)[:, 1], truth.to(logits.dtype))

    def right(self, logits: Tensor, _truth: Tensor) -> Tensor:
        """Return () nan: there is no right or wrong."""
        return torch.full((), torch.nan, device=logits.device)

    def judge(self, margin: np.ndarray, scans: Sequence[str]) -> dict[str, float]:
        """Return the loss of (n,) margins; accuracy and auc are missing."""
        return {"loss": float(np.mean((margin - self.standardised(scans)) ** 2)), "accuracy": np.nan, "auc": np.nan}

    def card(self) -> dict:
        """Return what turns margins into values: value = mean + sd * margin."""
        return {"task": "regression", "target": self.column, "target_mean": self.mean, "target_sd": self.sd}


def objective_of(card: dict) -> Classification | Regression:
    """Return what a network of this model card has learnt, without the scans that it learnt from."""
    if card.get("task") != "regression":
        return Classification({})
    return Regression(card["target"], {}, card["target_mean"], card["target_sd"])


Objective = Classification | Regression
