"""The content of the viewer: where each volume is fetched, and what it means."""

from __future__ import annotations

from dataclasses import dataclass

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
