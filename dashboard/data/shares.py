"""Shares of relevance by region, for everyone in a model set. Straight from a run; nothing here knows Streamlit."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dashboard.data import byte_cache
from store import RunReader
from store.keys import are_retrained
from store.reading.region_values import joined

LIMIT = 48 << 20  # bytes of tables of scans by regions, which all readers share: 500 of 200 scans, 10 of 10 000


@byte_cache.kept_within(LIMIT)
def region_shares(run: RunReader, model_set: str, method: str, target: str) -> pd.DataFrame:
    """Return the share of the brain by scan (index model, scan) and region (a column each, as in the atlas).

    The table is kept: change nothing in it.

    `target` true or predicted is resolved for each scan; scans without that target are left out. Shares as float32,
    NaN for a heatmap that is 0 everywhere and for a region without voxels on the grid.
    """
    groups = [target] if target in run.groups else run.groups
    parts = [run.region_values(model_set, method, group, ("share",)) for group in groups]
    if target not in run.groups:
        column = "group" if target == "true" else "predicted"
        own = run.table("predictions", ["model", "scan", column]).set_index(["model", "scan"])[column]
        meant = [(own.reindex(p.pairs()) == g).fillna(False).to_numpy(bool) for p, g in zip(parts, groups, strict=True)]
        parts = [part.where(keep) for part, keep in zip(parts, meant, strict=True)]
    found = joined(parts)
    regions = run.whole_table("regions")
    wide = pd.DataFrame(found.values["share"], found.pairs(), pd.Index(regions["region"], name="region")).sort_index()
    # Runs of before 1.3 have a share of 0 in both cases.
    nothing = ~(wide.sum(axis=1).to_numpy(float) > 0)[:, None] | ~(regions["volume_cm3"].to_numpy(float) > 0)[None]
    return wide.mask(nothing).astype(np.float32)


def subject_means(run: RunReader, shares: pd.DataFrame) -> pd.DataFrame:
    """Average the shares over the scans of each person, index (subject, diagnosis), without retrained models."""
    people = run.table("predictions", ["model", "scan", "subject", "diagnosis"])
    people = people[~are_retrained(people.model)].set_index(["model", "scan"])
    return shares.join(people, how="inner").groupby(["subject", "diagnosis"], sort=False).mean(numeric_only=True)
