"""The BIDS reader: images, sessions, sidecars, derivatives, and what is left out."""

import json

import bids_factory
import pytest

from engine.cohort.readers import bids
from engine.config.cohort_schema import CohortConfig
from engine.config.loading import load_config
from engine.errors import UserError


@pytest.fixture
def dataset(tmp_path):
    return bids_factory.dataset(tmp_path / "study")


def read(folder, **values):
    return bids.read(CohortConfig(**{"reader": "bids", "data": folder, **values}))


def reasons(cohort):
    return dict(cohort.exclusions[["scan", "reason"]].itertuples(index=False))


def test_a_dataset_is_read_as_it_is(dataset):
    cohort = read(dataset)
    scans = cohort.scans.set_index("scan")
    assert list(scans.index) == ["sub-01_ses-M00", "sub-01_ses-M12", "sub-02", "sub-03", "sub-04_ses-M00",
                                 "sub-04_ses-M12", "sub-05"]  # fmt: skip
    assert scans["diagnosis"].tolist() == ["AD", "AD", "AD", "NC", "NC", "MCI", "MCI"]
    assert scans["role"].tolist() == ["cohort"] * 5 + ["apply"] * 2
    assert scans["sex"].tolist() == ["F", "F", "M", "F", "M", "M", "F"]
    assert scans["age"].tolist()[:6] == [71, 71, 89, 68, 70, 71]
    assert scans.loc["sub-04_ses-M12", "mmse"] == 26
    assert scans.loc["sub-04_ses-M12", "session"] == "ses-M12"
    assert scans.loc["sub-01_ses-M00", "path"].endswith("sub-01_ses-M00_run-1_T1w.nii.gz")
    assert cohort.name == "study"
    assert cohort.notes == (
        "6 participants in participants.tsv, sessions described for 1",
        "9 x T1w image of a scanner, of 6 participants in 7 sessions",
    )


def test_what_is_left_out_has_a_reason(dataset):
    assert reasons(read(dataset)) == {
        "sub-01_ses-M00_run-2_T1w": "another image of the session is used: sub-01_ses-M00_run-1_T1w.nii.gz",
        "sub-06": "no T1w image of a scanner",
        "sub-07_T1w": "sub-07 is not in participants.tsv",
    }


def test_the_first_run_then_the_plainest_name(dataset):
    anat = dataset / "sub-03" / "anat"
    (anat / "sub-03_T1w.nii").rename(anat / "sub-03_run-10_T1w.nii")
    for name in ("acq-a_run-2", "run-02", "acq-b_rec-norm_run-2"):
        bids_factory.touch(anat / f"sub-03_{name}_T1w.nii.gz")
    cohort = read(dataset)
    assert cohort.scans.set_index("scan").loc["sub-03", "path"].endswith("sub-03_run-02_T1w.nii.gz")
    assert {scan for scan in reasons(cohort) if "sub-03" in scan} == {
        "sub-03_run-10_T1w", "sub-03_acq-a_run-2_T1w", "sub-03_acq-b_rec-norm_run-2_T1w",
    }  # fmt: skip


def test_an_image_in_anothers_folder_is_left_out(dataset):
    (dataset / "sub-03/anat/sub-03_T1w.nii").rename(dataset / "sub-03/anat/sub-04_T1w.nii")
    cohort = read(dataset)
    assert reasons(cohort)["sub-04_T1w"] == "sub-04_T1w.nii lies in the folder of sub-03; mend its name"


def test_an_image_that_was_never_fetched(dataset):
    (dataset / "sub-03/anat/sub-03_T1w.nii").unlink()
    (dataset / "sub-03/anat/sub-03_T1w.nii").symlink_to("../../.git/annex/objects/xyz")
    assert "fetch it, e.g. with datalad get" in reasons(read(dataset))["sub-03"]


@pytest.mark.parametrize("name", ["participants.tsv", "participants.json", "sub-04/sub-04_sessions.tsv"])
def test_a_table_that_was_never_fetched(dataset, name):
    """As a link of git-annex, and as a file of git-lfs."""
    (dataset / name).unlink(missing_ok=True)
    (dataset / name).symlink_to("../.git/annex/objects/xyz")
    with pytest.raises(UserError, match=rf"{name.split('/')[-1]} is a link to a file that is not here; fetch it"):
        read(dataset)
    (dataset / name).unlink()
    (dataset / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n")
    with pytest.raises(
        UserError, match=r"is a pointer of git-lfs, its content is not here; fetch it with git lfs pull"
    ):
        read(dataset)


@pytest.mark.parametrize("where", [None, "derivatives/fmriprep"])
def test_derivatives_in_mni_space(dataset, where):
    bids_factory.derivatives(dataset)
    cohort = read(dataset, bids={"space": bids_factory.SPACE, "derivatives": where})
    assert cohort.scans["scan"].tolist() == ["sub-01", "sub-02", "sub-03", "sub-04", "sub-05"]
    assert all("_space-MNI152NLin2009cAsym_desc-preproc_T1w" in path for path in cohort.scans["path"])
    assert set(reasons(cohort)) == {"sub-06"}


def test_labels_that_are_known_are_not_put_into_words(dataset):
    text = bids_factory.PEOPLE.replace("\t1\t", "\tAD\t").replace("\t2\t", "\tCN\t")
    (dataset / "participants.tsv").write_text(text)
    levels = {"dx": {"Levels": {"AD": "probable dementia", "CN": "no complaint", "3": "MCI"}}}
    (dataset / "participants.json").write_text(json.dumps(levels))
    assert read(dataset).scans["diagnosis"].tolist() == ["AD", "AD", "AD", "NC", "NC", "MCI", "MCI"]
    rules = {"AD": 'dx == "AD"', "NC": 'dx == "CN"'}
    assert read(dataset, groups=rules).scans["group"].tolist()[:4] == ["AD", "AD", "AD", "NC"]


def test_a_session_goes_over_the_person_whatever_the_column_is_called(dataset):
    file = dataset / "sub-04" / "sub-04_sessions.tsv"
    file.write_text(bids_factory.SESSIONS.replace("DX", "diagnosis").replace("MCI", "AD"))
    (dataset / "sessions.json").unlink()
    with pytest.raises(UserError, match="group NC has no scan"):
        read(dataset, diagnosis={"AD": ["AD"], "NC": ["Control"]})
    scans = read(dataset).scans.set_index("scan")
    assert scans.loc["sub-04_ses-M12", "diagnosis"] == "AD"


def test_where_leaves_scans_out_with_the_rule(dataset):
    cohort = read(dataset, where="age >= 70")
    assert reasons(cohort)["sub-03"] == "does not fulfil cohort.where (age >= 70)"
    assert cohort.scans["age"].min() == 70


def write(folder, name, content):
    (folder / name).write_text(content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("participants.tsv", "id\tdx\nsub-01\t1\n", "participants.tsv: no column participant_id; the columns"),
        ("participants.tsv", "participant_id\nsub-01\n", "participants.tsv: no column with the label"),
        ("participants.tsv", "participant_id\tdx\nsub-01\t1\n01\t2\n", r"row 3: sub-01 is there twice"),
        ("participants.tsv", "participant_id\tdx\tage\nsub-01\t1\told\n", r"row 2: age is 'old', not a number"),
        ("participants.tsv", "participant_id\tdx\nsub-99\t1\n", "none of its participants has a T1w image"),
        ("participants.json", "{", "participants.json: not valid JSON"),
        ("participants.json", "[]", "participants.json: a sidecar maps columns"),
        ("sub-04/sub-04_sessions.tsv", "session\tage\nses-M00\t70\n", "sub-04_sessions.tsv: no column session_id"),
        ("sub-04/sub-04_sessions.tsv", "session_id\tage\nses-M00\tx\n", r"sub-04_sessions.tsv row 2: age is 'x'"),
    ],
)  # fmt: skip
def test_mistakes_in_the_tables(dataset, name, content, message):
    write(dataset, name, content)
    with pytest.raises(UserError, match=message) as error:
        read(dataset)
    assert "\n" not in str(error.value)


def test_no_images_of_the_kind_that_was_asked_for(dataset, tmp_path):
    with pytest.raises(UserError, match="no T1w image in space MNI152NLin2009cAsym"):
        read(dataset, bids={"space": bids_factory.SPACE})
    with pytest.raises(UserError, match=r"cohort.bids.derivatives fsl: no such folder"):
        read(dataset, bids={"space": bids_factory.SPACE, "derivatives": "fsl"})
    only = bids_factory.derivatives(tmp_path / "only")
    write(only, "participants.tsv", bids_factory.PEOPLE)
    with pytest.raises(UserError, match=r"there are images in space MNI152NLin2009cAsym: see cohort.bids.space"):
        read(only)
    (dataset / "participants.tsv").unlink()
    with pytest.raises(UserError, match=r"participants.tsv: not in"):
        read(dataset)


def test_unregistered_scans_need_a_registration():
    overrides = {"cohort.reader": "bids", "preprocessing.registration": "none"}
    with pytest.raises(UserError, match=r"cohort.bids.space=MNI152NLin2009cAsym"):
        load_config(overrides=overrides)
    assert load_config(overrides=overrides | {"cohort.bids.space": bids_factory.SPACE}).cohort.apply


def test_options_of_tables_are_refused():
    with pytest.raises(UserError, match="path is for reader=table; reader=bids finds the files by their names"):
        load_config(overrides={"cohort.reader": "bids", "cohort.path": "{file}"})


def padded(root, rows, folders=("ses-M000", "ses-M048")):
    """sub-01 with two sessions, whose table spells them otherwise, and two controls."""
    for session in folders:
        file = root / f"sub-01/{session}/anat/sub-01_{session}_T1w.nii.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        bids_factory.touch(file)
    for person in ("sub-02", "sub-03"):
        file = root / f"{person}/anat/{person}_T1w.nii.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        bids_factory.touch(file)
    write(
        root,
        "participants.tsv",
        "participant_id\tage\tsex\tdx\nsub-01\t70\tF\tCN\nsub-02\t71\tM\tCN\nsub-03\t72\tF\tAD\n",
    )
    write(root, "sub-01/sub-01_sessions.tsv", "session_id\tdx\tage\n" + rows)
    return root


def test_sessions_that_are_padded_otherwise_in_the_table(tmp_path):
    cohort = read(padded(tmp_path, "ses-M00\tCN\t70\nses-M48\tAD\t74\n"))
    scans = cohort.scans.set_index("scan")
    assert scans["diagnosis"].to_dict() == {
        "sub-01_ses-M000": "NC", "sub-01_ses-M048": "AD", "sub-02": "NC", "sub-03": "AD"
    }  # fmt: skip
    assert scans["age"].tolist() == [70, 74, 71, 72]


@pytest.mark.parametrize(
    ("rows", "folders", "left_out"),
    [
        ("ses-M00\tCN\t70\nses-M36\tAD\t73\n", ("ses-M000", "ses-M048"), "ses-M048"),
        # Which of two is meant, nobody knows.
        ("ses-M00\tCN\t70\nses-M48\tAD\t74\nses-M0048\tCN\t74\n", ("ses-M000", "ses-M048"), "ses-M048"),
        ("ses-M00\tCN\t70\nses-M48\tAD\t74\n", ("ses-M48", "ses-M048"), "ses-M048"),
    ],
)
def test_a_session_that_its_table_does_not_have_never_gets_the_baselines_label(tmp_path, rows, folders, left_out):
    cohort = read(padded(tmp_path, rows, folders))
    assert f"sub-01_{left_out}" not in set(cohort.scans["scan"])
    assert f"{left_out} is not in sub-01_sessions.tsv" in reasons(cohort)[f"sub-01_{left_out}_T1w"]


def test_a_blank_of_a_session_is_not_the_participants_value(tmp_path):
    cohort = read(padded(tmp_path, "ses-M000\tCN\tn/a\nses-M048\tn/a\t74\n"))
    assert reasons(cohort) == {"sub-01_ses-M048": "no label"}
    assert cohort.scans["age"].isna().tolist() == [True, False, False]
    assert cohort.scans["sex"].tolist() == ["F", "M", "F"]


def test_a_table_of_sessions_that_only_has_their_dates_says_nothing_of_labels(tmp_path):
    padded(tmp_path, "")
    write(tmp_path, "sub-01/sub-01_sessions.tsv", "session_id\tacq_time\nses-1\t2010-01-01\n")
    assert read(tmp_path).scans["diagnosis"].tolist() == ["NC", "NC", "NC", "AD"]


def test_participants_with_a_row_a_session(tmp_path):
    padded(tmp_path, "")
    (tmp_path / "sub-01/sub-01_sessions.tsv").unlink()
    rows = "sub-01\tM0\t70\tF\tCN\nsub-02\t1\t89+\tM\tCN\nsub-01\tses-M048\t74\tF\tAD\nsub-03\t1\t>89\tF\tAD\n"
    write(tmp_path, "participants.tsv", "participant_id\tsession\tage\tsex\tdx\n" + rows)
    cohort = read(tmp_path)
    assert cohort.scans["diagnosis"].tolist() == ["NC", "AD", "NC", "AD"]
    assert cohort.scans["age"].tolist() == [70, 74, 89, 89]
    assert cohort.scans["sex"].tolist() == ["F", "F", "M", "F"]
    assert cohort.warnings == ("participants.tsv: age is top-coded (89+, >89) in 2 rows (3, 5): read as the number",)
    write(tmp_path, "participants.tsv", "participant_id\tdx\tage\nsub-01\tCN\t70\nsub-01\tAD\t71\n")
    with pytest.raises(UserError, match=r"row 3: sub-01 is there twice; .* give the sessions in a column session_id"):
        read(tmp_path)


def test_codes_for_missing_in_the_tables_of_sessions_are_said_without_names(tmp_path):
    padded(tmp_path, "")
    write(tmp_path, "sub-01/sub-01_sessions.tsv", "session_id\tdx\tMMSE\nses-M00\tCN\t-4\nses-M48\tAD\t21\n")
    cohort = read(tmp_path)
    assert cohort.scans["mmse"].dropna().tolist() == [21]
    assert cohort.warnings == ("sessions.tsv of 1 participant: MMSE is -4: taken as missing",)


def images(root, *names):
    for name in names:
        file = root / name.split("_")[0] / "anat" / f"{name}_T1w.nii.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        bids_factory.touch(file)


def test_an_image_with_contrast_agent_only_where_there_is_no_other(tmp_path):
    images(tmp_path, "sub-01_acq-mprage_run-1", "sub-01_ce-gadolinium", "sub-02_ce-gadolinium", "sub-03",
           "sub-04_part-phase", "sub-04_part-mag_run-2", "sub-05_acq-mprage")  # fmt: skip
    rows = "".join(f"sub-0{n}\t{'CN' if n in (3, 4) else 'AD'}\n" for n in range(1, 6))
    write(tmp_path, "participants.tsv", "participant_id\tdx\n" + rows)
    cohort = read(tmp_path)
    used = [path.rsplit("/", 1)[1].removesuffix("_T1w.nii.gz") for path in cohort.scans["path"]]
    assert used == ["sub-01_acq-mprage_run-1", "sub-02_ce-gadolinium", "sub-03", "sub-04_part-mag_run-2",
                    "sub-05_acq-mprage"]  # fmt: skip
    assert reasons(cohort) == {
        "sub-01_ce-gadolinium_T1w": "another image of the session is used: sub-01_acq-mprage_run-1_T1w.nii.gz",
        "sub-04_part-phase_T1w": "sub-04_part-phase_T1w.nii.gz is a part of an image (part, chunk), not the image",
    }
    assert cohort.warnings == (
        "1 of 5 images are with contrast agent (ce-), where there is no other",
        "images ce-gadolinium: 1 of 3 AD, 0 of 2 NC; networks can tell the groups by the kind of image",
    )


def test_groups_of_different_sequences_are_a_warning(tmp_path):
    people = [f"sub-{number}" for number in range(10, 26)]
    images(tmp_path, *(f"{person}_acq-{'mprage' if i % 2 else 'spgr'}" for i, person in enumerate(people)))
    rows = "".join(f"{person}\t{'AD' if i % 2 else 'CN'}\n" for i, person in enumerate(people))
    write(tmp_path, "participants.tsv", "participant_id\tdx\n" + rows)
    assert read(tmp_path).warnings == (
        "images acq-spgr: 0 of 8 AD, 8 of 8 NC; networks can tell the groups by the kind of image",
        "images acq-mprage: 8 of 8 AD, 0 of 8 NC; networks can tell the groups by the kind of image",
    )


def test_identifiers_that_lost_zeros_are_named_in_a_pair_and_never_paired_by_order(dataset):
    write(dataset, "participants.tsv", "participant_id\tdx\nsub-4\t1\nsub-3\t2\nsub-2\t1\nsub-1\t2\n")
    (dataset / "participants.json").unlink()
    with pytest.raises(
        UserError, match=r"sub-01 is not in participants.tsv; there is sub-1: were zeros or a prefix lost"
    ):
        read(dataset, diagnosis={"AD": ["1"], "NC": ["2"]})
    write(dataset, "participants.tsv", "participant_id\tdx\nsub-4\t1\nsub-03\t2\nsubj-05\t1\nsub-02\t1\n")
    cohort = read(dataset, diagnosis={"AD": ["1"], "NC": ["2"]})
    assert cohort.scans[["scan", "diagnosis"]].values.tolist() == [["sub-02", "AD"], ["sub-03", "NC"]]
    assert "there is sub-4:" in reasons(cohort)["sub-04_ses-M00_T1w"]
    assert "there is sub-subj-05:" in reasons(cohort)["sub-05_T1w"]


def test_old_line_ends_and_marks_at_the_start(dataset):
    text = bids_factory.PEOPLE.replace("\n", "\r")
    (dataset / "participants.tsv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read(dataset).scans["diagnosis"].tolist() == ["AD", "AD", "AD", "NC", "NC", "MCI", "MCI"]
