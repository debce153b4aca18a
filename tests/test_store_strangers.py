"""Stores from strangers: bombs, pipes, links out of the store, and claims that no run can make."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys

import numcodecs
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from store_factory import copy_of_shared_store
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from store import BrokenRunError, NotInRunError, list_runs, open_run
from store.__main__ import main
from store.files import parquet
from store.files.bounds import DEEPEST_JSON, LARGEST_JSON, MIB, parsed_json
from store.files.folders import Folder
from store.writing.validate import validate

ROOM = 500 * MIB  # beyond what the process has after its imports: the bombs need two to seven gigabytes


@pytest.fixture
def copied(tmp_path):
    return copy_of_shared_store(tmp_path / "store")


def in_little_memory(code: str, *arguments: object) -> str:
    """What a program prints that may take ROOM bytes more than Python and its libraries do."""
    program = f"""
import resource, sys
import pandas, pyarrow.dataset, zarr, numcodecs, fsspec
from store.__main__ import main
before, pages = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + {4 * ROOM},) * 2)  # address space, not memory
{code}
print("kilobytes", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    found = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, timeout=500,
        env=os.environ | {"OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"},
    )  # fmt: skip
    assert "Traceback" not in found.stderr, found.stderr[-2000:]
    assert int(found.stdout.split()[-1]) * 1024 < ROOM
    return found.stdout + found.stderr


def neighbour(run, name: str = "other-1"):
    """Another run of the same store, which must be shown whatever happens to the first."""
    other = run.parent / name
    shutil.copytree(run, other, symlinks=True)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"name": name[:-2], "run": name}))
    return other


def declare(run, path: str, **changes) -> None:
    file = run / f"arrays.zarr/{path}/zarr.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def bomb_chunk(run, path: str) -> None:
    """The first chunk of an array says that it unpacks to 2 GiB; it has some kilobytes."""
    header = bytearray(numcodecs.Blosc(cname="zstd", clevel=9, shuffle=0).encode(np.zeros(1 << 20, "u1")))
    header[4:8] = (2**31 - 64).to_bytes(4, "little")
    file = next(p for p in sorted((run / f"arrays.zarr/{path}/c").rglob("*")) if p.is_file())
    file.write_bytes(bytes(header))


def of_texts(rows: int, text: str, **options) -> bytes:
    """Rows of the table exclusions that all refer to the same text."""
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([text]))
    sink = io.BytesIO()
    table = pa.table(dict.fromkeys(("scan", "subject", "stage", "reason"), column))
    pq.write_table(table, sink, store_schema=False, compression="zstd", **options)
    return sink.getvalue()


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def as_pipe(path) -> None:
    path.unlink()
    os.mkfifo(path)


def huge(run, shape: object, chunks: object) -> None:
    grid = {"name": "regular", "configuration": {"chunk_shape": chunks}}
    codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "zstd", "configuration": {"level": 1}}]
    declare(run, "truth/visible_change", shape=shape, chunk_grid=grid, codecs=codecs)


CELL, REGIONS = "cells/folds/occlusion/AD/margin/AD/AD", "heatmaps/fold-1/area_occlusion/AD/margin"
# Name of the run -> what is done to it, and what verify says of it.
HOSTILE = {
    "volume": (lambda r: bomb_chunk(r, "truth/visible_change"), "array truth/visible_change cannot be decoded"),
    "cell": (lambda r: bomb_chunk(r, CELL), f"array {CELL} cannot be decoded"),
    "regions": (lambda r: bomb_chunk(r, REGIONS), f"array {REGIONS} cannot be decoded"),
    "texts": (
        lambda r: (r / "tables/exclusions.parquet").write_bytes(of_texts(2_000_000, "x" * 50_000)),
        "tables/exclusions.parquet unpacks to more than",
    ),
    "rows": (
        lambda r: (r / "tables/exclusions.parquet").write_bytes(of_texts(25_000_000, "x")),
        "tables/exclusions.parquet declares 25000000 rows",
    ),
    "depth": (
        lambda r: (r / "manifest.json").write_text('{"config": ' + nested(200_000) + "}"),
        "manifest.json is nested deeper than 32 levels",
    ),
    "pipe-manifest": (lambda r: as_pipe(r / "manifest.json"), "manifest.json is not a regular file"),
    "pipe-table": (lambda r: as_pipe(r / "tables/scans.parquet"), "tables/scans.parquet is not a regular file"),
    "pipe-array": (lambda r: as_pipe(r / "arrays.zarr/grid/mask/zarr.json"), "grid/mask/zarr.json is not a regular"),
    "pipe-scan": (lambda r: as_pipe(r / "arrays.zarr/scans/c/0/0/0/0"), "scans/c/0/0/0/0 is not a regular file"),
    "pipe-model": (lambda r: as_pipe(r / "models/fold-1.safetensors"), "fold-1.safetensors is not a regular file"),
    "shape": (lambda r: huge(r, [10**18] * 3, [10**18] * 3), "array truth/visible_change declares the shape"),
    "many": (lambda r: huge(r, [4000] * 3, [1] * 3), "array truth/visible_change declares the shape"),
    "chunk": (lambda r: huge(r, [6, 7, 6], [2**30, 1, 1]), "array truth/visible_change declares chunks"),
}


@pytest.fixture(scope="module")
def verified(tmp_path_factory) -> dict[str, list[str]]:
    """Run -> what `verify` says of it, in little memory, in a store of hostile runs and one good one."""
    run = copy_of_shared_store(tmp_path_factory.mktemp("hostile"))
    names = [f"{name}-1" for name in HOSTILE]
    for name in (*names, "good-1"):
        neighbour(run, name)
    for name, (change, _) in HOSTILE.items():
        change(run.parent / f"{name}-1")
    shutil.rmtree(run)
    out = in_little_memory("main(['list', sys.argv[1]]); main(['verify', sys.argv[1]])", run.parent)
    listed, lines = out.split("\ngood-1:")[0], out.splitlines()
    assert all(name in listed for name in (*names, "good-1"))
    found: dict[str, list[str]] = {}
    for line in lines:
        if line.endswith((" problem", " problems", ": sound")):
            found[line.split(":")[0]] = said = [line]
        elif found and line.startswith("  "):
            said.append(line)
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_run_is_refused_in_little_memory(verified, name):
    assert any(HOSTILE[name][1] in line for line in verified[f"{name}-1"]), verified[f"{name}-1"]


def test_hostile_runs_hide_no_other_run(verified):
    assert verified["good-1"] == ["good-1: sound"]


# -- arrays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [ZstdCodec(level=9), GzipCodec(level=9), BloscCodec(cname="zstd"), None])
def test_zarr_sees_no_chunk_that_was_not_checked(tmp_path, codec):
    """A small array with a larger chunk in the place of its own, by every codec."""
    files = []
    for name, edge in (("small", 4), ("large", 64)):
        array = zarr.create_array(
            store=str(tmp_path / name / "arrays.zarr"), name="a", shape=(2, edge, edge, edge), dtype="int16",
            chunks=(1, edge, edge, edge), compressors=codec, fill_value=0, zarr_format=3,
            serializer=zarr.codecs.BytesCodec(endian="big"),
        )  # fmt: skip
        array[...] = 7
        files.append(tmp_path / name / "arrays.zarr/a/c/0/0/0/0")
    small = Folder(tmp_path / "small")
    if isinstance(codec, GzipCodec):  # does not say what it unpacks to
        with pytest.raises(BrokenRunError, match="cannot be decoded"):
            small.numbers("a")
        return
    assert (small.numbers("a") == 7).all()
    shutil.copy(files[1], files[0])
    for index in (None, 0):
        with pytest.raises(BrokenRunError, match="cannot be decoded"):
            small.numbers("a", index)
    assert (small.numbers("a", 1) == 7).all()


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ([2**40, 7, 6], [6, 7, 6]), ([4000, 4000, 4000], [4000, 4000, 4000]), ([6, -7, 6], [6, 7, 6]),
        ([6, 7, 0], [6, 7, 6]), ([10**400, 1, 1], [1, 1, 1]), ([], []), ([6, 7, 6, 1, 1, 1], [6, 7, 6, 1, 1, 1]),
        ("x", "y"), ([6, 7, 6], [6, 7]), (None, None),
    ],
)  # fmt: skip
def test_a_shape_that_no_run_has_is_refused(copied, shape, chunks):
    huge(copied, shape, chunks)
    with pytest.raises(BrokenRunError, match="truth/visible_change"):
        open_run(copied.parent).array("truth/visible_change")


@pytest.mark.parametrize("dtype", ["string", "float64", "complex128", "int8", {"name": "null_terminated_bytes"}])
def test_numbers_of_a_kind_that_no_run_has_are_refused(copied, dtype):
    declare(copied, "truth/visible_change", data_type=dtype)
    with pytest.raises(BrokenRunError, match="truth/visible_change"):
        open_run(copied.parent, copied.name).array("truth/visible_change")


# -- tables -----------------------------------------------------------------------------------------------------------


def lying_footer(data: bytes, size: int) -> bytes:
    """The same file, whose footer says that every column unpacks to 16 bytes; the sizes keep their length."""

    def zigzag(number: int, length: int) -> bytes:
        value, out = number << 1, bytearray()
        for k in range(length):
            out.append(value & 127 | (128 if k < length - 1 else 0))
            value >>= 7
        return bytes(out)

    length = -(-(size << 1).bit_length() // 7)
    assert zigzag(size, length) in data
    return data.replace(zigzag(size, length), zigzag(16, length))


def test_a_footer_that_lies_about_sizes_is_not_believed(monkeypatch):
    monkeypatch.setattr(parquet, "LARGEST_TABLE", 4 * MIB)
    data = of_texts(1, "x" * (8 * MIB), use_dictionary=False)
    size = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0).total_uncompressed_size
    data = lying_footer(data, size)
    assert pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0).total_uncompressed_size == 16
    with pytest.raises(ValueError, match="unpacks to more than"):
        parquet.read(data, ["scan", "subject", "stage", "reason"])
    with pytest.raises(ValueError, match="unpacks to more than"):
        parquet.read(of_texts(1000, "x" * 50_000), ["scan"])


def test_pages_are_added_up_as_parquet_itself_does():
    """The sizes in the pages' headers, against the footer of honest files of many kinds."""
    rows = 50_000
    random = np.random.default_rng(0)
    table = pa.table({
        "number": random.normal(size=rows), "text": [f"{n % 1000:x}" * (n % 9) for n in range(rows)],
        "whole": pa.array([None if n % 3 else n for n in range(rows)], pa.int64()), "yes": random.random(rows) < 0.5,
        "nothing": pa.nulls(rows),
    })  # fmt: skip
    for options in (
        {}, {"compression": "none"}, {"use_dictionary": False}, {"data_page_version": "2.0"},
        {"row_group_size": 7000, "data_page_size": 4096}, {"compression": "gzip", "write_statistics": False},
    ):  # fmt: skip
        sink = io.BytesIO()
        pq.write_table(table, sink, **{"compression": "zstd"} | options)
        data, metadata = sink.getvalue(), pq.ParquetFile(sink).metadata
        for k, name in enumerate(table.column_names):
            groups = [metadata.row_group(g).column(k) for g in range(metadata.num_row_groups)]
            opened = parquet._Table(io.BytesIO(data))
            total = sum(opened._column_sizes(g, k)[0] for g in range(metadata.num_row_groups))
            headers = sum(c.total_uncompressed_size for c in groups) - total
            assert 0 < headers < 100 * rows / 4096 * 9 + 300 * len(groups), (options, name)
        assert parquet.read(data, table.column_names).equals(table.cast(parquet.read(data, table.column_names).schema))
        assert parquet.read(data, ["yes", "none", "text"]).column_names == ["yes", "text"]


def test_tables_of_another_kind_are_refused(copied):
    file, frame = copied / "tables/exclusions.parquet", pd.read_parquet(copied / "tables/exclusions.parquet")
    reader = open_run(copied.parent)
    for change, words in (
        ({"reason": [["a", "b"]]}, "holds list"), ({"reason": [{"a": 1}]}, "holds struct"),
        ({"reason": [1.5]}, "column reason is double, must be string"), ({"scan": ["x" * 200_000]}, "a text of more"),
    ):  # fmt: skip
        frame.assign(**change).to_parquet(file)
        with pytest.raises(BrokenRunError, match=words):
            reader.table("exclusions")
    frame.drop(columns="reason").to_parquet(file)
    with pytest.raises(BrokenRunError, match="missing columns reason"):
        reader.table("exclusions")
    data = file.read_bytes()
    for cut in (5, len(data) // 2, len(data) - 9):
        file.write_bytes(data[:cut] + data[-8:])
        with pytest.raises(BrokenRunError, match="exclusions"):
            reader.table("exclusions")


# -- JSON -------------------------------------------------------------------------------------------------------------


def test_json_is_bounded_in_depth_and_size():
    assert parsed_json(nested(DEEPEST_JSON).encode()) is not None
    for text, words in (
        (nested(DEEPEST_JSON + 1), "deeper"), (nested(200_000), "deeper"), ("{", "unreadable"),
        ('"' + "x" * LARGEST_JSON + '"', "bytes"), ("9" * 10_000, "unreadable"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            parsed_json(text.encode())


@pytest.mark.parametrize("levels", [40, 900])
def test_a_nested_manifest_is_listed_with_its_reason(copied, levels):
    text = (copied / "manifest.json").read_text()
    (copied / "manifest.json").write_text(text.replace('"config": {', f'"config": {{"x": {nested(levels)}, ', 1))
    assert "nested deeper" in list_runs(copied.parent)[0].problem


def test_a_nested_description_of_an_array_is_refused(copied):
    (copied / "arrays.zarr/grid/mask/zarr.json").write_text(nested(100_000))
    with pytest.raises(BrokenRunError, match="grid/mask is unreadable"):
        open_run(copied.parent).array("grid/mask")
    assert any("grid/mask is unreadable" in line for line in validate(copied))


# -- what is no regular file of the store -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["models/fold-1.safetensors", "figures/contact_sheet.png", "tables/scans.parquet"])
def test_links_out_of_the_store_are_not_followed(copied, tmp_path, name):
    secret = tmp_path / "secret"
    secret.write_bytes((copied / name).read_bytes())
    (copied / name).unlink()
    (copied / name).symlink_to(secret)
    with pytest.raises(BrokenRunError, match=r"is a link out of the store, which is not followed"):
        open_run(copied.parent).file(name)


@pytest.mark.parametrize("name", ["models", "tables", "arrays.zarr", "."])
def test_folders_that_lead_out_of_the_store_are_not_followed(copied, tmp_path, name, capsys):
    neighbour(copied)
    outside = tmp_path / "outside"
    (copied / name).rename(outside) if name != "." else copied.rename(outside)
    (copied if name == "." else copied / name).symlink_to(outside)
    assert validate(Folder(copied.parent).child(copied.name))
    main(["verify", str(copied.parent)])
    out = capsys.readouterr().out
    assert "link out of the store" in out
    assert "other-1: sound" in out
    assert main(["rm", str(copied.parent), copied.name, "--yes"]) == 0
    assert outside.exists()
    assert not copied.exists()


def test_links_inside_the_store_are_followed(copied):
    other = neighbour(copied)
    shutil.rmtree(other / "arrays.zarr")
    (other / "arrays.zarr").symlink_to(copied / "arrays.zarr")
    assert validate(Folder(copied.parent).child("other-1")) == []


def test_the_store_itself_may_be_a_link(copied, tmp_path):
    (tmp_path / "linked").symlink_to(copied.parent)
    assert validate(Folder(tmp_path / "linked").child(copied.name)) == []
    assert open_run(tmp_path / "linked").array("grid/mask").any()


@pytest.mark.parametrize(
    "path", ["../secret", "models/../../secret", "/etc/passwd", "models//x", "", ".", "a\\b", "a\0b"]
)
def test_no_path_leads_out_of_the_run(copied, path):
    (copied.parent / "secret").write_text("x")
    with pytest.raises(NotInRunError):
        open_run(copied.parent, copied.name).file(path)


def test_a_file_of_a_terabyte_is_not_read(copied):
    for name, words in (("models/fold-1.safetensors", "more than"), ("arrays.zarr/scans/c/0/0/0/0", "more than")):
        with open(copied / name, "wb") as file:
            file.truncate(1 << 40)
        assert any(words in line for line in validate(copied)), name
    with open(copied / "manifest.json", "ab") as file:
        file.truncate(1 << 40)
    assert "more than" in list_runs(copied.parent)[0].problem


# -- one bad run never hides the others -------------------------------------------------------------------------------


STRANGE = {
    "created": [None, 5, ["x"], "", "x" * 500], "name": [None, {"a": 1}, "a\x1b[2Jb", "a\u202eb"], "groups": [
        ["AD", "AD"], ["AD"], [1, 2], "AD", None, [["AD"], ["NC"]], ["", "NC"]
    ],
    "simulated": ["yes", None], "config": [None, [], {"analysis": 1}, {"analysis": {"bootstrap": 10**12}}],
    "grid_mm": ["2", None, 0, -1, float("nan"), 1e9, True], "seconds": [[], {"train": "long"}], "seeds": [3],
    "notices": ["x", [1]], "versions": ["1"], "fingerprint": [5], "peak_mib": ["a"], "task": ["other"],
    "target": [5, {"label": "age"}], "reference_run": [5, {}],
    "contents": [
        None, [], {"arrays": [], "tables": {}, "models": {}, "heatmaps": 0, "bytes": "many"},
        {"arrays": [{"path": "../../etc", "shape": [1], "dtype": "int16"}], "tables": {}, "models": {}, "heatmaps": 0,
         "bytes": 1},
        {"arrays": [], "tables": {"../x": {"rows": 1, "sha256": ""}}, "models": {}, "heatmaps": 0, "bytes": 1},
        {"arrays": [], "tables": {}, "models": {"a/../b": {"sha256": ""}}, "heatmaps": 0, "bytes": 1},
        {"arrays": [{"path": "mask", "shape": ["x"], "dtype": "int16"}], "tables": {}, "models": {}, "heatmaps": 0,
         "bytes": 1},
    ],
}  # fmt: skip


@pytest.mark.parametrize("key", STRANGE)
def test_a_strange_manifest_is_listed_with_its_reason_and_hides_no_other_run(copied, key, capsys):
    neighbour(copied)
    manifest = json.loads((copied / "manifest.json").read_text())
    for value in STRANGE[key]:
        (copied / "manifest.json").write_text(json.dumps(manifest | {key: value}))
        infos = {info.run: info for info in list_runs(copied.parent)}
        assert infos["other-1"].problem is None
        assert key in (infos[copied.name].problem or ""), value
        assert "\n" not in infos[copied.name].problem
        assert main(["list", str(copied.parent)]) == 0
        out = capsys.readouterr().out
        assert "other-1" in out
        assert infos[copied.name].problem in out
        assert "\x1b" not in out
        assert open_run(copied.parent).run_id == "other-1"
        assert any(key in line for line in validate(copied))


def test_a_manifest_without_one_of_its_keys_is_listed_with_its_reason(copied):
    manifest = json.loads((copied / "manifest.json").read_text())
    for key in set(manifest) - {"spec_version"}:
        (copied / "manifest.json").write_text(json.dumps({k: v for k, v in manifest.items() if k != key}))
        assert f"{key} is missing" in list_runs(copied.parent)[0].problem
    for text in ("[]", "null", "5", '"x"', "\x00", "\xff"):
        (copied / "manifest.json").write_bytes(text.encode("latin-1"))
        assert "manifest.json is" in list_runs(copied.parent)[0].problem
