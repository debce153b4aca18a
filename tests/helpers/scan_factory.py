"""Small made-up scans, good and bad, for tests."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from engine.images.grid import Grid
from engine.images.template import brain_mask, template_brain

SHAPE = (40, 44, 40)  # at 5 mm: a field of view of 200 x 220 x 200 mm
VOXEL_MM = 5.0


def blob(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """A bright ellipsoid with noise, float32."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1.4, 1.4, n) for n in shape[:3]], indexing="ij")
    head = (sum(axis**2 for axis in axes) < 1).astype(np.float32)
    return (100 * head + rng.random(shape[:3])).astype(np.float32)


def affine(mm: float = VOXEL_MM, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Axis-aligned, with the origin in the middle."""
    matrix = np.diag([mm, mm, mm, 1.0])
    matrix[:3, 3] = [-mm * n / 2 for n in shape[:3]]
    return matrix


def save(file: Path, data: np.ndarray, matrix: np.ndarray | None = None) -> Path:
    """Write a NIfTI, with folders."""
    file.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine(shape=data.shape) if matrix is None else matrix), file)
    return file


def good(file: Path, seed: int = 0) -> Path:
    """A scan that every guard lets through."""
    return save(file, blob(seed=seed))


def _raw(file: Path, content: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def _truncated(file: Path) -> Path:
    content = good(file).read_bytes()
    return _raw(file, content[: len(content) // 2])


def _truncated_plain(file: Path) -> Path:
    plain = file.with_suffix("")  # .nii
    return _truncated(plain)


def _nan(file: Path) -> Path:
    data = blob()
    data[3, 4, 5], data[6, 7, 8], data[9, 9, 9] = np.nan, np.inf, -np.inf
    return save(file, data)


def _no_orientation(file: Path) -> Path:
    image = nib.load(good(file))
    image = nib.Nifti1Image(np.asarray(image.dataobj), None)
    image.header.set_zooms((VOXEL_MM,) * 3)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, file)
    return file


def _singular(file: Path) -> Path:
    image = nib.load(good(file))
    matrix = affine()
    matrix[2, 2] = 0
    image.header.set_sform(matrix, code=2)
    fresh = nib.Nifti1Image(np.asarray(image.dataobj), None, image.header)
    fresh.header["sform_code"] = 2
    content = bytearray(fresh.to_bytes())
    # srow_z of the header: nibabel refuses to write it, scanners' converters do not.
    content[312:328] = np.zeros(4, "<f4").tobytes()
    return _raw(file, gzip.compress(bytes(content)))


BAD = {
    "missing": (lambda file: file, "file not found"),
    "empty": (lambda file: _raw(file, b""), "empty (0 bytes)"),
    "text": (lambda file: _raw(file, b"subject,age\n1,70\n" * 30), "not gzip"),
    "gzipped_text": (lambda file: _raw(file, gzip.compress(b"hello" * 200)), "not a NIfTI file"),
    "truncated": (_truncated, "truncated"),
    "truncated_plain": (_truncated_plain, "truncated"),
    "four_d": (lambda file: save(file, np.stack([blob()] * 3, -1)), "4D with 3 volumes"),
    "two_d": (lambda file: save(file, blob()[..., :1]), "not 3D"),
    "constant": (lambda file: save(file, np.full(SHAPE, 7, np.float32)), "constant: every voxel is 7"),
    "nan": (_nan, "3 voxels are NaN or infinite"),
    "part_of_a_head": (lambda file: save(file, blob((20, 44, 40))), "field of view: 100 x 220 x 200 mm"),
    "huge_voxels": (lambda file: save(file, blob(), affine(12)), "voxels of 12 x 12 x 12 mm"),
    "metres": (lambda file: save(file, blob(), affine(0.005)), "are they in meters?"),
    "small_field": (lambda file: save(file, blob(), affine(1.0)), "absurd field of view"),
    "singular": (_singular, "its sform cannot be inverted"),
    "no_orientation": (_no_orientation, "no orientation"),
    "complex": (lambda file: save(file, blob().astype(np.complex64)), "not intensities"),
}  # name -> (maker, what the reason says); a maker returns the file


def head(file: Path, matrix: np.ndarray, skull: bool = True, seed: int = 0) -> Path:
    """The template brain as a scanner would see it: moved by a known affine, with a bias field and noise.

    Args:
        file: to be written, on a 2 mm grid with axes posterior, superior, right.
        matrix: (4, 4), template mm -> scanner mm.
        skull: add cerebrospinal fluid, bone and scalp.
        seed: of the noise.
    """
    brain, mask = template_brain(2).astype(np.float32), brain_mask(2)
    if skull:
        outside = ndimage.distance_transform_edt(~np.pad(mask, 12)) * 2
        whole = np.pad(brain, 12)
        whole[(outside > 9) & (outside < 18)] = 1.1  # scalp
        whole[(outside > 0) & (outside < 3)] = 0.25  # fluid
        origin = Grid(2).affine @ [-12, -12, -12, 1]
        template = Grid(2).affine.copy()
        template[:, 3] = origin
    else:
        whole, template = brain, Grid(2).affine
    scanner = np.array([[0, 0, 2.0, -106], [-2.0, 0, 0, 110], [0, 2.0, 0, -110], [0, 0, 0, 1]])
    to_template = np.linalg.inv(template) @ np.linalg.inv(matrix) @ scanner
    shape = (120, 120, 106)
    data = ndimage.affine_transform(whole, to_template[:3, :3], to_template[:3, 3], output_shape=shape, order=1)
    rng = np.random.default_rng(seed)
    bias = 1 + 0.2 * np.linspace(-1, 1, shape[0])[:, None, None]
    data = 300 * data * bias + rng.normal(0, 5, shape) * (data > 0 if not skull else 1)
    return save(file, np.maximum(data, 0).astype(np.float32), scanner)
