"""Reading a run: plain questions, derived targets and scales, and everything that can be missing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import duckdb
import fsspec
import numpy as np
import pandas as pd
import pytest
import zarr
from store_factory import METHODS, PREDICTED, SCANS, copy_of_shared_store, make_run, shared_store

from store import (
    BrokenRunError,
    NewerSpecError,
    NotInRunError,
    RunNotFoundError,
    StoreNotFoundError,
    list_runs,
    open_run,
)
from store.files.geometry import to_voxels
from store.keys import GroupKey
from store.spec import table_spec
from store.writing.validate import validate


@pytest.fixture(scope="module")
def run():
    return open_run(shared_store())


@pytest.fixture
def copied(tmp_path):
    return copy_of_shared_store(tmp_path)


def rewrite_manifest(path, **changes):
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | changes))


# -- finding runs -----------------------------------------------------------------------------------------------------


def test_runs_are_listed_newest_first_and_opened_by_identifier_or_name(tmp_path):
    origin = copy_of_shared_store(tmp_path)
    for name, created in (("old", "2025-01-01"), ("new", "2026-01-01"), ("middle", "2025-06-01")):
        shutil.copytree(origin, tmp_path / f"{name}-1234", ignore=shutil.ignore_patterns("arrays.zarr"))
        rewrite_manifest(tmp_path / f"{name}-1234", name=name, created=created)
    shutil.rmtree(origin)
    infos = list_runs(str(tmp_path))
    assert [info.name for info in infos] == ["new", "middle", "old"]
    assert infos[0].simulated
    assert infos[0].bytes > 0
    assert open_run(tmp_path).run_id == infos[0].run
    assert open_run(tmp_path, "old").run_id == infos[2].run
    assert open_run(tmp_path, infos[1].run).manifest["name"] == "middle"
    with pytest.raises(RunNotFoundError, match=r"^there is no run nothing in"):
        open_run(tmp_path, "nothing")
    (tmp_path / infos[0].run / "manifest.json").write_text("{")
    assert open_run(tmp_path).manifest["name"] == "middle"
    assert "unreadable" in list_runs(tmp_path)[-1].problem
    with pytest.raises(BrokenRunError):
        open_run(tmp_path, infos[0].run)


def test_a_store_that_is_not_there(tmp_path):
    with pytest.raises(StoreNotFoundError, match="there is no store"):
        list_runs(tmp_path / "nothing")
    with pytest.raises(StoreNotFoundError):
        open_run("nothing://bucket/store")
    with pytest.raises(RunNotFoundError, match="run_pipeline"):
        open_run(tmp_path)


@pytest.mark.parametrize("version", ["2.0", "10.1", "", None])
def test_a_later_major_version_says_what_to_do(copied, version):
    rewrite_manifest(copied, spec_version=version)
    with pytest.raises(NewerSpecError, match=r"update the code, or rebuild with run_pipeline\.py"):
        open_run(copied.parent, "tiny" if version else copied.name)
    assert "this code reads 1.x" in list_runs(copied.parent)[0].problem


def test_a_later_minor_version_is_read(copied):
    rewrite_manifest(copied, spec_version="1.7", something_new={"a": 1})
    assert open_run(copied.parent).group_map(GroupKey("folds", "occlusion", "AD")).scans == 8


def test_a_store_behind_a_url_gives_the_same_answers(run):
    memory = fsspec.filesystem("memory")
    memory.put(str(shared_store()), "/brainwhy", recursive=True)
    there = open_run("memory://brainwhy")
    assert [info.run for info in list_runs("memory://brainwhy")] == [run.run_id]
    for method in METHODS:
        np.testing.assert_array_equal(
            there.heatmap("holdout", method, "a1-2", target="NC"), run.heatmap("holdout", method, "a1-2", target="NC")
        )
    np.testing.assert_array_equal(there.volume("n2-1"), run.volume("n2-1"))
    pd.testing.assert_frame_equal(there.table("predictions"), run.table("predictions"))
    memory.rm(next(p for p in memory.find("/brainwhy") if "heatmaps/holdout/occlusion/AD/margin/c/0/" in p))
    with pytest.raises(BrokenRunError, match="lacks the file"):
        open_run("memory://brainwhy").heatmap("holdout", "occlusion", "a1-1", target="AD")
    memory.rm("/brainwhy", recursive=True)


def test_file_urls_work(run):
    assert open_run(f"file://{shared_store()}").run_id == run.run_id


# -- tables and arrays ------------------------------------------------------------------------------------------------


def test_tables_can_be_cut_by_columns_and_values(run):
    rows = run.table("predictions", ["scan", "margin"], model="fold-1", diagnosis="AD")
    assert list(rows.columns) == ["scan", "margin"]
    assert sorted(rows.scan) == ["a1-1", "a1-2", "a1-3"]
    assert run.table("region_relevance", scan="nobody").empty
    for table, options in (("nothing", {}), ("scans", {"columns": ["hat"]}), ("scans", {"hat": 1})):
        with pytest.raises(NotInRunError):
            run.table(table, **options)


def test_optional_tables_and_arrays_may_be_absent(tmp_path):
    make_run(tmp_path, simulated=False, methods=["area_occlusion"])
    run = open_run(tmp_path)
    assert not run.simulated
    assert not run.has_table("truth_scores")
    assert not run.has_array("truth/visible_binary")
    with pytest.raises(NotInRunError):
        run.table("truth_scores")
    with pytest.raises(NotInRunError):
        run.array("truth/visible_binary")


def test_volumes_are_close_to_what_was_written(run):
    volume = run.volume("a1-1")
    assert volume.dtype == np.float32
    assert (volume[~run.mask] == 0).all()
    assert 50 < volume[run.mask].mean() < 150
    with pytest.raises(NotInRunError, match="no scan"):
        run.volume("nobody")


def test_files_of_the_run_are_read_and_nothing_else(run):
    assert run.file("models/fold-1.safetensors") == b"weights of fold-1"
    for path in ("models/none.json", "../../../../etc/passwd"):
        with pytest.raises(NotInRunError):
            run.file(path)


# -- heatmaps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", ["margin", "probability"])
def test_heatmaps_follow_from_what_is_stored(run, method, scale):
    """Read slowly with plain Zarr and pandas, and compared."""
    arrays = zarr.open_group(shared_store() / run.run_id / "arrays.zarr", mode="r")
    table = pd.read_parquet(shared_store() / run.run_id / "tables/heatmaps.parquet")
    properties, model, scan = METHODS[method], "holdout", "a1-2"
    p = run.table("predictions", model=model, scan=scan).probability.iloc[0]
    for group, sign in (("AD", 1), ("NC", -1 if properties.antisymmetric else 1)):
        stored = scale if scale in properties.scales else "margin"
        target = "AD" if properties.antisymmetric else group
        row = table[(table.model == model) & (table.method == method) & (table.target == target)]
        row = row[(row.scan == scan) & (row.scale == stored)].iloc[0]
        native = arrays[f"heatmaps/{model}/{method}/{target}/{stored}"][row.row] * row.value_scale * sign
        if scale != stored:
            native = native * p * (1 - p)
        options = {"stride": 3, "shape": run.mask.shape, "atlas": run.atlas, "mask": run.mask}
        found = run.heatmap(model, method, scan, target=group, scale=scale)
        assert found.dtype == np.float32
        assert not np.signbit(found[found == 0]).any()
        np.testing.assert_allclose(found, to_voxels(native, properties.native_grid, **options), rtol=1e-5)
        plain = run.heatmap(model, method, scan, target=group, scale=scale, full=False)
        np.testing.assert_allclose(plain, native, rtol=1e-5)
        assert np.abs(found).sum() > 0


def test_true_and_predicted_are_looked_up(run):
    for scan, group in PREDICTED.items():
        if not SCANS[scan][3]:
            continue
        assert run.target_of("holdout", scan, "predicted") == group
        assert run.target_of("holdout-seed-2", scan, "predicted") != group
    assert run.target_of("holdout", "a1-2", "true") == "AD"
    true = run.heatmap("holdout", "guided_backprop", "a1-2", target="true")
    np.testing.assert_array_equal(true, run.heatmap("holdout", "guided_backprop", "a1-2", target="AD"))
    with pytest.raises(NotInRunError, match="belongs to no group"):
        run.heatmap("holdout", "guided_backprop", "m1-1", target="true")


@pytest.mark.parametrize(
    ("model", "method", "scan", "target"),
    [
        ("fold-1", "occlusion", "a2-1", "AD"),
        ("fold-9", "occlusion", "a1-1", "AD"),
        ("holdout-seed-2", "occlusion", "a1-1", "AD"),
        ("holdout", "magic", "a1-1", "AD"),
        ("holdout", "occlusion", "a1-1", "MCI"),
        ("fold-1", "occlusion", "a2-1", "predicted"),
        ("fold-1", "occlusion", "nobody", "true"),
    ],
)
def test_what_the_run_does_not_hold_is_said(run, model, method, scan, target):
    with pytest.raises(NotInRunError) as caught:
        run.heatmap(model, method, scan, target=target)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_shard_is_an_error_not_zeros(copied, method):
    folder = copied / f"arrays.zarr/heatmaps/holdout/{method}/AD/margin/c/0"
    next(path for path in folder.rglob("*") if path.is_file()).unlink()
    reader = open_run(copied.parent)
    with pytest.raises(BrokenRunError, match="lacks the file"):
        reader.heatmap("holdout", method, "a1-1", target="AD")
    if METHODS[method].antisymmetric:
        with pytest.raises(BrokenRunError):
            reader.heatmap("holdout", method, "a1-1", target="NC")


@pytest.mark.parametrize("method", METHODS)
def test_another_heatmap_in_its_place_is_noticed(copied, method):
    top = copied / f"arrays.zarr/heatmaps/holdout/{method}/AD/margin/c"
    other, mine = (next(p for p in (top / row).rglob("*") if p.is_file()) for row in ("1", "0"))
    mine.write_bytes(other.read_bytes())
    with pytest.raises(BrokenRunError, match="damaged"):
        open_run(copied.parent).heatmap("holdout", method, "a1-1", target="AD")


def test_damaged_and_missing_files_are_broken_runs(copied):
    shard = copied / "arrays.zarr/scans/c/0/0/0/0"
    shard.write_bytes(shard.read_bytes()[:20])
    reader = open_run(copied.parent)
    with pytest.raises(BrokenRunError, match="cannot be decoded"):
        reader.volume("a1-1")
    (copied / "arrays.zarr/grid/mask/zarr.json").unlink()
    (copied / "arrays.zarr/grid/atlas/zarr.json").write_text("{")
    (copied / "tables/quality.parquet").write_bytes(b"PAR1")
    (copied / "tables/cells.parquet").unlink()
    reader = open_run(copied.parent)
    for question in (
        lambda: reader.array("grid/mask"),
        lambda: reader.array("grid/atlas"),
        lambda: reader.table("quality"),
        lambda: reader.table("cells"),
        lambda: reader.group_map(GroupKey("folds", "occlusion", "AD")),
    ):
        with pytest.raises(BrokenRunError):
            question()
    cell = next((copied / "arrays.zarr/truth/visible_binary/c").rglob("0"))
    (cell if cell.is_file() else next(p for p in cell.rglob("*") if p.is_file())).unlink()
    with pytest.raises(BrokenRunError, match="lacks the file"):
        reader.array("truth/visible_binary")


# -- other programs ---------------------------------------------------------------------------------------------------


def test_plain_tools_read_the_store(run):
    folder = shared_store() / run.run_id
    tables = folder / "tables"
    counted = duckdb.sql(
        f"select count(*) from '{tables}/predictions.parquet' p join '{tables}/scans.parquet' s using (scan)"
        " where p.model = 'fold-1' and s.age > 0"
    ).fetchall()
    predictions = pd.read_parquet(tables / "predictions.parquet")
    assert counted == [(int((predictions.model == "fold-1").sum()),)]
    group = zarr.open_group(folder / "arrays.zarr", mode="r")
    np.testing.assert_array_equal(group["grid/mask"][:] > 0, run.mask)
    assert group["scans"].metadata.dimension_names == ("scan", "x", "y", "z")


def test_reading_needs_neither_torch_nor_matplotlib():
    probe = (
        f"import sys, store; run = store.open_run({str(shared_store())!r}); "
        "run.heatmap('holdout', 'occlusion', 'a1-1', target='NC'); "
        "run.group_map(store.GroupKey('folds', 'sensitivity', 'AD')); "
        "store.RunWriter; import store.export.nifti, store.__main__; print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "ants", "engine", "dashboard", "scipy", "matplotlib", "nibabel"}.isdisjoint(loaded)


def test_columns_of_later_versions_read_as_missing_in_older_runs(tmp_path):
    folder = copy_of_shared_store(tmp_path)
    file = folder / "tables" / "scans.parquet"
    later = ["screening_diagnosis", "cdr_sb"]
    old = pd.read_parquet(file).drop(columns=later)
    old.to_parquet(file)
    run = open_run(tmp_path)
    scans = run.table("scans")
    assert list(scans.columns) == list(table_spec("scans").columns)
    assert scans[later].isna().all(axis=None)
    scan = scans["scan"].iloc[0]
    assert run.table("scans", ["cdr_sb", "scan"], scan=scan).shape == (1, 2)
    assert run.table("scans", screening_diagnosis="AD").empty
    assert not [line for line in validate(folder) if "missing columns" in line]
    old.drop(columns="age").to_parquet(file)
    assert [line for line in validate(folder) if line == "table scans: missing columns age"]
