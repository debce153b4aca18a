"""Opens scans: NIfTI in one file or two, and Analyze 7.5, whose header names the plane instead of an affine."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

# Mayo's Analyze 7.5: hist.orient -> where the three axes of the file lead; all but 3 and 4 are "unflipped".
ANALYZE_AXES = {0: "LAS", 1: "LSA", 2: "ASL", 3: "LPS", 4: "LIA"}
_DIRECTIONS = {
    "R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1),
}  # fmt: skip


class UnknownOrientation(ValueError):
    """An image whose header does not say where its axes lead."""


def header_file(path: Path) -> Path | None:
    """The header that lies beside an .img file; None for files that hold their own."""
    return path.with_suffix(".hdr") if path.suffix == ".img" else None


def open_scan(path: Path) -> nib.spatialimages.SpatialImage:
    """A scan with its affine (voxel -> mm, RAS); voxels are read when they are asked for.

    An Analyze image becomes a NIfTI image in memory: its plane gives the directions of the axes, the centre of the
    volume lies at 0 mm, and x leads from right to left, as the format has it, unless SPM left a .mat file or an origin.

    Raises:
        UnknownOrientation: an Analyze header with another plane.
        OSError, ValueError, nibabel.filebasedimages.ImageFileError: not an image.
    """
    image = nib.load(path)
    if not isinstance(image, nib.AnalyzeImage) or isinstance(image, nib.Nifti1Pair):
        return image
    return nib.Nifti1Image(image.dataobj, _analyze_affine(image, path))


def _analyze_affine(image: nib.AnalyzeImage, path: Path) -> np.ndarray:
    code = int.from_bytes(image.header["orient"].item(), "little")
    if code not in ANALYZE_AXES:
        raise UnknownOrientation(f"the Analyze header has the orientation {code}, which is not known: convert to NIfTI")
    if code == 0 or path.with_suffix(".mat").is_file():
        return image.affine
    axes = np.array([_DIRECTIONS[letter] for letter in ANALYZE_AXES[code]], dtype=float).T
    affine = np.eye(4)
    affine[:3, :3] = axes * image.header.get_zooms()[:3]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(image.shape[:3]) - 1) / 2)
    return affine
