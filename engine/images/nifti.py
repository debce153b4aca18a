"""Opens scans: NIfTI in one file or two, and Analyze 7.5, whose header names the plane instead of an affine."""

from __future__ import annotations

import gzip
import io
import math
from pathlib import Path

import nibabel as nib
import numpy as np

# Mayo's Analyze 7.5: hist.orient -> where the three axes of the file lead; all but 3 and 4 are "unflipped".
ANALYZE_AXES = {0: "LAS", 1: "LSA", 2: "ASL", 3: "LPS", 4: "LIA"}
_DIRECTIONS = {
    "R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1),
}  # fmt: skip
# What a scan may declare before a byte of it is unpacked: a few megabytes of gzip can hold any number of zeros.
MOST_VOXELS = 1 << 28  # 645 along each axis; a head at 0.4 mm has 200 million
MOST_EXTENSIONS = 64 << 20  # bytes between header and voxels
MOST_BEHIND = 1 << 20  # bytes after the voxels, such as padding
VOXEL_MM = (0.3, 6.0)  # of a head's scan
UNITS_MM = {"meter": 1e3, "micron": 1e-3}
POINTER_BYTES = 1024  # a pointer is a line or three
_HEADERS = {348: nib.Nifti1Header, 540: nib.Nifti2Header}  # by their size, which comes first


class OrientationError(ValueError):
    """An image whose header does not say where its axes lead."""


class TooLargeError(ValueError):
    """An image that declares, or holds, more than a scan can be."""


def missing_content(path: Path) -> str | None:
    """Say how to fetch a file that is only a pointer to its content (git-annex, git-lfs, a link to nowhere).

    Returns:
        One line with the mend; None for files that hold what their name says, and for none at all.
    """
    if path.is_symlink() and not path.exists():
        return f"{path.name} is a link to a file that is not here; fetch it, e.g. with datalad get"
    if not path.is_file() or path.stat().st_size > POINTER_BYTES:
        return None
    text = path.read_bytes()
    if text.startswith(b"version https://git-lfs"):
        return f"{path.name} is a pointer of git-lfs, its content is not here; fetch it with git lfs pull"
    if text.startswith((b"/annex/objects/", b".git/annex/objects/", b"../")) and b"annex/objects/" in text:
        return f"{path.name} is a pointer of git-annex, its content is not here; fetch it with datalad get"
    return None


def header_file(path: Path) -> Path | None:
    """Return the header that lies beside an .img file; None for files that hold their own."""
    return path.with_suffix(".hdr") if path.suffix == ".img" else None


def open_scan(path: Path) -> nib.spatialimages.SpatialImage:
    """Open a scan with its affine (voxel -> mm, RAS); voxels are read when they are asked for.

    An Analyze image becomes a NIfTI image in memory: its plane gives the directions of the axes, the centre of the
    volume lies at 0 mm, and x leads from right to left, as the format has it, unless SPM left a .mat file or an origin.
    A NIfTI header in metres or microns is put into mm, and an empty sform gives way to a sound qform, as
    `describe_mending` says.

    Raises:
        OrientationError: an Analyze header with another plane.
        TooLargeError: the header declares more than a scan can hold.
        OSError, ValueError, nibabel.filebasedimages.ImageFileError: not an image.
    """
    check_declared(path)
    image: nib.spatialimages.SpatialImage = nib.load(path)  # type: ignore[assignment]
    if isinstance(image, nib.Nifti1Pair):
        return _mend_header(image)[0]
    if not isinstance(image, nib.AnalyzeImage):
        return image
    return nib.Nifti1Image(image.dataobj, _analyze_affine(image, path))


def describe_mending(path: Path) -> str:
    """Say what `open_scan` reads otherwise than the header of a NIfTI file has it; empty if nothing."""
    image = nib.load(path)
    return _mend_header(image)[1] if isinstance(image, nib.Nifti1Pair) else ""


def _mend_header(image: nib.Nifti1Pair) -> tuple[nib.Nifti1Pair, str]:
    """Return the image with an affine in mm that can be inverted, if it has one, and what was mended."""
    header, affine, mendings = image.header, image.affine, []
    if header["sform_code"] > 0 and header["qform_code"] > 0 and not is_sound(affine):
        qform = header.get_qform()
        if is_sound(qform):
            affine = qform
            mendings.append("its sform cannot be inverted, its qform is used")
    unit = header.get_xyzt_units()[0]
    to_mm = UNITS_MM.get(unit, 1.0)
    # Many headers name a unit that is not meant: only one that makes a head of it is believed.
    if to_mm != 1 and is_sound(affine) and has_head_size(to_mm * affine) and not has_head_size(affine):
        affine = np.diag([to_mm, to_mm, to_mm, 1.0]) @ affine
        mendings.append(f"its sizes are in {unit}s and were put into mm")
    if not mendings:
        return image, ""
    mended_image = type(image)(image.dataobj, affine, header)
    mended_image.header.set_xyzt_units("mm")
    return mended_image, "; ".join(mendings)


def is_sound(affine: np.ndarray) -> bool:
    """Return whether an affine can be inverted, whatever its unit of length."""
    if not np.isfinite(affine).all():
        return False
    sizes = nib.affines.voxel_sizes(affine)
    return bool((sizes > 0).all()) and abs(np.linalg.det(affine[:3, :3] / sizes)) > 1e-3


def has_head_size(affine: np.ndarray) -> bool:
    """Return whether voxels have the size of a head's scan."""
    sizes = nib.affines.voxel_sizes(affine)
    return sizes.min() >= VOXEL_MM[0] and sizes.max() <= VOXEL_MM[1]


def is_unplaced(path: Path) -> bool:
    """Return whether an image is in no space: an Analyze pair without the origin or the .mat file that SPM leaves.

    Where such a head lies in mm is a guess (its centre at 0); a registration finds out.
    """
    if header_file(path) is None:
        return False
    image = nib.load(path)
    if not isinstance(image, nib.AnalyzeImage) or isinstance(image, nib.Nifti1Pair):
        return False
    placed = path.with_suffix(".mat").is_file()
    origin = image.header["origin"][:3] if "origin" in image.header else np.zeros(3)
    return not placed and (not np.any(origin) or image.header["orient"].item() not in (b"", b"\0"))


def check_declared(path: Path) -> None:
    """Look at the sizes in a header before anything else is unpacked.

    Raises:
        TooLargeError: more voxels, or more before them, than a scan can have.
        OSError, EOFError, zlib.error: the file cannot be read.
    """
    file = header_file(path) or path
    with (gzip.open if file.name.endswith(".gz") else open)(file, "rb") as stream:
        start = stream.read(max(_HEADERS))
    size = next((n for n in _HEADERS if start[:4] in (n.to_bytes(4, "little"), n.to_bytes(4, "big"))), None)
    if size is None or len(start) < size:
        return  # not of this kind, which opening it will say
    header = _HEADERS[size].from_fileobj(io.BytesIO(start[:size]), check=False)
    shape = [int(n) for n in header["dim"][1:4]]
    if math.prod(max(n, 1) for n in shape) > MOST_VOXELS:
        raise TooLargeError(
            f"the header declares {'x'.join(map(str, shape))} voxels, a scan has at most {MOST_VOXELS // 10**6} "
            "million; reduce it to 0.5 mm or coarser"
        )
    if not header["vox_offset"] <= MOST_EXTENSIONS:
        raise TooLargeError(
            f"the header declares {header['vox_offset']:.0f} bytes before the voxels; save the image again"
        )


def read_whole(image: nib.Nifti1Pair, path: Path) -> np.ndarray:
    """Read the voxels of an opened scan, and its file to the end, where gzip keeps its checksum.

    Raises:
        TooLargeError: it goes on behind what its header declares.
        OSError, EOFError, ValueError, zlib.error: it is truncated or damaged.
    """
    if not path.name.endswith(".gz"):
        return np.asanyarray(image.dataobj)
    with gzip.open(path, "rb") as stream:
        if path.name.endswith(".nii.gz"):  # both in one pass
            voxels = np.asanyarray(type(image).from_stream(stream).dataobj)  # type: ignore[attr-defined]
        else:
            voxels = np.asanyarray(image.dataobj)
            stream.seek(voxels.size * image.get_data_dtype().itemsize)
        behind = 0
        while block := stream.read(MOST_BEHIND):
            behind += len(block)
            if behind > MOST_BEHIND:
                raise TooLargeError(f"{path.name} unpacks to more than its header declares; convert it again")
    return voxels


def _analyze_affine(image: nib.AnalyzeImage, path: Path) -> np.ndarray:
    code = int.from_bytes(image.header["orient"].item(), "little")
    if code not in ANALYZE_AXES:
        raise OrientationError(f"the Analyze header has the orientation {code}, which is not known: convert to NIfTI")
    if code == 0 or path.with_suffix(".mat").is_file():
        return image.affine
    axes = np.array([_DIRECTIONS[letter] for letter in ANALYZE_AXES[code]], dtype=float).T
    affine = np.eye(4)
    affine[:3, :3] = axes * image.header.get_zooms()[:3]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(image.shape[:3]) - 1) / 2)
    return affine
