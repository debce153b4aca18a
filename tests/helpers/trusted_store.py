"""Runs with made-up tables of trust of known verdicts: methods that hold, are unclear, fail, or lack a figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from store_factory import GROUPS, make_larger_run

from store import open_run
from store.files.tables import conform, to_parquet
from store.reading.trust_figures import FAILS, HOLDS, NOT_MEASURED, UNCLEAR
from store.spec import table_spec

BASELINE = "smooth_random"
# method -> what its figures are made to be: truth, randomisation, stability, faithfulness
VERDICTS = {
    "sensitivity": (HOLDS, HOLDS, HOLDS, HOLDS),
    "guided_backprop": (HOLDS, FAILS, HOLDS, HOLDS),
    "occlusion": (UNCLEAR, HOLDS, UNCLEAR, UNCLEAR),
    "area_occlusion": (FAILS, NOT_MEASURED, FAILS, FAILS),
}
EXCESS = {HOLDS: 0.2, UNCLEAR: 0.02, FAILS: -0.05}  # over what must be exceeded, with an interval of 0.06 on each side
HALF = 0.06
SUBJECTS, SCANS = 24, 25
NAMES = ("truth", "randomisation", "stability", "faithfulness")


def make_trusted_run(store: str | Path, *, verdicts: Mapping[str, tuple] = VERDICTS, **options: Any) -> Path:
    """Write and publish a run of the methods of `verdicts` with tables of trust; returns its folder.

    Args:
        options: as for `make_larger_run`.
    """
    folder = make_larger_run(store, methods=tuple(verdicts), **options)
    return add_trust_tables(folder, verdicts)


def add_trust_tables(folder: Path, verdicts: Mapping[str, tuple] = VERDICTS) -> Path:
    """Write tables of trust into the folder of a run; the first figure only where it knows its truth."""
    run = open_run(folder.parent, folder.name)
    tables = trust_tables(verdicts)
    scores = tables.pop("truth_scores")
    if run.simulated:
        put(folder, "truth_scores", _instead(run.table("truth_scores"), scores))
    for name, frame in tables.items():
        put(folder, name, frame)
    return folder


def put(folder: Path, name: str, frame: pd.DataFrame) -> None:
    """Write a table into a run on disk, in the place of the one it has."""
    (folder / "tables" / f"{name}.parquet").write_bytes(to_parquet(conform(name, frame)))


def _instead(known: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Put rows into the place of those with the same key."""
    key = list(table_spec("truth_scores").key)
    return pd.concat([known, scores], ignore_index=True).drop_duplicates(key, keep="last", ignore_index=True)


def trust_tables(verdicts: Mapping[str, tuple] = VERDICTS) -> dict[str, pd.DataFrame]:
    """Return name -> frame of the tables that the trust line is made from, of the fixed test set."""
    rows: dict[str, list[dict]] = {name: [] for name in ("truth_scores", "randomisation", "stability", "faithfulness")}
    for method, wanted in verdicts.items():
        asked = dict(zip(NAMES, wanted, strict=True))
        rows["truth_scores"] += [truth_row(method, asked["truth"])] if asked["truth"] in EXCESS else []
        rows["randomisation"] += randomisation_rows(method, asked["randomisation"])
        rows["stability"] += stability_rows(method, asked["stability"])
        rows["faithfulness"] += faithfulness_rows(method, asked["faithfulness"])
    rows["truth_scores"].append(truth_row(BASELINE, FAILS))
    return {name: _frame(name, found) for name, found in rows.items()}


def _frame(name: str, rows: list[dict]) -> pd.DataFrame:
    return pd.DataFrame(rows).reindex(columns=list(table_spec(name).columns))


def _common(method: str) -> dict[str, Any]:
    return {"model_set": "holdout", "method": method, "target": GROUPS[0], "scans": SCANS, "subjects": SUBJECTS}


def around(name: str, value: float, half: float = HALF) -> dict[str, float]:
    """Return a value with an interval, as columns."""
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def truth_row(method: str, verdict: str) -> dict[str, Any]:
    """Return the voxel AUC of the mean map of the positive group."""
    excess = EXCESS[verdict]
    return {
        **_common(method), "diagnosis": GROUPS[0], "level": "group", "score": "voxel_auc", "reference_sd": 0.02,
        "null_reference_sd": 0.02, "reference": 0.55, "null_reference": 0.5, "ceiling": 1.0, "group_difference": 0.93,
        "empty": 0, "note": "", **around("value", 0.55 + excess), **around("difference", excess),
        **around("null_difference", excess + 0.05),
    }  # fmt: skip


def randomisation_rows(method: str, verdict: str) -> list[dict[str, Any]]:
    """Return two steps of the cascade, both kinds of similarity; SSIM of absolute maps is the stricter."""
    if verdict not in EXCESS:
        return []
    common = {**_common(method), "kind": "cascade", "reference": 0.4, "empty": 0}
    found = []
    for step, layer in enumerate(("classifier.2", "features.0"), 1):
        last = 0.4 - EXCESS[verdict]
        for measure, more in (("ssim", -0.05), ("ssim_absolute", 0.0), ("rank_correlation_absolute", 0.1)):
            value = last + more + (0.3 if step == 1 else 0.0)
            found.append({**common, "step": step, "layer": layer, "measure": measure, **around("value", value)})
    shuffled = {"kind": "shuffled_labels", "step": 0, "layer": "", "measure": "ssim", **around("value", 0.2)}
    return [*found, {**common, **shuffled}]


def stability_rows(method: str, verdict: str) -> list[dict[str, Any]]:
    """Return how alike the maps of retrained networks are, and of a scan with noise."""
    if verdict not in EXCESS:
        return []
    common = {**_common(method), "level": "scan", "networks": 5, "diagnosis": "all", "reference": 0.3}
    value = 0.5 + EXCESS[verdict]
    return [
        {**common, "change": change, "measure": measure, **around("value", value + more)}
        for change, more in (("retrained", 0.0), ("noise", 0.1))
        for measure in ("rank_correlation", "dice")
    ]


def faithfulness_rows(method: str, verdict: str) -> list[dict[str, Any]]:
    """Return the deletion of regions in four orders, of all scans and of each group."""
    if verdict not in EXCESS:
        return []
    gains = {"method": 0.0, "random": EXCESS[verdict] + 0.1, "group_difference": EXCESS[verdict], "untrained": 0.1}
    return [
        {
            **_common(method), "diagnosis": diagnosis, "unit": "region", "direction": "deletion", "order": order,
            **around("area", 0.4 + gain), **around("gain", gain, 0.0 if order == "method" else HALF),
        }
        for diagnosis in ("all", *GROUPS) for order, gain in gains.items()
    ]  # fmt: skip
