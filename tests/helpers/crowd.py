"""A store whose subjects, scans and files have one name in all of theirs, so that it can be searched for everywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pandas as pd
import store_factory
from store_factory import METHODS, make_run

NAME = "qzxjv"  # in the name of every subject, scan and file
SIZES = {"AD": 11, "NC": 12, "MCI": 3}
REASONS = {
    "file not found: /data/qzxjv-smith_T1w.nii.gz": "file not found", "same file content as scan qzxjv-smith": None,
    "qzxjv-smith.nii lies in the folder of qzxjv-jones; mend its name": None,
    "another image of the session is used: qzxjv.nii": "another image of the session is used",
    "does not fulfil cohort.where (subject != 'qzxjv-smith')": None,
    "brain volume 812.4 ml is below 900": None, "qzxjv": None,
}  # fmt: skip


def make_crowd(folder: Path) -> Path:
    """Write two runs of eleven AD, twelve NC and three MCI subjects into a folder, and return it."""
    scans = {f"{NAME}-{d}{i}-1": (f"{NAME}-{d}{i}", d, 1 + i % 2, True) for d, n in SIZES.items() for i in range(n)}
    predicted = {scan: "AD" if row[1] == "MCI" else row[1] for scan, row in scans.items()}
    predicted[f"{NAME}-AD0-1"] = "NC"
    with mock.patch.multiple(store_factory, SCANS=scans, PREDICTED=predicted):
        runs = [make_run(folder, name=name, methods=tuple(METHODS)[:2]) for name in ("one", "two")]
    for run in runs:
        table = pd.DataFrame({"scan": [f"{NAME}-{i}" for i in range(len(REASONS))], "subject": NAME,
                              "stage": "ingest", "reason": list(REASONS)})  # fmt: skip
        table.to_parquet(run / "tables" / "exclusions.parquet")
        manifest = json.loads((run / "manifest.json").read_text())
        manifest["config"]["cohort"] = {"adni": {"failed": [f"{NAME}-smith/bl"]}, "data": f"/home/{NAME}"}
        manifest["config"]["atlas"] = {"path": f"/home/{NAME}/aal.nii"}
        (run / "manifest.json").write_text(json.dumps(manifest))
    return folder


def elements(node) -> Iterator:
    """Every element below a node of AppTest."""
    for child in getattr(node, "children", {}).values():
        if hasattr(child, "children"):
            yield from elements(child)
        if getattr(child, "proto", None) is not None:
            yield child
