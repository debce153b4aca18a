"""A store of people whose names are to be found nowhere else, and the stores that are derived of it."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import store_factory
import zarr
from store_factory import make_larger_run, make_run
from trusted_store import add_trust_tables

from store.deriving.command import Request, derive
from store.files.encoding import array_path
from store.files.folders import Folder
from store.reading.native_space import NativeSpace
from store.spec import NATIVE
from store.writing.writer import RunWriter

NAME, CLINIC = "qzxjv", "wkyuq"  # in the name of every subject, scan and file; of every site
SIZES = {"AD": 11, "NC": 12, "MCI": 3}


@functools.cache
def folder() -> Path:
    """Where these stores lie until the end of the tests."""
    made = Path(tempfile.mkdtemp(prefix="brainwhy-derived-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@functools.cache
def crowd() -> Path:
    """A store with a run of eleven AD, twelve NC and three MCI subjects, as if of real scans; never change it."""
    place = folder() / "crowd"
    scans = {f"{NAME}-{d}{i}-1": (f"{NAME}-{d}{i}", d, 1 + i % 2, True) for d, n in SIZES.items() for i in range(n)}
    scans[f"{NAME}-AD0-2"] = (f"{NAME}-AD0", "AD", 1, True)
    predicted = {scan: "AD" if row[1] == "MCI" else row[1] for scan, row in scans.items()}
    predicted[f"{NAME}-AD0-1"] = "NC"
    with mock.patch.multiple(store_factory, SCANS=scans, PREDICTED=predicted), mock.patch("os.fsync"):
        run = make_run(place, name="crowd", methods=("sensitivity", "occlusion"), simulated=False)
    add_trust_tables(run)
    _with_counts(run)
    _with_names(run)
    return place


def _with_counts(run: Path) -> None:
    """Say in the tables of groups how many subjects and scans there are: the factory writes 1."""
    for name, column, extra in (("group_regions", "subjects", 0), ("distances", "scans", 1)):
        table = pq.read_table(run / f"tables/{name}.parquet").to_pandas()
        table[column] = table["diagnosis"].map(SIZES | {"AD": SIZES["AD"] + extra}).astype("int64")
        table.to_parquet(run / f"tables/{name}.parquet")


def _with_names(run: Path) -> None:
    """Put names, dates and places wherever a run can hold them."""
    table = pq.read_table(run / "tables/scans.parquet").to_pandas()
    second = table["scan"].str.endswith("-2")
    table["session"] = np.where(second, "2020-03-01", "2019-03-01")
    table["site"] = f"{CLINIC} clinic"
    table["source_hash"] = [f"{NAME}{k:04d}" for k in range(len(table))]
    table.to_parquet(run / "tables/scans.parquet")
    left_out = pd.DataFrame({
        "scan": [f"{NAME}-x{k}" for k in range(7)], "subject": [f"{NAME}-x{k}" for k in range(7)], "stage": "ingest",
        "reason": [f"file not found: /data/{NAME}-x{k}.nii.gz" for k in range(6)] + [f"{NAME} is unreadable"],
    })  # fmt: skip
    left_out.to_parquet(run / "tables/exclusions.parquet")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["config"] |= {
        "cohort": {"data": f"/home/{NAME}", "where": f"site == '{CLINIC}'"}, "atlas": {"path": f"/home/{NAME}/aal.nii"},
        "labels": f"{NAME}.csv",
    }  # fmt: skip
    manifest["contents"]["arrays"] += _native_spaces(run, table["scan"])
    (run / "manifest.json").write_text(json.dumps(manifest))


def _native_spaces(run: Path, scans: pd.Series) -> list[dict]:
    """Add the native space of two scans; returns their entries of the contents."""
    writer, entries = RunWriter(run), []
    for scan in scans[:2]:
        displacement = np.zeros((3, 4, 4, 4), np.int16)
        field = np.diag([4.0, 4, 4, 1])
        writer.put_native_space(scan, NativeSpace((5, 5, 5), np.eye(4), np.eye(4), displacement, field))
        path = array_path(NATIVE, scan=scan)
        entries.append({"path": path, "shape": [3, 4, 4, 4], "dtype": "int16", "crc32": Folder(run).crc32(path)})
    return entries


def derived(request: Request) -> list[str]:
    """As `derive`, without waiting for the disk."""
    with mock.patch("os.fsync"):
        return derive(request)


@functools.cache
def group_level() -> Path:
    """The groups of that store alone; never change it."""
    out = folder() / "group-level"
    (folder() / ".group-level.partial" / "left").mkdir(parents=True)  # as of an interrupted call
    derived(Request(str(crowd()), (), out, 5))
    return out


@functools.cache
def imagined() -> Path:
    """As `crowd`, but of brains that are simulated as a whole, as the demo's are; never change it."""
    place = folder() / "imagined"
    with mock.patch("os.fsync"):
        run = make_larger_run(place, name="imagined", seed=3, methods=("sensitivity", "occlusion"))
    add_trust_tables(run)
    _with_counts(run)
    table = pq.read_table(run / "tables/scans.parquet").to_pandas()
    table.assign(simulated=True).to_parquet(run / "tables/scans.parquet")
    change_manifest(run, lambda found: found["config"].update(cohort={"reader": "simulated", "simulation": {}}))
    return place


def change_manifest(run: Path, change: Callable[[dict], object]) -> None:
    """Change the manifest of a run."""
    manifest = json.loads((run / "manifest.json").read_text())
    change(manifest)
    (run / "manifest.json").write_text(json.dumps(manifest))


SHOWN = ("AD3-1", "NC4-1", "AD0-1")


@functools.cache
def with_shown() -> Path:
    """The groups of that store with three of its scans; never change it."""
    out = folder() / "with-shown"
    derived(Request(str(imagined()), (), out, 5, with_scans=SHOWN))
    return out


@functools.cache
def pseudonymous() -> Path:
    """That store under pseudonyms, whose key lies beside it; never change it."""
    out = folder() / "pseudonymous"
    derived(Request(str(crowd()), (), out, None, folder() / "the.key"))
    return out


def run_of(place: Path) -> Path:
    """The folder of the only run of a store."""
    return next(path for path in place.iterdir() if not path.name.startswith("."))


def everything_in(place: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (where, bytes) of all that stands in a store: names of files, files, and what is packed in them."""
    for file in sorted(place.rglob("*")):
        inside = file.relative_to(place).as_posix()
        yield inside, inside.encode()
        if file.is_file():
            yield inside, file.read_bytes()
        if file.suffix == ".parquet":
            table = pq.read_table(file)
            yield inside, f"{table.schema}\n{table.to_pylist()}".encode()
        if file.name == "zarr.json" and b'"array"' in file.read_bytes():
            numbers = zarr.open_array(file.parent, mode="r")[...]
            yield inside, np.ascontiguousarray(numbers).tobytes()


def found_in(place: Path, *names: str) -> list[str]:
    """List where a name stands in a store, in any case of letters."""
    wanted = [name.lower().encode() for name in names]
    return [where for where, data in everything_in(place) if any(name in data.lower() for name in wanted)]
