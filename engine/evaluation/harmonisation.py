"""Site effects taken out of region values by ComBat: shift and scale of each site, shrunk over the regions.

Source: Johnson, Li & Rabinovic 2007, Biostatistics 8:118-127; for imaging Fortin et al. 2018, NeuroImage 167:104-120.
Everything is fitted on training scans; a scan that is tested is only ever transformed. Its label is not used to do so:
the groups enter the fit, so that a site with more patients is not taken for one with smaller regions, and their effect
is left in the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine.cohort.splits import Job

MOST_STEPS, CLOSE, FLAT = 500, 1e-8, 1e-10
FEWEST_AT_SITE = 3  # training scans, below which a site has no scale of its own: its scans are left as they are


@dataclass(frozen=True)
class Combat:
    """A fitted harmonisation of k values.

    Attributes:
        mean, sd: (k,) of all sites together, the covariates at their means.
        slopes: (covariates, k) of the known covariates; centre: (covariates,) their means.
        shift, scale: site -> (k,) in standard deviations.
    """

    mean: np.ndarray
    sd: np.ndarray
    slopes: np.ndarray
    centre: np.ndarray
    shift: dict[str, np.ndarray]
    scale: dict[str, np.ndarray]

    def __call__(self, values: np.ndarray, sites: np.ndarray, covariates: np.ndarray) -> np.ndarray:
        """Return (n, k) values without the effect of their sites; those of a site that was not fitted as they are.

        Args:
            values: (n, k); sites: (n,) texts; covariates: (n, covariates) as in the fit.
        """
        expected = self.mean + (covariates - self.centre) @ self.slopes
        found = values.astype(float, copy=True)
        usable = self.sd > 0
        for site in self.shift:
            own = sites == site
            z = (values[own] - expected[own])[:, usable] / self.sd[usable]
            z = (z - self.shift[site][usable]) / self.scale[site][usable]
            found[np.ix_(own, usable)] = z * self.sd[usable] + expected[own][:, usable]
        return found


def fit_combat(values: np.ndarray, sites: np.ndarray, covariates: np.ndarray, label: np.ndarray) -> Combat:
    """Fit shift and scale of each site on training scans.

    Args:
        values: (n, k) finite; sites: (n,) texts, "" for unknown; covariates: (n, c) numbers that are kept, such as age.
        label: (n,) what is predicted later, a group (bool) or a number: its effect is kept, too.
    """
    n, names = len(values), [str(name) for name in np.unique(sites) if (sites == name).sum() >= FEWEST_AT_SITE and name]
    known = np.isin(sites, names)
    used, count = values[known].astype(float), np.array([(sites == name).sum() for name in names])
    centre = covariates.mean(axis=0) if n else np.zeros(covariates.shape[1])
    kept = np.column_stack([covariates - centre, label - label.mean()])[known]
    indicators = (sites[known][:, None] == np.array(names, object)[None]).astype(float)
    coefficients = np.linalg.lstsq(np.column_stack([indicators, kept]), used, rcond=None)[0]
    mean = count @ coefficients[: len(names)] / max(count.sum(), 1)
    effect = kept @ coefficients[len(names) :]
    sd = np.sqrt(((used - indicators @ coefficients[: len(names)] - effect) ** 2).mean(axis=0))
    sd[sd <= FLAT * np.abs(used).max(axis=0, initial=0)] = 0  # rounding of a value that never varies
    z = np.divide(used - mean - effect, sd, out=np.zeros_like(used), where=sd > 0)
    shift, scale = {}, {}
    for number, name in enumerate(names):
        shift[name], scale[name] = _shrunk(z[indicators[:, number] > 0][:, sd > 0], sd > 0)
    return Combat(mean, sd, coefficients[len(names) : -1], centre, shift, scale)


def harmonised(
    features: pd.DataFrame, scans: pd.DataFrame, job: Job, label: pd.Series, kept: Sequence[str]
) -> pd.DataFrame:
    """Return the features of the training and test scans of a network, harmonised by its training scans.

    Args:
        features: index scan.
        scans: the scans table.
        label: scan -> what is predicted; read of training scans alone.
        kept: of age, sex and icv, those that are kept; unknown values count as the median of the training scans.
    """
    table = scans.set_index("scan")
    train, every = list(job.train), [*job.train, *job.test]
    columns = [table["sex"].map({"F": 1.0, "M": 0.0}) if name == "sex" else table[name].astype(float) for name in kept]
    covariates = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=table.index)
    covariates = covariates.fillna(covariates.loc[train].median()).fillna(0.0)
    sites = table["site"].fillna("").astype(object)
    fitted = fit_combat(
        features.loc[train].to_numpy(), sites.loc[train].to_numpy(), covariates.loc[train].to_numpy(),
        label.loc[train].to_numpy(float),
    )  # fmt: skip
    found = fitted(features.loc[every].to_numpy(), sites.loc[every].to_numpy(), covariates.loc[every].to_numpy())
    return pd.DataFrame(found, every, features.columns)


def _shrunk(z: np.ndarray, usable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the shift and scale of one site, (k,) each: 0 and 1 where a value never varies.

    Posterior means under a normal prior of the shifts and an inverse gamma prior of the squared scales, whose moments
    are those over the values; found by turns (Johnson et al. 2007, section 3.2).

    Args:
        z: (n, usable values) standardised.
    """
    gamma, delta = z.mean(axis=0), z.var(axis=0, ddof=1)
    shift, squared = gamma, delta
    if z.shape[1] > 1:
        bar, tau2, middle, spread = gamma.mean(), gamma.var(ddof=1), delta.mean(), delta.var(ddof=1)
        shift, squared = shrink(z, (bar, tau2), _inverse_gamma(middle, spread))
    found = np.zeros(len(usable)), np.ones(len(usable))
    found[0][usable], found[1][usable] = shift, np.sqrt(np.where(squared > 0, squared, 1))
    return found


def _inverse_gamma(mean: float, variance: float) -> tuple[float, float] | None:
    """Return the shape and the scale of the inverse gamma distribution with these moments; None without variance."""
    if not variance > 0:
        return None
    return (2 * variance + mean**2) / variance, (mean * variance + mean**3) / variance


def shrink(
    z: np.ndarray, normal: tuple[float, float], inverse_gamma: tuple[float, float] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return posterior means of shift and squared scale, (k,) each, of (n, k) standardised values of a site.

    Args:
        normal: mean and variance of the prior of the shifts.
        inverse_gamma: shape and scale of that of the squared scales; None: they are all alike, and stay.
    """
    n, (bar, tau2) = len(z), normal
    gamma = z.mean(axis=0)
    shift, squared = gamma, z.var(axis=0, ddof=1)
    for _ in range(MOST_STEPS):
        before = shift, squared
        weight = n * tau2
        total = weight + squared
        shift = np.divide(weight * gamma + squared * bar, total, out=gamma.copy(), where=total > 0)
        if inverse_gamma is not None:
            shape, scale = inverse_gamma
            squared = (scale + 0.5 * ((z - shift) ** 2).sum(axis=0)) / (n / 2 + shape - 1)
        if all(np.abs(new - old).max(initial=0) < CLOSE for new, old in zip((shift, squared), before, strict=True)):
            break
    return shift, squared
