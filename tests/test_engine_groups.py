"""Group rules: by label, by expression, and every way to get them wrong."""

import pandas as pd
import pytest

from engine.cohort import groups
from engine.config.cohort_schema import CohortConfig
from engine.errors import UserError

BY_LABEL = {"AD": ["AD", "Dementia"], "NC": ["CN", "NL"]}
BY_RULE = {"older": "age >= 60", "younger": "age < 40"}


def config(**values) -> CohortConfig:
    return CohortConfig(reader="table", **values)


def frame(labels=(), ages=(), **more) -> pd.DataFrame:
    n = len(labels) or len(ages)
    values = {"scan": [f"s{i}" for i in range(n)], "label": list(labels) or [""] * n, "age": list(ages) or [70.0] * n}
    return pd.DataFrame({**values, **more})


def test_labels_become_groups_and_the_rest_reasons():
    found = groups.assign(
        frame(["AD", "dementia", "CN", "NL", "MCI", "Other", ""]), config(diagnosis=BY_LABEL, apply=["MCI"])
    )
    assert found["group"].tolist() == ["AD", "AD", "NC", "NC", "", "", ""]
    assert found["diagnosis"].tolist() == ["AD", "AD", "NC", "NC", "MCI", "Other", ""]
    assert found["role"].tolist() == ["cohort"] * 4 + ["apply", "", ""]
    assert found["reason"].tolist() == [""] * 5 + ["label Other is in no group", "no label"]


def test_rules_become_groups():
    found = groups.assign(frame(ages=[60, 39.9, 50, float("nan"), 81]), config(groups=BY_RULE))
    assert found["group"].tolist() == ["older", "younger", "", "", "older"]
    assert found["diagnosis"].tolist() == found["group"].tolist()
    assert found["reason"].tolist() == ["", "", groups.NO_RULE, groups.NO_RULE, ""]
    assert groups.defining_columns(config(groups=BY_RULE)) == ("age",)
    assert groups.defining_columns(config(diagnosis=BY_LABEL)) == ()


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("age >= 60", [True, False, True]),
        ("AGE<60", [False, True, False]),
        ('sex == "F" and age > 60', [False, False, True]),
        ("sex != 'F'", [True, False, False]),
        ("`Clinical Rating` == 0.5", [False, True, False]),
        ("age == 60.0 and sex == 'M'", [True, False, False]),
        ("age > -1e1", [True, True, True]),
    ],
)
def test_a_rule_selects(rule, expected):
    table = frame(ages=[60, 30, 70], sex=["M", "F", "F"], **{"Clinical Rating": ["0", "0.5", None]})
    assert groups.matches(table, rule).tolist() == expected


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "age",
        "age >=",
        "age => 60",
        "age >= sixty",
        "age >= 60 or sex == 1",
        "age >= 60 and",
        "__import__('os')",
        "age >= 60)",
    ],
)
def test_a_malformed_rule_is_one_line(rule):
    with pytest.raises(UserError, match=r'^rule "') as error:
        groups.parse(rule)
    assert "\n" not in str(error.value)


def test_an_unknown_column_lists_the_known():
    with pytest.raises(UserError, match="no column weight; the table has scan, label, age"):
        groups.assign(frame(ages=[60, 30]), config(groups={"a": "weight > 3", "b": "age < 40"}))


def test_a_scan_in_two_groups_is_refused():
    with pytest.raises(UserError, match="both older and younger, the first is s1"):
        groups.assign(frame(ages=[70, 55, 20]), config(groups={"older": "age > 50", "younger": "age < 60"}))


@pytest.mark.parametrize(("key", "where"), [("scan", ""), ("path", ""), ("path", "rows 2, 3")])
def test_one_scan_with_two_labels_is_refused(key, where):
    table = frame(["AD", "CN", "CN"], path=["a", "b", "c"])
    table.loc[1, key] = table.loc[0, key]
    if where:
        table["row"] = [2, 3, 4]
    with pytest.raises(UserError, match=f"scan s0 has two labels: AD and NC.*{where}"):
        groups.assign(table, config(diagnosis=BY_LABEL))


def test_apply_must_not_meet_a_group():
    with pytest.raises(UserError, match="apply: CN is already a label of the group NC"):
        groups.assign(frame(["AD", "CN"]), config(diagnosis=BY_LABEL, apply=["CN"]))


def test_a_label_belongs_to_one_group():
    with pytest.raises(UserError, match="label AD is in both A and B"):
        groups.assign(frame(["AD"]), config(diagnosis={"A": ["AD"], "B": ["AD"]}))


def test_an_empty_group_is_named_with_the_labels_that_are_there():
    with pytest.raises(UserError, match=r"group NC has no scan.*labels in the table: AD 2, HC 1"):
        groups.assign(frame(["AD", "AD", "HC"]), config(diagnosis=BY_LABEL))
    with pytest.raises(UserError, match=r"group older and group younger has no scan|group older"):
        groups.assign(frame(ages=[50, 51]), config(groups=BY_RULE))


def test_where_leaves_out_whoever_does_not_fulfil_it():
    table = frame(["AD", "CN", "CN", "MCI"], [70, 71, 50, 55])
    found = groups.assign(table, config(diagnosis=BY_LABEL, apply=["MCI"], where="age >= 60"))
    assert found["reason"].tolist() == ["", "", *["does not fulfil cohort.where (age >= 60)"] * 2]
    with pytest.raises(UserError, match=r"group NC has no scan .*left out: 2 x does not fulfil"):
        groups.assign(table, config(diagnosis=BY_LABEL, where="age == 70"))
    with pytest.raises(UserError, match='rule "height > 3": no column height'):
        groups.assign(table, config(diagnosis=BY_LABEL, where="height > 3"))


def test_the_screening_diagnosis_is_said_as_the_diagnosis_is():
    table = frame(["AD", "CN", "AD"], screening_diagnosis=["Dementia", "NL", "LMCI"])
    found = groups.assign(table, config(diagnosis=BY_LABEL))
    assert found["screening_diagnosis"].tolist() == ["AD", "NC", "LMCI"]
    by_rule = config(groups={"AD": 'label == "AD"', "NC": 'label == "CN"'})
    assert groups.assign(table, by_rule)["screening_diagnosis"].tolist() == ["Dementia", "NL", "LMCI"]
