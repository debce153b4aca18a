"""A run of groups alone from a whole run: averages and tables, no scan, no row and no name of a person."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pandas as pd

from store.accuracy import FOLDS, Judged, difference, judged_scans
from store.deriving import averages, group_tables
from store.deriving.counts import Counts, count, count_exclusions
from store.deriving.texts import settings_without_places
from store.errors import NotInRunError
from store.files.encoding import path_part
from store.group_tables import COHORT
from store.reading.reader import RunReader
from store.reading.verdict import BASELINES, baseline_scans, paired, verdict
from store.spec import MANIFEST_KEYS, OPTIONAL_MANIFEST_KEYS, array_spec
from store.writing.validate import is_of_persons
from store.writing.writer import RunWriter

HOW = "group level"
ADDED = ("spec_version", "run", "contents")  # by the publication


def check(run: RunReader, fewest: int) -> Counts:
    """Count a run, and say where nothing of it may be published.

    Raises:
        NotInRunError: it is derived already, of new scans, or of too few subjects.
    """
    if run.holds_groups_only:
        raise NotInRunError(f"run {run.run_id} holds results of groups alone already: copy its folder")
    if run.reference_run:
        raise NotInRunError(
            f"run {run.run_id} is of new scans, which are shown one by one: derive the run {run.reference_run}, whose "
            "networks explained them"
        )
    counts = count(run, fewest)
    if not set(counts.table["model_set"]) - {COHORT}:
        raise NotInRunError(
            f"run {run.run_id} has no group of {fewest} explained subjects or more, so nothing of it may be published"
        )
    return counts


def steps_of(run: RunReader, counts: Counts) -> int:
    """Count the steps of `write_group_level`, for its progress."""
    return len(averages.cells_of(run, counts)) + len(group_tables.names_of_tables(run))


def write_group_level(
    run: RunReader, writer: RunWriter, counts: Counts, step: Callable[[str], None], small: bool = False
) -> dict[str, Any]:
    """Write a run of groups alone into a staging folder; return its manifest, without name and identifier.

    Args:
        counts: from `check`.
        step: is told of every step that is done.
        small: averages with rounded numbers, which take a third of the space.
    """
    _write_volumes(run, writer, counts, small)
    cells = averages.write_cells(run, writer, counts, step, small)
    for name in group_tables.names_of_tables(run):
        frame = cells if name == "cells" else group_tables.publishable(run, name, counts)
        if not (frame.empty and name.startswith("truth_sub")):
            writer.put_table(name, frame)
        step(f"table {name}")
    writer.put_table("group_counts", counts.table)
    writer.put_table("exclusion_counts", count_exclusions(run, counts.fewest))
    return _manifest(run, counts)


def _write_volumes(run: RunReader, writer: RunWriter, counts: Counts, small: bool) -> None:
    """Write the template, the atlas, truths that are means, and where networks agree on groups of enough subjects."""
    agreeing = {path_part(diagnosis) for diagnosis in counts.diagnoses("holdout")}
    for entry in run.manifest["contents"]["arrays"]:
        path = entry["path"]
        spec = array_spec(path)
        if is_of_persons(path) or path.startswith("cells/"):
            continue
        if path.startswith("agreement/") and path.split("/")[-1] not in agreeing:
            continue
        attributes = {name: run.attributes(path)[name] for name in spec.attributes}
        values = run.array(path)
        writer.put_array(
            path, averages.rounded(values) if small and path.startswith("agreement/") else values, **attributes
        )


def _manifest(run: RunReader, counts: Counts) -> dict[str, Any]:
    known = {*MANIFEST_KEYS, *OPTIONAL_MANIFEST_KEYS} - {*ADDED}
    source = run.manifest
    manifest = {key: source[key] for key in source if key in known}
    said = verdict(run)
    methods = dict.fromkeys(run.table("cells", ["method"])["method"])
    sets = set(counts.table["model_set"]) - {COHORT}
    manifest |= {
        "config": settings_without_places(source["config"]),
        "group_level": {
            "fewest": counts.fewest, "subjects": dict(counts.subjects),
            "methods": {
                method: {
                    "antisymmetric": any(run.is_antisymmetric_in(model_set, method) for model_set in sets),
                    "gradient": run.is_gradient(method),
                } for method in methods
            },
            "verdict": said and {
                "separates": said.separates, "banner": said.banner, "figures": said.figures, "baseline": said.baseline,
            },
            "auc_differences": _auc_differences(run, counts),
        },
    }  # fmt: skip
    return manifest


def _auc_differences(run: RunReader, counts: Counts) -> dict[str, list[float]]:
    """Return linear baseline -> AUC of the networks minus its own over all folds, with the 95 % interval."""
    if run.task == "regression":
        return {}
    folds, found = judged_scans(run.table("predictions"), FOLDS), {}
    people = folds.groupby("group")["subject"].nunique()
    if len(people) < 2 or people.min() < counts.fewest:
        return {}
    for classifier in BASELINES:
        both = paired(folds, baseline_scans(run, classifier, FOLDS))
        if both is not None:
            network, baseline = (Judged(frame, run.groups[0]) for frame in both)
            gap = difference(network, baseline)
            if pd.notna(gap.low):
                found[classifier] = [gap.value, gap.low, gap.high]
    return found


def derived(run: RunReader, how: str, when: datetime) -> dict[str, str]:
    """Return what the manifest says of where a derived run is from."""
    return {
        "from": run.run_id, "fingerprint": str(run.manifest["fingerprint"]), "how": how,
        "when": when.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }  # fmt: skip


def fingerprint_of(run: RunReader, *how: object) -> str:
    """Return the fingerprint of a run that was derived from another in a certain way."""
    return hashlib.sha256("\n".join(map(str, (run.manifest["fingerprint"], *how))).encode()).hexdigest()
