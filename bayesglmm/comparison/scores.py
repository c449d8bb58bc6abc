"""How far one marginal distribution is from another, in units a statistician reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.marginals import Marginal

Floats = NDArray[np.float64]

#: A difference below this many Monte-Carlo standard errors of the reference is put down to its Monte-Carlo error.
NOISE = 2.0

#: Probabilities at which two distributions are compared for the Wasserstein distance.
GRID = (np.arange(4000) + 0.5) / 4000

SCORES = ("bias", "sd_ratio", "w1", "mcse", "mcse_sd")


@dataclass(frozen=True)
class Yardstick:
    """A reference marginal with its Monte-Carlo standard errors.

    Parameters
    ----------
    marginal : Marginal
        Of the reference.
    mcse : float
        Monte-Carlo standard error of its mean, in units of its sd; 0 when it is not sampled.
    mcse_sd : float
        Monte-Carlo standard error of its sd, relative to the sd.
    """

    marginal: Marginal
    mcse: float
    mcse_sd: float


def yardstick(marginal: Marginal) -> Yardstick:
    """Measure a reference marginal's own Monte-Carlo error.

    Notes
    -----
    Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Bayesian Analysis 16, 667-718, as in ArviZ.
    """
    if marginal.draws is None:
        return Yardstick(marginal, 0.0, 0.0)
    from arviz_stats.base import array_stats

    mean, sd = (
        float(array_stats.mcse(marginal.draws, method=m, chain_axis=0, draw_axis=1)) / marginal.sd
        for m in ("mean", "sd")
    )
    return Yardstick(marginal, mean, sd)


def wasserstein(a: Marginal, b: Marginal) -> float:
    """Wasserstein-1 distance ∫|F_a⁻¹ − F_b⁻¹|, in units of b's sd.

    Parameters
    ----------
    a, b : Marginal
        Draws, or estimate and sd of a normal approximation.

    Returns
    -------
    float
        NaN when either has no distribution.
    """
    return float(np.mean(np.abs(a.quantiles(GRID) - b.quantiles(GRID))) / b.sd)


def score(marginal: Marginal, reference: Yardstick) -> dict[str, float | bool]:
    """Compare one method's marginal with the reference's.

    Returns
    -------
    dict
        ``bias`` (difference of the estimates, in reference sds), ``sd_ratio``, ``w1``, the reference's ``mcse``
        and ``mcse_sd``, and ``within_mc_error``: neither the bias nor the sd ratio stands out of them.
    """
    base = reference.marginal
    bias = (marginal.estimate - base.estimate) / base.sd
    ratio = marginal.sd / base.sd
    return {
        "bias": bias,
        "sd_ratio": ratio,
        "w1": wasserstein(marginal, base),
        "mcse": reference.mcse,
        "mcse_sd": reference.mcse_sd,
        "within_mc_error": bool(abs(bias) <= NOISE * reference.mcse),
        "sd_within_mc_error": bool(np.isnan(ratio) or abs(ratio - 1.0) <= NOISE * reference.mcse_sd),
    }


def score_table(
    found: dict[str, dict[str, Marginal]],
    reference: str,
    facts: dict[str, dict[str, object]],
    *,
    judge: bool,
    apart: frozenset[str] = frozenset(),
) -> pd.DataFrame:
    """All parameters × methods, scored against the reference.

    Parameters
    ----------
    found : dict
        Method → parameter → marginal.
    reference : str
        The method to score against.
    facts : dict
        Method → further columns (``estimand``, ``seconds``).
    judge : bool
        False when the reference is not fit to judge: estimates are given, scores are not.
    apart : frozenset of str
        Methods of another estimand, which are listed and never scored.
    """
    sticks = {k: yardstick(m) for k, m in found[reference].items()} if judge else {}
    order = list(dict.fromkeys(p for method in (reference, *found) for p in found.get(method, {})))
    rows = []
    for parameter in order:
        for method, table in found.items():
            if parameter not in table:
                continue
            marginal = table[parameter]
            row: dict[str, object] = {"parameter": parameter, "method": method, "kind": marginal.kind}
            row |= {"estimand": facts[method]["estimand"], "estimate": marginal.estimate, "sd": marginal.sd}
            row |= score(marginal, sticks[parameter]) if parameter in sticks and method not in apart else {}
            rows.append(row | {"seconds": facts[method]["seconds"]})
    columns = ["parameter", "method", "kind", "estimand", "estimate", "sd", *SCORES]
    columns += ["within_mc_error", "sd_within_mc_error", "seconds"]
    table = pd.DataFrame(rows, columns=columns)
    flags = {"within_mc_error": "boolean", "sd_within_mc_error": "boolean"}
    numbers = dict.fromkeys(("estimate", "sd", *SCORES, "seconds"), float)
    return table.astype(flags | numbers)
