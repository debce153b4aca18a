"""What must be known of a picture of group averages, wherever it is seen: on the page, in files, on the cortex."""

from __future__ import annotations

from dashboard.data import reference_run, runs
from dashboard.data.selection import Selection
from dashboard.text import formatting


def parts(selection: Selection, who: str, method: str = "") -> list[str]:
    """Say in short parts whose maps these are, by which method, as evidence for what, of which run, and when made.

    SIMULATED comes first, where the run is; then a warning, where its networks do not know the scans.

    Args:
        who: whose maps, and that they are averages.
        method: of one picture; empty for several.
    """
    run, manifest = selection.run, runs.manifest(selection.run)
    warning = reference_run.warning(run).strip().rstrip(".")
    found = [
        "SIMULATED" if manifest["simulated"] else "", warning, who, formatting.method_name(method) if method else "",
        formatting.MODEL_SETS[selection.model_set], f"evidence for {selection.evidence_as_text()}", f"run {run.run_id}",
        f"made {manifest['created'][:10]}",
    ]  # fmt: skip
    return [part for part in found if part]


def line(selection: Selection, who: str, method: str = "") -> str:
    """Return `parts` as one line."""
    return " · ".join(parts(selection, who, method))
