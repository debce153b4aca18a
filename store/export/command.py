"""What `store export` writes: every table as CSV, maps as NIfTI, figure 1, the paper's tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from store.accuracy import metrics_of
from store.errors import StoreError
from store.export.csv import csv_text, write_csv
from store.export.figure_1 import export_figure
from store.export.nifti import export_native, export_nifti
from store.export.paper_tables import export_paper
from store.files.atomic import write_bytes
from store.files.tables import IN_PARTS
from store.reading.reader import RunReader
from store.spec import TABLES


def export_csv(run: RunReader, folder: str | Path) -> list[Path]:
    """Write every table as <table>.csv; returns the files."""
    paths = []
    for spec in TABLES:
        if run.has_table(spec.name):
            paths.append(Path(folder) / f"{spec.name}.csv")
            if spec.name in IN_PARTS:
                write_csv(paths[-1], run.table_parts(spec.name))
            else:
                table = metrics_of(run) if spec.name == "metrics" else run.table(spec.name)
                write_bytes(paths[-1], csv_text(table).encode())
    return paths


def export_all(  # noqa: PLR0913 - one switch an option of the command
    run: RunReader, folder: str | Path, *, csv: bool = True, nifti: bool = True, figure: bool = True,
    paper: bool = False, native: Sequence[str] = (),
) -> list[Path]:  # fmt: skip
    """Write what is asked for; returns the files.

    Args:
        paper: tables 1 and 2 and figure 1 in the paper's format, into paper/.
        native: scans whose heatmaps are written in their own space, into native/.

    Raises:
        NotWritableError: no space or no permission.
        StoreError: the run is broken or lacks what is asked for.
    """
    try:
        paths = export_native(run, Path(folder) / "native", native)
        paths += export_csv(run, folder) if csv else []
        paths += export_nifti(run, Path(folder) / "nifti") if nifti else []
        paths += [export_figure(run, folder)] if figure else []
        paths += export_paper(run, Path(folder) / "paper") if paper else []
    except FileExistsError as error:
        raise StoreError(f"{folder} is a file: choose a folder") from error
    return paths
