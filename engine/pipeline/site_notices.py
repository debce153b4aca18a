"""What a reader must know where the effects of sites are taken out of the intensities."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.cohort.splits import Job
from engine.training.checkpoints import SITES


def site_notices(models: Path, jobs: Sequence[Job], sites: Mapping[str, str]) -> list[str]:
    """Say that it was done, and how many scans are as they were prepared, since a network knows nothing of their site.

    Args:
        models: folder of the networks and their cards.
        sites: scan -> site, "" where it is not known.
    """
    shown = unknown = untold = 0
    for job in jobs:
        try:
            known = set(json.loads((models / f"{job.model}.json").read_text(encoding="utf-8")).get(SITES, []))
        except (OSError, ValueError):
            continue
        seen = set(job.test) | set(job.explain)
        shown, unknown = shown + len(seen), unknown + sum(sites.get(scan, "") not in known for scan in seen)
        untold += not known
    said = (
        "Intensities: shift and scale of each site, fitted on the training scans of each network, are taken out "
        f"(harmonisation.intensity); {unknown} of {shown} scans that networks were tested on or explained for are of a "
        "site with fewer than 3 training scans, or of none that is known, and are as they were prepared."
    )
    if untold:
        said += (
            f" {untold} of {len(jobs)} networks take out nothing: no site had scans enough, or each site was "
            "of one group, so that nobody can tell the scanner from the disease."
        )
    return [said]
