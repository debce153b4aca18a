"""Does the relevance of a region follow the tissue that is there; tables anatomy and anatomy_scans.

See docs/definitions.md, Anatomy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from engine.analysis.anatomy import correlations_with_intervals, tissue_share, z_scores
from engine.analysis.regions import RegionSums
from engine.pipeline.run import Run
from engine.pipeline.trust.scope import ALL, HELD_OUT, TrustScope
from engine.training.volumes import chunked
from store.measures import draw_subjects, rank_correlation

CHUNK = 8  # volumes in memory at once


def write_anatomy(scope: TrustScope) -> None:
    """Write the tables anatomy and anatomy_scans; seconds, so that they are made in one go."""
    run, tested = scope.run, scope.tested
    healthy = _healthy(scope)
    names = list(dict.fromkeys([*tested["scan"], *healthy["scan"]]))
    tissue = tissue_of(run, names)
    reference = tissue.loc[healthy["scan"]].groupby(healthy["subject"].to_numpy(), sort=False).mean()
    measured = tissue.loc[tested["scan"]]
    away = z_scores(measured.to_numpy(), reference.to_numpy())
    groups, scans = [], []
    for method in scope.methods:
        relevance = _signed_relevance(scope, method)
        groups += [_group_frame(scope, method, relevance, measured, one) for one in scope.diagnoses]
        scans.append(_scan_frame(scope, method, relevance, away))
    run.writer.put_table("anatomy", pd.concat(groups, ignore_index=True))
    run.writer.put_table("anatomy_scans", pd.concat(scans, ignore_index=True))


def tissue_of(run: Run, scans: Sequence[str]) -> pd.DataFrame:
    """Measure the tissue of every region in scans: cm3, a row a scan and a column a region."""
    adder = RegionSums(run.atlas.labels[run.mask], len(run.atlas.regions))
    cm3, rows = run.config.grid_mm**3 / 1000, []
    with run.progress.task("tissue of regions", len(scans)) as task:
        for chunk in chunked(list(scans), CHUNK):
            for volume in run.cache.read(chunk):
                rows.append(adder.sums(adder.gather(tissue_share(volume, run.mask))) * cm3)
            task.advance(len(chunk))
    return pd.DataFrame(rows, index=list(scans), columns=run.atlas.regions["region"].to_numpy())


def _healthy(scope: TrustScope) -> pd.DataFrame:
    """Return the scans table's rows of the training scans of the negative group; none of an imported network."""
    rows, job = scope.run.cohort.scans, scope.job
    assert job is not None
    return rows[rows["scan"].isin(job.train) & (rows["group"] == scope.run.groups[1])]


def _signed_relevance(scope: TrustScope, method: str) -> pd.DataFrame:
    """Return the sum of h over every region for the positive group, a row for each tested scan."""
    chosen = {"model": HELD_OUT, "method": method, "target": scope.target}
    rows = scope.reader.table("region_relevance", ["scan", "region", "signed_sum"], **chosen)
    wide = rows.pivot(index="scan", columns="region", values="signed_sum")
    return wide.loc[scope.tested["scan"], scope.run.atlas.regions["region"].to_numpy()].astype(float)


def _group_frame(
    scope: TrustScope, method: str, relevance: pd.DataFrame, tissue: pd.DataFrame, diagnosis: str
) -> pd.DataFrame:
    """Correlate over the subjects of a diagnosis, each with the means over their scans; rows of anatomy."""
    tested, analysis = scope.tested, scope.run.config.analysis
    own = ((tested["diagnosis"] == diagnosis) | (diagnosis == ALL)).to_numpy()
    subjects = tested.loc[own, "subject"].to_numpy()
    first, second = (frame[own].groupby(subjects, sort=False).mean().to_numpy() for frame in (relevance, tissue))
    draws = draw_subjects(len(first), analysis.bootstrap, scope.run.config.seed)
    value, low, high = correlations_with_intervals(first, second, draws)
    return pd.DataFrame(
        {
            "model_set": HELD_OUT,
            "method": method,
            "target": scope.target,
            "diagnosis": diagnosis,
            "region": relevance.columns.to_numpy(),
            "correlation": value,
            "correlation_low": low,
            "correlation_high": high,
            "subjects": len(first),
        }
    )


def _scan_frame(scope: TrustScope, method: str, relevance: pd.DataFrame, away: np.ndarray) -> pd.DataFrame:
    """Correlate over the atlas regions of each scan; rows of anatomy_scans.

    Args:
        away: (scans, regions) tissue as a z-score.
    """
    regions = scope.run.atlas.regions
    inside = (regions["in_atlas"] & (regions["volume_cm3"] > 0)).to_numpy(bool)
    per_cm3 = relevance.to_numpy()[:, inside] / regions["volume_cm3"].to_numpy(float)[inside]
    return pd.DataFrame(
        {
            "model_set": HELD_OUT,
            "method": method,
            "target": scope.target,
            "scan": scope.tested["scan"].to_numpy(),
            "correlation": [rank_correlation(*pair) for pair in zip(per_cm3, away[:, inside], strict=True)],
        }
    )
