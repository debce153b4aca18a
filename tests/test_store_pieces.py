"""Large tables behind servers: only the parts that a question needs are fetched, and each is checked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from remote_server import Bucket, Ranges, Unlisted, serving
from store_factory import copy_of_shared_store

from store import BrokenRunError, UnreachableError, open_run
from store.__main__ import main
from store.files import bounds, disk_cache, file_list, pieces, remote, tables, target
from store.files.file_list import FILES, sha256_of
from store.files.pieces import PieceFile, compare
from store.files.trouble import ArrivalError
from store.spec import MANIFEST

NAME = "region_relevance"
PATH = f"tables/{NAME}.parquet"
STEP = 4096


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Short waits, small pieces, a cache of this test."""
    for name, value in {"WAITS_S": (0.01, 0.02), "REMEMBERED_S": 0.1}.items():
        monkeypatch.setattr(remote, name, value)
    monkeypatch.setattr(pieces, "PIECE_BYTES", STEP)
    monkeypatch.setattr(pieces, "PIECES_FROM", 4 * STEP)
    monkeypatch.setattr(pieces, "REQUEST_BYTES", 4 * STEP)
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv(disk_cache.FOLDER, str(tmp_path / "cache"))
    yield
    for name in ("http", "s3"):
        fsspec.get_filesystem_class(name).clear_instance_cache()


@pytest.fixture
def store(tmp_path):
    """A store whose table of regions holds 200 scans more, a row group for every 20; with its lists."""
    run = copy_of_shared_store(tmp_path / "store")
    frame, random = pd.read_parquet(run / PATH), np.random.default_rng(0)
    one = frame[frame["scan"] == frame["scan"].iloc[0]]
    parts = [frame]
    for start in range(0, 200, 20):
        block = pd.concat([one.assign(scan=f"x{start + k:03d}") for k in range(20)], ignore_index=True)
        values = block.select_dtypes("float").columns
        block[values] = random.uniform(0, 1, (len(block), len(values)))
        parts.append(block.sort_values(["method", "target"], ignore_index=True))
    with tables.PartsWriter(NAME, run / PATH) as writer:
        for part in parts:
            writer.add(part)
    manifest = json.loads((run / MANIFEST).read_text())
    entry = manifest["contents"]["tables"][NAME]
    entry |= {"rows": sum(map(len, parts)), "sha256": sha256_of((run / PATH).read_bytes())}
    (run / MANIFEST).write_text(json.dumps(manifest))
    assert main(["index", str(run.parent)]) == 0
    return run


@pytest.fixture
def bucket(store, monkeypatch):
    """(address, faults, run) of the store in a bucket."""
    with serving(store.parent, Bucket) as (address, faults):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", address)
        yield "s3://bucket", faults, store


def question(run, scan: str = "x105") -> pd.DataFrame:
    return run.table(NAME, ["method", "target", "region", "share"], scan=scan)


def of_table(faults) -> list[str]:
    return [line for line in faults.asked if PATH in line]


# -- the file ---------------------------------------------------------------------------------------------------------


def opened(data: bytes, asked: list, kept=None) -> PieceFile:
    sums = [sha256_of(data[k : k + STEP]) for k in range(0, len(data), STEP)]
    return PieceFile(len(data), sums, lambda first, end: (asked.append((first, end)), data[first:end])[1], kept)


@pytest.mark.parametrize("size", [1, STEP, STEP + 1, 37 * STEP - 5])
def test_what_is_read_is_what_the_file_holds(size):
    random, asked = np.random.default_rng(size), []
    data = random.bytes(size)
    file = opened(data, asked)
    for _ in range(60):
        place, count = random.integers(0, size + 10), random.integers(-1, size + 10)
        file.seek(place)
        assert file.read(count) == (data[place:] if count < 0 else data[place : place + count])
        assert file.tell() == max(place, min(size, place + count if count >= 0 else size))
    assert file.seek(-1, 2) == size - 1
    assert all(first % STEP == 0 and end - first <= 4 * STEP for first, end in asked)


def test_neighbouring_pieces_are_one_request_and_nothing_is_fetched_twice(tmp_path):
    data, asked = np.random.default_rng(0).bytes(20 * STEP), []
    kept = disk_cache.DiskCache(tmp_path / "kept", 1e8)
    file = opened(data, asked, kept)
    file.expect([(STEP + 1, 3 * STEP), (3 * STEP, 3 * STEP + 5), (10 * STEP, 10 * STEP + 1)])
    assert sorted(asked) == [(STEP, 4 * STEP), (10 * STEP, 11 * STEP)]
    file.seek(0)
    assert file.read(8 * STEP) == data[: 8 * STEP]
    assert sorted(asked[2:]) == [(0, STEP), (4 * STEP, 8 * STEP)]
    asked.clear()
    file.seek(0)
    file.read(8 * STEP)
    assert opened(data, asked, kept).read(8 * STEP) == data[: 8 * STEP]
    assert not asked


def test_memory_is_bounded_whatever_is_expected(monkeypatch):
    monkeypatch.setattr(pieces, "KEPT_BYTES", 5 * STEP)
    monkeypatch.setattr(pieces, "EXPECTED_BYTES", 3 * STEP)
    asked: list = []
    data = bytes(100 * STEP)
    file = opened(data, asked)
    file.expect([(-5, 10**15)] * 3)
    assert sum(end - first for first, end in asked) <= 3 * STEP
    assert file.read() == data
    assert len(file._memory) <= 5
    monkeypatch.setattr(pieces, "LARGEST_TABLE", 50 * STEP)
    file.seek(0)
    with pytest.raises(ValueError, match="has a part of more than"):
        file.read()


def test_pieces_that_arrive_otherwise_are_refused():
    data = np.random.default_rng(0).bytes(3 * STEP)
    sums = [sha256_of(data[k : k + STEP]) for k in range(0, len(data), STEP)]
    compare("t", data[STEP:], STEP, 3 * STEP, sums)
    for wrong in (data[STEP:-1], data[STEP:-1] + bytes([data[-1] ^ 1]), data[: 2 * STEP]):
        with pytest.raises(ArrivalError, match="a part of t arrives with"):
            compare("t", wrong, STEP, 3 * STEP, sums)


# -- behind a server --------------------------------------------------------------------------------------------------


def test_a_question_fetches_the_columns_and_row_groups_that_it_needs(bucket):
    address, faults, run = bucket
    here, there = open_run(run.parent), open_run(address)
    there.table("scans")
    faults.forget()
    pd.testing.assert_frame_equal(question(there), question(here))
    size = (run / PATH).stat().st_size
    assert faults.sent < size / 3
    assert len(of_table(faults)) < 10
    faults.forget()
    pd.testing.assert_frame_equal(question(open_run(address)), question(here))
    assert not of_table(faults)  # kept on this disk
    one, other = (r.region_values("holdout", "occlusion", "AD", ("sum", "share")) for r in (here, open_run(address)))
    np.testing.assert_array_equal(one.values["sum"], other.values["sum"])
    assert main(["verify", address]) == main(["verify", str(run.parent)])


def test_without_a_cache_a_table_is_read_in_parts_as_well(bucket, monkeypatch):
    address, faults, run = bucket
    monkeypatch.setenv(disk_cache.FOLDER, "off")
    there = open_run(address)
    for part, same in zip(there.table_parts(NAME), open_run(run.parent).table_parts(NAME), strict=True):
        pd.testing.assert_frame_equal(part, same)
    assert all("GET" in line for line in of_table(faults))


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_server_that_ignores_ranges_or_a_list_without_pieces_gives_the_whole_table_once(store, is_listed):
    if not is_listed:  # as earlier versions published
        rows = file_list.parse((store / FILES).read_bytes(), (store / MANIFEST).read_bytes()).values()
        (store / FILES).write_bytes(file_list.to_parquet(row for row in rows if not file_list.is_piece(row.path)))
    with serving(store.parent, Unlisted) as (address, faults):
        there = open_run(address)
        pd.testing.assert_frame_equal(question(there), question(open_run(store.parent)))
        question(there, "x001")
        assert len(of_table(faults)) == 1 + is_listed  # the first asked for a part


def test_a_table_that_cannot_be_had_whole_is_said_in_a_line(store, monkeypatch):
    monkeypatch.setattr(bounds, "LARGEST_FILE", 5 * STEP)
    with serving(store.parent, Unlisted) as (address, _):
        there = open_run(address, store.name)
        with pytest.raises(UnreachableError, match=r"the server gives whole files only, .* use a server that knows"):
            question(there)


def test_a_part_that_is_damaged_in_the_store_is_refused_and_others_are_read(bucket):
    address, _, run = bucket
    here = question(open_run(run.parent))
    data = bytearray((run / PATH).read_bytes())
    metadata = pq.ParquetFile(run / PATH).metadata
    chunk = metadata.row_group(9).column(metadata.schema.names.index("share"))
    data[chunk.data_page_offset + 40] ^= 1
    (run / PATH).write_bytes(data)
    there = open_run(address)
    pd.testing.assert_frame_equal(question(there, "x105"), here)
    with pytest.raises(UnreachableError, match=f"^run {run.name}: a part of {PATH} arrives with other contents"):
        question(there, "x175")


def test_a_table_that_is_gone_or_forbidden_is_said_by_its_cause(bucket):
    address, faults, run = bucket
    there = open_run(address)
    faults.by_pattern[PATH] = 403
    with pytest.raises(UnreachableError, match=f"^run {run.name}: .*refuses access"):
        question(there)
    faults.by_pattern.clear()
    (run / PATH).unlink()
    with pytest.raises(BrokenRunError, match=f"^run {run.name}: {PATH} is missing or unreadable"):
        question(there)


def test_a_table_that_is_too_large_for_memory_is_published_and_read_in_parts(store, monkeypatch, tmp_path):
    size = (store / PATH).stat().st_size
    assert size > max(file.stat().st_size for file in store.rglob("*") if file.is_file() and file != store / PATH)
    for module in (file_list, bounds):
        monkeypatch.setattr(module, "LARGEST_FILE", size - 1)
    monkeypatch.setattr(target, "PART_BYTES", 100_000)
    (tmp_path / "bucket").mkdir()
    with serving(tmp_path / "bucket", Bucket) as (address, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", address)
        for _ in range(2):  # the second time all is there
            assert main(["publish", str(store.parent), "s3://bucket"]) == 0
        pd.testing.assert_frame_equal(question(open_run("s3://bucket")), question(open_run(store.parent)))


# -- strangers --------------------------------------------------------------------------------------------------------

HOSTILE = """
import resource, sys
import aiohttp, fsspec, pandas, pyarrow.dataset, zarr
from store import open_run
from store.errors import StoreError
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 30),) * 2)
try:
    open_run(sys.argv[1], sys.argv[2]).table("region_relevance", ["share"], scan="x105")
except StoreError as error:
    print(str(error))
"""


def test_a_description_of_gigabytes_is_refused_in_little_memory(store, monkeypatch):
    """A list that promises a table of 8 GiB, whose description is said to have 2 GiB."""
    step, count = 1 << 18, 8 << 12
    monkeypatch.setattr(pieces, "PIECE_BYTES", step)
    end = bytes(step - 8) + (2 << 30).to_bytes(4, "little") + b"PAR1"
    rows = file_list.parse((store / FILES).read_bytes(), (store / MANIFEST).read_bytes()).values()
    kept = [row for row in rows if not row.path.startswith(PATH)]
    kept.append(file_list.FileEntry(PATH, count * step, "0" * 64))
    sums = [sha256_of(bytes(step))] * (count - 1) + [sha256_of(end)]
    kept += [file_list.FileEntry(f"{PATH}/{k:06d}", step, one) for k, one in enumerate(sums)]
    (store / FILES).write_bytes(file_list.to_parquet(kept))
    with (store / PATH).open("wb") as file:
        file.truncate((count - 1) * step)
        file.seek(0, 2)
        file.write(end)
    with serving(store.parent, Ranges) as (address, faults):
        command = [sys.executable, "-c", HOSTILE, address, store.name]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, timeout=300,
            env=os.environ | {"OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"},
        )  # fmt: skip
    assert "has a description that is too long" in done.stdout, done.stderr
    assert len(of_table(faults)) == 1
