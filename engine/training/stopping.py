"""When a training ends, and which epoch's weights are kept: functions of the learning curve alone."""

from __future__ import annotations

from collections.abc import Sequence

from engine.config.schema import TrainingConfig


def chosen_epoch(curve: Sequence[dict], config: TrainingConfig) -> int:
    """Return the epoch, from 1, whose weights are kept: the last, or with patience that of the least validation loss.

    The epochs in which patience does not count yet are not chosen while there are others.

    Args:
        curve: rows of the training table, at least one.
    """
    if config.patience is None:
        return len(curve)
    counted = [row for row in curve if row["epoch"] > config.patience_from] or curve[-1:]
    return min(counted, key=lambda row: row["validation_loss"])["epoch"]


def is_finished(curve: Sequence[dict], config: TrainingConfig) -> bool:
    """Return whether all epochs are done, or the validation loss has not fallen for as many as patience allows."""
    if len(curve) >= config.epochs:
        return True
    if config.patience is None or len(curve) <= config.patience_from:
        return False
    return len(curve) - chosen_epoch(curve, config) >= config.patience
