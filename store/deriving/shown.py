"""Single simulated scans in a run of groups: an example of what pages of single persons look like, of nobody."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from store.errors import NotInRunError
from store.keys import HeatmapKey, ModelName
from store.reading import heatmaps
from store.reading.reader import RunReader
from store.spec import NATIVE, SCANS, array_spec
from store.writing.writer import HeatmapArray, RunWriter

BY = ModelName("holdout")  # whose heatmaps are taken along
TAKEN = ("quality", "predictions", "region_relevance", "scan_distances", "variability")
OF_ITS_MODEL = TAKEN[2:]  # of which only rows of that network are


def check(run: RunReader, scans: Sequence[str]) -> None:
    """Say where scans must not be shown one by one.

    Every sign must say that nobody is behind them: the run, its settings, every row of its scans, and that nothing of
    a file or a head of a person is there.

    Raises:
        NotInRunError: the cohort is not of simulated brains alone, or the run holds no heatmaps of a scan.
    """
    why = _real(run)
    if why:
        raise NotInRunError(
            f"run {run.run_id} {why}: --with-scans is for brains that are simulated as a whole, so leave it out"
        )
    explained = run.table("heatmaps", ["scan"], model=str(BY))["scan"]
    for scan in scans:
        if scan not in set(explained):
            raise NotInRunError(f"run {run.run_id} has no heatmaps of a scan {scan} by the network {BY}: name another")


def _real(run: RunReader) -> str:
    """Say what of a run could be of a real person; "" for nothing."""
    cohort = run.manifest["config"].get("cohort")
    cohort = cohort if isinstance(cohort, dict) else {}
    simulation = cohort.get("simulation")
    simulation = simulation if isinstance(simulation, dict) else {}
    scans = run.table("scans")
    if run.manifest["simulated"] is not True or cohort.get("reader") != "simulated" or run.reference_run:
        return "is of real scans"
    if simulation.get("heads") is not None or run.has_table("truth_heads"):
        return "is of real heads with simulated change"
    if len(scans) == 0 or not scans["simulated"].fillna(False).astype(bool).all():
        return "has scans that are not simulated"
    arrays = [entry["path"] for entry in run.manifest["contents"]["arrays"]]
    if any(array_spec(path) is NATIVE for path in arrays):
        return "has scans that came from files"
    return ""


def write_shown(run: RunReader, writer: RunWriter, scans: Sequence[str], step: Callable[[str], None]) -> None:
    """Write scans with their heatmaps by the held-out network, and their rows of the tables of persons.

    Args:
        scans: that `check` let pass; their order is that of the rows.
        step: is told of every step that is done.
    """
    place = {scan: row for row, scan in enumerate(dict.fromkeys(scans))}
    table = _own(run.table("scans"), place)
    shape = run.shape(SCANS.path)[1:]
    writer.start_scans(len(place), shape, run.affine(SCANS.path), run.attributes(SCANS.path)["unit"])
    table["volume_scale"] = [writer.put_scan(place[scan], run.volume(scan)) for scan in table["scan"]]
    writer.put_table("scans", table)
    step("single scans")
    _write_heatmaps(run, writer, place)
    step("heatmaps of single scans")
    for name in filter(run.has_table, TAKEN):
        frame = _own(run.table(name), place)
        if name in OF_ITS_MODEL:
            frame = frame[frame["model"] == BY]
        writer.put_table(name, frame.reset_index(drop=True))
        step(f"table {name} of single scans")


def _own(table: pd.DataFrame, place: dict[str, int]) -> pd.DataFrame:
    """Return the rows of some scans, in the order of the scans."""
    own = table[table["scan"].isin(list(place))]
    order = np.argsort([place[scan] for scan in own["scan"]], kind="stable")
    return own.iloc[order].reset_index(drop=True)


def _write_heatmaps(run: RunReader, writer: RunWriter, place: dict[str, int]) -> None:
    """Write every heatmap of the scans by the held-out network, in arrays with a row for each of them."""
    table = _own(run.table("heatmaps", model=str(BY)), place)
    for names, rows in table.groupby(["method", "target", "scale"], sort=False):
        key = HeatmapKey(str(BY), *map(str, names))
        found = run.attributes(key.path)
        writer.start_heatmaps(
            key,
            HeatmapArray(
                found["native_grid"], found["unit"], np.array(found["affine"]), found.get("stride"), count=len(place),
                shape=run.shape(key.path)[1:], parameters=dict(found["parameters"]),
                antisymmetric=bool(found["antisymmetric"]),
            ),
        )  # fmt: skip
        scans = rows["scan"].tolist()
        writer.put_heatmaps(
            key, rows=[place[scan] for scan in scans], scans=scans,
            values=np.stack([heatmaps.values(run, heatmaps.locate(run, key, scan)) for scan in scans]),
            absolute_sums=rows["absolute_sum"].tolist(), completeness_errors=rows["completeness_error"].tolist(),
        )  # fmt: skip


def names_of(run: RunReader, scans: Sequence[str]) -> set[str]:
    """Return the names that may stand in a run of groups, since the scans that they are of are shown."""
    own = run.table("scans")[lambda table: table["scan"].isin(list(scans))]
    columns = ("scan", "subject", "source_hash")
    return {str(text) for column in columns for text in own[column].dropna().unique()}
