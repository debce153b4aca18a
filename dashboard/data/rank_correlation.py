"""Rank correlations of one column with many, their intervals and tests. Arrays in, arrays out; needs no scipy."""

from __future__ import annotations

import functools
import math

import numpy as np
import pandas as pd

Z_95 = 1.959963984540054
FEWEST = 10  # subjects, below which no correlation is given
NODES = 200  # of the integral behind a p value
FLAT = 1e-9  # of a column's spread: what is left of less than this has no direction


def ranks(values: np.ndarray) -> np.ndarray:
    """Rank the values (n, k) within each column from 1; ties share their mean."""
    return pd.DataFrame(values).rank().to_numpy(float)


def spearman(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    """Return the rank correlation of a column (n,) with each of (n, k), (k,); NaN where either is constant."""
    return _pearson(_centred(ranks(one))[:, 0], _centred(ranks(many)))


def partial_spearman(one: np.ndarray, many: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Return the rank correlation (k,) of a column (n,) with each of (n, k), both less a line in the controls' ranks.

    Args:
        controls: (n, c). A column of two values enters as it is: its ranks are a line in it.
    Returns:
        Pearson correlation of the residuals; NaN where the controls leave nothing.
    """
    first, others = _centred(ranks(one))[:, 0], _centred(ranks(many))
    design = _centred(ranks(controls))
    left = [part - design @ (np.linalg.pinv(design) @ part) for part in (first, others)]
    return _pearson(*(_without_flat(a, b) for a, b in zip(left, (first, others), strict=True)))


def _centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=0)


def _without_flat(left: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Set residuals to 0 where rounding is all that is left of them."""
    return left * (np.linalg.norm(left, axis=0) > FLAT * np.linalg.norm(before, axis=0))


def _pearson(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    size = np.linalg.norm(one) * np.linalg.norm(many, axis=0)
    found = np.divide(one @ many, size, out=np.full(many.shape[1], np.nan), where=size > 0)
    return np.clip(found, -1, 1)


def interval(rho: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 95 % confidence interval of rank correlations over n subjects.

    Fisher's z with the standard error sqrt((1 + rho^2 / 2) / (n - 3)). Source: Bonett & Wright 2000, Sample size
    requirements for estimating Pearson, Kendall and Spearman correlations, Psychometrika 65, 23-28.
    """
    z = np.arctanh(np.clip(rho, -1 + 1e-15, 1 - 1e-15))
    away = Z_95 * np.sqrt((1 + rho**2 / 2) / (n - 3))
    return np.tanh(z - away), np.tanh(z + away)


def p_values(rho: np.ndarray, degrees: int) -> np.ndarray:
    """Return the two-sided p of correlations, by Student's t = rho sqrt(degrees / (1 - rho^2)).

    Args:
        degrees: n - 2, less one for each control. Source: Kendall & Stuart, The advanced theory of statistics, 31.19.

    With t = sqrt(degrees) tan(a) the density of t is cos(a)^(degrees - 1) up to a factor, and rho = sin(a): p is the
    part of its integral from 0 to a right angle that lies beyond a. So small p keep their digits.
    """
    nodes, weights = _gauss(NODES)
    start = np.arcsin(np.abs(rho))[..., None]
    width = (np.pi / 2 - start) / 2
    cosine = np.cos(start + width * (1 + nodes))
    with np.errstate(divide="ignore"):
        beyond = (width * weights * np.exp((degrees - 1) * np.log(np.maximum(cosine, 0)))).sum(axis=-1)
    whole = math.sqrt(math.pi) / 2 * math.exp(math.lgamma(degrees / 2) - math.lgamma((degrees + 1) / 2))
    return np.minimum(beyond / whole, 1.0)


@functools.cache
def _gauss(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(nodes)


def false_discovery_rate(p: np.ndarray) -> np.ndarray:
    """Return q of each p: the smallest false discovery rate at which it is still called. NaN are no tests.

    Source: Benjamini & Hochberg 1995, Journal of the Royal Statistical Society B 57, 289-300.
    """
    q = np.full(len(p), np.nan)
    tests = np.flatnonzero(np.isfinite(p))
    order = tests[np.argsort(-p[tests], kind="stable")]  # the largest first
    places = np.arange(len(order), 0, -1)
    q[order] = np.minimum.accumulate(np.minimum(p[order] * len(order) / places, 1.0))
    return q
