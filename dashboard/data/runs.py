"""Cached questions to the store; the only cached functions.

Each takes the run, so a rebuilt store never shows old results.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st

import store
from dashboard.data import counted, listing
from dashboard.data.kept import kept
from dashboard.text.formatting import in_order
from dashboard.text.outputs import OutputDescription, answer_of
from store import BrokenRunError, NotInRunError, RunInfo, RunReader
from store.accuracy import metrics_of
from store.files.tables import known_table
from store.keys import explains
from store.reading.verdict import Verdict
from store.reading.verdict import verdict as verdict_of

SECONDS_BETWEEN_LOOKS = 15  # how long the list of runs is kept
GRADIENT, OCCLUSION = ("gradient_scale", "relative"), ("occlusion_scale", "margin")
MOST_PACKED_ROWS = 3_000_000  # of a table in a download; 12 million take 0.6 GB of the server's memory
CONTACT_SHEET = "contact-sheet"
MOST_SHEETS, MOST_PIXELS = 500, 50_000_000


class Run(NamedTuple):
    """Which run of which store; `created` changes when a run is made again under its name.

    Attributes:
        persons: of a run of groups that shows a few simulated scans: these, in the place of its groups.
    """

    store: str
    run_id: str
    created: str
    persons: bool = False


@st.cache_data(ttl=SECONDS_BETWEEN_LOOKS, show_spinner=False)
def runs(place: str) -> list[RunInfo]:
    """Return every run of a store, newest first; the last known list while a server does not answer."""
    return listing.of(place)


@st.cache_data(max_entries=16, ttl=SECONDS_BETWEEN_LOOKS, show_spinner=False)
def damage(run: Run) -> list[str]:
    """Look quickly for what is wrong with a run, one line each; to be asked once something has failed."""
    return store.damage(run.store, run.run_id)


@kept(4)
def opened(run: Run) -> RunReader:
    reader = store.open_run(run.store, run.run_id)
    reader = reader.of_persons() if run.persons else reader
    reader.fetch_ahead()
    return reader


def manifest(run: Run) -> dict[str, Any]:
    """Return what the run says about itself, for all readers: change nothing in it."""
    return opened(run).manifest


def holds_groups_only(run: Run) -> bool:
    """Return whether a run holds results of groups alone, nothing of a single person (`python -m store derive`)."""
    return opened(run).holds_groups_only


def table(run: Run, name: str, columns: tuple[str, ...] | None = None) -> pd.DataFrame:
    """Read a table of the run; of one that holds groups alone, those of persons as rows that can only be counted.

    Columns may be added to it; its numbers are shared with other readers, so never write into them.
    """
    return _table(run, name, columns).copy(deep=False)


# Not Streamlit's cache of data, which unpacks its bytes again at every question, 100 ms for 10 000 scans.
@kept(64)
def _table(run: Run, name: str, columns: tuple[str, ...] | None) -> pd.DataFrame:
    reader = opened(run)
    if reader.holds_groups_only and name in counted.MADE:
        found = counted.rows(reader, name)
        return found[list(columns)] if columns is not None else found
    return reader.table(name, columns)


@st.cache_data(max_entries=8, show_spinner=False)
def metrics(run: Run) -> pd.DataFrame:
    """Return the metrics table, with intervals also where the run is older than they are."""
    return metrics_of(opened(run))


@kept(8)
def verdict(run: Run) -> Verdict | None:
    """Judge whether the run's own networks separate its groups; None for new scans: see `reference_run.verdict`."""
    return verdict_of(opened(run))


@st.cache_data(max_entries=8, show_spinner=False)
def available(run: Run) -> dict[str, list[str]]:
    """Return model set -> methods with group averages, in the fixed order; the held-out set first."""
    cells = opened(run).table("cells", ["model_set", "method"])
    if run.persons:
        cells = opened(run).table("heatmaps", ["model_set", "method"])
    found = [s for s in ("holdout", "folds") if (cells.model_set == s).any()]
    return {s: in_order(cells.method[cells.model_set == s].tolist()) for s in found}


def answer(run: Run) -> OutputDescription:
    """Describe what the networks of a run answer: a probability or a value."""
    return answer_of(manifest(run))


def explained_target(run: Run) -> str:
    """Return the target of the run's own group analysis: a group, "true" or "predicted"."""
    run_manifest = manifest(run)
    chosen = run_manifest.get("config", {}).get("analysis", {}).get("target", "positive")
    return dict(zip(("positive", "negative"), run_manifest["groups"], strict=True)).get(chosen, chosen)


def average_of(reader: RunReader, method: str, scale: str | None = None) -> tuple[str, str, str]:
    """Return scale, statistic and unit of a method's group average, as in the run's own ranking of regions.

    A scale that is given stands instead of the run's own.
    """
    gradient = reader.is_gradient(method)
    key, default = GRADIENT if gradient else OCCLUSION
    scale = scale or reader.manifest.get("config", {}).get("analysis", {}).get(key, default)
    relative = {"relative": "% of relevance / cm3"}
    drop = {"margin": "drop of margin", "probability": "drop of probability", **relative}
    change = {"margin": "|d margin|", "probability": "|d probability|", **relative}
    unit = answer_of(reader.manifest).unit_of((change if gradient else drop).get(scale, scale))
    if not explains(method) and scale != "relative":
        unit = "own units"
    return scale, "mean_abs" if gradient else "mean_positive", unit


def zipped(run: Run, kind: str) -> bytes:
    """Pack the run's own files as a ZIP: all `tables`, or the `models` with their cards.

    A table of more than MOST_PACKED_ROWS is left out, and a text in the file says where it is.
    """
    reader, stream = opened(run), io.BytesIO()
    endings = {"tables": (".parquet",), "models": (".safetensors", ".json")}[kind]
    names = [name for name in reader.manifest["contents"][kind] if kind == "models" or reader.has_table(name)]
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as file:
        for name in names:
            rows = reader.manifest["contents"]["tables"][name]["rows"] if kind == "tables" else 0
            if rows > MOST_PACKED_ROWS:
                said = f"{name} has {rows:,} rows: take it from the store, or by python -m store export --csv"
                file.writestr(f"{run.run_id}/{kind}/{name}.txt", said)
                continue
            for ending in endings:
                file.writestr(f"{run.run_id}/{kind}/{name}{ending}", reader.file(f"{kind}/{name}{ending}"))
    return stream.getvalue()


@st.cache_data(max_entries=8, show_spinner=False)
def flags(run: Run) -> pd.DataFrame:
    """Return scans whose quality figures are out of bounds, a row a figure; none where the run keeps no such table."""
    reader = opened(run)
    return (
        reader.table("flags") if reader.has_table("flags") else pd.DataFrame(columns=list(known_table("flags").columns))
    )


@st.cache_data(max_entries=8, show_spinner=False)
def contact_sheets(run: Run) -> list[bytes]:
    """Read the pages of the contact sheet of the preprocessing; none for simulated runs.

    Raises:
        BrokenRunError: one of them is no picture, or larger than a page can be.
    """
    pages: list[bytes] = []
    while len(pages) < MOST_SHEETS:
        name = f"figures/{CONTACT_SHEET}{'' if not pages else f'-{len(pages) + 1}'}.png"
        try:
            page = opened(run).file(name)
        except NotInRunError:
            return pages
        if not _is_picture(page):
            raise BrokenRunError(f"run {run.run_id}: {name} is no picture of a page: copy or build the run again")
        pages.append(page)
    return pages


def _is_picture(data: bytes) -> bool:
    """Return whether bytes begin as a PNG of a bounded number of pixels; nothing is unpacked."""
    width, height = (int.from_bytes(data[k : k + 4], "big") for k in (16, 20))
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and 0 < width * height <= MOST_PIXELS
