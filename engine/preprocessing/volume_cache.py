"""Prepared volumes on disk: one part file a scan while they are made, one HDF5 file a cohort when all are there."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from store.files.atomic import replacing

Part = tuple[np.ndarray, float, dict[str, float]]  # a volume as int16, its scale, quality figures
_INT16 = 32767
_LAYOUT = 1


def write_part(folder: Path, scan: str, volume: np.ndarray, quality: dict[str, float], key: str = "") -> None:
    """Write one prepared scan as <scan>.npz (temporary file, flushed to disk, then renamed).

    Args:
        folder: of the parts; made if missing.
        scan: identifier, safe as a file name.
        volume: (x, y, z), finite.
        quality: figures; NaN is allowed.
        key: fingerprint of input and settings; a part with another key is not read.

    Raises:
        OSError: the disk is full.
    """
    integers, scale = quantise(volume)
    with replacing(_part(folder, scan)) as temporary, temporary.open("wb") as stream:
        np.savez(stream, volume=integers, scale=scale, quality=np.array(_to_json(quality)), key=np.array(key))


def read_part(folder: Path, scan: str, key: str = "") -> Part | None:
    """Read (volume as int16, scale, quality) of a part; None if it is missing, damaged or has another key."""
    try:
        with np.load(_part(folder, scan), allow_pickle=False) as part:
            if str(part["key"]) != key:
                return None
            return part["volume"], float(part["scale"]), _from_json(str(part["quality"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def has_part(folder: Path, scan: str, key: str = "") -> bool:
    """Return whether a part with this key is there; reads no voxels."""
    try:
        with np.load(_part(folder, scan), allow_pickle=False) as part:
            return str(part["key"]) == key and "volume" in part.files
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return False


def quantise(volume: np.ndarray) -> tuple[np.ndarray, float]:
    """Return a volume as int16 and the scale: value = integer * scale, error at most scale / 2."""
    largest = float(np.abs(volume).max())
    scale = largest / _INT16 if largest > 0 else 1.0
    return np.rint(volume / scale).astype(np.int16), scale


class VolumeCache:
    """The prepared volumes of a cohort, read from disk as they are asked for.

    Attributes:
        file: the HDF5 file.
        ids: scans in it.
        shape: of one volume, (x, y, z).
        fingerprint: of the settings that made it.
        settings: those settings, for people.
        keys: fingerprint of input and settings for each scan.
        quality: figures for each scan.

    Raises:
        OSError: no such file, or not one of ours.
    """

    def __init__(self, file: Path) -> None:
        self.file = Path(file)
        with h5py.File(self.file, "r") as store:
            if store.attrs.get("layout") != _LAYOUT:
                raise OSError(f"{self.file.name}: not a volume cache of this version")
            self.ids: list[str] = [str(scan) for scan in store["ids"].asstr()[:]]
            self.keys: list[str] = [str(key) for key in store["keys"].asstr()[:]]
            self.quality: list[dict[str, float]] = [_from_json(text) for text in store["quality"].asstr()[:]]
            x, y, z = (int(n) for n in store["volumes"].shape[1:])
            self.shape: tuple[int, int, int] = (x, y, z)
            self.fingerprint = str(store.attrs["fingerprint"])
            self.settings: dict[str, Any] = json.loads(store.attrs["settings"])
        self._row = {scan: row for row, scan in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, scan: str) -> bool:
        return scan in self._row

    def check(self, fingerprint: str) -> bool:
        """Return whether the volumes were made with these settings."""
        return self.fingerprint == fingerprint

    def key(self, scan: str) -> str:
        """Return the fingerprint of a scan's input and settings."""
        return self.keys[self._row[scan]]

    def quality_of(self, scan: str) -> dict[str, float]:
        """Return the quality figures of a scan."""
        return self.quality[self._row[scan]]

    def read(self, ids: Sequence[str] | None = None) -> np.ndarray:
        """Read volumes as float32, (n, x, y, z), in the order of `ids` (default: all); only these are in memory.

        Raises:
            KeyError: a scan that is not there.
        """
        integers, scales = self.read_integers(ids)
        volumes = integers.astype(np.float32)
        volumes *= scales.astype(np.float32)[:, None, None, None]
        return volumes

    def read_integers(self, ids: Sequence[str] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Read volumes as stored: int16 (n, x, y, z) and scales (n,); value = integer * scale."""
        rows = [self._row[scan] for scan in (self.ids if ids is None else ids)]
        integers = np.empty((len(rows), *self.shape), np.int16)
        with h5py.File(self.file, "r") as store:
            scales = store["scales"][:][rows]
            for position, row in enumerate(rows):
                store["volumes"].read_direct(integers, np.s_[row], np.s_[position])
        return integers, scales


def pack(
    parts: Path,
    keys: Mapping[str, str],
    file: Path,
    fingerprint: str,
    settings: dict[str, Any] | None = None,
    earlier: VolumeCache | None = None,
) -> VolumeCache:
    """Write the parts to one HDF5 file (temporary, then renamed: a file open for writing survives no kill).

    Datasets: volumes int16 (n, x, y, z) in chunks of one scan, scales, ids, keys, quality. Attributes: fingerprint,
    settings, layout. Ids are a dataset, because attributes are limited to 64 KiB.

    Args:
        parts: folder of the parts.
        keys: scan -> key of its part, in the order in which the scans shall stand.
        file: to be written.
        fingerprint: of the settings.
        settings: in plain values.
        earlier: where scans without a part are taken from.

    Raises:
        KeyError: a scan that is, with its key, neither a part nor in `earlier`.
        OSError: the disk is full.
    """
    with replacing(file) as temporary, h5py.File(temporary, "w") as store:
        _fill(store, parts, keys, earlier)
        store.attrs.update(fingerprint=fingerprint, settings=json.dumps(settings or {}), layout=_LAYOUT)
    return VolumeCache(file)


def _fill(store: h5py.File, parts: Path, keys: Mapping[str, str], earlier: VolumeCache | None) -> None:
    qualities, scales = [], []
    for row, (scan, key) in enumerate(keys.items()):
        volume, scale, quality = _read_one(parts, scan, key, earlier)
        if row == 0:
            # lzf: nearly as small as gzip on masked brains and several times faster to read.
            volumes = store.create_dataset(
                "volumes",
                (len(keys), *volume.shape),
                "int16",
                chunks=(1, *volume.shape),
                compression="lzf",
                shuffle=True,
            )
        volumes[row] = volume
        scales.append(scale)
        qualities.append(_to_json(quality))
    store["scales"] = np.array(scales, np.float64)
    for name, texts in (("ids", list(keys)), ("keys", list(keys.values())), ("quality", qualities)):
        store.create_dataset(name, data=texts, dtype=h5py.string_dtype())


def _read_one(parts: Path, scan: str, key: str, earlier: VolumeCache | None) -> Part:
    part = read_part(parts, scan, key)
    if part is not None:
        return part
    # A volume whose input has changed since must not be taken over.
    if earlier is None or scan not in earlier or earlier.key(scan) != key:
        raise KeyError(f"scan {scan} has not been prepared")
    integers, scales = earlier.read_integers([scan])
    return integers[0], float(scales[0]), earlier.quality_of(scan)


def _part(folder: Path, scan: str) -> Path:
    return folder / f"{scan}.npz"


def _to_json(quality: dict[str, float]) -> str:
    return json.dumps({name: None if value != value else float(value) for name, value in quality.items()})


def _from_json(text: str) -> dict[str, float]:
    return {name: float("nan") if value is None else value for name, value in json.loads(text).items()}
