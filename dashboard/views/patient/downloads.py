"""What can be taken away from the Patient page. Names of files carry pseudonyms, never identifiers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import pandas as pd

from dashboard.data import reference_run, runs
from dashboard.data.selection import Selection
from dashboard.drawing import pictures
from dashboard.shell import access, notices
from dashboard.shell.page import Download
from dashboard.text import formatting
from dashboard.views.patient import tables as patient_tables
from dashboard.views.patient.linked_viewer import Seen
from dashboard.views.patient.pictures import crosshair, sheet, threshold_of
from dashboard.views.shared import map_grid
from store import RunReader
from store.export import nifti
from store.reading.agreement import networks_are_enough, scan_agreement

AGREEMENT = {  # what networks that were trained again show together: name of the file, and what is in it
    "mean": ("Mean over networks", "mean h over networks, share of relevance per voxel"),
    "agreement": ("Agreement of networks", "share of the networks that agree, 0 to 1"),
}


def agreement_nifti(reader: RunReader, model: str, method: str, scan: str, target: str, *, kind: str) -> bytes:
    """Return the mean over the networks of a scan, or the share of them that agree, as NIfTI."""
    found = scan_agreement(reader, model, method, scan, target)
    values = found.mean if kind == "mean" else found.share
    return nifti.nifti_bytes(values, reader.affine(), simulated=reader.simulated, unit=AGREEMENT[kind][1])


def label(selection: Selection, model: str, row: Mapping[str, Any]) -> str:
    """Say whose heatmaps a picture shows, made by what and when; persons by pseudonym."""
    run = selection.run
    manifest, other = runs.manifest(run), reference_run.of(run)
    kinds = ["SIMULATED"] if manifest["simulated"] else []
    kinds += ["NETWORKS TRAINED ON SIMULATED SCANS"] if other is not None and other.simulated else []
    explained = runs.opened(run).target_of(model, row["scan"], selection.target)
    parts = (
        *kinds, f"patient {access.pseudonym(row['subject'])}", f"evidence for {explained}", f"model {model}",
        f"run {run.run_id}", f"made {manifest['created'][:10]}",
    )  # fmt: skip
    return f"{' · '.join(parts)}. {notices.RESEARCH_ONLY}"


def downloads(
    selection: Selection,
    model: str,
    row: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame],
    seen: Seen,
    against: Mapping[str, Mapping[str, pd.DataFrame]],
) -> list[Download]:
    """Return report, picture, table and volumes of what is shown.

    Args:
        tables: method -> regions against the own diagnosis.
        seen: what the viewer shows when a file is asked for.
        against: of a new scan: group of another run -> method -> regions against that group; else empty.
    """
    run, scan, target = selection.run, row["scan"], selection.target
    reader, method = runs.opened(run), seen.view["method"] if seen.view["method"] in tables else next(iter(tables))
    name = f"{run.run_id}_{access.pseudonym(scan)}_{model}"
    of_method = f"{name}_{method}_{target}"

    def report() -> bytes:
        # The report loads matplotlib, which no page starts with.
        from dashboard.reports import patient_report  # noqa: PLC0415

        other, view = reference_run.of(run), seen.view
        theirs = runs.opened(other.run) if other and other.run else None
        return patient_report(
            reader, model, scan, target=target, scale="margin", methods=list(tables),
            mm=crosshair(reader, model, method, scan, target, view), subject_words=access.pseudonym(row["subject"]),
            percentile=threshold_of(selection, model, method, scan, view).percentile, created=None, reference=theirs,
            simulated_networks=bool(other and other.simulated),
        )  # fmt: skip

    def picture() -> pictures.Picture:
        return sheet(selection, model, scan, list(tables), seen.view, label(selection, model, row))

    def regions() -> pd.DataFrame:
        return patient_tables.export_groups(against) if against else patient_tables.export(tables)

    found = [
        Download.pdf("Patient report, PDF", f"{name}_report", report),
        *map_grid.picture_files("Picture", name, picture),
        Download.csv("Regions, all methods, CSV", f"{name}_regions", regions),
        Download.nifti(
            f"Heatmap, {formatting.method_name(method)}, NIfTI (MNI)", of_method,
            lambda: nifti.heatmap_nifti(reader, model, method, scan, target=target),
        ),
        Download.nifti("Scan, NIfTI (MNI)", f"{name}_scan", lambda: nifti.volume_nifti(reader, scan)),
    ]  # fmt: skip
    if networks_are_enough(reader, model, method, scan):
        found += [
            Download.nifti(
                f"{label}, {formatting.method_name(method)}, NIfTI (MNI)", f"{of_method}_{kind}",
                functools.partial(agreement_nifti, reader, model, method, scan, target, kind=kind),
            )
            for kind, (label, _) in AGREEMENT.items()
        ]  # fmt: skip
    if reader.has_native(scan):
        found.insert(5, Download.nifti(
            "The same heatmap in the patient's own space, NIfTI", f"{of_method}_native",
            lambda: nifti.heatmap_native_nifti(reader, model, method, scan, target=target),
        ))  # fmt: skip
    return found
