"""Measures of trust as rows that charts and tables share. Frames in, frames out, without Streamlit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dashboard.text.formatting import NONE, in_order, method_name, plain, with_interval
from dashboard.text.verdicts import LOOKS
from store.keys import explains
from store.reading.trust import TrustLine
from store.reading.trust_figures import FAILS, HOLDS

ALL = "all"  # the diagnosis of all test scans together
COLUMNS = [
    "method", "value", "low", "high", "reference", "null_reference", "difference", "difference_low",
    "difference_high", "subjects", "scans",
]  # fmt: skip
EXPLAINS_NOTHING = "explain nothing:"
MASS = ("relevance_mass_accuracy", "mass_accuracy")  # the first that a run has


@dataclass(frozen=True)
class Measure:
    """One question that trust asks of a method.

    Attributes:
        title: the question's short name.
        axis: what the number is.
        marks: what the marks beside the dot are, symbol first; empty for none.
        low_is_good: whether a small value speaks for the method.
        zero: whether 0 is where there is nothing.
    """

    title: str
    axis: str
    marks: str = ""
    low_is_good: bool = False
    zero: bool = False


KNOWS_NOTHING = "○ untrained networks, ◇ nothing imposed"
MEASURES = {
    "auc": Measure("Finds the truth", "voxel AUC against the visible change", KNOWS_NOTHING),
    "mass": Measure("Puts its relevance there", "relevance mass accuracy", KNOWS_NOTHING),
    "randomisation": Measure(
        "Depends on what was learned", "SSIM after all layers were drawn anew, low is good",
        "● signed, ■ absolute maps, ○ □ of different scans",
        low_is_good=True,
    ),
    "stability": Measure(
        "Stays when trained again", "Spearman between networks, same scan", "○ maps of different scans"
    ),
    "dice": Measure("Marks the same places again", "Dice of the top 5 %, same scan", "○ maps of different scans"),
    "random": Measure("Better than a random order", "gain in area, deletion by regions", zero=True),
    "groups": Measure("Better than the groups’ difference", "gain in area, deletion by regions", zero=True),
    "anatomy": Measure(
        "Follows the hippocampus", "correlation with its volume, low is good", "● left, ■ right", zero=True
    ),
}  # fmt: skip


def diagnoses_of(table: pd.DataFrame, groups: Sequence[str]) -> list[str]:
    """Return the diagnoses of a table: all together first, then the groups, then others."""
    found = set(table["diagnosis"].dropna())
    first = [d for d in (ALL, *groups) if d in found]
    return [*first, *sorted(found - set(first))]


def truth(scores: pd.DataFrame, positive: str, names: Sequence[str]) -> pd.DataFrame:
    """Return a score of the mean heatmaps of the positive group, beside networks that know nothing of the truth.

    The difference is that from networks trained where nothing was imposed, which is the stricter one, else that from
    untrained ones.

    Args:
        scores: the table truth_scores, of the fixed test set.
        names: of the score; the first that the table has.
    """
    own = scores[(scores["diagnosis"] == positive) & (scores["level"] == "group")]
    name = next((name for name in names if (own["score"] == name).any()), names[-1])
    rows = own[own["score"] == name].rename(columns={"value_low": "low", "value_high": "high"})
    for column in ("difference", "difference_low", "difference_high"):
        stricter = rows[f"null_{column}"].astype(float)
        rows = rows.assign(**{column: stricter.where(rows["null_difference"].notna(), rows[column].astype(float))})
    return _rows(rows)


def randomisation(table: pd.DataFrame, measure: str = "ssim") -> pd.DataFrame:
    """Return the similarity that is left when all layers were drawn anew, beside that of maps of different scans."""
    rows = table[(table["kind"] == "cascade") & (table["measure"] == measure)]
    last = rows.groupby("method")["step"].transform("max")
    return _rows(_named(rows[rows["step"] == last], "value"))


def stability(table: pd.DataFrame, measure: str, diagnosis: str, change: str = "retrained", level: str = "scan"):
    """Return how alike maps stay under a change, beside maps of different scans or untrained networks."""
    keep = {"measure": measure, "diagnosis": diagnosis, "change": change, "level": level}
    return _rows(_named(_where(table, keep), "value"))


def faithfulness(
    table: pd.DataFrame, order: str, diagnosis: str, unit: str = "region", direction: str = "deletion"
) -> pd.DataFrame:
    """Return how much better a method's own order is than another."""
    keep = {"order": order, "diagnosis": diagnosis, "unit": unit, "direction": direction}
    return _rows(_named(_where(table, keep), "gain"))


def false_positives(table: pd.DataFrame, diagnosis: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return by how much more marks beside the truth change the margin than their mirror image, and their share."""
    rows = _where(table, {"diagnosis": diagnosis})
    return _rows(_named(rows, "difference")), _rows(rows.rename(columns={"share_outside": "value"}))


def anatomy(table: pd.DataFrame, diagnosis: str, region: str) -> pd.DataFrame:
    """Return the correlation over subjects of a region's relevance and its tissue volume, a row a method."""
    return _rows(_named(_where(table, {"diagnosis": diagnosis, "region": region}), "correlation"))


def hippocampi(table: pd.DataFrame) -> list[str]:
    """Return the keys of the hippocampus in a table of regions, left first."""
    found = table["region"].dropna().astype(str)
    return sorted({region for region in found if region.lower().startswith("hippocampus")})


def _where(table: pd.DataFrame, keep: Mapping[str, str]) -> pd.DataFrame:
    return table[np.logical_and.reduce([(table[column] == value).to_numpy(bool) for column, value in keep.items()])]


def _named(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Name the value of a table and its interval as all rows here do."""
    return rows.rename(columns={name: "value", f"{name}_low": "low", f"{name}_high": "high"})


def _rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that all measures share; those that a measure does not have are missing."""
    found = rows.reindex(columns=COLUMNS).astype(dict.fromkeys(COLUMNS[1:], float))
    return found.drop_duplicates("method").reset_index(drop=True)


def order(rows: pd.DataFrame, *, low_is_good: bool = False) -> list[str]:
    """Return the methods of rows from best to worst, those without a number last, then what explains nothing."""
    ranked = rows.assign(
        nothing=~rows["method"].map(explains).astype(bool), missing=rows["value"].isna(),
        best=rows["value"].fillna(0) * (1 if low_is_good else -1),
    ).sort_values(["nothing", "missing", "best"], kind="stable")  # fmt: skip
    return ranked["method"].tolist()


def leaderboard(measured: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return all measures in one long frame, one row a method and measure, as a file to take away."""
    frames = [frame.assign(measure=key, means=MEASURES[key].axis) for key, frame in measured.items() if len(frame)]
    if not frames:
        return pd.DataFrame(columns=["method", "explains", "measure", "means", *COLUMNS[1:]])
    found = pd.concat(frames, ignore_index=True)
    found["explains"] = found["method"].map(explains)
    return found[["method", "explains", "measure", "means", *COLUMNS[1:]]]


def leaderboard_table(measured: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row a method in words, one column a measure: value with interval, reference and difference."""
    methods = nothing_last(in_order([m for frame in measured.values() for m in frame["method"]]))
    by_method = {key: frame.set_index("method") for key, frame in measured.items() if len(frame)}
    rows = []
    for method in methods:
        row = {"Method": method_name(method)}
        for key, frame in by_method.items():
            row[MEASURES[key].axis] = _cell(frame.loc[method]) if method in frame.index else NONE
        rows.append(row)
    return pd.DataFrame(rows)


def _cell(row: pd.Series) -> str:
    text = with_interval(row["value"], row["low"], row["high"])
    known = [
        f"{words} {row[name]:.3f}"
        for name, words in (("reference", "reference"), ("null_reference", "nothing imposed"))
        if pd.notna(row[name])
    ]
    if pd.notna(row["difference"]):
        known.append(f"difference {row['difference']:+.3f}")
    n = [f"n = {int(row['subjects'])}"] if pd.notna(row["subjects"]) else []
    notes = ", ".join([*known, *n]).replace("-", "−")
    return f"{text}; {notes}" if notes and text != NONE else text


def methods_of(table: pd.DataFrame) -> list[str]:
    """Return the methods of a table in the fixed order, what explains nothing last."""
    return nothing_last(in_order(table["method"].tolist()))


def nothing_last(methods: Sequence[str]) -> list[str]:
    """Return the methods that explain something before the others, else in their order."""
    return sorted(methods, key=lambda method: not explains(method))


def network_matrix(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the symmetric (networks, networks) agreement of pairs, the held-out network first; NaN where none is.

    Args:
        pairs: model_a, model_b, value of one method, diagnosis and measure.
    """
    names = sorted({*pairs["model_a"], *pairs["model_b"]}, key=lambda name: (len(name), name))
    matrix = pd.DataFrame(np.nan, names, names)
    for row in pairs.itertuples():
        matrix.loc[row.model_a, row.model_b] = matrix.loc[row.model_b, row.model_a] = row.value
    return matrix


def strongest(rows: pd.DataFrame, marked: Collection[str], count: int | None) -> pd.DataFrame:
    """Return the regions with the largest |correlation| and the marked ones, from the most negative on."""
    known = rows[rows["correlation"].notna()]
    sizes = known["correlation"].abs().rank(ascending=False, method="first")
    kept = known if count is None else known[(sizes <= count) | known["region"].isin(list(marked))]
    return kept.sort_values("correlation", kind="stable")


def verdict_order(lines: Mapping[str, TrustLine]) -> list[str]:
    """Return methods by how few of their figures fail, then by how many hold; what explains nothing last."""

    def rank(method: str) -> tuple[bool, int, int, str]:
        found = [figure.verdict for figure in lines[method].figures]
        return not explains(method), found.count(FAILS), -found.count(HOLDS), method

    return sorted(lines, key=rank)


def verdict_table(lines: Mapping[str, TrustLine], methods: Sequence[str]) -> pd.DataFrame:
    """Return one row a method, one column a figure: its number in the colour and with the shape of its verdict.

    Texts are Markdown. Of what explains nothing no figure is judged.
    """
    names = [figure.name for method in methods for figure in lines[method].figures]
    rows = []
    for method in methods:
        row = {"Method": plain(method_name(method))} | dict.fromkeys(
            (name.capitalize() for name in names), ":gray[no explanation]"
        )
        for figure in lines[method].figures:
            colour, icon = LOOKS[figure.verdict]
            row[figure.name.capitalize()] = f":{colour}[{icon} {plain(figure.short or figure.verdict)}]"
        rows.append(row)
    return pd.DataFrame(rows)


def verdict_file(lines: Mapping[str, TrustLine]) -> pd.DataFrame:
    """Return one row a method and figure with value, interval, reference, n and verdict, for a file."""
    return pd.DataFrame([
        {
            "method": method, "figure": figure.name, "verdict": figure.verdict, "value": figure.measured.value,
            "low": figure.measured.low, "high": figure.measured.high, "reference": figure.reference,
            "subjects": figure.subjects, "words": figure.words,
        }
        for method in verdict_order(lines) for figure in lines[method].figures
    ])  # fmt: skip
