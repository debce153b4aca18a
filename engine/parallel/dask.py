"""Dask: tasks are futures of a scheduler, on this machine or at an address, which moves them when workers are lost."""

from __future__ import annotations

import logging
import os
import queue
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config.cluster_schema import ClusterConfig
from engine.errors import RunError, UserError
from engine.parallel.cluster import Event
from engine.parallel.local import GPUS, visible_gpus
from engine.parallel.unit import Batch
from engine.parallel.work import Work

POLL_S, CONNECT_S, PATIENCE_S = 0.5, 30, 30
INSTALL = "--cluster dask needs Dask: python -m pip install 'distributed' 'cryptography'"
SETTINGS: dict[str, Any] = {
    # Dask would set the threads of BLAS to one, and results differ in the last digits.
    "distributed.nanny.pre-spawn-environ": {},
    # No pages, figures or proxy for whoever else is on this machine.
    "distributed.scheduler.http.routes": ["distributed.http.health"],
    "distributed.worker.http.routes": ["distributed.http.health"],
}
NAME = "brainwhy"  # of what is kept by a scheduler for a driver that comes back


@dataclass(frozen=True)
class EventVoice:
    """Sends messages as events of the worker's scheduler."""

    topic: str

    def __call__(self, message: dict) -> None:
        """Send a message."""
        from distributed import get_worker  # noqa: PLC0415

        get_worker().log_event(self.topic, message)


@dataclass(frozen=True)
class OnOneGpu:
    """A batch on workers of this machine, each of which sees one GPU alone."""

    batch: Batch
    gpus: tuple[str, ...]

    def __call__(self) -> Any:
        """Make the calls of the batch."""
        from distributed import get_worker  # noqa: PLC0415

        number = get_worker().name  # counted from 0 by the cluster of this machine
        if isinstance(number, int):
            os.environ[GPUS] = self.gpus[number % len(self.gpus)]
        return self.batch()


class DaskBackend:
    """Futures of one run."""

    def __init__(
        self, config: ClusterConfig, folder: Path, say: Callable[[str], None], threads: int, device: str
    ) -> None:
        """Connect to a scheduler, or start one on this machine.

        Args:
            folder: private; for what workers of this machine put aside.
            threads: that each worker computes with.
            device: cpu or cuda.
        Raises:
            UserError: Dask is missing, or there is no scheduler at the address.
        """
        try:
            import distributed  # noqa: PLC0415
        except ImportError:
            raise UserError(INSTALL) from None
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # a lost worker is told in our words
        warnings.filterwarnings("ignore", message="Sending large graph")  # the table of the scans, once a task
        self._say, self._topic = say, f"{NAME}-{folder.parent.name}"
        self._heard: queue.SimpleQueue[dict] = queue.SimpleQueue()
        self._futures: dict[str, Any] = {}
        self._gpus: tuple[str, ...] = ()
        self._cluster, self._waited = None, time.monotonic()
        if config.scheduler is None:
            self._cluster = self._local_cluster(config, folder, threads, device)
        address = config.scheduler or self._cluster
        try:
            self._client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise UserError(
                f"--cluster {config.scheduler}: no Dask scheduler answers there ({type(error).__name__}); start one "
                "with: dask scheduler"
            ) from None
        self._client.subscribe_topic(self._topic, lambda event: self._heard.put(event[1]))

    def _local_cluster(self, config: ClusterConfig, folder: Path, threads: int, device: str) -> Any:
        import dask  # noqa: PLC0415
        import distributed  # noqa: PLC0415

        gpus = visible_gpus() if device == "cuda" else []
        self._gpus = tuple(gpus)
        workers = workers_here(config, threads, device)
        dask.config.set(SETTINGS)
        try:
            # Encrypted, with keys that only this process has: other users of the machine could else send it code.
            return distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address=None, security=True,
                local_directory=str(folder), silence_logs=logging.CRITICAL, resources={"GPU": 1} if gpus else None,
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            )  # fmt: skip
        except ImportError:
            raise UserError(INSTALL) from None

    def voice(self, uid: str) -> EventVoice:  # noqa: ARG002
        """Return what a task sends its messages by."""
        return EventVoice(self._topic)

    def submit(self, batches: list[Batch], work: Work) -> dict[str, str]:
        """Start tasks; those that need a GPU go to workers that announce one, where there are such."""
        needs = {"GPU": 1} if work.gpu and self._announced() else None
        for batch in batches:
            task = OnOneGpu(batch, self._gpus) if work.gpu and len(self._gpus) > 1 else batch
            key = f"{NAME}-{work.label}-{batch.uid}".replace(" ", "-")
            future = self._client.submit(task, key=key, pure=False, resources=needs)
            self._futures[batch.uid] = future
            if self._cluster is None:  # kept while no driver is connected
                self._client.publish_dataset(future, name=self._name(batch.uid), override=True)
        return {batch.uid: self._name(batch.uid) for batch in batches}

    def _announced(self) -> bool:
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return any(worker.get("resources", {}).get("GPU") for worker in workers)

    def _name(self, uid: str) -> str:
        return f"{self._topic}-{uid}"

    def adopt(self, uid: str, handle: str) -> bool:
        """Take over a task that the scheduler still has."""
        if self._cluster is not None or handle not in self._client.list_datasets():
            return False
        self._futures[uid] = self._client.get_dataset(handle)
        return True

    def events(self) -> Iterable[Event]:
        """Wait a moment; return messages and the tasks that have ended."""
        time.sleep(POLL_S)
        if self._client.status not in ("running", "connecting"):
            raise RunError(
                "the connection to the Dask scheduler is lost; finished parts are kept, the same command goes on"
            )
        ended = [(uid, future) for uid, future in self._futures.items() if future.status not in ("pending", "lost")]
        while not self._heard.empty():
            told = self._heard.get()
            yield Event(told["uid"], told=told)
        for uid, future in ended:
            del self._futures[uid]
            yield self._ended(uid, future)
            self._release(uid, future)
        self._say_if_nobody_works()

    def _ended(self, uid: str, future: Any) -> Event:
        from distributed import KilledWorker  # noqa: PLC0415

        if future.status != "finished":
            error = future.exception() if future.status == "error" else None
            # The scheduler itself has tried several workers, and each of them was lost.
            return Event(uid, tail=str(error or "the scheduler has dropped it"), final=isinstance(error, KilledWorker))
        return Event(uid, answers=future.result())

    def _release(self, uid: str, future: Any) -> None:
        if self._cluster is None and self._name(uid) in self._client.list_datasets():
            self._client.unpublish_dataset(self._name(uid))
        future.release()

    def _say_if_nobody_works(self) -> None:
        if not self._futures or time.monotonic() - self._waited < PATIENCE_S:
            return
        self._waited = time.monotonic()
        if not self._client.scheduler_info(n_workers=-1)["workers"]:
            self._say("  the Dask scheduler has no workers; waiting for some to join")
            self._waited += 20 * PATIENCE_S

    def cancel(self, handles: list[str]) -> None:
        """Stop tasks that the scheduler still has."""
        for handle in set(handles) & set(self._client.list_datasets()):
            self._client.cancel([self._client.get_dataset(handle)], force=True)
            self._client.unpublish_dataset(handle)

    def close(self) -> None:
        """End the connection and the workers of this machine."""
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()


def workers_here(config: ClusterConfig, threads: int, device: str) -> int:
    """Return the number of workers on this machine: as asked for, one a GPU, or as the cores divide by threads."""
    gpus = len(visible_gpus()) if device == "cuda" else 0
    return config.workers or gpus or max(1, (os.cpu_count() or 1) // threads)
