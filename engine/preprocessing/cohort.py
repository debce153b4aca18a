"""Prepares every scan of a cohort once: in parallel, interruptible at any moment, never the same scan twice."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from engine.cohort.scans import Cohort, exclude
from engine.errors import RunError, UserError
from engine.parallel import Engine, LocalEngine, Work, WorkerDiedError
from engine.preprocessing.duplicates import same_image_flags, warning
from engine.preprocessing.pictures import contact_sheets
from engine.preprocessing.quality import NO_LIMITS, Limits, marks
from engine.preprocessing.volume_cache import VolumeCache, has_part, pack, write_part
from engine.progress import Progress
from store.export.csv import csv_text
from store.files.atomic import replacing

VOLUMES, QUALITY, UNPREPARED, SHEET = "volumes.h5", "quality.csv", "unprepared.csv", "contact-sheet"
AGAIN = "the same command goes on from there"
NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
SMALLEST_FREE = 32 << 20  # bytes; with less, a failure of compiled code is taken for a full disk
QUALITY_COLUMNS = ("template_correlation", "mask_dice", "brain_ml", "intensity_low", "intensity_high", "seconds")


class Preparer(Protocol):
    """Makes a volume of a scan. Picklable when it is to run in worker processes.

    Optional members: `describe() -> dict` (settings to store), `pictures` (False: no contact sheet), `accepted`
    (scans whose earlier exclusion is void), `label` (what to call the work), `warm_up(progress)` (slow, once), `quick`
    (True: made here, whatever the engine, for it takes less time than handing it out).
    """

    def __call__(self, row: dict[str, Any], folder: Path, /) -> Any:
        """Return an object with volume (or None), quality and reason, as PreparedScan."""


@dataclass(frozen=True)
class Prepared:
    """A prepared cohort.

    Attributes:
        cache: the volumes; may hold further scans.
        quality, flags: of the scans of the cohort, columns as in the store.
        cohort: without the scans that could not be prepared or are beyond the limits; they are exclusions of the stage
            preprocess.
        sheet: the first page of the contact sheet, where there is one.
    """

    cache: VolumeCache
    quality: pd.DataFrame
    flags: pd.DataFrame
    cohort: Cohort
    sheet: Path | None = None


@dataclass(frozen=True)
class _Outcome:
    """What a worker reports: nothing (a part is written), or a reason to exclude."""

    scan: str
    reason: str = ""


@dataclass(frozen=True)
class _Job:
    """Prepares one scan and writes its part, unless it is there; runs in a worker.

    Failures of the machine, which end the run, are RunErrors.
    """

    preparer: Callable
    folder: Path

    def __call__(self, item: tuple[dict[str, Any], str]) -> _Outcome:
        row, key = item
        scan = row["scan"]
        if has_part(self.folder / "parts", scan, key):  # of an attempt whose answer was lost
            return _Outcome(scan)
        try:
            made = self.preparer(row, self.folder)
            if made.volume is None or made.reason:
                return _Outcome(scan, made.reason or "could not be prepared")
            volume = np.asarray(made.volume, dtype=np.float32)
            if not np.isfinite(volume).all():
                return _Outcome(scan, "the prepared volume has voxels that are NaN or infinite")
            write_part(self.folder / "parts", scan, volume, made.quality, key)
        except (RunError, MemoryError, ImportError) as error:
            what = "out of memory; use fewer processes" if isinstance(error, MemoryError) else _one_line(error, row)
            raise RunError(f"scan {scan}: {what}; {AGAIN}") from None
        except Exception as error:
            if _is_full(error, self.folder):
                raise RunError(f"{_full_disk(self.folder)}; {AGAIN}") from None
            return _Outcome(scan, _one_line(error, row))
        return _Outcome(scan)


@dataclass(frozen=True)
class Preparation:
    """How the volumes of a cohort are made, and where they lie.

    Attributes:
        preparer: makes one volume; see Preparer.
        folder: for this cohort and grid.
        fingerprint: of all settings that shape the volumes.
        progress: where to count.
        processes: worker processes; 1 works in this process.
        limits: of the quality figures; scans beyond them are prepared and then flagged or left out.
        engine: makes the volumes.
    """

    preparer: Preparer
    folder: Path
    fingerprint: str
    progress: Progress
    processes: int = 1
    limits: Limits = NO_LIMITS
    engine: Engine = field(default_factory=LocalEngine)


def prepare_cohort(cohort: Cohort, preparation: Preparation) -> Prepared:
    """Prepare the volumes of a cohort, and use those again that an earlier run made of the same input.

    In the folder: volumes.h5, quality.csv, unprepared.csv, contact-sheet.png, overlays/, transforms/, and parts/ while
    the work is going on.

    Args:
        cohort: of a reader; `source_hash` tells whether an input has changed.
        preparation: how and where.

    Raises:
        UserError: no scan of a group could be prepared, or is within the limits.
        RunError: full disk, out of memory, a worker process that died, a missing package.
    """
    if cohort.scans.empty:
        raise UserError("the cohort has no scans")
    preparation.folder.mkdir(parents=True, exist_ok=True)
    with _lock_folder(preparation.folder, preparation.progress):
        return _prepare(cohort, preparation)


@contextmanager
def _lock_folder(folder: Path, progress: Progress) -> Iterator[None]:
    """Wait until no other run prepares scans in this folder: the first to finish would remove the other's parts."""
    with (folder / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say("  another run prepares these scans; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _prepare(cohort: Cohort, preparation: Preparation) -> Prepared:
    preparer, folder, limits = preparation.preparer, preparation.folder, preparation.limits
    fingerprint = preparation.fingerprint
    keys = {row.scan: _key(fingerprint, row.source_hash) for row in cohort.scans.itertuples()}
    earlier = _earlier(folder / VOLUMES, fingerprint)
    reasons = _recall(folder, keys, getattr(preparer, "accepted", frozenset()))
    cached = {scan for scan in keys if earlier is not None and scan in earlier and earlier.key(scan) == keys[scan]}
    ready = cached | {scan for scan in keys if has_part(folder / "parts", scan, keys[scan])}
    todo = [row for row in cohort.scans.to_dict("records") if row["scan"] not in ready and row["scan"] not in reasons]
    try:
        _work(preparation, keys, todo, reasons, len(ready))
        made = _without(cohort, reasons)
        ids = made.scans["scan"].tolist()
        unchanged = earlier if cached.issuperset(ids) else None
        cache = unchanged or _pack(preparation, ids, keys, earlier, cached)
        shutil.rmtree(folder / "parts", ignore_errors=True)
        quality = _quality(cache, ids)
        beyond = limits.reasons(quality)
        flags = limits.flags(quality[~quality["scan"].isin(list(beyond))])
        inside = made.scans[~made.scans["scan"].isin(list(beyond))]
        same = same_image_flags(cache, quality, inside, limits.accepted, preparation.progress)
        if len(same):
            flags = pd.concat([flags, same], ignore_index=True)
            made = replace(made, warnings=(*made.warnings, *warning(same)))
        pictures = getattr(preparer, "pictures", True)
        sheet = _report(folder, quality, marks(flags, beyond), unchanged is None, pictures)
        kept = _without(made, beyond)
    except OSError as error:
        if _is_full(error, folder):
            raise RunError(_full_disk(folder)) from None
        raise
    quality = quality[~quality["scan"].isin(list(beyond))].reset_index(drop=True)
    return Prepared(cache, quality, flags, kept, sheet)


def _without(cohort: Cohort, reasons: dict[str, str]) -> Cohort:
    return exclude(cohort, cohort.scans["scan"].map(reasons).astype("object").fillna(""), "preprocess")


def _work(preparation: Preparation, keys: dict[str, str], todo: list[dict], reasons: dict[str, str], done: int) -> None:
    """Prepare the scans that are left; add to `reasons` and remember them on disk at once."""
    if not todo:
        return
    preparer, progress = preparation.preparer, preparation.progress
    label = getattr(preparer, "label", "Preprocessing")
    engine = LocalEngine() if getattr(preparer, "quick", False) else preparation.engine
    if preparation.processes == 1 and not engine.remote and hasattr(preparer, "warm_up"):
        preparer.warm_up(progress)
    items = [(row, keys[row["scan"]]) for row in todo]
    names = [f"scan {row['scan']}" for row in todo]
    work = Work("prepare", _Job(preparer, preparation.folder), items, names, processes=preparation.processes)
    results = engine.run(work)
    try:
        with progress.task(label, done + len(todo), done) as task:
            for outcome in results:
                if outcome.reason:
                    reasons[outcome.scan] = outcome.reason
                    _remember(preparation.folder, outcome, keys[outcome.scan])
                task.advance()
    except WorkerDiedError as died:
        at_work = " or ".join(row["scan"] for row, _ in [died.item, *died.others])
        raise RunError(
            f"a worker process ended (code {died.exit_code}) while preparing {at_work}; if memory ran out, use fewer "
            f"processes; {AGAIN}; a scan that always fails can be rejected in decisions.csv"
        ) from None
    finally:
        results.close()  # ends the workers now, not when the memory is tidied


def _key(fingerprint: str, source_hash: str) -> str:
    return hashlib.blake2b(f"{fingerprint}\0{source_hash}".encode(), digest_size=16).hexdigest()


def _earlier(file: Path, fingerprint: str) -> VolumeCache | None:
    """Open the finished volumes of an earlier run with the same settings; None if there are none."""
    try:
        cache = VolumeCache(file)
    except (OSError, KeyError, ValueError):
        return None
    return cache if cache.check(fingerprint) else None


def _pack(
    preparation: Preparation, ids: list[str], keys: dict[str, str], earlier: VolumeCache | None, cached: set[str]
) -> VolumeCache:
    """Write all volumes to one file; those of an earlier run stay, for a scan may be accepted again."""
    others = [scan for scan in earlier.ids if scan not in keys] if earlier else []
    order = [*ids, *(scan for scan in sorted(cached) if scan not in ids), *others]
    all_keys = {**{scan: earlier.key(scan) for scan in others}, **keys} if earlier else keys
    settings = preparation.preparer.describe() if hasattr(preparation.preparer, "describe") else {}
    folder = preparation.folder
    packed = {scan: all_keys[scan] for scan in order}
    return pack(folder / "parts", packed, folder / VOLUMES, preparation.fingerprint, settings, earlier)


def _recall(folder: Path, keys: dict[str, str], accepted: frozenset[str]) -> dict[str, str]:
    """Return the scans that an earlier run could not prepare from the same input and settings, and why."""
    try:
        table = pd.read_csv(folder / UNPREPARED, dtype="string", keep_default_na=False)
        rows = list(zip(table["scan"], table["reason"], table["key"], strict=True))
    except (OSError, ValueError, KeyError):
        return {}
    return {scan: reason for scan, reason, key in rows if keys.get(scan) == key and scan not in accepted}


def _remember(folder: Path, outcome: _Outcome, key: str) -> None:
    file = folder / UNPREPARED
    try:
        table = pd.read_csv(file, dtype="string", keep_default_na=False)
        table = table[table["scan"] != outcome.scan]
    except (OSError, ValueError, KeyError):
        table = pd.DataFrame(columns=["scan", "stage", "reason", "key"], dtype="string")
    new = pd.DataFrame([[outcome.scan, "preprocess", outcome.reason, key]], columns=table.columns, dtype="string")
    _write(file, pd.concat([table, new], ignore_index=True))


def _write(file: Path, table: pd.DataFrame) -> None:
    with replacing(file) as temporary:
        temporary.write_text(csv_text(table), encoding="utf-8")


def _quality(cache: VolumeCache, ids: list[str]) -> pd.DataFrame:
    rows = [{"scan": scan, **cache.quality_of(scan)} for scan in ids]
    frame = pd.DataFrame(rows, columns=["scan", *QUALITY_COLUMNS])
    return frame.astype({"scan": "string", **dict.fromkeys(QUALITY_COLUMNS, "float64")})


def _report(folder: Path, quality: pd.DataFrame, marked: dict[str, str], changed: bool, pictures: bool) -> Path | None:
    """Write quality.csv and the contact sheet: contact-sheet.png, further pages contact-sheet-2.png and so on.

    Args:
        marked: scan -> what the sheet says of it.
        changed: the volumes are others than before.
    """
    _write(folder / QUALITY, quality)
    first, marks_file = folder / f"{SHEET}.png", folder / f".{SHEET}.json"
    if not pictures or not (folder / "overlays").is_dir():
        return None
    words = json.dumps(marked, sort_keys=True)
    if not changed and first.is_file() and marks_file.is_file() and marks_file.read_text(encoding="utf-8") == words:
        return first
    for old in folder.glob(f"{SHEET}*.png"):
        old.unlink()
    for page, sheet in enumerate(contact_sheets(quality, folder / "overlays", marked), start=1):
        sheet.save(first if page == 1 else folder / f"{SHEET}-{page}.png")
    marks_file.write_text(words, encoding="utf-8")
    return first if first.is_file() else None


def _is_full(error: Exception, folder: Path) -> bool:
    if getattr(error, "errno", None) in NO_ROOM:
        return True
    # h5py and ANTs report a full disk as some other error.
    return shutil.disk_usage(folder).free < SMALLEST_FREE


def _full_disk(folder: Path) -> str:
    return f"no room left on the disk of {folder}; free some space and start again, {AGAIN}"


def _one_line(error: Exception, row: dict[str, Any]) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    path = row.get("path") or ""
    if path:
        text = text.replace(path, Path(path).name)  # folder names can identify people
    if not isinstance(error, ValueError | RunError):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= 300 else text[:297] + "..."
