"""The validator finds what is broken."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from store_factory import copy_of_shared_store, shared_store

from store import open_run
from store.writing.validate import validate


@pytest.fixture
def copied(tmp_path):
    return copy_of_shared_store(tmp_path)


def test_a_sound_run_has_no_problems():
    run = open_run(shared_store())
    assert validate(shared_store() / run.run_id) == []


def some_file(folder):
    return next(path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "zarr.json")


def change_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(bytes(data))


def change_table(path, change):
    change(pd.read_parquet(path)).to_parquet(path, index=False)


def change_manifest(path, change):
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


BREAKS = {
    "spec version": lambda p: change_manifest(p / "manifest.json", lambda m: m.update(spec_version="3.0")),
    "groups is missing": lambda p: change_manifest(p / "manifest.json", lambda m: m.pop("groups")),
    "contents must hold": lambda p: change_manifest(p / "manifest.json", lambda m: m.update(contents={})),
    "manifest.json is unreadable": lambda p: (p / "manifest.json").write_text("{"),
    "table quality is missing": lambda p: (p / "tables/quality.parquet").unlink(),
    "quality.parquet is unreadable": lambda p: (p / "tables/quality.parquet").write_bytes(b"x"),
    "missing columns seconds": lambda p: change_table(
        p / "tables/quality.parquet", lambda t: t.drop(columns="seconds")
    ),
    "column seconds is": lambda p: change_table(p / "tables/quality.parquet", lambda t: t.assign(seconds="long")),
    "not unique": lambda p: change_table(p / "tables/quality.parquet", lambda t: t.assign(scan="a1-1")),
    "table quality: the checksum": lambda p: change_table(
        p / "tables/quality.parquet", lambda t: t.assign(seconds=0.5)
    ),
    "rows, the manifest says": lambda p: change_table(p / "tables/quality.parquet", lambda t: t.head(2)),
    "scan 'ghost' is not in": lambda p: change_table(
        p / "tables/quality.parquet", lambda t: t.assign(scan=["ghost", *t.scan[1:]])
    ),
    "array grid/mask is missing": lambda p: shutil.rmtree(p / "arrays.zarr/grid/mask"),
    "array scans: the file at": lambda p: some_file(p / "arrays.zarr/scans").unlink(),
    "array truth/visible_change": lambda p: change_byte(some_file(p / "arrays.zarr/truth/visible_change")),
    "truth/visible_binary is missing": lambda p: shutil.rmtree(p / "arrays.zarr/truth/visible_binary"),
    "truth/scan_changes: the file at": lambda p: some_file(p / "arrays.zarr/truth/scan_changes").unlink(),
    "truth_regions: region 'Nowhere' is not in the regions": lambda p: change_table(
        p / "tables/truth_regions.parquet", lambda t: t.assign(region=["Nowhere", *t.region[1:]])
    ),
    "truth_scores: voxel_auc has values outside 0 to 1": lambda p: change_table(
        p / "tables/truth_scores.parquet", lambda t: t.assign(value=7.0)
    ),
    "truth_scores: difference_low is above difference_high": lambda p: change_table(
        p / "tables/truth_scores.parquet", lambda t: t.assign(difference_low=2.0)
    ),
    "the manifest says simulated: false": lambda p: change_manifest(
        p / "manifest.json", lambda m: m.update(simulated=False)
    ),
    "cells/folds/occlusion/AD/margin/AD/AD is missing": lambda p: shutil.rmtree(
        p / "arrays.zarr/cells/folds/occlusion/AD/margin/AD/AD"
    ),
    "heatmaps/fold-1/occlusion/AD/margin is missing": lambda p: shutil.rmtree(
        p / "arrays.zarr/heatmaps/fold-1/occlusion/AD/margin"
    ),
    "the file of scan a1-1 is missing": lambda p: some_file(p / "arrays.zarr/heatmaps/holdout/sensitivity/AD").unlink(),
    "heatmaps/holdout/guided_backprop/AD/margin": lambda p: change_byte(
        some_file(p / "arrays.zarr/heatmaps/holdout/guided_backprop/AD")
    ),
    "model fold-1: the checksum": lambda p: (p / "models/fold-1.safetensors").write_bytes(b"other"),
    "models/fold-2.json is missing": lambda p: (p / "models/fold-2.json").unlink(),
}


@pytest.mark.parametrize("words", BREAKS)
def test_every_break_is_found(copied, words):
    BREAKS[words](copied)
    problems = validate(copied)
    assert any(words in problem for problem in problems), problems
    assert all("\n" not in problem for problem in problems)


def test_a_quick_look_finds_what_is_missing(copied):
    some_file(copied / "arrays.zarr/heatmaps/holdout/sensitivity/AD").unlink()
    assert len(validate(copied, deep=False)) == 1


def test_attributes_and_dtypes_are_checked(copied):
    path = copied / "arrays.zarr/grid/mask/zarr.json"
    change_manifest(path, lambda m: m["attributes"].pop("unit"))
    path = copied / "arrays.zarr/heatmaps/holdout/occlusion/AD/margin/zarr.json"
    change_manifest(path, lambda m: m["attributes"].update(native_grid="regions"))
    text = " ".join(validate(copied))
    assert "grid/mask: attribute unit is missing" in text
    assert "heatmaps/holdout/occlusion/AD/margin: has 4 dimensions" in text
