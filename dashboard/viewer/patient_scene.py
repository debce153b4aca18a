"""What the viewer shows of one patient: where each volume is fetched, and what it means."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from dashboard.data.runs import Run
from dashboard.drawing import palette
from dashboard.text import formatting
from dashboard.viewer import serving, volumes
from dashboard.viewer.scene import Map, MapAgreement, Point, Scene, Truth, Volume
from store import BrokenRunError, NotInRunError, RunReader
from store.files.encoding import array_path
from store.keys import ModelName
from store.reading.agreement import FEWEST_NETWORKS, HOW_TO_MAKE, networks_of_scan
from store.reading.truth import has_truth
from store.spec import HEATMAPS, TRUTH_SCANS, TRUTH_VISIBLE_BINARY

SCENES_KEPT = 512  # a few kB each
AGREED_UNIT = "% of relevance per cm³"  # as of one scale for all methods


def patient_volumes(  # noqa: PLR0913 - which heatmaps, and who looks
    run: RunReader, place: Run, model: str, scan: str, methods: Sequence[str], target: str, scale: str = "margin"
) -> Scene:
    """Describe what the viewer needs to show a scan; sign addresses, read only tables, attributes and region values.

    Args:
        methods: those wanted, in order; those without a heatmap of this scan are left out.
        target: a group, "true" or "predicted".
        scale: margin or probability.
    Raises:
        NotInRunError: the run has no such scan, or none of these heatmaps.
        BrokenRunError: what should be there is not, or a grid is not as the specification says.
    """
    volumes.place_token(place)  # it is remembered as the last one
    return _signed_scene(_unsigned_scene(run, place, (model, scan), tuple(methods), target, scale))


@functools.lru_cache(maxsize=SCENES_KEPT)
def _unsigned_scene(
    run: RunReader, place: Run, whose: tuple[str, str], methods: tuple[str, ...], target: str, scale: str
) -> Scene:
    """Return the scene of a scan for all readers, with tokens in the place of addresses.

    Args:
        whose: model and scan.
    """
    model, scan = whose
    if (known := _scans_of(run).get(scan)) is None:
        raise NotInRunError(f"run {run.run_id} has no scan {scan}")
    group = run.target_of(model, scan, target)
    wanted = volumes.VolumeRequest(volumes.place_token(place), "heatmap", known.row, model, "", group, scale)
    maps = [_map(run, place, wanted, scan, row) for row in _stored(run, model, scan, methods, group, scale)]
    if not maps:
        raise NotInRunError(f"run {run.run_id} has no heatmap of scan {scan} by model {model} for {group}")
    identity = volumes.VolumeRequest(
        wanted.place, "heatmap", wanted.row, model, ",".join(m.method for m in maps), group, scale
    )
    return Scene(
        identity=identity.token(),
        label=f"Brainwhy {run.run_id}{' (simulated)' if run.simulated else ''} · model {model} · evidence for {group}",
        scan=_scan(run, place, wanted),
        maps=tuple(maps),
        no_agreement="" if any(one.agreement for one in maps) else _no_agreement(model),
        **_unsigned_parts(run, place, scan),
    )


def _signed_scene(scene: Scene) -> Scene:
    """Return a scene whose volumes have addresses for the reader of this session."""
    whose = serving.reader_of_session()
    return replace(
        scene,
        **{name: _signed(getattr(scene, name), whose) for name in ("anatomy", "atlas", "scan")},
        maps=tuple(
            replace(one, volume=_signed(one.volume, whose), agreement=_signed_inside(one.agreement, whose))
            for one in scene.maps
        ),
        truth=_signed_inside(scene.truth, whose),
    )


Part = TypeVar("Part", Truth, MapAgreement)


def _signed_inside(part: Part | None, whose: str) -> Part | None:
    return None if part is None else replace(part, volume=_signed(part.volume, whose))


def _signed(volume: Volume | None, whose: str) -> Any:
    """Return a volume with its address in the place of its token."""
    if volume is None:
        return None
    return replace(volume, url=serving.volume_url(volumes.VolumeRequest.of_token(volume.url), whose))


def common_parts(run: RunReader, place: Run) -> dict[str, Any]:
    """Return what scenes of groups have in common, by field of Scene: anatomy, atlas, grid, regions and truth."""
    parts, whose = _unsigned_parts(run, place, None), serving.reader_of_session()
    signed = {name: _signed(parts[name], whose) for name in ("anatomy", "atlas")}
    return parts | signed | {"truth": _signed_inside(parts["truth"], whose)}


def _unsigned_parts(run: RunReader, place: Run, scan: str | None) -> dict[str, Any]:
    """Return the same with tokens in the place of addresses.

    Args:
        scan: whose truth is outlined; None: that of the patients of the run.
    """
    origin, step = _origin_and_step(run, "grid/mask")
    regions, rest = _regions_of(run)
    token = volumes.place_token(place)
    return {
        "anatomy": _volume(run, place, volumes.VolumeRequest(token, "anatomy"), "template", "uint8"),
        "atlas": _volume(run, place, volumes.VolumeRequest(token, "atlas"), "atlas", volumes.atlas_dtype(run)),
        "origin": origin,
        "step": step,
        "regions": regions,
        "rest": rest,
        "truth": _unsigned_truth(run, place, token, scan),
    }


class KnownScan(NamedTuple):
    """A scan of the scans table: its row, and whether something was imposed on it (simulated)."""

    row: int
    is_changed: bool


@functools.lru_cache(maxsize=volumes.READERS_KEPT)
def _scans_of(run: RunReader) -> dict[str, KnownScan]:
    """Return every scan of the run by name; the table is read once for all readers."""
    table = run.table("scans", ["scan", "severity"])
    changed = (table.severity > 0).fillna(False)
    return {
        scan: KnownScan(row, bool(severe)) for row, (scan, severe) in enumerate(zip(table.scan, changed, strict=True))
    }


@functools.lru_cache(maxsize=volumes.READERS_KEPT)
def _regions_of(run: RunReader) -> tuple[dict[int, str], tuple[int, ...]]:
    """Return the names of the regions by their index in the atlas, and the indices that are no area of it."""
    regions = run.table("regions", ["index", "region", "in_atlas"])
    names = {int(i): formatting.region_name(str(r)) for i, r in zip(regions["index"], regions.region, strict=True)}
    return names, tuple(int(i) for i in regions["index"][~regions.in_atlas.astype(bool)])


class StoredMap(NamedTuple):
    """A row of the heatmaps table."""

    method: str
    target: str
    scale: str
    native_grid: str


@functools.lru_cache(maxsize=volumes.READERS_KEPT)
def _stored_maps(run: RunReader) -> dict[tuple[str, str], list[StoredMap]]:
    """Return (model, scan) -> its heatmaps, in the order of the table."""
    table = run.table("heatmaps", ["model", "scan", *StoredMap._fields])
    found: dict[tuple[str, str], list[StoredMap]] = {}
    for model, scan, *rest in zip(*(table[name].tolist() for name in table.columns), strict=True):
        found.setdefault((model, scan), []).append(StoredMap(*rest))
    return found


def _stored(run: RunReader, model: str, scan: str, methods: Sequence[str], group: str, scale: str) -> list[StoredMap]:
    """Return the row of the heatmaps table that each method's map comes from, as the reader derives it."""
    every, found = _stored_maps(run).get((model, scan), []), []
    for method in dict.fromkeys(methods):
        # Of gradients only the margin is stored, of antisymmetric methods only the positive group.
        wanted = "margin" if run.is_gradient(method) else scale
        rows = [row for row in every if row.method == method and row.scale == wanted]
        own = [row for row in rows if row.target == group]
        if not own and rows and run.is_antisymmetric(model, method):
            own = [row for row in rows if row.target == run.groups[0]]
        found += own[:1]
    return found


def _map(run: RunReader, place: Run, wanted: volumes.VolumeRequest, scan: str, row: StoredMap) -> Map:
    path = array_path(HEATMAPS, model=wanted.model, method=row.method, target=row.target, scale=row.scale)
    attributes = run.attributes(path)
    volume, region_values, stride = None, None, None
    asked = replace(wanted, method=row.method)
    if row.native_grid == "regions":
        values = run.heatmap(
            wanted.model, row.method, scan, target=wanted.target, scale=wanted.scale, full=False
        )  # fmt: skip
        region_values = {index: float(value) for index, value in enumerate(values, 1)}
    elif row.native_grid == "positions":
        stride = int(attributes["stride"])
        affine = run.affine("grid/mask") @ np.diag([stride, stride, stride, 1])
        x, y, z = map(int, run.shape(path)[1:])
        volume = Volume(asked.token(), (x, y, z), "int16", None, affine.tolist())
    else:
        volume = _volume(run, place, asked, "grid/mask", "int16", None)
    return Map(
        method=row.method,
        title=formatting.method_name(row.method),
        colour=palette.method_colour(row.method),
        unit=attributes["unit"].replace("margin", wanted.scale),
        resolution=_resolution(run, row, stride),
        volume=volume,
        region_values=region_values,
        positive_only=not run.is_gradient(row.method),
        native_grid=row.native_grid,
        stride=stride,
        agreement=_agreement(run, place, replace(asked, kind="agreement"), scan),
    )


def _agreement(run: RunReader, place: Run, wanted: volumes.VolumeRequest, scan: str) -> MapAgreement | None:
    """Return the mean over the networks trained like that of the map, and where they agree; None below three."""
    networks = networks_of_scan(run, wanted.model, wanted.method, scan)
    if len(networks) < FEWEST_NETWORKS:
        return None
    one = _volume(run, place, wanted, "grid/mask", "int16", None)
    x, y, z = one.shape
    return MapAgreement(replace(one, shape=(2 * x, y, z)), len(networks), AGREED_UNIT)


def _no_agreement(model: str) -> str:
    if ModelName(model).fold is not None:
        return (
            "Opacity by agreement is of the held-out network and those trained like it: choose the held-out test set "
            f"at the left; where it has fewer than {FEWEST_NETWORKS} networks, {HOW_TO_MAKE}"
        )
    return f"Opacity by agreement needs at least {FEWEST_NETWORKS} networks of this scan: {HOW_TO_MAKE}"


def _resolution(run: RunReader, row: StoredMap, stride: int | None) -> str:
    """Say what one independent value stands for."""
    if row.native_grid == "voxels" and not run.is_gradient(row.method):
        return "segments of the scan"
    if row.method in formatting.COARSE:
        return "units of the last convolution"
    step = _origin_and_step(run, "grid/mask")[1][0]
    return {"regions": "atlas regions", "positions": f"{step * (stride or 1):g} mm positions"}.get(
        row.native_grid, f"{step:g} mm"
    )


def _scan(run: RunReader, place: Run, wanted: volumes.VolumeRequest) -> Volume | None:
    """Return the patient's own volume, where the run kept it."""
    if not run.has_array("scans"):
        return None
    asked = volumes.VolumeRequest(wanted.place, "scan", wanted.row)
    return _volume(run, place, asked, "grid/mask", "uint8")


def truth_of_patients(run: RunReader, place: Run, token: str) -> Truth | None:
    """Return what was imposed on the patients of a run, with an address for this reader; `token`: of the run."""
    return _signed_inside(_unsigned_truth(run, place, token, None), serving.reader_of_session())


def _unsigned_truth(run: RunReader, place: Run, token: str, scan: str | None) -> Truth | None:
    """Return what is known to have been imposed: on a brain, or on patients where nothing was imposed on it.

    Args:
        token: of the run, in addresses.
        scan: None: what was imposed on the patients of the run.
    """
    if not (run.simulated and has_truth(run)):
        return None
    own, row, unchanged = False, 0, ""
    if scan is not None:
        row, changed = _scans_of(run)[scan]
        own = changed and run.has_array(TRUTH_SCANS.path)
        unchanged = "" if changed else "; nothing was imposed on this brain"
    if own:
        text = "where the imposed change is visible in this brain"
    elif run.has_array(TRUTH_VISIBLE_BINARY.path):
        text = "where the change imposed on patients is visible"
    else:
        text = "where tissue of patients was changed, by its imposed log-Jacobian, which shows at its borders alone"
    asked = volumes.VolumeRequest(token, "truth", row if own else 0, method=volumes.OWN if own else volumes.COHORT)
    return Truth(_volume(run, place, asked, "grid/mask", "uint8"), f"{text}{unchanged} (SIMULATED)")


def _volume(
    run: RunReader,
    place: Run,
    wanted: volumes.VolumeRequest,
    path: str,
    dtype: str,
    scale: float | None = 1.0,
) -> Volume:
    _origin_and_step(run, path)
    box = volumes.brain_box(place, "grid/mask" if path == "grid/mask" else "mask")
    x, y, z = (edge.stop - edge.start for edge in box)
    affine = volumes.cropped_affine(run.affine(path), box)
    return Volume(wanted.token(), (x, y, z), dtype, scale, affine.tolist())


def _origin_and_step(run: RunReader, path: str) -> tuple[Point, Point]:
    """Return the mm of voxel (0, 0, 0) and of a step along each axis.

    Raises:
        BrokenRunError: the axes are not those of the world.
    """
    affine = run.affine(path)
    step = np.diag(affine)[:3]
    if not np.array_equal(affine[:3, :3], np.diag(step)) or (step <= 0).any():
        raise BrokenRunError(f"run {run.run_id}: array {path} is not in RAS+ order: build the run again")
    (x, y, z), (across, deep, up) = (map(float, triple) for triple in (affine[:3, 3], step))
    return (x, y, z), (across, deep, up)
