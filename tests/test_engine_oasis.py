"""The OASIS reader: both tables, the folders as they come, flat folders, and Analyze images."""

import gzip
import os
import shutil

import nibabel as nib
import numpy as np
import oasis_factory
import pandas as pd
import pytest
import scan_factory

from engine.cohort import checks, file_checks
from engine.cohort.readers import oasis
from engine.cohort.scans import Cohort, exclusion_table, scan_table
from engine.config.cohort_schema import CohortConfig
from engine.errors import UserError
from engine.images import nifti
from engine.images.hashing import FileMemory, file_hash
from engine.preprocessing import native_space, steps
from engine.progress import Progress


@pytest.fixture
def first(tmp_path):
    return oasis_factory.cross_sectional(tmp_path / "oasis1")


@pytest.fixture
def second(tmp_path):
    return oasis_factory.longitudinal(tmp_path / "oasis2")


def read(folder, **values):
    return oasis.read(CohortConfig(**{"reader": "oasis", "data": folder, **values}))


def reasons(cohort):
    return dict(cohort.exclusions[["scan", "reason"]].itertuples(index=False))


def test_the_cross_sectional_cohort(first):
    cohort = read(first)
    scans = cohort.scans.set_index("scan")
    assert list(scans.index) == ["OAS1_9001_MR1", "OAS1_9002_MR1", "OAS1_9004_MR1", "OAS1_9005_MR1"]
    assert scans["diagnosis"].tolist() == ["NC", "AD", "NC", "AD"]
    assert scans["subject"].tolist() == ["OAS1_9001", "OAS1_9002", "OAS1_9004", "OAS1_9005"]
    assert scans["session"].tolist() == ["MR1"] * 4
    assert scans["sex"].tolist() == ["F", "M", "F", "F"]
    assert scans["icv"].tolist()[0] == 1_344_000
    assert all(path.endswith("_t88_gfc.img") for path in scans["path"])
    assert reasons(cohort) == {
        "OAS1_9003_MR1": "no label",
        "OAS1_9003_MR2": "no label",
        "OAS1_9006_MR1": "no image of the kind atlas",
    }
    assert cohort.notes == (
        "7 sessions in oasis_cross-sectional.csv, 6 of them with an image",
        "images: 6 subject, 6 atlas, 6 masked, 12 raw; used: atlas (cohort.oasis.image)",
    )


@pytest.mark.parametrize(
    ("kind", "ending"), [("subject", "_sbj_111.img"), ("raw", "_mpr-1_anon.img"), ("masked", "_t88_masked_gfc.img")]
)
def test_another_kind_of_image(first, kind, ending):
    cohort = read(first, oasis={"image": kind})
    assert all(path.endswith(ending) for path in cohort.scans["path"])
    found = {reason for reason in reasons(cohort).values() if "another image" in reason}
    assert bool(found) == (kind == "raw")
    if kind == "raw":
        again = reasons(cohort)["OAS1_9001_MR1_mpr-2_anon"]
        assert again == "another image of the session is used: OAS1_9001_MR1_mpr-1_anon.img"


def test_age_limits(first):
    cohort = read(first, where="age >= 60")
    assert reasons(cohort)["OAS1_9004_MR1"] == "does not fulfil cohort.where (age >= 60)"
    assert cohort.scans["age"].min() == 73


def test_the_longitudinal_cohort(second):
    cohort = read(second)
    scans = cohort.scans.set_index("scan")
    assert scans["diagnosis"].tolist() == ["NC", "NC", "AD", "AD", "Converted", "Converted"]
    assert scans["role"].tolist() == ["cohort"] * 4 + ["apply"] * 2
    assert scans["screening_diagnosis"].tolist() == ["NC", "NC", "AD", "AD", "NC", "NC"]
    assert scans.loc["OAS2_9002_MR3", "session"] == "MR3"
    assert scans.loc["OAS2_9002_MR3", "cdr"] == 1
    assert scans.loc["OAS2_9001_MR1", "path"].endswith("OAS2_9001_MR1/RAW/mpr-1.nifti.img")
    assert len(cohort.exclusions) == 12
    assert reasons(cohort)["OAS2_9001_MR1_mpr-2"] == "another image of the session is used: mpr-1.nifti.img"


def test_labels_of_each_session_by_cdr(second):
    scans = read(second, oasis={"label": "cdr"}).scans
    assert scans["diagnosis"].tolist() == ["NC", "AD", "AD", "AD", "NC", "AD"]
    converters = scans[(scans["diagnosis"] == "AD") & (scans["screening_diagnosis"] == "NC")]
    assert converters["scan"].tolist() == ["OAS2_9001_MR2", "OAS2_9003_MR2"]


def test_a_flat_folder_of_nifti(tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for session in ("OAS1_9001_MR1", "OAS1_9002_MR1", "OAS1_8888_MR1"):
        (flat / f"{session}_T1w_mni.nii.gz").write_bytes(b"x")
    (flat / "OAS1_9001_MR1_T1w_mni_v2.nii.gz").write_bytes(b"x")
    (flat / "template.nii.gz").write_bytes(b"x")
    (flat / "labels.csv").write_text("id,cdr,label\nOAS1_9001_MR1,0,0\n")
    table = tmp_path / "oasis.csv"
    table.write_text("\n".join([oasis_factory.CROSS_HEADER, *oasis_factory.CROSS]))
    cohort = read(flat, table=str(table))
    assert cohort.scans["scan"].tolist() == ["OAS1_9001_MR1", "OAS1_9002_MR1"]
    assert reasons(cohort)["OAS1_8888_MR1_T1w_mni"] == "OAS1_8888_MR1 is not in oasis.csv"
    assert "another image" in reasons(cohort)["OAS1_9001_MR1_T1w_mni_v2"]


def test_mistakes(first, tmp_path):
    with pytest.raises(UserError, match=r"cohort.oasis.image other: there are only images of the kinds"):
        read(first, oasis={"image": "other"})
    with pytest.raises(UserError, match=r"cohort.oasis.label=group: .* has no column Group"):
        read(first, oasis={"label": "group"})
    (first / "oasis_longitudinal.csv").write_text("\n".join([oasis_factory.LONG_HEADER, *oasis_factory.LONG]))
    with pytest.raises(UserError, match=r"which table describes the scans, oasis_cross-sectional.csv, oasis_long"):
        read(first)
    with pytest.raises(UserError, match="none of its images is of a session in the table"):
        read(first, table="oasis_longitudinal.csv")
    (first / "wrong.csv").write_text("ID,Age\nOAS1_9001_MR1,3\n")
    with pytest.raises(UserError, match=r"wrong.csv: not a table of this kind of data; it needs the columns cdr"):
        read(first, table="wrong.csv")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "a.txt").touch()
    with pytest.raises(UserError, match=r"no table with the columns cdr, etiv, id or .*; name it with --table"):
        read(empty)
    with pytest.raises(UserError, match="no image of OASIS"):
        read(empty, table=str(first / "oasis_cross-sectional.csv"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("OAS1_9002_MR1", "9002", r"row 3: ID is '9002', not a session such as OAS1_0001_MR1"),
        ("OAS1_9002_MR1", "OAS1_9001_MR1", r"row 3: OAS1_9001_MR1 is there twice"),
        ("27,0.5,", "27,mild,", r"row 3: CDR is 'mild', not a number"),
    ],
)
def test_mistakes_in_the_table(first, old, new, message):
    file = first / "oasis_cross-sectional.csv"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        read(first)


# Axes of the file (towards) and how a volume with axes right, anterior, superior is brought there.
PLANES = {0: ("LAS", (0, 1, 2), (0,)), 1: ("LSA", (0, 2, 1), (0,)), 2: ("ASL", (1, 2, 0), (2,)),
          3: ("LPS", (0, 1, 2), (0, 1)), 4: ("LIA", (0, 2, 1), (0, 1))}  # fmt: skip


@pytest.mark.parametrize("orient", PLANES)
def test_analyze_images_come_upright(tmp_path, orient):
    codes, order, flips = PLANES[orient]
    data = (scan_factory.blob() * 10).astype(np.int16)
    data[25:, 30:, 33:] += 500  # right, anterior, superior
    file = oasis_factory.analyze(
        tmp_path / "a.img", np.flip(data.transpose(order), flips), scan_factory.VOXEL_MM, orient
    )
    assert file_checks.inspect(file) is None
    assert nib.aff2axcodes(nifti.open_scan(file).affine) == tuple(codes)
    upright = steps.load_upright(file)
    assert np.array_equal(upright.get_fdata(), data)
    assert np.allclose(upright.affine @ [*(np.array(data.shape) - 1) / 2, 1], [0, 0, 0, 1])
    assert np.allclose(np.diag(upright.affine)[:3], scan_factory.VOXEL_MM)
    space = native_space.keep(file, tmp_path / "transforms", "none")
    assert np.allclose(
        space.native_affine if hasattr(space, "native_affine") else space.affine, nifti.open_scan(file).affine
    )


def test_analyze_images_that_cannot_be_used(tmp_path):
    data = scan_factory.blob()
    unknown = oasis_factory.analyze(tmp_path / "a.img", data, 5, orient=9)
    assert (
        file_checks.inspect(unknown) == "the Analyze header has the orientation 9, which is not known: convert to NIfTI"
    )
    alone = oasis_factory.analyze(tmp_path / "b.img", data, 5)
    alone.with_suffix(".hdr").unlink()
    assert file_checks.inspect(alone) == "b.img has no header beside it (b.hdr); copy both"
    half = oasis_factory.analyze(tmp_path / "c.img", data, 5)
    half.write_bytes(half.read_bytes()[:1000])
    assert "c.img is truncated" in file_checks.inspect(half)


def test_nifti_pairs_are_read(tmp_path):
    file = tmp_path / "mpr-1.nifti.img"
    nib.save(nib.Nifti1Pair(scan_factory.blob()[..., None], scan_factory.affine()), file)
    assert file_checks.inspect(file) is None
    assert steps.load_upright(file).shape == scan_factory.SHAPE


def test_the_fingerprint_of_a_pair_is_of_both_files(tmp_path):
    file = oasis_factory.analyze(tmp_path / "a.img", scan_factory.blob(), 5)
    memory = FileMemory(tmp_path / "memory.json")
    before = file_hash(file)
    memory.put(file, {"hash": before})
    header = file.with_suffix(".hdr")
    assert memory.get(file)
    header.write_bytes(header.read_bytes()[:-1] + b"\1")
    assert file_hash(file) != before
    os.utime(header, ns=(0, 0))
    assert memory.get(file) is None


def test_analyze_planes_that_nobody_can_read_and_packed_pairs_say_so(tmp_path):
    flipped = oasis_factory.analyze(tmp_path / "a.img", scan_factory.blob(), 5, orient=5)
    assert (
        file_checks.inspect(flipped) == "the Analyze header has the orientation 5, which is not known: convert to NIfTI"
    )
    packed = tmp_path / "b.img.gz"
    packed.write_bytes(gzip.compress(flipped.read_bytes()))
    assert file_checks.inspect(packed) == (
        "b.img.gz is packed: unpack it and its header (gunzip), or convert them to .nii.gz"
    )


def test_packed_images_are_listed_where_there_is_no_other(first):
    for file in first.rglob("OAS1_900[12]_MR1_mpr_n4_anon_111_t88_gfc.img"):
        file.rename(file.with_name(file.name + ".gz"))
        file.with_suffix(".hdr").unlink()
    scans = read(first).scans.set_index("scan")
    assert scans.loc["OAS1_9001_MR1", "path"].endswith("_t88_gfc.img.gz")
    assert scans.loc["OAS1_9004_MR1", "path"].endswith("_t88_gfc.img")


def test_files_that_macos_leaves_beside_others_are_not_seen(tmp_path):
    without = read(oasis_factory.cross_sectional(tmp_path / "a")).scans.drop(columns="path")
    root = oasis_factory.cross_sectional(tmp_path / "b")
    for file in [*root.rglob("*.img"), *root.glob("*.csv")]:
        file.with_name("._" + file.name).write_bytes(b"\0\5\x16\7" + bytes(4092))
    (root / ".Trash").mkdir()
    shutil.copytree(root / "disc1", root / ".Trash" / "disc1")
    cohort = read(root)
    pd.testing.assert_frame_equal(cohort.scans.drop(columns="path"), without)
    assert not any("/." in path for path in cohort.scans["path"])


def test_a_link_to_a_folder_above_ends(first):
    before = list(oasis._images(first))
    (first / "disc1" / "again").symlink_to(first)
    assert sorted(image.path for image in oasis._images(first)) == sorted(image.path for image in before)


def test_oasis_without_orientation_gets_its_own_mend(tmp_path):
    rows = [row.split(",")[0] for row in oasis_factory.CROSS]
    for session in rows:
        scan_factory.BAD["no_orientation"][0](tmp_path / f"{session}.nii.gz")
    (tmp_path / "oasis.csv").write_text("\n".join([oasis_factory.CROSS_HEADER, *oasis_factory.CROSS]))
    cohort = read(tmp_path)
    assert (cohort.scans["group"] == "NC").sum() == 3
    message = (
        r"no scan of group AD can be used \(2 left out\); the first, OAS1_9002_MR1: no orientation in the header .*"
    )
    with pytest.raises(UserError, match=message + r"use the Analyze files of OASIS .* \(2 of them for this reason\)"):
        checks.inspect_all(cohort, CohortConfig(reader="oasis", data=tmp_path), Progress(quiet=True))


def test_an_analyze_pair_without_an_origin_needs_a_registration(tmp_path):
    plain = oasis_factory.analyze(tmp_path / "a.img", scan_factory.blob(seed=1), 5)
    placed = oasis_factory.analyze(tmp_path / "b.img", scan_factory.blob(seed=2), 5)
    header = bytearray(placed.with_suffix(".hdr").read_bytes())
    header[253:259] = np.array([20, 22, 20], ">i2").tobytes()  # SPM's origin, voxels
    placed.with_suffix(".hdr").write_bytes(header)
    other = scan_factory.good(tmp_path / "c.nii.gz", seed=3)
    turned = oasis_factory.analyze(tmp_path / "d.img", scan_factory.blob(seed=4), 5, orient=1)
    assert [nifti.is_unplaced(file) for file in (plain, placed, other, turned)] == [True, False, False, True]
    rows = [{"scan": file.name[0], "subject": file.name, "group": "AD", "path": str(file)} for file in (plain, placed)]
    cohort = Cohort("x", scan_table(rows), exclusion_table([]), ("AD", "NC"))
    assert checks.without_unplaced(cohort, "affine") is cohort
    left = checks.without_unplaced(cohort, "none")
    assert left.scans["scan"].tolist() == ["b"]
    assert "it needs a registration (preprocessing.registration=affine" in left.exclusions["reason"].iloc[0]


def test_no_cdr_is_no_label(tmp_path):
    rows = [
        f"OAS1_900{n}_MR1,F,R,74,2,3,29,{cdr},1344,0.743,1.306,N/A"
        for n, cdr in enumerate(("0", "0.5", "0", "1", ""), 1)
    ]
    rows.append("OAS1_9001_MR2,F,R,74,2,3,29,,1344,0.743,1.306,12")
    (tmp_path / "oasis.csv").write_text("\n".join([oasis_factory.CROSS_HEADER, *rows]))
    for row in rows:
        oasis_factory.touch(tmp_path / f"{row.split(',')[0]}.nii.gz")
    cohort = read(tmp_path)
    assert cohort.scans["diagnosis"].value_counts().to_dict() == {"NC": 2, "AD": 2}
    assert cohort.exclusions["reason"].tolist() == ["no label"] * 2
