"""What the rules of Rieke et al. 2018 change: how it is measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine.config.schema import AtlasConfig
from engine.pipeline import replication


def test_regions_that_change_are_counted_by_name_not_by_place():
    names = [f"R{i}" for i in range(12)]
    ours = pd.Series(np.arange(12, 0, -1.0), names)
    swapped = ours.copy()
    swapped[["R0", "R1"]] = swapped[["R1", "R0"]].to_numpy()
    assert replication.compared(ours, swapped)["changed"] == 0
    assert replication.compared(ours, swapped)["first_other"] == "R1"
    moved = ours.copy()
    moved[["R0", "R11"]] = moved[["R11", "R0"]].to_numpy()
    found = replication.compared(ours, moved[::-1])
    assert found["changed"] == 1
    assert found["rank_correlation"] == pytest.approx(1 - 6 * 2 * 11**2 / (12 * (12**2 - 1)))


def test_an_unknown_store_is_one_line(tmp_path, capsys):
    assert replication.main([str(tmp_path), "none"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_the_hippocampus_of_the_stretched_atlas_overlaps_with_the_placed_one():
    assert replication.stretched_dice(AtlasConfig()) == pytest.approx(
        0.686, abs=0.002
    )  # 0.39 when the atlas was mirrored and zoomed
