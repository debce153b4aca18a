"""What the browser needs once to say where on the cortex the cursor is: the vertex of every pixel, its place in mm."""

from __future__ import annotations

import functools
import gzip
import hashlib

import numpy as np

from dashboard.drawing.colours import CONVENTIONS
from dashboard.drawing.surface import index_of_vertices
from dashboard.drawing.surface_mesh import SURFACES, cortex

TENTHS = 10  # of a mm, in which places are sent


@functools.lru_cache(maxsize=len(SURFACES) * len(CONVENTIONS))
def packed(surface: str, convention: str) -> bytes:
    """Return, by gzip and little-endian, the uint16 `index_of_vertices` and behind it the int16 places on the pial
    surface, (vertices, 3) tenths of mm.

    The same for every run and every reader: fsaverage5 is nobody's brain.
    """
    index = index_of_vertices(surface, convention).astype("<u2")
    places = np.rint(TENTHS * cortex().pial).astype("<i2")
    return gzip.compress(index.tobytes() + places.tobytes(), 6, mtime=0)


@functools.cache
def version(surface: str, convention: str) -> str:
    """Return letters that change with what is packed, so that a browser may keep it for ever."""
    return hashlib.sha256(packed(surface, convention)).hexdigest()[:12]


def is_known(surface: str, convention: str) -> bool:
    """Return whether there are such a surface and such a convention."""
    return surface in SURFACES and convention in CONVENTIONS
