"""Shapes of made-up networks, drawn by Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st


def pools_and_least(draw) -> tuple[tuple[int, ...], int]:
    """(pool of each of up to three blocks of valid 3x3x3 convolutions, the shortest side they can take)."""
    pools = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    least = 1
    for pool in reversed(pools):
        least = least * pool + 2
    return pools, least
