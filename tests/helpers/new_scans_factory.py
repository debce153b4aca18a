"""Tiny stores of new scans that the networks of another run have explained, for tests.

Every network of the reference explains every scan; nothing was trained, so that the tables of training are empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from unittest import mock

import pandas as pd
import store_factory

from store import RunWriter
from store.spec import table_spec

OF_TRAINING = ("training", "metrics", "curves", "balance")
SCANS = {"new-1": ("new-1", "unknown"), "new-2": ("new-2", "unknown"), "new-3": ("new-3", "MCI")}
FLAGGED = "new-2"
TEXT = "correlation with the template 0.412; in tiny-1 it is at least 0.861"
SAID = "The networks of {} were trained on SIMULATED change: what they say of real scans is no evidence."


def make_new_scans(
    store: str | Path, reference: str, *, run_id: str = "scans-1", simulated_networks: bool = True,
    scans: Mapping[str, tuple[str, str]] = SCANS, methods: tuple[str, ...] = ("sensitivity", "area_occlusion"),
) -> Path:  # fmt: skip
    """Write and publish one run; returns its folder.

    Args:
        reference: the run that the networks are from; it need not be in the store.
        scans: scan -> subject and diagnosis; unknown: none was given.
    """
    writer = RunWriter(Path(store) / ".work" / run_id / "run")
    with mock.patch.multiple(
        store_factory, SCANS={scan: (*row, 1, True) for scan, row in scans.items()},
        PREDICTED=dict.fromkeys(scans, "AD"), explained=lambda model: list(scans),
    ):  # fmt: skip
        store_factory.write_run(writer, simulated=False, methods=methods)
    _as_new_scans(writer, Path(store) / ".work" / run_id / "run" / "tables")
    notices = [f"Explained by the networks of {reference}; nothing was trained."]
    notices += [SAID.format(reference)] if simulated_networks else []
    manifest = store_factory.make_manifest("scans", False, "2026-03-04T05:06:07")
    return writer.publish(store, run_id, manifest | {"reference_run": reference, "notices": notices})


def _as_new_scans(writer: RunWriter, tables: Path) -> None:
    """What the engine writes otherwise than for a cohort."""
    rows = pd.read_parquet(tables / "scans.parquet")
    writer.put_table("scans", rows.assign(fold=pd.NA, holdout=pd.NA, simulated=False, severity=None))
    for name in OF_TRAINING:
        writer.put_table(name, pd.DataFrame(columns=list(table_spec(name).columns)))
    for name in ("group_regions", "distances"):
        known = pd.read_parquet(tables / f"{name}.parquet")
        frames = [known[known["diagnosis"] == "AD"].assign(diagnosis=d) for d in rows["diagnosis"].unique()]
        writer.put_table(name, pd.concat(frames, ignore_index=True))
    spread = pd.read_parquet(tables / "variability.parquet")
    writer.put_table("variability", spread.assign(distance_to_group=float("nan")))
    flag = {
        "scan": FLAGGED, "figure": "template_correlation", "source": "reference", "value": 0.412, "low": 0.861,
        "high": None, "decision": "", "text": TEXT,
    }  # fmt: skip
    writer.put_table("flags", pd.DataFrame([flag]))
