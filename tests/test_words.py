"""How the code is written: docstrings begin with a verb, modules stay short. The rest is checked by ruff."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
LONGEST_MODULE = 350  # lines
# Longer ones, with the reason.
LONGER = {
    "store/spec.py": "the specification is read as a whole",
    "store/writing/writer.py": "one class with one state, which a kill may end at any line",
    "store/accuracy.py": "every interval of an accuracy beside the others, which they are compared with",
}
VERBS = frozenset(
    re.findall(
        r"\w+",
        """
Add Answer Append Apply Ask Assign Average Begin Bind Break Bring Build Cast Check Choose Clip Colour Compare Compute
Carry Concatenate Connect Convert Correlate Count Crop Cut Delete Describe Divide Do Draw Encode End Estimate Explain
Fetch Fill Find Fit Flip Forget Gather Give Hand Import Interpolate Join Judge Keep Lay Lead Leave Let List Load Look
Loosen Make Map Mark Measure Move Multiply Name Note Offer Open Pack Paint Pair Parse Pass Pickle Place Prepare Print
Put Raise Rank Read Reduce Register Regress Remember Remove Rename Render Replace Report Resample Reshape Return Round
Run Sample Save Say Scale Score See Select Send Serve Set Shorten Show Smooth Solve Sort Split Spread Stand Start Stop
Subtract Summarise Take Tell Test Threshold Time Train Turn Unpack Validate Wait Walk Warn Wrap Write Yield Zoom
""",
    )
)


def files() -> Iterator[Path]:
    for package in ("engine", "store", "dashboard"):
        yield from sorted((ROOT / package).rglob("*.py"))


def test_docstrings_of_functions_begin_with_a_verb():
    """Return, Write, Draw: an imperative sentence, never a fragment; ruff's D401 knows only some of the others."""
    wrong, seen = [], 0
    for file in files():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (text := ast.get_docstring(node)):
                if any("property" in ast.unparse(one) for one in node.decorator_list):
                    continue  # an attribute to its readers, which a noun names
                seen += 1
                if text.split()[0].rstrip(",.:;") not in VERBS:
                    wrong.append(f"{file.relative_to(ROOT)}:{node.lineno} {node.name}: {text.splitlines()[0]}")
    assert seen > 1000
    assert not wrong, "\n".join(wrong)


def test_first_lines_of_docstrings_are_sentences():
    wrong = []
    for file in files():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and (
                text := ast.get_docstring(node)
            ):
                first = " ".join(text.split("\n\n")[0].split())
                if first[-1] not in ".:?)`":
                    wrong.append(f"{file.relative_to(ROOT)}:{node.lineno} {node.name}: {first}")
    assert not wrong, "\n".join(wrong)


def test_no_module_is_too_long_to_read():
    long = {
        str(file.relative_to(ROOT)): lines
        for file in files()
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > LONGEST_MODULE
    }
    assert set(long) <= set(LONGER), long
    assert set(LONGER) <= set(long), "an exception that is none any more"
