"""Times of maps on the cortical surface: `python tests/helpers/surface_speed.py --store FOLDER [--run RUN]`.

A map counts from its voxels, which the sections of the page have read already, to the picture that is sent.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import store
from dashboard.data import averages, runs
from dashboard.data.anatomy import brain
from dashboard.data.averages import Average
from dashboard.data.selection import ScanFilter, Selection
from dashboard.drawing import projection, surface
from dashboard.drawing.colours import Range, Style
from dashboard.drawing.pictures import ScreenPicture
from dashboard.viewer import surface_places
from dashboard.views.shared import surface_maps


def timed(make: Callable[[], Any]) -> float:
    """Return how long something takes, ms."""
    start = time.perf_counter()
    make()
    return 1000 * (time.perf_counter() - start)


def drawn(average: Average, shape: str) -> None:
    """Draw a group average for the page."""
    values = surface_maps.of_averages((average,), (1.0,))
    scale = Range(*(float(q) for q in np.nanpercentile(values, [80, 99.5])), "u")
    ScreenPicture.of(surface.picture(values, shape, Style(), scale))


def main() -> None:
    """Print the times of the first picture, of further maps, and of the other surface."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("--run")
    wanted = parser.parse_args()
    info = next(one for one in store.list_runs(wanted.store) if wanted.run in (None, one.run))
    run = runs.Run(wanted.store, info.run, info.created)
    model_set, methods = next(iter(runs.available(run).items()))
    groups = runs.manifest(run)["groups"]
    every = [
        Average(Selection(run, model_set, method, groups[0], ScanFilter(diagnosis=(group,))))
        for method in methods for group in groups
    ]  # fmt: skip
    for average in every:
        averages.brain_map(average)

    def first() -> None:
        drawn(every[0], "inflated")
        surface_maps.regions(run)
        surface_places.version("inflated", "neurological")

    print(f"first picture, with fsaverage5, its views, the atlas and the index: {timed(first):.0f} ms")
    further = [timed(lambda one=one: drawn(one, "inflated")) for one in every[1:]]
    print(f"{len(further)} further maps: {statistics.median(further):.0f} ms, slowest {max(further):.0f} ms")
    own, style = brain(run), Style()
    voxels = averages.combined((every[0],), (1.0,))
    glass = [timed(lambda: projection.picture(voxels, own, style, Range(0.1, 1.0, "u"))) for _ in range(5)]
    print(f"glass brain: {statistics.median(glass):.0f} ms")
    print(f"first on the pial surface: {timed(lambda: drawn(every[0], 'pial')):.0f} ms")


if __name__ == "__main__":
    main()
