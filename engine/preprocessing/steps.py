"""The steps from a scanner's file to the template's space. ANTs and deepbet are imported where they are used."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import voxel_sizes
from nibabel.processing import resample_to_output

from engine.errors import RunError
from engine.images.grid import Grid, smooth_to
from engine.images.nifti import open_scan
from engine.images.template import template_brain, white_matter_level

N4_MM = 8.0  # bias fields are far smoother; 2 mm would take seven times as long
SEED = 1  # of the voxels that the registration metric samples
TRANSFORMS = {"syn_quick": "antsRegistrationSyNQuick[s]", "affine": "antsRegistrationSyNQuick[a]"}
AFFINE_FILE, INVERSE_FILE = "affine.mat", "inverse_warp.nii.gz"


@dataclass(frozen=True)
class Registration:
    """Transform files of one scan, in the order ANTs applies them.

    Attributes:
        forward: from the scan to the template.
        affine: the affine part.
        inverse_warp: the deformation back, None for an affine registration.
    """

    forward: tuple[str, ...]
    affine: str
    inverse_warp: str | None


def load_upright(path: Path) -> nib.Nifti1Image:
    """Load a scan with axes nearest to right, anterior, superior; float32, (x, y, z), no shear.

    Only the order and direction of axes change, unless the affine has shear: then the image is resampled.
    """
    image = open_scan(path)
    data = np.asarray(image.dataobj, dtype=np.float32)
    image = nib.as_closest_canonical(nib.Nifti1Image(data.reshape(data.shape[:3]), image.affine))
    direction = _direction(image.affine)
    if np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
        return image
    return resample_to_output(image, voxel_sizes(image.affine), order=1)


def extract_brain(image: nib.Nifti1Image) -> np.ndarray:
    """Return the brain mask of a whole head, bool, by deepbet on one CPU thread.

    Raises:
        ValueError: no brain is found.
        RunError: deepbet or torch is not installed.
    """
    try:
        import torch  # noqa: PLC0415
    except ImportError:
        raise RunError("brain extraction needs torch and deepbet: pip install 'brainwhy[engine]'") from None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same result however many scans run beside each other
    try:
        _, mask, _ = _deepbet().run(image)
    except AssertionError:
        raise ValueError("no brain found by deepbet; is it a T1 of a whole head?") from None
    finally:
        torch.set_num_threads(threads)
    return np.asarray(mask.dataobj) > 0


@lru_cache(maxsize=1)
def _deepbet():
    try:
        from deepbet.bet import BrainExtraction  # noqa: PLC0415
    except ImportError as error:
        raise RunError(f"brain extraction needs deepbet ({error}): pip install deepbet") from None
    return BrainExtraction(no_gpu=True)


def correct_bias(data: np.ndarray, affine: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return intensities without the scanner's smooth bias field (N4), estimated inside the mask."""
    ants = _ants()
    # N4 wants positive intensities and a mask that is neither empty nor all.
    image = to_ants(np.maximum(data, 0), affine)
    factor = max(1, min(round(N4_MM / voxel_sizes(affine).min()), min(data.shape) // 8))
    return ants.n4_bias_field_correction(image, mask=to_ants(mask, affine), shrink_factor=factor).numpy()


def register(brain: np.ndarray, affine: np.ndarray, kind: str, mm: int, prefix: str) -> Registration:
    """Estimate transforms from a brain-extracted scan to the template brain on Grid(mm).

    Args:
        brain: intensities, 0 outside the brain.
        affine: voxel -> mm.
        kind: syn_quick or affine.
        mm: 1 or 2.
        prefix: where ANTs puts its files.

    Raises:
        RuntimeError: ANTs fails.
    """
    ants = _ants()
    ants.config.set_ants_deterministic(on=False, seed_value=SEED)
    fixed = to_ants(template_brain(mm), Grid(mm).affine)
    transforms = ants.registration(fixed, to_ants(brain, affine), type_of_transform=TRANSFORMS[kind], outprefix=prefix)
    inverse = [file for file in transforms["invtransforms"] if file.endswith("InverseWarp.nii.gz")]
    linear = next(file for file in transforms["fwdtransforms"] if file.endswith(".mat"))
    return Registration(tuple(transforms["fwdtransforms"]), linear, inverse[0] if inverse else None)


def sample(data: np.ndarray, affine: np.ndarray, registration: Registration, mm: int) -> np.ndarray:
    """Resample a scan to Grid(mm) linearly, smoothed before if the grid is coarser than the scan; float32."""
    moving = to_ants(smooth_to(data, affine, mm), affine)
    fixed = to_ants(np.zeros(Grid(mm).shape), Grid(mm).affine)
    return _ants().apply_transforms(fixed, moving, list(registration.forward), interpolator="linear").numpy()


def sample_labels(labels: np.ndarray, affine: np.ndarray, registration: Registration, mm: int) -> np.ndarray:
    """Carry integer labels of a scan to Grid(mm), each voxel that of the nearest; (x, y, z) int32."""
    fixed = to_ants(np.zeros(Grid(mm).shape), Grid(mm).affine)
    moving = to_ants(labels, affine)  # float32, in which labels up to 2^24 are exact
    moved = _ants().apply_transforms(fixed, moving, list(registration.forward), interpolator="nearestNeighbor")
    return np.rint(moved.numpy()).astype(np.int32)


def back_to_scan(volume: np.ndarray, mm: int, transforms: Path, scan: Path) -> nib.Nifti1Image:
    """Bring a volume of Grid(mm), such as a heatmap, to the scan's own space, axes as by `load_upright`.

    Args:
        volume: on Grid(mm).
        mm: of its grid.
        transforms: folder with the transforms that the preprocessing kept for this scan.
        scan: the scan's input file.
    """
    reference = load_upright(scan)
    fixed = to_ants(np.zeros(reference.shape), reference.affine)
    files, inverted = _way_from_scan(transforms)
    moved = _ants().apply_transforms(
        fixed, to_ants(volume, Grid(mm).affine), files, whichtoinvert=inverted, interpolator="linear"
    )
    return nib.Nifti1Image(moved.numpy(), reference.affine)


def to_template(points: np.ndarray, transforms: Path) -> np.ndarray:
    """Return where points of a scan lie in the template's space; both in mm, RAS, (n, 3).

    Args:
        points: in mm of the scan's own affine.
        transforms: folder with the transforms that the preprocessing kept for this scan.
    """
    files, inverted = _way_from_scan(transforms)
    to_lps = np.array([-1.0, -1.0, 1.0])
    frame = pd.DataFrame(points * to_lps, columns=["x", "y", "z"])
    # Points go the way on which an image of the template would be sampled at the voxels of the scan.
    moved = _ants().apply_transforms_to_points(3, frame, files, whichtoinvert=inverted)
    return moved[["x", "y", "z"]].to_numpy(dtype=float) * to_lps


def _way_from_scan(transforms: Path) -> tuple[list[str], list[bool]]:
    """Return the files that lead from scan to template, and whether to invert each, in ANTs' order."""
    files = [str(transforms / AFFINE_FILE)]
    if (transforms / INVERSE_FILE).is_file():
        files.append(str(transforms / INVERSE_FILE))
    return files, [True, False][: len(files)]


def scale_to_white_matter(volume: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Divide a volume by the 90th percentile of its positive voxels in the mask; white matter becomes about 1.

    Raises:
        ValueError: no positive voxel in the mask.
    """
    level = white_matter_level(volume, mask)
    if np.isnan(level):
        raise ValueError("no positive intensity inside the brain mask")
    return (volume / level).astype(np.float32)


def to_ants(data: np.ndarray, affine: np.ndarray):
    """Return an ANTs image of an array with a nibabel affine (RAS; ANTs counts in LPS)."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    # Exactly orthonormal, or ITK refuses the image.
    left, _, right = np.linalg.svd(_direction(affine))
    return _ants().from_numpy(
        np.ascontiguousarray(data, dtype=np.float32),
        origin=affine[:3, 3].tolist(),
        spacing=voxel_sizes(affine).tolist(),
        direction=left @ right,
    )


def _direction(affine: np.ndarray) -> np.ndarray:
    return affine[:3, :3] / voxel_sizes(affine)


def _ants():
    """Return the ants module, on one thread: with several, sums are in another order and two runs differ."""
    if "ants" not in sys.modules:
        os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    try:
        import ants  # noqa: PLC0415
    except ImportError as error:
        raise RunError(f"registration needs ANTs ({error}): pip install antspyx") from None
    return ants
