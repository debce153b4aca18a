"""Which data, settings and code made these results, and how to cite them."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.data import runs
from dashboard.data.runs import Run
from dashboard.data.settings import pairs_table, settings_table
from dashboard.drawing import charts
from dashboard.shell import access, display, names, page, public, run_picker
from dashboard.shell import notices as shell_notices
from dashboard.text import formatting, paper

NOT_HERE = "not in this run"


def identity(run: Run, manifest: dict[str, Any]) -> None:
    """Show names and fingerprints; the manifest has them in full."""
    contents = manifest["contents"]
    derived = manifest.get("derived") or {}
    facts = {
        "Run": run.run_id,
        "Made": manifest["created"],
        **({"Derived": f"{derived['how']}, from {derived['from']} on {derived['when'][:10]}"} if derived else {}),
        "Cohort": manifest["cohort"],
        "Groups": f"{manifest['groups'][0]} (positive) against {manifest['groups'][1]}",
        "Working grid": f"{manifest['grid_mm']:g} mm",
        "Fingerprint of the results": manifest["fingerprint"][:32],
        "Fingerprint of the data": manifest["data_fingerprint"][:32],
        "Code": manifest["commit"] or "commit not recorded",
        "Computed on": f"{manifest['device']}, at most {formatting.size(manifest['peak_mib'] * 2**20)} of memory",
        "Store specification": manifest["spec_version"],
        "Size": f"{formatting.size(contents['bytes'])}, {formatting.count(contents['heatmaps'], 'heatmap')}",
    }
    display.table(st, pairs_table(facts, "What", "Value"))


def times_and_seeds(manifest: dict[str, Any]) -> None:
    """Show how long each stage took, and the seeds."""
    seconds = {stage: float(value) for stage, value in manifest["seconds"].items()}
    st.subheader("Time", anchor=False)
    st.caption(f"{formatting.duration(sum(seconds.values()))} in all, by stage of the pipeline.")
    display.chart(st, charts.timings(seconds), "timings")
    st.subheader("Seeds", anchor=False)
    display.table(
        st, pairs_table({formatting.seed_words(name): seed for name, seed in manifest["seeds"].items()}, "Of", "Seed")
    )


def settings(manifest: dict[str, Any]) -> None:
    """Show every setting."""
    st.subheader("Settings", anchor=False)
    display.grid(st.container(gap=None), settings_table(manifest["config"]), height=420)


def models(run: Run) -> None:
    """Show the networks and the fingerprints of their weights."""
    table = runs.table(run, "models")
    shown = pd.DataFrame({
        "Network": table.model.map(formatting.network_name), "Training scans": table.training_scans,
        "Subjects": table.training_subjects,
        "Test scans": table.test_scans, "Parameters": [f"{n:,}" for n in table.parameters.fillna(0)],
        "Epochs": table.epochs, "Seed": table.seed, "Time": [formatting.duration(s) for s in table.seconds],
        "Weights (SHA-256)": table.weights_sha256.astype("string").str[:16].fillna(NOT_HERE),
    })  # fmt: skip
    st.subheader("Networks", anchor=False)
    display.grid(st.container(gap=None), shown)


def contact_sheet(run: Run) -> None:
    """Show every preprocessed scan at a glance."""
    sheets = runs.contact_sheets(run)
    if not sheets:
        return
    st.subheader("Preprocessing at a glance", anchor=False)
    st.caption(
        "One tile a scan: the outline of the template's brain over the registered scan. The button at the right of "
        "a sheet shows it over the whole screen."
    )
    for sheet in sheets:
        st.image(sheet, output_format="PNG")


def flagged(run: Run) -> None:
    """Show the scans whose preprocessing should be looked at."""
    flags = runs.flags(run)
    if flags.empty:
        return
    st.subheader("Flagged scans", anchor=False)
    st.caption(
        f"{formatting.count(flags['scan'].nunique(), 'scan')} with figures beyond the limits that the run was made "
        "with. They are used; a row reject in decisions.csv leaves one out of the next run."
    )
    shown = flags[["scan", "text", "decision"]].set_axis(["Scan", "What was found", "Decision"], axis=1)
    display.grid(st.container(gap=None), shown)


def how_to_cite(run: Run, manifest: dict[str, Any]) -> str:
    """Write how to cite this run, and the paper it starts from."""
    version, date = manifest["versions"].get("brainwhy", ""), manifest["created"][:10]
    this = f"Brainwhy {version}, run {run.run_id} (fingerprint {manifest['fingerprint'][:16]}), {date}."
    return f"{this}\n{paper.CITATION}"


def citation(run: Run, manifest: dict[str, Any]) -> None:
    """Show what to cite, and whose work this rests on."""
    st.subheader("How to cite", anchor=False)
    st.code(how_to_cite(run, manifest), language=None, wrap_lines=True)
    st.subheader("Notices", anchor=False)
    notices = [n for n in manifest["notices"] if n != shell_notices.RESEARCH_ONLY]
    st.markdown("\n".join(f"- {formatting.plain(notice)}" for notice in [shell_notices.RESEARCH_ONLY, *notices]))


def everything(run: Run, manifest: dict[str, Any]) -> list[page.Download]:
    """Return what can be taken away as files; volumes, which are large, are exported by the command line."""
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    found = [
        page.Download("Manifest, JSON", f"{run.run_id}-manifest.json", text, "application/json"),
        page.Download("How to cite, text", f"{run.run_id}-citation.txt", how_to_cite(run, manifest), "text/plain"),
    ]
    if manifest["contents"]["models"]:
        networks = lambda: runs.zipped(run, "models")  # noqa: E731
        found.append(page.Download.zip("Networks, safetensors", f"{run.run_id}-networks", networks))
    if access.may_see_patients():
        tables = page.Download.zip("All tables, Parquet", f"{run.run_id}-tables", lambda: runs.zipped(run, "tables"))
        found.insert(1, tables)
    return found


def take_away(run: Run) -> None:
    """Show the command for what is too large for a browser."""
    st.subheader("Export everything", anchor=False)
    place = run.store if access.is_local() else "STORE"
    st.caption(
        "Tables, networks and manifest are under Download above, volumes of a patient on the Patient page. This writes "
        "the tables (CSV), all group averages (NIfTI) and figure 1; `--native SCAN` adds heatmaps in a person's own "
        "space. A run is one folder: copying it takes everything."
    )
    st.code(f"python -m store export {place} {run.run_id} --to FOLDER", language=None, wrap_lines=True)


def main() -> None:
    """Show the Provenance page."""
    run = run_picker.current_run()
    manifest = public.manifest(run)
    name = formatting.plain(manifest["name"])
    head = page.Header("Provenance", f"Which data, settings and code made **{name}**.", maps=False)
    names_people = access.may_see_patients() and names.are_shown()
    if names_people:
        flagged(run)
    left, right = st.columns([3, 2], gap="large")
    with left:
        identity(run, manifest)
        settings(manifest)
    with right:
        times_and_seeds(manifest)
        st.subheader("Versions", anchor=False)
        display.table(st, pairs_table(manifest["versions"], "Package", "Version"))
    models(run)
    if names_people:
        contact_sheet(run)
    take_away(run)
    citation(run, manifest)
    head.finish(everything(run, manifest))


page.body(main)
