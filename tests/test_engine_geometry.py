"""One brain, stored in every way that a header allows: it lands on the same voxels, or is refused by name.

Each case is one that people met with other software; the values were measured.
"""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scan_factory as factory

from engine.cohort import checks, file_checks
from engine.config.preprocessing_schema import PreprocessingConfig
from engine.images.grid import Grid
from engine.images.template import template_brain
from engine.preprocessing import steps
from engine.preprocessing.quality import limits_of
from engine.preprocessing.scan import ScanPreparer
from store.export.nifti import SCANNER, nifti_bytes

NONE = PreprocessingConfig(registration="none", brain_extraction="none", n4=False)
MM = Grid(2).affine


@pytest.fixture(scope="module")
def voxels():
    return np.rint(template_brain(2) * 1000).astype(np.int16)


def prepared(file, folder, settings=NONE):
    assert file_checks.inspect(file) is None
    return ScanPreparer(settings, 4)({"scan": "s1", "path": str(file)}, folder)


@pytest.fixture(scope="module")
def expected(voxels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("b")
    return prepared(factory.save(folder / "b.nii.gz", voxels, MM), folder).volume


def header_of(voxels, **fields) -> nib.Nifti1Image:
    """The brain with fields of its header overwritten."""
    image = nib.Nifti1Image(voxels, MM)
    image.set_qform(MM, code=1)
    for name, value in fields.items():
        image.header[name] = value
    return image


def save_raw(file, image, **bytes_at):
    """Write an image and then bytes of its header, which nibabel would put right; at_280=... starts at byte 280."""
    content = bytearray(image.to_bytes())
    for at, what in bytes_at.items():
        place = int(at.removeprefix("at_"))
        content[place : place + len(what)] = what
    file.write_bytes(gzip.compress(bytes(content)) if file.suffix == ".gz" else bytes(content))
    return file


def test_the_sform_counts_where_the_qform_says_another_place(voxels, expected, tmp_path):
    moved = MM.copy()
    moved[:3, 3] += (10, -5, 30)
    image = nib.Nifti1Image(voxels, MM)
    image.set_sform(MM, code=1)
    image.set_qform(moved, code=1)
    nib.save(image, tmp_path / "a.nii.gz")
    assert np.abs(prepared(tmp_path / "a.nii.gz", tmp_path).volume - expected).max() == 0
    image.set_sform(moved, code=1)
    image.set_qform(MM, code=1)
    nib.save(image, tmp_path / "b.nii.gz")
    found = prepared(tmp_path / "b.nii.gz", tmp_path)
    assert found.quality["template_correlation"] == pytest.approx(0.136, abs=0.02)
    (reason,) = limits_of(NONE).reasons(pd.DataFrame([{"scan": "s1", **found.quality}])).values()
    assert "does not match the template" in reason


def test_a_single_volume_may_have_four_axes(voxels, expected, tmp_path):
    file = factory.save(tmp_path / "a.nii.gz", voxels[..., None], MM)
    assert np.abs(prepared(file, tmp_path).volume - expected).max() == 0


@pytest.mark.parametrize(("slope", "inter"), [(0, 5), (np.nan, np.nan)])
def test_a_scale_that_is_none_is_not_applied(voxels, expected, tmp_path, slope, inter):
    scale = np.array([slope, inter], "<f4").tobytes()
    file = save_raw(tmp_path / "a.nii", nib.Nifti1Image(voxels, MM), at_112=scale)
    assert np.abs(prepared(file, tmp_path).volume - expected).max() == 0


def test_a_negative_scale_ends_far_beyond_the_limits(voxels, tmp_path):
    scale = np.array([-1, 1000], "<f4").tobytes()
    found = prepared(save_raw(tmp_path / "a.nii", nib.Nifti1Image(voxels, MM), at_112=scale), tmp_path)
    assert found.quality["template_correlation"] == pytest.approx(-0.999, abs=0.002)
    assert limits_of(NONE).reasons(pd.DataFrame([{"scan": "s1", **found.quality}]))


def test_the_byte_order_of_a_file_is_read(voxels, expected, tmp_path):
    file = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(voxels.astype(">i2"), MM, nib.Nifti1Header(endianness=">")), file)
    assert nib.load(file).header.endianness == ">"
    assert np.abs(prepared(file, tmp_path).volume - expected).max() == 0


@pytest.mark.parametrize("axes", ["LPS", "LAS", "PIR", "ASL", "SRP"])
def test_the_order_of_axes_is_read(voxels, expected, tmp_path, axes):
    turn = nib.orientations.ornt_transform(nib.io_orientation(MM), nib.orientations.axcodes2ornt(tuple(axes)))
    nib.save(nib.Nifti1Image(voxels, MM).as_reoriented(turn), tmp_path / "a.nii.gz")
    assert "".join(nib.aff2axcodes(nib.load(tmp_path / "a.nii.gz").affine)) == axes
    assert np.abs(prepared(tmp_path / "a.nii.gz", tmp_path).volume - expected).max() == 0


@pytest.mark.parametrize("shear", [0.05, 0.3])
def test_a_sheared_file_is_straightened(voxels, expected, tmp_path, shear):
    from scipy import ndimage

    sheared = MM.copy()
    sheared[0, 1] += shear * 2
    more = int(np.ceil(shear * voxels.shape[1]))  # so that no brain is cut off
    sheared[0, 3] -= 2 * more
    to_b = np.linalg.inv(MM) @ sheared
    shape = (voxels.shape[0] + more, *voxels.shape[1:])
    data = ndimage.affine_transform(voxels.astype(np.float32), to_b[:3, :3], to_b[:3, 3], output_shape=shape, order=1)
    found = prepared(factory.save(tmp_path / "a.nii.gz", data, sheared), tmp_path).volume
    inside = expected > 0
    assert np.corrcoef(found[inside], expected[inside])[0, 1] > 0.99


@pytest.mark.parametrize("size", [1.2, -2.0])
def test_pixdim_does_not_count_beside_an_sform(voxels, expected, tmp_path, size):
    image = nib.Nifti1Image(voxels, MM)
    image.set_qform(None, code=0)
    file = save_raw(tmp_path / "a.nii", image, at_80=np.array([size] * 3, "<f4").tobytes())
    assert np.abs(prepared(file, tmp_path).volume - expected).max() < 1e-6


def test_the_volume_of_a_brain_comes_from_its_affine(voxels, tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "extract_brain", lambda image: np.asarray(image.dataobj) > 0)
    settings = NONE.model_copy(update={"brain_extraction": "deepbet"})
    image = nib.Nifti1Image(voxels, MM)
    image.set_qform(None, code=0)
    right, lying = tmp_path / "a.nii", tmp_path / "b.nii"
    nib.save(image, right)
    save_raw(lying, image, at_80=np.array([1.2] * 3, "<f4").tobytes())
    volumes = [prepared(file, tmp_path, settings).quality["brain_ml"] for file in (right, lying)]
    assert volumes[0] == volumes[1] == pytest.approx(1886, rel=0.01)


@pytest.mark.parametrize(("unit", "code", "mm"), [("meters", 1, 1e3), ("microns", 3, 1e-3)])
def test_other_units_are_put_into_mm_and_said(voxels, expected, tmp_path, unit, code, mm):
    affine = np.diag([1 / mm, 1 / mm, 1 / mm, 1]) @ MM
    image = nib.Nifti1Image(voxels, affine)
    image.header["xyzt_units"] = code
    nib.save(image, tmp_path / "a.nii.gz")
    assert np.abs(prepared(tmp_path / "a.nii.gz", tmp_path).volume - expected).max() < 1e-4
    assert checks.describe_mending(tmp_path / "a.nii.gz") == f"its sizes are in {unit} and were put into mm"


def test_a_unit_that_is_not_meant_is_not_believed(voxels, expected, tmp_path):
    image = nib.Nifti1Image(voxels, MM)
    image.header["xyzt_units"] = 1
    nib.save(image, tmp_path / "a.nii.gz")
    assert np.abs(prepared(tmp_path / "a.nii.gz", tmp_path).volume - expected).max() == 0
    assert checks.describe_mending(tmp_path / "a.nii.gz") == ""


def test_an_empty_sform_gives_way_to_the_qform(voxels, expected, tmp_path):
    image = nib.Nifti1Image(voxels, MM)
    image.set_sform(MM, code=1)
    image.set_qform(MM, code=1)
    file = save_raw(tmp_path / "a.nii.gz", image, at_280=bytes(48))
    assert np.abs(prepared(file, tmp_path).volume - expected).max() < 1e-5
    assert checks.describe_mending(file) == "its sform cannot be inverted, its qform is used"
    image.set_qform(None, code=0)
    file = save_raw(tmp_path / "b.nii.gz", image, at_280=bytes(48))
    assert "its sform cannot be inverted" in file_checks.inspect(file)


def test_thick_slices_are_judged_by_millimetres(tmp_path):
    """28 slices of 6 mm are a whole head; over its file, a map keeps the file's proportions."""
    shape, affine = (180, 220, 28), np.diag([1.0, 1, 6, 1])
    affine[:3, 3] = (-90, -126, -72)
    file = factory.save(tmp_path / "a.nii.gz", factory.blob(shape).astype(np.int16), affine)
    assert file_checks.inspect(file) is None
    few = factory.save(tmp_path / "b.nii.gz", factory.blob((180, 220, 18)).astype(np.int16), affine)
    assert "field of view: 180 x 220 x 108 mm" in file_checks.inspect(few)
    over = nib.Nifti1Image.from_bytes(gzip.decompress(nifti_bytes(np.ones(shape), affine, space=SCANNER)))
    assert over.header.get_zooms() == (1, 1, 6)
    size = np.array(over.shape) * over.header.get_zooms()
    assert size[0] / size[2] == pytest.approx(180 / 168)


# -- what goes out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [1, 4])
def test_an_exported_map_says_where_it_lies_twice_and_alike(space):
    affine = np.array([[0, 0, 2.0, -90], [-2.0, 0, 0, 110], [0, 2.0, 0, -70], [0, 0, 0, 1]])
    values = np.zeros((30, 31, 32))
    values[4, 5, 6] = 1
    image = nib.Nifti1Image.from_bytes(gzip.decompress(nifti_bytes(values, affine, space=space)))
    assert image.get_data_dtype() == np.float32
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (space, space)
    np.testing.assert_allclose(image.get_sform(), affine, atol=1e-5)
    np.testing.assert_allclose(image.get_qform(), affine, atol=1e-5)
    assert image.header.get_xyzt_units()[0] == "mm"
    there = np.unravel_index(np.asarray(image.dataobj).argmax(), image.shape)
    np.testing.assert_allclose(nib.affines.apply_affine(image.affine, there), affine[:3] @ [4, 5, 6, 1], atol=1e-4)


def test_a_sheared_file_gets_no_qform_that_says_another_place():
    sheared = np.diag([2.0, 2, 2, 1])
    sheared[0, 1] = 0.6
    image = nib.Nifti1Image.from_bytes(gzip.decompress(nifti_bytes(np.ones((4, 4, 4)), sheared, space=SCANNER)))
    assert int(image.header["qform_code"]) == 0
    np.testing.assert_allclose(image.affine, sheared, atol=1e-6)
