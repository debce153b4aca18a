"""The ADNI reader: LONI's tree with its collections, ADNIMERGE, DICOM, and the table of the original study."""

import json
import stat
import sys
from types import SimpleNamespace

import adni_factory
import numpy as np
import pandas as pd
import pytest
import scan_factory
from sklearn.model_selection import train_test_split

import run_pipeline
from engine.cli import main
from engine.cohort import dicom
from engine.cohort.readers import adni as adni_reader
from engine.cohort.splits import split
from engine.config.cohort_schema import CohortConfig
from engine.config.loading import load_config
from engine.errors import UserError
from engine.pipeline.inputs import read_cohort
from engine.progress import Progress


@pytest.fixture
def tree(tmp_path):
    return adni_factory.download(tmp_path / "data")


@pytest.fixture
def study(tmp_path):
    return adni_factory.merged(tmp_path / "study", missing="900201")


def read(folder, **values):
    return adni_reader.read(CohortConfig(**{"reader": "adni", "data": folder, **values}))


def reasons(cohort):
    return dict(cohort.exclusions[["scan", "reason"]].itertuples(index=False))


def test_a_download_with_its_collections(tree):
    cohort = read(tree)
    scans = cohort.scans.set_index("scan")
    assert list(scans.index) == [
        "900_S_9001_I900102", "900_S_9001_I900106", "900_S_9002_I900201", "900_S_9002_I900202", "900_S_9003_I900301",
        "900_S_9003_I900302", "901_S_9004_I900401",
    ]  # fmt: skip
    assert scans["diagnosis"].tolist() == ["AD", "AD", "NC", "NC", "MCI", "MCI", "NC"]
    assert scans["screening_diagnosis"].tolist() == scans["diagnosis"].tolist()
    assert scans["session"].tolist()[:2] == ["sc", "m12"]
    assert scans["site"].tolist()[-2:] == ["900", "901"]
    assert scans["age"].tolist()[:3] == [74, 75, 70]
    assert scans["sex"].tolist()[:3] == ["M", "M", "F"]
    assert cohort.notes[0] == "12 images in ADNI1_1_07_2026.csv, ADNI1_2_07_2026.csv, 11 in the folder, 7 visits"
    assert "Group of the subject at screening" in cohort.notes[1]


def test_every_other_image_is_left_out_with_a_reason(tree):
    extra = adni_factory.image_file(tree, "777", "900_S_9001", "MPR", "1/1/2006")
    adni_factory._make(adni_factory.touch, extra)
    assert reasons(read(tree)) == {
        "900_S_9001_I900101": f"another scan of the visit is used: I900102, {adni_factory.SCALED}",
        "900_S_9001_I900103": f"another scan of the visit is used: I900102, {adni_factory.SCALED}",
        "900_S_9001_I900104": "its description is not in cohort.adni.descriptions: Localizer",
        "900_S_9001_I900105": "PET, not MRI",
        "901_S_9005_I900501": "its image is not in the folder",
        extra.name.removesuffix(".nii"): "I777 is in no collection table",
    }


def test_the_order_of_descriptions_is_an_option(tree):
    cohort = read(tree, adni={"descriptions": [adni_factory.REPEAT, "mp-rage"]})
    assert cohort.scans["scan"].tolist() == ["900_S_9001_I900101", "900_S_9002_I900202", "900_S_9003_I900302"]


def test_adnimerge_gives_each_visit_its_diagnosis(tree):
    adni_factory.adnimerge(tree)
    cohort = read(tree)
    scans = cohort.scans.set_index("scan")
    assert scans["diagnosis"].to_dict() == {
        "900_S_9001_I900102": "AD", "900_S_9001_I900106": "AD", "900_S_9002_I900201": "NC", "900_S_9002_I900202": "NC",
        "900_S_9003_I900301": "MCI", "900_S_9003_I900302": "AD",
    }  # fmt: skip
    converted = scans.loc["900_S_9003_I900302"]
    assert (converted["screening_diagnosis"], converted["mmse"], converted["cdr_sb"]) == ("LMCI", 23, 5)
    assert converted["icv"] == 1_300_000
    assert converted["age"] == 70  # of the collection
    assert reasons(cohort)["901_S_9004_I900401"] == "ADNIMERGE.csv has no visit within 92 days of it"
    assert cohort.notes[1] == "diagnosis: of each visit, from ADNIMERGE.csv"


def test_filters_tell_baseline_ad_from_converters(tree):
    adni_factory.adnimerge(tree)
    rules = {"AD": 'label == "Dementia" and screening_diagnosis == "AD"', "NC": 'label == "CN"'}
    cohort = read(tree, groups=rules)
    assert set(cohort.scans.loc[cohort.scans["group"] == "AD", "subject"]) == {"900_S_9001"}
    assert reasons(cohort)["900_S_9003_I900302"] == "matches no group rule"
    assert "900_S_9003" in set(read(tree).scans.query("group == 'AD'")["subject"])


def test_old_downloads_have_the_series_as_folder(tree):
    folder = next(tree.glob("ADNI/900_S_9001/*/*/I900102"))
    folder.rename(folder.with_name("S13408"))
    assert "900_S_9001_I900102" in read(tree).scans["scan"].tolist()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"I900201"', '"x1"', r"ADNI1_1_07_2026.csv row 8: Image Data ID is 'x1', not a number"),
        ('"900_S_9001"', '""', r"row 2: no Subject"),
        ('"CN","F","70"', '"AD","F","70"', r"2026.csv row 2: I900201 has the group 'CN', but 'AD' in ADNI1_1"),
        ('"74"', '"old"', r"ADNI1_1_07_2026.csv row 2: Age is 'old', not a number"),
    ],
)  # fmt: skip
def test_mistakes_in_a_collection(tree, old, new, message):
    file = tree / "ADNI1_1_07_2026.csv"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(UserError, match=message) as error:
        read(tree)
    assert "\n" not in str(error.value)


def test_which_table(tree, study, tmp_path):
    (tree / "visits.csv").write_text((study / "visits.csv").read_text())
    with pytest.raises(UserError, match=r"which table describes the scans, visits.csv, ADNI1_1.*name one with --table"):
        read(tree)
    assert len(read(tree, table="ADNI1_2_07_2026.csv", diagnosis={"A": ["CN"], "B": ["MCI"]}).scans) == 5
    (tree / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"other.csv: not a table of this kind of data; it needs the columns descript"):
        read(tree, table="other.csv")
    adni_factory.adnimerge(tree)
    (tree / "again.csv").write_text((tree / "ADNIMERGE.csv").read_text())
    with pytest.raises(UserError, match=r"ADNIMERGE.csv, again.csv all look like ADNIMERGE; name one"):
        read(tree, table="ADNI1_2_07_2026.csv")
    with pytest.raises(UserError, match=r"other.csv: not ADNIMERGE; it lacks the columns"):
        read(tree, table="ADNI1_1_07_2026.csv", adni={"adnimerge": "other.csv"})
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "list.csv").write_text((tree / "ADNI1_1_07_2026.csv").read_text())
    with pytest.raises(UserError, match=r"none of the 8 images of list.csv is there; files end in _I123456.nii"):
        read(empty)


# -- DICOM ----------------------------------------------------------------------------------------------------------

DCM2NIIX = """#!{python}
import os, shutil, sys
out, source = sys.argv[sys.argv.index("-o") + 1], sys.argv[-1]
if any("broken" in name for name in os.listdir(source)):
    sys.exit("Error: no valid DICOM images")
shutil.copy({image!r}.format(len(os.listdir(source))), os.path.join(out, "scan.nii.gz"))
"""


@pytest.fixture
def series(tree):
    """One visit's scan is a DICOM series of three files, another's a broken one."""
    for image, names in (("900202", "abc"), ("900106", ("broken", "x", "y"))):
        file = next(tree.glob(f"ADNI/*/*/*/I{image}/*.nii"))
        for name in names:
            adni_factory.touch(file.with_name(f"ADNI_900_S_9002_MR_MP-RAGE__br_raw_{name}_S9_I{image}.dcm"))
        file.unlink()
    return tree


def test_dicom_needs_a_converter(series, monkeypatch):
    monkeypatch.setitem(sys.modules, "dcm2niix", None)
    monkeypatch.setattr(dicom.shutil, "which", lambda name: None)
    cohort = read(series)
    assert reasons(cohort)["900_S_9002_I900202"].startswith("a DICOM series, and dcm2niix is not installed")
    assert "900_S_9002_I900202" not in cohort.scans["scan"].tolist()


@pytest.mark.parametrize("installed", ["on the path", "as a package"])
def test_dicom_is_converted_once(series, monkeypatch, tmp_path, installed):
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    scan_factory.good(bin_ / "3.nii.gz", seed=99)
    program = bin_ / "dcm2niix"
    program.write_text(DCM2NIIX.format(python=sys.executable, image=str(bin_ / "{}.nii.gz")))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    package = SimpleNamespace(bin=str(program)) if installed == "as a package" else None
    monkeypatch.setitem(sys.modules, "dcm2niix", package)
    if package is None:
        monkeypatch.setenv("PATH", str(bin_), prepend=":")
    for seed, file in enumerate(sorted(series.glob("ADNI/*/*/*/*/*.nii"))):
        scan_factory.good(file, seed)
    config = load_config(overrides={"cohort.reader": "adni", "cohort.data": str(series)})
    cohort = read_cohort(config, tmp_path / "store", Progress(quiet=True))
    path = cohort.scans.set_index("scan").loc["900_S_9002_I900202", "path"]
    assert path.startswith(str(tmp_path / "store" / ".cache" / "dicom" / "900_S_9002_I900202-"))
    assert "dcm2niix made 0 images of I900106: Error: no valid DICOM images" in reasons(cohort)["900_S_9001_I900106"]
    program.write_text("#!/bin/sh\nexit 1\n")
    again = read_cohort(config, tmp_path / "store", Progress(quiet=True))
    assert again.scans.equals(cohort.scans)


# -- the merged table of the original study -------------------------------------------------------------------------


def test_the_merged_table(study):
    cohort = read(
        study, adni={"failed": ["901_S_9004/ADNIScreening", "1_S_1/x"]}, diagnosis={"AD": ["Dementia"], "NC": ["MCI"]}
    )
    scans = cohort.scans.set_index("scan")
    assert list(scans.index) == ["900_S_9001_900102", "900_S_9001_900106", "900_S_9003_900301", "900_S_9003_900302"]
    assert scans["session"].tolist() == ["bl", "m12", "bl", "m24"]
    assert scans["screening_diagnosis"].tolist() == ["AD", "AD", "NC", "NC"]
    assert scans["site"].tolist() == ["900"] * 4
    name = "900_S_9001_1-20-2007_ADNI1/GOMonth12_900106_Dementia_Warped.nii.gz"
    assert scans.loc["900_S_9001_900106", "path"].endswith(f"900_S_9001/ADNI1/GOMonth12/{name}")
    assert reasons(cohort) == {
        "900_S_9002_900201": "label CN is in no group",
        "901_S_9004_900401": "its preprocessing failed (cohort.adni.failed)",
        "901_S_9004_900402": "no DX",
    }
    assert cohort.notes == (
        "7 scans of 4 subjects in visits.csv",
        "failed: 1 scans of the table, by 2 entries of cohort.adni.failed",
    )


def test_the_usual_labels_missing_files_and_a_list_in_a_file(study):
    (study / "failed.txt").write_text("900106\n\n")
    cohort = read(study, adni={"failed": "failed.txt"})
    assert cohort.scans["diagnosis"].tolist() == ["AD", "MCI", "AD", "NC"]
    assert cohort.scans["screening_diagnosis"].tolist() == ["AD", "MCI", "MCI", "NC"]
    assert reasons(cohort)["900_S_9001_900106"] == "its preprocessing failed (cohort.adni.failed)"
    assert reasons(cohort)["900_S_9002_900201"].startswith(
        "file not found: 900_S_9002_2-1-2006_ADNIScreening_900201_CN"
    )
    with pytest.raises(UserError, match=r"cohort.adni.failed nowhere.txt: cannot be read"):
        read(study, adni={"failed": "nowhere.txt"})


def test_adnimerge_fills_what_the_table_does_not_say(study):
    adni_factory.adnimerge(study)
    scans = read(study).scans.set_index("scan")
    assert scans.loc["900_S_9003_900302", ["age", "sex", "mmse", "cdr_sb"]].tolist() == [70.2, "F", 23, 5]
    assert scans.loc["900_S_9003_900302", "screening_diagnosis"] == "MCI"  # of the table itself
    own = pd.read_csv(study / "visits.csv", dtype=str).assign(AGE="60", MMSE="11", PTGENDER="Male")
    own.to_csv(study / "visits.csv", index=False)
    scans = read(study).scans.set_index("scan")
    assert scans.loc["900_S_9003_900302", ["age", "sex", "mmse", "cdr_sb"]].tolist() == [61.99, "M", 11, 5]


def test_what_is_not_a_number_is_named_with_its_table(tree, study):
    file = adni_factory.adnimerge(tree)
    file.write_text(file.read_text().replace(",74.3,", ",old,"))
    with pytest.raises(UserError, match=r"ADNIMERGE.csv row 2: age is 'old', not a number"):
        read(tree)
    (study / "visits.csv").write_text((study / "visits.csv").read_text().replace(",11.9,", ",soon,"))
    with pytest.raises(UserError, match=r"visits.csv row 3: Month_bl is 'soon', not a number"):
        read(study)


def test_columns_of_a_collection_can_be_chosen(tree):
    assert set(read(tree, columns={"label": "screening_diagnosis"}).scans["diagnosis"]) == {"AD", "NC", "MCI"}
    with pytest.raises(UserError, match=r"no column Hat \(cohort.columns.label\)"):
        read(tree, columns={"label": "Hat"})


def test_another_pattern_and_a_missing_value(study):
    with pytest.raises(UserError, match="none of the 6 files that the table names is in"):
        read(study, path="{PTID}/{Image.ID}.nii.gz")
    with pytest.raises(UserError, match="no column Hat for the scans' files"):
        read(study, path="{Hat}.nii.gz")
    text = (study / "visits.csv").read_text()
    (study / "visits.csv").write_text(text.replace(",900106,", ",,"))
    with pytest.raises(UserError, match=r"visits.csv row 3: no Image.ID"):
        read(study)


def test_the_order_of_the_table_is_kept(study):
    lines = (study / "visits.csv").read_text().splitlines()
    (study / "visits.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]))
    assert read(study).scans["subject"].tolist()[0] == "901_S_9004"


def test_the_fixed_test_set_of_a_table_as_large_as_the_originals(tmp_path, capsys):
    """344 subjects, 969 scans: the subjects that scikit-learn's rule names, in table order, with all their scans."""
    random = np.random.default_rng(0)
    people = [f"{900 + i % 50}_S_{i:04d}" for i in range(344)]
    visits = [p for i, p in enumerate(people) for _ in range(3 if i < 281 else 2)]
    random.shuffle(visits)
    ill = set(people[:193])
    table = pd.DataFrame({
        "PTID": visits, "VISCODE": "bl", "DX": ["Dementia" if p in ill else "CN" for p in visits],
        "Image.ID": [str(700000 + i) for i in range(len(visits))], "Scan.Date": "1/15/2006", "Visit": "ADNI Screening",
    })  # fmt: skip
    table.loc[(table["PTID"] == people[0]) & ~table.duplicated("PTID"), "DX"] = "CN"  # has converted since
    table.to_csv(tmp_path / "visits.csv", index=False)
    for row in table.itertuples(index=False):
        _, _, dx, image, *_ = row
        adni_factory._make(adni_factory.touch, tmp_path / row.PTID / f"{image}_{dx}.nii.gz")
    config = load_config(preset="rieke2018", overrides={"cohort.reader": "adni", "cohort.data": str(tmp_path),
                                                        "cohort.path": "{PTID}/{Image.ID}_{DX}.nii.gz"})  # fmt: skip
    cohort = adni_reader.read(config.cohort)
    assert (len(cohort.scans), cohort.scans["subject"].nunique()) == (969, 344)
    scans = split(cohort.scans, cohort.groups, config.split, config.seed)
    patients = table.loc[table["DX"] == "Dementia", "PTID"].unique()
    controls = [p for p in table.loc[table["DX"] == "CN", "PTID"].unique() if p not in set(patients)]
    expected = {
        subject
        for group in (patients, controls)
        for subject in train_test_split(list(group), test_size=30, random_state=0)[1]
    }
    assert set(scans.loc[scans["holdout"], "subject"]) == expected
    assert not scans.loc[~scans["holdout"], "subject"].isin(expected).any()
    arguments = ["--plan", "--json", "--preset", "rieke2018", "--cohort", "adni", "--data", str(tmp_path)]
    path = "cohort.path='{PTID}/{Image.ID}_{DX}.nii.gz'"
    assert main.main(run_pipeline.STAGES, [*arguments, "--set", path, "--store", str(tmp_path / "results")]) == 0
    said = capsys.readouterr()
    plan = json.loads(said.out)
    assert set(plan["test_set"]) == expected
    assert plan["models"]["holdout"]["test_scans"] == scans["holdout"].sum()
    assert f"fixed test set: 60 subjects, {scans['holdout'].sum()} scans" in said.err
    assert not (tmp_path / "results").exists()


def test_files_that_macos_leaves_beside_others_are_not_seen(tree):
    before = read(tree)
    for file in [*tree.rglob("*.nii"), *tree.glob("*.csv")]:
        file.with_name("._" + file.name).write_bytes(b"\0\5\x16\7" + bytes(4092))
    after = read(tree)
    assert after.scans.equals(before.scans)
    assert after.exclusions.equals(before.exclusions)


def test_no_diagnosis_is_carried_forward(tree):
    adni_factory.adnimerge(tree)
    file = tree / "ADNIMERGE.csv"
    text = file.read_text().replace("27,1300000,MCI,0,0", "27,1300000,MCI,0,0\n9003,900_S_9003,m12,900,LMCI,2007-03-20,"
                                    "68.2,Female,1.5,27,1300000,,1.0,11.9")  # fmt: skip
    file.write_text(text)
    listed = tree / "ADNI1_2_07_2026.csv"
    cells = ("I900303", "900_S_9003", "MCI", "F", "69", "m12", "MRI", adni_factory.SCALED, "Processed", "3/18/2007")
    row = ",".join(f'"{cell}"' for cell in (*cells, "NiFTI", "7/1/2026"))
    listed.write_text(listed.read_text() + "\n" + row)
    image = adni_factory.image_file(tree, "900303", "900_S_9003", adni_factory.SCALED, "3/18/2007")
    image.parent.mkdir(parents=True, exist_ok=True)
    adni_factory.touch(image)
    cohort = read(tree)
    scans = cohort.scans[cohort.scans["subject"] == "900_S_9003"].set_index("session")
    assert scans["diagnosis"].to_dict() == {"sc": "MCI", "ADNI1/GO Month 24": "AD"}
    assert scans["role"].tolist() == ["apply", "cohort"]
    assert scans["screening_diagnosis"].tolist() == ["LMCI"] * 2
    assert reasons(cohort)["900_S_9003_I900303"] == "no label"
