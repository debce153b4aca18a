"""Damaged runs on every page: words that name the run, never a Python error; and the other runs stay whole."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pytest
from pages import forget_all, turn_to
from streamlit.testing.v1 import AppTest
from test_dashboard_views import VIEWS, copy_run, text_of

from store.__main__ import main
from store.writing.validate import validate


def table(name: str, **columns):
    """A damage: columns of a table replaced."""

    def change(run) -> None:
        file = run / f"tables/{name}.parquet"
        frame = pd.read_parquet(file)
        for column, value in columns.items():
            frame[column] = value(frame[column]) if callable(value) else [value] * len(frame)
        frame.to_parquet(file, index=False)

    return change


def attributes(path: str, **values):
    """A damage: attributes of an array replaced."""

    def change(run) -> None:
        file = run / f"arrays.zarr/{path}/zarr.json"
        content = json.loads(file.read_text())
        content["attributes"] |= values
        file.write_text(json.dumps(content))

    return change


def manifest(**values):
    """A damage: values of the manifest replaced."""

    def change(run) -> None:
        file = run / "manifest.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


NAN = [[float("nan")] * 4] * 4
ZEROS = [[0.0] * 4] * 3 + [[0.0, 0.0, 0.0, 1.0]]
HTML = "<img src=x onerror=alert(1)>"
CELL = "cells/holdout/sensitivity/AD/relative/AD/AD"
DAMAGE = {  # what is done to the run -> what verify says of it
    "affine of NaN": (attributes("grid/mask", affine=NAN), "grid/mask: affine"),
    "affine of zeros": (attributes("mask", affine=ZEROS), "mask: affine is singular"),
    "affine of texts": (attributes("grid/mask", affine="x"), "affine is not 4 x 4 numbers"),
    "a unit of HTML": (attributes(CELL, unit=HTML), "must be a short text without markup"),
    "a unit of a number": (attributes(CELL, unit=5), "must be a short text"),
    "a grid of its own": (attributes(CELL, native_grid="regions"), "dimensions"),
    "no such grid": (attributes(CELL, native_grid=["x"]), "native_grid"),
    "a stride of zero": (attributes("cells/holdout/occlusion/AD/relative/AD/AD", stride=0), "stride must be"),
    "equal groups": (manifest(groups=["AD", "AD"]), "groups must be two different names"),
    "a path out of the run": (
        manifest(contents={"arrays": [{"path": "../x", "shape": [1], "dtype": "int16"}], "tables": {}, "models": {},
                           "heatmaps": 0, "bytes": 1}),
        "a path inside the run",
    ),
    "a date of a number": (manifest(created=5), "created must be a date"),
    "another size of voxels": (manifest(grid_mm=7), "the manifest says 7"),
    "numbers as texts": (table("scans", age="old"), "column age is"),
    "texts as numbers": (table("scans", subject=5.0), "column subject is"),
    "scans twice": (table("scans", scan="a1-1"), "is not unique"),
    "no scans": (table("scans", scan=lambda c: c.where(c != "a1-1")), "is missing in some rows"),
    "strange groups": (table("predictions", predicted="XX"), "column predicted holds 'XX'"),
    "a probability of 7": (table("predictions", probability=7.0), "column probability holds 7"),
    "a negative weight": (table("cells", weight=-1.0), "column weight holds -1"),
    "infinite relevance": (table("region_relevance", sum=np.inf), "column sum holds inf"),
    "rows that are not there": (table("heatmaps", row=-5), "column row holds -5"),
    "unknown regions": (table("regions", index=-1), "column index holds -1"),
    "unknown grids": (table("cells", native_grid="cubes"), "column native_grid holds 'cubes'"),
    "markup as a region": (table("regions", region=lambda c: [HTML, *c[1:]]), "column region holds markup"),
}  # fmt: skip


@pytest.fixture
def pair(tmp_path):
    """A sound run, and a newer one to be damaged."""
    copy_run(tmp_path, "whole-1", created="2025-01-01T00:00:00")
    return copy_run(tmp_path, "broken-1")


@pytest.mark.parametrize("name", DAMAGE)
def test_verify_finds_values_that_cannot_be_right(pair, name, capsys):
    change, words = DAMAGE[name]
    change(pair)
    lines = validate(pair, deep=False)
    assert any(words in line for line in lines), lines
    for command in ("info", "list"):
        assert main([command, str(pair.parent), *(["broken-1"] if command == "info" else [])]) in (0, 1)
    assert "whole-1" in capsys.readouterr().out


def test_numbers_that_are_not_finite_are_found(pair):
    import zarr

    array = zarr.open_array(pair / "arrays.zarr", path="truth/log_jacobian", mode="r+")
    array[...] = np.nan
    index = zarr.open_array(pair / "arrays.zarr", path="grid/atlas", mode="r+")
    index[...] = -4
    lines = validate(pair)
    assert "array truth/log_jacobian: holds numbers that are not finite" in lines
    assert "array grid/atlas: holds a negative region index" in lines


def visit(monkeypatch, store, views=tuple(VIEWS), **query):
    """(page, what it says) of every page in one session."""
    monkeypatch.setattr(sys, "argv", ["home.py"])
    monkeypatch.setenv("BRAINWHY_STORE", str(store))
    forget_all()
    app = AppTest.from_file("../dashboard/home.py", default_timeout=120)
    for key, value in query.items():
        app.query_params[key] = value
    for view in views:
        turn_to(app, view).run()
        assert not app.exception, view
        yield VIEWS[view], text_of(app)


ON_PAGES = (
    "affine of NaN", "affine of texts", "a unit of HTML", "no such grid", "numbers as texts", "scans twice",
    "strange groups", "rows that are not there", "a negative weight", "markup as a region",
)  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:Constructing a Categorical")
@pytest.mark.parametrize("name", ON_PAGES)
def test_pages_of_a_damaged_run_end_in_words(monkeypatch, pair, name):
    change, _ = DAMAGE[name]
    change(pair)
    for page, text in visit(monkeypatch, pair.parent):
        assert "This view failed" not in text, (name, page, text[-600:])
        assert "Error" not in text, (name, page)


def test_damaged_runs_leave_the_pages_of_a_sound_one_alone(monkeypatch, tmp_path):
    copy_run(tmp_path, "whole-1", created="2025-01-01T00:00:00")
    for number, name in enumerate(DAMAGE):
        DAMAGE[name][0](copy_run(tmp_path, f"broken-{number}", created=f"2026-01-{number + 1:02d}T00:00:00"))
    (tmp_path / "broken-0/manifest.json").write_text("[" * 200_000)
    for page, text in visit(monkeypatch, tmp_path, run="whole-1"):
        assert "This view failed" not in text, page
        assert "cannot be shown" not in text, page
        assert "whole-1" in text, page


@pytest.mark.parametrize("content", [b"x" * 100, b"\x89PNG\r\n\x1a\n", b"", HTML.encode(), "huge"])
def test_a_contact_sheet_that_is_no_picture_is_named(monkeypatch, pair, content):
    if content == "huge":  # a picture that unpacks to ten gigabytes
        content = (
            b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + b"IHDR" + (100_000).to_bytes(4, "big") * 2 + b"\x08" * 9
        )
    (pair / "figures/contact-sheet.png").write_bytes(content)
    page, text = next(found for found in visit(monkeypatch, pair.parent, ("views/provenance/page.py",)))
    assert "run broken-1: figures/contact-sheet.png is no picture" in text, page
