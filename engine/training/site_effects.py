"""Shift and scale of the intensities at each site, as the training scans of one network show them, taken out of scans.

A scanner brightens and stretches what it sees, so this comes before the normalisation, which is fitted to what is left.
Each scan says two numbers: mean and spread of its intensities in the brain. What those of a site have more than all
others is taken to be the scanner's, shrunk as far as so few scans may differ by chance (empirical Bayes: a normal prior
over the sites, whose variance is that of the sites beyond chance). The groups enter the fit by what they differ within
sites, so that a site with more patients is not taken for a darker one. A scan that is tested is only transformed, by
its site alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.training.normalisation import Normalisation, ScanScaling, ScanScores

FEWEST_AT_SITE = 3  # training scans, below which a site has no effect of its own: its scans are left as they are

PlainNormaliser = Normalisation | ScanScaling | ScanScores
Read = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class SiteEffects:
    """What intensities at each site have more than those of all sites.

    Attributes:
        centre: mean intensity in the brain over all sites, which stays.
        shift: site -> what is taken away; scale: site -> what is divided by then, around `centre`.
    """

    centre: float
    shift: Mapping[str, float]
    scale: Mapping[str, float]

    def taken_out(self, volumes: np.ndarray, of: Sequence[str], mask: np.ndarray) -> np.ndarray:
        """Return (n, x, y, z) float32 intensities without the effects of their sites, outside the brain as they are.

        Args:
            of: (n,) the site of each; volumes of one that is not known are left as they are.
        """
        found = np.array(volumes, np.float32)
        for volume, site in zip(found, of, strict=True):
            if site in self.shift:
                away = np.float32(self.centre + self.shift[site])
                volume[mask] = (volume[mask] - away) / np.float32(self.scale[site]) + np.float32(self.centre)
        return found


@dataclass(frozen=True)
class BySite:
    """A normalisation before which the effects of sites are taken out.

    Attributes:
        sites: scan -> its site, "" where it is not known.
    """

    inner: PlainNormaliser
    effects: SiteEffects
    sites: Mapping[str, str]

    @property
    def mask(self) -> np.ndarray:
        """Return the (x, y, z) bool brain mask; everything outside becomes 0."""
        return self.inner.mask


Normaliser = PlainNormaliser | BySite


def normalised(normaliser: Normaliser, read: Read, scans: Sequence[str]) -> np.ndarray:
    """Return the (n, x, y, z) volumes of scans as a network sees them: all that reach one come through here."""
    if not isinstance(normaliser, BySite):
        return normaliser(read(scans))
    return normaliser.inner(harmonised(normaliser.effects, normaliser.sites, normaliser.mask, read)(scans))


def harmonised(effects: SiteEffects, sites: Mapping[str, str], mask: np.ndarray, read: Read) -> Read:
    """Return what reads scans without the effects of their sites."""
    return lambda scans: effects.taken_out(read(scans), [sites.get(scan, "") for scan in scans], mask)


def fit_site_effects(
    read: Read, scans: Sequence[str], mask: np.ndarray, sites: Mapping[str, str], label: np.ndarray
) -> SiteEffects:
    """Fit the effects of sites on the training scans of a network.

    Args:
        read: scan ids -> (n, x, y, z) float32 volumes; one is read at a time.
        scans: training scans only.
        sites: scan -> site.
        label: (n,) of the training scans: what is learned, a group (0 or 1) or a number. Its effect is left in.
    """
    told = np.array([_mean_and_spread(read([scan])[0], mask) for scan in scans])
    own = np.array([sites.get(scan, "") for scan in scans], object)
    usable = np.isfinite(told).all(axis=1) & np.array([bool(name) for name in own], bool)
    many = {name for name in own[usable] if (own[usable] == name).sum() >= FEWEST_AT_SITE}
    usable &= np.array([name in many for name in own], bool)
    if not usable.any():
        return SiteEffects(0.0, {}, {})
    own, told, label = own[usable], told[usable], np.asarray(label, float)[usable]
    shift, centre = shrunk_effects(told[:, 0], own, label)
    log_scale, _ = shrunk_effects(told[:, 1], own, label)
    return SiteEffects(centre, shift, {name: float(np.exp(value)) for name, value in log_scale.items()})


def _mean_and_spread(volume: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Return the mean and the logarithm of the standard deviation in the brain; not finite for an empty scan."""
    inside = volume[mask].astype(np.float64)
    spread = inside.std()
    return float(inside.mean()), float(np.log(spread)) if spread > 0 else np.nan


def shrunk_effects(values: np.ndarray, sites: np.ndarray, label: np.ndarray) -> tuple[dict[str, float], float]:
    """Return (site -> by how much its values differ, the mean of all); no sites where they cannot be told from groups.

    Args:
        values: (n,) finite; sites: (n,) names; label: (n,) numbers.
    """
    names, code = np.unique(sites.astype(str), return_inverse=True)
    count = np.bincount(code).astype(float)

    def of_site(numbers: np.ndarray) -> np.ndarray:
        return np.bincount(code, numbers) / count

    within = label - of_site(label)[code]
    differs = np.ptp(label) > 0
    known = float(within @ within) > 1e-12 * len(label) * np.ptp(label) ** 2
    if differs and not known and len(names) > 1:  # every site is of one group: what is the site's, nobody can tell
        return {}, float(values.mean())
    slope = float(within @ values) / float(within @ within) if known else 0.0
    adjusted = values - slope * (label - label.mean())
    mean = of_site(adjusted)
    centre = float(count @ mean / count.sum())
    left = max(len(values) - len(names) - bool(differs), 1)
    by_chance = float(((adjusted - mean[code]) ** 2).sum() / left)
    spread = float(count @ (mean - centre) ** 2) - (len(names) - 1) * by_chance
    room = count.sum() - (count @ count) / count.sum()
    of_sites = max(spread / room, 0.0) if room > 0 else 0.0
    chance = by_chance / count
    weight = np.divide(of_sites, of_sites + chance, out=np.zeros_like(chance), where=of_sites + chance > 0)
    return {str(name): float(one) for name, one in zip(names, weight * (mean - centre), strict=True)}, centre
