"""Seconds and peak memory of every question asked of one fit, as the levels of its grouping factor grow tenfold.

A Poisson model with a random intercept and five rows a level, fitted by ``laplace``; every question in a process forked
from the fitted one, so that each pays for what it makes and none for what another left. A ratio near ten is linear.
Processor seconds, and the memory a question adds to that of the fit at its peak.

Measured on a busy machine, Poisson, 10,000 and 100,000 levels (50,000 and 500,000 rows):

===============================  =======  ========  =======
question                         seconds  seconds   MB
===============================  =======  ========  =======
fit                              0.13     1.6
predict, three rows              0.02     0.13      19
  responses of these             0.06     0.70      139
influence of groups              0.25     2.2       104
check                            5.6      25        523
idata                            1.7      6.3       1270
checks                           0.82     3.0       133
residuals, predictive            4.9      45        1533
ppc_statistics, 200 draws        1.3      26        3212
===============================  =======  ========  =======

    python benchmarks/bench_many_levels.py
    python benchmarks/bench_many_levels.py --levels 1000 10000 --only check predict
    python benchmarks/bench_many_levels.py --family binomial
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import bayesglmm as bg

ROWS_PER_LEVEL = 5
#: Processor seconds a question may take.
PATIENCE = 600

QUESTIONS: dict[str, Callable[[Any], object]] = {
    "random": lambda fit: fit.random,
    "str": str,
    "summary": lambda fit: str(fit.summary()),
    "html": lambda fit: fit._repr_html_(),
    "save and load": lambda fit: _saved(fit),
    "residuals": lambda fit: fit.residuals("quantile"),
    "residuals, predictive": lambda fit: fit.residuals("quantile", predictive=True),
    "predict": lambda fit: fit.predict(),
    "predict, three rows": lambda fit: fit.predict(fit.model.data.iloc[:3]),
    "predict, responses of three rows": lambda fit: fit.predict(fit.model.data.iloc[:3], kind="response"),
    "posterior_predictive": lambda fit: fit.posterior_predictive(200, seed=1),
    "ppc_statistics": lambda fit: fit.ppc_statistics(draws=200, seed=1),
    "average_effects": lambda fit: fit.average_effects(),
    "checks": lambda fit: str(fit.checks),
    "influence": lambda fit: fit.influence(),
    "group influence": lambda fit: fit.influence("g"),
    "check": lambda fit: str(fit.check(seed=1)),
    "refine, psis": lambda fit: fit.refine("psis", seed=1),
    "idata": lambda fit: fit.idata,
    "loo": lambda fit: fit.loo(seed=1),
    "loo, groups": lambda fit: fit.loo("group", seed=1),
    "waic": lambda fit: fit.waic(seed=1),
    "evidence": lambda fit: fit.evidence(seed=1),
    "sensitivity": lambda fit: fit.sensitivity(),
    "confint, profile": lambda fit: fit.confint("profile"),
    "icc": lambda fit: fit.icc(),
    "r2": lambda fit: fit.r2(),
    "plot_forest": lambda fit: fit.plot_forest(),
    "plot_diagnostics": lambda fit: fit.plot_diagnostics(),
    "plot_ppc": lambda fit: fit.plot_ppc(draws=50, seed=1),
}


def _saved(fit: Any) -> object:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fit.zip"
        fit.save(path)
        return bg.load_fit(path)


def data_of(levels: int, family: str) -> pd.DataFrame:
    """Rows of a random-intercept model in random order."""
    rng = np.random.default_rng(1)
    g = rng.permutation(np.repeat(np.arange(levels), ROWS_PER_LEVEL))
    x = rng.standard_normal(len(g))
    eta = 0.3 + 0.5 * x + 0.7 * rng.standard_normal(levels)[g]
    y = rng.poisson(np.exp(eta)) if family == "poisson" else rng.binomial(1, 1.0 / (1.0 + np.exp(-eta)))
    return pd.DataFrame({"y": y, "x": x, "g": [f"level {k}" for k in g]})


def asked(question: Callable[[Any], object], fit: Any) -> dict[str, Any]:
    """Processor seconds and megabytes of one question, in a process of its own."""
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        os.close(reads)
        used = int(time.process_time())
        resource.setrlimit(resource.RLIMIT_CPU, (used + PATIENCE, used + PATIENCE))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start, answer = time.process_time(), {}
        try:
            question(fit)
            answer = {"seconds": time.process_time() - start}
        except Exception as error:  # a question that cannot be answered is a row of the table
            answer = {"seconds": time.process_time() - start, "error": f"{type(error).__name__}: {error}"[:300]}
        answer["megabytes"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024.0
        os.write(writes, json.dumps(answer).encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return json.loads(said) if said else {"seconds": np.nan, "megabytes": np.nan, "error": f"over {PATIENCE} s"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--family", choices=["poisson", "binomial"], default="poisson")
    parser.add_argument("--only", nargs="+", help="questions whose names begin so")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    chosen = {k: q for k, q in QUESTIONS.items() if given.only is None or k.startswith(tuple(given.only))}
    table: dict[str, list[dict[str, Any]]] = {name: [] for name in ("fit", *chosen)}
    for levels in given.levels:
        bg.Model("y ~ x + (1 | g)", data_of(50, given.family), given.family).fit("laplace").check(seed=1)  # loads
        data = data_of(levels, given.family)
        start = time.process_time()
        fit = bg.Model("y ~ x + (1 | g)", data, given.family).fit("laplace")
        table["fit"].append({"seconds": time.process_time() - start, "megabytes": np.nan})
        for name, question in chosen.items():
            table[name].append(asked(question, fit))
            print(f"{levels:>8} {name:34} {table[name][-1]}", flush=True)
    print(f"\n{'':34}" + "".join(f"{k:>9} levels{'':10}" for k in given.levels) + "  ratio")
    for name, found in table.items():
        cells = "".join(f"{f['seconds']:9.2f} s {f['megabytes']:9.0f} MB   " for f in found)
        print(f"{name:34}{cells}{found[-1]['seconds'] / max(found[0]['seconds'], 1e-3):7.1f}")


if __name__ == "__main__":
    main()
