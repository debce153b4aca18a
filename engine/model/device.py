"""Which device computes, and how it is made to give the same numbers twice."""

from __future__ import annotations

import contextlib
import ctypes
import os

import torch

from engine.errors import UserError

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3)
LARGEST_INT = 2**31 - 1


def choose_device(asked: str) -> torch.device:
    """The device for auto, cpu or cuda.

    Raises:
        UserError: CUDA was asked for and there is none.
    """
    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA GPU is available here; use --device auto or --device cpu")
    return torch.device("cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu")


def make_deterministic(device: torch.device) -> None:
    """Same seed, same device, same numbers.

    CUDA's max-pool backward warns, for it adds atomically; our pools do not overlap, so each sum has one term.
    """
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
    else:
        _keep_freed_memory()
    torch.use_deterministic_algorithms(True, warn_only=True)


def _keep_freed_memory() -> None:
    """Let glibc keep large freed blocks: mapping them anew for every activation costs as much as the convolutions."""
    with contextlib.suppress(OSError, AttributeError):  # another C library: slower, not wrong
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, LARGEST_INT)


def is_out_of_memory(error: BaseException) -> bool:
    """Out of GPU or host memory, however torch says so."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and ("out of memory" in str(error) or "can't allocate memory" in str(error))
    )


def device_name(device: torch.device) -> str:
    """For provenance: cpu, or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
