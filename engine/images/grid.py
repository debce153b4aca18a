"""The working grids: MNI152NLin2009cAsym at 1 to 4 mm, RAS+ (design, section 5). The only file that moves axes."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from scipy import ndimage

ORIGIN_MM = (-96.0, -132.0, -78.0)
FULL_SHAPE = (193, 229, 193)  # at 1 mm
FWHM_TO_SIGMA = 1 / 2.354820045
TIE_MM = 1e-4
# The field of view of MNI's Colin27, in which AAL1 is drawn: 1 mm, RAS+.
COLIN_SHAPE, COLIN_ORIGIN_MM = (181, 217, 181), (-90.0, -126.0, -72.0)


@dataclass(frozen=True)
class Grid:
    """A k mm grid; its voxel i is voxel k * i of the 1 mm grid."""

    mm: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(-(-n // self.mm) for n in FULL_SHAPE)

    @property
    def affine(self) -> np.ndarray:
        """Voxel -> mm, (4, 4)."""
        affine = np.diag([self.mm, self.mm, self.mm, 1.0])
        affine[:3, 3] = ORIGIN_MM
        return affine

    @property
    def voxel_cm3(self) -> float:
        return self.mm**3 / 1000

    def voxels(self, mm: float) -> int:
        """A length in voxels, at least 1: 20 mm at 3 mm is 7."""
        return max(1, int(mm / self.mm + 0.5))


def coarsen(volume: np.ndarray, from_mm: int, to_mm: int) -> np.ndarray:
    """A volume of the `from_mm` grid on the `to_mm` grid: smoothed against aliasing, then sampled.

    The smoothing brings a resolution of `from_mm` (full width at half maximum) to `to_mm`.
    """
    if to_mm % from_mm:
        raise ValueError(f"a {from_mm} mm grid has no voxels at every {to_mm} mm")
    if to_mm == from_mm:
        return volume.astype(np.float32)
    sigma = FWHM_TO_SIGMA * np.sqrt(to_mm**2 - from_mm**2) / from_mm
    step = to_mm // from_mm
    return ndimage.gaussian_filter(volume.astype(np.float32), sigma, mode="constant")[::step, ::step, ::step]


def coarsen_labels(labels: np.ndarray, from_mm: int, to_mm: int) -> np.ndarray:
    """Integer labels of the `from_mm` grid at the voxels of the `to_mm` grid."""
    step = to_mm // from_mm
    return np.ascontiguousarray(labels[::step, ::step, ::step])


def place(image: nib.Nifti1Image, grid: Grid, order: int = 1) -> np.ndarray:
    """An image resampled onto the grid by its affine; 0 where it does not reach.

    Args:
        image: any orientation and voxel size, three-dimensional.
        grid: where to.
        order: 0 nearest (labels), 1 linear.
    """
    data = np.asanyarray(image.dataobj)
    to_image = np.linalg.inv(image.affine) @ grid.affine
    # Coarser targets average what they skip; labels cannot be averaged.
    if order:
        spacing = np.sqrt((image.affine[:3, :3] ** 2).sum(axis=0))
        wider = np.sqrt(np.maximum(grid.mm**2 - spacing**2, 0)) * FWHM_TO_SIGMA / spacing
        data = ndimage.gaussian_filter(data.astype(np.float32), wider)
    moved = ndimage.affine_transform(data, to_image[:3, :3], to_image[:3, 3], output_shape=grid.shape, order=order)
    return np.ascontiguousarray(moved)


def in_colin_box(image: nib.Nifti1Image) -> np.ndarray:
    """Return integer labels in the field of view of Colin27, 1 mm, RAS+, however the file stores them.

    What is stored in that box is only reoriented, its origin ignored: files of AAL1 disagree about it by a voxel.
    Anything else is placed by its affine, so that a cropped or coarser file is not zoomed.
    """
    upright = nib.as_closest_canonical(image)
    if upright.shape == COLIN_SHAPE and np.allclose(nib.affines.voxel_sizes(upright.affine), 1, atol=0.01):
        return np.asanyarray(upright.dataobj)
    box = np.eye(4)
    # Between two voxels the left, anterior, upper one is taken, as in AAL2's own file, however the image is stored.
    box[:3, 3] = np.add(COLIN_ORIGIN_MM, (-TIE_MM, TIE_MM, TIE_MM))
    to_image = np.linalg.inv(upright.affine) @ box
    labels = np.asanyarray(upright.dataobj)
    return ndimage.affine_transform(labels, to_image[:3, :3], to_image[:3, 3], output_shape=COLIN_SHAPE, order=0)


def stretch(labels: np.ndarray, grid: Grid) -> np.ndarray:
    """Integer labels zoomed to the grid's shape, their affine ignored, as the original study did.

    Args:
        labels: axes as the grid's, from left to right, back to front and down to up; see `in_colin_box`.
        grid: where to.
    """
    index = [
        np.minimum((np.arange(n) + 0.5) * m / n, m - 1).astype(int)
        for n, m in zip(grid.shape, labels.shape, strict=True)
    ]
    return labels[np.ix_(*index)]
