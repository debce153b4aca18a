"""The working grids: MNI152NLin2009cAsym at 1 to 4 mm, RAS+. The only file that moves axes."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.processing import resample_from_to
from scipy import ndimage

ORIGIN_MM = (-96.0, -132.0, -78.0)
FULL_SHAPE = (193, 229, 193)  # at 1 mm
# Not nibabel.processing.fwhm2sigma, which has more digits: 1 in 1200 voxels would differ by one rounding of float32,
# and with it every network trained on them.
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
        x, y, z = (-(-n // self.mm) for n in FULL_SHAPE)
        return x, y, z

    @property
    def affine(self) -> np.ndarray:
        """Return the affine, voxel -> mm, (4, 4)."""
        affine = np.diag([self.mm, self.mm, self.mm, 1.0])
        affine[:3, 3] = ORIGIN_MM
        return affine

    @property
    def voxel_cm3(self) -> float:
        return self.mm**3 / 1000

    def voxels(self, mm: float) -> int:
        """Return a length in voxels, at least 1: 20 mm at 3 mm is 7."""
        return max(1, int(mm / self.mm + 0.5))


def coarsen(volume: np.ndarray, from_mm: int, to_mm: int) -> np.ndarray:
    """Bring a volume of the `from_mm` grid to the `to_mm` grid: smooth it against aliasing, then sample it.

    The smoothing brings a resolution of `from_mm` (full width at half maximum) to `to_mm`. nilearn.image.resample_img
    after smooth_img takes 0.9 to 1.4 times as long, is another at the borders and needs 1.8 s to import.
    """
    if to_mm % from_mm:
        raise ValueError(f"a {from_mm} mm grid has no voxels at every {to_mm} mm")
    if to_mm == from_mm:
        return volume.astype(np.float32)
    sigma = FWHM_TO_SIGMA * np.sqrt(to_mm**2 - from_mm**2) / from_mm
    step = to_mm // from_mm
    return ndimage.gaussian_filter(volume.astype(np.float32), sigma, mode="constant")[::step, ::step, ::step]


def coarsen_labels(labels: np.ndarray, from_mm: int, to_mm: int) -> np.ndarray:
    """Return integer labels of the `from_mm` grid at the voxels of the `to_mm` grid."""
    step = to_mm // from_mm
    return np.ascontiguousarray(labels[::step, ::step, ::step])


def resample_to_grid(image: nib.Nifti1Image, grid: Grid, order: int = 1) -> np.ndarray:
    """Resample an image onto the grid by its affine; 0 where it does not reach.

    Args:
        image: any orientation and voxel size, three-dimensional.
        grid: where to.
        order: 0 nearest (labels), 1 linear.
    """
    # Coarser targets average what they skip; labels cannot be averaged.
    if order:
        image = nib.Nifti1Image(smooth_to(np.asanyarray(image.dataobj), image.affine, grid.mm), image.affine)
    return np.ascontiguousarray(resample_from_to(image, (grid.shape, grid.affine), order=order).dataobj)


def smooth_to(data: np.ndarray, affine: np.ndarray, mm: float) -> np.ndarray:
    """Return a volume smoothed from the resolution of its voxels to one of `mm`, float32; finer axes alone."""
    sizes = voxel_sizes(affine)
    return ndimage.gaussian_filter(
        data.astype(np.float32), np.sqrt(np.maximum(mm**2 - sizes**2, 0)) * FWHM_TO_SIGMA / sizes
    )


def to_colin_box(image: nib.Nifti1Image) -> np.ndarray:
    """Return integer labels in the field of view of Colin27, 1 mm, RAS+, however the file stores them.

    What is stored in that box is only reoriented, its origin ignored: files of AAL1 disagree about it by a voxel.
    Anything else is placed by its affine, so that a cropped or coarser file is not zoomed.
    """
    upright = nib.as_closest_canonical(image)
    if upright.shape == COLIN_SHAPE and np.allclose(voxel_sizes(upright.affine), 1, atol=0.01):
        return np.asanyarray(upright.dataobj)
    box = np.eye(4)
    # Between two voxels the left, anterior, upper one is taken, as in AAL2's own file, however the image is stored.
    box[:3, 3] = np.add(COLIN_ORIGIN_MM, (-TIE_MM, TIE_MM, TIE_MM))
    return np.asanyarray(resample_from_to(upright, (COLIN_SHAPE, box), order=0).dataobj)


def stretch(labels: np.ndarray, grid: Grid) -> np.ndarray:
    """Zoom integer labels to the grid's shape, their affine ignored, as the original study did.

    Args:
        labels: axes as the grid's, from left to right, back to front and down to up; see `to_colin_box`.
        grid: where to.
    """
    index = [
        np.minimum((np.arange(n) + 0.5) * m / n, m - 1).astype(int)
        for n, m in zip(grid.shape, labels.shape, strict=True)
    ]
    return labels[np.ix_(*index)]
