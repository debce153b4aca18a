"""What the viewer shows of one patient: where each volume is fetched, and what it means."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from dashboard.data.runs import Run
from dashboard.drawing import palette
from dashboard.text import formatting
from dashboard.viewer import serving, volumes
from store import BrokenRunError, NotInRunError, RunReader
from store.files.encoding import array_path
from store.keys import ModelName
from store.reading.agreement import FEWEST_NETWORKS, HOW_TO_MAKE, networks_of_scan
from store.reading.truth import has_truth
from store.spec import HEATMAPS, TRUTH_SCANS, TRUTH_VISIBLE_BINARY

AGREED_UNIT = "% of relevance per cm³"  # as of one scale for all methods
Point = tuple[float, float, float]  # mm


@dataclass(frozen=True)
class Volume:
    """A volume of integers that the browser fetches once, (x, y, z) in C order.

    `affine` is that of the cropped array, voxel -> mm. A `scale` of None comes with the numbers.
    """

    url: str
    shape: tuple[int, int, int]
    dtype: str
    scale: float | None
    affine: list[list[float]]


@dataclass(frozen=True)
class MapAgreement:
    """The mean of a method over several networks, and behind it along x how many of them agree on each voxel.

    `networks`: how many there are.
    """

    volume: Volume
    networks: int
    unit: str


@dataclass(frozen=True)
class Map:
    """A heatmap of one method: a volume, or one value a region (atlas index -> value).

    `positive_only`: m is max(h, 0) as for occlusions, else |h|. `stride`: of positions, in voxels of the working grid.
    `agreement` is None where fewer than three networks explain the scan by this method. Maps with the same
    `scale_group` share threshold and top of the colours; "" has its own. `one_sided`: no value is below 0, so that
    colours have one side.
    """

    method: str
    title: str
    colour: str
    unit: str
    resolution: str
    volume: Volume | None
    region_values: dict[int, float] | None
    positive_only: bool
    native_grid: str
    stride: int | None = None
    agreement: MapAgreement | None = None
    scale_group: str = ""
    one_sided: bool = False


@dataclass(frozen=True)
class Truth:
    """A mask of what was imposed on a simulated brain: 1 inside, 0 outside, 255 no brain; `words` are its legend."""

    volume: Volume
    words: str


@dataclass(frozen=True)
class RegionFigures:
    """A region of this patient against the group; `share` and `group_mean` as fractions of 1.

    `percentile` is None where the group is too small.
    """

    share: float
    percentile: float | None
    n: int
    group_mean: float | None


@dataclass(frozen=True)
class Scene:
    """The content of the viewer. `label` stands on saved pictures; `origin`, `step` (mm) are those of the grid.

    `regions`: name by atlas index; `rest`: the indices that are no area of the atlas (Ventricles, Unlabelled).
    `no_agreement`: why no map has an `agreement`, in words. `kind`: "patient", the maps are methods; "groups", the
    averages of groups and their difference; or "methods", the averages of one group by several methods.
    """

    identity: str
    label: str
    anatomy: Volume
    atlas: Volume
    scan: Volume | None
    origin: Point
    step: Point
    regions: dict[int, str]
    rest: tuple[int, ...]
    maps: tuple[Map, ...]
    truth: Truth | None = None
    no_agreement: str = ""
    kind: str = "patient"


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
    scans = run.table("scans", ["scan"]).scan
    if not (scans == scan).any():
        raise NotInRunError(f"run {run.run_id} has no scan {scan}")
    group = run.target_of(model, scan, target)
    wanted = volumes.VolumeRequest(
        volumes.place_token(place), "heatmap", int(np.flatnonzero(scans == scan)[0]), model, "", group, scale
    )
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
        **common_parts(run, place, scan),
    )


def common_parts(run: RunReader, place: Run, scan: str | None) -> dict[str, Any]:
    """Return what scenes of one run have in common, by field of Scene: anatomy, atlas, grid, regions and truth.

    Args:
        scan: whose truth is outlined; None: that of the patients of the run.
    """
    origin, step = _origin_and_step(run, "grid/mask")
    regions = run.table("regions", ["index", "region", "in_atlas"])
    token = volumes.place_token(place)
    return {
        "anatomy": _volume(run, place, volumes.VolumeRequest(token, "anatomy"), "template", "uint8"),
        "atlas": _volume(run, place, volumes.VolumeRequest(token, "atlas"), "atlas", volumes.atlas_dtype(run)),
        "origin": origin,
        "step": step,
        "regions": {
            int(i): formatting.region_name(str(r)) for i, r in zip(regions["index"], regions.region, strict=True)
        },
        "rest": tuple(int(i) for i in regions["index"][~regions.in_atlas.astype(bool)]),
        "truth": truth_of(run, place, token, scan),
    }


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
        volume = Volume(serving.volume_url(asked), (x, y, z), "int16", None, affine.tolist())
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


def truth_of(run: RunReader, place: Run, token: str, scan: str | None) -> Truth | None:
    """Return what is known to have been imposed: on a brain, or on patients where nothing was imposed on it.

    Args:
        token: of the run, in addresses.
        scan: None: what was imposed on the patients of the run.
    """
    if not (run.simulated and has_truth(run)):
        return None
    own, row, unchanged = False, 0, ""
    if scan is not None:
        row = int(np.flatnonzero(run.table("scans", ["scan"]).scan == scan)[0])
        changed = bool((run.table("scans", ["severity"], scan=scan).severity > 0).any())
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
    return Volume(serving.volume_url(wanted), (x, y, z), dtype, scale, affine.tolist())


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
