"""Made-up tables of trust, put into a run on disk: for tests of what shows them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from store.spec import table_spec

BASELINES = ("sobel", "smooth_random")  # maps that explain nothing
NETWORKS = ("holdout", "holdout-seed-1", "holdout-seed-2", "holdout-seed-3", "holdout-seed-4")
LAYERS = ("classifier.4", "classifier.2", "features.12", "features.8", "features.4", "features.0")
MEASURES = {
    "randomisation": ("rank_correlation", "rank_correlation_absolute", "ssim", "ssim_absolute"),
    "stability": ("rank_correlation", "dice", "top_regions"),
}
ORDERS = ("method", "random", "group_difference", "untrained")
STEPS = 21


def add_trust(
    folder: Path, *, methods: Sequence[str], regions: Sequence[str], baselines: Sequence[str] = BASELINES,
    diagnoses: Sequence[str] = ("all", "AD", "NC"), subjects: int = 20, tables: Sequence[str] = (),
) -> Path:  # fmt: skip
    """Write tables of trust beside those of the run in a folder, all or some by name; return the folder."""
    made = make_tables([*methods, *baselines], regions, list(baselines), diagnoses, subjects)
    for name in tables or made:
        frame = made[name][list(table_spec(name).columns)]
        frame.to_parquet(folder / "tables" / f"{name}.parquet")
    return folder


def make_tables(
    methods: Sequence[str], regions: Sequence[str], baselines: Sequence[str], diagnoses: Sequence[str], subjects: int
) -> dict[str, pd.DataFrame]:
    """Return name -> frame; the first method is the best, maps that explain nothing are the worst."""
    random = np.random.default_rng(3)
    quality = {m: 0.1 if m in baselines else 0.9 - 0.06 * place for place, m in enumerate(methods)}
    common = {"model_set": "holdout", "target": "AD", "subjects": subjects, "scans": subjects}
    return {
        "randomisation": _randomisation(quality, common),
        "stability": _stability(quality, common, diagnoses),
        "stability_pairs": _pairs(quality, diagnoses, random),
        **_faithfulness(quality, common, diagnoses),
        "false_positives": _frame([
            common | _around("difference", 0.02 * q) | {"method": m, "diagnosis": "AD", "marked": 0.1 * q,
                                                        "mirrored": 0.08 * q, "share_outside": 1 - q,
                                                        "left_out": 0}
            for m, q in quality.items()
        ]),
        "anatomy": _frame([
            common | _around("correlation", (-0.8 * q if "Hippocampus" in r else random.uniform(-0.4, 0.4)), 0.15)
            | {"method": m, "diagnosis": d, "region": r}
            for (m, q), d, r in itertools.product(quality.items(), diagnoses, regions)
        ]),
    }  # fmt: skip


def _randomisation(quality: dict[str, float], common: dict) -> pd.DataFrame:
    rows = []
    for (method, q), measure in itertools.product(quality.items(), MEASURES["randomisation"]):
        row = common | {"method": method, "measure": measure, "reference": 0.3, "empty": 0}
        for step, layer in enumerate(LAYERS, 1):
            value = 1 - q * step / len(LAYERS)
            rows.append(row | _around("value", value, 0.04) | {"kind": "cascade", "step": step, "layer": layer})
        rows.append(row | _around("value", 1 - q, 0.04) | {"kind": "shuffled_labels", "step": 0, "layer": ""})
    return _frame(rows)


def _stability(quality: dict[str, float], common: dict, diagnoses: Sequence[str]) -> pd.DataFrame:
    changes = {"retrained": 0.0, "noise": 0.1, "shift": 0.05, "bias_field": 0.08}
    return _frame([
        common | _around("value", min(q + more, 0.98), 0.06)
        | {"method": m, "change": change, "level": level, "diagnosis": d, "measure": measure, "reference": 0.25,
           "networks": len(NETWORKS) if change == "retrained" else 1}
        for (m, q), (change, more), level, d, measure in itertools.product(
            quality.items(), changes.items(), ("scan", "group"), diagnoses, MEASURES["stability"]
        )
        if level == "scan" or change == "retrained"
    ])  # fmt: skip


def _pairs(quality: dict[str, float], diagnoses: Sequence[str], random: np.random.Generator) -> pd.DataFrame:
    pairs = list(itertools.combinations(NETWORKS, 2))
    return _frame([
        {"model_set": "holdout", "method": m, "target": "AD", "diagnosis": d, "model_a": a, "model_b": b,
         "measure": measure, "value": q + random.uniform(-0.1, 0.1)}
        for (m, q), d, measure, (a, b) in itertools.product(quality.items(), diagnoses, MEASURES["stability"], pairs)
    ])  # fmt: skip


def _faithfulness(quality: dict[str, float], common: dict, diagnoses: Sequence[str]) -> dict[str, pd.DataFrame]:
    areas, curves = [], []
    choices = itertools.product(quality.items(), diagnoses, ("region", "voxel"), ("deletion", "insertion"), ORDERS)
    for (method, q), diagnosis, unit, direction, order in choices:
        strength = {"method": 0.2 + 0.4 * q, "random": 0.25, "group_difference": 0.4, "untrained": 0.3}[order]
        own = 0.2 + 0.4 * q
        row = common | {
            "method": method, "diagnosis": diagnosis, "unit": unit, "direction": direction, "order": order,
            "left_out": 0,
        }  # fmt: skip
        gain = 0.0 if order == "method" else own - strength
        area = 1 - strength if direction == "deletion" else strength
        areas.append(row | _around("area", area) | _around("gain", gain, 0.0 if order == "method" else 0.05))
        for step, fraction in enumerate(np.linspace(0, 1, STEPS)):
            reached = fraction ** (1 - strength)
            margin = 1 - reached if direction == "deletion" else reached
            curves.append(row | _around("margin", margin, 0.05 * (0 < step < STEPS - 1))
                          | {"step": step, "fraction": fraction})  # fmt: skip
    return {"faithfulness": _frame(areas), "faithfulness_curves": _frame(curves)}


def _around(name: str, value: float, half: float = 0.05) -> dict[str, float]:
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def _frame(rows: list[dict]) -> pd.DataFrame:
    return pd.DataFrame(rows)
