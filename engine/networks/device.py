"""Which device computes, and how it is made to give the same numbers twice."""

from __future__ import annotations

import contextlib
import ctypes
import os
import warnings

import torch

from engine.errors import UserError

HOST_BYTES = 2e9  # what the activations of a batch may take
DEVICE_SHARE = 0.5  # of the GPU's free memory
FORWARD_COPIES = 20  # activations of a forward pass, in volumes: the first block's eight channels, a few times
BACKWARD_COPIES = 45
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3)
LARGEST_INT = 2**31 - 1
TRAININGS_BYTES = 4e9  # what the training steps of several networks at once may take


def choose_device(asked: str) -> torch.device:
    """Return the device for auto, cpu or cuda.

    Raises:
        UserError: CUDA was asked for and there is none.
    """
    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA GPU is available here; use --device auto or --device cpu")
    return torch.device("cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu")


def make_deterministic(device: torch.device) -> None:
    """Make torch give the same numbers for the same seed and device.

    CUDA's max-pool backward warns, for it adds atomically; our pools do not overlap, so each sum has one term.
    """
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False  # float32 means float32; bf16 is asked for by name
        warnings.filterwarnings("ignore", message=".*max_pool3d.* does not have a deterministic implementation")
    else:
        _keep_freed_memory()
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Torch makes a class of that module as it is loaded.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing here reads what it has not written


def _keep_freed_memory() -> None:
    """Let glibc keep large freed blocks: mapping them anew for every activation costs as much as the convolutions."""
    with contextlib.suppress(OSError, AttributeError):  # another C library: slower, not wrong
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, LARGEST_INT)


def volumes_that_fit(voxels: float, device: torch.device, at_most: int, backward: bool = False) -> int:
    """Return how many volumes may go through the network at once, at least 1.

    The host must not be filled up: there, running out of memory ends the process instead of raising an error.

    Args:
        voxels: of a volume, times the footprint of the network.
    """
    room = DEVICE_SHARE * torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else HOST_BYTES
    each = 4 * voxels * (BACKWARD_COPIES if backward else FORWARD_COPIES)
    return max(1, min(at_most, int(room // each)))


def trainings_that_fit(voxels: float) -> int:
    """Return how many networks may be trained at once on the host, at least 1.

    Args:
        voxels: of a batch, times the footprint of the network.
    """
    return max(1, int(TRAININGS_BYTES // (4 * voxels * BACKWARD_COPIES)))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether GPU or host memory has run out, however torch says so."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and ("out of memory" in str(error) or "can't allocate memory" in str(error))
    )


def device_name(device: torch.device) -> str:
    """Return the name of the device for provenance: cpu, or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
