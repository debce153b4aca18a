"""What the pages give away, saved in Chromium and opened again with the tools of the field."""

from __future__ import annotations

import gzip
import io
import json
import re
import xml.etree.ElementTree as ElementTree
import zipfile
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from browser import new_page, open_page, problems
from PIL import Image
from test_dashboard_views import copy_run

from dashboard.shell import access
from store import RunReader, open_run
from store.keys import GroupKey

RUN, OTHER = "one-1", "two-1"
PAGES = {
    "overview": {"csv", "pdf", "png", "zip"}, "group_maps": {"csv", "html", "nii.gz", "png", "svg"},
    "patient": {"csv", "nii.gz", "pdf", "png", "svg"}, "variability": {"csv"},
    "variability?v_view=spread&set=folds": {"nii.gz", "png", "svg"}, "regions": {"csv"},
    "regions?r_part=paper": {"csv", "tex"}, "clinical": {"csv"}, "distances": {"csv"},
    "compare_runs": {"csv", "png", "svg"}, "provenance": {"json", "txt", "zip"},
}  # fmt: skip
NOTICE = "Research use only"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A store of the tiny run and the same with another name, so that there is something to compare."""
    folder = tmp_path_factory.mktemp("store")
    copy_run(folder, OTHER, created="2025-01-02T03:04:05")
    return copy_run(folder, RUN).parent


@pytest.fixture(scope="module")
def run(place) -> RunReader:
    return open_run(place, RUN)


@pytest.fixture(scope="module")
def saved(browser, server, place, tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """Page -> name of the file -> its bytes: the first of every kind that the page offers, saved by a click."""
    url, found = server(place).url, {}
    folder = tmp_path_factory.mktemp("saved")
    page = new_page(browser)
    for address in PAGES:
        open_page(page, f"{url}/{address}")
        page.get_by_role("button", name="Download").first.click()
        buttons, found[address] = page.locator("[data-testid=stDownloadButton] button"), {}
        buttons.first.wait_for()
        for button in buttons.all():
            if kind_of_button(button.inner_text()) in map(kind_of, found[address]):
                continue
            with page.expect_download() as download:
                button.click()
            download.value.save_as(folder / "file")
            found[address][download.value.suggested_filename] = (folder / "file").read_bytes()
        assert problems(page) == [], address
    page.context.close()
    return found


def kind_of(name: str) -> str:
    return name.split(".", 1)[1]


def kind_of_button(words: str) -> str | None:
    """The ending of the file that a button of this label saves."""
    kind = words.removesuffix(" (MNI)").rsplit(", ", 1)[-1].strip()
    return {"NIfTI": "nii.gz", "LaTeX": "tex", "text": "txt", "web page": "html"}.get(kind, kind.lower())


def of_kind(files: dict[str, bytes], kind: str) -> tuple[str, bytes]:
    return next((name, data) for name, data in files.items() if kind_of(name) == kind)


def words_in_pdf(data: bytes) -> str:
    """The text of a PDF as Matplotlib writes it: strings of two-byte characters in compressed streams."""
    lines = []
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL):
        try:
            content = zlib.decompress(stream)
        except zlib.error:
            continue
        for line in re.findall(rb"\[(.*?)\]\s+TJ", content, re.DOTALL):
            strings = re.findall(rb"\(((?:\\.|[^\\()])*)\)", line, re.DOTALL)
            plain = b"".join(re.sub(rb"\\(.)", rb"\1", string, flags=re.DOTALL) for string in strings)
            lines.append(plain.decode("utf-16-be", errors="replace"))
    return "\n".join(lines)


@pytest.mark.parametrize("address", PAGES)
def test_a_page_gives_every_kind_of_file(saved, address):
    assert set(map(kind_of, saved[address])) == PAGES[address]


@pytest.mark.parametrize("address", PAGES)
def test_files_open_again(saved, address):
    for name, data in saved[address].items():
        kind = kind_of(name)
        if kind == "csv":
            table = pd.read_csv(io.BytesIO(data))
            assert len(table) >= 1, name
            assert len(table.columns) >= 2, name
        elif kind == "png":
            with Image.open(io.BytesIO(data)) as picture:
                picture.load()
                assert min(picture.size) > 100, name
        elif kind == "svg":
            words = " ".join(ElementTree.fromstring(data).itertext())
            assert NOTICE in words, name
        elif kind == "pdf":
            assert data.startswith(b"%PDF-"), name
            assert NOTICE in words_in_pdf(data), name
        elif kind == "html":
            assert NOTICE in data.decode(), name
            assert "SIMULATED" in data.decode(), name
        elif kind == "zip":
            assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None, name
        elif kind == "nii.gz":
            assert NOTICE.lower().encode() in volume(data).header["descrip"].item(), name


def volume(data: bytes) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(data))


def assert_in_place(image: nib.Nifti1Image, run: RunReader) -> None:
    """It lies over the template: MNI space, and the corners of its brain within those of the template's."""
    assert image.header.get_sform(coded=True)[1] == image.header.get_qform(coded=True)[1] == 4
    assert image.shape == run.shape("grid/mask")
    np.testing.assert_array_equal(image.affine, run.affine())
    fine = [np.argwhere(run.array(name) > 0) @ run.affine(name)[:3, :3].T + run.affine(name)[:3, 3]
            for name in ("mask", "grid/mask")]  # fmt: skip
    np.testing.assert_allclose(fine[0].min(axis=0), fine[1].min(axis=0), atol=2)
    np.testing.assert_allclose(fine[0].max(axis=0), fine[1].max(axis=0), atol=2)


def test_a_heatmap_lies_over_the_template_with_the_values_of_the_store(saved, run):
    name, data = of_kind(saved["patient"], "nii.gz")
    _, scan, model, rest = name.split("_", 3)
    scan = next(s for s in run.table("scans").scan if access.pseudonym(s) == scan)
    method, target = rest.removesuffix(".nii.gz").rsplit("_", 1)
    assert_in_place(volume(data), run)
    expected = run.heatmap(model, method, scan, target=target)
    assert np.ptp(expected) > 0
    np.testing.assert_array_equal(volume(data).get_fdata(dtype=np.float32), expected)


def test_a_group_average_lies_over_the_template_with_the_values_of_the_store(saved, run):
    name, data = of_kind(saved["group_maps"], "nii.gz")
    assert_in_place(volume(data), run)
    assert "sensitivity_AD_mean_abs_relative" in name
    average = run.group_map(GroupKey("holdout", "sensitivity", "AD", "relative"), diagnosis=["AD"])
    np.testing.assert_allclose(volume(data).get_fdata(dtype=np.float32), average.mean_abs, rtol=1e-5)


def test_a_spread_map_lies_over_the_template(saved, run):
    image = volume(of_kind(saved["variability?v_view=spread&set=folds"], "nii.gz")[1])
    assert_in_place(image, run)
    assert np.ptp(image.get_fdata()) > 0


def test_tables_and_the_manifest_are_those_of_the_store(saved, run):
    metrics = pd.read_csv(io.BytesIO(of_kind(saved["overview"], "csv")[1]))
    expected, keys = run.table("metrics"), ["classifier", "level", "model", "metric"]
    assert set(metrics.columns) >= set(expected.columns)
    # A run without intervals gets those of all its folds together, in rows of their own.
    both = expected[[*keys, "value"]].merge(metrics, on=keys, suffixes=("", "_saved"))
    assert len(both) == len(expected)
    np.testing.assert_allclose(both.value_saved, both.value)
    assert json.loads(of_kind(saved["provenance"], "json")[1]) == run.manifest
    tables = zipfile.ZipFile(io.BytesIO(of_kind(saved["provenance"], "zip")[1]))
    scans = pd.read_parquet(io.BytesIO(tables.read(f"{RUN}/tables/scans.parquet")))
    assert scans.scan.tolist() == run.table("scans").scan.tolist()
