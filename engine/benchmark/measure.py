"""Repeated, paired timing, and what a result of the benchmark says."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from engine.errors import RunError


class DisagreementError(RunError):
    """Two ways to the same numbers differ by more than rounding: nothing was timed."""


@dataclass(frozen=True)
class Result:
    """One line of the benchmark.

    Attributes:
        seconds: median of ours.
        against: what it is compared with; None: nothing.
        against_seconds: the same work done that way, perhaps extrapolated (`notes` says how).
        ratio: median of the ratios of each pair, against / ours.
        max_difference: largest absolute difference of the two results, in `unit`.
    """

    name: str
    seconds: float
    against: str | None = None
    against_seconds: float | None = None
    ratio: float | None = None
    max_difference: float | None = None
    unit: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setting:
    """What every benchmark is told."""

    device: torch.device
    grid_mm: int
    repeats: int
    against: str | None
    say: Callable[[str], None] = print

    def clock(self, work: Callable[[], Any]) -> float:
        """Return the seconds of one call, the device's own work included."""
        self._wait()
        started = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - started

    def median(self, work: Callable[[], Any]) -> float:
        """Return the median seconds after one call that does not count."""
        work()
        return statistics.median(self.clock(work) for _ in range(self.repeats))

    def pairs(self, ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[float, float, float]:
        """Return (median of ours, median of theirs, median ratio theirs / ours), one after the other in each repeat."""
        ours(), theirs()
        times = [(self.clock(ours), self.clock(theirs)) for _ in range(self.repeats)]
        own, other = (statistics.median(column) for column in zip(*times, strict=True))
        return own, other, statistics.median(b / a for a, b in times)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def agree(name: str, difference: float, at_most: float) -> float:
    """Return the difference of two results, if it is no more than rounding.

    Raises:
        DisagreementError: it is more.
    """
    if not difference <= at_most:
        raise DisagreementError(f"{name}: the two ways differ by {difference:.2g}, more than {at_most:.2g}; not timed")
    return difference


def machine(device: torch.device) -> dict[str, Any]:
    """Return what the times depend on."""
    found = {"cores": os.cpu_count(), "torch": torch.__version__, "threads": torch.get_num_threads()}
    if device.type == "cuda":
        return found | {"device": torch.cuda.get_device_name(device)}
    return found | {"device": _processor()}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
