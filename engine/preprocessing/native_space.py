"""Where the points of a scan's own file lie in MNI space: a coarse field from the kept transforms, for the store."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.filebasedimages import ImageFileError
from scipy import io
from scipy.io.matlab import MatReadError

from engine.images.geometry import bounding_box
from engine.images.grid import Grid
from engine.images.nifti import open_scan
from engine.images.template import brain_mask
from engine.preprocessing import steps
from store.files.atomic import replacing
from store.reading.native_space import FIELD_UNIT_MM, NativeSpace

FIELD_MM = 4.0  # between points: on real heads, what is interpolated is off by 0.05 mm, in 1 % of the brain by 0.2
MARGIN_MM = 8.0  # around the template's brain
TRANSFORMS, FILE = "transforms", "native.npz"
_LARGEST = np.iinfo(np.int16).max


def keep(scan: Path, transforms: Path, registration: str) -> NativeSpace:
    """Compute the native space of a scan and keep it beside its transforms.

    Args:
        scan: its input file; only the header is read.
        transforms: folder with the transforms that the preprocessing kept; made if there is none.
        registration: syn_quick, affine, or none: the scan came in MNI space, its own mm are those of the template.

    Raises:
        ValueError: the transforms are missing or damaged, or lead nowhere near the brain.
    """
    image = open_scan(scan)
    x, y, z = (int(n) for n in image.shape[:3])
    shape, affine = (x, y, z), np.asarray(image.affine, dtype=float)
    if registration == "none":
        space = _identity_space(shape, affine)
    else:
        _check(transforms, deformed=registration == "syn_quick")
        space = _registered_space(shape, affine, transforms)
    with replacing(transforms / FILE) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **vars(space))
    return space


def read_kept(transforms: Path) -> NativeSpace | None:
    """Read the native space that `keep` has kept; None if it is missing or unreadable."""
    try:
        with np.load(transforms / FILE, allow_pickle=False) as file:
            values = {name: file[name] for name in file.files}
        return NativeSpace(**{**values, "shape": tuple(values["shape"].tolist())})
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile):
        return None


def native_spaces(
    scans: pd.DataFrame, folder: Path, registration: str
) -> Iterator[tuple[str, NativeSpace | None, str]]:
    """Yield (scan, native space, why it has none) of every scan.

    What the preprocessing of an earlier version did not keep is computed from the transforms that it did keep.

    Args:
        scans: scan and path are read.
        folder: of the prepared cohort.
        registration: as for `keep`.
    """
    for scan, path in zip(scans["scan"], scans["path"], strict=True):
        transforms = folder / TRANSFORMS / scan
        space, reason = read_kept(transforms), ""
        if space is None:
            try:
                space = keep(Path(path), transforms, registration)
            except ValueError as error:
                reason = str(error)
        yield scan, space, reason


def _check(transforms: Path, deformed: bool) -> None:
    """Raise ValueError unless the transforms are there and whole: ANTs reads half a file without a word, or crashes."""
    matrix, warp = transforms / steps.AFFINE_FILE, transforms / steps.INVERSE_FILE
    if not matrix.is_file() or (deformed and not warp.is_file()):
        raise ValueError("its transforms were not kept")
    try:
        io.loadmat(matrix)
        if deformed:
            nib.load(warp)
            with gzip.open(warp) as stream:
                while stream.read(1 << 20):  # the checksum stands at the end
                    pass
    except (OSError, EOFError, ValueError, TypeError, zlib.error, ImageFileError, MatReadError):
        raise ValueError("its kept transforms are damaged") from None


def _identity_space(shape: tuple[int, int, int], affine: np.ndarray) -> NativeSpace:
    """Return the space of a scan that came in MNI space: a zero field between the corners of its file."""
    step = np.maximum(np.array(shape) - 1, 1)
    return NativeSpace(shape, affine, np.eye(4), np.zeros((3, 2, 2, 2), np.int16), affine @ np.diag([*step, 1.0]))


def _registered_space(shape: tuple[int, int, int], affine: np.ndarray, transforms: Path) -> NativeSpace:
    """Return the space of a registered scan, by its transforms, where its file shows brain."""
    step = np.maximum(1, np.round(FIELD_MM / voxel_sizes(affine)))
    count = np.ceil((np.array(shape) - 1) / step).astype(int) + 1
    field_affine = affine @ np.diag([*step, 1.0])
    native = apply_affine(field_affine, np.moveaxis(np.indices(tuple(count)), 0, -1))
    mni = steps.to_template(native.reshape(-1, 3), transforms).reshape(native.shape)
    low, high = _brain_box()
    near = np.all((mni > low - MARGIN_MM) & (mni < high + MARGIN_MM), axis=-1)
    if not near.any():
        raise ValueError("its transforms lead nowhere near the template's brain")
    box = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in bounding_box(near))
    field_affine[:3, 3] = apply_affine(field_affine, [part.start for part in box])
    return _fit_native(shape, affine, native[box], mni[box], field_affine)


def _fit_native(
    shape: tuple[int, int, int], affine: np.ndarray, native: np.ndarray, mni: np.ndarray, field_affine: np.ndarray
) -> NativeSpace:
    """Fit the affine nearest to native -> mni (x, y, z, 3), mm; what is left is small and becomes the field."""
    points = np.concatenate([native, np.ones((*native.shape[:3], 1))], axis=-1)
    linear = np.linalg.lstsq(points.reshape(-1, 4), mni.reshape(-1, 3), rcond=None)[0]
    left = np.rint((mni - points @ linear) / FIELD_UNIT_MM)
    if not np.abs(left).max() <= _LARGEST:
        raise ValueError("its transforms deform the brain beyond all measure")
    displacement = np.ascontiguousarray(np.moveaxis(left.astype(np.int16), -1, 0))
    return NativeSpace(shape, affine, np.vstack([linear.T, [0, 0, 0, 1]]), displacement, field_affine)


@lru_cache(maxsize=1)
def _brain_box() -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest corner of the template's brain, mm."""
    box = bounding_box(brain_mask(2))
    low, high = apply_affine(Grid(2).affine, [[part.start for part in box], [part.stop - 1 for part in box]])
    return low, high
