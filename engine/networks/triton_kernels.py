"""Kernels of our own for CUDA GPUs, where cuDNN's 3D convolutions of few channels are slow; imported only where used.

`kernels.py` says what each computes and compares it with torch. Why they exist (docs/performance.md): on an H200, 95 %
of a float32 training step at 1 mm went into cuDNN's gradients of the weights of two convolutions.
"""

# Triton compiles the text of these functions: its constants are written large, and every number is handed over.
# ruff: noqa: N803, PLR0913
# mypy: ignore-errors

import triton
import triton.language as tl


@triton.jit
def first_block(
    volumes, weight, bias, found, of_volume, of_x, of_y, of_z, of_found, of_channel, of_fx, of_fy, of_fz,
    NX, NY, NZ, K: tl.constexpr, POOL: tl.constexpr, CHANNELS: tl.constexpr, WIDE: tl.constexpr, RELU: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the largest of each pooling window of a valid convolution of one channel, with bias, perhaps with ReLU.

    One program: BLOCK places of the output of one volume. WIDE: the channels, up to a power of two.
    """
    row = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    within = place < NX * NY * NZ
    z, y, x = place % NZ, place // NZ % NY, place // (NZ * NY)
    channel = tl.arange(0, WIDE)
    known = channel < CHANNELS
    corner = volumes + row * of_volume + POOL * (x * of_x + y * of_y + z * of_z)
    best = tl.full((BLOCK, WIDE), float("-inf"), tl.float32)
    for window in range(POOL * POOL * POOL):
        wx, wy, wz = window // (POOL * POOL), window // POOL % POOL, window % POOL
        first = corner + wx * of_x + wy * of_y + wz * of_z
        total = tl.zeros((BLOCK, WIDE), tl.float32)
        for tap in tl.static_range(K * K * K):
            seen = tl.load(
                first + (tap // (K * K)) * of_x + (tap // K % K) * of_y + (tap % K) * of_z, mask=within, other=0.0
            )
            by = tl.load(weight + channel * (K * K * K) + tap, mask=known, other=0.0)
            total += seen[:, None] * by[None, :]
        best = tl.maximum(best, total)
    best += tl.load(bias + channel, mask=known, other=0.0)[None, :]
    if RELU:
        best = tl.maximum(best, 0.0)
    into = found + row * of_found + (x * of_fx + y * of_fy + z * of_fz)[:, None] + (channel * of_channel)[None, :]
    tl.store(into, best, mask=within[:, None] & known[None, :])


@triton.jit
def weight_gradient(
    maps, behind, parts, of_map, of_channel, of_x, of_y, of_z, of_behind, of_bc, of_bx, of_by, of_bz,
    NX, NY, NZ, places, step, K: tl.constexpr, CHANNELS: tl.constexpr, OUT: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write a part of the gradient of a valid convolution's weights: the sum over `step` places of all volumes.

    One program: ROWS of the K^3 * CHANNELS weights of an output, for all COLUMNS >= OUT outputs.
    """
    part, tile = tl.program_id(0), tl.program_id(1)
    weight = tile * ROWS + tl.arange(0, ROWS)
    known = weight < K * K * K * CHANNELS
    tap, source = weight // CHANNELS, weight % CHANNELS
    shift = (tap // (K * K)) * of_x + (tap // K % K) * of_y + (tap % K) * of_z + source * of_channel
    out = tl.arange(0, COLUMNS)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    last = tl.minimum((part + 1) * step, places)
    for start in range(part * step, last, BLOCK):
        place = start + tl.arange(0, BLOCK)
        within = place < last
        z, y, x = place % NZ, place // NZ % NY, place // (NZ * NY) % NX
        row = (place // (NZ * NY * NX)).to(tl.int64)
        here = row * of_map + x * of_x + y * of_y + z * of_z
        seen = tl.load(maps + shift[:, None] + here[None, :], mask=known[:, None] & within[None, :], other=0.0)
        there = row * of_behind + x * of_bx + y * of_by + z * of_bz
        arriving = tl.load(
            behind + there[:, None] + (out * of_bc)[None, :], mask=within[:, None] & (out < OUT)[None, :], other=0.0
        )
        total = tl.dot(seen, arriving, total, input_precision=PRECISION)
    into = parts + (part * K * K * K * CHANNELS + weight)[:, None] * OUT + out[None, :]
    tl.store(into, total, mask=known[:, None] & (out < OUT)[None, :])


@triton.jit
def gather_crops(
    cells, rows, found, NX, NY, NZ, MY, MZ, CHANNELS: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr
):
    """Write crops, (n, channels, x, y, z), of maps with changes.

    A row of `rows` has 14 numbers: the corner of the crop; low and high end of the box that changes; the first cell of
    the box; cells from one place of it to the next along each axis; the first cell of the intact map.
    """
    number = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    size = NX * NY * NZ
    within = place < size
    row = rows + number * 14
    z, y, x = place % NZ + tl.load(row + 2), place // NZ % NY + tl.load(row + 1), place // (NZ * NY) + tl.load(row)
    low_x, low_y, low_z = tl.load(row + 3), tl.load(row + 4), tl.load(row + 5)
    changed = (
        (x >= low_x) & (y >= low_y) & (z >= low_z)
        & (x < tl.load(row + 6)) & (y < tl.load(row + 7)) & (z < tl.load(row + 8))
    )  # fmt: skip
    theirs = tl.load(row + 9) + (
        (x - low_x) * tl.load(row + 10) + (y - low_y) * tl.load(row + 11) + (z - low_z) * tl.load(row + 12)
    )
    own = tl.load(row + 13) + (x * MY + y) * MZ + z
    cell = tl.where(changed, theirs, own).to(tl.int64)
    channel = tl.arange(0, WIDE)
    wanted = within[:, None] & (channel < CHANNELS)[None, :]
    values = tl.load(cells + cell[:, None] * CHANNELS + channel[None, :], mask=wanted)
    into = found + number * CHANNELS * size + place[:, None] + channel[None, :] * size
    tl.store(into, values, mask=wanted)
