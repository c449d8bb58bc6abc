"""Small clustered data and dense formulas that tests of estimating equations share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

import bayesglmm as bg

CLUSTER = {"dietox": "Pig", "epil": "subject", "epil_long": "subject", "ohio": "id", "respiratory": "subject"}


def clustered(family: str = "binomial", clusters: int = 40, seed: int = 1, largest: int = 5) -> pd.DataFrame:
    """Clusters of unequal sizes with a shared effect, times with gaps, weights and an offset."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, largest + 1, clusters)
    g = np.repeat(np.arange(clusters), sizes)
    t = np.concatenate([np.sort(rng.choice(largest + 2, m, replace=False)) for m in sizes])
    x = rng.normal(size=len(g))
    z = rng.normal(size=clusters)[g]
    eta = 0.3 + 0.5 * x + 0.4 * z + 0.8 * rng.normal(size=clusters)[g]
    data = pd.DataFrame({"g": g, "t": t, "x": x, "z": z, "w": rng.uniform(0.5, 2.0, len(g)), "o": 0.1 * x**2})
    data["n"] = rng.integers(1, 6, len(g))
    draw = {
        "binomial": lambda: rng.binomial(1, 1 / (1 + np.exp(-eta))),
        "trials": lambda: rng.binomial(data["n"], 1 / (1 + np.exp(-eta))),
        "poisson": lambda: rng.poisson(np.exp(eta)),
        "gaussian": lambda: eta + rng.normal(size=len(g)),
        "gamma": lambda: rng.gamma(2.0, np.exp(eta) / 2.0),
    }
    data["y"] = draw[family]()
    return data


FORMULA = {"trials": "p(y, n) ~ x + z"}


def gee(family: str, data: pd.DataFrame, link: str | None = None, **options: Any) -> bg.Fit:
    """Fit ``y ~ x + z`` with the clusters g."""
    model = bg.Model(FORMULA.get(family, "y ~ x + z"), data, family.replace("trials", "binomial"), link=link)
    return model.fit("gee", groups="g", **options)


def dense(fit: bg.Fit) -> dict[str, Any]:
    """D, V⁻¹ (at unit scale), residuals and R of every cluster, by plain matrices, from a fit."""
    problem, result = fit.model.problem, fit.result
    q = result.extras["marginal"].equations
    clusters = q.clusters
    R = result.extras["working_correlation"]
    mu = clusters.sort(problem.link.mean(result.eta))
    slope = clusters.sort(problem.link.slope(result.eta))
    X, y, w = clusters.sort(problem.design.X), clusters.sort(problem.mean_response), clusters.sort(problem.case_weights)
    out: dict[str, Any] = {"D": [], "V": [], "r": []}
    for start, size in zip(clusters.starts, clusters.sizes):
        rows = slice(start, start + size)
        p = clusters.positions[rows]
        root = np.sqrt(problem.family.variance(mu[rows], q.aux) / w[rows])
        out["D"].append(X[rows] * slope[rows, None])
        out["V"].append(root[:, None] * R[np.ix_(p, p)] * root)
        out["r"].append((y - mu)[rows])
    return out
