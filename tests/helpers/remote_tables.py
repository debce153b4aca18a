"""What questions to the table of regions cost behind a server: requests, bytes and seconds.

    python tests/helpers/remote_tables.py FOLDER [--scans 10000] [--delay 0.05]

Makes a store in FOLDER whose region_relevance is as large as that of a run of so many scans by four methods (of random
numbers), serves it with every request answered late, and asks: in pieces, with and without what is kept on disk, and
whole, as lists of files of earlier versions have it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from remote_server import Ranges, serving
from store_factory import copy_of_shared_store

from store import RunReader, open_run
from store.files import disk_cache, file_list
from store.files.file_list import FILES
from store.spec import MANIFEST
from store.writing.run_list import write_file_list, write_run_list

NAME = "region_relevance"
BLOCK, REGIONS = 256, 122  # scans of a row group; regions of AAL2
METHODS, TARGETS = ("sensitivity", "guided_backprop", "occlusion", "area_occlusion"), ("AD", "NC")
TEXTS = ("model", "model_set", "method", "target", "scan", "region")


def make_store(folder: Path, scans: int) -> Path:
    """Return the run of a store whose table of regions has so many scans, in row groups as the engine writes them."""
    run = copy_of_shared_store(folder)
    regions = pd.read_parquet(run / "tables/regions.parquet")["region"].tolist()
    regions += [f"Region_{k}" for k in range(REGIONS - len(regions))]
    known = pd.read_parquet(run / f"tables/{NAME}.parquet")
    schema = pa.Schema.from_pandas(known, preserve_index=False)
    random, rows = np.random.default_rng(0), 0
    with pq.ParquetWriter(run / f"tables/{NAME}.parquet", schema, compression="zstd") as writer:
        for model_set, model, count in (("folds", "fold-1", scans), ("holdout", "holdout", scans * 3 // 10)):
            for method in METHODS:
                for start in range(0, count, BLOCK):
                    names = [f"s{k:06d}" for k in range(start, min(start + BLOCK, count))]
                    for target in TARGETS:
                        writer.write_table(_block(schema, (model, model_set, method, target), names, regions, random))
                        rows += len(names) * len(regions)
    manifest = json.loads((run / MANIFEST).read_text())
    manifest["contents"]["tables"][NAME] |= {"rows": rows}
    (run / MANIFEST).write_text(json.dumps(manifest))
    write_file_list(run)
    write_run_list(str(folder))
    return run


def _block(
    schema: pa.Schema, constants: tuple[str, ...], names: list[str], regions: list[str], random: np.random.Generator
) -> pa.Table:
    size = len(names) * len(regions)
    texts = [pa.array([text]).take(pa.array(np.zeros(size, int))) for text in constants]
    texts += [pa.array(names).take(pa.array(np.repeat(np.arange(len(names)), len(regions))))]
    texts += [pa.array(regions).take(pa.array(np.tile(np.arange(len(regions)), len(names))))]
    columns = dict(zip(TEXTS, texts, strict=True))
    for name in schema.names:
        if name not in columns:
            columns[name] = pa.array(random.uniform(size=size))
    return pa.table({name: columns[name].cast(schema.field(name).type) for name in schema.names}, schema)


def without_pieces(run: Path) -> None:
    """Write the list of files as earlier versions did."""
    rows = (file_list.parse((run / FILES).read_bytes(), (run / MANIFEST).read_bytes()) or {}).values()
    (run / FILES).write_bytes(file_list.to_parquet(row for row in rows if not file_list.is_piece(row.path)))


QUESTIONS: dict[str, Callable[[RunReader], object]] = {
    "one patient: all rows of a scan": lambda run: run.table(
        NAME, ["method", "target", "region", "share"], scan="s004711"
    ),
    "Patient: one method and target of all": lambda run: run.region_values("folds", "occlusion", "AD", ("signed_sum",)),
}


def measure(address: str, faults, label: str) -> None:
    """Ask each question of a fresh reader and say what it cost."""
    for words, ask in QUESTIONS.items():
        run = open_run(address)
        run.table("regions")
        run.has_table(NAME)
        faults.forget()
        begun, cpu = time.monotonic(), time.process_time()
        ask(run)
        seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
        print(
            f"{label} | {words} | {len(faults.asked)} requests | {faults.sent / 1e6:.1f} MB | {seconds:.1f} s, "
            f"processor {cpu:.1f} s (of both ends)", flush=True,
        )  # fmt: skip


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scans", type=int, default=10_000)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds before every answer (default 0.05)")
    options = parser.parse_args()
    run = next(iter(options.folder.glob(f"*/{MANIFEST}")), None)
    run = run.parent if run else make_store(options.folder, options.scans)
    write_file_list(run)
    print(f"{NAME}: {(run / f'tables/{NAME}.parquet').stat().st_size / 1e6:.0f} MB; load {os.getloadavg()[0]:.0f}")
    with tempfile.TemporaryDirectory() as kept, serving(options.folder, Ranges) as (address, faults):
        faults.delay = options.delay
        for name in ("pieces", "whole"):
            if name == "whole":
                without_pieces(run)
            for label, place in (("not kept", "off"), ("first", f"{kept}/{name}"), ("kept", f"{kept}/{name}")):
                os.environ[disk_cache.FOLDER] = place
                measure(address, faults, f"{name}, {label}")
                if label == "first":
                    disk_cache.of_environment().sweep()
        print(f"memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")
        shutil.rmtree(kept, ignore_errors=True)
        Path(kept).mkdir()


if __name__ == "__main__":
    main()
