"""What each difference from Rieke et al. 2018 changes, on finished runs: python -m engine.pipeline.replication."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from engine.analysis.cells import scan_weights
from engine.analysis.distances import mass
from engine.analysis.regions import RegionSums
from engine.atlas.aal import Atlas, load_atlas
from engine.cohort.splits import split
from engine.config.schema import AtlasConfig, SplitConfig
from engine.errors import UserError
from engine.pipeline.aggregate import explained, stored_series
from engine.pipeline.tool import print_answer, tool_parser
from engine.relevance import METHODS
from store import RunReader, open_run
from store.errors import StoreError
from store.keys import are_of_folds
from store.measures import rank_correlation
from store.reading.read_ahead import ahead

TOP = 10
SPLIT_SEEDS = 20
METRICS = ("auc", "auc_hard", "balanced_accuracy")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 for the user's mistake."""
    options = parser().parse_args(arguments)
    try:
        runs = [open_run(options.store, name) for name in options.runs]
        base, drawn = runs[0], AtlasConfig(path=options.atlas, labels=options.labels)
        found = {
            "run": base.run_id,
            "simulated": base.simulated,
            "model_set": options.model_set,
            "atlas": options.atlas.name if options.atlas else "AAL2",
            "rankings": rankings(base, options.model_set, drawn),
            "accuracy": [accuracy(run) for run in runs],
            "folds": fold_shares(base),
            "effective_scans": effective_scans(base, options.model_set),
            "hippocampus_dice": stretched_dice(drawn),
        }
    except (UserError, StoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return print_answer(found, options, markdown)


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    p = tool_parser(
        "replication", "Measures, on a finished run, what each rule of Rieke et al. 2018 changes against ours."
    )
    p.add_argument("store", help="result store")
    p.add_argument(
        "runs", nargs="+", metavar="RUN", help="run with ours; further runs: their accuracy is set beside it"
    )
    p.add_argument("--model-set", choices=("holdout", "folds"), default="folds", help="default: %(default)s")
    p.add_argument("--atlas", type=Path, help="NIfTI of labels, such as the paper's AAL1; default: AAL2")
    p.add_argument("--labels", type=Path, help="CSV of its labels, columns name and index")
    return p


# -- rankings of regions ------------------------------------------------------------------------------------------


def rankings(run: RunReader, model_set: str, drawn: AtlasConfig) -> list[dict]:
    """Return for every rule and method which of the patients' first ten regions change, and the rank correlation.

    The patients are the scans of the positive group; a region's share is its part of the group average of m over all
    atlas regions, left and right added (docs/definitions.md, Share and density).

    Args:
        run: with heatmaps.
        model_set: holdout or folds.
        drawn: the atlas, whatever its placement: rules compare it placed by its affine with it stretched.
    Raises:
        UserError: the model set has no patients or no heatmaps, or the atlas cannot be used.
    """
    methods = stored_series(run)
    methods = methods[methods["model_set"] == model_set].drop_duplicates("method")
    patients = explained(run, model_set)
    patients = patients[patients["group"] == run.groups[0]]
    if methods.empty or patients.empty:
        raise UserError(f"run {run.run_id}: no heatmaps of the positive group in model set {model_set}")
    placed, stretched = _both(drawn, int(run.manifest["grid_mm"]))
    rows = []
    for series in methods.itertuples():
        rules = _rules(run, series, patients, placed, stretched)
        ours = rules.pop("ours")
        for rule, share in rules.items():
            rows.append({"rule": rule, "method": series.method, **compared(ours, share)})
    return rows


def compared(ours: pd.Series, other: pd.Series) -> dict:
    """Return {changed: of the first ten, rank_correlation: over all regions} of two shares by region."""
    other = other.reindex(ours.index)
    first, second = (set(s.nlargest(TOP).index) for s in (ours, other))
    return {
        "changed": len(first - second),
        "rank_correlation": rank_correlation(ours.to_numpy(), other.to_numpy()),
        "first": ours.idxmax(),
        "first_other": other.idxmax(),
    }


def _both(drawn: AtlasConfig, mm: int) -> tuple[Atlas, Atlas]:
    """Return the atlas placed by its affine, and stretched to the grid."""
    placed, stretched = (drawn.model_copy(update={"placement": kind}) for kind in ("affine", "stretched"))
    return load_atlas(placed, mm), load_atlas(stretched, mm)


def _rules(run: RunReader, series, patients: pd.DataFrame, placed: Atlas, stretched: Atlas) -> dict[str, pd.Series]:
    """Return rule -> share by merged region."""
    gradient, positive = METHODS[series.method].gradient, run.groups[0]
    sums = _scan_sums(run, series, patients, positive, "margin", placed)
    by_prediction = _scan_sums(run, series, patients, "predicted", "margin", placed)
    stretched_sums = _scan_sums(run, series, patients, positive, "margin", stretched)
    weights = scan_weights(patients, "subject")
    if gradient:
        even = _over_absolute_sum(run, series, patients)
        weights = scan_weights(patients, "subject", even > 0)  # a map without relevance is in no average of shares
        unsure = (patients["probability"] * (1 - patients["probability"])).to_numpy()
    else:
        even = unsure = np.ones(len(patients))
    of_subjects = np.array([weights[key] for key in _keys(patients)])
    rules = {
        "ours": _share(sums, of_subjects * even),
        "weights": _share(sums, even),
        "target": _share(by_prediction, of_subjects * even),
        "atlas": _share(stretched_sums, of_subjects * even),
        "misclassified": _share(sums, of_subjects * even * patients["correct"].to_numpy(float)),
    }
    if gradient:
        rules["scale"] = _share(sums, of_subjects * unsure)
        together = _scan_sums(run, series, patients, "predicted", "margin", stretched)
    else:
        rules["scale"] = _share(_scan_sums(run, series, patients, positive, "probability", placed), of_subjects)
        together = _scan_sums(run, series, patients, "predicted", "probability", stretched)
    return {**rules, "together": _share(together, unsure)}


def _keys(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(rows["model"], rows["scan"], strict=True))


def _over_absolute_sum(run: RunReader, series, patients: pd.DataFrame) -> np.ndarray:
    """Return 1 / sum of |h|, (scans,): what the relative scale multiplies a gradient map by."""
    known = run.table("heatmaps", ["model", "scan", "absolute_sum"], method=series.method, target=run.groups[0])
    total = known.drop_duplicates(["model", "scan"]).set_index(["model", "scan"])["absolute_sum"]
    found = total.reindex(_keys(patients)).to_numpy()
    return np.divide(1, found, out=np.zeros(len(found)), where=found > 0)


def _scan_sums(run: RunReader, series, patients: pd.DataFrame, target: str, scale: str, atlas: Atlas) -> pd.DataFrame:
    """Return the sum of m in each scan, (scans, merged regions of the atlas)."""
    regions = atlas.regions
    adder = RegionSums(atlas.labels, len(regions))

    def read(row) -> np.ndarray:
        heatmap = run.heatmap(row.model, series.method, row.scan, target=target, scale=scale)
        return adder.sums(adder.gather(mass(heatmap, METHODS[series.method].gradient)))

    found = pd.DataFrame(list(ahead(read, list(patients.itertuples()))), columns=regions["region"])
    inside = regions[regions["in_atlas"]].set_index("region")["merged"]
    return found[inside.index].T.groupby(inside, sort=False).sum().T


def _share(sums: pd.DataFrame, weights: np.ndarray) -> pd.Series:
    average = sums.mul(weights, axis=0).sum()
    return average / max(average.sum(), np.finfo(float).tiny)


# -- accuracy, folds, weights, atlas ------------------------------------------------------------------------------


def accuracy(run: RunReader) -> dict:
    """Return the mean over folds of the network's metrics, by scan, and their spread with both divisors."""
    table = run.table("metrics", classifier="cnn", level="scan")
    folds = table[are_of_folds(table["model"])]
    found: dict = {"run": run.run_id}
    for metric in METRICS:
        values = folds.loc[folds["metric"] == metric, "value"].to_numpy(float)
        if len(values) > 1:
            found[metric] = {"mean": values.mean(), "sd_ddof_0": values.std(), "sd_ddof_1": values.std(ddof=1)}
    return found


def fold_shares(run: RunReader) -> dict:
    """Return rule -> least and greatest share of positive scans in a test fold, and how alike test sets are."""
    scans = run.table("scans").drop(columns=["fold", "holdout"])
    scans = scans[scans["role"] == "cohort"]
    positive = scans["group"] == run.groups[0]
    found = {}
    for rule in ("stratified", "rieke2018"):
        shares, held_out = [], []
        for seed in range(SPLIT_SEEDS):
            dealt = split(scans, run.groups, SplitConfig(rule=rule), seed)
            shares += positive.groupby(dealt["fold"]).mean().tolist()
            held_out.append(dealt["holdout"].to_numpy())
        alike = float(np.mean([a == b for a, b in pairwise(held_out)]))
        found[rule] = {"least": min(shares), "greatest": max(shares), "same_test_set": alike}
    return found


def effective_scans(run: RunReader, model_set: str) -> dict:
    """Return (sum of weights)^2 / sum of squares of the patients' sensitivity maps, which weigh their sum of |h|.

    With gradients of the probability an unsure decision weighs p(1-p) times its map; ours weigh the same.
    """
    patients = explained(run, model_set)
    patients = patients[patients["group"] == run.groups[0]]
    sensitivity = stored_series(run).query("method == 'sensitivity' and model_set == @model_set")
    if sensitivity.empty:
        return {}
    inverse = _over_absolute_sum(run, next(sensitivity.itertuples()), patients)
    unsure = (patients["probability"] * (1 - patients["probability"])).to_numpy()
    weights = np.divide(unsure, inverse, out=np.zeros(len(inverse)), where=inverse > 0)
    return {"scans": len(patients), "effective": float(weights.sum() ** 2 / max((weights**2).sum(), 1e-300))}


def stretched_dice(drawn: AtlasConfig) -> float:
    """Return the overlap of the stretched hippocampus with the placed one, at 1 mm; nan where there is none."""
    placed, stretched = _both(drawn, 1)
    codes = placed.regions.loc[placed.regions["merged"] == "Hippocampus", "index"]
    first, second = (np.isin(one.labels_1mm, codes) for one in (placed, stretched))
    return float(2 * (first & second).sum() / max(first.sum() + second.sum(), 1)) if len(codes) else float("nan")


# -- words --------------------------------------------------------------------------------------------------------

RULES = {
    "target": "target: predicted group instead of the positive one",
    "scale": "scale: drops and gradients of the probability",
    "weights": "weights: each scan the same instead of each subject",
    "misclassified": "only correctly classified patients",
    "atlas": "atlas: stretched to the grid instead of placed",
    "together": "the paper's target, scale, weights and atlas together",
}


def markdown(found: dict) -> list[str]:
    """Return the answer as lines of Markdown."""
    methods = list(dict.fromkeys(row["method"] for row in found["rankings"]))
    kind = "simulated" if found["simulated"] else "real"
    lines = [
        f"Run {found['run']} ({kind}), model set {found['model_set']}: of the first ten regions of the patients, how "
        "many change; rank correlation over all regions; the first region where it changes.",
        "",
        f"| rule | {' | '.join(methods)} |",
        "|---" * (len(methods) + 1) + "|",
    ]
    cell = {(row["rule"], row["method"]): _cell(row) for row in found["rankings"]}
    lines += [
        f"| {words} | {' | '.join(cell.get((rule, method), '') for method in methods)} |"
        for rule, words in RULES.items()
    ]
    lines += ["", "| run | AUC | AUC of hard labels | balanced accuracy |", "|---|---|---|---|"]
    for row in found["accuracy"]:
        lines.append(f"| {row['run']} | {' | '.join(_spread(row.get(metric)) for metric in METRICS)} |")
    lines += ["", "Means over folds; SD with n - 1 (with n)."]
    for rule, shares in found["folds"].items():
        lines.append(
            f"Split {rule}, {SPLIT_SEEDS} seeds: {shares['least']:.0%} to {shares['greatest']:.0%} of a test fold are "
            f"patients; the same fixed test set for every seed: {'yes' if shares['same_test_set'] == 1 else 'no'}."
        )
    if found["effective_scans"]:
        lines.append(
            "Sensitivity of the probability: the average of {scans} patients' maps weighs as many as {effective:.1f} "
            "equal ones.".format(**found["effective_scans"])
        )
    dice = f"Hippocampus of {found['atlas']}, stretched against placed, at 1 mm: Dice {found['hippocampus_dice']:.2f}."
    return [*lines, dice]


def _cell(row: dict) -> str:
    text = f"{row['changed']} of {TOP}, {row['rank_correlation']:.2f}"
    return text if row["first"] == row["first_other"] else f"{text}, {row['first_other']} for {row['first']}"


def _spread(values: dict | None) -> str:
    return "" if values is None else f"{values['mean']:.3f} +- {values['sd_ddof_1']:.3f} ({values['sd_ddof_0']:.3f})"


if __name__ == "__main__":
    raise SystemExit(main())
