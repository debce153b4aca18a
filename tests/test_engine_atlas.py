"""Regions land where they belong, and an atlas that does not is refused."""

from __future__ import annotations

import gzip
import warnings

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from engine.atlas import aal
from engine.atlas.aal import load_atlas, lobe, merged_name, paper_name
from engine.config.schema import AtlasConfig
from engine.errors import UserError
from engine.images.grid import (  # fmt: skip
    COLIN_ORIGIN_MM,
    COLIN_SHAPE,
    Grid,
    coarsen,
    coarsen_labels,
    resample_to_grid,
    stretch,
    to_colin_box,
)
from engine.images.template import brain_mask


@pytest.fixture(scope="module")
def atlas():
    return load_atlas(AtlasConfig(), 2)


def _centre_mm(atlas, name: str) -> np.ndarray:
    voxels = np.argwhere(atlas.mask(name)).mean(axis=0)
    return nib.affines.apply_affine(Grid(2).affine, voxels)


def test_aal2_has_120_regions_ventricles_and_the_rest(atlas):
    regions = atlas.regions
    assert atlas.count == 120
    assert regions["region"].tolist()[-2:] == ["Ventricles", "Unlabelled"]
    assert (atlas.labels[~brain_mask(2)] == 0).all()
    assert (atlas.labels[brain_mask(2)] > 0).all()
    assert regions["voxels"].sum() == brain_mask(2).sum()
    covered = regions.loc[regions["in_atlas"], "voxels"].sum() / regions["voxels"].sum()
    assert 0.7 < covered < 0.8  # design, section 2: about 75 %


@pytest.mark.parametrize(
    ("name", "x", "y", "z"),
    [
        ("Hippocampus_L", -25, -21, -10),
        ("Hippocampus_R", 29, -20, -10),
        ("Precuneus_L", -7, -56, 48),
        ("Calcarine_R", 16, -73, 9),
    ],
)
def test_regions_are_where_tzourio_mazoyer_puts_them(atlas, name, x, y, z):
    """Centres of mass in MNI mm; left is negative x (the file itself is stored right to left)."""
    assert np.abs(_centre_mm(atlas, name) - (x, y, z)).max() < 4


def test_ventricles_are_central_and_of_plausible_size(atlas):
    centre = _centre_mm(atlas, "Ventricles")
    assert abs(centre[0]) < 4
    assert -45 < centre[1] < 15
    volume = atlas.regions.set_index("region").loc["Ventricles", "volume_cm3"]
    assert 10 < volume < 45


def test_names():
    assert merged_name("Hippocampus_L") == "Hippocampus"
    assert merged_name("Vermis_3") == "Vermis_3"
    assert paper_name("Temporal_Mid") == "TemporalMid"
    assert paper_name("Frontal_Mid_2") == "FrontalMid"
    assert [lobe(n) for n in ("Temporal_Pole_Sup", "Heschl", "Insula", "Thalamus", "Vermis_3", "Cerebelum_Crus1")] == [
        "temporal", "temporal", "cortical", "other", "other", "other",
    ]  # fmt: skip


def _dice(first, second) -> float:
    return 2 * (first & second).sum() / (first.sum() + second.sum())


@pytest.fixture(scope="module")
def aal2_file(tmp_path_factory):
    """AAL2 in the storage that is asked for, e.g. LPI, as atlas.path and atlas.labels."""
    folder = tmp_path_factory.mktemp("aal2")
    shipped, table = aal._aal2()
    table.rename(columns={"value": "index"})[["index", "name"]].to_csv(folder / "aal2.csv", index=False)

    def stored(axes: str, whole_mm: bool = False) -> AtlasConfig:
        image = shipped
        if whole_mm:  # in the box of Colin27 at 1 mm, as AAL1 is distributed
            box = np.eye(4)
            box[:3, 3] = COLIN_ORIGIN_MM
            image = nib.Nifti1Image(to_colin_box(shipped), box)
        turn = nib.orientations.ornt_transform(
            nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(tuple(axes))
        )
        file = folder / f"{axes}-{whole_mm}.nii.gz"
        nib.save(image.as_reoriented(turn), file)
        return AtlasConfig(path=file, labels=folder / "aal2.csv", placement="stretched")

    return stored


@pytest.mark.parametrize(
    ("name", "merged", "kind"),
    [
        ("Left Hippocampus", "Hippocampus", "temporal"),
        ("Right Amygdala", "Amygdala", "temporal"),
        ("Left Thalamus", "Thalamus", "other"),
        ("Right-Cerebellum-Cortex", "Cerebellum-Cortex", "other"),
        ("ctx-lh-superiortemporal", "superiortemporal", "temporal"),
        ("rh_insula", "insula", "cortical"),
        ("Precentral Gyrus (left)", "Precentral Gyrus", "cortical"),
        ("Temporal_WM_R", "Temporal_WM", "other"),
        ("Left Lateral Ventrical", "Lateral Ventrical", "other"),
        ("Occipital Fusiform Gyrus", "Occipital Fusiform Gyrus", "cortical"),
        ("Temporal Occipital Fusiform Cortex", "Temporal Occipital Fusiform Cortex", "temporal"),
        ("Brain-Stem", "Brain-Stem", "other"),
        ("N_Acc_L", "N_Acc", "other"),
        ("NA", "NA", "unknown"),
        ("Area 17", "Area 17", "unknown"),
        ("Left", "Left", "unknown"),
    ],
)
def test_names_of_other_atlases_have_sides_and_lobes(name, merged, kind):
    assert merged_name(name) == merged
    assert lobe(merged) == kind


def test_no_region_of_aal2_has_an_unknown_lobe(atlas):
    counts = atlas.regions.loc[atlas.regions["in_atlas"], "lobe"].value_counts().to_dict()
    assert counts == {"cortical": 66, "temporal": 20, "other": 34}


def test_stretched_lies_where_the_original_study_had_it():
    """AAL2 out of its cropped box, which is stored right to left: in Colin27's box first, then stretched."""
    placed, stretched = (load_atlas(AtlasConfig(placement=kind), 1) for kind in ("affine", "stretched"))
    halves = {
        name: [
            np.isin(one.labels_1mm, one.regions.index[one.regions["region"] == name] + 1) for one in (placed, stretched)
        ]
        for name in ("Hippocampus_L", "Hippocampus_R")
    }
    both = [left | right for left, right in zip(*halves.values(), strict=True)]
    assert _dice(*both) == pytest.approx(0.686, abs=0.002)
    assert _dice(*halves["Hippocampus_L"]) == pytest.approx(0.686, abs=0.002)
    assert _dice(halves["Hippocampus_L"][0], halves["Hippocampus_R"][1]) == 0  # measured 0.55 before


@pytest.mark.parametrize("storage", [("RAS", False), ("LAS", False), ("LPI", False), ("RAS", True), ("PIR", True)])
def test_how_an_atlas_is_stored_does_not_change_where_it_is_stretched_to(aal2_file, storage):
    expected = load_atlas(AtlasConfig(placement="stretched"), 2)
    found = load_atlas(aal2_file(*storage), 2)
    assert (found.labels == expected.labels).all()
    assert _centre_mm(found, "Hippocampus_L")[0] == pytest.approx(-26.5, abs=0.5)


def test_an_atlas_in_the_box_of_colin27_is_stretched_whatever_its_origin():
    """Files of AAL1 name y = -125 or -126 as their origin; the original study looked at neither."""
    labels = np.zeros(COLIN_SHAPE, np.int16)
    labels[60:70, 90:100, 60:70] = 7
    moved = np.eye(4)
    moved[:3, 3] = (-90, -125, -71)
    assert (to_colin_box(nib.Nifti1Image(labels, moved)) == labels).all()


def _own(tmp_path, affine=None, names="index,name\n1,Left\n2,Right\n"):
    data = np.zeros(Grid(4).shape, np.int16)
    half = data.shape[0] // 2
    data[:half], data[half:] = 1, 2
    nib.save(nib.Nifti1Image(data, Grid(4).affine if affine is None else affine), tmp_path / "own.nii.gz")
    (tmp_path / "own.csv").write_text(names)
    return AtlasConfig(path=tmp_path / "own.nii.gz", labels=tmp_path / "own.csv")


def test_an_own_atlas(tmp_path):
    atlas = load_atlas(_own(tmp_path), 4)
    assert atlas.count == 2
    assert atlas.regions["region"].tolist() == ["Left", "Right", "Ventricles", "Unlabelled"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"affine": np.diag([4.0, 4, 4, 1]) + 900 * np.eye(4, k=3)}, "misses the grid"),
        ({"names": "number,label\n1,Left\n"}, "needs the columns name and index"),
        ({"names": "index,name\n1,Left\n1,Right\n"}, "twice"),
        ({"names": "index,name\n7,Left\n"}, "no index of own.csv occurs"),
    ],
)
def test_an_atlas_that_does_not_fit_is_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        load_atlas(_own(tmp_path, **change), 4)


def test_an_atlas_that_cannot_be_read_is_refused(tmp_path):
    config = _own(tmp_path)
    with pytest.raises(UserError, match=r"atlas\.labels: an own atlas needs"):
        load_atlas(AtlasConfig(path=config.path), 4)
    config.path.write_bytes(b"no image")
    with pytest.raises(UserError, match="cannot be read"):
        load_atlas(config, 4)
    config.path.unlink()
    with pytest.raises(UserError, match="no file"):
        load_atlas(config, 4)


def test_a_table_of_labels_may_have_semicolons_a_region_na_and_lobes(tmp_path):
    config = _own(tmp_path, names="index;name;lobe\n1;NA;Other\n2;Left Hippocampus;\n")
    regions = load_atlas(config, 4).regions
    assert regions["region"].tolist()[:2] == ["NA", "Left Hippocampus"]
    assert regions["merged"].tolist()[:2] == ["NA", "Hippocampus"]
    assert regions["lobe"].tolist()[:2] == ["other", "temporal"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("index,name\n1,\n2,Right\n", "own.csv row 2: no name"),
        ("index,name\n1,Left\nx,Right\n", "own.csv row 3: index is 'x', not a whole number"),
        ("index,name\n1,Left\n,Right\n", "own.csv row 3: index is '', not a whole number"),
        ("index,name\n1.5,Left\n2,Right\n", "own.csv row 2: index is '1.5', not a whole number"),
        ("index,name,lobe\n1,Left,limbic\n", "row 2: lobe is 'limbic'; write temporal, cortical or other"),
        ("index,name\n", "has no rows"),
    ],
)
def test_a_row_of_labels_that_is_wrong_is_named(tmp_path, names, message):
    with pytest.raises(UserError, match=message):
        load_atlas(_own(tmp_path, names=names), 4)


def _labels(tmp_path, data, dtype=np.int16) -> AtlasConfig:
    """The own atlas with other voxels; float voxels under a header of integers get a scale factor, as by others."""
    config = _own(tmp_path)
    image = nib.Nifti1Image(data, Grid(4).affine)
    image.set_data_dtype(dtype)
    nib.save(image, config.path)
    return config


def test_labels_that_were_saved_with_a_scale_factor_are_those_of_the_clean_file(tmp_path):
    """120 labels as floating point numbers under an int16 header are read as 0.99977, 1.99954, ..."""
    clean, table = np.zeros(Grid(4).shape), "index,name\n" + "".join(f"{i},R{i}\n" for i in range(1, 121))
    clean[10:40, 5:55, 10:40] = np.arange(1, 121).repeat(375).reshape(30, 50, 30)
    config = _labels(tmp_path, clean)
    assert (np.asarray(nib.load(config.path).dataobj) % 1 != 0).any()
    config.labels.write_text(table)
    found = load_atlas(config, 4)
    assert found.count == 120
    config = _labels(tmp_path, clean.astype(np.int16))
    config.labels.write_text(table)
    expected = load_atlas(config, 4)
    assert (found.labels == expected.labels).all()


def test_labels_that_cannot_be_told_are_refused(tmp_path):
    clean = np.zeros(Grid(4).shape)
    clean[10:40, 10:40, 10:40] = np.linspace(1, 120, 30)
    with pytest.raises(UserError, match=r"not whole numbers.*saved with a scale factor or interpolated"):
        load_atlas(_labels(tmp_path, clean, np.float32), 4)
    clean[5] = np.nan
    with pytest.raises(UserError, match="not whole numbers"):
        load_atlas(_labels(tmp_path, clean, np.float32), 4)


def test_labels_of_bytes_are_read_without_a_warning(tmp_path):
    """Rounding bytes gives half-precision numbers, to which the largest whole number does not fit."""
    data = np.where(brain_mask(4), 200, 0).astype(np.uint8)
    nib.save(nib.Nifti1Image(data, Grid(4).affine), tmp_path / "bytes.nii.gz")
    (tmp_path / "bytes.csv").write_text("name,index\nOne_L,200\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atlas = load_atlas(AtlasConfig(path=tmp_path / "bytes.nii.gz", labels=tmp_path / "bytes.csv"), 4)
    assert atlas.mask("One").sum() > 0.9 * data.astype(bool).sum()


def test_an_atlas_of_one_volume_may_have_four_axes(tmp_path):
    config = _own(tmp_path)
    data = np.asarray(nib.load(config.path).dataobj)
    for placement in ("affine", "stretched"):
        chosen = config.model_copy(update={"placement": placement})
        nib.save(nib.Nifti1Image(data, Grid(4).affine), config.path)
        expected = load_atlas(chosen, 4).labels
        nib.save(nib.Nifti1Image(data[..., None], Grid(4).affine), config.path)
        assert (load_atlas(chosen, 4).labels == expected).all()
    nib.save(nib.Nifti1Image(np.stack([data] * 2, -1), Grid(4).affine), config.path)
    with pytest.raises(UserError, match="has the shape 49x58x49x2, an atlas is one volume"):
        load_atlas(config, 4)


def test_an_atlas_that_is_a_pointer_or_too_large_is_refused(tmp_path):
    config = _own(tmp_path)
    image = nib.load(config.path)
    image.header["dim"][1:4] = 2000
    content = image.header.binaryblock + bytes(4)
    config.path.write_bytes(gzip.compress(content))
    with pytest.raises(UserError, match=r"atlas\.path: own\.nii\.gz: the header declares 2000x2000x2000 voxels"):
        load_atlas(config, 4)
    config.path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=r"atlas\.path: own\.nii\.gz is a pointer of git-lfs"):
        load_atlas(config, 4)


# -- grids --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mm", "shape"), [(1, (193, 229, 193)), (2, (97, 115, 97)), (3, (65, 77, 65)), (4, (49, 58, 49))]
)
def test_grids(mm, shape):
    grid = Grid(mm)
    assert grid.shape == shape
    assert coarsen_labels(np.zeros(Grid(1).shape, np.int8), 1, mm).shape == shape
    for voxel in ([0, 0, 0], [5, 7, 3]):
        np.testing.assert_allclose(
            nib.affines.apply_affine(grid.affine, voxel), nib.affines.apply_affine(Grid(1).affine, mm * np.array(voxel))
        )
    assert [grid.voxels(20), grid.voxels(12)] == {1: [20, 12], 2: [10, 6], 3: [7, 4], 4: [5, 3]}[mm]


def test_coarsening_does_not_alias():
    stripes = np.zeros(Grid(1).shape, np.float32)
    stripes[::2] = 1.0
    assert np.ptp(coarsen(stripes, 1, 4)[10:40, 10:40, 10:40]) < 0.1
    with pytest.raises(ValueError, match="no voxels"):
        coarsen(stripes, 2, 3)


def test_placing_goes_by_the_affine():
    """A bright voxel at a known place in mm, in an image stored left to right and back to front."""
    affine = np.array([[-2.0, 0, 0, 90], [0, 0, 2.0, -126], [0, 2.0, 0, -72], [0, 0, 0, 1]])
    data = np.zeros((91, 80, 100), np.float32)
    data[57:60, 20:23, 50:53] = 1
    found = np.argwhere(resample_to_grid(nib.Nifti1Image(data, affine), Grid(2)) > 0.5).mean(axis=0)
    expected = nib.affines.apply_affine(affine, [58, 21, 51])
    np.testing.assert_allclose(nib.affines.apply_affine(Grid(2).affine, found), expected, atol=0.6)


def test_stretching_keeps_labels_and_order():
    labels = np.arange(1, 5).reshape(4, 1, 1) * np.ones((4, 3, 3), int)
    stretched = stretch(labels, Grid(4))
    assert stretched.shape == Grid(4).shape
    assert sorted(set(stretched.ravel())) == [1, 2, 3, 4]
    assert (np.diff(stretched[:, 0, 0]) >= 0).all()


def test_label_table_counts(atlas):
    counted = pd.Series(atlas.labels.ravel()).value_counts()
    for row in atlas.regions.itertuples():
        assert counted.get(row.index, 0) >= 0
    by_index = atlas.regions.set_index("index")["voxels"]
    assert all(counted.get(i, 0) == v for i, v in by_index.items())


def test_labels_without_a_name_and_regions_without_a_voxel_are_said(tmp_path):
    """Of four labels in the brain two have a name; a third name has no voxel on the grid."""
    data = np.zeros(Grid(4).shape, np.int16)
    data[10:38, 5:55, 10:40] = np.array([1, 2, 7, 9]).repeat(7)[:, None, None]
    config = _labels(tmp_path, data)
    config.labels.write_text("index,name\n1,One\n2,Two\n5,Nowhere\n")
    atlas = load_atlas(config, 4)
    unnamed, empty = atlas.notes
    brain = atlas.labels_1mm > 0
    share = (atlas.labels_1mm == 5).sum() / brain.sum()
    assert unnamed.startswith("Regions: 2 of 4 labels in the brain are not in the label table (7, 9)")
    assert "counted as Unlabelled" in unnamed
    assert 0.1 < float(unnamed.rsplit(", ", 1)[1].split("%")[0]) / 100 <= share + 0.005
    assert empty.startswith("Regions: 1 of 3 have no voxel on the 4 mm grid")
    assert "(Nowhere)" in empty
    assert load_atlas(AtlasConfig(), 2).notes == ()
