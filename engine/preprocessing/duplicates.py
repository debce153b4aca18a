"""Persons who share a scan: prepared volumes that are alike although their files are not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd

from engine.preprocessing.quality import ACCEPT
from engine.preprocessing.volume_cache import VolumeCache
from engine.progress import Progress
from store.spec import table_spec

ReadVolume = Callable[[str], np.ndarray]
FIGURE, SOURCE = "same_image", "cohort"
SAME = 0.9999  # correlation of two prepared volumes; those of two persons reach 0.95
ALIKE = 0.9995  # correlation of the means of blocks of two images that may be one
BLOCKS = 12  # along an axis, or a few more
READ_AT_ONCE = 16
# How far quality figures of one image, prepared from two files, may lie apart; brain_ml as a share.
APART = {"template_correlation": 0.003, "mask_dice": 0.003, "brain_ml": 0.005}


def same_image_flags(
    cache: VolumeCache,
    quality: pd.DataFrame,
    scans: pd.DataFrame,
    accepted: frozenset[str] = frozenset(),
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Return rows of the flags table for scans whose volume is that of another subject's scan.

    Args:
        cache: the prepared volumes.
        quality: rows of the quality table; only scans with similar figures are compared, so that few are read.
        scans: with the columns scan and subject.
        accepted: scans that a person accepted.
        progress: is told how far the reading is.
    """
    subject = scans.set_index("scan")["subject"]
    rows = []
    for one, other in _alike(cache, _candidates(quality[quality["scan"].isin(subject.index)], subject), progress):
        r = _correlation(*cache.read([one, other]))
        if r > SAME:
            for scan, twin in ((one, other), (other, one)):
                text = f"the same image as scan {twin} of another subject: r {r:.5f}, below {SAME} expected"
                decision = ACCEPT if scan in accepted else ""
                rows.append((scan, FIGURE, SOURCE, r, float("nan"), SAME, decision, text))
    columns = table_spec("flags").columns
    frame = pd.DataFrame(rows, columns=list(columns)).drop_duplicates("scan")
    return frame.astype({name: kind for name, (kind, _) in columns.items()})


def find_known_images(
    quality: pd.DataFrame, volume: ReadVolume, known_quality: pd.DataFrame, known_volume: ReadVolume
) -> dict[str, str]:
    """Return new scan -> the known scan whose image it is, where it is one, by their prepared volumes.

    Args:
        quality, known_quality: rows of the quality table; only scans with similar figures are compared.
        volume, known_volume: read the prepared volume of a scan, (x, y, z), on the same grid.
    """
    figures, known = _figures(quality), _figures(known_quality)
    matches: dict[str, str] = {}
    for i, scan in enumerate(quality["scan"]):
        for j in np.flatnonzero(_near(known, figures[i])):
            other = known_quality["scan"].iloc[j]
            if scan not in matches and _correlation(volume(scan), known_volume(other)) > SAME:
                matches[scan] = other
    return matches


def warning(flags: pd.DataFrame) -> tuple[str, ...]:
    """Say without names that persons share an image; nothing where none do."""
    count = int((flags["figure"] == FIGURE).sum())
    if not count:
        return ()
    return (f"{count} scans show the same image as a scan of another subject; they may be on both sides of a fold",)


def _candidates(quality: pd.DataFrame, subject: pd.Series) -> Iterator[tuple[str, str]]:
    """Yield pairs of scans of different subjects with nearly the same quality figures."""
    figures = _figures(quality)
    ids = quality["scan"].tolist()
    persons = subject[ids].to_numpy(object)
    for i, one in enumerate(ids):
        near = _near(figures[i + 1 :], figures[i])
        for j in np.flatnonzero(near & (persons[i + 1 :] != persons[i])):
            yield one, ids[i + 1 + j]


def _alike(
    cache: VolumeCache, pairs: Iterable[tuple[str, str]], progress: Progress | None
) -> Iterator[tuple[str, str]]:
    """Yield those pairs that look alike from afar, for which each scan is read once.

    Of n scans about n^2 / 600 pairs have similar figures, and reading both volumes of each would take hours.
    """
    asked = list(pairs)
    names = list(dict.fromkeys(name for pair in asked for name in pair))
    seen: dict[str, np.ndarray] = {}
    with (progress or Progress(quiet=True)).task("looking for scans that are one", len(names)) as task:
        for start in range(0, len(names), READ_AT_ONCE):
            chunk = names[start : start + READ_AT_ONCE]
            seen |= {name: _from_afar(volume) for name, volume in zip(chunk, cache.read(chunk), strict=True)}
            task.advance(len(chunk))
    return (pair for pair in asked if float(seen[pair[0]] @ seen[pair[1]]) > ALIKE)


def _from_afar(volume: np.ndarray) -> np.ndarray:
    """Return the means of 12 x 12 x 12 blocks or more, so centred and scaled that products of two are correlations."""
    edges = [max(1, n // BLOCKS) for n in volume.shape]
    x, y, z = (n // edge * edge for n, edge in zip(volume.shape, edges, strict=True))
    a, b, c = edges
    means = volume[:x, :y, :z].reshape(x // a, a, y // b, b, z // c, c).mean(axis=(1, 3, 5)).ravel()
    means = means - means.mean()
    return (means / (np.linalg.norm(means) or 1.0)).astype(np.float32)


def _figures(quality: pd.DataFrame) -> np.ndarray:
    """Return the figures to compare, (scans, figures), the brain's volume as a logarithm."""
    volume = quality["brain_ml"].where(quality["brain_ml"] > 0)
    return quality[list(APART)].assign(brain_ml=np.log(volume)).to_numpy(float)


def _near(figures: np.ndarray, one: np.ndarray) -> np.ndarray:
    """Mark scans with nearly the figures of one; figures that are not known of either do not count."""
    apart = np.abs(figures - one)
    comparable = ~np.isnan(figures).all(axis=1) & ~np.isnan(one).all()
    return (np.isnan(apart) | (apart <= list(APART.values()))).all(axis=1) & comparable


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one.ravel() - one.mean(), other.ravel() - other.mean()
    size = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / size if size else 0.0
