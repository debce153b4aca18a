"""The anatomy under the pictures of a run: the 1 mm template, and the brain on the working grid."""

from __future__ import annotations

import streamlit as st

from dashboard.data import runs
from dashboard.data.runs import Run
from dashboard.drawing.brain_maps import Brain
from dashboard.drawing.cuts import PLANES, Anatomy
from store import RunReader


def template(reader: RunReader) -> Anatomy:
    """Read the 1 mm template of a run as the background of pictures."""
    return Anatomy(reader.array("template"), reader.array("mask") > 0, reader.affine("template"))


@st.cache_resource(max_entries=2, show_spinner=False)
def anatomy(run: Run) -> Anatomy:
    """Return the 1 mm template of a run as the background of pictures, read once for all sessions."""
    return template(runs.opened(run))


@st.cache_resource(max_entries=2, show_spinner=False)
def brain(run: Run) -> Brain:
    """Return the brain of a run on the working grid."""
    reader = runs.opened(run)
    return Brain.of(reader.mask, reader.affine())


def extent(run: Run, plane: str) -> tuple[float, float]:
    """Return the first and the last position of the brain across a plane, in mm."""
    found, axis = anatomy(run), PLANES[plane][2]
    edges = found.box[axis].start, found.box[axis].stop - 1
    low, high = sorted(float(round(found.affine[axis, axis] * e + found.affine[axis, 3])) for e in edges)
    return low, high
