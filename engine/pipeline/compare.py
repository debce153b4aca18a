"""Do methods agree, do patients agree, does the heatmap find the truth: distances, variability, truth scores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby, product

import numpy as np
import pandas as pd

from engine.analysis.cells import scan_weights
from engine.analysis.distances import (
    distance,
    has_relevance,
    mass,
    normalised,
)
from engine.pipeline.aggregate import explained, group_mass, stored_series
from engine.pipeline.run import Run
from engine.pipeline.truth_scores import score_run
from engine.pipeline.whole_volume import WholeAverages, whole_masses
from engine.relevance import METHODS
from store import RunReader
from store.measures import correlation_of_ranks, rank_correlation, ranks
from store.reading.read_ahead import ahead


def methods_of(reader: RunReader, model_set: str) -> list[dict]:
    """Return the methods of a model set, each once, in order, with their native grid."""
    series = stored_series(reader)
    return series[series["model_set"] == model_set].drop_duplicates("method").to_dict("records")


def configured_target(run: Run) -> str:
    """Return the configured target: a group, true or predicted."""
    target = run.config.analysis.target
    return {"positive": run.groups[0], "negative": run.groups[1]}.get(target, target)


def main_target(run: Run, row: dict) -> str | None:
    """Return the group that the configured target means for a scan; None for the true group of an apply scan."""
    target = configured_target(run)
    return {"true": row["group"], "predicted": row["predicted"]}.get(target, target) or None


def _scan_masses(
    run: Run, reader: RunReader, model_set: str, methods: list[dict]
) -> Iterator[tuple[dict, dict[str, np.ndarray]]]:
    """Read (prediction row, method -> m in the brain mask or the whole volume, float32), one scan at a time.

    The scans of one subject and diagnosis follow each other.
    """
    rows = explained(reader, model_set).sort_values(["subject", "diagnosis"], kind="stable").to_dict("records")
    targeted = [{**row, "target": target} for row in rows if (target := main_target(run, row)) is not None]

    if _whole(run):
        return whole_masses(run, reader, methods, targeted)

    def read(row: dict) -> tuple[dict, dict[str, np.ndarray]]:
        maps = {}
        for series in methods:
            gradient = METHODS[series["method"]].gradient
            scale = "margin" if gradient else run.config.analysis.occlusion_scale
            heatmap = reader.heatmap(row["model"], series["method"], row["scan"], target=row["target"], scale=scale)
            maps[series["method"]] = mass(heatmap[run.mask], gradient)
        return row, maps

    return ahead(read, targeted)


def _whole(run: Run) -> bool:
    """Return whether distances are over the whole volume, as in the paper, and not inside the brain mask."""
    return run.config.analysis.distance_volume == "whole"


def write_comparisons(run: Run) -> None:
    """Write the tables distances, scan_distances and variability."""
    reader = run.reader()
    pairs, spread, groups = _Rows(PAIR_COLUMNS), _Rows(VARIABILITY_COLUMNS), []
    for model_set in stored_series(reader)["model_set"].drop_duplicates():
        methods = methods_of(reader, model_set)
        predictions = explained(reader, model_set)
        means, averages = None, None
        if run.has_groups or _whole(run):
            means, averages = _group_means(run, reader, model_set, methods, predictions)
        target = configured_target(run)
        shares = _RegionShares(reader, model_set, methods, [target] if target in run.groups else run.groups)
        with run.progress.task(f"distances, {model_set}", len(predictions)) as task:
            masses = _scan_masses(run, reader, model_set, methods)
            for _, scans in groupby(masses, key=lambda item: (item[0]["subject"], item[0]["diagnosis"])):
                of_subject = list(scans)  # a handful: the scans of one person
                for row, maps in of_subject:
                    pairs.add(_pair_rows(run, row, maps, shares))
                spread.add(_spread_rows(run, of_subject, means if run.has_groups else None, shares))
                task.advance(len(of_subject))
        averages = averages or (lambda s, d: group_mass(run, reader, s, configured_target(run), d)[run.mask])
        groups += _group_rows(run, averages, model_set, methods, predictions)
    scan_distances = pairs.frame()
    summary = _summary_rows(scan_distances, reader.table("predictions"))
    run.writer.put_table("scan_distances", scan_distances)
    run.writer.put_table("distances", pd.DataFrame([*groups, *summary], columns=DISTANCE_COLUMNS))
    run.writer.put_table("variability", spread.frame())


class _Rows:
    """Rows of a table that grows with the scans, kept as frames: rows as dictionaries take ten times their memory."""

    def __init__(self, columns: list[str]) -> None:
        self._columns = columns
        self._rows: list[dict] = []
        self._frames: list[pd.DataFrame] = []

    def add(self, rows: list[dict]) -> None:
        self._rows += rows
        if len(self._rows) >= ROWS_AT_ONCE:
            self._frames.append(self._of_rows())

    def frame(self) -> pd.DataFrame:
        """Return all rows."""
        return pd.concat([*self._frames, self._of_rows()], ignore_index=True)

    def _of_rows(self) -> pd.DataFrame:
        frame, self._rows = pd.DataFrame(self._rows, columns=self._columns), []
        return frame


ROWS_AT_ONCE = 10_000
PAIR_COLUMNS = ["model", "model_set", "scan", "method_a", "method_b", "distance", "rank_correlation"]
DISTANCE_COLUMNS = [
    "model_set", "diagnosis", "level", "method_a", "method_b", "distance", "distance_sd", "rank_correlation",
    "rank_correlation_sd", "scans",
]  # fmt: skip
VARIABILITY_COLUMNS = [
    "model", "model_set", "method", "target", "scan", "distance_to_group", "temporal_share", "cortical_share",
]  # fmt: skip


def _pair_rows(run: Run, row: dict, maps: dict[str, np.ndarray], shares: _RegionShares) -> list[dict]:
    rows = []
    for a, b in combinations(maps, 2):
        first, second = (shares[row["model"], m, row["target"], row["scan"]] for m in (a, b))
        rows.append(
            {
                **{key: row[key] for key in ("model", "model_set", "scan")},
                "method_a": a,
                "method_b": b,
                "distance": distance(maps[a], maps[b], run.config.grid_mm),
                "rank_correlation": rank_correlation(first, second),
            }
        )
    return rows


class _RegionShares:
    """Shares of the regions of scans by (model, method, target, scan), in the order of the regions table."""

    def __init__(self, reader: RunReader, model_set: str, methods: list[dict], targets: Sequence[str]) -> None:
        self._values, self._rows = {}, {}
        for method, target in product([series["method"] for series in methods], targets):
            found = reader.region_values(model_set, method, target, ("share",))
            self._values[method, target] = found.values["share"]
            self._rows[method, target] = {pair: row for row, pair in enumerate(found.pairs())}

    def __getitem__(self, key: tuple[str, str, str, str]) -> np.ndarray:
        model, method, target, scan = key
        return self._values[method, target][self._rows[method, target][model, scan]]


def _summary_rows(scan_distances: pd.DataFrame, predictions: pd.DataFrame) -> list[dict]:
    """Return mean and spread of the distances over scans."""
    table = scan_distances.merge(predictions[["model", "scan", "diagnosis"]], on=["model", "scan"])
    rows = []
    for key, part in table.groupby(["model_set", "diagnosis", "method_a", "method_b"], sort=False):
        rows.append(
            {
                "model_set": key[0],
                "diagnosis": key[1],
                "level": "scan",
                "method_a": key[2],
                "method_b": key[3],
                "distance": part["distance"].mean(),
                "distance_sd": part["distance"].std(),
                "rank_correlation": part["rank_correlation"].mean(),
                "rank_correlation_sd": part["rank_correlation"].std(),
                "scans": part["scan"][part["distance"].notna()].nunique(),
            }
        )
    return rows


def _group_rows(
    run: Run, average: Callable[[dict, str], np.ndarray], model_set: str, methods: list[dict], predictions: pd.DataFrame
) -> list[dict]:
    """Return the distances between group averages (the paper's table 2).

    Args:
        average: (method, diagnosis) -> (n,) group average of m, of the brain's voxels or of the whole volume.
    """
    rows, target = [], configured_target(run)
    for diagnosis, scans in predictions.groupby("diagnosis", sort=False):
        if target == "true" and diagnosis not in run.groups:
            continue
        averages = {s["method"]: average(s, diagnosis) for s in methods}
        brain = run.mask.ravel() if _whole(run) else slice(None)
        ranked = {method: ranks(values[brain]) for method, values in averages.items()}
        for a, b in combinations(averages, 2):
            rows.append(
                {
                    "model_set": model_set,
                    "diagnosis": diagnosis,
                    "level": "group",
                    "method_a": a,
                    "method_b": b,
                    "distance": distance(averages[a], averages[b], run.config.grid_mm),
                    "distance_sd": np.nan,
                    "rank_correlation": correlation_of_ranks(ranked[a], ranked[b]),
                    "rank_correlation_sd": np.nan,
                    "scans": scans["scan"].nunique(),
                }
            )
    return rows


# -- between patients ---------------------------------------------------------------------------------------------


@dataclass
class GroupMeans:
    """Sums over subjects of the mean of their normalised maps.

    Attributes:
        sums: (method, diagnosis) -> sum.
        subjects: (method, diagnosis) -> subjects in it; those without any relevance are not.
    """

    sums: dict[tuple[str, str], np.ndarray]
    subjects: dict[tuple[str, str], int]


def _group_means(
    run: Run, reader: RunReader, model_set: str, methods: list[dict], predictions: pd.DataFrame
) -> tuple[GroupMeans, Callable[[dict, str], np.ndarray] | None]:
    """Return the means; with distances over the whole volume also the group averages, which the store lacks."""
    means, whole = GroupMeans({}, defaultdict(int)), None
    if _whole(run):
        whole = WholeAverages(run, scan_weights(predictions, run.config.analysis.weights))
    with run.progress.task(f"averages, {model_set}", len(predictions)) as task:
        masses = _scan_masses(run, reader, model_set, methods)
        for (_, diagnosis), scans in groupby(masses, key=lambda item: (item[0]["subject"], item[0]["diagnosis"])):
            of_subject = list(scans)
            if whole:
                for row, maps in of_subject:
                    whole.add(row, maps)
            for method in of_subject[0][1]:
                own, key = _mean_of_subject(of_subject, method), (method, diagnosis)
                if own is not None:
                    means.sums[key] = means.sums.get(key, 0.0) + own
                    means.subjects[key] += 1
            task.advance(len(of_subject))
    return means, whole.of if whole else None


def _mean_of_subject(scans: list[tuple[dict, dict[str, np.ndarray]]], method: str) -> np.ndarray | None:
    """Return the mean map of one subject, each divided by its sum, float64; None where none has any relevance."""
    maps = [normalised(found[method]).astype(np.float64) for _, found in scans if has_relevance(found[method])]
    return np.asarray(sum(maps)) / len(maps) if maps else None


def _spread_rows(
    run: Run, scans: list[tuple[dict, dict[str, np.ndarray]]], means: GroupMeans | None, shares: _RegionShares
) -> list[dict]:
    """Return the variability of the scans of one subject and diagnosis; without means without distances."""
    regions = run.atlas.regions
    inside = regions["in_atlas"].to_numpy(bool)
    temporal, cortical = ((regions["lobe"] == lobe).to_numpy(bool) & inside for lobe in ("temporal", "cortical"))
    rows = []
    for method in scans[0][1]:
        others = _mean_of_others(scans, method, means) if means else None
        for row, maps in scans:
            share = shares[row["model"], method, row["target"], row["scan"]]
            away = distance(maps[method], others, run.config.grid_mm) if others is not None else np.nan
            rows.append(
                {
                    **{key: row[key] for key in ("model", "model_set", "target", "scan")},
                    "method": method,
                    "distance_to_group": away,
                    "temporal_share": _known_sum(share[temporal]),
                    "cortical_share": _known_sum(share[cortical]),
                }
            )
    return rows


def _mean_of_others(
    scans: list[tuple[dict, dict[str, np.ndarray]]], method: str, means: GroupMeans
) -> np.ndarray | None:
    """Return the sum of the maps of the other subjects of the diagnosis; None where there are none."""
    key, own = (method, scans[0][0]["diagnosis"]), _mean_of_subject(scans, method)
    if means.subjects[key] - (own is not None) < 1:
        return None
    return np.maximum(means.sums[key] - (0 if own is None else own), 0)


def _known_sum(shares: np.ndarray) -> float:
    """Return the sum of the shares of a scan that are known; nan where the scan has none."""
    return float(np.nansum(shares)) if np.isfinite(shares).any() else float("nan")


# -- known truth --------------------------------------------------------------------------------------------------


def write_truth_scores(run: Run) -> None:
    """Write the table truth_scores; none where no truth is known."""
    rows = score_run(run, run.reader())
    if rows:
        run.writer.put_table("truth_scores", pd.DataFrame(rows))
