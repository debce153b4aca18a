"""Scores of a simulated run's heatmaps against the imposed change, beside the same method on untrained networks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from engine.aggregate import explained, group_mass, stored_series
from engine.analysis.cells import scan_weights
from engine.analysis.maps import mass
from engine.analysis.truth import SCORES, TruthScorer
from engine.explain import build_method, space
from engine.model.architectures import build_network
from engine.model.checkpoints import load_model
from engine.model.volumes import Volumes, chunked
from engine.relevance import METHODS, BatchSize
from engine.run import Run
from store import RunReader
from store.spec import MODELS_FOLDER

CHUNK = 8


def score_run(run: Run, reader: RunReader) -> list[dict]:
    """Rows of the truth_scores table; none for a cohort without imposed change."""
    if not (run.cohort.simulated and reader.has_array("truth/binary")):
        return []
    scorer = TruthScorer(
        reader.array("truth/binary") > 0,
        reader.array("truth/difference"),
        run.mask,
        run.atlas.labels,
        run.config.grid_mm,
    )
    rows = []
    series = stored_series(reader).drop_duplicates(["model_set", "method"]).to_dict("records")
    plan = [(one, diagnosis) for one in series for diagnosis in run.groups]
    with run.progress.task("truth scores", len(plan)) as task:
        for one, diagnosis in plan:
            rows += _series_rows(run, reader, scorer, one, diagnosis)
            task.advance()
    return rows


def _series_rows(run: Run, reader: RunReader, scorer: TruthScorer, series: dict, diagnosis: str) -> list[dict]:
    """Scores of one method: of the group's mean map, and the mean over its scans; the positive group is the target."""
    target = run.groups[0]
    scans = explained(reader, series["model_set"])
    scans = scans[scans["diagnosis"] == diagnosis]
    of_group = scorer(group_mass(run, reader, series, target, diagnosis))
    of_scans, gradient = [], METHODS[series["method"]].gradient
    for row in scans.to_dict("records"):
        heatmap = reader.heatmap(row["model"], series["method"], row["scan"], target=target)
        of_scans.append(scorer(mass(heatmap, gradient)))
    # Occluding with untrained networks costs as much as the whole explanation; gradients on the test set cost seconds.
    affordable = gradient and series["model_set"] == "holdout"
    reference = _untrained(run, scorer, series, scans) if affordable else {}
    rows = []
    for level, values in (("group", [of_group]), ("scan", of_scans)):
        for score in SCORES:
            finite = [v[score] for v in values if np.isfinite(v[score])]
            value = float(np.mean(finite)) if finite else np.nan
            known = reference.get((level, score), [])
            mean = float(np.mean(known)) if known else np.nan
            rows.append(
                {
                    "model_set": series["model_set"],
                    "method": series["method"],
                    "diagnosis": diagnosis,
                    "level": level,
                    "score": score,
                    "value": value,
                    "reference": mean,
                    "reference_sd": float(np.std(known, ddof=1)) if len(known) > 1 else np.nan,
                    "difference": value - mean,
                    "scans": len(scans),
                }
            )
    return rows


def _untrained(run: Run, scorer: TruthScorer, series: dict, scans) -> dict[tuple[str, str], list[float]]:
    """(level, score) -> one value for each untrained network."""
    found: dict[tuple[str, str], list[float]] = {}
    weights = scan_weights(scans, run.config.analysis.weights)
    config = run.config
    for number in range(config.analysis.untrained_networks):
        seed = 1_000_000 + 1000 * config.seed + number
        network = build_network(config.grid_mm, seed=seed, name=config.training.network).eval()
        total, scores = np.zeros(run.mask.shape), []
        for key, relevance in _untrained_maps(run, series["method"], network, scans):
            scores.append(scorer(relevance))
            total += weights[key] * relevance / max(relevance.sum(), np.finfo(np.float32).tiny)
        of_group = scorer(total)
        for score in SCORES:
            found.setdefault(("group", score), []).append(of_group[score])
            found.setdefault(("scan", score), []).append(float(np.mean([s[score] for s in scores])))
    return found


def _untrained_maps(
    run: Run, method: str, network: torch.nn.Module, scans
) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """((model, scan), m) by an untrained network, on volumes normalised as for the trained one."""
    device = torch.device(run.device)
    network = network.to(device)
    explainer = build_method(method, run.config, space(run, device), BatchSize(run.config.explain.batch_size))
    for model, rows in scans.groupby("model", sort=False):
        _, normalisation, _ = load_model(run.staging / MODELS_FOLDER, model, run.mask)
        chunks = chunked(rows["scan"].tolist(), CHUNK)
        volumes = Volumes(run.cache.read, rows["scan"].tolist(), normalisation, device, resident="never")
        for chunk, batch in zip(chunks, volumes.batches(chunks), strict=True):
            heatmaps = explainer.attribute(network, batch, 1).margin.cpu().numpy()
            heatmaps[:, ~run.mask] = 0
            for scan, heatmap in zip(chunk, heatmaps, strict=True):
                yield (model, scan), mass(heatmap, METHODS[method].gradient)
