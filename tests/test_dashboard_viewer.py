"""The viewer: its addresses, its volumes, its options."""

from __future__ import annotations

import base64
import gzip
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from numcodecs import Zstd
from store_factory import METHODS, SCANS, copy_of_shared_store, make_run, make_run_of_four_networks, shared_store
from volume_routes import fetched, get

import store
from dashboard import viewer
from dashboard.data.runs import Run
from dashboard.drawing import palette
from dashboard.shell import locality
from dashboard.viewer import component, serving, signing, volumes
from store.reading.agreement import scan_agreement
from store.reading.truth import voxel_truth

ROOT = Path(__file__).parent.parent
MODEL, SCAN = "fold-1", "a1-1"


@pytest.fixture(scope="module")
def reader():
    return store.open_run(shared_store())


@pytest.fixture(scope="module")
def place(reader):
    return Run(str(shared_store()), reader.run_id, reader.manifest["created"])


@pytest.fixture(scope="module")
def scene(reader, place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locality, "is_local", lambda headers, cookies: True)
        return viewer.patient_volumes(reader, place, MODEL, SCAN, list(METHODS), "AD")


def token_of(volume: viewer.Volume) -> str:
    return volume.url.rsplit("/", 1)[1].partition("?")[0]


def unsigned(volume: viewer.Volume, **changes) -> volumes.VolumeRequest:
    return replace(volumes.VolumeRequest.of_token(token_of(volume)), **changes)


# -- addresses ---------------------------------------------------------------------------------------------------------


def test_a_signature_holds_for_its_token_its_reader_and_its_time_only():
    token, _, query = signing.signed("token", "me", now=1000.0).partition("?")
    expires, signature = (part.split("=")[1] for part in query.split("&"))
    assert signing.is_valid(token, expires, signature, "me", now=1000.0)
    assert not signing.is_valid(token, expires, signature, "me", now=1000.0 + signing.LIFETIME + 60)
    assert not signing.is_valid("tokem", expires, signature, "me", now=1000.0)
    assert not signing.is_valid(token, str(int(expires) + 60), signature, "me", now=1000.0)
    assert not signing.is_valid(token, expires, signature[:-1] + "x", "me", now=1000.0)
    assert not signing.is_valid(token, "", "", "me", now=1000.0)
    assert not signing.is_valid(token, "١٢", "ä", "me", now=1000.0)
    assert not signing.is_valid(token, expires, signature, "you", now=1000.0)
    assert not signing.is_valid(token, expires, signature, "", now=1000.0)
    token, _, query = signing.signed("token", "", now=1000.0).partition("?")
    assert not signing.is_valid(token, *(part.split("=")[1] for part in query.split("&")), "", now=1000.0)


def test_an_address_stays_the_same_for_a_minute_so_that_the_browser_need_not_ask_again():
    assert signing.signed("token", "me", now=1200.0) == signing.signed("token", "me", now=1259.9)
    assert signing.signed("token", "me", now=1200.0) != signing.signed("token", "me", now=1260.0)


SPOILED = {
    "signature": lambda url: url[:-1] + "g",
    "time": lambda url: url.replace("expires=", "expires=9"),
    "nothing signed": lambda url: url.split("?")[0],
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_an_address_that_was_changed_is_refused(scene, spoil):
    status, _, body = get(spoil(scene.anatomy.url))
    assert status == 403
    assert b"no longer valid" in body


def test_an_address_ends(scene, monkeypatch):
    url = scene.anatomy.url
    monkeypatch.setattr(signing.time, "time", lambda: time.monotonic() + 1e10)
    assert get(url)[0] == 403


def test_what_is_not_in_the_store_is_said_in_words(scene, reader):
    heatmap = scene.maps[0].volume
    for changes in ({"row": 99}, {"method": "lrp"}, {"model": "fold-9"}, {"target": "MCI"}):
        status, _, body = get(serving.volume_url(unsigned(heatmap, **changes)))
        assert status == 404, changes
        assert b"has no" in body
        assert b"Traceback" not in body
    status, _, body = get(serving.volume_url(unsigned(heatmap, place="0" * 16)))
    assert (status, b"reload" in body) == (404, True)


def test_a_damaged_heatmap_is_said_in_words(tmp_path):
    folder = copy_of_shared_store(tmp_path)
    run = store.open_run(tmp_path)
    found = viewer.patient_volumes(run, Run(str(tmp_path), run.run_id, "later"), MODEL, SCAN, ["sensitivity"], "AD")
    for shard in (folder / "arrays.zarr/heatmaps" / MODEL / "sensitivity/AD/margin/c").rglob("*"):
        if shard.is_file():
            shard.unlink()
    status, _, body = get(found.maps[0].volume.url)
    assert status == 404
    assert b"copy or build the run again" in body


def test_addresses_name_neither_people_nor_the_place_of_the_store(scene):
    for shown in (scene.anatomy, scene.atlas, scene.scan, *(m.volume for m in scene.maps if m.volume)):
        token = token_of(shown)
        written = shown.url + base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
        assert str(shared_store()) not in written
        for scan, (subject, *_) in SCANS.items():
            assert f'"{scan}"' not in written
            assert f'"{subject}"' not in written


def test_the_server_remembers_a_bounded_number_of_runs(reader, place):
    first = volumes.place_token(place)
    for number in range(volumes.PLACES_KEPT + 5):
        volumes.place_token(place._replace(created=str(number)))
    assert len(volumes._places) == volumes.PLACES_KEPT
    with pytest.raises(store.NotInRunError, match="reload"):
        volumes.place_of(first)
    volumes.place_token(place)


def test_routes_and_addresses_carry_the_base_path(scene, monkeypatch):
    assert serving.base_path("/heat/") == "/heat"
    assert serving.base_path("") == ""
    monkeypatch.setattr(serving.st, "get_option", lambda name: "heat")
    url = serving.volume_url(unsigned(scene.anatomy))
    assert url.startswith("/heat/")
    assert get(url, base="heat")[0] == 200
    assert get(url)[0] == 404
    assert serving.module_url().startswith("/heat/")


def test_the_viewers_own_code_is_served_and_nothing_else():
    status, headers, body = get(serving.module_url())
    assert status == 200
    assert headers["content-type"].startswith("text/javascript")
    assert "immutable" in headers["cache-control"]
    assert b"export function mount" in body
    folder = serving.module_url().rsplit("/", 1)[0]
    assert get(f"{folder}/nothing.js")[0] == 404
    assert get(f"{folder}/..%2fserving.py")[0] == 404
    assert get(f"{folder}/../serving.py")[0] == 404
    assert get(serving.module_url().replace(folder, f"{serving.PREFIX}/frontend/000000000000"))[0] == 404


def test_nothing_is_loaded_from_elsewhere():
    for file in serving.FRONTEND.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, file
        assert "https://" not in text, file


# -- volumes -----------------------------------------------------------------------------------------------------------


def at_mm(values: np.ndarray, affine, mm: np.ndarray) -> np.ndarray:
    """Values at positions (n, 3); NaN beyond the array."""
    index = np.rint((mm - np.array(affine)[:3, 3]) / np.diag(affine)[:3]).astype(int)
    inside = ((index >= 0) & (index < values.shape)).all(axis=1)
    found = np.full(len(mm), np.nan)
    found[inside] = values[tuple(index[inside].T)]
    return found


def positions_inside(mask: np.ndarray, affine: np.ndarray) -> tuple[tuple, np.ndarray]:
    index = np.nonzero(mask)
    return index, np.stack(index, axis=1) * np.diag(affine)[:3] + affine[:3, 3]


@pytest.mark.parametrize("kind", ["anatomy", "atlas"])
def test_cropping_keeps_the_template_where_it_is(scene, reader, kind):
    volume, path = getattr(scene, kind), {"anatomy": "template", "atlas": "atlas"}[kind]
    index, mm = positions_inside(reader.array("mask") > 0, reader.affine(path))
    assert np.prod(volume.shape) < reader.array(path).size
    np.testing.assert_array_equal(at_mm(fetched(volume), volume.affine, mm), reader.array(path)[index])


@pytest.mark.parametrize("method", ["sensitivity", "guided_backprop"])
def test_cropping_keeps_a_heatmap_where_it_is(scene, reader, method):
    volume = next(m.volume for m in scene.maps if m.method == method)
    index, mm = positions_inside(reader.mask, reader.affine())
    wanted = reader.heatmap(MODEL, method, SCAN, target="AD")
    values = fetched(volume)
    np.testing.assert_allclose(at_mm(values, volume.affine, mm), wanted[index], atol=np.abs(wanted).max() / 60000)
    assert np.isnan(values).sum() == np.prod(volume.shape) - reader.mask.sum()


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("gzip, deflate, br, zstd", "zstd"), ("gzip, deflate", "gzip"), ("", "gzip"), ("gzip, zstd;q=0", "gzip")],
)
def test_volumes_are_packed_as_the_browser_takes_them(scene, accepted, coding):
    plain = get(scene.maps[0].volume.url)[2]
    status, headers, body = get(scene.maps[0].volume.url, coding=accepted)
    assert (status, headers["content-encoding"], headers["vary"]) == (200, coding, "Accept-Encoding")
    unpacked = Zstd().decode(body) if coding == "zstd" else gzip.decompress(body)
    assert unpacked == gzip.decompress(plain)


def test_what_is_no_brain_inside_the_box_is_marked(tmp_path):
    folder = copy_of_shared_store(tmp_path)
    zarr.open_array(str(folder / "arrays.zarr" / "grid" / "mask"), mode="r+")[2, 3, 3] = 0
    run = store.open_run(tmp_path)
    found = viewer.patient_volumes(run, Run(str(tmp_path), run.run_id, "later"), MODEL, SCAN, ["sensitivity"], "AD")
    values = fetched(found.maps[0].volume)
    assert np.argwhere(np.isnan(values)).tolist() == [[1, 3, 3]]
    assert fetched(found.scan)[1, 3, 3] == 0


def test_positions_are_sent_in_their_own_grid(scene, reader):
    entry = next(m for m in scene.maps if m.native_grid == "positions")
    wanted = reader.heatmap(MODEL, "occlusion", SCAN, target="AD", full=False)
    assert (entry.volume.shape, entry.stride) == (wanted.shape, 3)
    np.testing.assert_allclose(fetched(entry.volume), wanted, atol=np.abs(wanted).max() / 60000)
    assert entry.resolution == "6 mm positions"
    assert np.diag(entry.volume.affine)[:3].tolist() == [6, 6, 6]


def test_regions_are_sent_as_numbers(scene, reader):
    entry = next(m for m in scene.maps if m.native_grid == "regions")
    wanted = reader.heatmap(MODEL, "area_occlusion", SCAN, target="AD", full=False)
    assert entry.volume is None
    assert entry.region_values == {i: pytest.approx(float(v)) for i, v in enumerate(wanted, 1)}
    assert scene.regions[1] == "Hippocampus, left"
    assert scene.rest == (5, 6)


@pytest.mark.parametrize(("scan", "kind"), [("a1-1", "visible in this brain"), ("n2-1", "nothing was imposed on this")])
def test_the_truth_of_a_brain_is_outlined_that_of_patients_where_nothing_was_imposed(place, scan, kind):
    reader = store.open_run(shared_store())  # what one reader has read is kept
    severities = reader.table("scans").assign(severity=lambda t: (t["diagnosis"] != "NC").astype(float))
    table = type(reader).table

    def with_severity(self, name, columns=None, **equals):
        if name != "scans" or "severity" not in (columns or ()):
            return table(self, name, columns, **equals)
        return severities[columns]

    model = reader.table("predictions", ["model"], scan=scan).model.iloc[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(reader), "table", with_severity)
        found = viewer.patient_volumes(reader, place, model, scan, ["sensitivity"], "AD").truth
    assert kind in found.words
    assert "SIMULATED" in found.words
    box = volumes.brain_box(place, "grid/mask")
    expected = voxel_truth(reader, scan if kind.startswith("visible") else None).binary
    assert expected.any()
    np.testing.assert_array_equal(fetched(found.volume) == 1, expected[box])
    np.testing.assert_array_equal(fetched(found.volume) == volumes.NO_BRAIN, ~reader.mask[box])


def test_a_run_of_real_scans_has_no_truth_to_outline(tmp_path):
    made = make_run(tmp_path, simulated=False, methods=["sensitivity"])
    run = store.open_run(tmp_path, made.name)
    place = Run(str(tmp_path), run.run_id, run.manifest["created"])
    scene = viewer.patient_volumes(run, place, MODEL, SCAN, ["sensitivity"], "AD")
    assert scene.truth is None
    assert component._known(viewer.DEFAULTS | {"truth": True, "method": "sensitivity"}, scene)["truth"] is False


def test_a_scan_is_grey_between_its_percentiles(scene, reader):
    values = fetched(scene.scan)
    volume = np.where(reader.mask, reader.volume(SCAN), np.nan)[1:-1]
    assert (values > 0).sum() == reader.mask.sum()
    low, high = np.nanpercentile(volume, volumes.WINDOW)
    middle = (volume > low) & (volume < high)
    assert np.corrcoef(values[middle], volume[middle])[0, 1] > 0.999


def test_probability_and_the_other_group_come_as_the_reader_derives_them(reader, place):
    found = viewer.patient_volumes(reader, place, MODEL, SCAN, ["sensitivity", "occlusion"], "NC", scale="probability")
    for entry in found.maps:
        wanted = reader.heatmap(MODEL, entry.method, SCAN, target="NC", scale="probability", full=False)
        values = fetched(entry.volume)
        known = ~np.isnan(values)
        cropped = wanted[1:-1] if entry.native_grid == "voxels" else wanted
        np.testing.assert_allclose(values[known], cropped[known], atol=np.abs(wanted).max() / 60000)
    assert found.maps[0].unit == "probability"


def test_methods_without_a_heatmap_are_left_out(reader, place):
    found = viewer.patient_volumes(reader, place, "holdout-seed-2", SCAN, ["occlusion", "sensitivity"], "true")
    assert [m.method for m in found.maps] == ["sensitivity"]
    with pytest.raises(store.NotInRunError, match="no heatmap"):
        viewer.patient_volumes(reader, place, "holdout-seed-2", SCAN, ["occlusion"], "AD")
    with pytest.raises(store.NotInRunError, match="no scan"):
        viewer.patient_volumes(reader, place, MODEL, "nobody", ["occlusion"], "AD")


def test_the_mean_over_networks_and_their_agreement_arrive_behind_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(locality, "is_local", lambda headers, cookies: True)
    make_run_of_four_networks(tmp_path, methods=("sensitivity", "area_occlusion"))
    run = store.open_run(tmp_path)
    own = Run(str(tmp_path), run.run_id, run.manifest["created"])
    found = viewer.patient_volumes(run, own, "holdout", SCAN, ["sensitivity", "area_occlusion"], "NC")
    sent, none = found.maps
    assert none.agreement is None  # the networks that were trained again explain by sensitivity alone
    assert sent.agreement.networks == 4
    assert found.no_agreement == ""
    expected = scan_agreement(run, "holdout", "sensitivity", SCAN, "NC")
    values = fetched(sent.agreement.volume)
    mean, count = np.split(values, 2)
    scale = float(get(sent.agreement.volume.url)[1]["x-scale"])
    inside = run.mask[1:-1]
    np.testing.assert_allclose(count[inside] / scale, 4 * expected.share[1:-1][inside], atol=1e-5)
    per_cm3 = 100 * 1000 / abs(np.linalg.det(run.affine()[:3, :3]))
    np.testing.assert_allclose(mean[inside], per_cm3 * expected.mean[1:-1][inside], atol=scale)
    folds = viewer.patient_volumes(run, own, "fold-1", SCAN, ["sensitivity"], "AD")
    assert "choose the held-out test set" in folds.no_agreement


def test_below_three_networks_there_is_no_agreement_and_the_scene_says_what_to_run(reader, place):
    found = viewer.patient_volumes(reader, place, "holdout", SCAN, list(METHODS), "AD")
    assert all(entry.agreement is None for entry in found.maps)
    assert "trust.networks=4" in found.no_agreement


def test_what_a_scene_is_told_apart_by(reader, place, scene):
    other = viewer.patient_volumes(reader, place, MODEL, "a1-2", list(METHODS), "AD")
    assert scene.identity != other.identity
    assert token_of(scene.anatomy) == token_of(other.anatomy)
    assert token_of(scene.maps[0].volume) != token_of(other.maps[0].volume)


# -- options -----------------------------------------------------------------------------------------------------------


def test_options_of_a_link_are_understood():
    valid, ignored = viewer.clean_options(
        {"mm": "-26,-18,-16.5", "threshold": "99.5", "smooth": "0", "colours": "cividis", "cluster": "250", "run": "x"}
    )
    assert valid == {"mm": [-26, -18, -16.5], "threshold": 99.5, "smooth": False, "colours": "cividis", "cluster": 250}
    assert ignored == []


def test_the_defaults_are_valid_options():
    valid, ignored = viewer.clean_options(viewer.DEFAULTS)
    assert viewer.DEFAULTS | valid == viewer.DEFAULTS
    assert ignored == []


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("mm", "1,2"), ("mm", "a,b,c"), ("mm", "1,2,1e9"), ("mm", "nan,0,0"), ("mm", 3), ("threshold", "100"),
        ("threshold", "nan"), ("threshold", "-1"), ("opacity", "2"), ("opacity", ""), ("cluster", "-5"),
        ("colours", "jet"), ("sign", "both"), ("smooth", "maybe"), ("convention", None), ("method", ""),
        ("anatomy", ["template"]), ("outlines", 1), ("scale", True), ("threshold_kind", "sigma"), ("plane", "oblique"),
    ],
)  # fmt: skip
def test_options_that_are_not_valid_are_ignored_in_words(key, text):
    valid, ignored = viewer.clean_options({key: text})
    assert valid == {}
    assert len(ignored) == 1
    assert ignored[0].startswith(f"{key}=")


def test_a_threshold_in_values_may_be_above_100():
    assert viewer.clean_options({"threshold": "250", "threshold_kind": "absolute"})[0]["threshold"] == 250
    assert viewer.clean_options({"threshold": "inf", "threshold_kind": "absolute"})[0] == {"threshold_kind": "absolute"}


def test_colours_are_those_of_the_palette():
    tables = component._colours()
    for name, parts in tables.items():
        signed = palette.lookup(name, True)
        assert parts["positive"][-1] == pytest.approx(signed[-1].tolist(), abs=1e-3)
        assert parts["negative"][-1] == pytest.approx(signed[0].tolist(), abs=1e-3)
        assert parts["positive"][0][3] == parts["negative"][0][3] == 0
