"""One patient against the group: frames and numbers. Nothing here knows Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dashboard.text.formatting import NONE, count, method_name, network_name, percent, plain, region_name
from dashboard.text.outputs import OutputDescription
from store.keys import are_retrained

FEWEST = 10  # below so many other subjects no percentile is given (docs/definitions.md, Percentile)
COMPLETE_BELOW = 0.01  # share of the margin's change (docs/definitions.md, Completeness)
SEX_LETTERS = {"F": "F", "M": "M"}


def against_group(own: pd.Series, people: pd.DataFrame, subject: str, diagnosis: str) -> pd.DataFrame:
    """Compare a patient's shares with those of the other subjects of the same diagnosis.

    Args:
        own: (regions,) shares of one scan.
        people: subject means, index (subject, diagnosis), one column a region.
    Returns:
        One row a region: region, share, percentile (0 to 100, mid-rank; NaN below 10 others), mean, sd (ddof 1) and
        n of the others that have relevance. NaN for a patient without relevance and a region without voxels. Source:
        docs/definitions.md, Percentile.
    """
    names = people.index.get_level_values
    others = people[(names("diagnosis") == diagnosis) & (names("subject") != subject)].reindex(columns=own.index)
    others = others[others.notna().any(axis=1)]
    values, mine = others.to_numpy(float), own.to_numpy(float)
    n = len(others)
    table = pd.DataFrame(
        {"region": own.index, "share": mine, "percentile": np.nan, "mean": np.nan, "sd": np.nan, "n": n}
    )
    if n:
        table["mean"] = values.mean(axis=0)
    if n > 1:
        table["sd"] = values.std(axis=0, ddof=1)
    if n >= FEWEST:
        percentile = 100 * ((values < mine).mean(axis=0) + 0.5 * (values == mine).mean(axis=0))
        table["percentile"] = np.where(np.isfinite(mine) & np.isfinite(values).all(axis=0), percentile, np.nan)
    return table


def without_relevance(table: pd.DataFrame) -> bool:
    """Say whether a patient has no share in any region, because the heatmap is 0 everywhere."""
    return bool(table["share"].isna().all())


def top_regions(table: pd.DataFrame, atlas_regions: set[str], count: int = 10) -> pd.DataFrame:
    """Return the regions of the atlas with the largest share of a patient, the largest first."""
    known = table[table.region.isin(atlas_regions) & table.share.notna()]
    return known.nlargest(count, "share").reset_index(drop=True)


def say_completeness(method: str, missed: float) -> str:
    """Say by how much a map misses what it should add up to, and whether that is too much.

    Args:
        missed: share of the change of the margin from the training mean to the scan.
    """
    text = f"{method_name(method)}: the map adds up to the change of the margin except for {percent(missed)} of it"
    if missed <= COMPLETE_BELOW:
        return f"{text}."
    return f"{text}, more than the {percent(COMPLETE_BELOW)} that is aimed at: read its amounts with care."


def covariates(row: Mapping[str, Any]) -> str:
    """Write diagnosis, age, sex, scores and session of a scan in a line of Markdown, without what is not known."""
    parts = [f"**{plain(row['diagnosis'])}**"]
    if isinstance(label := row.get("clinical_label"), str) and label:
        parts.append(plain(label))
    screening = row["screening_diagnosis"]
    if isinstance(screening, str) and screening not in ("", row["diagnosis"]):
        parts.append(f"{plain(screening)} at screening")
    if np.isfinite(row["age"]):
        parts.append(f"{row['age']:.0f} y")
    if row["sex"] in SEX_LETTERS:
        parts.append(row["sex"])
    for name, label, digits in (("mmse", "MMSE", 0), ("cdr", "CDR", 1)):
        if np.isfinite(row[name]):
            parts.append(f"{label} {row[name]:.{digits}f}")
    for name, label in (("session", "session"), ("site", "site")):
        if isinstance(row[name], str) and row[name]:
            parts.append(f"{label} {plain(row[name])}")
    if np.isfinite(row["severity"]) and row["severity"] > 0:
        parts.append(f"imposed severity {row['severity']:.2f}")
    return " · ".join(parts)


def keep_one_a_scan(rows: pd.DataFrame, groups: Sequence[str], answer: OutputDescription) -> pd.DataFrame:
    """Return one row a scan: of several models that explain it the first, with the mean of their answers."""
    first = rows.drop_duplicates("scan").reset_index(drop=True)
    if len(first) == len(rows):
        return rows
    mean = rows.groupby("scan")[answer.column].mean().reindex(first.scan).to_numpy(float)
    predicted = np.where(mean >= answer.middle, groups[0], groups[1])
    return first.assign(**{answer.column: mean, "predicted": predicted})


def flag_texts(flags: pd.DataFrame) -> list[str]:
    """Say what is out of bounds in a scan, and whose bounds they are.

    Args:
        flags: rows of the table flags.
    """
    whose = {"reference": "Outside the range of the cohort", "limits": "Outside the limits of the settings"}
    accepted = {"accept": " (a person has looked at it and accepted it)"}
    return [
        f"{whose.get(row.source, row.source)}: {row.text}{accepted.get(row.decision, '')}."
        for row in flags.itertuples()
    ]


def percentile_table(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return regions as text: the scan's share, and its percentile among the subjects of each group.

    Args:
        tables: group -> regions as `against_group` gives them, in the same order.
    """
    first = next(iter(tables.values()))
    columns = {"Region": first.region.map(region_name), "Share of the brain": first.share.map(percent)}
    for group, table in tables.items():
        known = [f"{value:.0f}" if np.isfinite(value) else NONE for value in table.percentile]
        columns[f"Percentile of {group}"] = known
    return pd.DataFrame(columns)


def networks(models: pd.Series) -> str:
    """Count networks in words: '5 networks of the folds', '2 held-out networks', or, of both kinds, '3 networks'."""
    many = count(len(models), "network")
    if models.str.startswith("fold-").all():
        return f"{many} of the folds"
    return many.replace("network", "held-out network") if models.str.startswith("holdout").all() else many


def spread_of_predictions(table: pd.DataFrame, answer: OutputDescription) -> str:
    """Say what the networks answer: 'held-out 0.930; 5 retrained 0.880 to 0.960'; of several, mean and range."""
    parts, write = [], answer.number
    for _, rows in table.groupby("model_set", sort=False):
        again = are_retrained(rows.model)
        said = rows[~again]
        if len(said) > 1:
            low, mean, high = (write(said[answer.column].agg(how)) for how in ("min", "mean", "max"))
            parts.append(f"{networks(said.model)}, mean {mean}, {low} to {high}")
        else:
            parts += [f"{network_name(row.model)} {write(getattr(row, answer.column))}" for row in said.itertuples()]
        if again.any():
            low, high = write(rows[answer.column][again].min()), write(rows[answer.column][again].max())
            parts.append(f"{int(again.sum())} retrained {low} to {high}" if again.sum() > 1 else f"retrained {low}")
    return "; ".join(parts)


def disagreement(table: pd.DataFrame, answer: OutputDescription) -> str:
    """Say in words that the models which explain a scan do not decide alike; empty where they do, or one is alone."""
    said = table[~are_retrained(table.model)]
    for _, rows in said.groupby("model_set", sort=False):
        above = int((rows[answer.column] >= answer.middle).sum())
        if 0 < above < len(rows):
            low, high = (answer.number(end) for end in (rows[answer.column].min(), rows[answer.column].max()))
            return (
                f"The {networks(rows.model)} disagree about this scan: {above} of them on one side of "
                f"{answer.number(answer.middle)}, {len(rows) - above} on the other ({low} to {high}). "
                "Their mean says little."
            )
    return ""


def export_groups(against: Mapping[str, Mapping[str, pd.DataFrame]]) -> pd.DataFrame:
    """Return the tables of several groups of another run as one: group, and the columns of `export`."""
    frames = [export(tables).assign(group=group) for group, tables in against.items()]
    whole = pd.concat(frames, ignore_index=True)
    return whole[["group", *(column for column in whole if column != "group")]]


def export(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the tables of regions by method as one table to take away; shares in percent."""
    frames = [table.assign(method=method) for method, table in tables.items()]
    whole = pd.concat(frames, ignore_index=True)
    whole["region_words"] = whole.region.map(region_name)
    for column in ("share", "mean", "sd"):
        whole[f"{column}_percent"] = 100 * whole.pop(column)
    return whole[["method", "region", "region_words", "share_percent", "percentile", "mean_percent", "sd_percent", "n"]]
