"""Simulation-based calibration of every posterior method on three models: who is calibrated, and where not.

    python benchmarks/bench_sbc.py [--replicates 100] [--workers 2] [--full] [--only NAME] [--out out/sbc]

``mcmc`` here is NUTS on the parameters with the random effects integrated out by quadrature and drawn afterwards; with
--full it is NUTS on the full graph, which is compiled for every data set (some seconds each). Stop it and start it
again: what is finished is kept in --out.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

import bayesglmm as bg

#: Methods and their options. NUTS must converge, or the data sets where it does would be a choice of the easy ones.
METHODS = {
    "laplace": {},
    "laplace+psis": {},
    "inla": {},
    "mcmc": {"marginalize": True, "draws": 500, "tune": 500, "chains": 4},
}


def binary() -> bg.Model:
    """Four binary responses in each of 30 groups: little to learn from."""
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"x": rng.normal(size=120), "g": np.repeat(np.arange(30), 4), "y": np.tile([0, 1], 60)})
    priors = {
        "Intercept": bg.Prior("Normal", mu=0, sigma=1),
        "x": bg.Prior("Normal", mu=0, sigma=1),
        "g.sd": bg.Prior("Exponential", lam=1.0),
    }
    return bg.Model("y ~ x + (1 | g)", data, family="binomial", priors=priors)


def counts() -> bg.Model:
    """Counts in 20 groups of five, a negative binomial shape to find."""
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"x": rng.normal(size=100), "g": np.repeat(np.arange(20), 5), "y": np.arange(100) % 6})
    priors = {
        "Intercept": bg.Prior("Normal", mu=1, sigma=0.7),
        "x": bg.Prior("Normal", mu=0, sigma=0.5),
        "g.sd": bg.Prior("Gamma", alpha=3, beta=6),
        "theta": bg.Prior("Gamma", alpha=4, beta=1),
    }
    return bg.Model("y ~ x + (1 | g)", data, family="negative_binomial", priors=priors)


def slopes() -> bg.Model:
    """Gaussian responses, correlated intercepts and slopes."""
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"x": np.tile(np.arange(6.0) - 2.5, 15), "g": np.repeat(np.arange(15), 6)})
    data["y"] = rng.normal(size=90)
    priors = {
        "Intercept": bg.Prior("Normal", mu=0, sigma=2),
        "x": bg.Prior("Normal", mu=0, sigma=1),
        "g.sd": bg.Prior("Exponential", lam=1.0),
        "sigma": bg.Prior("Gamma", alpha=4, beta=4),
    }
    return bg.Model("y ~ x + (1 + x | g)", data, priors=priors)


MODELS = {"binary": binary, "counts": counts, "slopes": slopes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", choices=MODELS)
    parser.add_argument("--out", type=Path, default=Path("out/sbc"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", bg.BayesGLMMWarning)
    methods = dict(METHODS)
    if arguments.full:
        methods["mcmc"] = {"draws": 500, "tune": 500, "chains": 4}
    for name in [arguments.only] if arguments.only else MODELS:
        found = bg.sbc(
            MODELS[name](),
            list(methods),
            arguments.replicates,
            draws=99,
            seed=2026,
            options=methods,
            path=arguments.out / f"{name}{'-full' if arguments.full else ''}.sqlite",
            workers=arguments.workers,
        )
        print(f"\n{name}: {arguments.replicates} data sets")
        print(found)
        found.plot().savefig(arguments.out / f"{name}.png", dpi=130)


if __name__ == "__main__":
    main()
