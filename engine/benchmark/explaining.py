"""How long the explanation of one scan takes, and by how much it differs from the same done otherwise."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.benchmark import others
from engine.benchmark.measure import Result, Setting, agree
from engine.benchmark.others import TARGET, Sample
from engine.benchmark.scene import Scene, cubes, scene
from engine.errors import UserError
from engine.networks.cnn3d import margins
from engine.relevance import AreaOcclusion, GuidedBackprop, Occlusion, Sensitivity
from engine.relevance.area_occlusion import label_patches
from engine.relevance.base import Patch, RelevanceMethod
from engine.relevance.occlusion import changing_positions
from engine.relevance.patches import patch_margins

BLOCK = (2, 2, 2)  # cube positions that other software is timed on, in the middle of the brain
AREAS = 6  # regions that it is timed on
SAMPLED = "{against}: {passes} forward passes timed, {places} needed; each costs the same"
PROBABILITY_ATOL, MARGIN_RTOL, GRADIENT_RTOL = 1e-6, 1e-4, 1e-6
NEAR_TIES = "float32_differs_by: our float32 from float64; windows of pooling whose two largest are nearly equal"


def occlusion(setting: Setting) -> list[Result]:
    """Time cubes of 40 mm every 12 mm: those that touch the brain, for the others are exact zeros."""
    at = scene(setting.grid_mm, setting.device)
    half, stride = cubes(setting.grid_mm)
    method = Occlusion(at.brain, at.batch, half_width=half, stride=stride)
    drops = method.attribute(at.network, at.scan, TARGET).margin[0].double().cpu()
    first = [n // 2 - 1 for n in drops.shape]
    block = np.stack(np.meshgrid(*(range(f, f + n) for f, n in zip(first, BLOCK, strict=True)), indexing="ij"), -1)
    block, volume = block.reshape(-1, 3), at.scan[0, 0]
    positions = int(drops.numel())
    touching = len(changing_positions(at.scan[0, 0] != 0, half, stride))
    sample = {
        "dense": lambda: _dense(at, method.patches(volume, torch.zeros_like(volume), block)),
        "captum": lambda: _apart(setting, others.captum_occlusion, first, BLOCK, half, stride),
        "monai": lambda: _apart(setting, others.monai_occlusion, first, BLOCK, half, stride),
    }[setting.against or "dense"]()
    places = {"all positions": positions, "positions that touch the brain": touching}
    return _time_sample(setting, at, Ours("occlusion", method, drops[tuple(block.T)], places), sample)


def area(setting: Setting) -> list[Result]:
    """Time the occlusion of every region of AAL2, left and right by itself."""
    if setting.against == "monai":
        raise UserError("--against monai: it has no occlusion of regions; use captum or dense")
    at = scene(setting.grid_mm, setting.device)
    method = AreaOcclusion(at.brain, at.batch)
    drops = method.attribute(at.network, at.scan, TARGET).margin[0].double().cpu()
    sizes = torch.bincount(at.brain.labels.flatten().long().cpu())[1 : at.brain.regions + 1]
    regions = (sizes.argsort()[:: max(1, len(sizes) // AREAS)][:AREAS] + 1).tolist()  # from small to large
    chosen_boxes = {region: method.boxes[region] for region in regions}
    volume, by_captum = at.scan[0, 0], setting.against == "captum"
    patches = label_patches(volume, torch.zeros_like(volume), at.brain.labels, chosen_boxes)
    sample = _apart(setting, others.captum_areas, regions) if by_captum else _dense(at, patches)
    chosen = drops[torch.tensor(regions) - 1]
    places = {"regions": int((sizes > 0).sum())}
    return _time_sample(setting, at, Ours("area", method, chosen, places), sample)


def gradients(setting: Setting) -> list[Result]:
    """Time sensitivity and guided backprop together."""
    at = scene(setting.grid_mm, setting.device)
    methods = {m.name: m(at.brain, at.batch) for m in (Sensitivity, GuidedBackprop)}

    def ours() -> dict[str, Tensor]:
        return {name: m.attribute(at.network, at.scan, TARGET).margin[0] for name, m in methods.items()}

    if setting.against is None:
        return [Result("gradients", setting.median(ours))]
    if setting.against != "captum":
        raise UserError(f"--against {setting.against}: only occlusions have such a way; use captum")
    # In float64: where two places of a pooling window are equal up to rounding, either may pass the gradient on, and
    # one such window of the last block moves several per cent of it.
    theirs = _apart(setting, others.captum_gradients)
    recorded, double = theirs.record().to(at.scan.device), copy.deepcopy(at.network).double()
    difference, single = 0.0, 0.0
    for (name, found), other in zip(ours().items(), recorded, strict=True):
        exact = methods[name].attribute(double, at.scan.double(), TARGET).margin[0]
        difference = max(difference, agree(f"gradients, {name}", _apart_by(exact, other, at), GRADIENT_RTOL))
        single = max(single, _apart_by(found, other, at))
    seconds, other_seconds, ratio = setting.pairs(ours, theirs.work)
    details = {"float32_differs_by": float(f"{single:.2g}")}
    unit = "of the norm of the gradients, float64"
    return [Result("gradients", seconds, "captum", other_seconds, ratio, difference, unit, details, (NEAR_TIES,))]


def _apart_by(one: Tensor, other: Tensor, at: Scene) -> float:
    """Return the norm of the difference of two maps in the brain, up to the sign of each voxel, of the norm of one."""
    own, theirs = one[at.brain.mask].abs(), other[at.brain.mask].abs()  # Captum may have the other sign's convention
    return float((own - theirs).norm() / own.norm())


def _apart(setting: Setting, factory: Callable[..., Sample], *arguments: Any) -> Sample:
    return others.apart(factory, setting.grid_mm, setting.device, *arguments)


def _dense(at: Scene, patches: list[Patch]) -> Sample:
    """Prepare whole forward passes of our own on a part of the patches, as `engine: dense` does them."""
    volume = at.scan[0, 0]

    def work() -> None:
        sample.recorded = patch_margins(at.network, volume[None], [patches], TARGET, at.batch, "dense")[1]

    sample = Sample(work, len(patches), len(patches) + 1)
    return sample


@dataclass(frozen=True)
class Ours:
    """An occlusion of ours.

    Attributes:
        drops: of the margin, at the places of the other software's sample.
        places: ways to count the places of a whole map.
    """

    name: str
    method: RelevanceMethod
    drops: Tensor
    places: dict[str, int]


def _time_sample(setting: Setting, at: Scene, ours: Ours, sample: Sample) -> list[Result]:
    """Return one result for each way to count the places; first check that both agree where both look."""
    name, places = ours.name, ours.places
    with torch.no_grad():
        intact = margins(at.network(at.scan))[0, TARGET].double().cpu()
    recorded = sample.record()
    difference = None
    if sample.places:
        theirs, changed = recorded.cpu(), intact - ours.drops
        difference = agree(name, float((torch.sigmoid(changed) - torch.sigmoid(theirs)).abs().max()), PROBABILITY_ATOL)
        agree(f"{name}, margins", float((changed - theirs).abs().max()), MARGIN_RTOL * max(1.0, float(theirs.std())))

    def ours_once() -> None:
        ours.method.attribute(at.network, at.scan, TARGET)

    unit = "probability" if sample.places else None
    if setting.against is None:
        return [Result(name, setting.median(ours_once), max_difference=difference, unit=unit, details=places)]
    own, other, ratio = setting.pairs(ours_once, sample.work)
    return [
        Result(
            f"{name}, {words}", own, setting.against, other * (count + 1) / sample.passes,
            ratio * (count + 1) / sample.passes, difference, unit, {"places": count},
            (SAMPLED.format(against=setting.against, passes=sample.passes, places=count + 1),),
        )
        for words, count in places.items()
    ]  # fmt: skip


CASES: dict[str, Callable[[Setting], list[Result]]] = {"occlusion": occlusion, "area": area, "gradients": gradients}
