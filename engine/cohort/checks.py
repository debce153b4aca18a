"""Look into every file before anything is computed: which scans of a cohort cannot be used, and why."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd

from engine.cohort.decisions import accepted, rejected, unmatched
from engine.cohort.file_checks import SIDES, examine, sides_in_doubt
from engine.cohort.scans import Cohort, exclude
from engine.cohort.tables import DECISIONS
from engine.config.cohort_schema import CohortConfig
from engine.images.hashing import FileMemory, file_hash
from engine.images.nifti import describe_mending, is_unplaced
from engine.progress import Progress

DICOM_MEND = "convert again from DICOM"
UNPLACED = (
    "an Analyze header without an origin, so nobody knows where the head lies: it needs a registration "
    "(preprocessing.registration=affine or syn_quick)"
)
OASIS_MEND = "use the Analyze files of OASIS (.img with .hdr), whose axes are known"
_VERSION = 6  # of the rules of file_checks.py: remembered verdicts of other versions are not used


def inspect_all(
    cohort: Cohort, config: CohortConfig, progress: Progress, memory: Path | None = None, trained_on: bool = True
) -> Cohort:
    """Return the cohort without unusable, duplicated and rejected scans, and fill in `source_hash`.

    A person's word counts: scans that decisions.csv of the data folder rejects are left out, and those whose left and
    right are in doubt are used only if it accepts them.

    Args:
        cohort: from a reader; its paths are looked at.
        config: where the scans come from.
        progress: where to count.
        memory: JSON file that remembers verdicts of unchanged files; None looks at all files again.
        trained_on: False keeps scans whose left and right are in doubt, with a warning.

    Raises:
        UserError: no scan of a group can be used; names the first reason.
    """
    scans = cohort.scans.copy()
    remembered = FileMemory(memory, _VERSION)
    facts = []
    with progress.task("Looking at the scans", len(scans)) as task:
        try:
            for path in scans["path"]:
                facts.append(_facts(Path(path), remembered))
                task.advance()
        finally:
            remembered.save()
    scans["source_hash"] = pd.array([fact["hash"] for fact in facts], dtype="string")
    reasons = pd.Series([fact["reason"] or "" for fact in facts], index=scans.index, dtype="object")
    if config.reader == "oasis":  # which nobody has as DICOM
        reasons = reasons.str.replace(DICOM_MEND, OASIS_MEND, regex=False)
    decided = accepted(config) if trained_on else frozenset(scans["scan"])
    doubts = {index: scans.loc[index, "scan"] for index, fact in zip(scans.index, facts, strict=True) if fact["sides"]}
    cohort = _say_doubts(cohort, list(doubts.values()), decided, progress)
    cohort = _say_mended(cohort, [fact["mended"] for fact in facts], progress)
    for index, scan in doubts.items():
        if not reasons[index] and scan not in decided:
            reasons[index] = f"{SIDES}; look at it and write accept (the sform is used) or reject into {DECISIONS}"
    for index, reason in rejected(scans, config).items():
        reasons[index] = reason
    reasons.update(_duplicates(scans, reasons, [fact["image"] for fact in facts]))
    warnings = (*cohort.warnings, *unmatched(cohort, config))
    return exclude(dataclasses.replace(cohort, scans=scans, warnings=warnings), reasons, "ingest")


def without_unplaced(cohort: Cohort, registration: str) -> Cohort:
    """Leave out images whose place in mm is a guess, where no registration finds it.

    Args:
        cohort: of files that can be opened.
        registration: of the preprocessing.

    Raises:
        UserError: no scan of a group is left.
    """
    if registration != "none":
        return cohort
    reasons = pd.Series(
        [UNPLACED if is_unplaced(Path(path)) else "" for path in cohort.scans["path"]],
        index=cohort.scans.index,
        dtype="object",
    )
    return exclude(cohort, reasons, "ingest")


def _duplicates(scans: pd.DataFrame, reasons: pd.Series, images: list[str]) -> dict[int, str]:
    """Return for each row left out because its image is another scan's, the reason.

    The first of several is used, unless their labels differ: then nobody knows whose image it is, and none is.

    Args:
        scans: with `source_hash`, of the whole file.
        reasons: one text a row; rows that have one do not count.
        images: fingerprint of each row's image.
    """
    reasons_by_row: dict[int, str] = {}
    usable = scans.assign(image=images)[reasons == ""]
    for _, same in usable[usable["image"] != ""].groupby("image", sort=False):
        if len(same) == 1:
            continue
        first = same.iloc[0]
        others = same.iloc[1:]
        labels = list(dict.fromkeys(same["diagnosis"]))
        doubt = f", but their labels differ ({', '.join(labels)}): find out whose it is" if len(labels) > 1 else ""
        for index, row in others.iterrows():
            alike = "same file content" if row["source_hash"] == first["source_hash"] else "same image"
            reasons_by_row[index] = f"{alike} as scan {first['scan']}{doubt}"
        if doubt:
            reasons_by_row[same.index[0]] = f"same image as scan {others['scan'].iloc[0]}{doubt}"
    return reasons_by_row


def _say_doubts(cohort: Cohort, scans: list[str], decided: frozenset[str], progress: Progress) -> Cohort:
    """Name the scans whose sides are in doubt; the cohort with a warning that counts them."""
    if not scans:
        return cohort
    for scan in scans:
        progress.say(f"  {scan}: {SIDES}; {'its sform is used' if scan in decided else 'left out'}")
    used = sum(scan in decided for scan in scans)
    word = f"{SIDES} in the headers of {len(scans)} scans: {used} used by the sform, {len(scans) - used} left out"
    return dataclasses.replace(cohort, warnings=(*cohort.warnings, word))


def _say_mended(cohort: Cohort, texts: list[str], progress: Progress) -> Cohort:
    """Name the scans whose header is read otherwise than it says; the cohort with a warning that counts them."""
    mendings = [text for text in texts if text]
    for scan, text in zip(cohort.scans["scan"], texts, strict=True):
        if text:
            progress.say(f"  {scan}: {text}")
    warnings = tuple(f"In the header of {mendings.count(text)} scans: {text}" for text in dict.fromkeys(mendings))
    return dataclasses.replace(cohort, warnings=(*cohort.warnings, *warnings))


def _facts(path: Path, remembered: FileMemory) -> dict:
    facts = remembered.get(path)
    if facts is None:
        reason, image = examine(path)
        facts = {"reason": reason, "image": image}
        facts["sides"] = "" if reason else sides_in_doubt(path)
        facts["mended"] = "" if reason else describe_mending(path)
        try:
            facts["hash"] = file_hash(path)
        except OSError:
            facts["hash"] = ""
        remembered.put(path, facts)
    return facts
