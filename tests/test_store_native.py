"""Maps of the working grid in the space of a patient's own file."""

from __future__ import annotations

import gzip
import itertools
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from store_factory import SCANS, affine, make_manifest, shared_store, write_run

from store import BrokenRunError, NotInRunError, RunWriter, SpecViolationError, open_run
from store.__main__ import main
from store.export.nifti import heatmap_native_nifti, mask_native_nifti
from store.reading import native_space as store_native
from store.reading.native_space import NativeSpace, resample, to_native
from store.writing.validate import validate

SHAPE = (24, 26, 22)
# Own mm -> MNI mm: turned by 20 degrees, tilted, 5 % larger, moved.
TURN = np.deg2rad(20)
OBLIQUE = np.array(
    [[np.cos(TURN), -np.sin(TURN), 0, 5], [np.sin(TURN), np.cos(TURN), 0.1, -60], [0, -0.1, 1.05, 3], [0, 0, 0, 1]]
)


def plain(shape=SHAPE, matrix=None, linear=None) -> NativeSpace:
    """A space without deformation: a field of nothing between the corners of the file."""
    matrix = affine() if matrix is None else matrix
    corners = matrix @ np.diag([*(n - 1 for n in shape), 1.0])
    linear = np.eye(4) if linear is None else linear
    return NativeSpace(shape, matrix, linear, np.zeros((3, 2, 2, 2), np.int16), corners)


def bent() -> NativeSpace:
    """A file with flipped, swapped and uneven axes, and a smooth deformation of up to 6 mm."""
    shape, voxels = (40, 50, 30), np.array([1.5, 1.2, 2.1])
    turned = np.array([[0, 0, voxels[2]], [-voxels[0], 0, 0], [0, voxels[1], 0]])
    centre = np.linalg.inv(OBLIQUE) @ [*(affine() @ [11.5, 12.5, 10.5, 1])]
    matrix = np.eye(4)
    matrix[:3, :3] = turned
    matrix[:3, 3] = centre[:3] - turned @ ((np.array(shape) - 1) / 2)
    field_affine = matrix @ np.diag([3, 3, 2, 1.0])
    i, j, k = np.indices((14, 18, 16))
    waves = [np.sin(i / 4 + j / 7), np.cos(j / 5) * np.sin(k / 6), np.sin((i + k) / 6)]
    return NativeSpace(shape, matrix, OBLIQUE, np.rint(np.stack(waves) * 600).astype(np.int16), field_affine)


def reference(space: NativeSpace, values: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The same, voxel by voxel, by other means."""
    voxels = np.stack([*np.indices(space.shape), np.ones(space.shape)]).reshape(4, -1)
    points = space.affine @ voxels
    places = (np.linalg.inv(space.field_affine) @ points)[:3]
    moved = space.linear @ points
    for axis, component in enumerate(space.displacement):
        moved[axis] += 0.01 * ndimage.map_coordinates(component.astype(float), places, order=1, mode="nearest")
    at = (np.linalg.inv(matrix) @ moved)[:3]
    found = ndimage.map_coordinates(np.pad(values, 2).astype(float), at + 2, order=1)
    return found.reshape(space.shape)


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A run of real scans: a1-1 and n1-1 have a native space."""
    store = tmp_path_factory.mktemp("store")
    writer = RunWriter(store / ".work" / "r" / "staging")
    write_run(writer, shape=SHAPE, simulated=False, methods=["sensitivity", "area_occlusion"])
    writer.put_native_space("a1-1", plain((26, 26, 22)))
    writer.put_native_space("a1-1", bent())  # in place of the first
    writer.put_native_space("n1-1", plain())
    writer.publish(store, "real-1", make_manifest("real", simulated=False))
    return store


@pytest.fixture(scope="module")
def run(store):
    return open_run(store)


@pytest.fixture
def copied(store, tmp_path):
    return shutil.copytree(store, tmp_path / "store") / "real-1"


# -- numbers ----------------------------------------------------------------------------------------------------------


def test_the_same_grid_gives_the_same_values(values):
    for order in ("linear", "nearest"):
        moved = resample(plain(), values, affine(), order)
        assert moved.dtype == np.float32
        np.testing.assert_allclose(moved, values, atol=1e-4)


def test_a_shift_by_voxels_moves_and_half_a_voxel_mixes(values):
    shifted = affine()
    shifted[:3, 3] += [4, -2, 0]
    expected = np.zeros(SHAPE, np.float32)
    expected[:-2, 1:] = values[2:, :-1]
    np.testing.assert_allclose(resample(plain(matrix=shifted), values, affine()), expected, atol=1e-4)
    by_field = plain()
    by_field.displacement[0], by_field.displacement[1] = 400, -200
    np.testing.assert_allclose(resample(by_field, values, affine()), expected, atol=1e-4)
    by_linear = np.eye(4)
    by_linear[:3, 3] = [4, -2, 0]
    np.testing.assert_allclose(resample(plain(linear=by_linear), values, affine()), expected, atol=1e-4)
    by_field.displacement[:2] = np.array([100, 0])[:, None, None, None]
    halfway = (values + np.pad(values, ((0, 1), (0, 0), (0, 0)))[1:]) / 2
    np.testing.assert_allclose(resample(by_field, values, affine()), halfway, atol=1e-4)


@pytest.mark.parametrize(("millimetres", "voxels"), [(0.9, 0), (1.1, 1), (2.9, 1), (3.1, 2)])
def test_nearest_takes_the_nearest(values, millimetres, voxels):
    space = plain()
    space.displacement[2] = round(100 * millimetres)
    expected = np.zeros(SHAPE, np.float32)
    expected[..., : SHAPE[2] - voxels] = values[..., voxels:]
    np.testing.assert_array_equal(resample(space, values, affine(), "nearest"), expected)


def test_a_file_with_other_axes_is_turned(values):
    """x of the file is -y of the grid, and so on: no number changes."""
    turned = affine() @ np.array([[0, 0, 1, 0], [-1, 0, 0, SHAPE[1] - 1], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    space = plain((SHAPE[1], SHAPE[2], SHAPE[0]), turned)
    np.testing.assert_allclose(resample(space, values, affine()), values.transpose(1, 2, 0)[::-1], atol=1e-4)


def test_hundredths_of_a_millimetre_count():
    """On a ramp of 1 per mm along x, the value tells where a voxel was looked up."""
    space, inside = plain(), (slice(1, -1),) * 3
    ramp = np.broadcast_to(np.arange(SHAPE[0])[:, None, None] * 2.0, SHAPE)
    space.displacement[0] = 137
    found = resample(space, ramp, affine())
    np.testing.assert_allclose(found[inside] - ramp[inside], 1.37, atol=1e-4)


@pytest.mark.parametrize("at_once", [1, 5000, 1 << 20])
def test_oblique_deformed_spaces_agree_with_voxel_by_voxel(values, at_once, monkeypatch):
    monkeypatch.setattr(store_native, "_POINTS_AT_ONCE", at_once)
    space = bent()
    found = resample(space, values, affine())
    assert found.shape == space.shape
    assert (found != 0).mean() > 0.2
    np.testing.assert_allclose(found, reference(space, values, affine()), atol=2e-3)


def test_a_blob_comes_back_to_where_it_was():
    space, centre = bent(), np.array([-70.3, -108.1, -55.7])
    places = np.stack(np.indices(SHAPE), -1) @ affine()[:3, :3].T + affine()[:3, 3]
    blob = np.exp(-((places - centre) ** 2).sum(-1) / (2 * 4.0**2)).astype(np.float32)
    blob[blob < 0.01] = 0
    found = resample(space, blob, affine()).astype(float)
    voxel = [(np.indices(space.shape)[a] * found).sum() / found.sum() for a in range(3)]
    own = space.affine @ [*voxel, 1]
    field = np.linalg.inv(space.field_affine) @ own
    left = [0.01 * ndimage.map_coordinates(d.astype(float), field[:3, None], order=1)[0] for d in space.displacement]
    assert np.linalg.norm((space.linear @ own)[:3] + left - centre) < 0.5


def test_outside_the_field_and_the_grid_is_nothing():
    """The field covers voxels 5 to 13 of the first axis; the file begins 3 voxels before the grid."""
    matrix = affine()
    matrix[0, 3] -= 6
    field_affine = matrix @ np.diag([8, 25, 21, 1.0])
    field_affine[:3, 3] += 5 * matrix[:3, 0]
    space = NativeSpace((30, 26, 22), matrix, np.eye(4), np.zeros((3, 2, 2, 2), np.int16), field_affine)
    found = resample(space, np.ones(SHAPE), affine())
    assert [i for i in range(30) if found[i].any()] == list(range(5, 14))
    assert (found[5:14] == 1).all()
    whole = resample(plain((30, 26, 22), matrix), np.ones(SHAPE), affine(), "nearest")
    assert [i for i in range(30) if whole[i].any()] == list(range(3, 27))


def test_labels_stay_labels(run):
    labels = run.array("grid/atlas")
    moved, matrix = to_native(run, "a1-1", labels, order="nearest")
    assert moved.dtype == labels.dtype
    assert set(np.unique(moved)) <= set(np.unique(labels))
    np.testing.assert_array_equal(matrix, bent().affine)


def test_wrong_questions(run, values):
    with pytest.raises(SpecViolationError, match="not on the working grid"):
        to_native(run, "a1-1", values[:-1])
    with pytest.raises(SpecViolationError, match="choose linear or nearest"):
        to_native(run, "a1-1", values, order="cubic")


# -- the store --------------------------------------------------------------------------------------------------------


def test_what_was_written_is_what_is_read(store, run):
    space = run.native_space("a1-1")
    for name, value in vars(bent()).items():
        np.testing.assert_array_equal(getattr(space, name), value)
    assert run.native_geometry("n1-1")[0] == SHAPE
    assert [scan for scan in SCANS if run.has_native(scan)] == ["a1-1", "n1-1"]
    assert validate(store / "real-1") == []


def test_what_is_missing_says_why_and_what_to_do(run, values):
    for ask in (run.native_space, run.native_geometry, lambda scan: to_native(run, scan, values)):
        with pytest.raises(
            NotInRunError, match=r"native space of scan a1-2: .*keep_transforms=true and --from preprocess"
        ):
            ask("a1-2")
        with pytest.raises(NotInRunError, match="has no scan nobody"):
            ask("nobody")
    simulated = open_run(shared_store())
    assert not simulated.has_native("a1-1")
    with pytest.raises(NotInRunError, match="simulated in MNI space"):
        simulated.native_geometry("a1-1")


def test_damage_is_found(copied):
    array = copied / "arrays.zarr/native/a1-1"
    (chunk,) = (path for path in array.rglob("*") if path.is_file() and path.name != "zarr.json")
    chunk.write_bytes(chunk.read_bytes()[:-9])
    assert any("native/a1-1" in line for line in validate(copied))
    chunk.unlink()
    assert any("native/a1-1: the file at" in line for line in validate(copied))
    with pytest.raises(BrokenRunError, match="native/a1-1 lacks the file"):
        open_run(copied.parent).native_space("a1-1")
    (array / "zarr.json").unlink()
    with pytest.raises(BrokenRunError, match="native/a1-1 is missing"):
        open_run(copied.parent).native_geometry("a1-1")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"linear": [[1, 2], [3, 4]]}, "linear is not 4 x 4"),
        ({"native_shape": [24, 26]}, "native_shape is .24, 26., must be three"),
        ({"native_shape": [24, 26, 0]}, "must be three"),
        ({"native_affine": np.zeros((4, 4)).tolist()}, "another last row"),
        ({"affine": OBLIQUE.tolist()}, "must follow the axes"),
        ({"unit": None}, "attribute unit is missing"),
    ],
)
def test_a_geometry_that_means_nothing_is_refused(tmp_path, copied, changes, words):
    space = plain()
    attributes = {
        "affine": space.field_affine, "unit": "0.01 mm", "linear": space.linear, "native_affine": space.affine,
        "native_shape": space.shape,
    }  # fmt: skip
    with pytest.raises(SpecViolationError, match=words):
        RunWriter(tmp_path / "staging").put_array("native/s", space.displacement, **(attributes | changes))
    path = copied / "arrays.zarr/native/n1-1/zarr.json"
    meta = json.loads(path.read_text())
    meta["attributes"] = {k: v for k, v in (meta["attributes"] | changes).items() if v is not None}
    path.write_text(json.dumps(meta))
    assert any("native/n1-1" in line for line in validate(copied))


def test_a_space_of_no_scan_is_not_published(tmp_path):
    writer = RunWriter(tmp_path / ".work" / "r" / "staging")
    write_run(writer, simulated=False, methods=["area_occlusion"])
    writer.put_native_space("ghost", plain())
    with pytest.raises(SpecViolationError, match="native/ghost: there is no such scan"):
        writer.publish(tmp_path, "real-1", make_manifest(simulated=False))


# -- exports ----------------------------------------------------------------------------------------------------------


def test_a_heatmap_lies_over_the_file(run):
    space = bent()
    for method, order in (("sensitivity", "linear"), ("area_occlusion", "nearest")):
        data = heatmap_native_nifti(run, "holdout", method, "a1-1", target="AD")
        image = nib.Nifti1Image.from_bytes(gzip.decompress(data))
        assert image.shape == space.shape
        np.testing.assert_allclose(image.affine, space.affine, atol=1e-5)
        assert (image.header.get_sform(coded=True)[1], image.header.get_qform(coded=True)[1]) == (1, 1)
        heatmap = run.heatmap("holdout", method, "a1-1", target="AD")
        np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), resample(space, heatmap, affine(), order))
        assert data == heatmap_native_nifti(run, "holdout", method, "a1-1", target="AD")
    mask = nib.Nifti1Image.from_bytes(gzip.decompress(mask_native_nifti(run, "a1-1"))).get_fdata()
    assert set(np.unique(mask)) == {0, 1}


def test_the_command_line_writes_all_heatmaps_of_the_scans(store, tmp_path, capsys):
    assert main(["export", str(store), "real", "--to", str(tmp_path), "--native", "a1-1", "n1-1"]) == 0
    models = {"a1-1": ("fold-1", "holdout"), "n1-1": ("fold-2", "holdout")}
    names = {f"{s}_mask" for s in models} | {"a1-1_holdout-seed-2_sensitivity_AD", "n1-1_holdout-seed-2_sensitivity_AD"}
    for scan, method in itertools.product(models, ("sensitivity", "area_occlusion")):
        names |= {f"{scan}_{model}_{method}_AD" for model in models[scan]}
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    run = open_run(store, "real").run_id
    # Beside a map stands what is known of its method, where the benchmark that ships has it.
    assert {name for name in files if not name.endswith(".json")} == {f"native/{run}_{name}.nii.gz" for name in names}
    assert f"{len(files)} files written" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("scans", "words"),
    [(["a1-1", "nobody"], "no scan nobody"), (["n1-1", "a1-2"], "native space of scan a1-2")],
)
def test_a_scan_without_a_native_space_stops_the_export_at_once(store, tmp_path, capsys, scans, words):
    assert main(["export", str(store), "real", "--to", str(tmp_path / "out"), "--native", *scans]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert main(["export", str(shared_store()), "tiny", "--to", str(tmp_path / "out"), "--native", "a1-1"]) == 2
    assert "simulated" in capsys.readouterr().err
