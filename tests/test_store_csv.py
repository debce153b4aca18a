"""CSV for spreadsheets: no text of a cohort is a formula, numbers stay numbers, and there is no other way out."""

import ast
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from store_factory import shared_store

from dashboard.shell import display
from store import RunReader, open_run
from store.export.command import export_csv
from store.export.csv import csv_text, neutral, neutralised

ROOT = Path(__file__).parent.parent
# Which CSV is made without `csv_text`, and why that is no table for people.
OTHER = {"engine/pipeline/fingerprints.py": "a fingerprint", "store/export/csv.py": "here it is made"}


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ('=HYPERLINK("http://x")', '\'=HYPERLINK("http://x")'),
        ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("＝1+1", "'＝1+1"),
        ("a;=1+1", "a;'=1+1"),
        ("a\n=1+1", "a\n'=1+1"),
        ("-4", "-4"),
        ("+1.5e-3", "+1.5e-3"),
        ("sub-01_ses-M00", "sub-01_ses-M00"),
        ("mean +- sd", "mean +- sd"),
        ("a\r\nb", "a\r\nb"),
        ("", ""),
    ],
)
def test_texts_that_a_spreadsheet_would_compute(text, safe):
    assert neutral(text) == safe


def test_texts_of_every_kind_of_column_and_names_of_columns():
    hostile = ["=1+1", "plain", None]
    frame = pd.DataFrame(
        {
            "string": pd.array(hostile, "string"),
            "object": pd.Series(hostile, dtype=object),
            "category": pd.Categorical(hostile),
            "mixed": pd.Series(["=1", -4, None], dtype=object),
            "number": [-1.5, np.nan, 3.0],
            "whole": [-1, 2, 3],
            "flag": [True, False, True],
            "@name": ["a", "b", "c"],
        }
    )
    back = pd.read_csv(io.StringIO(csv_text(frame)), keep_default_na=False, dtype=str)
    for column in ("string", "object", "category"):
        assert back[column].tolist() == ["'=1+1", "plain", ""]
    assert back["mixed"].tolist() == ["'=1", "-4", ""]
    assert back["number"].tolist() == ["-1.5", "", "3.0"]
    assert back["whole"].tolist() == ["-1", "2", "3"]
    assert "'@name" in back.columns
    harmless = frame[["number", "whole", "flag"]]
    assert csv_text(harmless) == harmless.to_csv(index=False)
    assert csv_text(harmless, "%.2f") == harmless.to_csv(index=False, float_format="%.2f")


def test_a_frame_that_is_shown_can_be_taken_away_by_the_browser_and_is_neutralised():
    shown = neutralised(pd.DataFrame({"subject": ["=cmd", "P1"], "r": [-0.5, 1]}))
    assert shown["subject"].tolist() == ["'=cmd", "P1"]
    assert shown["r"].dtype == float


def _calls(file: Path):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node


def _sources():
    for package in ("engine", "store", "dashboard"):
        yield from sorted((ROOT / package).rglob("*.py"))


def test_no_csv_bypasses_it():
    found = {
        str(file.relative_to(ROOT))
        for file in _sources()
        for call in _calls(file)
        if call.func.attr == "to_csv" or (call.func.attr in ("writer", "DictWriter") and _name(call.func) == "csv")
    }
    assert found == set(OTHER)


def test_no_shown_table_bypasses_it():
    bypassing = [
        f"{file.relative_to(ROOT)}:{call.lineno}"
        for file in _sources()
        for call in _calls(file)
        if call.func.attr in ("dataframe", "data_editor")
        and not (call.args and isinstance(call.args[0], ast.Call) and _called(call.args[0]) == "neutralised")
    ]
    assert len(bypassing) == 1  # what is made ready for many readers
    assert bypassing[0].startswith("dashboard/shell/display.py")


def test_a_table_that_is_made_ready_for_many_is_neutralised():
    frame = pd.DataFrame({name: ["=cmd"] for name in "abcd"})
    for columns in (["a"], list("abcd")):
        ready = display.grid_table(frame[columns])
        assert ready.neutral["a"].tolist() == ["'=cmd"]
        assert ready.frame["a"].tolist() == ["=cmd"]


def _name(function: ast.Attribute) -> str:
    return function.value.id if isinstance(function.value, ast.Name) else ""


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def test_tables_of_an_exported_run_are_neutralised(tmp_path, monkeypatch):
    table = RunReader.table
    monkeypatch.setattr(RunReader, "table", lambda run, name, **where: _hostile(table(run, name, **where)))
    export_csv(open_run(shared_store()), tmp_path)
    scans = pd.read_csv(tmp_path / "scans.csv")
    assert set(scans["site"]) == {'\'=HYPERLINK("http://x")'}
    assert scans["age"].tolist() == table(open_run(shared_store()), "scans")["age"].tolist()


def _hostile(frame):
    return frame.assign(site='=HYPERLINK("http://x")') if "site" in frame else frame
