"""Look into one file: can its image be used, why not, and how would a person mend it."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from engine.images.hashing import image_hash
from engine.images.nifti import (
    UNITS_MM,
    VOXEL_MM,
    OrientationError,
    TooLargeError,
    has_head_size,
    header_file,
    is_sound,
    missing_content,
    open_scan,
    read_whole,
)

FIELD_MM = (120.0, 600.0)  # a brain is 130 mm wide and high
SIDES = "sform and qform disagree about left and right"


def inspect(path: Path) -> str | None:
    """Say in one line why a file cannot be used, with the mend where there is one; None if it can.

    Reads every voxel once.
    """
    return examine(path)[0]


def examine(path: Path) -> tuple[str | None, str]:
    """Return why a file cannot be used, as `inspect`, and the fingerprint of its image (empty if it cannot).

    Reads every voxel once.
    """
    path = Path(path)
    image = _open_image(path)
    if isinstance(image, str):
        return image, ""
    voxels = _voxels(image, path)
    if isinstance(voxels, str):
        return voxels, ""
    reason = _voxel_problem(voxels)
    return reason, "" if reason else image_hash(voxels, image.affine)


def _open_image(path: Path) -> nib.Nifti1Pair | str:
    """Open the image of a file, or say why it or its header cannot be used."""
    try:
        if reason := missing_content(path):
            return reason
        if not path.is_file():
            return f"file not found: {path.name}"
        if path.stat().st_size == 0:
            return f"{path.name} is empty (0 bytes); copy it again"
        if path.name.endswith(".img.gz"):
            return f"{path.name} is packed: unpack it and its header (gunzip), or convert them to .nii.gz"
        header = header_file(path)
        if header and not header.is_file():
            return f"{path.name} has no header beside it ({header.name}); copy both"
        image = open_scan(path)
    except (OrientationError, TooLargeError) as error:
        return str(error)
    except PermissionError:
        return f"{path.name} may not be read; change its permissions"
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
        return _unreadable(path, error)
    if not isinstance(image, nib.Nifti1Pair):
        return f"{path.name} is {type(image).__name__.removesuffix('Image')}, not NIfTI; convert it to .nii.gz"
    return _header_problem(image) or image


def _unreadable(path: Path, error: Exception) -> str:
    if path.name.endswith((".nii", ".nii.gz")) and isinstance(error, EOFError | zlib.error):
        return f"{path.name} is truncated or damaged; copy it again"
    if path.name.endswith(".gz"):
        with open(path, "rb") as stream:
            if stream.read(2) != b"\x1f\x8b":
                return f"{path.name} is not gzip although its name ends in .gz; convert it to NIfTI"
    return f"{path.name} is not a NIfTI file; convert it, e.g. with dcm2niix"


def _header_problem(image: nib.Nifti1Pair) -> str | None:
    shape = image.shape
    if len(shape) == 4 and shape[3] > 1:
        return f"4D with {shape[3]} volumes; keep one, e.g. the T1"
    if len([n for n in shape if n > 1]) < 3 or len([n for n in shape[3:] if n > 1]):
        return f"not 3D (shape {'x'.join(map(str, shape))})"
    if image.get_data_dtype().kind not in "iuf":
        return "voxels are colours or complex numbers, not intensities"
    return _affine_problem(image)


def _affine_problem(image: nib.Nifti1Pair) -> str | None:
    if image.header["sform_code"] == 0 and image.header["qform_code"] == 0:
        return (
            "no orientation in the header (sform and qform are 0): left and right are unknown; convert again from DICOM"
        )
    affine = image.affine
    if not is_sound(affine):
        form = "sform" if image.header["sform_code"] > 0 else "qform"
        return f"absurd affine in the header: its {form} cannot be inverted; convert again from DICOM"
    sizes = nib.affines.voxel_sizes(affine)
    if sizes.min() < VOXEL_MM[0] or sizes.max() > VOXEL_MM[1]:
        size = " x ".join(f"{s:.3g}" for s in sizes)
        unit = next((unit for unit, mm in UNITS_MM.items() if has_head_size(mm * affine)), "")
        hint = f"; are they in {unit}s? say so in the header (xyzt_units)" if unit else ""
        return f"absurd affine in the header: voxels of {size} mm, expected {VOXEL_MM[0]:g} to {VOXEL_MM[1]:g}{hint}"
    field = sizes * image.shape[:3]
    if field.min() < FIELD_MM[0] or field.max() > FIELD_MM[1]:
        size = " x ".join(f"{f:.0f}" for f in field)
        return f"absurd field of view: {size} mm, a head needs {FIELD_MM[0]:g} to {FIELD_MM[1]:g}"
    return None


def _voxels(image: nib.Nifti1Pair, path: Path) -> np.ndarray | str:
    try:
        return read_whole(image, path)
    except TooLargeError as error:
        return str(error)
    except (OSError, EOFError, ValueError, zlib.error):
        return f"{path.name} is truncated or damaged; copy it again"


def _voxel_problem(voxels: np.ndarray) -> str | None:
    # Cheap on good files: one sum tells whether all voxels are finite.
    with np.errstate(all="ignore"):
        total = float(voxels.sum(dtype=np.float64))
    if not math.isfinite(total):
        bad = int((~np.isfinite(voxels)).sum())
        if bad:
            return f"{bad} voxels are NaN or infinite; set them to 0"
    if voxels.min() == voxels.max():
        return f"constant: every voxel is {voxels.flat[0]:g}"
    return None


def sides_in_doubt(path: Path) -> str:
    """Say that the two orientations in a header of NIfTI name opposite sides; empty where they agree or one is set.

    The two may differ by a rotation, which registration makes good; a mirrored brain it cannot.
    """
    try:
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Pair):
            return ""
        header = image.header
        if not (header["sform_code"] > 0 and header["qform_code"] > 0):
            return ""
        forms = header.get_sform(), header.get_qform()
        if not all(map(is_sound, forms)):
            return ""
        sform, qform = (matrix[:3, :3] / nib.affines.voxel_sizes(matrix) for matrix in forms)
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error):
        return ""  # `inspect` says what is wrong with it
    mirrored = np.linalg.det(sform) * np.linalg.det(qform) < 0
    # The first row tells how far to the right a voxel along each axis of the file leads.
    return SIDES if mirrored or sform[0] @ qform[0] < 0 else ""
