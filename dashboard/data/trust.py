"""How far the heatmaps of each method can be trusted, as the line under them says it."""

from __future__ import annotations

from dashboard.data import reference_run, runs
from dashboard.data.kept import kept
from dashboard.data.runs import Run
from store.benchmark import cited_of_packaged
from store.reading.trust import TrustLine, trust_lines


def lines(run: Run, fewest: int) -> dict[str, TrustLine]:
    """Return method -> line; of new scans that of the run whose networks explain them. Empty where nothing is known.

    Args:
        fewest: subjects; figures of fewer are not given.
    """
    known = reference_run.of(run)
    if known is None:
        return _lines(run, fewest, "")
    return _lines(known.run, fewest, known.run_id) if known.run else {}


@kept(16)
def _lines(run: Run, fewest: int, source: str) -> dict[str, TrustLine]:
    return trust_lines(runs.opened(run), benchmark=cited_of_packaged(), fewest=fewest, source=source)
