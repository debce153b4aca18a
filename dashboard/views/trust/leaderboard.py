"""The leaderboard: every method by every measure of trust, beside what each measure must exceed."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.data import runs
from dashboard.data.runs import Run
from dashboard.shell import display, url_state
from dashboard.shell.page import Download
from dashboard.text.formatting import count, method_name, plain
from dashboard.views.trust import charts as trust_charts
from dashboard.views.trust import queries, words
from dashboard.views.trust import tables as trust_tables
from dashboard.views.trust.tables import MEASURES
from store.accuracy import LEAST_SUBJECTS
from store.reading.trust import TrustLine

OWN_ORDER = "own"
ANYTHING, NETWORKS = "Each method by each measure of trust", "--set trust.networks=4"
STYLE = """<style>
.st-key-trust-verdicts [data-testid="stTable"] :is(th, td, td *) {white-space: nowrap;}
</style>"""  # on a phone the table is moved sideways
VERDICTS = (
    ":green[:material/check_circle:] holds: the whole 95 % interval of its difference from what knows nothing is on "
    "the right side. :orange[:material/help:] unclear: the interval holds no difference, too, or is not known. "
    ":red[:material/cancel:] fails: it is no better. The same line stands under every heatmap; rules: "
    "docs/definitions.md, Trust line."
)
HOW = (
    "A dot is a method, the line its 95 % interval over subjects; open marks are what it must differ from. Where the "
    "interval holds the open mark, or 0 where 0 is marked, nothing is shown by this measure.\n\n"
    "No method has to be best everywhere: one that fails under *Depends on what was learned* shows the picture, not "
    "the network, whatever else it reaches."
)


def measured(run: Run) -> dict[str, list[pd.DataFrame]]:
    """Return measure -> its rows for this reader, two frames for two sides; without measures that have no row."""
    positive, scores = runs.manifest(run)["groups"][0], queries.truth_scores(run)
    stability, faithful, along = (queries.table(run, name) for name in ("stability", "faithfulness", "anatomy"))
    drawn = queries.table(run, "randomisation")
    whom, who = _whom(stability, positive), _whom(faithful, positive)
    found = {
        "auc": [trust_tables.truth(scores, positive, ("voxel_auc",))],
        "mass": [trust_tables.truth(scores, positive, trust_tables.MASS)],
        "randomisation": [trust_tables.randomisation(drawn, measure) for measure in ("ssim", "ssim_absolute")],
        "stability": [trust_tables.stability(stability, "rank_correlation", whom)],
        "dice": [trust_tables.stability(stability, "dice", whom)],
        "random": [trust_tables.faithfulness(faithful, "random", who)],
        "groups": [trust_tables.faithfulness(faithful, "group_difference", who)],
        "anatomy": [
            trust_tables.anatomy(along, _whom(along, positive), region) for region in trust_tables.hippocampi(along)[:2]
        ],
    }
    kept = {key: [rows for rows in frames if rows["value"].notna().any()] for key, frames in found.items()}
    return {key: frames for key, frames in kept.items() if frames}


def _whom(table: pd.DataFrame, positive: str) -> str:
    """Return the diagnosis that the leaderboard shows of a table: all scans together where it has them."""
    return trust_tables.ALL if (table["diagnosis"] == trust_tables.ALL).any() else positive


def section(run: Run) -> list[Download]:
    """Show the leaderboard, and return what can be taken away of it."""
    found = measured(run)
    if not found:
        words.nothing(run, ANYTHING, "randomisation", NETWORKS)
        return []
    st.markdown(HOW)
    lines = _verdicts(run)
    st.subheader("Measure by measure", anchor=False)
    order = url_state.choose(
        "t_order", "Order of the methods", [OWN_ORDER, *found],
        words=lambda key: "each chart by its own values" if key == OWN_ORDER else MEASURES[key].title,
        width=360,
    )  # fmt: skip
    for place, key in zip(words.board("leaderboard", len(found)), found, strict=True):
        _chart(place, key, order if order in found else key, found)
    missing = [MEASURES[key].title for key in MEASURES if key not in found]
    st.caption(_small_print(run, found, missing))
    if not queries.was_measured(run):
        words.nothing(run, ANYTHING, "randomisation", NETWORKS)
    first = {key: series[0] for key, series in found.items()}
    box = url_state.fold("t_numbers", "All numbers")
    if box is not None:
        display.table(box, trust_tables.leaderboard_table(first))
        box.caption("Value (95 % CI over subjects); its reference, the difference from it, and n.")

    def make() -> pd.DataFrame:
        sides = {key: pd.concat(series, ignore_index=True) for key, series in found.items()}
        return trust_tables.leaderboard(sides)

    judged = trust_tables.verdict_file(lines)
    return [
        Download.csv("Leaderboard, CSV", f"{run.run_id}_trust-leaderboard", make),
        *([Download.csv("Verdicts, CSV", f"{run.run_id}_trust-verdicts", lambda: judged)] if len(judged) else []),
    ]


def _verdicts(run: Run) -> dict[str, TrustLine]:
    """Show one row a method, its four figures judged as in the line under its heatmaps; return the lines."""
    lines = queries.verdicts(run)
    if not lines:
        return lines
    methods = trust_tables.verdict_order(lines)
    table = trust_tables.verdict_table(lines, methods)
    st.html(STYLE)
    st.container(key="trust-verdicts").table(table.set_index("Method"), border="horizontal")
    st.markdown(f":small[{VERDICTS}]")
    box = url_state.fold("t_verdicts", "Each verdict in a sentence")
    if box is not None:
        for method in methods:
            box.markdown(f"**{plain(method_name(method))}**\n\n{' '.join(map(plain, lines[method].sentences()))}")
    return lines


def _chart(place: DeltaGenerator, key: str, by: str, found: dict[str, list[pd.DataFrame]]) -> None:
    """Show one measure in the order of another, or its own; methods that this one does not have stand last."""
    measure, series = MEASURES[key], found[key]
    methods = trust_tables.order(found[by][0], low_is_good=MEASURES[by].low_is_good or by == "anatomy")
    own = set(series[0]["method"])
    methods = [m for m in methods if m in own] + [m for m in series[0]["method"] if m not in methods]
    methods = trust_tables.nothing_last(methods)
    place.markdown(f"**{measure.title}**")
    display.chart(place, trust_charts.dots(series, methods, measure), f"trust-{key}")


def _small_print(run: Run, found: dict[str, list[pd.DataFrame]], missing: list[str]) -> str:
    """Say of whom the numbers are, and what this run does not have."""
    counted: dict[str, list[str]] = {}
    for key, series in found.items():
        counted.setdefault(words.n_of(series[0]), []).append(MEASURES[key].title)
    said = [f"{n} ({', '.join(titles)})" if len(counted) > 1 else n for n, titles in counted.items()]
    text = f"{'; '.join(said)}. Lines: 95 % CI over subjects, none of fewer than {LEAST_SUBJECTS}."
    if not runs.manifest(run)["simulated"]:
        text += " These are real scans: nobody knows where a heatmap should point, so there is no truth to be found."
        missing = [title for title in missing if title not in (MEASURES["auc"].title, MEASURES["mass"].title)]
    if missing:
        text += f" {count(len(missing), 'measure')} not in this run: {', '.join(missing)}."
    return text
