"""Shares of relevance by region, for everyone in a model set. Straight from a run; nothing here knows Streamlit."""

from __future__ import annotations

import numpy as np
import pandas as pd

from store import RunReader
from store.keys import are_retrained


def region_shares(run: RunReader, model_set: str, method: str, target: str) -> pd.DataFrame:
    """Return the share of the brain by scan (index model, scan) and region (a column each, as in the atlas).

    `target` true or predicted is resolved for each scan; scans without that target are left out. Shares as float32,
    NaN for a heatmap that is 0 everywhere and for a region without voxels on the grid.
    """
    wanted = ["model", "target", "scan", "region", "share"]
    table = run.table("region_relevance", wanted, model_set=model_set, method=method)
    if target in run.groups:
        table = table[table.target == target]
    else:
        column = "group" if target == "true" else "predicted"
        meant = run.table("predictions", ["model", "scan", column])
        table = table.merge(meant, on=["model", "scan"])
        table = table[table.target == table[column]]
    wide = table.pivot(index=["model", "scan"], columns="region", values="share")
    regions = run.table("regions", ["region", "volume_cm3"]).set_index("region")["volume_cm3"]
    wide = wide[[region for region in regions.index if region in wide.columns]]
    # Runs of before 1.3 have a share of 0 in both cases.
    nothing = ~(wide.sum(axis=1).to_numpy(float) > 0)[:, None] | ~(regions[wide.columns].to_numpy(float) > 0)[None]
    return wide.mask(nothing).astype(np.float32)


def subject_means(run: RunReader, shares: pd.DataFrame) -> pd.DataFrame:
    """Average the shares over the scans of each person, index (subject, diagnosis), without retrained models."""
    people = run.table("predictions", ["model", "scan", "subject", "diagnosis"])
    people = people[~are_retrained(people.model)].set_index(["model", "scan"])
    return shares.join(people, how="inner").groupby(["subject", "diagnosis"], sort=False).mean(numeric_only=True)
