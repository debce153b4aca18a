"""How long two libraries need for what a reader of a store asks of a bucket: s3fs, which the store uses, and obstore.

    pip install obstore                     # no dependency of the project
    python tests/helpers/remote_libraries.py --store STORE [--delays 0,100] [--repeats 5]

STORE holds a run with the list of its files, as `python -m store index` writes it. A server of the tests that speaks
as S3 does answers every request that many ms late, from a process of its own. Every number is of a fresh process,
which has loaded nothing and has no connection: seconds until the bytes are there, and seconds of the processor; the
median of the repeats, the libraries in turn. Neither keeps files on disk.

`load`: to import the library, which the others leave out. `open`: the manifest, the list of files, then what every
page needs, four at a time. `tables`: all tables, one after another, as a page asks for them. `heatmaps`: twenty whole
shards, four at a time. `again`: the same by a client that
has read them before.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from remote_server import Bucket, serving

from store.reading.run_tables import AHEAD, LARGEST_AHEAD

LIBRARIES = ("s3fs", "obstore")
PARTS = ("load", "open", "tables", "heatmaps", "again")
KEYS = ("seconds", "processor")
HEATMAPS, AT_ONCE = 20, 4
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_DEFAULT_REGION": "us-east-1"}


def files_of(store: Path) -> dict[str, list[list[str]]]:
    """Return part -> steps, each the paths that are read at once."""
    run = next(path for path in sorted(store.iterdir()) if (path / "manifest.json").exists())
    inside = {path.relative_to(run).as_posix(): path.stat().st_size for path in run.rglob("*") if path.is_file()}
    name = lambda path: f"{run.name}/{path}"  # noqa: E731
    ahead = [path for path, size in inside.items() if path.startswith(AHEAD) and 0 < size <= LARGEST_AHEAD]
    ahead = [path for path in ahead if not path.endswith("zarr.json")]  # these stand in the list of files
    shards = [path for path in inside if "/heatmaps/" in path and not path.endswith("zarr.json")]
    tables = [path for path in inside if path.startswith("tables/")]
    chosen = sorted(map(name, shards))[:: max(len(shards) // HEATMAPS, 1)][:HEATMAPS]
    return {
        "load": [],
        "open": [[name("manifest.json")], [name("files.parquet")], sorted(map(name, ahead))],
        "tables": [[name(path)] for path in sorted(tables)],
        "heatmaps": [chosen],
        "again": [chosen],
    }


def reading(library: str, address: str) -> Callable[[str], bytes]:
    """Return what reads a whole object of the bucket, without a connection yet."""
    if library == "obstore":
        import obstore
        from obstore.store import S3Store

        bucket = S3Store("bucket", endpoint=address, client_options={"allow_http": True}, region="us-east-1")
        return lambda path: bytes(obstore.get(bucket, path).bytes())
    import fsspec
    import s3fs  # noqa: F401

    files = fsspec.filesystem("s3", endpoint_url=address, skip_instance_cache=True)
    # With an end, as the store asks: never more than a file can need.
    return lambda path: files.cat_file(f"bucket/{path}", start=0, end=1 << 31)


def measured(library: str, part: str, address: str, steps: list[list[str]]) -> dict[str, float]:
    """Read the steps of a part; return seconds, seconds of the processor, and bytes."""
    began, worked, size = time.perf_counter(), time.process_time(), 0
    read = reading(library, address)
    if part == "again":
        for path in steps[0]:
            read(path)
    if part != "load":
        began, worked = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for step in steps:
            size += sum(map(len, pool.map(read, step)))
    return {"seconds": time.perf_counter() - began, "processor": time.process_time() - worked, "bytes": size}


def in_a_fresh_process(*asked: object) -> dict[str, float]:
    """Measure in another process, whose libraries are not loaded."""
    command = [sys.executable, __file__, "--one", json.dumps(asked)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | CREDENTIALS)
    return json.loads(done.stdout)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="How long libraries need to read a store from a bucket.")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--delays", default="0,100", help="ms before every answer, with commas; default: %(default)s")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--parts", default=",".join(PARTS), help="with commas; default: %(default)s")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(measured(*json.loads(chosen.one))))
        return
    if chosen.serve is not None:
        with serving(chosen.store, Bucket) as (address, faults):
            faults.delay = chosen.serve / 1000
            print(address, flush=True)
            sys.stdin.read()
        return
    parts = files_of(chosen.store)
    print("| delay | part | files | MB | " + " | ".join(f"{name}, s (processor)" for name in LIBRARIES) + " |")
    print("|---|---|---|---|" + "---|" * len(LIBRARIES))
    for delay in map(float, chosen.delays.split(",")):
        command = [sys.executable, __file__, "--store", str(chosen.store), "--serve", str(delay)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            address = server.stdout.readline().strip()
            for part in chosen.parts.split(","):
                found = {library: [] for library in LIBRARIES}
                for _ in range(chosen.repeats):
                    for library in LIBRARIES:
                        found[library].append(in_a_fresh_process(library, part, address, parts[part]))
                cells = [
                    "{:.2f} ({:.2f})".format(*(statistics.median(one[key] for one in found[name]) for key in KEYS))
                    for name in LIBRARIES
                ]
                size = found[LIBRARIES[0]][0]["bytes"] / 1e6
                files = sum(map(len, parts[part]))
                print(f"| {delay:g} ms | {part} | {files} | {size:.1f} | " + " | ".join(cells) + " |", flush=True)
            server.stdin.close()
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
