"""Where the units of a run are computed: on this machine, on a SLURM cluster, or by Dask workers."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from engine.config.section import Section

EngineName = Literal["local", "slurm", "dask"]
SCHEDULERS = ("tcp://", "tls://")  # addresses of Dask schedulers
LOCAL, SLURM, DASK = "local", "slurm", "dask"
WALLTIME = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)")


class ClusterConfig(Section):
    """Which engine computes, and what it is asked for; nothing here changes a result (docs/cluster.md)."""

    engine: EngineName = Field("local", description="local: this machine; slurm: job arrays; dask: Dask workers")
    scheduler: str | None = Field(
        None, description="of Dask, tcp://host:8786 or tls://…; default: workers on this machine"
    )
    workers: int | None = Field(
        None, ge=1, description="Dask workers on this machine; default: one a GPU, or as the cores divide by threads"
    )
    partition: str | None = Field(None, description="of SLURM, as the next seven; default: the cluster's")
    account: str | None = None
    gres: str | None = Field(None, description="of tasks that need the device, for example gpu:1")
    walltime: str = Field("04:00:00", description="of a task, H:MM:SS or D-H:MM:SS; one that is over goes on later")
    memory_gb: float | None = Field(None, gt=0, description="of a task; default: the cluster's")
    at_once: int = Field(100, ge=1, description="tasks of an array that run at once")
    setup: list[str] = Field([], description="shell lines before a task begins, for example module load cuda")
    sbatch: dict[str, str | int | bool] = Field({}, description="further options of sbatch, for example {qos: long}")
    tasks: int = Field(200, ge=1, le=1000, description="at most so many tasks a stage; units share a task beyond")
    block_scans: int = Field(64, ge=1, description="scans that one unit explains by one network and method")

    @field_validator("walltime", mode="before")
    @classmethod
    def _of_seconds(cls, value: Any) -> Any:
        """Put seconds into words: YAML takes 12:00:00 for a number of them."""
        if isinstance(value, bool) or not isinstance(value, int):
            return value
        return f"{value // 3600}:{value // 60 % 60:02}:{value % 60:02}"

    @field_validator("walltime")
    @classmethod
    def _is_a_time(cls, value: str) -> str:
        if not WALLTIME.fullmatch(value) or not minutes_of(value):
            raise ValueError(f"{value!r} is no walltime: write H:MM:SS, for example 04:00:00, or D-H:MM:SS")
        return value

    @field_validator("scheduler")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(SCHEDULERS):
            raise ValueError(f"{value!r} is no scheduler: write tcp://host:port or tls://host:port")
        return value

    @model_validator(mode="after")
    def _belongs_to_dask(self) -> ClusterConfig:
        if self.scheduler and self.engine != DASK:
            raise ValueError("a scheduler belongs to engine=dask; set both, or give its address with --cluster")
        return self

    @property
    def elsewhere(self) -> bool:
        """Whether other machines compute, so that this one need not have their GPU."""
        return self.engine == SLURM or self.scheduler is not None

    @property
    def in_words(self) -> str:
        """The engine as people say it."""
        if self.engine == DASK:
            return f"Dask at {self.scheduler}" if self.scheduler else "Dask on this machine"
        return {LOCAL: "this machine", SLURM: "SLURM"}[self.engine]


def minutes_of(walltime: str) -> int:
    """Return a walltime in minutes, rounded up."""
    days, hours, minutes, seconds = (int(part or 0) for part in WALLTIME.fullmatch(walltime).groups())  # type: ignore[union-attr]  # checked before
    return (days * 24 + hours) * 60 + minutes + (seconds > 0)


def chosen_engine(text: str) -> dict[str, str]:
    """Return the settings that a word after --cluster stands for: local, slurm, dask or the address of a scheduler.

    Raises:
        ValueError: another word.
    """
    if text in (LOCAL, SLURM, DASK):
        return {"cluster.engine": text}
    if text.startswith(SCHEDULERS):
        return {"cluster.engine": DASK, "cluster.scheduler": text}
    raise ValueError(f"{text!r} is none of local, slurm, dask, tcp://host:port and tls://host:port")
