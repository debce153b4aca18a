"""Finds persons who share a scan: prepared volumes that are alike although their files are not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from engine.data.cache import VolumeCache
from engine.preprocessing.limits import ACCEPT
from store.spec import table_spec

FIGURE, SOURCE = "same_image", "cohort"
SAME = 0.9999  # correlation of two prepared volumes; those of two persons reach 0.95
# How far quality figures of one image, prepared from two files, may lie apart; brain_ml as a share.
APART = {"template_correlation": 0.003, "mask_dice": 0.003, "brain_ml": 0.005}


def same_image_flags(
    cache: VolumeCache, quality: pd.DataFrame, scans: pd.DataFrame, accepted: frozenset[str] = frozenset()
) -> pd.DataFrame:
    """Return rows of the flags table for scans whose volume is that of another subject's scan.

    Args:
        cache: the prepared volumes.
        quality: rows of the quality table; only scans with similar figures are compared, so that few are read.
        scans: with the columns scan and subject.
        accepted: scans that a person accepted.
    """
    subject = scans.set_index("scan")["subject"]
    rows = []
    for one, other in _candidates(quality[quality["scan"].isin(subject.index)], subject):
        r = _correlation(*cache.read([one, other]))
        if r > SAME:
            for scan, twin in ((one, other), (other, one)):
                text = f"the same image as scan {twin} of another subject: r {r:.5f}, below {SAME} expected"
                decision = ACCEPT if scan in accepted else ""
                rows.append((scan, FIGURE, SOURCE, r, float("nan"), SAME, decision, text))
    columns = table_spec("flags").columns
    frame = pd.DataFrame(rows, columns=list(columns)).drop_duplicates("scan")
    return frame.astype({name: kind for name, (kind, _) in columns.items()})


def warning(flags: pd.DataFrame) -> tuple[str, ...]:
    """Say, without names, that persons share an image; nothing where none do."""
    count = int((flags["figure"] == FIGURE).sum())
    if not count:
        return ()
    return (f"{count} scans show the same image as a scan of another subject; they may be on both sides of a fold",)


def _candidates(quality: pd.DataFrame, subject: pd.Series) -> Iterator[tuple[str, str]]:
    """Pairs of scans of different subjects with nearly the same quality figures."""
    figures = quality[list(APART)].assign(brain_ml=np.log(quality["brain_ml"].where(quality["brain_ml"] > 0)))
    figures = figures.to_numpy(float)
    limits = np.array(list(APART.values()))
    ids = quality["scan"].tolist()
    persons = subject[ids].to_numpy(object)
    known = ~np.isnan(figures).all(axis=1)
    for i, one in enumerate(ids):
        apart = np.abs(figures[i + 1 :] - figures[i])
        near = (np.isnan(apart) | (apart <= limits)).all(axis=1) & known[i] & known[i + 1 :]
        for j in np.flatnonzero(near & (persons[i + 1 :] != persons[i])):
            yield one, ids[i + 1 + j]


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one.ravel() - one.mean(), other.ravel() - other.mean()
    size = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / size if size else 0.0
