"""The table reader: what it finds, and one line for every mistake."""

import os
import re

import pytest

from engine.cohort.readers import table
from engine.cohort.tables import read_table
from engine.config.cohort_schema import CohortConfig
from engine.errors import UserError

ROWS = """participant_id,session,dx,Age,Gender,file
P1,m00,AD,71.5,female,a.nii
P1,m12,AD,72.5,F,b.nii
P2,m00,CN,69,Male,c.nii
P3,m00,MCI,,?,d.nii
"""


@pytest.fixture
def folder(tmp_path):
    for name in "abcd":
        (tmp_path / f"{name}.nii").write_bytes(b"x")
    (tmp_path / "scans.csv").write_text(ROWS)
    return tmp_path


def config(folder, **values):
    return CohortConfig(
        **{"reader": "table", "data": folder, "diagnosis": {"AD": ["AD"], "NC": ["CN"]}, "apply": ["MCI"], **values}
    )


def rewrite(folder, old, new):
    (folder / "scans.csv").write_text(ROWS.replace(old, new))


def test_a_plain_folder_is_read_without_naming_columns(folder):
    cohort = table.read(config(folder))
    assert cohort.scans["scan"].tolist() == ["P1_m00", "P1_m12", "P2_m00", "P3_m00"]
    assert cohort.scans["subject"].tolist() == ["P1", "P1", "P2", "P3"]
    assert cohort.scans["group"].tolist() == ["AD", "AD", "NC", ""]
    assert cohort.scans["role"].tolist() == ["cohort", "cohort", "cohort", "apply"]
    assert cohort.scans["sex"].tolist() == ["F", "F", "M", ""]
    assert cohort.scans["age"].iloc[0] == 71.5
    assert not cohort.simulated
    assert cohort.groups == ("AD", "NC")
    assert cohort.name == folder.name
    assert cohort.exclusions.empty


def test_pattern_mapping_join_and_rules(tmp_path):
    (tmp_path / "t1").mkdir()
    for name in ("x/1", "y 2", "z3"):
        file = tmp_path / "t1" / f"{name}_T1.nii.gz"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
    (tmp_path / "people.tsv").write_text("code\tyears\nx/1\t70\ny 2\t30\nz3\t50\n")
    (tmp_path / "volumes.csv").write_text("\ufeffMRID,702\nx/1,1500\ny 2,1400\n", encoding="utf-8")
    cohort = table.read(
        config(
            tmp_path, table="people.tsv", path="t1/{code}_T1.nii.gz", diagnosis=None, apply=[],
            columns={"subject": "code", "age": "years"}, groups={"older": "years >= 60", "younger": "age < 40"},
            join={"table": "volumes.csv", "key": "MRID", "matches": "code", "columns": {"icv": "702"}},
        )
    )  # fmt: skip
    assert cohort.scans["scan"].tolist() == ["x-1", "y-2"]
    assert cohort.scans["subject"].tolist() == ["x/1", "y 2"]
    assert cohort.scans["icv"].tolist() == [1_500_000, 1_400_000]  # from ml
    assert cohort.exclusions[["scan", "stage", "reason"]].values.tolist() == [["z3", "ingest", "matches no group rule"]]
    assert cohort.defining == ("age",)


def test_ids_are_unique_without_regard_to_case(folder):
    rewrite(folder, "participant_id,session,dx", "participant_id,other,dx")
    (folder / "scans.csv").write_text((folder / "scans.csv").read_text().replace("P2", "p1"))
    assert table.read(config(folder)).scans["scan"].tolist() == ["P1", "P1_2", "p1_3", "P3"]


def test_without_subjects_every_file_is_one(folder):
    rewrite(folder, "participant_id", "number")
    cohort = table.read(config(folder))
    assert cohort.scans["subject"].tolist() == ["a", "b", "c", "d"]


def test_semicolons_are_understood(folder):
    (folder / "scans.csv").write_text(ROWS.replace(",", ";"))
    assert len(table.read(config(folder)).scans) == 4


def test_a_missing_file_is_an_exclusion_without_folders(folder):
    (folder / "b.nii").unlink()
    cohort = table.read(config(folder))
    assert cohort.exclusions.values.tolist() == [["P1_m12", "P1", "ingest", "file not found: b.nii"]]


def test_no_file_at_all(folder):
    for file in folder.glob("*.nii"):
        file.unlink()
    with pytest.raises(UserError, match=r"none of the 4 files .* the first is a.nii; see cohort.path"):
        table.read(config(folder))


def test_a_group_without_files(folder):
    (folder / "c.nii").unlink()
    with pytest.raises(
        UserError, match=r"group NC has no scan after leaving out .*left out: 1 x file not found: c.nii"
    ):
        table.read(config(folder))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("71.5", "old", r"scans.csv row 2: Age is 'old', not a number"),
        ("72.5", "-4", r"scans.csv row 3: Age -4 is outside 0 to 120"),
        (
            ",dx,",
            ",what,",
            r"scans.csv: no column with the label; .*cohort.columns.label; the columns are participant_id",
        ),
        (",file", ",image_name", r"scans.csv: no column path for the scans' files; .*cohort.path; the columns"),
        ("P2,m00", ",m00", r"scans.csv row 4: no participant_id"),
        ("c.nii", "", r"scans.csv row 4: no file, which"),
        ("b.nii", "a.nii", r"scans.csv rows 2, 3: the same file \(P1_m00\); keep one row a scan"),
        ("c.nii", "a.nii", r"scan P1_m00 has two labels: AD and NC \(rows 2, 4\)"),
        (",Gender,", ",Age,", r"two columns are called Age"),
        ("a.nii", "a.nii,9", r"scans.csv row 2: 7 cells under 6 column names"),
    ],
)
def test_mistakes_in_the_table(folder, old, new, message):
    rewrite(folder, old, new)
    with pytest.raises(UserError, match=message) as error:
        table.read(config(folder))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": None}, "give their folder with --data"),
        ({"data": "nowhere"}, "--data nowhere: no such folder"),
        ({"table": "other.csv"}, r"cohort.table other.csv: not in .*; there are scans.csv"),
        ({"columns": {"age": "agee"}}, r"scans.csv: no column agee \(cohort.columns.age\); did you mean Age\?"),
        ({"columns": {"colour": "Age"}}, "colour is none of our columns: scan, subject"),
        ({"columns": {"scan": "participant_id"}}, r"rows 2, 3: the same identifier \(P1\)"),
        ({"path": "{nosuch}.nii"}, r"no column nosuch for the scans' files"),
        ({"path": "{file"}, "braces do not match"),
        ({"join": {"table": "v.csv", "key": "id", "columns": {"icv": "702"}}}, "cohort.table v.csv: not in"),
        (
            {"join": {"table": "scans.csv", "key": "file", "matches": "id", "columns": {"icv": "Age"}}},
            r"scans.csv: no column id \(cohort.join.matches\)",
        ),
        (
            {"join": {"table": "scans.csv", "key": "participant_id", "matches": "file", "columns": {"icv": "Age"}}},
            "row 3: P1 is there twice",
        ),
    ],
)
def test_mistakes_in_the_configuration(folder, values, message):
    with pytest.raises(UserError, match=message):
        table.read(config(folder, **values))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the table is empty"),
        (b"a,b\n", "a header and no rows"),
        (b"a,b\n,\n\n", "a header and no rows"),
        (b"\xff\xfe\x00a", "not a text table in UTF-8"),
    ],
)
def test_tables_without_content(folder, content, message):
    (folder / "scans.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        table.read(config(folder))


def test_which_table(tmp_path):
    with pytest.raises(UserError, match="the folder is empty"):
        table.read(config(tmp_path))
    (tmp_path / "a.nii").touch()
    with pytest.raises(UserError, match="there is no CSV or TSV in it; put a table"):
        table.read(config(tmp_path))
    (tmp_path / "a.csv").touch()
    (tmp_path / "b.tsv").touch()
    with pytest.raises(UserError, match=re.escape("there are a.csv, b.tsv; name one with cohort.table")):
        table.read(config(tmp_path))
    with pytest.raises(UserError, match="is a file; give the folder"):
        table.read(config(tmp_path / "a.csv"))


def test_files_that_macos_leaves_beside_others_are_not_seen(folder):
    (folder / "._scans.csv").write_bytes(b"\0\5\x16\7" + bytes(4092))
    assert len(table.read(config(folder)).scans) == 4


def test_two_identifiers_that_become_one_file_name(folder):
    rewrite(folder, "participant_id,", "scan,")
    text = (folder / "scans.csv").read_text().replace("P1,m12", "M\u00fcller,m12").replace("P2,", "M\u00f6ller,")
    (folder / "scans.csv").write_text(text, encoding="utf-8")
    message = "rows 3, 4: the identifiers M\u00fcller and M\u00f6ller differ only in characters that file names cannot"
    with pytest.raises(UserError, match=message):
        table.read(config(folder))
    (folder / "scans.csv").write_text(text.replace("\u00f6", "oe"), encoding="utf-8")
    assert table.read(config(folder)).scans["scan"].tolist() == ["P1", "M-ller", "Moeller", "P3"]


def test_subjects_that_become_one_file_name_are_two(folder):
    (folder / "scans.csv").write_text(ROWS.replace("session", "wave").replace("P2", "a b").replace("P3", "a/b"))
    scans = table.read(config(folder)).scans
    assert scans["scan"].tolist() == ["P1", "P1_2", "a-b", "a-b_2"]
    assert scans["subject"].tolist() == ["P1", "P1", "a b", "a/b"]


def test_tables_of_spreadsheets_in_other_languages(folder):
    (folder / "scans.csv").write_text(ROWS.replace(",", ";").replace("71.5", "71,5").replace("72.5", "72,125"))
    assert table.read(config(folder)).scans["age"].tolist()[:3] == [71.5, 72.125, 69]
    (folder / "scans.csv").write_text(ROWS.replace("71.5", '"71,5"'))
    assert table.read(config(folder)).scans["age"].tolist()[:3] == [71.5, 72.5, 69]
    (folder / "scans.csv").write_text(ROWS.replace(",", "\t"))
    assert len(table.read(config(folder)).scans) == 4
    (folder / "scans.csv").write_bytes(ROWS.replace(",", "\t").encode("utf-16"))
    assert len(table.read(config(folder)).scans) == 4


def test_a_space_in_the_place_of_a_tab(folder):
    (folder / "scans.csv").unlink()
    text = ROWS.replace(",", "\t").replace("P1\tm12\tAD", "P1\tm12  AD")
    (folder / "scans.tsv").write_text(text)
    with pytest.raises(
        UserError, match=r"scans.tsv row 3: 5 cells under 6 column names; is a space there instead of a"
    ):
        table.read(config(folder))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            ROWS.replace("P2", "M\u00fcller").encode("latin-1"),
            r"scans.csv row 4: not in UTF-8, perhaps in Latin-1; save",
        ),
        (b"PK\3\4" + bytes(100), "a spreadsheet in spite of its name"),
        (b"id,dx\n" + b"\0" * 100, "not a text table in UTF-8"),
        (
            b'id,dx\na,"' + b"x" * 200_000,
            r"scans.csv row 2: a cell of more than 131072 characters; is a quote not closed",
        ),
        (b"a" + b",b" * 3000 + b"\n", "two columns are called b"),
        (
            ",".join(map(str, range(60_000))).encode() + b"\n1" * 100,
            r"scans.csv: more than 5 million cells; keep the rows",
        ),
    ],
)
def test_tables_that_nobody_can_read_or_that_are_too_large(folder, content, message):
    (folder / "scans.csv").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        table.read(config(folder))
    assert "\n" not in str(error.value)


def test_a_table_of_gigabytes_is_refused_before_it_is_read(folder):
    with (folder / "scans.csv").open("r+b") as stream:
        stream.truncate(5 << 30)  # sparse
    with pytest.raises(UserError, match=r"scans.csv: 5120 MB, a table has at most 128"):
        table.read(config(folder))


def test_a_pipe_is_no_table(folder):
    os.mkfifo(folder / "pipe.csv")
    assert len(table.read(config(folder)).scans) == 4
    with pytest.raises(UserError, match=r"pipe.csv: not a file"):
        read_table(folder / "pipe.csv")


def test_formulas_and_markup_in_a_table_stay_text(folder):
    rewrite(folder, "P2", "=cmd|' /C calc'!A0")
    scans = table.read(config(folder)).scans
    assert scans["subject"].iloc[2] == "=cmd|' /C calc'!A0"
    assert scans["scan"].iloc[2] == "cmd-C-calc-A0_m00"


def test_files_whose_zeros_were_lost_are_named(tmp_path):
    (tmp_path / "p.csv").write_text("id,dx\n1,AD\n2,CN\n3,CN\n")
    for name in ("001", "002", "3"):
        (tmp_path / f"sub-{name}_T1.nii.gz").write_bytes(b"x")
    with pytest.raises(UserError, match=r"group AD has no scan .*not found: sub-1_T1.nii.gz; there is sub-001_T1"):
        table.read(config(tmp_path, path="sub-{id}_T1.nii.gz"))
    (tmp_path / "sub-3_T1.nii.gz").unlink()
    with pytest.raises(UserError, match=r"the first is sub-1_T1.nii.gz; there is sub-001_T1.nii.gz: were zeros"):
        table.read(config(tmp_path, path="sub-{id}_T1.nii.gz"))


def test_a_second_table_that_does_not_have_everyone(folder):
    join = {"table": "v.csv", "key": "id", "matches": "participant_id", "columns": {"icv": "ICV"}}
    (folder / "v.csv").write_text("id,ICV\nP1,1500\nP2,1400\n")
    cohort = table.read(config(folder, table="scans.csv", join=join))
    assert cohort.scans["icv"].isna().tolist() == [False, False, False, True]
    assert cohort.warnings[0] == "v.csv says nothing of 1 row (5) of scans.csv"
    (folder / "v.csv").write_text("id,ICV\nP01,1500\nP02,1400\n")
    with pytest.raises(UserError, match=r"v.csv: no id equals a participant_id of scans.csv; there is P01: were zeros"):
        table.read(config(folder, table="scans.csv", join=join))
