"""The arrays that the browser fetches: cropped to the brain, as small integers.

An address names the run by a token of this process, a scan by its row: neither the place of the store nor a subject
identifier leaves the server.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

import store
from dashboard.data.anatomy import anatomy
from dashboard.data.runs import Run
from dashboard.drawing.cuts import PLANES
from dashboard.viewer.token_memory import TokenMemory
from store import NotInRunError, RunReader
from store.files.encoding import quantise
from store.measures import percent_per_cm3
from store.reading.agreement import scan_agreement
from store.reading.truth import voxel_truth

UNDERLAY = "underlay"  # the template and its mask, with the margin that pictures have
KINDS = ("anatomy", "atlas", "scan", "heatmap", "truth", "agreement", "average", UNDERLAY)
MOST_PLANES = 32  # that one question may ask for
OWN, COHORT = "own", "cohort"  # the truth of the scan itself, or of the patients of its run
NO_BRAIN = 255  # in the volume of a truth
OUTSIDE = -32768  # in a heatmap: not brain, so neither relevance nor its absence
WINDOW = (2.0, 99.5)  # percentiles of a scan inside the mask that become black and white
PLACES_KEPT = 64
READERS_KEPT = 4

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class VolumeRequest:
    """What an address asks for. `row` is the scan's row of the scans table; a truth has whose it is as `method`."""

    place: str
    kind: str
    row: int = 0
    model: str = ""
    method: str = ""
    target: str = ""
    scale: str = ""

    def token(self) -> str:
        """Write the request as one part of an address."""
        text = json.dumps(list(asdict(self).values()), separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def of_token(cls, token: str) -> VolumeRequest:
        """Read a `token`; ValueError where it is none."""
        values = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        wanted = cls(*values)
        if wanted.kind not in KINDS:
            raise ValueError(f"{wanted.kind} is no kind of volume")
        return wanted


def is_of_groups(wanted: VolumeRequest) -> bool:
    """Return whether a volume is of no single person, so that an address may be for readers who are not signed in.

    Averages get an address for the readers alone who may see them: see `group_scene`.
    """
    of_cohort = wanted.kind == "truth" and wanted.method == COHORT
    return wanted.kind in ("anatomy", "atlas", "average", UNDERLAY) or of_cohort


class NoSuchPlanesError(Exception):
    """A question for planes that no volume has."""


@dataclass(frozen=True)
class SomePlanes:
    """Planes of a volume, by their indices on the axis through them."""

    plane: str
    indices: tuple[int, ...]

    @classmethod
    def of_query(cls, query: Mapping[str, str]) -> SomePlanes:
        """Read `plane` and `at` of an address: coronal and 80,114,149."""
        plane, words = query.get("plane", ""), query.get("at", "").split(",")
        known = plane in PLANES and len(words) <= MOST_PLANES
        if not known or not all(one.isdecimal() and len(one) < 5 for one in words):
            raise NoSuchPlanesError(f"ask for at most {MOST_PLANES} planes, as in plane=coronal&at=80,114")
        return cls(plane, tuple(map(int, words)))

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise NoSuchPlanesError where a volume of this shape lacks one of them."""
        if max(self.indices) >= shape[PLANES[self.plane][2]]:
            raise NoSuchPlanesError("this volume has no such plane")

    def of(self, volume: np.ndarray) -> np.ndarray:
        """Return these planes of an (x, y, z) volume, (planes, across, up)."""
        across, up, through = PLANES[self.plane]
        self.check(volume.shape)
        return volume.take(self.indices, axis=through).transpose(through, across, up)


_places: TokenMemory[Run] = TokenMemory(PLACES_KEPT, 16, "run")


def place_token(place: Run) -> str:
    """Return a name for a run that says nothing about it; the run is remembered among the last few."""
    return _places.remember(place, "\n".join(map(str, place)))


def place_of(token: str) -> Run:
    """Return the run of a token; NotInRunError where it is no longer remembered."""
    return _places.read(token)


@functools.lru_cache(maxsize=READERS_KEPT)
def _reader(place: Run) -> RunReader:
    reader = store.open_run(place.store, place.run_id)
    return reader.of_persons() if place.persons else reader


@functools.lru_cache(maxsize=PLACES_KEPT)
def brain_box(place: Run, mask: str) -> Box:
    """Return the smallest box that holds all of a mask, "mask" (1 mm) or "grid/mask"."""
    inside = _reader(place).array(mask) > 0
    edges = []
    for axis in range(3):
        used = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        edges.append(slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, inside.shape[axis]))
    return edges[0], edges[1], edges[2]


def cropped_affine(affine: np.ndarray, box: Box) -> np.ndarray:
    """Return the (4, 4) affine of an array after cropping: the same voxels stay at the same mm."""
    moved = np.array(affine, dtype=float)
    moved[:3, 3] += moved[:3, :3] @ [edge.start for edge in box]
    return moved


def atlas_dtype(reader: RunReader) -> str:
    """Return the smallest type that holds every region index."""
    return "uint8" if int(reader.table("regions", ["index"])["index"].max()) < 256 else "uint16"


def read(wanted: VolumeRequest) -> tuple[np.ndarray, float]:
    """Read (x, y, z) integers and the number to multiply them by. Nothing is kept.

    Raises:
        StoreError: the run or the volume is not there, or is damaged.
    """
    place = place_of(wanted.place)
    reader = _reader(place)
    if wanted.kind == "anatomy":
        return reader.array("template")[brain_box(place, "mask")], 1.0
    if wanted.kind == UNDERLAY:
        return np.concatenate(_underlay(place)), 1.0
    if wanted.kind == "atlas":
        return reader.array("atlas")[brain_box(place, "mask")].astype(atlas_dtype(reader)), 1.0
    box = brain_box(place, "grid/mask")
    inside = reader.mask[box]
    scans = reader.table("scans", ["scan"]).scan
    if not 0 <= wanted.row < len(scans):
        raise NotInRunError(f"run {reader.run_id} has no scan in row {wanted.row}")
    scan = scans.iloc[wanted.row]
    if wanted.kind == "scan":
        return _windowed(reader.volume(scan)[box], inside), 1.0
    if wanted.kind == "truth":
        found = voxel_truth(reader, scan if wanted.method == OWN else None).binary[box]
        return np.where(inside, found, NO_BRAIN).astype(np.uint8), 1.0
    if wanted.kind == "agreement":
        return _agreement(reader, wanted, scan, box)
    values = reader.heatmap(
        wanted.model, wanted.method, scan, target=wanted.target, scale=wanted.scale, full=False
    )  # fmt: skip
    if values.ndim != 3:
        raise NotInRunError(f"{wanted.method} has one number a region, no volume")
    if reader.shape("grid/mask") != values.shape:
        return quantise(values)
    integers, scale = quantise(np.where(inside, values[box], np.float32(0)))
    integers[~inside] = OUTSIDE
    return integers, scale


def read_planes(wanted: VolumeRequest, some: SomePlanes) -> tuple[np.ndarray, float]:
    """Read some planes of the underlay, (2, planes, across, up): of the template, and of its mask; or of a truth.

    Raises:
        NoSuchPlanesError: the volume has no such planes, or is none that is given by planes.
    """
    if wanted.kind == "truth":
        values, factor = read(wanted)
        return some.of(values), factor
    if wanted.kind != UNDERLAY:
        raise NoSuchPlanesError(f"{wanted.kind} is given as a whole")
    return np.stack([some.of(part) for part in _underlay(place_of(wanted.place))]), 1.0


def _underlay(place: Run) -> tuple[np.ndarray, np.ndarray]:
    """Return the template and its mask, (x, y, z) uint8, cropped to the brain and the margin of pictures."""
    found = anatomy(place)
    return found.brain[found.box], found.mask[found.box].astype(np.uint8)


def _agreement(reader: RunReader, wanted: VolumeRequest, scan: str, box: Box) -> tuple[np.ndarray, float]:
    """Return mean and agreement of the networks of a scan, one behind the other along x, and the factor of the mean.

    The second half counts the networks that agree. Both are OUTSIDE where there is no brain.
    """
    found = scan_agreement(reader, wanted.model, wanted.method, scan, wanted.target)
    outside = ~reader.mask[box]
    mean, scale = quantise(found.mean[box] * np.float32(percent_per_cm3(reader.affine())))
    count = np.rint(found.share[box] * found.networks).astype(np.int16)
    mean[outside] = count[outside] = OUTSIDE
    return np.concatenate([mean, count]), scale


def _windowed(volume: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Scale a volume to uint8: 1 to 255 inside the brain, 0 outside."""
    low, high = np.percentile(volume[inside], WINDOW) if inside.any() else (0.0, 1.0)
    grey = (volume - low) * (254 / max(high - low, 1e-30)) + 1
    return np.where(inside, np.clip(np.rint(grey), 1, 255), 0).astype(np.uint8)
