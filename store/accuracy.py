"""How sure an accuracy is: AUC, balanced accuracy and errors with 95 % intervals, and differences of two classifiers.

Two sources of an interval, and each of its ends is the farther of the two from the estimate:

- a bootstrap over subjects, within each group: the scans of a subject stay together (2.5 and 97.5 percentile);
- a score interval that counts each subject once: of the AUC method 5 of Newcombe (Stat. Med. 2006, 25:559-573), of a
  proportion that of Wilson (1927), of balanced accuracy the two proportions' together (MOVER, Zou & Donner, Stat. Med.
  2008, 27:1693-1702), of Pearson's r Fisher's z. No resample of a perfect separation differs from it, so that the
  bootstrap alone would give an AUC of 1 the interval 1 to 1; of 20 against 20 the score interval begins at 0.90.

A network's probability is compared with its own alone: over folds, the AUC counts the pairs of a positive and a
negative scan of the same fold (Forman & Scholz, SIGKDD Explorations 2010, 12:49-57); a fold without a group adds none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from store.keys import are_of_folds, are_retrained

if TYPE_CHECKING:
    from store.reading.reader import RunReader

RESAMPLES = 2000
MANY, RESAMPLES_OF_MANY = 4000, 500  # scans, from which on so many draws say the same to a twentieth of the interval
SEED = 0
LEAST_SUBJECTS = 5  # of the smaller group; below, there is no interval
Z = 1.959964  # of a normal distribution, 97.5 %
ENDS = (2.5, 97.5)
CHUNK = 250  # resamples at once
FOLDS = "folds"  # in the place of a model: the test scans of all folds together


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; the ends are missing (nan) where too few subjects are behind it.

    Attributes:
        subjects: behind it; of two groups, those of the smaller.
    """

    value: float
    low: float
    high: float
    subjects: int


@dataclass(frozen=True)
class Difference:
    """The first of two classifiers minus the second, with the 95 % interval.

    Attributes:
        paired: both judged the same scans, so that subjects were drawn for both at once.
    """

    value: float
    low: float
    high: float
    paired: bool


# -- score intervals ------------------------------------------------------------------------------------------------


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a proportion of n."""
    if not n or not math.isfinite(share):
        return math.nan, math.nan
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return (0.0 if share == 0 else centre - half), (1.0 if share == 1 else centre + half)


def newcombe(auc: float, positive: int, negative: int) -> tuple[float, float]:
    """Return the 95 % interval of an AUC of so many subjects of either group, by Newcombe's method 5.

    Its ends are the values that lie Z standard errors from the AUC, the variance being that of Hanley and McNeil (1982)
    at the end itself, with both groups of equal size in the smaller terms.
    """
    if not math.isfinite(auc) or not positive or not negative:
        return math.nan, math.nan
    equal = (positive + negative) / 2 - 1

    def far(theta: float) -> bool:
        variance = theta * (1 - theta) * (1 + equal * ((1 - theta) / (2 - theta) + theta / (1 + theta)))
        return abs(theta - auc) > Z * math.sqrt(variance / (positive * negative))

    ends = []
    for outside in (0.0, 1.0):
        beyond, within = outside, auc
        for _ in range(60):
            middle = (beyond + within) / 2
            beyond, within = (middle, within) if far(middle) else (beyond, middle)
        ends.append(outside if auc == outside else within)
    return ends[0], ends[1]


def both(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float]:
    """Return the interval of the mean of two independent numbers, each (value, low, high), by MOVER."""
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    mean = (a + b) / 2
    return mean - math.hypot(a - a_low, b - b_low) / 2, mean + math.hypot(a_high - a, b_high - b) / 2


def between(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float]:
    """Return the interval of first minus second of two independent numbers, each (value, low, high), by MOVER."""
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    return a - b - math.hypot(a - a_low, b_high - b), a - b + math.hypot(a_high - a, b - b_low)


def fisher(r: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of Pearson's r over n subjects."""
    if n < 4 or not abs(r) < 1:
        return math.nan, math.nan
    half = Z / math.sqrt(n - 3)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


# -- statistics of weighted scans -----------------------------------------------------------------------------------


class Judged:
    """Test scans of one classifier, and every statistic of them under weights of the scans.

    Args:
        scans: columns model, subject, group, probability and perhaps margin; a subject with scans of both groups is
            drawn as positive.
        positive: the positive group.
    """

    def __init__(self, scans: pd.DataFrame, positive: str) -> None:
        self.positive = (scans["group"] == positive).to_numpy(bool)
        probability, order = scans["probability"].to_numpy(float), ranked_by(scans)
        self._called, self._error = probability >= 0.5, (probability - self.positive) ** 2
        self.subject, self._people = pd.factorize(scans["subject"])
        patients = np.zeros(len(self._people), bool)
        patients[self.subject[self.positive]] = True
        self.strata = [np.flatnonzero(patients), np.flatnonzero(~patients)]
        self._ranked = []  # of each fold its scans from the lowest on, and where scans of another rank begin
        for fold in np.unique(pd.factorize(scans["model"])[0]):
            own = pd.factorize(scans["model"])[0] == fold
            mine = np.flatnonzero(own)[np.argsort(order[own], kind="stable")]
            ties = np.flatnonzero(np.diff(order[mine], prepend=np.nan) != 0)
            self._ranked.append((mine, ties))

    def people(self, positive: bool) -> int:
        """Count the subjects with scans of this group."""
        return len(np.unique(self.subject[self.positive == positive]))

    def weights(self, resamples: int, random: np.random.Generator) -> np.ndarray:
        """Draw subjects, as many a group as there are: how often each scan's is drawn, (resamples, scans)."""
        return drawn(self.subject, self.strata, resamples, random)

    def statistics(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Compute every statistic under (k, scans) weights, (k,) each; missing where a group has none."""
        right = self._called == self.positive
        with np.errstate(invalid="ignore", divide="ignore"):
            sensitivity = weights @ (right & self.positive) / (weights @ self.positive)
            specificity = weights @ (right & ~self.positive) / (weights @ ~self.positive)
            above, pairs = np.zeros(len(weights)), np.zeros(len(weights))
            for mine, ties in self._ranked:
                ill, well = (weights[:, mine] * side[mine] for side in (self.positive, ~self.positive))
                if len(ties) < len(mine):
                    ill, well = (np.add.reduceat(side, ties, axis=1) for side in (ill, well))
                above += (ill * (np.cumsum(well, axis=1) - 0.5 * well)).sum(1)  # pairs of the same rank count half
                pairs += ill.sum(1) * well.sum(1)
            return {
                "auc": above / pairs, "balanced_accuracy": (sensitivity + specificity) / 2,
                "accuracy": weights @ right / weights.sum(1), "sensitivity": sensitivity, "specificity": specificity,
                "brier": weights @ self._error / weights.sum(1),
            }  # fmt: skip

    def scored(self, values: Mapping[str, float]) -> dict[str, tuple[float, float]]:
        """Return score intervals that count each subject once."""
        ill, well = self.people(True), self.people(False)
        found = {
            "auc": newcombe(values["auc"], ill, well), "accuracy": wilson(values["accuracy"], len(self._people)),
            "sensitivity": wilson(values["sensitivity"], ill), "specificity": wilson(values["specificity"], well),
        }  # fmt: skip
        sides = ((values[name], *found[name]) for name in ("sensitivity", "specificity"))
        return found | {"balanced_accuracy": both(*sides)}

    @property
    def smaller(self) -> int:
        """Return how many subjects the smaller group has."""
        return min(self.people(True), self.people(False))


def ranked_by(scans: pd.DataFrame) -> np.ndarray:
    """Return what scans are ranked by, (n,): their margin where it is known, else their probability.

    The order is the same but where probabilities are rounded to 0 or 1: margins beyond 37 would be ties.
    """
    known = "margin" in scans and scans["margin"].notna().all()
    return scans["margin" if known else "probability"].to_numpy(float)


class Valued:
    """Test scans of one regression, as `Judged`.

    Args:
        scans: columns subject, observed, value.
    """

    def __init__(self, scans: pd.DataFrame) -> None:
        self._observed, self._value = scans["observed"].to_numpy(float), scans["value"].to_numpy(float)
        self.subject, people = pd.factorize(scans["subject"])
        self.strata = [np.arange(len(people))]
        self.smaller = len(people)

    def weights(self, resamples: int, random: np.random.Generator) -> np.ndarray:
        """Draw subjects: how often each scan's is drawn, (resamples, scans)."""
        return drawn(self.subject, self.strata, resamples, random)

    def statistics(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Compute mae, rmse, r and r2 under (k, scans) weights, (k,) each; missing where nothing varies."""
        total, true, said = weights.sum(1), self._observed, self._value
        squared = weights @ (said - true) ** 2 / total
        with np.errstate(invalid="ignore", divide="ignore"):
            means = weights @ true / total, weights @ said / total
            spread = [weights @ x**2 / total - m**2 for x, m in zip((true, said), means, strict=True)]
            spread = [np.where(s > 1e-12 * (1 + m**2), s, np.nan) for s, m in zip(spread, means, strict=True)]
            together = weights @ (true * said) / total - means[0] * means[1]
            return {
                "mae": weights @ np.abs(said - true) / total, "rmse": np.sqrt(squared),
                "r": together / np.sqrt(spread[0] * spread[1]), "r2": 1 - squared / spread[0],
            }  # fmt: skip

    def scored(self, values: Mapping[str, float]) -> dict[str, tuple[float, float]]:
        """Return the score interval of r alone."""
        return {"r": fisher(values["r"], self.smaller)}


def drawn(subject: np.ndarray, strata: list[np.ndarray], resamples: int, random: np.random.Generator) -> np.ndarray:
    """Draw subjects with replacement in each stratum: how often that of each scan is drawn, (resamples, scans) float64.

    Args:
        subject: (scans,) number of each scan's subject.
        strata: numbers of the subjects of each.
    """
    counts = np.zeros((resamples, sum(map(len, strata))))
    for people in strata:
        if len(people) > MANY // 4:  # one by one: the multinomial takes five times as long
            places = random.integers(len(people), size=(resamples, len(people)))
            places += np.arange(resamples)[:, None] * len(people)
            counts[:, people] = np.bincount(places.ravel(), minlength=places.size).reshape(places.shape)
        elif len(people):
            counts[:, people] = random.multinomial(len(people), np.full(len(people), 1 / len(people)), resamples)
    return counts[:, subject]


_ESTIMATED: WeakKeyDictionary[Judged | Valued, dict[str, Estimate]] = WeakKeyDictionary()


# -- estimates ------------------------------------------------------------------------------------------------------


def resampled(
    statistics: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    weights: Callable[[int, np.random.Generator], np.ndarray],
    scans: int,
) -> dict[str, np.ndarray]:
    """Compute every statistic in RESAMPLES draws of subjects (of many scans fewer), always the same draws."""
    random, parts = np.random.default_rng(SEED), []
    for _ in range(0, RESAMPLES if scans < MANY else RESAMPLES_OF_MANY, CHUNK):
        parts.append(statistics(weights(CHUNK, random)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def estimates(judged: Judged | Valued) -> dict[str, Estimate]:
    """Compute every statistic with its interval: metric -> Estimate. What was computed is kept with the scans."""
    if judged not in _ESTIMATED:
        _ESTIMATED[judged] = _estimates(judged)
    return dict(_ESTIMATED[judged])


def _estimates(judged: Judged | Valued) -> dict[str, Estimate]:
    once = judged.statistics(np.ones((1, len(judged.subject))))
    values = {name: float(value[0]) for name, value in once.items()}
    if judged.smaller < LEAST_SUBJECTS:
        return {name: Estimate(value, math.nan, math.nan, judged.smaller) for name, value in values.items()}
    draws, scored = resampled(judged.statistics, judged.weights, len(judged.subject)), judged.scored(values)
    found = {}
    for name, value in values.items():
        low, high = ends(draws[name])
        if name in scored and math.isfinite(scored[name][0]):
            low, high = min(low, scored[name][0]), max(high, scored[name][1])
        found[name] = Estimate(value, min(low, value), max(high, value), judged.smaller)
    return found


def ends(draws: np.ndarray) -> tuple[float, float]:
    """Return the 2.5 and 97.5 percentiles of the draws that have a value."""
    known = draws[np.isfinite(draws)]
    low, high = np.percentile(known, ENDS) if len(known) else (math.nan, math.nan)
    return float(low), float(high)


def difference(first: Judged | Valued, second: Judged | Valued, metric: str = "auc") -> Difference:
    """Return first minus second in one statistic; see `differences`."""
    return differences(first, second)[metric]


def differences(first: Judged | Valued, second: Judged | Valued) -> dict[str, Difference]:
    """Subtract two classifiers that judged the same scans in the same order, first minus second, in every statistic.

    A classifier without a wrong pair is the same in every resample; then the two intervals are put together as of
    independent classifiers (MOVER), which is the wider.
    """
    alone = [estimates(one) for one in (first, second)]
    gaps = {name: alone[0][name].value - alone[1][name].value for name in alone[0]}
    if min(first.smaller, second.smaller) < LEAST_SUBJECTS:
        return {name: Difference(gap, math.nan, math.nan, True) for name, gap in gaps.items()}

    def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {f"{i}{name}": x for i, one in enumerate((first, second)) for name, x in one.statistics(weights).items()}

    draws, found = resampled(statistics, first.weights, len(first.subject)), {}
    for name, gap in gaps.items():
        own = draws[f"0{name}"], draws[f"1{name}"]
        low, high = ends(own[0] - own[1])
        if any(_constant(part) for part in own):
            wider = between(*((one[name].value, one[name].low, one[name].high) for one in alone))
            low, high = min(low, wider[0]), max(high, wider[1])
        found[name] = Difference(gap, low, high, True)
    return found


def _constant(draws: np.ndarray) -> bool:
    known = draws[np.isfinite(draws)]
    return len(known) == 0 or bool(known.min() == known.max())


def unpaired(first: Estimate, second: Estimate) -> Difference:
    """Return first minus second, of two classifiers that judged different scans."""
    low, high = between(*((one.value, one.low, one.high) for one in (first, second)))
    return Difference(first.value - second.value, low, high, False)


# -- tables of a run ------------------------------------------------------------------------------------------------


def judged_scans(predictions: pd.DataFrame, model_set: str) -> pd.DataFrame:
    """Return the predictions by which a model set is judged: scans of a group, without retrained models.

    Args:
        model_set: folds or holdout.
    """
    model = predictions["model"].astype(str)
    own = are_of_folds(model) if model_set == FOLDS else model == model_set
    of_a_group = predictions["group"].fillna("") != "" if "group" in predictions else True
    return predictions[own & ~are_retrained(model) & of_a_group]


def judged(scans: pd.DataFrame, positive: str, is_value: bool = False) -> Judged | Valued | None:
    """Turn the scans into what `estimates` takes; None where there are none.

    Args:
        scans: of `judged_scans`.
        is_value: a regression's.
    """
    if scans.empty:
        return None
    return Valued(scans) if is_value else Judged(scans, positive)


def by_site(
    predictions: pd.DataFrame, sites: pd.Series, model_set: str, positive: str, is_value: bool = False
) -> dict[str, tuple[dict[str, Estimate], int, int]]:
    """Return site -> estimates on its test scans alone, their number, and that of their subjects; in order of size.

    A site whose scans are of one group has no AUC (nan). Sites without a name are left out.

    Args:
        sites: scan -> site.
    """
    scans = judged_scans(predictions, model_set)
    names = scans["scan"].map(sites).fillna("")
    found = {}
    for name in (
        names[names != ""].value_counts(sort=False).sort_index().sort_values(ascending=False, kind="stable").index
    ):
        own = scans[(names == name).to_numpy()]
        one = judged(own, positive, is_value)
        assert one is not None
        found[str(name)] = (estimates(one), len(own), int(own["subject"].nunique()))
    return found


def by_subject(scans: pd.DataFrame, is_value: bool = False) -> pd.DataFrame:
    """Average over the scans of each model, subject and group: the probability, or the values of a regression."""
    if is_value:
        return scans.groupby(["model", "subject"], as_index=False)[["observed", "value"]].mean().assign(group="-")
    return scans.groupby(["model", "subject", "group"], as_index=False)["probability"].mean()


def interval_rows(predictions: pd.DataFrame, positive: str, is_value: bool = False) -> pd.DataFrame:
    """Estimate both model sets by scan and by subject.

    Returns:
        level, model (folds or holdout), metric, value, low, high, subjects.
    """
    rows = []
    for model in (FOLDS, "holdout"):
        scans = judged_scans(predictions, model)
        for level, frame in (("scan", scans), ("subject", by_subject(scans, is_value) if len(scans) else scans)):
            one = judged(frame, positive, is_value)
            for metric, found in (estimates(one) if one else {}).items():
                rows.append((level, model, metric, found.value, found.low, found.high, found.subjects))
    return pd.DataFrame(rows, columns=["level", "model", "metric", "value", "low", "high", "subjects"])


def metrics_of(run: RunReader) -> pd.DataFrame:
    """Return the metrics table with intervals; where a run has none, its networks' come from its predictions."""
    table = run.table("metrics")
    if table.empty or (table["model"] == FOLDS).any() or table["low"].notna().any():
        return table
    return with_intervals(table, run.table("predictions"), run.groups[0], run.task == "regression")


def with_intervals(table: pd.DataFrame, predictions: pd.DataFrame, positive: str, is_value: bool) -> pd.DataFrame:
    """Add to a metrics table the rows of all folds together and the interval ends of the held-out networks."""
    found = interval_rows(predictions, positive, is_value).assign(classifier="cnn", note="")
    keys = ["classifier", "level", "model", "metric"]
    both_ = table.drop(columns=["low", "high", "subjects"]).merge(
        found[found["model"] != FOLDS][[*keys, "low", "high", "subjects"]], "left", keys
    )
    frame = pd.concat([both_, found[found["model"] == FOLDS]], ignore_index=True)[list(table.columns)]
    return frame.astype({"subjects": "Int64", "folds": "Int64"})
