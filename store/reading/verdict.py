"""Whether the networks of a run separate its groups at all: what must be said wherever their heatmaps are shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd

from store.accuracy import (
    FOLDS,
    LEAST_SUBJECTS,
    Difference,
    Estimate,
    Judged,
    Valued,
    differences,
    estimates,
    judged,
    judged_scans,
)
from store.reading.reader import RunReader

BASELINES = {"region_means": "region means", "covariates": "covariates"}
CHANCE = 0.5


@dataclass(frozen=True)
class Verdict:
    """What the accuracy of the networks means for their heatmaps.

    Attributes:
        separates: whether they tell the groups apart (a regression: predict the target); None: cannot be told.
        banner: a sentence for every page and paper with heatmaps; empty where they separate.
        figures: the numbers behind it, with intervals.
        baseline: a sentence on a linear model that does better; empty where none is known to.
    """

    separates: bool | None
    banner: str
    figures: str
    baseline: str = ""

    @property
    def caption(self) -> str:
        """Write the banner and its numbers, for captions; empty where the networks separate."""
        return f"{self.banner} {self.figures}." if self.banner else ""


def verdict(run: RunReader) -> Verdict | None:
    """Apply the rule to a run's own predictions; None where nothing was judged (a run of new scans: ask its reference).

    Networks separate the groups if both 95 % intervals, of the AUC and of the balanced accuracy, lie above 0.5; a
    regression predicts its target if that of Pearson's r lies above 0. The test scans of all folds are taken together
    where there are folds, else those of the fixed test set. Below LEAST_SUBJECTS in the smaller group nothing can be
    told. A linear model does better if the 95 % interval of the paired difference (AUC; of a regression the mean
    absolute error) leaves out 0 on its side, or if it separates and the networks do not.
    """
    if run.group_level is not None:
        return _published(run.group_level.get("verdict"))
    if run.reference_run or not run.has_table("predictions"):
        return None
    is_value, predictions = run.task == "regression", run.table("predictions")
    which = FOLDS if len(judged_scans(predictions, FOLDS)) else "holdout"
    scans = judged_scans(predictions, which)
    own = judged(scans, run.groups[0], is_value)
    if own is None:
        return None
    found = estimates(own)
    said = of_values(found) if is_value else of_groups(found, which, run.groups)
    baseline = _better_baseline(run, which, said.separates)
    return Verdict(said.separates, said.banner, said.figures, baseline)


def _published(said: Any) -> Verdict | None:
    """Return the verdict that a run without persons took over from the run it was derived from."""
    if not isinstance(said, dict) or not isinstance(said.get("separates"), bool | None):
        return None
    return Verdict(said["separates"], *(str(said.get(name, "")) for name in ("banner", "figures", "baseline")))


def in_words(name: str, one: Estimate | Difference, digits: int = 2) -> str:
    """Write the estimate as "AUC 0.56 (95 % CI 0.44 to 0.67)"."""
    value = f"{one.value:.{digits}f}"
    if not math.isfinite(one.low):
        return f"{name} {value}"
    return f"{name} {value} (95 % CI {one.low:.{digits}f} to {one.high:.{digits}f})"


def of_groups(found: dict[str, Estimate], which: str, groups: tuple[str, str]) -> Verdict:
    """Apply the rule for two groups, without baselines.

    Args:
        found: of `estimates`.
        which: folds or holdout.
    """
    auc, balanced = found["auc"], found["balanced_accuracy"]
    over = "over all folds" if which == FOLDS else "on the fixed test set"
    figures = f"{in_words('AUC', auc)}, {in_words('balanced accuracy', balanced)} {over}"
    if auc.subjects < LEAST_SUBJECTS or not math.isfinite(auc.low):
        return Verdict(None, _too_few("separate the groups"), figures)
    if auc.low <= CHANCE:
        return Verdict(False, "These networks do not separate the groups; their maps mean nothing.", figures)
    if balanced.low <= CHANCE:
        called = groups[0] if found["sensitivity"].value >= found["specificity"].value else groups[1]
        return Verdict(
            False,
            f"The decisions of these networks are no better than chance (most scans are called {called}); their maps "
            "mean nothing.", figures,
        )  # fmt: skip
    return Verdict(True, "", figures)


def of_values(found: dict[str, Estimate]) -> Verdict:
    """Apply the rule for a regression, without baselines."""
    figures = in_words("r", found["r"])
    if found["r"].subjects < LEAST_SUBJECTS:
        return Verdict(None, _too_few("predict the target"), figures)
    if not found["r"].low > 0:
        return Verdict(False, "These networks do not predict the target; their maps mean nothing.", figures)
    return Verdict(True, "", figures)


def _too_few(what: str) -> str:
    """Say that subjects are too few, without their number, which readers without a role must not learn."""
    return (
        f"Too few test subjects (below {LEAST_SUBJECTS}, of two groups in the smaller) to tell whether these networks "
        f"{what}: their maps may mean nothing."
    )


def baseline_scans(run: RunReader, classifier: str, model_set: str) -> pd.DataFrame:
    """Return the test scans of a model set as a linear baseline judged them; empty in runs that did not keep them."""
    if not run.has_table("baseline_predictions"):
        return pd.DataFrame(columns=["model", "scan"])
    return judged_scans(run.table("baseline_predictions", classifier=classifier), model_set)


def paired(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Return the test scans of two classifiers in one order; None where they judged other scans or groups."""
    keys = ["scan", "subject", "group"]
    ordered = [frame.sort_values("scan", kind="stable").reset_index(drop=True) for frame in (first, second)]
    alike = len(first) == len(second) > 0 and not first["scan"].duplicated().any()  # new scans: no test scans at all
    if not alike or not (ordered[0][keys].astype(str) == ordered[1][keys].astype(str)).all(axis=None):
        return None
    return ordered[0], ordered[1]


@dataclass(frozen=True)
class Against:
    """A linear baseline and the networks on the same test scans.

    Attributes:
        gaps: metric -> the linear model minus the networks; None where too few subjects are behind it.
    """

    linear: Judged | Valued
    networks: Judged | Valued
    gaps: dict[str, Difference] | None


@lru_cache(maxsize=8)
def against_baseline(run: RunReader, classifier: str, which: str) -> Against | None:
    """Compare a linear baseline with the networks, once for all who ask; None where they judged other scans.

    Args:
        which: folds or holdout.
    """
    is_value = run.task == "regression"
    both = paired(baseline_scans(run, classifier, which), judged_scans(run.table("predictions"), which))
    if both is None:
        return None
    linear, networks = (judged(frame, run.groups[0], is_value) for frame in both)
    if linear is None or networks is None:
        return None
    enough = linear.smaller >= LEAST_SUBJECTS
    return Against(linear, networks, differences(linear, networks) if enough else None)


def _better_baseline(run: RunReader, which: str, separates: bool | None) -> str:
    """Say which first linear baseline does better than the networks."""
    for classifier, name in BASELINES.items():
        one = against_baseline(run, classifier, which)
        if one is None or one.gaps is None:
            continue
        found = estimates(one.linear)
        if run.task == "regression":
            mae = one.gaps["mae"]
            gap, separated = Difference(-mae.value, -mae.high, -mae.low, mae.paired), found["r"].low > 0
            numbers = in_words("mean absolute error smaller by", gap)
        else:
            gap = one.gaps["auc"]
            separated = found["auc"].low > CHANCE and found["balanced_accuracy"].low > CHANCE
            numbers = (
                f"AUC {found['auc'].value:.2f} against {estimates(one.networks)['auc'].value:.2f}, "
                f"{in_words('difference', gap)}"
            )
        if separates is not True and separated:
            return f"A linear model on {name} does better ({numbers}); do not interpret these heatmaps."
        if gap.low > 0:
            return (
                f"A linear model on {name} does better ({numbers}): these networks miss part of what tells the groups "
                "apart, and heatmaps show only what they use."
            )
    return ""
