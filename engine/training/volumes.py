"""Normalised volumes for training and explaining: resident in (GPU) memory where they fit, else streamed ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from engine.images.geometry import bounding_box
from engine.networks.device import DEVICE_SHARE
from engine.training.site_effects import Normaliser, normalised

Item = TypeVar("Item")
Read = Callable[[Sequence[str]], np.ndarray]
RESIDENT_BYTES = 3e9  # what a resident cohort may take of the host's memory
LOAD = 16


@dataclass(frozen=True)
class Residence:
    """Whether volumes stay in memory, and how.

    Attributes:
        resident: auto (where they fit), always or never.
        dtype: of the resident copy on a GPU; float32 on the CPU.
        channels_last: the memory format of the batches.
        share: of the memory for resident volumes that these may take.
    """

    resident: str = "auto"
    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    share: float = 1.0


STREAMED = Residence("never")


class Volumes:
    """Batches of normalised volumes, (n, 1, x, y, z), on a device.

    Args:
        read: scan ids -> (n, x, y, z) float32 intensities.
        scans: all that will be asked for.
    """

    def __init__(
        self,
        read: Read,
        scans: Sequence[str],
        normalisation: Normaliser,
        device: torch.device,
        residence: Residence = Residence(),
    ) -> None:
        self._read, self._normalisation, self._device = read, normalisation, device
        self._index = {scan: i for i, scan in enumerate(scans)}
        self._dtype = residence.dtype if device.type == "cuda" else torch.float32
        self._format = torch.channels_last_3d if residence.channels_last else torch.contiguous_format
        self._resident = self._load(list(scans)) if self._fits(residence.resident, residence.share) else None

    def _fits(self, resident: str, share: float) -> bool:
        if resident != "auto":
            return resident == "always"
        size = len(self._index) * self._normalisation.mask.size * self._dtype.itemsize
        if self._device.type == "cuda":
            return size < share * DEVICE_SHARE * torch.cuda.mem_get_info(self._device)[0]
        return size < share * RESIDENT_BYTES

    def _load(self, scans: list[str]) -> Tensor:
        shape = (len(scans), 1, *self._normalisation.mask.shape)
        store = torch.empty(shape, dtype=self._dtype, device=self._device)
        for start in range(0, len(scans), LOAD):
            store[start : start + LOAD] = self._host(scans[start : start + LOAD]).to(self._device)
        return store

    def _host(self, scans: Sequence[str]) -> Tensor:
        found = normalised(self._normalisation, self._read, scans)
        return torch.from_numpy(found.astype(np.float32, copy=False)).unsqueeze(1)

    @property
    def voxels(self) -> int:
        """Return how many voxels a volume has."""
        return self._normalisation.mask.size

    @cached_property
    def box(self) -> tuple[slice, ...]:
        """Return the bounding box of the mask; outside it all is 0."""
        return bounding_box(self._normalisation.mask)

    @property
    def resident(self) -> bool:
        return self._resident is not None

    def release(self) -> None:
        """Start streaming; the resident copy's memory is free afterwards."""
        self._resident = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def batches(self, chunks: Sequence[Sequence[str]]) -> Iterator[Tensor]:
        """Return a float32 tensor for each list of scan ids, in order; the next one is read while this one is used."""
        if self._resident is not None:
            for chunk in chunks:
                rows = torch.tensor([self._index[s] for s in chunk], device=self._device)
                yield self._resident[rows].float().contiguous(memory_format=self._format)
            return
        with ThreadPoolExecutor(1) as reader:
            waiting = [reader.submit(self._host, chunk) for chunk in chunks[:1]]
            for number in range(len(chunks)):
                batch = waiting.pop().result()
                waiting += [reader.submit(self._host, chunk) for chunk in chunks[number + 1 : number + 2]]
                if self._device.type == "cuda":
                    batch = batch.pin_memory().to(self._device, non_blocking=True)
                yield batch.contiguous(memory_format=self._format)


def chunked(scans: Sequence[Item], size: int) -> list[list[Item]]:
    """Divide scans into lists of at most `size`, in order."""
    return [list(scans[start : start + size]) for start in range(0, len(scans), size)]
