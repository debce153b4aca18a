"""Cells of people's tables as values: spellings of numbers, what scores can be, codes for missing."""

import json
from pathlib import Path

import adni_factory
import bids_factory
import numpy as np
import oasis_factory
import pandas as pd
import pytest

from engine.cli.plan import _cohort_lines
from engine.cohort.readers import adni as adni_reader
from engine.cohort.readers import bids, oasis, table
from engine.cohort.values import alike, as_numbers, as_text, numbers, sexes, zeros_lost
from engine.config.cohort_schema import USUAL_APPLY, USUAL_LABELS, CohortConfig
from engine.errors import UserError

FILE = Path("p.csv")


def column(*cells):
    return pd.DataFrame({"x": pd.array(cells, dtype="string")}, index=range(2, 2 + len(cells)))


def config(reader, folder, **values):
    return CohortConfig(**{"reader": reader, "data": folder, "diagnosis": USUAL_LABELS, "apply": USUAL_APPLY, **values})


def test_spellings_of_numbers():
    texts = pd.Series(["70.5", " 70,5 ", "89+", ">89", ">= 90", "≥90", "-4", "1e3", None, "1,344", "18-38", "inf", "x"])
    found = as_numbers(texts)
    assert found.tolist()[:8] == [70.5, 70.5, 89, 89, 90, 90, -4, 1000]
    assert found[8:].isna().all()


@pytest.mark.parametrize(
    ("ours", "cells", "kept", "said"),
    [
        ("mmse", ("-4", "30", "-1", "0", "999"), (30, 0), "x is -4, -1, 999 in 3 rows (2, 4, 6): taken as missing"),
        ("cdr", ("0.5", "-4", "3"), (0.5, 3), "x is -4 in 1 row (3): taken as missing"),
        ("cdr_sb", ("18", "-1", "4.5"), (18, 4.5), "x is -1 in 1 row (3): taken as missing"),
        ("icv", ("1500", "-9999"), (1500,), "x is -9999 in 1 row (3): taken as missing"),
        ("age", ("70", "89+"), (70, 89), "x is top-coded (89+) in 1 row (3): read as the number"),
    ],
)
def test_codes_for_missing_are_missing_and_said(ours, cells, kept, said):
    remarks = []
    assert numbers(column(*cells), "x", ours, FILE, remarks).dropna().tolist() == list(kept)
    assert remarks == [f"p.csv: {said}"]


@pytest.mark.parametrize(
    ("ours", "cell", "message"),
    [
        ("mmse", "31", "p.csv row 3: x 31 is outside 0 to 30; leave it empty"),
        ("mmse", "-0.5", "p.csv row 3: x -0.5 is outside 0 to 30"),
        ("cdr", "0.7", "p.csv row 3: x 0.7 is none of 0, 0.5, 1, 2, 3; leave"),
        ("cdr_sb", "18.5", "p.csv row 3: x 18.5 is outside 0 to 18"),
        ("icv", "0", "p.csv row 3: x 0 is not above 0"),
        ("age", "-4", "p.csv row 3: x -4 is outside 0 to 120 years"),
        ("age", "18-38", "p.csv row 3: x is '18-38', a range; write one number"),
        ("age", "inf", "p.csv row 3: x is 'inf', not a number"),
        ("icv", "1,344", "may be thousands or a decimal comma; write 1344 or 1.344"),
        ("icv", "1,344,000", "may be thousands or a decimal comma; write 1344000"),
    ],
)
def test_what_a_score_cannot_be_is_refused_with_its_row(ours, cell, message):
    with pytest.raises(UserError, match=message) as error:
        numbers(column("1", cell), "x", ours, FILE)
    assert "\n" not in str(error.value)


def test_text_of_numbers_reads_without_remarks():
    frame, remarks = column("7,5", "-4", None, "26"), []
    frame["x"] = as_text(frame, "x", "mmse", FILE)
    np.testing.assert_array_equal(numbers(frame, "x", "mmse", FILE, remarks), [7.5, np.nan, np.nan, 26])
    assert not remarks


def test_sexes_that_are_not_known_are_named():
    remarks = []
    assert sexes(column("F", "male", "1", "2", "1", None), "x", FILE, remarks).tolist() == ["F", "M", "", "", "", ""]
    assert remarks == ["p.csv: x is '1' (2 x), '2' (1 x): taken as missing; write F and M"]


def test_names_alike_but_for_zeros():
    assert alike("ses-M048", {"ses-m48": "a", "ses-M36": "b"}) == "a"
    assert alike("ses-M048", {"ses-M48": "a", "ses-M0048": "b"}) is None
    assert alike("ses-10", {"ses-1": "a"}) is None
    assert zeros_lost("sub-001", ["sub-10", "sub-1"]) == "; there is sub-1: were zeros or a prefix lost?"
    assert zeros_lost("sub-001", ["sub-10"]) == ""


def test_codes_in_a_table_of_scans(tmp_path):
    rows = ["id,dx,age,sex,mmse,cdr,file", "1,AD,70.5,1,-4,1,a.nii", "2,CN,89+,2,29,0,b.nii", "3,AD,71,1,20,2,c.nii"]
    (tmp_path / "p.csv").write_text("\n".join(rows))
    for name in "abc":
        (tmp_path / f"{name}.nii").write_bytes(b"x")
    cohort = table.read(config("table", tmp_path))
    assert cohort.scans["mmse"].isna().tolist() == [True, False, False]
    assert cohort.scans["age"].tolist() == [70.5, 89, 71]
    assert cohort.warnings == (
        "p.csv: age is top-coded (89+) in 1 row (3): read as the number",
        "p.csv: mmse is -4 in 1 row (2): taken as missing",
        "p.csv: sex is '1' (2 x), '2' (1 x): taken as missing; write F and M",
    )
    assert "    WARNING: p.csv: mmse is -4 in 1 row (2): taken as missing" in _cohort_lines(cohort)


def test_rules_read_the_same_spellings_as_columns(tmp_path):
    (tmp_path / "p.csv").write_text('id;years;file\n1;"70,5";a.nii\n2;"30,5";b.nii\n3;89+;c.nii\n')
    for name in "abc":
        (tmp_path / f"{name}.nii").write_bytes(b"x")
    rules = {"older": "years >= 60", "younger": "years < 40"}
    cohort = table.read(CohortConfig(reader="table", data=tmp_path, groups=rules))
    assert cohort.scans["group"].tolist() == ["older", "younger", "older"]


def test_codes_in_adnimerge(tmp_path):
    adni_factory.adnimerge(adni_factory.download(tmp_path))
    text = (tmp_path / "ADNIMERGE.csv").read_text()
    (tmp_path / "ADNIMERGE.csv").write_text(text.replace("4.5,22,", "-1,-4,").replace(",6,19,", ",6,-1,"))
    cohort = adni_reader.read(config("adni", tmp_path))
    scans = cohort.scans.set_index("scan")
    assert scans["mmse"].dropna().tolist() == [30, 29, 27, 23]
    assert scans["cdr_sb"].dropna().tolist() == [6, 0, 0, 1.5, 5]
    assert cohort.warnings == (
        "ADNIMERGE.csv: cdrsb is -1 in 1 row (2): taken as missing",
        "ADNIMERGE.csv: mmse is -4, -1 in 2 rows (2, 3): taken as missing",
    )
    (tmp_path / "ADNIMERGE.csv").write_text(text.replace("4.5,22,", "4.5,32,"))
    with pytest.raises(UserError, match=r"ADNIMERGE.csv row 2: \w+ 32 is outside 0 to 30"):
        adni_reader.read(config("adni", tmp_path))


def test_a_visit_code_without_its_zero(tmp_path):
    adni_factory.adnimerge(adni_factory.download(tmp_path))
    text = (tmp_path / "ADNIMERGE.csv").read_text()
    # Dates cannot help: the codes alone say which visit it is.
    (tmp_path / "ADNIMERGE.csv").write_text(text.replace("m12,900,AD,2007-02-02", "m012,900,AD,1999-01-01"))
    scans = adni_reader.read(config("adni", tmp_path)).scans.set_index("scan")
    assert scans.loc["900_S_9001_I900106", ["mmse", "diagnosis"]].tolist() == [19, "AD"]


def test_codes_in_oasis_are_no_label(tmp_path):
    oasis_factory.cross_sectional(tmp_path)
    file = tmp_path / "oasis_cross-sectional.csv"
    file.write_text(file.read_text().replace("3,27,0.5,", "3,-4,-4,"))
    cohort = oasis.read(config("oasis", tmp_path))
    excluded = dict(cohort.exclusions[["scan", "reason"]].itertuples(index=False))
    assert excluded["OAS1_9002_MR1"] == "no label"
    assert "oasis_cross-sectional.csv: CDR is -4 in 1 row (3): taken as missing" in cohort.warnings


def test_codes_of_sex_that_a_sidecar_explains_are_known(tmp_path):
    bids_factory.dataset(tmp_path)
    file = tmp_path / "participants.tsv"
    file.write_text(file.read_text().replace("\tF\t", "\t2\t").replace("\tM\t", "\t1\t"))
    levels = {**bids_factory.LEVELS, "sex": {"Levels": {"1": "male", "2": "female"}}}
    (tmp_path / "participants.json").write_text(json.dumps(levels))
    cohort = bids.read(config("bids", tmp_path))
    assert cohort.scans["sex"].tolist() == ["F", "F", "M", "F", "M", "M", "F"]
    assert cohort.warnings == ("participants.tsv: age is top-coded (89+) in 1 row (3): read as the number",)
