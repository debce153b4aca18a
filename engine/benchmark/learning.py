"""How long an epoch takes, and how near that is to the least that the device's memory and arithmetic allow."""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from engine.benchmark.measure import Result, Setting
from engine.benchmark.scene import scan_like
from engine.cohort.splits import Job
from engine.config.schema import TrainingConfig
from engine.errors import UserError
from engine.images.grid import Grid
from engine.images.template import brain_mask
from engine.networks.cnn3d import CHANNELS, KERNEL, POOLS
from engine.training.objective import Classification
from engine.training.trainer import Trainer, TrainingSetup

Precision = Literal["float32", "bf16"]
Engine = Literal["auto", "plain", "fused"]
EPOCH_SCANS = 794  # training scans of the paper's held-out model
SCANS = {"cpu": 10, "cuda": 50}  # trained on here; two batches of five, or ten
PEAK_BYTES, PEAK_SIDE = {"cpu": 1 << 28, "cuda": 1 << 31}, {"cpu": 2048, "cuda": 8192}
# Of each convolution's output: written, read by the pool and by batch norm's statistics; backwards read, and its
# gradient written and read by the two gradients of the convolution.
PASSES = 7
FLOOR = (
    "floor: the larger of the bytes of every convolution's output, moved {passes} times, at the pace of a large copy, "
    "and of 6 operations a weight and place at the pace of a large matrix product, both measured here"
)


def training(setting: Setting) -> list[Result]:
    """Time epochs of a made-up cohort that is resident; the first, which includes its loading, does not count."""
    if setting.against is not None:
        raise UserError(f"--against {setting.against}: there is nothing to compare training with")
    return [training_by(setting, "bf16" if setting.device.type == "cuda" else "float32", "auto")]


def training_by(setting: Setting, precision: Precision, engine: Engine) -> Result:
    """Time epochs in a precision, by fused steps or by those of torch's modules, beside the floor."""
    device, mm = setting.device, setting.grid_mm
    scans = [str(number) for number in range(SCANS[device.type])]
    config = TrainingConfig(
        epochs=1 + setting.repeats, channels_last=mm == 1, precision=precision, engine=engine, resident="always"
    )
    with tempfile.TemporaryDirectory() as folder:
        setup = TrainingSetup(
            Classification({s: int(s) % 2 == 0 for s in scans}),
            lambda wanted: np.stack([_kept_scan(mm, int(s)) for s in wanted]),
            brain_mask(mm), mm, config, device, Path(folder),
        )  # fmt: skip
        trained = Trainer(setup, Job("bench", "holdout", 0, tuple(scans), (), ())).train()
    a_scan = float(np.median([row["seconds"] for row in trained.curve[1:]])) / len(scans)
    width = 2 if precision == "bf16" else 4
    moved, operations = floor(Grid(mm).shape, POOLS[mm], width)
    least = max(moved / _copy_pace(setting), operations / _product_pace(setting, precision))
    details = {
        "scans": len(scans), "precision": precision, "epoch_of_794_s": round(a_scan * EPOCH_SCANS, 1),
        "floor_of_794_s": round(least * EPOCH_SCANS, 2), "share_of_floor": round(least / a_scan, 3),
        "gigabytes_a_scan": round(moved / 1e9, 3), "teraflop_a_scan": round(operations / 1e12, 4),
    }  # fmt: skip
    return Result("train, a scan", a_scan, details=details, notes=(FLOOR.format(passes=PASSES),))


@functools.lru_cache(max(SCANS.values()))
def _kept_scan(grid_mm: int, seed: int) -> np.ndarray:
    return scan_like(grid_mm, seed)


def floor(shape: Sequence[int], pools: Sequence[int], width: int) -> tuple[float, float]:
    """Return (bytes moved, floating-point operations) of a training step, for one scan.

    Args:
        width: bytes of a number.
    """
    moved, operations = 0.0, 0.0
    for source, target, pool in zip((1, *CHANNELS), CHANNELS, pools, strict=False):
        shape = tuple(n - KERNEL + 1 for n in shape)
        places = math.prod(shape)
        moved += PASSES * width * target * places
        operations += 6 * KERNEL**3 * source * target * places
        shape = tuple(n // pool for n in shape)
    return moved, operations


def _copy_pace(setting: Setting) -> float:
    """Return the bytes read and written a second by a copy."""
    source = torch.ones(PEAK_BYTES[setting.device.type], dtype=torch.uint8, device=setting.device)
    target = torch.empty_like(source)
    return 2 * source.numel() / setting.median(lambda: target.copy_(source))


def _product_pace(setting: Setting, precision: str) -> float:
    """Return the floating-point operations a second of a matrix product."""
    side = PEAK_SIDE[setting.device.type]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    matrix = torch.ones(side, side, dtype=dtype, device=setting.device)
    return 2 * side**3 / setting.median(lambda: matrix @ matrix)
