"""Simulation-based calibration of every posterior method on three models: who is calibrated, and where not.

    python benchmarks/bench_sbc.py [--replicates 100] [--workers 2] [--full] [--only NAME] [--methods METHOD ...]
                                   [--seed 2026] [--out out/sbc]

``mcmc`` here is NUTS on the parameters with the random effects integrated out by quadrature (by Laplace where that is
exact); with --full it is NUTS on the full graph, which is compiled for every data set (some seconds each). Stop it and
start it again: what is finished is kept in --out. The table of every model goes to ``benchmarks/sbc.csv``, which the
documentation shows, under the model's name and any other seed than 2026; data sets that a method gave no converged fit
for are missing from its ``n``.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import bayesglmm as bg

#: Where the table is kept.
TABLE = Path(__file__).parent / "sbc.csv"
#: Methods by model. Responses of ``slopes`` are gaussian: there Laplace's integral is exact, and quadrature the same.
APPROXIMATE = ("laplace", "laplace+psis", "agq", "agq+psis", "inla")
METHODS = {"binary": APPROXIMATE, "counts": APPROXIMATE, "slopes": ("laplace", "laplace+psis", "inla")}
#: How NUTS has the random effects integrated out, and how long it runs: it must converge, or the data sets where it
#: does would be a choice of the easy ones. The ranks are those of parameters: draws of the effects need not be exact.
INTEGRAL = {
    "binary": {"marginalize": "agq", "nodes": 9},
    "counts": {"marginalize": "agq", "nodes": 5},
    "slopes": {"marginalize": "laplace"},
}
SEED = 2026
LENGTH = {"draws": 500, "tune": 200, "chains": 4}


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
        "g.sd": bg.Prior("Gamma", alpha=2, beta=2),
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
    parser.add_argument("--methods", nargs="+", help="some of the model's methods; its other rows stay as they are")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, default=Path("out/sbc"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", bg.BayesGLMMWarning)
    for name in [arguments.only] if arguments.only else MODELS:
        own = LENGTH if arguments.full else LENGTH | INTEGRAL[name] | {"effects": "gaussian"}
        methods = [m for m in (*METHODS[name], "mcmc") if m in (arguments.methods or [m])]
        found = bg.sbc(
            MODELS[name](),
            methods,
            arguments.replicates,
            draws=99,
            seed=arguments.seed,
            options={"mcmc": own},
            path=arguments.out / f"{name}{'-full' if arguments.full else ''}.sqlite",
            workers=arguments.workers,
        )
        print(f"\n{name}: {arguments.replicates} data sets")
        print(found)
        found.plot().savefig(arguments.out / f"{name}.png", dpi=130)
        keep(name if arguments.seed == SEED else f"{name}, seed {arguments.seed}", found, arguments.replicates)


def keep(name: str, found: Any, replicates: int) -> None:
    """Write the rows of a model's methods in the table, in place of those they had."""
    own = found.table.assign(model=name, replicates=replicates)
    columns = ["model", "parameter", "method", "n", "replicates", "p", "adjusted", "place", "spread", "verdict"]
    before = pd.read_csv(TABLE) if TABLE.exists() else pd.DataFrame(columns=columns)
    again = (before["model"] == name) & before["method"].isin(own["method"])
    table = pd.concat([part for part in (before[~again], own[columns]) if len(part)])
    order = [*APPROXIMATE, "mcmc"]
    table = table.sort_values(
        ["model", "method"], key=lambda s: s.map(order.index) if s.name == "method" else s, kind="stable"
    )
    table.to_csv(TABLE, index=False, float_format="%.3f")


if __name__ == "__main__":
    main()
