"""Fingerprints of input files, remembered so that unchanged files are not read again."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np

from engine.images.nifti import header_file
from store.files.atomic import replacing

BLOCK = 1 << 20


def file_hash(path: Path) -> str:
    """Return the BLAKE2b (32 hexadecimal digits) of a file, and of the header beside it where there is one.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in _parts(path):
        with open(part, "rb") as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
    return digest.hexdigest()


def image_hash(voxels: np.ndarray, affine: np.ndarray) -> str:
    """Return the BLAKE2b (32 hexadecimal digits) of what an image shows, whatever file holds it.

    The same voxels in another file, format, byte order, type of number or order of the axes give the same digits.

    Args:
        voxels: (x, y, z) or with further axes of length 1.
        affine: (4, 4), voxel -> mm; says where the axes lead.
    """
    axes = nib.orientations.io_orientation(affine)
    volume = nib.orientations.apply_orientation(voxels.reshape(voxels.shape[:3]), axes)
    digest = hashlib.blake2b(repr(volume.shape).encode(), digest_size=16)
    # Slice by slice, so that there is no second copy of the whole, in the order in which NIfTI keeps them.
    for part in np.moveaxis(volume, -1, 0):
        digest.update((np.ascontiguousarray(part.T, np.float32) + np.float32(0)).data)  # -0 is 0
    return digest.hexdigest()


class FileMemory:
    """What is known of files, on disk as JSON; forgotten when size or modification time change.

    Args:
        file: where it is kept; None keeps nothing.
        version: of what is remembered; another version on disk is ignored.
    """

    def __init__(self, file: Path | None, version: int = 1) -> None:
        self.file, self.version = file, version
        self._known: dict[str, dict] = {}
        try:
            stored = json.loads(file.read_text(encoding="utf-8")) if file else {}
            if stored.get("version") == version:
                self._known = stored["files"]
        except (OSError, ValueError, KeyError, AttributeError):
            pass  # Only costs reading the files again.

    def get(self, path: Path) -> dict | None:
        """Return what was remembered of the file as it is now, or None."""
        remembered = self._known.get(str(path))
        return remembered["facts"] if remembered and remembered["state"] == _state(path) else None

    def put(self, path: Path, facts: dict) -> None:
        """Remember JSON values of a file. A file that is not there is not remembered."""
        state = _state(path)
        if state:
            self._known[str(path)] = {"state": state, "facts": facts}

    def save(self) -> None:
        """Write to disk (temporary file, then rename). A memory that cannot be written is only slower."""
        if self.file is None:
            return
        with suppress(OSError), replacing(self.file) as temporary:
            temporary.write_text(json.dumps({"version": self.version, "files": self._known}), encoding="utf-8")


def _parts(path: Path) -> list[Path]:
    header = header_file(Path(path))
    return [path, header] if header else [path]


def _state(path: Path) -> list[int]:
    try:
        stats = [os.stat(part) for part in _parts(path)]
    except OSError:
        return []
    return [number for stat in stats for number in (stat.st_size, stat.st_mtime_ns)]
