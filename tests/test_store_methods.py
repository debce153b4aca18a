"""Drops of evidence on voxels (segment_occlusion) are never taken for gradients, which lie on the same grid."""

from __future__ import annotations

import numpy as np
import pytest
from store_factory import make_run

from dashboard.data import map_images, runs
from dashboard.viewer import patient_scene as scene
from store import open_run
from store.export import nifti
from store.reading.settings import average_scale

MODEL, SCAN, METHOD = "fold-1", "a1-1", "segment_occlusion"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("store"), methods=["sensitivity", METHOD])


@pytest.fixture(scope="module")
def run(place):
    return open_run(place.parent)


def test_what_is_stored_tells_drops_from_gradients(run):
    assert run.is_gradient("sensitivity")
    assert not run.is_gradient(METHOD)
    assert not run.is_gradient("nothing")


def test_the_drop_of_the_probability_is_the_stored_one(run):
    margin, probability = (run.heatmap(MODEL, METHOD, SCAN, target="AD", scale=s) for s in ("margin", "probability"))
    p = run.table("predictions", model=MODEL, scan=SCAN).probability.iloc[0]
    assert np.abs(probability).sum() > 0
    assert not np.allclose(probability, p * (1 - p) * margin)
    other = run.heatmap(MODEL, METHOD, SCAN, target="NC", scale="probability")
    np.testing.assert_array_equal(other, 0 - probability)


def test_averages_are_of_positive_drops(run):
    assert nifti.paper_statistic(run, "folds", METHOD) == "mean_positive"
    assert nifti.paper_statistic(run, "folds", "sensitivity") == "mean_abs"
    assert average_scale(run, "folds", METHOD) == "margin"
    assert runs.average_of(run, METHOD) == ("margin", "mean_positive", "drop of margin")


def test_the_viewer_and_the_report_show_drops(run, place):
    shown = runs.Run(str(place.parent), run.run_id, "")
    found = scene.patient_volumes(run, shown, MODEL, SCAN, ["sensitivity", METHOD], "AD", "probability")
    gradient, drop = found.maps
    assert not gradient.positive_only
    assert drop.positive_only
    assert drop.volume is not None
    assert (gradient.resolution, drop.resolution) == ("2 mm", "segments of the scan")
    drawn = map_images.patient_map(run, MODEL, METHOD, SCAN, "AD", "margin")
    assert drawn.grid.min() == 0
    assert not drawn.smooth
    values = run.heatmap(MODEL, METHOD, SCAN, target="AD")
    np.testing.assert_allclose(drawn.grid, np.maximum(values, 0))
