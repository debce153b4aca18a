"""Where the average can be drawn as opaque as retrained networks agree on it, and how that is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dashboard.data import reference_run, runs
from dashboard.data.selection import Selection
from dashboard.shell import url_state
from dashboard.text.formatting import plain
from dashboard.views.shared.two_sets import Columns
from store import RunReader
from store.keys import are_retrained
from store.reading.agreement import FEWEST_NETWORKS, HOW_TO_MAKE, has_group_agreement

HELP = (
    "Colour: the mean over networks that were trained alike but for the seed. Opacity: the share of them that agree in "
    "its sign and have the voxel among their strongest 5 %."
)
ON_PICTURES = "Opacity: share of the networks, trained again from other seeds, that agree."


def why_not(selection: Selection) -> str:
    """Say why the agreement of networks cannot be shown for these choices, in Markdown; empty where it can be."""
    reader = runs.opened(selection.run)
    if reference_run.of(selection.run) is not None:
        return "Agreement on groups is of the run whose networks explained these scans: open that run."
    if not has_group_agreement(reader):
        again = int(are_retrained(runs.table(selection.run, "models").model).sum())
        if again + 1 < FEWEST_NETWORKS:
            return f"Agreement needs at least {FEWEST_NETWORKS} networks trained alike: {HOW_TO_MAKE}."
        return f"This run was made without maps of agreement on groups: {HOW_TO_MAKE}."
    if selection.model_set != "holdout":
        return "The held-out network is the one that is trained again: choose the held-out test set at the left."
    if selection.target == "predicted":
        return "Networks may predict different groups of a scan: choose evidence for one group or the true group."
    more = [name for name in selection.scan_filter.active() if name != "diagnosis"]
    if more:
        narrowed = replace(selection.scan_filter, diagnosis=None).in_words()
        return f"Agreement is of whole diagnoses, and a filter narrows these ({narrowed}): remove it at the left."
    return ""


def why_not_of(selection: Selection, columns: Columns) -> str:
    """Say why the agreement of networks cannot be shown of these sets, in Markdown; empty where it can be."""
    why = why_not(selection)
    if any(one.active() != ["diagnosis"] for one in columns.values()) and not why:
        why = "Agreement is of whole diagnoses: put the groups side by side."
    return why


def is_wanted(selection: Selection, columns: Columns) -> bool:
    """Say whether the reader asks for agreement where it can be shown."""
    return bool(url_state.kept("g_agreement")) and not why_not_of(selection, columns)


def reading(run: RunReader, headings: Sequence[str]) -> str:
    """Say in a line how the pictures are read, in Markdown."""
    models = run.table("models", ["model", "model_set"], model_set="holdout")
    return (
        f"Colour: the mean over {len(models)} networks that were trained alike but for the seed, of the averages of "
        f"{', '.join(map(plain, headings))} in the fixed test set, each map divided by its sum. Opacity: the share of "
        "these networks that agree in its sign and have the voxel among their strongest 5 %. What you see faintly, "
        "some networks see; what you do not see, none does or they contradict each other."
    )
