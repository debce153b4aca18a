"""The engine that a configuration asks for, made when the first work is handed to it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.config.cluster_schema import LOCAL, SLURM, ClusterConfig
from engine.parallel.cluster import MANY, ClusterEngine
from engine.parallel.local import LocalEngine
from engine.parallel.records import Records, private_folder, remove_private
from engine.parallel.work import Engine, Heard, Work, nobody

FOLDER = "cluster"  # in the work folder of a run


def engine_for(config: ClusterConfig, work: Callable[[], Path], say: Callable[[str], None], device: str) -> Engine:
    """Return the engine of a run.

    Args:
        work: returns the work folder of the run, on a file system that all machines share.
        say: for people.
        device: cpu or cuda.
    """
    if config.engine == LOCAL:
        return LocalEngine()
    return _Later(config, work, say, device)


class _Later:
    """A cluster that is connected to when something is handed to it: a finished run needs none."""

    remote = True

    def __init__(
        self, config: ClusterConfig, work: Callable[[], Path], say: Callable[[str], None], device: str
    ) -> None:
        self._config, self._work, self._say, self._device = config, work, say, device

    @cached_property
    def _engine(self) -> ClusterEngine:
        folder, config = private_folder(self._work() / FOLDER), self._config
        if config.engine == SLURM:
            from engine.parallel.slurm import SlurmBackend  # noqa: PLC0415

            return ClusterEngine(SlurmBackend(config, folder, self._say), Records(folder), self._say, config.tasks)
        import torch  # noqa: PLC0415

        from engine.parallel.dask import DaskBackend  # noqa: PLC0415

        threads = torch.get_num_threads()
        backend = DaskBackend(config, folder, self._say, threads, self._device)
        lasting = config.scheduler is not None
        return ClusterEngine(backend, Records(folder), self._say, config.tasks, lasting)

    def run(self, work: Work, heard: Heard = nobody) -> Generator[Any, None, None]:
        """Yield the results of all calls; see ClusterEngine."""
        if work.items:
            yield from self._engine.run(work, heard)

    def places(self, device: str) -> int:  # noqa: ARG002
        """Return a number larger than that of any units."""
        return MANY

    def forget(self) -> None:
        """Stop what an earlier driver has left at work, and forget it."""
        folder = self._work() / FOLDER
        if folder.is_dir():
            if self._config.elsewhere:  # workers of this machine ended with their driver
                self._engine.forget()
            self.close()
            remove_private(folder)

    def close(self) -> None:
        """Let go of the cluster, if it was connected to."""
        if "_engine" in self.__dict__:
            self.__dict__.pop("_engine").close()
