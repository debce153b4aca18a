"""Relevance and tissue: how tissue is measured, correlations with known answers, and the tables of a run."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from engine.analysis.anatomy import correlations, correlations_with_intervals, tissue_share, z_scores
from engine.atlas.aal import load_atlas
from engine.config.cohort_schema import CohortConfig, Simulation
from engine.config.schema import AtlasConfig
from engine.simulation.cohort import SimulatedPreparer, read
from store.measures import draw_subjects


def test_tissue_is_nothing_in_fluid_all_of_grey_and_white_matter_and_mixed_between():
    mask = np.ones((1, 1, 20), bool)
    mask[..., -1] = False
    volume = np.ones((1, 1, 20))
    volume[..., :5] = 0.0, 0.3, 0.45, 0.6, 0.8
    share = tissue_share(volume, mask)
    assert len(share) == 19
    assert share[:5] == pytest.approx([0, 0, 0.5, 1, 1])
    assert tissue_share(volume * 700, mask) == pytest.approx(share)  # whatever the scanner's unit
    assert not tissue_share(np.zeros((1, 1, 20)), mask).any()


@pytest.mark.parametrize(("region", "most"), [("ParaHippocampal", -0.7), ("Hippocampus", -0.35)])
def test_tissue_falls_with_what_was_imposed(region, most):
    simulation = Simulation(positive=16, negative=1, effect=1.4, severity_sd=0.7, solve_mm=4)
    rows = read(CohortConfig(simulation=simulation)).scans.head(16)
    preparer, atlas = SimulatedPreparer(simulation, 4, 0), load_atlas(AtlasConfig(), 4)
    mask = atlas.labels > 0
    places = atlas.mask(region)[mask]
    tissue = [tissue_share(preparer.volume(row), mask)[places].sum() for row in rows.to_dict("records")]
    assert np.corrcoef(tissue, rows["severity"].to_numpy(float))[0, 1] < most


def test_correlations_and_their_draws_against_numpy_one_by_one():
    random = np.random.default_rng(3)
    first, second = random.normal(size=(2, 14, 5)) + 1000  # far from 0: the sums must not cancel
    second[:, 1] = -first[:, 1]
    second[:, 2] = 7.0
    draws = draw_subjects(14, 60, 4)
    found = correlations(first, second, draws)
    for draw, row in zip(draws, found, strict=True):
        people = np.repeat(np.arange(14), draw)
        for k in (0, 1, 3, 4):
            assert row[k] == pytest.approx(stats.pearsonr(first[people, k], second[people, k]).statistic, abs=1e-9)
    assert np.isnan(found[:, 2]).all()
    value, low, high = correlations_with_intervals(first, second, draws)
    assert value[1] == low[1] == high[1] == pytest.approx(-1)
    assert [low[0], high[0]] == pytest.approx(np.percentile(found[:, 0], [2.5, 97.5]))
    assert np.isnan([value[2], low[2], high[2]]).all()


def test_a_known_correlation_lies_in_its_interval_and_four_subjects_have_none():
    random = np.random.default_rng(0)
    tissue = random.normal(size=(200, 1))
    relevance = -0.86 * tissue + np.sqrt(1 - 0.86**2) * random.normal(size=(200, 1))
    value, low, high = (one[0] for one in correlations_with_intervals(relevance, tissue, draw_subjects(200, 500, 0)))
    assert value == pytest.approx(-0.86, abs=0.04)
    assert -0.92 < low < value < high < -0.78
    assert np.isnan(correlations_with_intervals(relevance[:4], tissue[:4], draw_subjects(4, 50, 0))).all()


def test_z_scores_are_of_the_reference_and_of_nobody_missing():
    reference = np.array([[1.0, 5.0], [3.0, 5.0]])
    found = z_scores(np.array([[2 + np.sqrt(2), 6.0]]), reference)
    assert found[0, 0] == pytest.approx(1)
    assert np.isnan(found[0, 1])  # the reference does not differ there
    assert np.isnan(z_scores(np.ones((1, 2)), reference[:1])).all()
