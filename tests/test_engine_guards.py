"""Every kind of bad file has its reason; rejected and duplicated scans are left out."""

import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scan_factory as factory

from engine.cohort import checks, decisions, file_checks
from engine.cohort.scans import Cohort, exclusion_table, scan_table
from engine.config.cohort_schema import CohortConfig
from engine.errors import UserError
from engine.images.hashing import FileMemory, file_hash
from engine.preprocessing.duplicates import find_known_images, same_image_flags, warning
from engine.preprocessing.volume_cache import pack, write_part
from engine.progress import Progress


@pytest.mark.parametrize("kind", factory.BAD)
def test_a_bad_file_has_a_reason_in_one_line(kind, tmp_path):
    make, expected = factory.BAD[kind]
    file = make(tmp_path / "private name" / f"{kind}.nii.gz")
    reason = file_checks.inspect(file)
    assert reason is not None
    assert expected in reason
    assert "\n" not in reason
    assert "private name" not in reason


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_good_file_has_none(tmp_path, ending):
    assert file_checks.inspect(factory.good(tmp_path / f"a{ending}")) is None


def test_harmless_oddities_pass(tmp_path):
    data = factory.blob()
    assert file_checks.inspect(factory.save(tmp_path / "4d.nii.gz", data[..., None])) is None
    assert file_checks.inspect(factory.save(tmp_path / "int.nii.gz", data.astype(np.int16))) is None
    flipped = factory.affine() @ np.diag([-1, 1, 1, 1])
    assert file_checks.inspect(factory.save(tmp_path / "left.nii.gz", data, flipped)) is None
    large = np.full(factory.SHAPE, 3e38, np.float32)  # its sum overflows float32, no voxel is infinite
    large[0, 0, 0] = 0
    assert file_checks.inspect(factory.save(tmp_path / "large.nii.gz", large)) is None


def test_other_formats_are_named(tmp_path):
    nib.save(nib.MGHImage(factory.blob(), factory.affine()), tmp_path / "a.mgz")
    assert "a.mgz is MGH, not NIfTI" in file_checks.inspect(tmp_path / "a.mgz")


def cohort(folder, makers, group=lambda i: "AD" if i % 2 else "NC") -> Cohort:
    rows = []
    for i, make in enumerate(makers):
        path = make(folder / f"s{i}.nii.gz")
        rows.append({"scan": f"s{i}", "subject": f"p{i}", "group": group(i), "role": "cohort", "path": str(path)})
    return Cohort("test", scan_table(rows), exclusion_table([]), ("AD", "NC"))


def seeded(seed):
    return lambda file: factory.good(file, seed)


def config(folder):
    return CohortConfig(reader="table", data=folder, groups={"AD": "age > 1", "NC": "age < 1"})


def test_bad_duplicate_and_rejected_scans_become_exclusions(tmp_path):
    makers = [seeded(0), seeded(1), factory.BAD["empty"][0], seeded(3), seeded(4), seeded(5)]
    found = cohort(tmp_path, makers)
    shutil.copy(tmp_path / "s0.nii.gz", tmp_path / "s4.nii.gz")
    (tmp_path / "decisions.csv").write_text("Scan,decision,note\ns3,Reject,motion\ns5,accept,\n")
    left = checks.inspect_all(found, config(tmp_path), Progress(quiet=True))
    assert left.scans["scan"].tolist() == ["s0", "s1", "s5"]
    assert left.scans["source_hash"].iloc[0] == file_hash(tmp_path / "s0.nii.gz")
    assert set(left.exclusions["stage"]) == {"ingest"}
    assert dict(zip(left.exclusions["scan"], left.exclusions["reason"], strict=True)) == {
        "s2": "s2.nii.gz is empty (0 bytes); copy it again",
        "s3": "rejected in decisions.csv: motion",
        "s4": "same file content as scan s0",
    }
    assert decisions.accepted(config(tmp_path)) == {"s5"}


def rewritten(folder, source, name, change):
    """The image of a file, saved otherwise."""
    image = change(nib.load(folder / source))
    nib.save(image, folder / name)
    return folder / name


def _with_note(image):
    image.header["descrip"] = b"converted again"
    return image


def _big_endian(image):
    data = np.asarray(image.dataobj)
    return nib.Nifti1Image(data.astype(">f4"), image.affine, image.header.as_byteswapped(">"))


def _other_axes(image):
    return image.as_reoriented(nib.orientations.axcodes2ornt("LPI"))


@pytest.mark.parametrize("change", [lambda image: image, _with_note, _big_endian, _other_axes])
def test_one_scan_under_two_persons_is_used_once(tmp_path, change):
    found = cohort(tmp_path, [seeded(0), seeded(1), seeded(2), seeded(3)])
    path = str(rewritten(tmp_path, "s0.nii.gz", "other.nii", change))
    found.scans.loc[2, "path"] = path  # both NC
    assert file_hash(tmp_path / "s0.nii.gz") != file_hash(tmp_path / "other.nii")
    left = checks.inspect_all(found, config(tmp_path), Progress(quiet=True))
    assert left.scans["scan"].tolist() == ["s0", "s1", "s3"]
    assert left.exclusions["reason"].tolist() == ["same image as scan s0"]


def test_one_scan_with_two_labels_is_not_used(tmp_path):
    found = cohort(tmp_path, [seeded(0), seeded(1), seeded(2), seeded(3)])
    found.scans["diagnosis"] = found.scans["group"]
    found.scans.loc[3, "path"] = str(rewritten(tmp_path, "s0.nii.gz", "other.nii", _with_note))  # NC and AD
    left = checks.inspect_all(found, config(tmp_path), Progress(quiet=True))
    assert left.scans["scan"].tolist() == ["s1", "s2"]
    assert dict(zip(left.exclusions["scan"], left.exclusions["reason"], strict=True)) == {
        "s0": "same image as scan s3, but their labels differ (NC, AD): find out whose it is",
        "s3": "same image as scan s0, but their labels differ (NC, AD): find out whose it is",
    }


def test_prepared_volumes_of_two_persons_that_are_one_image_are_flagged(tmp_path):
    rng = np.random.default_rng(0)
    volumes = {name: rng.random((9, 9, 9)) for name in ("a", "b", "d")}
    volumes["c"] = volumes["a"] * 1.02 + 1e-4 * rng.random((9, 9, 9))  # scaled and rounded otherwise
    volumes["e"] = volumes["c"]  # of the same person as c
    quality = {"template_correlation": 0.9, "mask_dice": 0.95, "brain_ml": 1400.0}
    for name, volume in volumes.items():
        write_part(tmp_path / "parts", name, volume, quality)
    cache = pack(tmp_path / "parts", dict.fromkeys(sorted(volumes), ""), tmp_path / "volumes.h5", "x")
    rows = pd.DataFrame([{"scan": name, **quality} for name in sorted(volumes)])
    scans = pd.DataFrame({"scan": sorted(volumes), "subject": ["R11013", "2", "11013", "4", "11013"]})
    flags = same_image_flags(cache, rows, scans, frozenset({"c"}))
    assert flags["scan"].tolist() == ["a", "c", "e"]
    assert flags["decision"].tolist() == ["", "accept", ""]
    assert (flags["value"] > 0.9999).all()
    assert flags["text"].iloc[0].startswith("the same image as scan c of another subject: r ")
    assert warning(flags) == (
        "3 scans show the same image as a scan of another subject; they may be on both sides of a fold",
    )
    far = rows.assign(brain_ml=[1400, 1400, 1450, 1400, 1450])
    assert same_image_flags(cache, far, scans).empty  # not compared
    unknown = rows.assign(template_correlation=np.nan, mask_dice=np.nan, brain_ml=np.nan)
    assert same_image_flags(cache, unknown, scans).empty  # simulated brains


def test_each_scan_is_read_once_however_many_are_similar(tmp_path, monkeypatch):
    rng, common = np.random.default_rng(1), np.linspace(0, 9, 16**3).reshape(16, 16, 16)
    volumes = {f"s{number:02}": 0.3 * common + rng.random((16, 16, 16)) for number in range(20)}
    volumes["s19"] = volumes["s03"] + 1e-3 * rng.random((16, 16, 16))
    quality = {"template_correlation": 0.9, "mask_dice": 0.95, "brain_ml": 1400.0}
    for name, volume in volumes.items():
        write_part(tmp_path / "parts", name, volume, quality)
    cache = pack(tmp_path / "parts", dict.fromkeys(volumes, ""), tmp_path / "volumes.h5", "x")
    rows = pd.DataFrame([{"scan": name, **quality} for name in volumes])
    scans = pd.DataFrame({"scan": list(volumes), "subject": list(volumes)})
    read, asked = [], cache.read
    monkeypatch.setattr(cache, "read", lambda names: read.extend(names) or asked(names))
    assert same_image_flags(cache, rows, scans)["scan"].tolist() == ["s03", "s19"]
    assert len(read) < 20 + 190, "of 190 pairs"
    assert sorted(read[:20]) == sorted(volumes)


def test_a_new_scan_that_is_one_of_the_networks_own_is_recognised():
    rng = np.random.default_rng(1)
    own = {name: rng.random((9, 9, 9)) for name in ("a", "b")}
    new = {"x": own["b"] * 0.9 + 1e-4 * rng.random((9, 9, 9)), "y": rng.random((9, 9, 9))}
    quality = {"template_correlation": 0.9, "mask_dice": 0.95, "brain_ml": 1400.0}
    theirs, ours = (pd.DataFrame([{"scan": name, **quality} for name in names]) for names in ("ab", "xy"))
    assert find_known_images(ours, new.get, theirs, own.get) == {"x": "b"}
    assert find_known_images(ours, new.get, theirs.assign(brain_ml=1450.0), own.get) == {}


def test_a_rejected_scan_does_not_shadow_its_duplicate(tmp_path):
    found = cohort(tmp_path, [seeded(0), seeded(1), seeded(0)])
    (tmp_path / "decisions.csv").write_text("scan,decision\ns0,reject\n")
    left = checks.inspect_all(found, config(tmp_path), Progress(quiet=True))
    assert left.scans["scan"].tolist() == ["s1", "s2"]


def test_a_group_without_a_good_scan_ends_the_run(tmp_path):
    found = cohort(tmp_path, [seeded(0), factory.BAD["constant"][0], seeded(1), factory.BAD["empty"][0]])
    with pytest.raises(UserError, match=r"no scan of group AD can be used \(2 left out\); the first, s1: constant"):
        checks.inspect_all(found, config(tmp_path), Progress(quiet=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [("scan,what\na,reject\n", "no column decision"), ("scan,decision\na,maybe\n", "row 2: decision is 'maybe'")],
)
def test_decisions_are_checked(tmp_path, text, message):
    (tmp_path / "decisions.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        decisions.read_decisions(config(tmp_path))


def test_unchanged_files_are_not_read_again(tmp_path, monkeypatch):
    found = cohort(tmp_path, [seeded(0), seeded(1)])
    memory = tmp_path / "work" / "files.json"
    first = checks.inspect_all(found, config(tmp_path), Progress(quiet=True), memory)
    looked = []
    monkeypatch.setattr(checks, "examine", lambda path: (looked.append(path.name), "x"))
    again = checks.inspect_all(found, config(tmp_path), Progress(quiet=True), memory)
    assert looked == []
    assert again.scans.equals(first.scans)
    factory.good(tmp_path / "s1.nii.gz", seed=9)
    checks.inspect_all(found, config(tmp_path), Progress(quiet=True), memory)
    assert looked == ["s1.nii.gz"]


def test_a_damaged_memory_is_only_slower(tmp_path):
    file = factory.good(tmp_path / "a.nii.gz")
    for content in ("", "[]", "{", json.dumps({"version": 1})):
        (tmp_path / "memory.json").write_text(content)
        memory = FileMemory(tmp_path / "memory.json")
        assert memory.get(file) is None
        memory.put(file, {"x": 1})
        memory.save()
        assert FileMemory(tmp_path / "memory.json").get(file) == {"x": 1}
        assert FileMemory(tmp_path / "memory.json", version=2).get(file) is None


def with_forms(file, sform=None, qform=None, seed=0):
    """A good scan whose two orientations are these, after the right one: None sets its code to 0."""
    image = nib.load(factory.good(file, seed))
    for name, matrix in (("sform", sform), ("qform", qform)):
        given = None if matrix is None else matrix @ factory.affine()
        getattr(image, f"set_{name}")(given, code=0 if matrix is None else 1, update_affine=False)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), file)
    return file


def turn(*signs):
    return np.diag([*signs, 1.0])


def tilted(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0, 5], [s, c, 0, -9], [0, 0, 1, 30], [0, 0, 0, 1.0]])


@pytest.mark.parametrize(
    ("sform", "qform", "doubtful"),
    [
        (turn(1, 1, 1), turn(-1, 1, 1), True),  # mirrored
        (turn(-1, 1, 1), turn(1, 1, 1), True),
        (turn(1, 1, 1), turn(-1, -1, 1), True),  # turned about z
        (turn(1, 1, 1), turn(1, -1, 1), True),  # one of the two mirrors the brain
        (turn(1, 1, 1), turn(1, -1, -1), False),  # upside down, which the picture shows
        (turn(1, 1, 1), tilted(30), False),  # registration makes that good
        (turn(1, 1, 1), turn(1, 1, 1), False),
        (turn(1, 1, 1), None, False),
        (None, turn(-1, 1, 1), False),
    ],
)
def test_orientations_that_name_opposite_sides_are_in_doubt(tmp_path, sform, qform, doubtful):
    file = with_forms(tmp_path / "a.nii.gz", sform, qform)
    assert file_checks.inspect(file) is None
    assert (file_checks.sides_in_doubt(file) != "") == doubtful


def test_a_scan_whose_sides_are_in_doubt_is_named_and_left_out_unless_a_person_decides(tmp_path):
    mirrored = [lambda file, seed=seed: with_forms(file, turn(1, 1, 1), turn(-1, 1, 1), seed) for seed in (2, 3, 4)]
    found = cohort(tmp_path, [seeded(0), seeded(1), *mirrored])
    (tmp_path / "decisions.csv").write_text("scan,decision\ns3,accept\ns4,reject\n")
    progress, said = Progress(quiet=True), []
    progress.say = said.append
    left = checks.inspect_all(found, config(tmp_path), progress)
    assert left.scans["scan"].tolist() == ["s0", "s1", "s3"]
    assert dict(zip(left.exclusions["scan"], left.exclusions["reason"], strict=True)) == {
        "s2": f"{checks.SIDES}; look at it and write accept (the sform is used) or reject into decisions.csv",
        "s4": "rejected in decisions.csv",
    }
    assert [line.split(":")[0].strip() for line in said] == ["s2", "s3", "s4"]
    assert said[1].endswith("its sform is used")
    assert left.warnings[-1].endswith("in the headers of 3 scans: 1 used by the sform, 2 left out")
    kept = checks.inspect_all(found, CohortConfig(reader="table", groups={"a": "age > 1", "b": "age < 1"}), progress,
                              trained_on=False)  # fmt: skip
    assert kept.scans["scan"].tolist() == ["s0", "s1", "s2", "s3", "s4"]
