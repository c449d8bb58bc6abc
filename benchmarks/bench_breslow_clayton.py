"""Bias of PQL, MQL, Laplace and quadrature in the simulation of Breslow & Clayton (1993, JASA 88, table 1).

A hundred clusters seen at seven occasions t = -3, ..., 3, half of them with x = 1; binomial responses of size m = 1, 2,
4 or 8 with logit -2.5 + t - x - 0.5 x t + b0 + b1 t. Design d1 has a random intercept of variance 1, d2 a random
intercept and slope of variances 0.5 and 0.25, uncorrelated, their covariance estimated too. Each method estimates every
replicate; printed are average estimates with their simulation standard errors, beside the averages for PQL printed by
Breslow & Clayton and those of MCMC (posterior medians under priors of their own) by Fong, Rue & Wakefield (2010,
Biostatistics 11, tables 5 and 7). The printed averages are over replicates of their own: the difference is given in
standard errors of both, theirs taken to be of 100 replicates. 200 replicates take about 9 CPU minutes.

    python benchmarks/bench_breslow_clayton.py                        # 200 replicates on all processors
    python benchmarks/bench_breslow_clayton.py --replicates 1000 --json out.json
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

CLUSTERS, OCCASIONS, SIZES = 100, np.arange(-3.0, 4.0), (1, 2, 4, 8)
BETA = {"Intercept": -2.5, "t": 1.0, "x": -1.0, "t:x": -0.5}
#: Variances of intercept and slope.
DESIGNS = {"d1": (1.0, 0.0), "d2": (0.5, 0.25)}
#: Method → name and options; Breslow & Clayton's PQL fits its working models by restricted likelihood.
METHODS = {
    "mql": ("mql", {"reml": True}),
    "pql": ("pql", {"reml": True}),
    "mql-2": ("mql", {"reml": True, "order": 2, "max_iterations": 60}),
    "pql-2": ("pql", {"reml": True, "order": 2}),
    "laplace": ("laplace", {}),
    "agq": ("agq", {"nodes": 9}),
}
#: Average variances printed for PQL and for MCMC, by design, parameter and m.
PRINTED = {
    ("d1", "var0"): {"pql": (0.68, 0.79, 0.82, 0.90), "mcmc": (0.90, 1.03, 1.04, 1.02)},
    ("d2", "var0"): {"pql": (0.35, 0.43, 0.36, 0.41), "mcmc": (0.36, 0.31, 0.35, 0.43)},
    ("d2", "var1"): {"pql": (0.15, 0.17, 0.20, 0.22), "mcmc": (0.14, 0.19, 0.22, 0.24)},
}
PRINTED_REPLICATES = 100


def table(design: str, m: int, seed: np.random.SeedSequence) -> pd.DataFrame:
    """One data set."""
    rng = np.random.default_rng(seed)
    cluster, t = np.repeat(np.arange(CLUSTERS), len(OCCASIONS)), np.tile(OCCASIONS, CLUSTERS)
    x = (cluster >= CLUSTERS // 2).astype(float)
    b = rng.normal(size=(2, CLUSTERS)) * np.sqrt(DESIGNS[design])[:, None]
    eta = BETA["Intercept"] + BETA["t"] * t + BETA["x"] * x + BETA["t:x"] * t * x + b[0][cluster] + b[1][cluster] * t
    y = rng.binomial(m, 1.0 / (1.0 + np.exp(-eta)))
    return pd.DataFrame({"y": y, "m": m, "t": t, "x": x, "cluster": cluster.astype(str)})


def replicate(design: str, m: int, seed: np.random.SeedSequence) -> list[dict]:
    """Every method on one data set; a fit that does not converge is counted and left out."""
    import bayesglmm as bg

    random = "(1 | cluster)" if design == "d1" else "(1 + t | cluster)"
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = bg.Model(f"p(y, m) ~ t * x + {random}", table(design, m, seed), "binomial", priors="flat")
        for label, (method, options) in METHODS.items():
            if label == "agq" and design == "d2":
                options = {"nodes": 5}
            start = time.process_time()
            row = {"design": design, "m": m, "method": label, "ok": False}
            try:
                fit = model.fit(method, **options)
            except bg.BayesGLMMError:
                rows.append(row | {"seconds": time.process_time() - start})
                continue
            variances = np.square(np.atleast_1d(fit.params["cluster.sd"]))
            row |= {"ok": fit.status.converged, "seconds": time.process_time() - start}
            row |= {name: fit.params[name] for name in BETA} | {f"var{k}": v for k, v in enumerate(variances)}
            rows.append(row)
    return rows


def simulate(pool: Executor, designs: list[str], replicates: int, seed: int) -> pd.DataFrame:
    """All replicates, each with a seed of its own: the same numbers whatever runs them."""
    jobs = [(d, m) for d in DESIGNS for m in SIZES]
    pending = []
    for (d, m), root in zip(jobs, np.random.SeedSequence(seed).spawn(len(jobs))):
        if d not in designs:
            continue
        pending.append(pool.map(partial(replicate, d, m), root.spawn(replicates), chunksize=5))
    return pd.DataFrame([row for results in pending for rows in results for row in rows])


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per design, m, method and parameter: average, its standard error, truth, and the printed averages."""
    out = []
    truth = {d: BETA | dict(zip(("var0", "var1"), v)) for d, v in DESIGNS.items()}
    for (design, m, method), fits in rows.groupby(["design", "m", "method"], sort=False):
        good = fits[fits["ok"]]
        for name in [*BETA, *(("var0",) if design == "d1" else ("var0", "var1"))]:
            mean, sd = float(good[name].mean()), float(good[name].std())
            row = {"design": design, "m": m, "parameter": name, "method": method, "truth": truth[design][name]}
            row |= {"mean": mean, "se": sd / np.sqrt(len(good)), "fits": len(good), "failed": len(fits) - len(good)}
            printed = PRINTED.get((design, name), {}).get("pql" if method == "pql" else "")
            if printed is not None:
                value = printed[SIZES.index(m)]
                # the printed average has a simulation error too, and is rounded
                error = sd * np.sqrt(1.0 / len(good) + 1.0 / PRINTED_REPLICATES)
                row |= {"printed": value, "z": (mean - value) / np.hypot(error, 0.003)}
            out.append(row | {"seconds": float(fits["seconds"].mean())})
    return pd.DataFrame(out)


def show(summary: pd.DataFrame) -> None:
    """Print the variances as in the table, then coefficients of the first design."""
    for (design, name), own in summary.groupby(["design", "parameter"], sort=False):
        truth = own["truth"].iloc[0]
        print(f"\n{design} {name}, truth {truth:g}: average (simulation se)")
        wide = own.assign(cell=[f"{a:.3f} ({s:.3f})" for a, s in zip(own["mean"], own["se"])])
        wide = wide.pivot(index="method", columns="m", values="cell").loc[list(METHODS)]
        for source, values in PRINTED.get((design, name), {}).items():
            wide.loc[f"{source}, printed"] = [f"{v:.2f}" for v in values]
        scores = own[own["method"] == "pql"].set_index("m").get("z")
        if (design, name) in PRINTED:
            wide.loc["pql - printed, in se"] = [f"{scores[m]:+.1f}" for m in SIZES]
        print(wide.to_string())
    speed = summary.groupby(["design", "method"], sort=False)[["seconds"]].mean()
    failed = (
        summary.drop_duplicates(["design", "m", "method"]).groupby(["design", "method"], sort=False)["failed"].sum()
    )
    print("\nCPU seconds a fit, and fits that did not converge\n" + speed.assign(failed=failed).to_string())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--designs", nargs="+", default=list(DESIGNS), choices=list(DESIGNS))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1993)
    parser.add_argument("--json", help="also write the averages here")
    args = parser.parse_args()
    start = time.perf_counter()
    with ProcessPoolExecutor(args.workers) as pool:
        rows = simulate(pool, args.designs, args.replicates, args.seed)
    summary = summarise(rows)
    show(summary)
    print(f"\n{args.replicates} replicates, {time.perf_counter() - start:.0f} s")
    if args.json:
        with open(args.json, "w") as file:
            json.dump(summary.replace({np.nan: None}).to_dict("records"), file, indent=1)


if __name__ == "__main__":
    main()
