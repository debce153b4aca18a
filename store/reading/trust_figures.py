"""The four figures of trust of a method, from the tables of a run: truth, randomisation, stability, faithfulness.

The rules and where each threshold comes from: docs/definitions.md, Trust line. Everything is of the fixed test set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from store.reading.reader import RunReader

HOLDS, UNCLEAR, FAILS, NOT_MEASURED = "holds", "unclear", "fails", "not measured"
MARKS = {HOLDS: "\N{CHECK MARK}", UNCLEAR: "~", FAILS: "\N{BALLOT X}", NOT_MEASURED: "\N{EN DASH}"}
ENDINGS = {FAILS: " fails", UNCLEAR: " unclear"}
# Thresholds, all of them; docs/definitions.md, Trust line, says why.
LEAST_AGREEMENT = 0.5  # of the maps of two networks trained alike: Spearman's correlation, and Dice of the marked 5 %
NO_GAIN = 0.0  # truth and faithfulness: the difference from what knows nothing of the network must be above it


@dataclass(frozen=True)
class Measured:
    """A number with its 95 % interval; NaN where it is not known."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @classmethod
    def of(cls, row: Mapping[str, Any], column: str) -> Measured:
        """Read a column of a table and its ends, `column`_low and `column`_high."""
        return cls(*(_number(row.get(name)) for name in (column, f"{column}_low", f"{column}_high")))

    def minus(self, reference: float) -> Measured:
        """Return the difference from a reference that is taken as exact."""
        return Measured(self.value - reference, self.low - reference, self.high - reference)

    def negative(self) -> Measured:
        """Return the number with its sign turned."""
        return Measured(-self.value, -self.high, -self.low)


@dataclass(frozen=True)
class TrustFigure:
    """One of the four figures of a method.

    Attributes:
        name: truth, randomisation, stability or faithfulness.
        verdict: HOLDS, UNCLEAR, FAILS or NOT_MEASURED.
        short: the figure as it stands in the line, without its name; empty where nothing is known.
        words: a sentence with value, interval, reference and number of subjects; or why there is none.
        measured: what is judged.
        reference: beside which it is judged; NaN where there is none.
        subjects: behind the interval; 0 where nothing is known.
    """

    name: str
    verdict: str
    short: str
    words: str
    measured: Measured = Measured(math.nan)
    reference: float = math.nan
    subjects: int = 0

    @property
    def text(self) -> str:
        """Write the figure as in the line, with the mark of its verdict."""
        return f"{self.name} {self.short or self.verdict} {MARKS[self.verdict]}{ENDINGS.get(self.verdict, '')}"

    @property
    def mark(self) -> str:
        """Write the verdict alone: "truth ✓"."""
        return f"{self.name} {MARKS[self.verdict]}{ENDINGS.get(self.verdict, '')}"


def judge(difference: Measured) -> str:
    """Apply the rule of all four figures to a difference that should be above 0.

    It holds if its whole interval is above 0, fails if the estimate itself is not above 0, and is unclear between,
    also where the interval is not known.
    """
    if not math.isfinite(difference.value):
        return NOT_MEASURED
    if difference.value <= NO_GAIN:
        return FAILS
    return HOLDS if difference.low > NO_GAIN else UNCLEAR


class Facts:
    """The tables of a run, as far as this reader may know them."""

    def __init__(self, run: RunReader, fewest: int, benchmark: Mapping[str, Mapping[str, Any]] | None) -> None:
        self.fewest, self.benchmark = fewest, benchmark
        self.simulated, self.positive = run.simulated, run.groups[0]
        self.predicts_value = run.task == "regression"
        self.phenotype = bool(run.target and run.target["column"] == "phenotype")
        found = ("truth_scores", "randomisation", "stability", "faithfulness")
        self.tables = {name: run.table(name) for name in found if run.has_table(name)}
        named = pd.concat([run.table("cells", ["method"]), *(frame[["method"]] for frame in self.tables.values())])
        self.methods = sorted(named["method"].unique())

    def rows(self, name: str, **equals: Any) -> pd.DataFrame:
        """Return the rows of a table with these values; of the fixed test set where the table tells sets apart."""
        frame = self.tables.get(name, pd.DataFrame(columns=["model_set", *equals]))
        for column, value in ({"model_set": "holdout"} | equals).items():
            frame = frame[frame[column] == value]
        return frame

    def row(self, name: str, **equals: Any) -> dict[str, Any] | None:
        """Return the first row with these values; None where there is none."""
        found = self.rows(name, **equals)
        return found.iloc[0].to_dict() if len(found) else None

    def of_all(self, name: str, **equals: Any) -> dict[str, Any] | None:
        """Return the row of all test scans together; where there is none, that of the positive group."""
        return self.row(name, diagnosis="all", **equals) or self.row(name, diagnosis=self.positive, **equals)

    def hidden(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row is of too few subjects for this reader."""
        return _count(row.get("subjects")) < self.fewest

    def missing(self, figure: str, name: str) -> TrustFigure:
        """Return a figure that this run does not have, with the reason."""
        if name in self.tables:
            return not_measured(figure, "for this method, on the fixed test set")
        if self.predicts_value:
            return not_measured(
                figure, "in this run: it is of networks that tell two groups apart, these predict a value"
            )
        return not_measured(figure, "in this run: it is made by the stage trust of run_pipeline.py")


def not_measured(name: str, why: str) -> TrustFigure:
    """Return a figure without a number, and say why."""
    return TrustFigure(name, NOT_MEASURED, "", f"{name.capitalize()}: not measured {why}.")


def _too_few(name: str, facts: Facts) -> TrustFigure:
    return TrustFigure(
        name, NOT_MEASURED, "not shown", f"{name.capitalize()}: not shown, for it is of fewer than {facts.fewest} "
        "subjects.",
    )  # fmt: skip


def truth(facts: Facts, method: str) -> TrustFigure:
    """Judge by how much the mean map of the positive group exceeds networks that know nothing of the truth.

    The truth is the imposed change of a simulated run, or the structure whose phenotype the networks predict.
    """
    row = facts.row("truth_scores", method=method, diagnosis=facts.positive, level="group", score="voxel_auc")
    of = ""
    if row is None and not (facts.simulated or facts.phenotype):
        row, of = (facts.benchmark or {}).get(method), "benchmark "
        if row is None:
            words = "Truth: not known, for these are real scans, and no benchmark of this method is at hand."
            return TrustFigure("truth", NOT_MEASURED, "not known (real scans)", words)
    if row is None:
        why = "in this run: nothing was imposed, or these networks predict a value"
        return facts.missing("truth", "truth_scores") if "truth_scores" in facts.tables else not_measured("truth", why)
    if not of and facts.hidden(row):
        return _too_few("truth", facts)
    found = Measured.of(row, "value")
    known = {
        words: Measured.of(row, f"{prefix}difference")
        for prefix, words in (("", "untrained networks"), ("null_", "null networks"))
    }
    known = {words: one for words, one in known.items() if math.isfinite(one.value)}
    kind = f" ({row['kind']})" if of and row.get("kind") else ""
    whose = f"in the benchmark{kind} the" if of else "the"
    place = "the structure whose phenotype is predicted" if facts.phenotype else "the imposed change"
    start = f"Truth: {whose} mean map finds {place} with a voxel AUC of {_say(found)}"
    short = f"{of}{_two(found.value)}"
    if not math.isfinite(found.value):
        return not_measured("truth", "for this method: its maps hold no relevance")
    if not known:
        why = str(row.get("note") or "no network that knows nothing was asked")
        return TrustFigure(
            "truth", NOT_MEASURED, short, f"{start}; without a reference it is not judged ({why}).", found
        )
    verdict = _worst(judge(one) for one in known.values())
    said = "; ".join(f"{_signed(one)} against {words}" for words, one in known.items())
    nearest = min(known, key=lambda name: known[name].value)
    short += f" ({_plus(known[nearest].value)} over {nearest.removesuffix(' networks')})"
    what = {HOLDS: "more than chance", UNCLEAR: "this may be chance", FAILS: "no better than knowing nothing"}[verdict]
    words = f"{start}, {said}: {what}{_n(row)}."
    return TrustFigure(
        "truth", verdict, short, words, found, _number(row.get("reference")), _count(row.get("subjects"))
    )


def randomisation(facts: Facts, method: str) -> TrustFigure:
    """Apply the rule of Arun et al. 2021 to the network whose layers are all drawn anew; the stricter of two measures.

    The map must be less like its own than the maps of different scans are like each other, by SSIM of the signed and
    of the absolute map.
    """
    rows = facts.rows("randomisation", method=method, kind="cascade")
    rows = rows[rows["measure"].isin(["ssim", "ssim_absolute"])] if len(rows) else rows
    if rows.empty:
        return facts.missing("randomisation", "randomisation")
    rows = rows[rows["step"] == rows["step"].max()].dropna(subset=["value", "reference"])
    if rows.empty:
        return not_measured("randomisation", "for this method: its maps hold no relevance")
    row = rows.loc[(rows["value"] - rows["reference"]).idxmax()].to_dict()
    if facts.hidden(row):
        return _too_few("randomisation", facts)
    found, reference = Measured.of(row, "value"), _number(row["reference"])
    verdict = judge(found.minus(reference).negative())
    signed = "signed" if row["measure"] == "ssim" else "absolute"
    what = {
        HOLDS: "it shows what the network learned", UNCLEAR: "it may not show what the network learned",
        FAILS: "it does not show what the network learned",
    }[verdict]  # fmt: skip
    words = (
        f"Randomisation: with every layer drawn anew the {signed} map is like its own by an SSIM of {_say(found)}, "
        f"maps of different scans are by {_two(reference)}: {what}{_n(row)} (rule of Arun et al. 2021)."
    )
    sign = "<" if found.value < reference else "\N{GREATER-THAN OR EQUAL TO}"
    short = f"{_two(found.value)} ({sign} {_two(reference)})"
    return TrustFigure("randomisation", verdict, short, words, found, reference, _count(row.get("subjects")))


def stability(facts: Facts, method: str) -> TrustFigure:
    """Judge how alike the maps of networks are that differ only in the seed of their training."""
    asked = {"method": method, "change": "retrained", "level": "scan"}
    row, dice = (facts.of_all("stability", measure=measure, **asked) for measure in ("rank_correlation", "dice"))
    if row is None:
        return facts.missing("stability", "stability")
    if facts.hidden(row):
        return _too_few("stability", facts)
    found, reference = Measured.of(row, "value"), _number(row.get("reference"))
    if not math.isfinite(found.value):
        return not_measured("stability", "for this method: its maps hold no relevance")
    overlap = Measured.of(dice, "value") if dice is not None else Measured(math.nan)
    verdict = _judge_stability(found, overlap, reference)
    what = {
        HOLDS: "another training gives much the same map", UNCLEAR: "another training gives a partly other map",
        FAILS: "another training gives another map",
    }[verdict]  # fmt: skip
    networks = f"{_count(row.get('networks'))} networks" if _count(row.get("networks")) else "networks"
    beside = f" (maps of different scans {_two(reference)})" if math.isfinite(reference) else ""
    marked = f", and share {_say(overlap)} of their strongest 5 % (Dice)" if math.isfinite(overlap.value) else ""
    words = (
        f"Stability: maps of the same scan by {networks} trained alike correlate at {_say(found)}{beside}{marked}: "
        f"{what}{_n(row)}."
    )
    return TrustFigure(
        "stability", verdict, _two(found.value), words, found, reference, _count(row.get("subjects"))
    )  # fmt: skip


def _judge_stability(found: Measured, overlap: Measured, reference: float) -> str:
    """Judge: fail where neither measure reaches a half or scans differ less than networks; hold if both surely do."""
    halves = [judge(one.minus(LEAST_AGREEMENT)) for one in (found, overlap)]
    against = judge(found.minus(reference)) if math.isfinite(reference) else UNCLEAR
    if against == FAILS or (halves[0] == FAILS and halves[1] in (FAILS, NOT_MEASURED)):
        return FAILS
    return HOLDS if halves == [HOLDS, HOLDS] and against == HOLDS else UNCLEAR


def faithfulness(facts: Facts, method: str) -> TrustFigure:
    """Judge whether replacing what a map marks changes the decision sooner than two orders that know no network."""
    for unit in ("region", "voxel"):
        asked = {"method": method, "unit": unit, "direction": "deletion"}
        rows = {order: facts.of_all("faithfulness", order=order, **asked) for order in ("random", "group_difference")}
        known = {order: row for order, row in rows.items() if row is not None and math.isfinite(_number(row["gain"]))}
        if known:
            break
    else:
        return facts.missing("faithfulness", "faithfulness")
    if any(facts.hidden(row) for row in known.values()):
        return _too_few("faithfulness", facts)
    gains = {order: Measured.of(row, "gain") for order, row in known.items()}
    verdict = _worst(judge(gain) for gain in gains.values())
    if len(gains) < 2 and verdict == HOLDS:
        verdict = UNCLEAR
    order = min(gains, key=lambda name: gains[name].value)
    names = {"random": "a random order", "group_difference": "the order of the groups' difference"}
    what = {
        HOLDS: "the network uses what the map marks", UNCLEAR: "the network may use what the map marks",
        FAILS: "others find sooner what the network uses",
    }[verdict]  # fmt: skip
    said = "; ".join(f"{_signed(gain)} against {names[name]}" for name, gain in gains.items())
    words = (
        f"Faithfulness: replacing {unit}s in the order of the map, strongest first, lowers the decision faster by an "
        f"area of {said}: {what}{_n(known[order])}."
    )
    return TrustFigure(
        "faithfulness", verdict, _plus(gains[order].value), words, gains[order], 0.0,
        _count(known[order].get("subjects")),
    )  # fmt: skip


FIGURES: tuple[Callable[[Facts, str], TrustFigure], ...] = (truth, randomisation, stability, faithfulness)


def _worst(verdicts: Iterable[str]) -> str:
    found = list(verdicts)
    return next(verdict for verdict in (FAILS, UNCLEAR, HOLDS, NOT_MEASURED) if verdict in found)


def _number(value: Any) -> float:
    return math.nan if value is None or pd.isna(value) else float(value)


def _count(value: Any) -> int:
    return 0 if value is None or pd.isna(value) else int(value)


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def _plus(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def _say(one: Measured) -> str:
    return _two(one.value) + (f" (95 % CI {_two(one.low)} to {_two(one.high)})" if math.isfinite(one.low) else "")


def _signed(one: Measured) -> str:
    return _plus(one.value) + (f" (95 % CI {_plus(one.low)} to {_plus(one.high)})" if math.isfinite(one.low) else "")


def _n(row: Mapping[str, Any]) -> str:
    subjects = _count(row.get("subjects"))
    return f" (n = {subjects} subjects)" if subjects else ""
