"""Generalized estimating equations side by side with statsmodels and geepack, in one run.

Times are CPU seconds (user + system) of design, fit and robust covariance, each in a fresh process, after the table has
been read and, for the peers, their modules imported; ``first`` is our first fit with the imports it makes, ``warm`` the
second, to which the ratios are. A peer that is not installed is left out; so is one that
does not finish in ``--timeout`` seconds. Estimates are compared too: the largest difference, in standard errors.

    python benchmarks/bench_gee.py                          # 1e3 and 1e4 clusters
    python benchmarks/bench_gee.py --clusters 100000        # statsmodels takes minutes here
    python benchmarks/bench_gee.py --clusters 1000000 --no-peers
    python benchmarks/bench_gee.py --simulate               # type-I errors with few clusters
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
SIZE = 5
CORRELATIONS = ("independence", "exchangeable", "ar1")


def table(clusters: int, seed: int = 0) -> pd.DataFrame:
    """Binary responses in clusters of five with a shared effect."""
    rng = np.random.default_rng(seed)
    n = clusters * SIZE
    x, z = rng.normal(size=n), np.repeat(rng.normal(size=clusters), SIZE)
    t = np.tile(np.arange(SIZE), clusters)
    eta = -0.5 + 0.5 * x + 0.3 * z + 0.1 * t + np.repeat(rng.normal(size=clusters), SIZE)
    y = rng.binomial(1, 1 / (1 + np.exp(-eta)))
    return pd.DataFrame({"y": y, "x": x, "z": z, "t": t, "g": np.repeat(np.arange(clusters), SIZE)})


def fit_here(csv: str, corr: str) -> dict:
    """Fit twice in this process."""
    import bayesglmm as bg

    data, cpu = pd.read_csv(csv), []
    for _ in range(2):
        start = time.process_time()
        fit = bg.Model("y ~ x + z + t", data, "binomial").fit("gee", groups="g", corr=corr)
        se = fit.fixed["se"]
        cpu.append(time.process_time() - start)
    return {"cpu": cpu[0], "warm": cpu[1], "beta": list(fit.result.beta), "se": list(se)}


def fit_statsmodels(csv: str, corr: str) -> dict:
    """Fit by statsmodels."""
    import statsmodels.api as sm
    import statsmodels.formula.api as smf

    data = pd.read_csv(csv)
    structure = {"independence": sm.cov_struct.Independence, "exchangeable": sm.cov_struct.Exchangeable}
    start = time.process_time()
    model = smf.gee("y ~ x + z + t", "g", data, family=sm.families.Binomial(), cov_struct=structure[corr]())
    fit = model.fit()
    cpu = time.process_time() - start
    return {"cpu": cpu, "beta": list(fit.params), "se": list(fit.bse)}


def child(mode: str, csv: Path, corr: str, timeout: float) -> dict | None:
    """Run one fit in a process of its own."""
    command = [sys.executable, __file__, "--child", mode, str(csv), corr]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=ENVIRONMENT, check=False)
    except subprocess.TimeoutExpired:
        return {"late": timeout}
    if run.returncode:
        print(run.stderr.strip().splitlines()[-1], file=sys.stderr)
        return None
    return json.loads(run.stdout.splitlines()[-1])


def geepack(csv: Path, corr: str, timeout: float) -> dict | None:
    """Fit by geepack, where R has it."""
    if shutil.which("Rscript") is None:
        return None
    command = ["Rscript", str(HERE / "gee_peer.R"), str(csv), corr]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=ENVIRONMENT, check=False)
    except subprocess.TimeoutExpired:
        return {"late": timeout}
    if run.returncode:
        return None
    numbers = list(map(float, run.stdout.split()))
    return {"cpu": numbers[0], "beta": numbers[1:5], "se": numbers[5:9]}


def cell(peer: dict | None, mine: dict) -> str:
    """Seconds, ratio to our warm fit, and the largest difference of the estimates in standard errors."""
    if peer is None:
        return f"{'–':>30}"
    if "late" in peer:
        return f"{'> ' + format(peer['late'], '.0f') + ' s':>30}"
    gap = np.abs((np.array(peer["beta"]) - mine["beta"]) / mine["se"]).max()
    return f"{peer['cpu']:>10.2f} {peer['cpu'] / mine['warm']:>7.1f}× {gap:>10.1e}"


def speed(clusters: list[int], timeout: float, peers: bool) -> None:
    """Print the table of times."""
    print(
        f"{'clusters':>8} {'corr':<13}{'first':>8}{'warm':>8}{'statsmodels, ratio, gap':>30}{'geepack, ratio, gap':>30}"
    )
    for count in clusters:
        with tempfile.TemporaryDirectory() as folder:
            csv = Path(folder) / "data.csv"
            table(count).to_csv(csv, index=False)
            for corr in CORRELATIONS:
                mine = child("bayesglmm", csv, corr, timeout)
                if mine is None or "late" in mine:
                    print(f"{count:>8} {corr:<13} did not finish")
                    continue
                theirs = child("statsmodels", csv, corr, timeout) if peers and corr != "ar1" else None
                r = geepack(csv, corr, timeout) if peers else None
                head = f"{count:>8} {corr:<13}{mine['cpu']:>8.2f}{mine['warm']:>8.2f}"
                print(head + cell(theirs, mine) + cell(r, mine), flush=True)


COVARIANCES = (
    "robust",
    "kauermann-carroll",
    "fay-graubard",
    "bias-reduced",
    "morel-bokossa-neerchal",
    "one-step-jackknife",
    "model",
)


def simulate(replicates: int, counts: tuple[int, ...] = (10, 20, 40)) -> None:
    """Print type-I errors of a test at 5 % of a cluster-level treatment that does nothing, binary responses.

    Half the clusters are treated; the working correlation is exchangeable and right; once with the normal reference
    and once with t on clusters less coefficients.
    """
    from scipy import stats

    import bayesglmm as bg
    from bayesglmm.scores.small_sample import COVARIANCES as FORMULAS

    print(
        f"type-I error in % at 5 %, {replicates} replicates (standard error {100 * np.sqrt(0.0475 / replicates):.1f})"
    )
    print(f"{'covariance':<24}" + "".join(f"{f'K={k}, z':>10}{f'K={k}, t':>10}" for k in counts))
    rates = {c: [] for c in COVARIANCES}
    for clusters in counts:
        rng = np.random.default_rng(clusters)
        hits, used = {c: np.zeros(2) for c in COVARIANCES}, 0
        for _ in range(replicates):
            size = rng.integers(6, 15, clusters)
            g = np.repeat(np.arange(clusters), size)
            p = rng.beta(0.4 * 9, 0.6 * 9, clusters)[g]  # intraclass correlation 0.1
            data = pd.DataFrame({"g": g, "a": (g % 2).astype(float), "x": rng.normal(size=len(g))})
            data["y"] = rng.binomial(1, p)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    fit = bg.Model("y ~ a + x", data, "binomial").fit("gee", groups="g")
                except bg.BayesGLMMError:
                    continue
            used += 1
            j = fit.model.design.columns.index("a")
            for c in COVARIANCES:
                z = abs(fit.result.beta[j]) / np.sqrt(FORMULAS[c](fit.result.extras["marginal"].parts)[j, j])
                hits[c] += [z > stats.norm.ppf(0.975), z > stats.t.ppf(0.975, clusters - 3)]
        for c in COVARIANCES:
            rates[c] += list(100 * hits[c] / used)
    for c, row in rates.items():
        print(f"{c:<24}" + "".join(f"{v:>10.1f}" for v in row))


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clusters", nargs="*", type=int, default=[1000, 10000])
    parser.add_argument("--timeout", type=float, default=600.0)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--simulate", action="store_true")
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        mode, csv, corr = options.child
        print(json.dumps({"bayesglmm": fit_here, "statsmodels": fit_statsmodels}[mode](csv, corr)))
    elif options.simulate:
        simulate(options.replicates)
    else:
        speed(options.clusters, options.timeout, not options.no_peers)


if __name__ == "__main__":
    main()
