"""The way from a scan's own file to MNI space, as the preprocessing keeps it and the run publishes it."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scan_factory as factory
from nibabel.affines import voxel_sizes
from rich.console import Console
from scipy import ndimage

from engine.config.preprocessing_schema import PreprocessingConfig
from engine.images.grid import Grid
from engine.images.template import brain_mask, template_brain
from engine.pipeline.write_inputs import write_native_spaces
from engine.preprocessing import native_space, steps
from engine.preprocessing.scan import ScanPreparer
from engine.progress import Progress
from store import RunReader, RunWriter
from store.reading.native_space import resample

# Own mm -> template mm: turned by 9 degrees, 4 % larger, moved.
LINEAR = np.array([[1.02, 0.16, 0, 7], [-0.16, 1.02, 0.05, -12], [0, -0.05, 1.04, 9], [0, 0, 0, 1]])
# Axes posterior, superior, right; uneven voxels; far from the scanner's centre.
FILE_AFFINE = np.array([[0, 0, 3.1, -412.0], [-2.0, 0, 0, 140], [0, 1.7, 0, 880], [0, 0, 0, 1]])
FILE_SHAPE = (125, 130, 70)
CENTRE = np.array([-412 + 3.1 * 34.5, 140 - 2 * 62, 880 + 1.7 * 64.5])


def waves(points: np.ndarray) -> np.ndarray:
    """A smooth deformation (n, 3) of up to 5 mm around points of the template."""
    x, y, z = points.T / 25
    return 5 * np.stack([np.sin(x + y), np.cos(y) * np.sin(z), np.sin(z - x)], axis=1)


def exact(points: np.ndarray) -> np.ndarray:
    """Template mm of own mm (n, 3), by the formulas."""
    there = (points - CENTRE) @ LINEAR[:3, :3].T + LINEAR[:3, 3]
    return there + waves(there)


@pytest.fixture(scope="module")
def deformed(tmp_path_factory) -> tuple[Path, Path]:
    """(file, transforms) of a scan whose way to the template is known."""
    ants = steps._ants()  # on one thread, for the tests that follow in this process
    folder = tmp_path_factory.mktemp("deformed")
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    centred = np.eye(4)
    centred[:3, 3] = -CENTRE
    # ANTs names an affine by the way of an image: from template mm to own mm.
    image_way = to_lps @ np.linalg.inv(LINEAR @ centred) @ to_lps
    transform = ants.create_ants_transform(
        transform_type="AffineTransform", dimension=3, matrix=image_way[:3, :3], translation=image_way[:3, 3]
    )
    transforms = folder / "transforms" / "s1"
    transforms.mkdir(parents=True)
    ants.write_transform(transform, str(transforms / steps.AFFINE_FILE))
    grid = Grid(2)
    points = np.stack(np.indices(grid.shape), axis=-1).reshape(-1, 3) @ grid.affine[:3, :3] + grid.affine[:3, 3]
    shifts = (waves(points) * [-1, -1, 1]).reshape(*grid.shape, 3)
    parts = [steps.to_ants(shifts[..., axis], grid.affine) for axis in range(3)]
    ants.image_write(ants.merge_channels(parts), str(transforms / steps.INVERSE_FILE))
    file = factory.save(folder / "s1.nii.gz", np.zeros((*FILE_SHAPE, 1), np.uint8), FILE_AFFINE)
    return file, transforms


@pytest.fixture(scope="module")
def space(deformed):
    return native_space.keep(*deformed, "syn_quick")


def test_the_geometry_is_that_of_the_file(space):
    assert space.shape == FILE_SHAPE
    np.testing.assert_allclose(space.affine, FILE_AFFINE)
    spacing = voxel_sizes(space.field_affine)
    assert (np.abs(spacing - native_space.FIELD_MM) < 1.1).all()
    assert space.displacement.dtype == np.int16
    assert space.displacement.nbytes < 1.5e6
    assert np.abs(space.displacement).max() < 1500  # the origin of the scanner is in the affine part


def test_points_of_the_brain_lie_where_the_formulas_say(space):
    """Looked up on images of the coordinates, so that sign, order and axes are all in it."""
    grid = Grid(2)
    box = space.covered()
    voxels = np.stack(np.meshgrid(*[np.arange(b.start, b.stop, 5) for b in box], indexing="ij"), -1).reshape(-1, 3)
    expected = exact(voxels @ FILE_AFFINE[:3, :3].T + FILE_AFFINE[:3, 3])
    places = (expected - grid.affine[:3, 3]) / 2
    brain = ndimage.map_coordinates(brain_mask(2).astype(np.uint8), places.T, order=0) > 0
    assert brain.sum() > 1000
    for axis in range(3):
        coordinates = np.indices(grid.shape)[axis] * 2.0 + grid.affine[axis, 3]
        found = resample(space, coordinates, grid.affine)[tuple(voxels[brain].T)]
        np.testing.assert_allclose(found, expected[brain, axis], atol=0.15)


def test_it_agrees_with_images_that_ants_takes_back(deformed, space):
    file, transforms = deformed
    brain = template_brain(2)
    by_ants = steps.back_to_scan(brain, 2, transforms, file)
    ours = nib.as_closest_canonical(nib.Nifti1Image(resample(space, brain, Grid(2).affine), space.affine))
    np.testing.assert_allclose(ours.affine, by_ants.affine, atol=1e-4)
    a, b = ours.get_fdata(), by_ants.get_fdata()
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.999
    # The whole brain is covered: nothing that ANTs finds lies outside our field.
    assert 2 * ((a > 0) & (b > 0)).sum() / ((a > 0).sum() + (b > 0).sum()) > 0.995


def test_what_was_kept_is_read_again(deformed, space):
    again = native_space.read_kept(deformed[1])
    for name, value in vars(space).items():
        np.testing.assert_array_equal(getattr(again, name), value)


DAMAGES = {
    "not kept": lambda folder: (folder / steps.AFFINE_FILE).unlink(),
    "not kept ": lambda folder: (folder / steps.INVERSE_FILE).unlink(),
    "damaged": lambda folder: (folder / steps.AFFINE_FILE).write_bytes(b"half"),
    "damaged ": lambda folder: (folder / steps.INVERSE_FILE).write_bytes(
        (folder / steps.INVERSE_FILE).read_bytes()[:-1000]
    ),
    "damaged  ": lambda folder: (folder / steps.INVERSE_FILE).write_bytes(b""),
}


@pytest.mark.parametrize("words", DAMAGES)
def test_lost_transforms_are_a_reason_not_a_crash(deformed, tmp_path, words):
    file, transforms = deformed
    shutil.copytree(transforms, tmp_path / "transforms" / "s1")
    folder = tmp_path / "transforms" / "s1"
    (folder / native_space.FILE).unlink(missing_ok=True)
    DAMAGES[words](folder)
    ((scan, found, reason),) = native_space.native_spaces(table(file), tmp_path, "syn_quick")
    assert (scan, found) == ("s1", None)
    assert words.strip() in reason
    assert not list(folder.glob(".native*"))


def table(*files) -> pd.DataFrame:
    return pd.DataFrame({"scan": [f"s{i}" for i in range(1, len(files) + 1)], "path": list(map(str, files))})


def test_an_older_cache_gets_what_is_missing_once(deformed, tmp_path, monkeypatch):
    file, transforms = deformed
    folder = tmp_path / "transforms" / "s1"
    shutil.copytree(transforms, folder)
    (folder / native_space.FILE).write_bytes(b"half a file")
    ((_, first, _),) = native_space.native_spaces(table(file), tmp_path, "syn_quick")
    monkeypatch.setattr(native_space, "keep", None)
    ((_, second, reason),) = native_space.native_spaces(table(file), tmp_path, "syn_quick")
    assert reason == ""
    np.testing.assert_array_equal(first.displacement, second.displacement)


def test_preprocessing_keeps_it_unless_told_otherwise(tmp_path):
    """A scan in MNI space: its own mm are those of the template, in its own voxels."""
    data = template_brain(2)[::-1]
    affine = Grid(2).affine @ np.diag([-1, 1, 1, 1.0])
    affine[0, 3] += 2 * (data.shape[0] - 1)
    row = {"scan": "s1", "path": str(factory.save(tmp_path / "a.nii.gz", data, affine))}
    settings = {"registration": "none", "brain_extraction": "none", "n4": False}
    ScanPreparer(PreprocessingConfig(**settings), 4)(row, tmp_path)
    space = native_space.read_kept(tmp_path / "transforms" / "s1")
    np.testing.assert_allclose(resample(space, template_brain(2), Grid(2).affine), data, atol=1e-3)
    ScanPreparer(PreprocessingConfig(**settings, keep_transforms=False), 4)(row, tmp_path)
    assert not (tmp_path / "transforms" / "s1").exists()


def test_the_run_publishes_what_there_is_and_says_what_is_not(deformed, tmp_path):
    file, transforms = deformed
    shutil.copytree(transforms, tmp_path / "cache" / "transforms" / "s1")
    progress = Progress(quiet=True)
    said = io.StringIO()
    progress.console = Console(file=said, width=300)
    run = SimpleNamespace(
        cohort=SimpleNamespace(scans=table(file, file)), progress=progress, volumes_folder=tmp_path / "cache",
        config=SimpleNamespace(preprocessing=PreprocessingConfig()), writer=RunWriter(tmp_path / "staging"),
    )  # fmt: skip
    write_native_spaces(run)
    reader = RunReader.staging(tmp_path / "staging", ("a", "b"))
    assert [reader.has_native(scan) for scan in ("s1", "s2")] == [True, False]
    assert "heatmaps of 1 scans cannot be taken back to their native space (s2: its transforms were not kept)" in (
        said.getvalue()
    )
