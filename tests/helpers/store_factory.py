"""Tiny, complete, valid stores of random numbers, for tests. Labelled as simulated.

Five subjects on a 6 x 7 x 6 grid: a1 (3 scans) and a2 (1) of AD, n1 (2) and n2 (1) of NC, m1 (1, MCI) to apply to;
models fold-1, fold-2, holdout and the retrained holdout-seed-2; the four methods of the paper. Files beyond the
specification are left out.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import itertools
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

from store import RunWriter
from store.files.geometry import to_voxels
from store.keys import GroupKey, HeatmapKey
from store.reading.truth import binary_of
from store.spec import CELL_SCALES, table_spec
from store.writing.writer import HeatmapArray, MapArray

GROUPS = ("AD", "NC")
GRID_MM = 2
ORIGIN = (-96.0, -132.0, -78.0)
STRIDE = 3
REGIONS = ("Hippocampus_L", "Hippocampus_R", "Temporal_Mid_L", "Temporal_Mid_R")
OUTSIDE_ATLAS = ("Ventricles", "Unlabelled")
SCANS = {  # scan: (subject, diagnosis, fold, in the fixed test set)
    "a1-1": ("a1", "AD", 1, True), "a1-2": ("a1", "AD", 1, True), "a1-3": ("a1", "AD", 1, True),
    "a2-1": ("a2", "AD", 2, False),
    "n1-1": ("n1", "NC", 2, True), "n1-2": ("n1", "NC", 2, True), "n2-1": ("n2", "NC", 1, True),
    "m1-1": ("m1", "MCI", 1, True),
}  # fmt: skip
PREDICTED = {
    "a1-1": "AD",
    "a1-2": "NC",
    "a1-3": "AD",
    "a2-1": "NC",
    "n1-1": "NC",
    "n1-2": "AD",
    "n2-1": "NC",
    "m1-1": "AD",
}
NO_INTERVAL = dict.fromkeys(("low", "high", "subjects", "folds"))  # made by readers, of the predictions
MODELS = {"fold-1": "folds", "fold-2": "folds", "holdout": "holdout", "holdout-seed-2": "holdout"}


@dataclass(frozen=True)
class Method:
    """How the store keeps a method."""

    native_grid: str
    antisymmetric: bool
    scales: tuple[str, ...]


METHODS = {
    "sensitivity": Method("voxels", True, ("margin",)),
    "guided_backprop": Method("voxels", False, ("margin",)),
    "occlusion": Method("positions", True, ("margin", "probability")),
    "area_occlusion": Method("regions", True, ("margin", "probability")),
}
# Runs have it only where a test asks for it.
MORE_METHODS = {"segment_occlusion": Method("voxels", True, ("margin", "probability"))}


def affine(step_mm: float = GRID_MM) -> np.ndarray:
    """Voxel -> mm, RAS+."""
    matrix = np.diag([step_mm, step_mm, step_mm, 1.0])
    matrix[:3, 3] = ORIGIN
    return matrix


def explained(model: str) -> list[str]:
    """Scans that a model may explain."""
    if MODELS[model] == "holdout":
        return [scan for scan, row in SCANS.items() if row[3]]
    return [scan for scan, row in SCANS.items() if f"fold-{row[2]}" == model]


def make_run(
    store: str | Path, *, name: str = "tiny", run_id: str | None = None, shape: tuple[int, int, int] = (6, 7, 6),
    simulated: bool = True, seed: int = 0, created: str = "2026-01-02T03:04:05", replace: bool = False,
    methods: Sequence[str] = tuple(METHODS), earlier_truth: bool = False,
) -> Path:  # fmt: skip
    """Write and publish one run; returns its folder <store>/<run_id>. Fewer methods make it faster.

    Args:
        earlier_truth: as a run before version 1.3 has it.
    """
    run_id = run_id or f"{name}-{hashlib.sha256(f'{name}{seed}'.encode()).hexdigest()[:8]}"
    writer = RunWriter(Path(store) / ".work" / run_id / "run")
    write_run(writer, shape=shape, simulated=simulated, seed=seed, methods=methods, earlier_truth=earlier_truth)
    return writer.publish(store, run_id, make_manifest(name, simulated, created), replace=replace)


def make_larger_run(store: str | Path, **options: Any) -> Path:
    """As `make_run`, of twelve AD, twelve NC and three MCI subjects (to apply to); AD0 has two scans."""
    counts = {"AD": 12, "NC": 12, "MCI": 3}
    scans = {f"{d}{i}-1": (f"{d}{i}", d, 1 + i % 2, True) for d, count in counts.items() for i in range(count)}
    scans["AD0-2"] = ("AD0", "AD", 1, True)
    predicted = {scan: "AD" if row[1] == "MCI" else row[1] for scan, row in scans.items()}
    module = sys.modules[__name__]
    with mock.patch.multiple(module, SCANS=scans, PREDICTED=predicted):
        return make_run(store, **options)


def make_run_of_four_networks(store: str | Path, **options: Any) -> Path:
    """As `make_run`, with the held-out network trained again three times, and where they agree on each group."""
    again = {f"holdout-seed-{k}": "holdout" for k in (1, 2, 3)}
    models = {name: model_set for name, model_set in MODELS.items() if "seed" not in name} | again
    with mock.patch.multiple(sys.modules[__name__], MODELS=models):
        return make_run(store, **{"name": "again"} | options)


def make_run_on_cortex(store: str | Path, **options: Any) -> Path:
    """As `make_run`, on a grid of 16 mm that holds the cortex of the left side, but for its front."""
    step, of_step = 16, affine
    grid = {"GRID_MM": step, "affine": lambda step_mm=step: of_step(step_mm)}
    with mock.patch.multiple(sys.modules[__name__], **grid):
        return make_run(store, **{"name": "cortex", "shape": (7, 10, 11)} | options)


@functools.cache
def shared_store() -> Path:
    """A store with one run, made once; never change it."""
    folder = Path(tempfile.mkdtemp(prefix="brainwhy-store-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    make_run(folder)
    return folder


def copy_of_shared_store(folder: Path) -> Path:
    """The folder of the run in a copy of the shared store, for tests that break it."""
    shutil.copytree(shared_store(), folder, dirs_exist_ok=True)
    return next(path for path in folder.iterdir() if not path.name.startswith("."))


def make_manifest(name: str = "tiny", simulated: bool = True, created: str = "2026-01-02T03:04:05") -> dict:
    """What the engine gives to publish."""
    return {
        "name": name, "created": created, "simulated": simulated, "cohort": "random numbers", "groups": list(GROUPS),
        "fingerprint": "0" * 16, "data_fingerprint": "1" * 16, "config": {"training": {"epochs": 2}, "seed": 0},
        "versions": {"numpy": np.__version__}, "commit": "", "device": "cpu", "seeds": {"folds": 0},
        "seconds": {"train": 1.0}, "peak_mib": 1.0, "grid_mm": GRID_MM, "notices": [],
    }  # fmt: skip


def write_run(
    writer: RunWriter, *, shape: tuple[int, int, int] = (6, 7, 6), simulated: bool = True, seed: int = 0,
    methods: Sequence[str] = tuple(METHODS), earlier_truth: bool = False,
) -> None:  # fmt: skip
    """Write everything that a run holds, unpublished."""
    known = METHODS | MORE_METHODS
    content = Content(np.random.default_rng(seed), shape, {name: known[name] for name in methods}, earlier_truth)
    _write_grids(writer, content, simulated)
    _write_scans(writer, content)
    _write_models(writer, content)
    _write_heatmaps(writer, content)
    _write_cells(writer, content)
    _write_agreement(writer, content)
    _write_tables(writer, content, simulated)


@dataclass
class Content:
    """The random numbers of a run."""

    random: np.random.Generator
    shape: tuple[int, int, int]
    methods: dict[str, Method]
    earlier_truth: bool = False
    mask: np.ndarray = field(init=False)
    atlas: np.ndarray = field(init=False)
    heatmaps: dict[tuple[str, str, str, str, str], np.ndarray] = field(default_factory=dict)
    probability: dict[tuple[str, str], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.mask = np.ones(self.shape, np.uint8)
        self.mask[0], self.mask[-1] = 0, 0
        labels = self.random.integers(1, len(REGIONS) + 3, self.shape)
        self.atlas = np.where(self.mask > 0, labels, 0).astype(np.int16)
        for model in MODELS:
            for scan in explained(model):
                sign = 1 if self.predicted(model, scan) == "AD" else -1
                margin = sign * self.random.uniform(0.2, 3)
                self.probability[model, scan] = float(1 / (1 + np.exp(-margin)))

    @staticmethod
    def predicted(model: str, scan: str) -> str:
        """The retrained model sees all scans the other way round."""
        group = PREDICTED[scan]
        return group if "seed" not in model else GROUPS[1 - GROUPS.index(group)]

    def native_shape(self, native_grid: str) -> tuple[int, ...]:
        positions = tuple(-(-n // STRIDE) for n in self.shape)
        return {"voxels": self.shape, "positions": positions, "regions": (len(REGIONS),)}[native_grid]

    def methods_of(self, model: str) -> dict[str, Method]:
        """Retrained models explain by sensitivity only."""
        return {name: m for name, m in self.methods.items() if "seed" not in model or name == "sensitivity"}

    def full(self, values: np.ndarray, native_grid: str) -> np.ndarray:
        options = {"stride": STRIDE, "shape": self.shape, "atlas": self.atlas, "mask": self.mask}
        return to_voxels(values, native_grid, **options)


def _write_grids(writer: RunWriter, content: Content, simulated: bool) -> None:
    fine = tuple(GRID_MM * (n - 1) + 1 for n in content.shape)
    places = np.ix_(*(np.arange(n) // GRID_MM for n in fine))
    brain = content.random.integers(60, 200, content.shape).astype(np.uint8) * content.mask
    grids = {"": (brain[places], content.mask[places], content.atlas[places], affine(1.0))}
    grids["grid/"] = (brain, content.mask, content.atlas, affine())
    for prefix, (template, mask, atlas, matrix) in grids.items():
        for name, values in (("template", template), ("mask", mask), ("atlas", atlas)):
            writer.put_array(prefix + name, values, affine=matrix, unit="")
    if simulated:
        change = content.random.normal(size=content.shape).astype(np.float32) * content.mask
        if content.earlier_truth:
            writer.put_array("truth/binary", (np.abs(change) > 1).astype(np.uint8), affine=affine(), unit="")
            writer.put_array("truth/log_jacobian", change, affine=affine(), unit="")
            writer.put_array("truth/difference", np.abs(change), affine=affine(), unit="intensity")
            return
        binary = binary_of(np.abs(change), content.mask > 0).astype(np.uint8)
        writer.put_array("truth/visible_change", np.abs(change), affine=affine(), unit="intensity")
        writer.put_array("truth/visible_binary", binary, affine=affine(), unit="")
        writer.put_array("truth/log_jacobian", change, affine=affine(), unit="")
        writer.start_scan_changes(len(SCANS), content.shape, affine())
        for row, (_, diagnosis, *_) in enumerate(SCANS.values()):
            writer.put_scan_change(row, np.abs(change) * (diagnosis != "NC") * (1 + row % 3) / 3)


def _write_scans(writer: RunWriter, content: Content) -> None:
    writer.start_scans(len(SCANS), content.shape, affine())
    rows = []
    for row, (scan, (subject, diagnosis, fold, holdout)) in enumerate(SCANS.items()):
        volume = content.random.normal(100, 20, content.shape).astype(np.float32) * content.mask
        group = diagnosis if diagnosis in GROUPS else None
        rows.append({
            "scan": scan, "subject": subject, "session": scan[-1], "group": group, "diagnosis": diagnosis,
            "role": "cohort" if group else "apply", "age": 70.0 + row, "sex": "FM"[row % 2],
            "holdout": holdout and bool(group),
            "fold": fold, "simulated": diagnosis == "AD", "volume_scale": writer.put_scan(row, volume),
        })  # fmt: skip
    writer.put_table("scans", fill("scans", rows, content.random))


def _write_models(writer: RunWriter, content: Content) -> None:
    rows = []
    for model, model_set in MODELS.items():
        weights = f"weights of {model}".encode()
        writer.put_model(model, weights, {"model": model, "groups": list(GROUPS)})
        rows.append({"model": model, "model_set": model_set, "weights_sha256": hashlib.sha256(weights).hexdigest()})
    writer.put_table("models", fill("models", rows, content.random))
    writer.put_figure("contact_sheet", b"\x89PNG\r\n\x1a\n")


def _write_heatmaps(writer: RunWriter, content: Content) -> None:
    for model in MODELS:
        scans = explained(model)
        for name, method in content.methods_of(model).items():
            targets = GROUPS[:1] if method.antisymmetric else GROUPS
            for target, scale in itertools.product(targets, method.scales):
                _write_series(writer, content, (model, name, target, scale), method, scans)


def _write_series(writer: RunWriter, content: Content, series: tuple, method: Method, scans: list[str]) -> None:
    shape = content.native_shape(method.native_grid)
    values = content.random.normal(size=(len(scans), *shape)).astype(np.float32)
    if method.native_grid == "voxels":
        values[:, content.mask == 0] = 0
    array = HeatmapArray(
        method.native_grid, "margin", affine(), STRIDE if method.native_grid == "positions" else None,
        count=len(SCANS), shape=shape, parameters={"stride": STRIDE}, antisymmetric=method.antisymmetric,
    )  # fmt: skip
    writer.start_heatmaps(HeatmapKey(*series), array)
    rows = [list(SCANS).index(scan) for scan in scans]
    sums = [float(np.abs(full).sum()) for full in content.full(values, method.native_grid)]
    key = HeatmapKey(*series)
    writer.put_heatmaps(key, rows=rows, scans=scans, values=values, absolute_sums=sums)
    for scan, value in zip(scans, values, strict=True):
        content.heatmaps[(*series, scan)] = value


def _write_cells(writer: RunWriter, content: Content) -> None:
    rows = []
    for model_set, (name, method) in itertools.product(("folds", "holdout"), content.methods.items()):
        models = [m for m, s in MODELS.items() if s == model_set and "seed" not in m]
        pairs = [(model, scan) for model in models for scan in explained(model)]
        scans_of = Counter(SCANS[scan][0] for _, scan in pairs)
        cells = defaultdict(list)
        for model, scan in pairs:
            cells[SCANS[scan][1], content.predicted(model, scan)].append((model, scan))
        targets = GROUPS[:1] if method.antisymmetric else GROUPS
        for target, scale, pair in itertools.product(targets, CELL_SCALES, cells):
            key = (model_set, name, target, scale, *pair)
            weights = [1 / scans_of[SCANS[scan][0]] for _, scan in cells[pair]]
            rows.append(_write_cell(writer, content, key, method, cells[pair], weights))
    writer.put_table("cells", pd.DataFrame(rows)[list(table_spec("cells").columns)])


def _write_cell(writer: RunWriter, content: Content, key: tuple, method: Method, members: list, weights: list) -> dict:
    """Write one cell; returns its row of the cells table."""
    _, name, target, scale, *_ = key
    maps = [_scaled(content, (model, name, target), scale, method, scan) for model, scan in members]
    sums = [sum(w * f(h) for w, h in zip(weights, maps, strict=True)) for f in (np.array, np.abs, np.square)]
    array = MapArray(method.native_grid, "margin", affine(), STRIDE if method.native_grid == "positions" else None)
    writer.put_cell(GroupKey(*key[:4]), *key[4:], np.stack(sums), array)
    row = dict(zip(table_spec("cells").key, key, strict=True))
    scans = {scan for _, scan in members}
    counts = {"weight": sum(weights), "scans": len(scans), "subjects": len({SCANS[scan][0] for scan in scans})}
    return row | {"native_grid": method.native_grid, "without_relevance": 0} | counts


def _write_agreement(writer: RunWriter, content: Content) -> None:
    """Write where the networks agree on the average of each group, where there are enough of them."""
    networks = [model for model, model_set in MODELS.items() if model_set == "holdout"]
    if len(networks) < 3:
        return
    for name, diagnosis in itertools.product(content.methods_of(networks[-1]), GROUPS):
        mean = content.random.normal(0, 1e-3, content.shape) * content.mask
        share = content.random.integers(0, len(networks) + 1, content.shape) / len(networks) * content.mask
        values = np.stack([mean, share]).astype(np.float32)
        writer.put_array(f"agreement/{name}/AD/{diagnosis}", values, affine=affine(), unit="share of the relevance")


def _scaled(content: Content, series: tuple[str, str, str], scale: str, method: Method, scan: str) -> np.ndarray:
    stored = scale if scale in method.scales else "margin"
    values = content.heatmaps[(*series, stored, scan)]
    if scale == "relative":
        return values / np.abs(content.full(values, method.native_grid)).sum()
    if scale == stored:
        return values
    p = content.probability[series[0], scan]
    return values * p * (1 - p)


def _write_tables(writer: RunWriter, content: Content, simulated: bool) -> None:
    folds, methods = [m for m in MODELS if m.startswith("fold")], list(content.methods)
    pairs = list(itertools.combinations(methods, 2))
    sets = ("folds", "holdout")
    heatmaps = [
        {"model": m, "model_set": MODELS[m], "scan": s, "method": x, "target": "AD"}
        for m in MODELS for s in explained(m) for x in content.methods_of(m)
    ]  # fmt: skip
    tables = {
        "exclusions": [{"scan": "x1", "subject": "x", "stage": "ingest", "reason": "unreadable"}],
        "quality": [{"scan": scan} for scan in SCANS],
        "training": [{"model": m, "epoch": e} for m in MODELS for e in (1, 2)],
        "predictions": [_prediction(content, m, s) for m in MODELS for s in explained(m)],
        "metrics": [
            {"classifier": "cnn", "level": level, "model": model, "metric": metric, **NO_INTERVAL}
            for level in ("scan", "subject") for model in (*folds, "holdout", "mean", "sd")
            for metric in ("accuracy", "balanced_accuracy", "auc")
        ],
        "curves": [{"model": "folds", "curve": c, "point": i} for c in ("roc", "calibration") for i in range(3)],
        "balance": [{"covariate": c} for c in ("age", "sex")],
        "regions": _regions(content),
        "region_relevance": [row | {"region": r} for row in heatmaps for r in (*REGIONS, *OUTSIDE_ATLAS)],
        "group_regions": [
            {"model_set": s, "method": m, "target": "AD", "diagnosis": d, "merged": merged, "region": r, "rank": rank,
             "without_relevance": 0}
            for s in sets for m in methods for d in GROUPS for merged in (False, True)
            for rank, r in enumerate(dict.fromkeys(r[:-2] if merged else r for r in REGIONS), 1)
        ],
        "distances": [
            {"model_set": s, "diagnosis": d, "level": level, "method_a": a, "method_b": b}
            for s in sets for d in GROUPS for level in ("group", "scan") for a, b in pairs
        ],
        "scan_distances": [
            {"model": m, "model_set": MODELS[m], "scan": s, "method_a": a, "method_b": b}
            for m in (*folds, "holdout") for s in explained(m) for a, b in pairs
        ],
        "variability": heatmaps,
    }  # fmt: skip
    if simulated:
        scores = [_truth_score(s, m, d, place) for s in sets for d in GROUPS for place, m in enumerate(methods)]
        if content.earlier_truth:
            later = set(table_spec("truth_scores").later)
            scores = [{name: value for name, value in row.items() if name not in later} for row in scores]
        else:
            tables["truth_regions"] = [
                {"region": r, "imposed": place < 2, "log_jacobian": -0.2 if place < 2 else 0.01}
                for place, r in enumerate((*REGIONS, *OUTSIDE_ATLAS))
            ]
        tables["truth_scores"] = scores
    tables["baseline_predictions"] = [
        {"classifier": "region_means", "model": m, "scan": s, "subject": SCANS[s][0], "group": SCANS[s][1]}
        for m in (*folds, "holdout") for s in explained(m) if SCANS[s][1] in GROUPS
    ]  # fmt: skip
    for name, rows in tables.items():
        writer.put_table(name, fill(name, rows, content.random))


def _truth_score(model_set: str, method: str, diagnosis: str, place: int) -> dict:
    """Voxel AUC of a method; references of the patients of the fixed test set alone."""
    value, referenced = 0.6 + 0.08 * place, model_set == "holdout" and diagnosis == GROUPS[0]
    row = {
        "model_set": model_set, "method": method, "diagnosis": diagnosis, "level": "group", "score": "voxel_auc",
        "value": value, "value_low": value - 0.05, "value_high": value + 0.05, "ceiling": 1.0,
        "group_difference": 0.93, "scans": 3, "subjects": 2, "empty": 0,
        "note": "" if referenced else "references are of the fixed test set",
    }  # fmt: skip
    for prefix, reference in (("", 0.5), ("null_", 0.55)):
        known = {"reference": reference, "reference_sd": 0.02, "difference": value - reference,
                 "difference_low": value - reference - 0.06, "difference_high": value - reference + 0.06}  # fmt: skip
        row |= {f"{prefix}{name}": number if referenced else None for name, number in known.items()}
    return row


def _prediction(content: Content, model: str, scan: str) -> dict:
    subject, diagnosis = SCANS[scan][:2]
    p, predicted = content.probability[model, scan], content.predicted(model, scan)
    group = diagnosis if diagnosis in GROUPS else None
    return {
        "model": model, "model_set": MODELS[model], "scan": scan, "subject": subject, "diagnosis": diagnosis,
        "group": group, "probability": p, "margin": float(np.log(p) - np.log(1 - p)), "predicted": predicted,
        "correct": None if group is None else group == predicted, "value": None, "observed": None,
    }  # fmt: skip


def _regions(content: Content) -> list[dict]:
    rows = []
    for index, region in enumerate((*REGIONS, *OUTSIDE_ATLAS), 1):
        voxels = int((content.atlas == index).sum())
        merged = region.removesuffix("_L").removesuffix("_R")
        rows.append({
            "region": region, "index": index, "merged": merged, "paper": merged.replace("_", ""),
            "code": 4000 + index if index <= len(REGIONS) else None,
            "lobe": "temporal" if index <= len(REGIONS) else "other", "in_atlas": index <= len(REGIONS),
            "voxels": voxels, "volume_cm3": voxels * GRID_MM**3 / 1000,
        })  # fmt: skip
    return rows


def fill(name: str, rows: list[dict], random: np.random.Generator) -> pd.DataFrame:
    """The rows with every other column of the table: random numbers, empty texts."""
    frame = pd.DataFrame(rows)
    for column, (dtype, _) in table_spec(name).columns.items():
        if column not in frame and not (name == "truth_scores" and column in table_spec(name).later):
            values = {"float64": random.uniform(0.1, 0.9, len(frame)), "int64": 1, "bool": False, "string": ""}
            frame[column] = values[dtype]
    return frame
