"""What the viewer shows of groups: their averages and the difference of two by one method, or one group by several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.data.anatomy import brain
from dashboard.data.averages import Average
from dashboard.data.runs import Run
from dashboard.shell import access, public
from dashboard.viewer import group_volumes, serving, volumes
from dashboard.viewer.group_volumes import GroupVolume
from dashboard.viewer.patient_scene import common_parts
from dashboard.viewer.scene import Map, MapAgreement, Scene, Volume
from store import NotInRunError, RunReader

GROUPS, METHODS = "groups", "methods"  # the kinds of such scenes: one method, or one group


@dataclass(frozen=True)
class GroupPicture:
    """A map that the viewer shows of groups.

    Attributes:
        heading: who is averaged, or "A − B"; of one group the method.
        people: how many they are, in words.
        factors: of the averages, in the unit of the picture.
        colour: beside the heading, "#rrggbb".
        one_sided: no value is below 0.
        agreement: the mean over networks that were trained again and the share of them that agree, and how many they
            are; None where the run does not know.
    """

    heading: str
    people: str
    averages: tuple[Average, ...]
    factors: tuple[float, ...]
    unit: str
    colour: str
    one_sided: bool
    agreement: GroupVolume | None = None
    agreement_unit: str = ""


def group_scene(
    run: RunReader, place: Run, pictures: Sequence[GroupPicture], label: str, kind: str = GROUPS, no_agreement: str = ""
) -> Scene:
    """Describe what the viewer needs to show averages of groups; sign addresses for this reader, read no heatmap.

    Averages by one method share a scale of colours; differences have one of their own, as averages by several methods
    have.

    Args:
        label: stands on saved pictures.
        kind: GROUPS, or METHODS where the pictures are of one group.
        no_agreement: why no picture has an agreement of networks, in words.
    Raises:
        NotInRunError: there is nothing to show, or this reader may not see it.
    """
    for average in (average for picture in pictures for average in _averages(picture)):
        if not public.may_see_average(average):
            raise NotInRunError(f"averages of chosen scans are {access.only_for_whom()}")
    if not pictures:
        raise NotInRunError(f"run {run.run_id} has no average of these scans")
    token = volumes.place_token(place)
    maps = tuple(_map(place, token, picture, kind) for picture in pictures)
    # The volumes are told apart by their names, which stay the same for the same averages.
    identity = "/".join([token, *(one.volume.url.partition("?")[0] for one in maps if one.volume)])
    return Scene(
        identity=identity, label=label, scan=None, maps=maps, kind=kind,
        no_agreement="" if any(one.agreement for one in maps) else no_agreement, **common_parts(run, place),
    )  # fmt: skip


def _averages(picture: GroupPicture) -> tuple[Average, ...]:
    return (*picture.averages, *(picture.agreement.averages if picture.agreement else ()))


def _agreement(token: str, picture: GroupPicture, shape: tuple[int, int, int], affine: list) -> MapAgreement | None:
    if picture.agreement is None:
        return None
    wanted = volumes.VolumeRequest(token, group_volumes.KIND, method=group_volumes.remember(picture.agreement))
    volume = Volume(serving.volume_url(wanted), (2 * shape[0], *shape[1:]), "int16", None, affine)
    return MapAgreement(volume, picture.agreement.networks, picture.agreement_unit)


def _map(place: Run, token: str, picture: GroupPicture, kind: str) -> Map:
    own = brain(place)
    volume = GroupVolume(picture.averages, picture.factors)
    wanted = volumes.VolumeRequest(token, group_volumes.KIND, method=group_volumes.remember(volume))
    x, y, z = own.mask.shape
    return Map(
        method=picture.heading,
        title=picture.heading,
        colour=picture.colour,
        unit=picture.unit,
        resolution=picture.people,
        volume=Volume(serving.volume_url(wanted), (x, y, z), "int16", None, own.affine.tolist()),
        region_values=None,
        positive_only=False,
        native_grid="voxels",
        scale_group="averages" if kind == GROUPS and len(picture.averages) == 1 else "",
        one_sided=picture.one_sided,
        agreement=_agreement(token, picture, (x, y, z), own.affine.tolist()),
    )
