"""Native grids -> full volumes."""

from __future__ import annotations

import numpy as np
import pytest

from store import SpecViolationError
from store.files.geometry import positions_to_voxels, regions_to_voxels, to_voxels


def test_blocks_of_the_paper_are_centred_at_their_voxel():
    values = np.arange(17.0)[:, None, None] * np.ones((17, 20, 17))
    line = positions_to_voxels(values, 12, (193, 229, 193))[:, 0, 0]
    for k in range(16):
        assert (line[max(12 * k - 6, 0) : 12 * k + 6] == k).all()
    assert (line[186:] == 16).all()


@pytest.mark.parametrize(("stride", "size"), [(3, 49), (4, 65), (6, 97), (12, 193), (1, 5), (5, 3)])
def test_every_voxel_takes_the_nearest_position(stride, size):
    count = -(-size // stride)
    values = np.random.default_rng(0).normal(size=(2, count, count, count))
    full = positions_to_voxels(values, stride, (size, size, size))
    for v in range(size):
        distances = np.abs(np.arange(count) * stride - v)
        nearest = np.flatnonzero(distances == distances.min())[-1]  # halfway belongs to the next block
        np.testing.assert_array_equal(full[:, v, v, v], values[:, nearest, nearest, nearest])


def test_regions_are_painted_and_the_rest_is_zero():
    atlas = np.array([[[0, 1, 2], [3, 9, 2]]], np.int16)
    values = np.array([[1.0, -2.0, 3.0], [4.0, 5.0, 6.0]])
    full = regions_to_voxels(values, atlas)
    np.testing.assert_array_equal(full[0], [[[0, 1, -2], [3, 0, -2]]])
    np.testing.assert_array_equal(full[1], [[[0, 4, 5], [6, 0, 5]]])


def test_outside_the_mask_is_plain_zero():
    mask = np.zeros((2, 2, 2), np.uint8)
    values = -np.ones((2, 2, 2), np.float32)
    full = to_voxels(values, "voxels", stride=None, shape=(2, 2, 2), atlas=mask, mask=mask)
    assert not np.signbit(full).any()
    assert (values == -1).all()


def test_unknown_grid_and_missing_stride_are_named():
    mask = np.ones((2, 2, 2), np.uint8)
    options = {"shape": (2, 2, 2), "atlas": mask, "mask": mask}
    with pytest.raises(SpecViolationError, match="triangles"):
        to_voxels(np.zeros((2, 2, 2)), "triangles", stride=None, **options)
    with pytest.raises(SpecViolationError, match="stride"):
        to_voxels(np.zeros((1, 1, 1)), "positions", stride=None, **options)
