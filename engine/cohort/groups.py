"""Which group a scan belongs to: by its label or by rules such as age >= 60."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass

import pandas as pd

from engine.cohort.values import as_numbers
from engine.config.cohort_schema import CohortConfig
from engine.errors import UserError

OPERATORS = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_TERM = re.compile(
    r"""\s*(?:`(?P<quoted>[^`]+)`|(?P<column>[A-Za-z_][\w.]*))\s*
    (?P<operator>>=|<=|==|!=|>|<)\s*
    (?:(?P<number>[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)|"(?P<double>[^"]*)"|'(?P<single>[^']*)')\s*""",
    re.VERBOSE,
)
_AND = re.compile(r"and\b", re.IGNORECASE)
NO_RULE = "matches no group rule"


@dataclass(frozen=True)
class Term:
    """One comparison of a rule: column, operator, number or text."""

    column: str
    operator: str
    value: float | str


def parse(rule: str) -> list[Term]:
    """Return the comparisons of a rule; all of them must hold.

    A rule is `column operator value`, joined by `and`. A value is a number or a text in quotes; a column whose
    name is not a plain word stands in backticks.

    Raises:
        UserError: anything else.
    """
    terms, at = [], 0
    while True:
        match = _TERM.match(rule, at)
        if not match:
            raise UserError(f'rule "{rule}": write it like  age >= 60 and sex == "F"  ({" ".join(OPERATORS)})')
        number = match["number"]
        text = match["double"] if match["double"] is not None else match["single"]
        terms.append(
            Term(match["quoted"] or match["column"], match["operator"], text if number is None else float(number))
        )
        if match.end() == len(rule):
            return terms
        joined = _AND.match(rule, match.end())
        if not joined:
            raise UserError(
                f'rule "{rule}": comparisons are joined by "and"; "{rule[match.end() :]}" is not understood'
            )
        at = joined.end()


def terms_of(config: CohortConfig) -> list[Term]:
    """Return the comparisons of all rules of a configuration: those of the groups and `where`."""
    rules = [*(config.groups or {}).values(), *([config.where] if config.where else [])]
    return [term for rule in rules for term in parse(rule)]


def matches(frame: pd.DataFrame, rule: str) -> pd.Series:
    """Return True for the rows that fulfil a rule; a missing value fulfils none.

    Raises:
        UserError: a malformed rule or a column that the table does not have.
    """
    hit = pd.Series(True, index=frame.index)
    for term in parse(rule):
        values = frame[_find(frame, term.column, rule)]
        if isinstance(term.value, str):
            text = values.astype("string").fillna("").str.strip()
            hit &= (OPERATORS[term.operator](text, term.value) & (text != "")).astype(bool)
        else:
            numbers = as_numbers(values)
            hit &= OPERATORS[term.operator](numbers, term.value) & numbers.notna()
    return hit


def _find(frame: pd.DataFrame, column: str, rule: str) -> str:
    for candidate in (column, *(name for name in frame.columns if name.lower() == column.lower())):
        if candidate in frame.columns and frame[candidate].notna().any():
            return candidate
    filled = [name for name in frame.columns if frame[name].notna().any() and name not in {"path", "row"}]
    raise UserError(f'rule "{rule}": no column {column}; the table has {", ".join(filled)}')


def defining_columns(config: CohortConfig) -> tuple[str, ...]:
    """Return our names of the columns that the group rules read; they cannot serve as covariates.

    In a regression the rules define nothing, and the target is the one column.
    """
    if config.target:
        return (config.target,)
    ours = {theirs.lower(): name for name, theirs in config.columns.items()}
    names = [term.column.lower() for rule in (config.groups or {}).values() for term in parse(rule)]
    return tuple(dict.fromkeys(ours.get(name, name) for name in names))


def assign(frame: pd.DataFrame, config: CohortConfig) -> pd.DataFrame:
    """Add the columns group, diagnosis, role and reason to a table; a reason means: leave the scan out.

    Args:
        frame: one row a scan, with the columns scan, label (may be empty), those the rules read, and optionally
            path and row (the row of the user's table, for messages).
        config: with `diagnosis` (group -> labels) or `groups` (group -> rule), `apply`, and `where`.

    Raises:
        UserError: a label in two places, a malformed rule, a scan in two groups or with two labels, an empty group.
    """
    check_labels(config)
    frame = frame.copy()
    for column in ("group", "diagnosis", "role", "reason"):
        frame[column] = ""
    labels = frame["label"].astype("string").fillna("").str.strip()
    if config.target:
        return _everyone(frame, labels, config)
    applied = {label.lower(): label for label in config.apply}
    to_apply = labels.str.lower().isin(list(applied)).astype(bool)
    frame.loc[to_apply, "role"] = "apply"
    frame.loc[to_apply, "diagnosis"] = labels[to_apply].str.lower().map(applied)
    if config.diagnosis and "screening_diagnosis" in frame:
        frame["screening_diagnosis"] = in_groups(frame["screening_diagnosis"], config)
    _by_label(frame, labels, ~to_apply, config) if config.diagnosis else _by_rule(frame, ~to_apply, config)
    frame.loc[frame["group"] != "", "role"] = "cohort"
    _check_two_labels(frame)
    _leave_out(frame, config)
    check_both_groups(frame, config, "after the group rules")
    return frame


def _leave_out(frame: pd.DataFrame, config: CohortConfig) -> None:
    """Give a reason for exclusion to scans that do not fulfil cohort.where."""
    if config.where:
        failing = ~matches(frame, config.where) & (frame["reason"] == "")
        frame.loc[failing, "reason"] = f"does not fulfil cohort.where ({config.where})"


def _everyone(frame: pd.DataFrame, labels: pd.Series, config: CohortConfig) -> pd.DataFrame:
    """Give every scan of a regression its role; rules only name it, the groups follow from the median."""
    named = in_groups(labels, config) if config.diagnosis else labels
    for group, rule in (config.groups or {}).items():
        named = named.mask(matches(frame, rule), group)
    frame["diagnosis"] = named.astype(object)
    _check_two_labels(frame)
    if config.diagnosis and "screening_diagnosis" in frame:
        frame["screening_diagnosis"] = in_groups(frame["screening_diagnosis"], config)
    _leave_out(frame, config)
    return frame.assign(clinical_label=named, role="cohort")


def check_labels(config: CohortConfig) -> None:
    """Raise UserError for a label that two groups, or a group and `apply`, claim."""
    owner: dict[str, str] = {}
    for group, labels in (config.diagnosis or {}).items():
        for label in labels or [group]:
            if owner.setdefault(label.lower(), group) != group:
                raise UserError(f"cohort.diagnosis: the label {label} is in both {owner[label.lower()]} and {group}")
    for label in config.apply:
        if label.lower() in owner:
            raise UserError(
                f"cohort.apply: {label} is already a label of the group {owner[label.lower()]}; scans that are only "
                "explained cannot be trained on: take it out of one of the two"
            )


def check_both_groups(frame: pd.DataFrame, config: CohortConfig, when: str) -> None:
    """Raise UserError if a group has no scan left; the message names it and the labels that occur.

    The groups of a regression are made later.
    """
    if config.target:
        return
    names = config.group_names
    counts = frame.loc[(frame["role"] == "cohort") & (frame["reason"] == ""), "group"].value_counts()
    empty = [name for name in names if not counts.get(name, 0)]
    if not empty:
        return
    reasons = frame.loc[frame["reason"] != "", "reason"].value_counts()
    left_out = (
        "; left out: " + ", ".join(f"{n} x {reason}" for reason, n in reasons.head(4).items()) if len(reasons) else ""
    )
    by_label = frame["label"].astype("string").fillna("").replace("", "(none)").value_counts()
    there = (
        f"; labels in the table: {', '.join(f'{k} {n}' for k, n in by_label.head(12).items())}"
        if config.diagnosis
        else ""
    )
    kept = ", ".join(f"{name} {counts.get(name, 0)}" for name in names)
    raise UserError(f"group {' and group '.join(empty)} has no scan {when} ({kept}){there}{left_out}")


def _group_of(config: CohortConfig) -> dict[str, str]:
    return {label.lower(): group for group, names in (config.diagnosis or {}).items() for label in names or [group]}


def in_groups(labels: pd.Series, config: CohortConfig) -> pd.Series:
    """Replace labels by the group that they mean, and keep those that mean none."""
    return labels.str.lower().map(_group_of(config)).fillna(labels)


def _by_label(frame: pd.DataFrame, labels: pd.Series, free: pd.Series, config: CohortConfig) -> None:
    group = labels.str.lower().map(_group_of(config))
    labelled = free & group.notna()
    frame.loc[labelled, "group"] = frame.loc[labelled, "diagnosis"] = group[labelled]
    unknown = free & ~labelled
    frame.loc[unknown, "diagnosis"] = labels[unknown]
    frame.loc[unknown, "reason"] = [
        "no label" if not label else f"label {label} is in no group" for label in labels[unknown]
    ]


def _by_rule(frame: pd.DataFrame, free: pd.Series, config: CohortConfig) -> None:
    hits = {group: matches(frame, rule) & free for group, rule in (config.groups or {}).items()}
    (first, hit_first), (second, hit_second) = hits.items()
    both = hit_first & hit_second
    if both.any():
        scan = frame.loc[both, "scan"].iloc[0]
        raise UserError(f"cohort.groups: {both.sum()} scans match both {first} and {second}, the first is {scan}")
    for group, hit in hits.items():
        frame.loc[hit, ["group", "diagnosis"]] = group
    frame.loc[free & ~hit_first & ~hit_second, "reason"] = NO_RULE


def _check_two_labels(frame: pd.DataFrame) -> None:
    for key in ("scan", "path"):
        if key not in frame:
            continue
        again = (
            frame[frame[key].astype("string").fillna("") != ""].groupby(key)["diagnosis"].agg(lambda d: sorted(set(d)))
        )
        wrong = again[again.str.len() > 1]
        if len(wrong):
            rows = frame[frame[key] == wrong.index[0]]
            where = f" (rows {', '.join(map(str, rows['row']))})" if "row" in frame else ""
            scan, labels = rows["scan"].iloc[0], " and ".join(label or "(none)" for label in wrong.iloc[0])
            raise UserError(f"scan {scan} has two labels: {labels}{where}; keep the row with the right one")
