"""Runs of new scans: the run whose networks explained them, and what must be said of it."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from dashboard.data import runs
from dashboard.data.runs import Run
from dashboard.text.formatting import plain
from store import StoreError
from store.reading.verdict import Verdict

SIMULATED = "SIMULATED"  # in a notice of the run: its networks were trained on simulated change


@dataclass(frozen=True)
class Reference:
    """The run that the networks of a run of new scans are from.

    Attributes:
        run_id: of that run.
        run: that run; None where the store does not hold it (any more), or it does not open.
        simulated: its networks were trained on simulated change.
        notes: what the run of new scans says of it.
    """

    run_id: str
    run: Run | None
    simulated: bool
    notes: tuple[str, ...]


def of(run: Run) -> Reference | None:
    """Return the run whose networks explained these scans; None for a run that trained its own."""
    manifest = runs.manifest(run)
    name = manifest.get("reference_run")
    if not name:
        return None
    info = next((i for i in runs.runs(run.store) if i.run == name and i.problem is None), None)
    notes = [note for note in manifest.get("notices", ()) if name in note]
    simulated = info.simulated if info else any(SIMULATED in note for note in notes)
    found = Run(run.store, info.run, info.created) if info else None
    return Reference(name, found, simulated, tuple(note for note in notes if SIMULATED not in note))


def runs_of(run: Run) -> list[Run]:
    """Return the run whose networks explained these scans in a list, empty where the store does not hold it."""
    try:
        known = of(run)
    except (StoreError, TypeError):
        return []
    return [known.run] if known is not None and known.run is not None else []


def badge(run: Run) -> None:
    """Show a label where the networks were trained on simulated change, for the scans themselves are real."""
    reference = of(run)
    if reference is not None and reference.simulated and not runs.manifest(run)["simulated"]:
        st.badge("SIMULATED NETWORKS", color="orange", icon=":material/science:")


def verdict(run: Run) -> Verdict | None:
    """Judge whether the networks behind the heatmaps of a run separate the groups; None where it cannot be known."""
    known = of(run)
    if known is None:
        return runs.verdict(run)
    return runs.verdict(known.run) if known.run else None


def warn(run: Run) -> None:
    """Show the banner of every page with heatmaps whose networks are not known to separate the groups."""
    said, known = verdict(run), of(run)
    if said is None or not said.banner:
        return
    whose = f" The networks are those of {known.run_id}." if known else ""
    if said.separates is None:  # no judgement, and so a quieter line
        st.caption(f":material/warning: {said.banner} {said.figures}.{whose}")
    else:
        st.warning(f"**{said.banner}** {said.figures}.{whose}", icon=":material/warning:")


def warning(run: Run) -> str:
    """Return that banner for the small print of saved pictures, a space behind it; empty where there is none."""
    said = verdict(run)
    return f"{said.banner} " if said is not None and said.banner else ""


def nothing_judged(run: Run) -> bool:
    """Say why there is no accuracy in a run of new scans; False where it trained its own networks."""
    reference = of(run)
    if reference is None:
        return False
    st.info(
        f"These scans were explained by the networks of {plain(reference.run_id)}, and nothing was trained. "
        "They belong to no "
        "group, so there is no accuracy and no group average: those are of that run. Each scan has its maps on the "
        "page Patient, beside the groups of that run."
    )
    return True
