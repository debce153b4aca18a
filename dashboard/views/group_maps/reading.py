"""The bar over the reading of heatmaps, with the time left."""

from __future__ import annotations

import time
from collections.abc import Sequence

import streamlit as st

from dashboard.data import averages as data_averages
from dashboard.data.averages import Average
from dashboard.text import formatting


class Reading:
    """A progress bar over all heatmaps that must be read, with the time left."""

    def __init__(self, waiting: Sequence[Average]) -> None:
        """Count the heatmaps of averages that are not kept; those that the run has stored need no reading."""
        self._all = sum(len(a.selection.rows()) for a in waiting if not data_averages.is_stored(a))
        self._before = 0
        self._started = time.monotonic()
        self._bar = st.empty()

    def step(self, done: int, count: int) -> None:
        """Move the bar after a scan of an average."""
        now = self._before + done
        left = (time.monotonic() - self._started) / now * (self._all - now)
        text = f"Averaging the chosen scans: {now} of {self._all} heatmaps, {formatting.duration(left)} left"
        self._bar.progress(min(now / max(self._all, 1), 1.0), text)
        if done == count:
            self._before += count

    def end(self) -> None:
        """Remove the bar."""
        self._bar.empty()


def read(averages: Sequence[Average], progress: Reading) -> dict[Average, str]:
    """Read averages, several at once where group cells answer; return those that cannot be, and why."""
    waiting = [average for average in averages if not data_averages.is_known(average)]
    return data_averages.read_all(waiting, progress.step)
