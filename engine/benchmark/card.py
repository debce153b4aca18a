"""All that a GPU is asked for, in one command of at most eight minutes: is it right, and how long does everything take.

Steps go from what matters most to what matters least; those that the time does not suffice for are named.
"""

from __future__ import annotations

import copy
import importlib.util
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from engine.benchmark import explaining, learning
from engine.benchmark.learning import EPOCH_SCANS
from engine.benchmark.measure import Result, Setting, agree
from engine.benchmark.others import TARGET
from engine.benchmark.scene import cubes, scan_like, scene
from engine.errors import RunError, UserError
from engine.networks.card_check import AT_MOST, NAMES, check_block
from engine.networks.fused_step import fused_logits
from engine.networks.kernels import largest_difference, usable
from engine.pipeline.explain import CHUNK
from engine.relevance import METHODS, AreaOcclusion, GuidedBackprop, Occlusion, Sensitivity
from engine.relevance.base import RelevanceMethod

BUDGET_S = 480.0
FOUR = (Sensitivity, GuidedBackprop, Occlusion, AreaOcclusion)
PAPER = {  # Rieke et al. 2018, section 2: networks of five folds and one for the fixed test set
    "epochs": 20, "folds": 5, "scans": 969, "test scans": 175,
}  # fmt: skip
LOGITS_ATOL = 1e-3  # of fused and plain steps, float32, on logits around 1
TOGETHER = f"four methods, a scan of {CHUNK} together"
Step = Callable[[Setting], list[Result]]


@dataclass
class Sheet:
    """What was measured so far, and what was not and why."""

    results: list[Result] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def seconds(self, name: str) -> float | None:
        """Return the seconds of a result by its name; None where it was not measured."""
        return next((r.seconds for r in self.results if r.name == name), None)


def everything(setting: Setting, budget: float = BUDGET_S) -> Sheet:
    """Run every step that the time suffices for.

    A step that fails (two ways that disagree, out of memory) is named, and the others go on.

    Args:
        budget: seconds; a step begins only where at least as much is left as the longest step before it took.
    """
    sheet, started, longest = Sheet(), time.monotonic(), 0.0
    for name, step in STEPS.items():
        left = budget - (time.monotonic() - started)
        if left < longest:
            sheet.left_out.append(f"{name}: {max(left, 0):.0f} s were left, and a step took up to {longest:.0f} s")
            continue
        setting.say(f"  {name} ({left:.0f} s left)")
        begun = time.monotonic()
        try:
            sheet.results += _with_memory(setting, step)
        except (UserError, RunError, RuntimeError) as error:  # RuntimeError: torch's own, out of memory among them
            sheet.left_out.append(f"{name}: {str(error).splitlines()[0]}")
        longest = max(longest, time.monotonic() - begun)
    if paper := whole_paper(sheet):
        sheet.results.append(paper)
    return sheet


def _with_memory(setting: Setting, step: Step) -> list[Result]:
    """Run a step and add the peak of the GPU's memory to its results."""
    if setting.device.type != "cuda":
        return step(setting)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(setting.device)
    found = step(setting)
    peak = round(torch.cuda.max_memory_allocated(setting.device) / 2**30, 2)
    return [replace(result, details=result.details | {"peak_gib": peak}) for result in found]


def block(setting: Setting) -> list[Result]:
    """Compare one convolution with float64 on the CPU in both precisions, and time a larger one."""
    found = []
    for dtype, name in NAMES.items():
        one = check_block(setting.device, dtype)
        details = {"right": one.is_right, "teraflop_a_second": round(one.operations_a_second / 1e12, 3)}
        note = f"{name}: at most {AT_MOST[dtype]:g} of the largest value is rounding"
        found.append(Result(f"convolution, {name}", one.seconds, max_difference=one.error, unit="of the largest value",
                            details=details, notes=(note,)))  # fmt: skip
    return found


def own_kernels(setting: Setting) -> list[Result]:
    """Compare the kernels of our own with float64 on the CPU, where there is a GPU for them."""
    if setting.device.type != "cuda":
        return []
    apart, right = math.nan, usable(setting.device)
    if importlib.util.find_spec("triton") is not None:
        apart = largest_difference(setting.device)
    seconds = setting.median(lambda: largest_difference(setting.device)) if right else math.nan
    return [Result("kernels of our own", seconds, max_difference=apart, unit="of the largest value",
                   details={"right": right})]  # fmt: skip


def exactness(setting: Setting) -> list[Result]:
    """Compare the quick ways with the plain ones on this device: occluded boxes, regions, and fused training steps."""
    dense = replace(setting, against="dense", repeats=1)
    found = [replace(one, name=f"exact: {one.name}") for case in (explaining.occlusion, explaining.area)
             for one in case(dense)]  # fmt: skip
    at = scene(setting.grid_mm, setting.device)
    # Steps of training: they change running statistics, which the network of the scene must keep.
    one, other = copy.deepcopy(at.network).train(), copy.deepcopy(at.network).train()
    for network in (one, other):
        network.get_submodule("classifier").eval()  # no dropout
    with torch.no_grad():
        apart = float((one(at.scan) - fused_logits(other, at.scan)).abs().max())
        agree("fused steps", apart, LOGITS_ATOL)
        seconds = setting.median(lambda: fused_logits(other, at.scan))
    return [*found, Result("exact: fused forward pass", seconds, max_difference=apart, unit="of the logits")]


def four_methods(setting: Setting) -> list[Result]:
    """Time the four methods of the paper, together and each: on one scan, and on as many as a run explains at once."""
    at, half, stride = scene(setting.grid_mm, setting.device), *cubes(setting.grid_mm)
    methods = [
        kind(at.brain, at.batch, half_width=half, stride=stride) if kind is Occlusion else kind(at.brain, at.batch)
        for kind in FOUR
    ]
    found = [_timed(setting, method) for method in methods]
    several = [scan_like(setting.grid_mm, seed) for seed in range(CHUNK)]
    scans = torch.from_numpy(np.stack(several))[:, None].to(setting.device)
    together = [_timed(setting, method, scans) for method in methods]
    return [
        Result("four methods, one scan", sum(one.seconds for one in found)), *found,
        Result(TOGETHER, sum(one.seconds for one in together)), *together,
    ]  # fmt: skip


def new_methods(setting: Setting) -> list[Result]:
    """Time every other method that explains, on one scan."""
    at = scene(setting.grid_mm, setting.device)
    kinds = [kind for kind in METHODS.values() if kind.explanation and kind not in FOUR]
    return [_timed(setting, kind(at.brain, at.batch)) for kind in kinds]


def _timed(setting: Setting, method: RelevanceMethod, scans: Tensor | None = None) -> Result:
    """Time a method on the scan of the scene, or a scan of several that are explained together."""
    at = scene(setting.grid_mm, setting.device)
    volumes = at.scan if scans is None else scans
    seconds = setting.median(lambda: method.attribute(at.network, volumes, TARGET)) / len(volumes)
    return Result(f"explain: {method.name}" + ("" if scans is None else f", of {len(scans)} together"), seconds)


def _beside_captum(what: str) -> Step:
    def step(setting: Setting) -> list[Result]:
        return explaining.CASES[what](replace(setting, against="captum", repeats=1))

    return step


def _epochs(precision: learning.Precision, engine: learning.Engine) -> Step:
    def step(setting: Setting) -> list[Result]:
        name = f"train, a scan, {precision}, {engine}"
        return [replace(learning.training_by(setting, precision, engine), name=name)]

    return step


STEPS: dict[str, Step] = {
    "convolution against float64": block,
    "our kernels against float64": own_kernels,
    "quick ways against plain ones": exactness,
    "four methods": four_methods,
    "epochs, float32, fused": _epochs("float32", "fused"),
    "epochs, bf16, fused": _epochs("bf16", "fused"),
    "epochs, bf16, plain": _epochs("bf16", "plain"),
    **{f"{what} beside Captum": _beside_captum(what) for what in explaining.CASES},
    "the other methods": new_methods,
    "epochs, float32, plain": _epochs("float32", "plain"),
}


def whole_paper(sheet: Sheet) -> Result | None:
    """Return the whole paper, extrapolated: six networks of 20 epochs, 175 scans by four methods; no reading.

    None where epochs or methods were not measured.
    """
    trained = {r.name: r.seconds for r in sheet.results if r.name.startswith("train, a scan")}
    explained = sheet.seconds(TOGETHER)
    if not trained or explained is None:
        return None
    best = min(trained, key=lambda name: trained[name])
    folds, scans = PAPER["folds"], PAPER["scans"]
    seen = PAPER["epochs"] * (EPOCH_SCANS + (folds - 1) * scans)  # a fold leaves a fifth of the scans out
    seconds = seen * trained[best] + PAPER["test scans"] * explained
    details = {"training_s": round(seen * trained[best]), "explaining_s": round(PAPER["test scans"] * explained),
               "trained_by": best.removeprefix("train, a scan, ")}  # fmt: skip
    return Result("whole paper, extrapolated", seconds, details=details)


def lines_left_out(left_out: Sequence[str]) -> list[str]:
    """Write what was not measured as lines."""
    return ["", "Not measured:", *(f"- {line}" for line in left_out)] if left_out else []
