"""A head with its own segmentation in the template's space: both carried along by one transform."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.processing import resample_from_to

from engine.config.preprocessing_schema import PreprocessingConfig
from engine.images.grid import Grid, resample_to_grid
from engine.images.nifti import open_scan
from engine.images.template import brain_mask
from engine.preprocessing import steps

WHOLE = 0.01  # a label this near a whole number is it


@dataclass(frozen=True)
class SegmentedHead:
    """A person's brain and its regions on one grid.

    Attributes:
        brain: (x, y, z) float32, white matter about 1, 0 outside the person's own brain.
        cover: (x, y, z) float32, share of each voxel that is the person's own brain.
        labels: (x, y, z) int16, of the person's own segmentation.
    """

    brain: np.ndarray
    cover: np.ndarray
    labels: np.ndarray


def prepare_head(
    scan: Path, segmentation: Path, settings: PreprocessingConfig, mm: int, by_labels: bool = False
) -> SegmentedHead:
    """Bring a head and its segmentation to the template's space, by the steps that real scans go through.

    Labels are taken from the nearest voxel, intensities are interpolated linearly.

    Args:
        scan: T1 of a whole head, or of a brain with brain_extraction none.
        segmentation: labels of its regions, in the same space.
        settings: registration is affine, or none for heads that lie in MNI space.
        mm: of the grid.
        by_labels: the brain is what has a label, instead of what the settings extract.
    Raises:
        ValueError: no brain is found, or a segmentation that is not one of this head.
        RunError: a package is missing.
    """
    image = steps.load_upright(scan)
    data, labels = np.asarray(image.dataobj), _labels_like(segmentation, image)
    extracted = not by_labels and settings.brain_extraction != "none"
    mask = steps.extract_brain(image) if extracted else (labels if by_labels else data) > 0
    if settings.n4:
        data = steps.correct_bias(data, image.affine, mask)
    data = data * mask
    if settings.registration == "none":
        brain, cover, carried = (
            resample_to_grid(nib.Nifti1Image(part, image.affine), Grid(mm), order)
            for part, order in ((data.astype(np.float32), 1), (mask.astype(np.float32), 1), (labels, 0))
        )
    else:
        with tempfile.TemporaryDirectory() as scratch:
            way = steps.register(data, image.affine, settings.registration, settings.registration_mm, f"{scratch}/")
            brain, cover = (steps.sample(part, image.affine, way, mm) for part in (data, mask))
            carried = steps.sample_labels(labels, image.affine, way, mm)
    inside = brain_mask(mm)
    return SegmentedHead(
        steps.scale_to_white_matter(np.maximum(brain, 0), inside),
        np.clip(cover, 0, 1).astype(np.float32),
        carried.astype(np.int16),
    )


def _labels_like(file: Path, image: nib.Nifti1Image) -> np.ndarray:
    """Read a segmentation onto the voxels of its head, (x, y, z) int16; the nearest label where they differ.

    Raises:
        ValueError: labels that are not whole numbers of 16 bits, or none of which lies in the head's image.
    """
    given = open_scan(file)
    values = np.asanyarray(given.dataobj).reshape(given.shape[:3]).astype(np.float32)
    whole = np.rint(values)
    if not np.abs(values - whole).max() < WHOLE or not 0 <= whole.min() <= whole.max() <= np.iinfo(np.int16).max:
        raise ValueError(f"{file.name} is not a segmentation: its voxels are not whole numbers from 0 to 32767")
    labels = nib.Nifti1Image(whole.astype(np.int16), given.affine)
    found = np.asarray(resample_from_to(labels, (image.shape[:3], image.affine), order=0).dataobj)
    if not found.any():
        raise ValueError(f"{file.name} does not lie where its head does: not one label is in the head's image")
    return found
