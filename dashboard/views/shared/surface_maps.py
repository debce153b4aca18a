"""What maps are on the cortical surface, kept within bounds in bytes whatever the cohort and the grid."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import streamlit as st

from dashboard.data import byte_cache, runs
from dashboard.data.anatomy import brain
from dashboard.data.averages import MIB, Average, brain_map
from dashboard.data.runs import Run
from dashboard.drawing import surface_mesh
from dashboard.drawing.pictures import ScreenPicture
from dashboard.drawing.surface_mesh import Sampling
from dashboard.text import formatting

VALUES_LIMIT, PICTURES_LIMIT = 4 * MIB, 3 * MIB


_values = functools.partial(byte_cache.shared, "values of vertices", VALUES_LIMIT)  # ByteCache[np.ndarray]
_pictures = functools.partial(byte_cache.shared, "pictures of the cortex", PICTURES_LIMIT)  # ByteCache[ScreenPicture]


@st.cache_resource(max_entries=2, show_spinner=False)
def sampling(run: Run) -> Sampling:
    """Return how the vertices are made of the voxels of a run; 4 MB, made once in 0.6 s."""
    return surface_mesh.sampling(brain(run))


@st.cache_resource(max_entries=2, show_spinner=False)
def regions(run: Run) -> np.ndarray:
    """Return (vertices,) index of the region of the run's atlas, 0 for none."""
    reader, table = runs.opened(run), runs.table(run, "regions")
    used = table["index"][table.in_atlas.astype(bool)].to_numpy(int)
    return surface_mesh.region_of_vertices(reader.array("atlas"), reader.affine("template"), used)


def names(run: Run) -> dict[int, str]:
    """Return index -> name of every area of the run's atlas."""
    table = runs.table(run, "regions")
    areas = table[table.in_atlas.astype(bool)]
    return {int(i): formatting.region_name(str(r)) for i, r in zip(areas["index"], areas.region, strict=True)}


def of_averages(averages: Sequence[Average], factors: Sequence[float]) -> np.ndarray:
    """Return (vertices,) of an average, or of the first of two minus the second, each times its factor."""
    found = [_of_average(average) for average in averages]
    values = found[0] * np.float32(factors[0])
    return values - found[1] * np.float32(factors[1]) if len(found) == 2 else values


def _of_average(average: Average) -> np.ndarray:
    def make() -> np.ndarray:
        return sampling(average.selection.run).of(brain_map(average).values()[:-1])

    return _values().get(average, make)


def of_volume(run: Run, volume: np.ndarray, key: Hashable) -> np.ndarray:
    """Return (vertices,) of an (x, y, z) volume on the working grid; `key` names the volume among all."""
    return _values().get((run, key), lambda: sampling(run).of(brain(run).inside(volume)))


def on_screen(key: Hashable, draw: Callable[[], ScreenPicture]) -> ScreenPicture:
    """Return a picture for the page, drawn where it is not kept; `key` holds all that it depends on."""
    return _pictures().get(key, draw)
