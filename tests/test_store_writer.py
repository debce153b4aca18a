"""Writing a run: round trips, checks against the specification, and interruptions anywhere."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from store_factory import GROUPS, affine, make_manifest, make_run, write_run

from store import NotWritableError, RunReader, RunWriter, SpecViolationError, list_runs, open_run
from store.files import atomic as store_files
from store.files.encoding import checksum, dequantise, path_part, quantise
from store.keys import GroupKey, HeatmapKey
from store.writing.validate import validate
from store.writing.writer import HeatmapArray, MapArray

KEY = HeatmapKey("fold-1", "sensitivity", "AD")
FINITE = st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False)
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def start(writer: RunWriter, shape=(3, 4, 3), count=4, **changes) -> None:
    options = {
        "native_grid": "voxels", "count": count, "shape": shape, "unit": "margin", "affine": affine(),
        "parameters": {"a": (1, 2)}, "antisymmetric": True,
    }  # fmt: skip
    writer.start_heatmaps(KEY, HeatmapArray(**(options | changes)))


def put(writer: RunWriter, rows: list[int], values: np.ndarray) -> None:
    scans = [f"s{row}" for row in rows]
    sums = np.abs(values).reshape(len(rows), -1).sum(1).tolist()
    writer.put_heatmaps(KEY, rows=rows, scans=scans, values=values, absolute_sums=sums)


# -- numbers ----------------------------------------------------------------------------------------------------------


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=5), elements=FINITE))
@FEW
def test_quantised_numbers_come_back_within_half_a_step(values):
    integers, scale = quantise(values)
    assert (
        np.abs(dequantise(integers, scale).astype(float) - values).max() <= scale * 0.501 + 1e-6 * np.abs(values).max()
    )
    assert scale > 0


@pytest.mark.parametrize("size", [1e-44, 1e-38, 1.0, 3e38])
def test_extreme_maps_keep_their_extremes(size):
    values = np.array([size, -size, 0], np.float32)
    np.testing.assert_allclose(dequantise(*quantise(values)), values, rtol=1e-6)


@given(st.text(min_size=1, max_size=12).filter(str.strip))
@FEW
def test_any_name_is_one_part_of_a_path(name):
    try:
        part = path_part(name)
    except UnicodeEncodeError:
        return
    assert "/" not in part
    assert not part.startswith(".")


@pytest.mark.parametrize("name", ["", " ", None])
def test_empty_names_are_refused(name):
    with pytest.raises(SpecViolationError, match="not empty"):
        path_part(name)


@settings(FEW, max_examples=12)
@given(data=st.data(), path=st.sampled_from(["grid/mask", "grid/atlas", "truth/log_jacobian", "cells"]))
def test_what_was_written_is_what_is_read(tmp_path, data, path):
    dtype = {"grid/mask": np.uint8, "grid/atlas": np.int16}.get(path, np.float32)
    shape = data.draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=70 if path == "grid/mask" else 6))
    elements = FINITE if dtype == np.float32 else hnp.from_dtype(np.dtype(dtype))
    if path == "cells":
        shape = (3, *shape)
    values = data.draw(hnp.arrays(dtype, shape, elements=elements, fill=st.just(0)))
    staging = tempfile.mkdtemp(dir=tmp_path)
    writer = RunWriter(staging)
    if path == "cells":
        path = "cells/folds/occlusion/AD/margin/AD/NC"
        key = GroupKey("folds", "occlusion", "AD")
        writer.put_cell(key, "AD", "NC", values, MapArray("positions", "margin", affine(), 2))
    else:
        writer.put_array(path, values, affine=affine(), unit="")
    run = RunReader.staging(staging, GROUPS)
    np.testing.assert_array_equal(run.array(path), values)
    assert run.array(path).dtype == dtype
    np.testing.assert_array_equal(run.affine(path), affine())


@pytest.mark.parametrize(
    ("path", "values", "attributes", "words"),
    [
        ("grid/mask", np.zeros((2, 2, 2), np.float32), {"affine": affine(), "unit": ""}, "dtype is float32"),
        ("grid/mask", np.zeros((2, 2), np.uint8), {"affine": affine(), "unit": ""}, "2 dimensions"),
        ("grid/mask", np.zeros((2, 2, 2), np.uint8), {"affine": affine()}, "attribute unit"),
        ("grid/mask", np.zeros((2, 2, 2), np.uint8), {"affine": [1, 2], "unit": ""}, "4 x 4"),
        ("grid/brain", np.zeros((2, 2, 2), np.uint8), {}, "no array 'grid/brain'"),
    ],
)
def test_arrays_must_be_those_of_the_spec(tmp_path, path, values, attributes, words):
    with pytest.raises(SpecViolationError, match=words):
        RunWriter(tmp_path).put_array(path, values, **attributes)


# -- tables -----------------------------------------------------------------------------------------------------------

BALANCE = pd.DataFrame({
    "covariate": ["age", "sex"], "positive": [1, 2], "negative": [0.5, None], "difference": [1.0, 2.0],
    "test": ["t", None], "p": [0.1, 0.2], "note": ["", ""],
})  # fmt: skip


def test_tables_keep_values_missing_values_and_dtypes(tmp_path):
    RunWriter(tmp_path).put_table("balance", BALANCE)
    back = RunReader.staging(tmp_path, GROUPS).table("balance")
    assert back.positive.dtype == "float64"
    assert back.test.isna().tolist() == [False, True]
    assert back.negative.isna().tolist() == [False, True]
    assert back.covariate.tolist() == ["age", "sex"]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (BALANCE.drop(columns=["p", "note"]), "missing columns p, note"),
        (BALANCE.assign(extra=1), "unknown columns extra"),
        (BALANCE.assign(covariate="age"), "not unique, first age"),
        (BALANCE.assign(covariate=["age", None]), "is missing in some rows"),
        (BALANCE.assign(test=[1, 2]), "column test must be string"),
        (BALANCE.assign(p=["a", "b"]), "column p must be float64"),
    ],
)
def test_tables_must_be_those_of_the_spec(tmp_path, frame, words):
    with pytest.raises(SpecViolationError, match=words):
        RunWriter(tmp_path).put_table("balance", frame)
    assert not list(tmp_path.rglob("*.parquet"))


def test_fractions_do_not_become_integers(tmp_path):
    frame = pd.DataFrame({"model": "m", "curve": "roc", "point": [0.5], "x": 0.0, "y": 0.0, "scans": None})
    with pytest.raises(SpecViolationError, match="column point must be int64"):
        RunWriter(tmp_path).put_table("curves", frame)


# -- heatmaps and interruptions ---------------------------------------------------------------------------------------


def test_an_all_zero_map_is_a_map(tmp_path):
    writer = RunWriter(tmp_path)
    start(writer)
    start(writer)  # kept, opened again
    put(writer, [2], np.zeros((1, 3, 4, 3), np.float32))
    assert writer.completed(KEY) == {"s2"}
    assert (tmp_path / "arrays.zarr/heatmaps/fold-1/sensitivity/AD/margin/c/2/0/0/0").stat().st_size > 0
    run = RunReader.staging(tmp_path, GROUPS)
    assert run.table("heatmaps").value_scale.tolist() == [1.0]


def test_an_array_without_its_row_is_not_completed(tmp_path, monkeypatch):
    writer = RunWriter(tmp_path)
    start(writer)
    put(writer, [0], np.ones((1, 3, 4, 3), np.float32))
    monkeypatch.setattr(store_files, "write_bytes", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        put(writer, [1], np.ones((1, 3, 4, 3), np.float32))
    monkeypatch.undo()
    assert (tmp_path / "arrays.zarr/heatmaps/fold-1/sensitivity/AD/margin/c/1/0/0/0").exists()
    assert RunWriter(tmp_path).completed(KEY) == {"s0"}


def test_a_row_without_its_array_is_not_completed(tmp_path):
    writer = RunWriter(tmp_path)
    start(writer)
    put(writer, [0, 1], np.ones((2, 3, 4, 3), np.float32))
    (tmp_path / "arrays.zarr/heatmaps/fold-1/sensitivity/AD/margin/c/1/0/0/0").unlink()
    assert writer.completed(KEY) == {"s0"}


def test_overwriting_takes_the_old_row_back_first(tmp_path):
    writer = RunWriter(tmp_path)
    start(writer)
    first, second = np.ones((3, 3, 4, 3), np.float32), np.full((2, 3, 4, 3), 2, np.float32)
    second[0, 0, 0, 0] = 1
    put(writer, [1, 2], first[1:])
    put(RunWriter(tmp_path), [0, 1], second)
    rows = RunReader.staging(tmp_path, GROUPS).table("heatmaps")
    assert sorted(rows.scan) == ["s0", "s1", "s2"]
    by_scan = rows.set_index("scan")
    assert by_scan.value_scale["s1"] == pytest.approx(2 / 32767)
    assert by_scan.value_scale["s2"] == pytest.approx(1 / 32767)
    assert by_scan.checksum["s1"] == f"{checksum(quantise(second[1])[0]):08x}"


def test_completed_survives_compaction(tmp_path):
    writer = RunWriter(tmp_path)
    start(writer)
    put(writer, [0], np.ones((1, 3, 4, 3), np.float32))
    writer.compact()
    assert not (tmp_path / "tables/parts").exists()
    put(writer, [1], np.ones((1, 3, 4, 3), np.float32))
    assert RunWriter(tmp_path).completed(KEY) == {"s0", "s1"}
    assert writer.completed(KEY._replace(target="NC")) == set()
    writer.compact()
    assert len(RunReader.staging(tmp_path, GROUPS).table("heatmaps")) == 2


def test_leftovers_are_swept(tmp_path):
    for name in ("arrays.zarr/grid/mask/c/0.123.partial", "tables/scans.parquet.tmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    RunWriter(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("row", "value", "words"),
    [
        (4, np.ones((1, 3, 4, 3)), "row 4"),
        (-1, np.ones((1, 3, 4, 3)), "row -1"),
        (0, np.ones((1, 3, 3, 3)), "does not fit"),
        (0, np.full((1, 3, 4, 3), np.nan), "not finite"),
    ],
)
def test_heatmaps_that_do_not_fit_are_refused(tmp_path, row, value, words):
    writer = RunWriter(tmp_path)
    start(writer)
    with pytest.raises(SpecViolationError, match=words):
        put(writer, [row], value.astype(np.float32))
    assert writer.completed(KEY) == set()


def test_a_series_keeps_its_meaning(tmp_path):
    writer = RunWriter(tmp_path)
    with pytest.raises(SpecViolationError, match="not started"):
        put(writer, [0], np.ones((1, 3, 4, 3), np.float32))
    with pytest.raises(SpecViolationError, match="stride"):
        start(writer, native_grid="positions")
    start(writer)
    for change in ({"shape": (3, 4, 4)}, {"parameters": {"a": 2}}, {"antisymmetric": False}):
        with pytest.raises(SpecViolationError, match="another shape or meaning"):
            start(writer, **change)


CHILD = """
import sys
import numpy as np
from store import RunWriter
sys.path[:0] = sys.argv[2:]
from test_store_writer import KEY, expected, put, start
writer = RunWriter(sys.argv[1])
start(writer, count=400)
print("ready", flush=True)
done = writer.completed(KEY)
for row in range(400):
    if f"s{row}" not in done:
        put(writer, [row], expected(row)[None])
"""


def expected(row: int) -> np.ndarray:
    return np.random.default_rng(row).normal(size=(3, 4, 3)).astype(np.float32)


def test_kill_9_leaves_only_whole_heatmaps(tmp_path):
    tests = Path(__file__).parent
    arguments = [sys.executable, "-c", CHILD, str(tmp_path), str(tests), str(tests / "helpers")]
    counts = []
    for wait in (0.3, 0.7):
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as child:
            assert child.stdout.readline() == b"ready\n"
            time.sleep(wait)
            os.kill(child.pid, signal.SIGKILL)
        counts.append(len(RunWriter(tmp_path).completed(KEY)))
    assert 0 < counts[0] < counts[1]
    rows = RunReader.staging(tmp_path, GROUPS).table("heatmaps")
    array = zarr.open_array(tmp_path / "arrays.zarr", path="heatmaps/" + "/".join(KEY), mode="r")
    for row in rows.itertuples():
        stored, _ = quantise(expected(row.row))
        np.testing.assert_array_equal(array[row.row], stored)
        assert row.checksum == f"{checksum(stored):08x}"


# -- publication ------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for kill -9."""


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """A small finished staging folder, and a function that copies it."""
    origin = tmp_path_factory.mktemp("staged")
    write_run(RunWriter(origin), methods=["area_occlusion"])
    return origin


def copy(origin: Path, store: Path) -> Path:
    return Path(shutil.copytree(origin, store / ".work" / "abc" / "run"))


def killing(function, at: int, before: bool):
    """The function, but its call number `at` is where the process dies."""
    calls = itertools.count()

    def killed(*arguments, **options):
        mine = next(calls) == at
        if mine and before:
            raise Killed
        result = function(*arguments, **options)
        if mine:
            raise Killed
        return result

    return killed


@pytest.mark.parametrize(
    ("place", "name", "at", "before"),
    [
        (os, "replace", 0, True),  # the heatmaps table
        (Path, "unlink", 0, True),  # the parts that are now in it
        (Path, "unlink", 0, False),
        (os, "replace", 1, True),  # the manifest
        (os, "replace", 2, True),  # the old run goes aside
        (os, "replace", 3, True),  # the new run takes its place
        (os, "replace", 3, False),
    ],
)
def test_publish_may_be_killed_anywhere_and_run_again(staged, tmp_path, monkeypatch, place, name, at, before):
    staging = copy(staged, tmp_path)
    if at >= 2:
        (tmp_path / "tiny-1").mkdir()
        (tmp_path / "tiny-1/manifest.json").write_text('{"old": 1}')
    with monkeypatch.context() as patch:
        patch.setattr(place, name, killing(getattr(place, name), at, before))
        with pytest.raises(Killed):
            RunWriter(staging).publish(tmp_path, "tiny-1", make_manifest(), replace=True)
    sound = [info.run for info in list_runs(tmp_path) if info.problem is None]
    assert sound == ([] if before or at < 3 else ["tiny-1"])
    path = RunWriter(staging).publish(tmp_path, "tiny-1", make_manifest(), replace=True)
    assert validate(path, deep=False) == []
    assert [info.run for info in list_runs(tmp_path)] == ["tiny-1"]
    assert list((tmp_path / ".work").iterdir()) == []


def test_publish_again_returns_what_is_there_and_replace_is_asked_for(staged, tmp_path):
    path = RunWriter(copy(staged, tmp_path)).publish(tmp_path, "tiny-1", make_manifest())
    before = (path / "manifest.json").read_bytes()
    assert RunWriter(tmp_path / ".work/abc/run").publish(tmp_path, "tiny-1", make_manifest()) == path
    assert (path / "manifest.json").read_bytes() == before
    staging = copy(staged, tmp_path)
    with pytest.raises(NotWritableError, match="already"):
        RunWriter(staging).publish(tmp_path, "tiny-1", make_manifest(name="other"))
    assert open_run(tmp_path).manifest["name"] == "tiny"
    RunWriter(staging).publish(tmp_path, "tiny-1", make_manifest(name="other"), replace=True)
    assert open_run(tmp_path).manifest["name"] == "other"


def test_what_is_not_published_is_invisible(staged, tmp_path):
    copy(staged, tmp_path)
    (tmp_path / "half").mkdir()
    assert list_runs(tmp_path) == []


def test_publish_refuses_what_the_spec_does_not_allow(staged, tmp_path):
    staging = copy(staged, tmp_path)
    (staging / "tables/balance.parquet").unlink()
    with pytest.raises(SpecViolationError, match="table balance is missing"):
        RunWriter(staging).publish(tmp_path, "tiny-1", make_manifest())
    assert list_runs(tmp_path) == []
    with pytest.raises(SpecViolationError, match="cannot name a run"):
        RunWriter(staging).publish(tmp_path, "../tiny", make_manifest())
    manifest = make_manifest()
    del manifest["seeds"]
    with pytest.raises(SpecViolationError, match="seeds is missing"):
        RunWriter(staging).publish(tmp_path, "tiny-1", manifest)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "nothing computed is lost"), (errno.EACCES, "permission"), (errno.EROFS, "choose another place")],
)
def test_a_full_or_closed_disk_is_said_in_words(tmp_path, monkeypatch, number, words):
    writer = RunWriter(tmp_path)

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(store_files.os, "replace", fail)
    with pytest.raises(NotWritableError, match=words):
        writer.put_table("balance", BALANCE)
    monkeypatch.undo()
    monkeypatch.setattr("zarr.storage._local._atomic_write", fail)
    with pytest.raises(NotWritableError, match=words):
        writer.put_array("grid/mask", np.ones((2, 2, 2), np.uint8), affine=affine(), unit="")


def test_the_same_numbers_give_the_same_run(staged, tmp_path):
    first = RunWriter(copy(staged, tmp_path)).publish(tmp_path / "a", "tiny-1", make_manifest())
    paths = [first, make_run(tmp_path / "b", run_id="tiny-1", methods=["area_occlusion"])]
    contents = [open_run(path.parent).manifest["contents"] for path in paths]
    assert contents[0] == contents[1]
