"""Generalized linear models on many rows, side by side in one run: this package, statsmodels, glum and bare BLAS.

    python benchmarks/bench_glm.py                          # 1e6 rows x 50 columns, Poisson and binomial
    python benchmarks/bench_glm.py --rows 200000 --columns 20
    python benchmarks/bench_glm.py --skip statsmodels

Each contestant runs in a process of its own on the same simulated columns (dense standard normals and an intercept).
CPU seconds (user + system) are of the fit with standard errors, once its package is imported and a small fit has
been made; ``peak`` is the resident memory that the fit added, over the size of X. ``bare`` is X'WX by BLAS (dsyrk on
blocks of rows) as often as this package passed over the rows, and nothing else. ``normal`` is what one would write by
hand: scoring from the usual start by normal equations, on blocks of rows, to the same tolerance. It takes more steps
than this package has passes, because it knows no sample; ``classical`` is X'WX by BLAS as often as those. A contestant
that is not installed is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
BLOCK = 8192
Fit = Callable[[np.ndarray, np.ndarray, str], dict[str, Any]]


def simulate(rows: int, columns: int, family: str) -> tuple[np.ndarray, np.ndarray]:
    """Columns and response."""
    rng = np.random.default_rng(20240607)
    X = rng.standard_normal((rows, columns))
    X[:, 0] = 1.0
    eta = X @ (0.05 * rng.standard_normal(columns))
    if family == "poisson":
        return X, rng.poisson(np.exp(eta)).astype(float)
    return X, (rng.uniform(size=rows) < 1.0 / (1.0 + np.exp(-eta))).astype(float)


def ours(X: np.ndarray, y: np.ndarray, family: str) -> dict[str, Any]:
    """The engine of bayesglmm on arrays."""
    import pandas as pd

    from bayesglmm.design.types import Design, Response
    from bayesglmm.families import get_family
    from bayesglmm.links import get_link
    from bayesglmm.problem import Problem
    from bayesglmm.scores import fit_irls

    n, p = X.shape
    row = get_family(family)
    names = tuple(f"x{j}" for j in range(p))
    design = Design(None, Response("y", y), X, names, (), np.zeros(n), None, (), pd.RangeIndex(n))
    result = fit_irls(Problem(design, row, get_link(row.links[0]), (), None))
    return {"beta": result.beta, "se": np.sqrt(np.diag(result.cov_beta)), "passes": result.status.evaluations}


def statsmodels(X: np.ndarray, y: np.ndarray, family: str) -> dict[str, Any]:
    """Statsmodels GLM with its defaults."""
    import statsmodels.api as sm

    found = sm.GLM(y, X, family=sm.families.Poisson() if family == "poisson" else sm.families.Binomial()).fit()
    return {"beta": found.params, "se": found.bse}


def glum(X: np.ndarray, y: np.ndarray, family: str) -> dict[str, Any]:
    """Unpenalised glum with tight tolerance, and its covariance matrix."""
    from glum import GeneralizedLinearRegressor

    model = GeneralizedLinearRegressor(family=family, alpha=0, fit_intercept=False, gradient_tol=1e-8)
    model.fit(X, y)
    covariance = model.covariance_matrix(X, y, robust=False)
    return {"beta": model.coef_, "se": np.sqrt(np.diag(covariance))}


def normal(X: np.ndarray, y: np.ndarray, family: str) -> dict[str, Any]:
    """Scoring by blocked normal equations, in numpy."""
    from scipy.linalg import cho_factor, cho_solve

    n, p = X.shape
    beta, steps = np.zeros(p), 0
    while True:
        gram, score = np.zeros((p, p)), np.zeros(p)
        for low in range(0, n, BLOCK):
            block, part = X[low : low + BLOCK], y[low : low + BLOCK]
            start = (part + 0.1 if family == "poisson" else (part + 0.5) / 2.0) if steps == 0 else None
            if start is None:
                eta = block @ beta
            else:
                eta = np.log(start) if family == "poisson" else np.log(start / (1.0 - start))
            mu = np.exp(eta) if family == "poisson" else 1.0 / (1.0 + np.exp(-eta))
            weight = mu if family == "poisson" else mu * (1.0 - mu)
            gram += block.T @ (block * weight[:, None])
            score += block.T @ (part - mu + (weight * eta if steps == 0 else 0.0))
        factor = cho_factor(gram)
        step = cho_solve(factor, score)
        beta, steps = beta + step, steps + 1
        if steps > 1 and float(step @ score) < 1e-20:
            return {"beta": beta, "se": np.sqrt(np.diag(cho_solve(factor, np.eye(p)))), "steps": steps}


CONTESTANTS: dict[str, Fit] = {"ours": ours, "statsmodels": statsmodels, "glum": glum, "normal": normal}


def bare(X: np.ndarray, passes: int) -> float:
    """CPU seconds of X'WX by blocked dsyrk, so many times."""
    from scipy.linalg.blas import dsyrk

    n, p = X.shape
    root, buffer = np.full(n, 0.9), np.empty((BLOCK, p))
    start = time.process_time()
    for _ in range(passes):
        total = np.zeros((p, p))
        for low in range(0, n, BLOCK):
            block = X[low : low + BLOCK]
            B = np.einsum("ij,i->ij", block, root[low : low + BLOCK], out=buffer[: len(block)])
            total += dsyrk(1.0, B.T)
    return time.process_time() - start


class PeakMemory:
    """Largest resident memory while a block of code runs, sampled by a thread, in bytes."""

    def __enter__(self) -> PeakMemory:
        self.before = self.peak = _resident()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.peak = max(self.peak, _resident())

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def _resident() -> int:
    with open("/proc/self/statm") as status:
        return int(status.read().split()[1]) * resource.getpagesize()


def child(name: str, rows: int, columns: int, family: str) -> None:
    """Time one contestant in this process and print the figures as JSON."""
    X, y = simulate(rows, columns, family)
    fit = CONTESTANTS[name]
    fit(X[:2000].copy(), y[:2000].copy(), family)  # imports and compilation
    with PeakMemory() as memory:
        cpu, wall = time.process_time(), time.perf_counter()
        found = fit(X, y, family)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    figures = {"cpu": cpu, "wall": wall, "peak": (memory.peak - memory.before) / X.nbytes}
    for count in ("passes", "steps"):
        if count in found:
            figures |= {count: found[count], "bare": bare(X, found[count])}
    figures |= {"beta": list(map(float, found["beta"])), "se": list(map(float, found["se"]))}
    print(json.dumps(figures))


def run(name: str, arguments: argparse.Namespace, family: str) -> dict[str, Any] | None:
    """Figures of one contestant from a fresh process, or None."""
    command = [sys.executable, __file__, "--child", name, "--family", family]
    command += ["--rows", str(arguments.rows), "--columns", str(arguments.columns)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=arguments.timeout, env=ENVIRONMENT, check=False
        )
    except subprocess.TimeoutExpired:
        print(f"  {name}: not finished in {arguments.timeout:g} s")
        return None
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no message"
        print(f"  {name}: left out ({reason})")
        return None
    return json.loads(done.stdout)


def report(family: str, figures: dict[str, dict[str, Any]]) -> None:
    """Print one table."""
    print(f"  {'':12s} {'cpu s':>8s} {'wall s':>8s} {'x ours':>8s} {'peak/X':>8s}  max |z difference|")
    own = figures.get("ours")
    for name, row in figures.items():
        times = row["cpu"] / own["cpu"] if own else float("nan")
        gap = np.nan
        if own:
            gap = float(np.max(np.abs(np.array(row["beta"]) - np.array(own["beta"])) / np.array(own["se"])))
        print(f"  {name:12s} {row['cpu']:8.2f} {row['wall']:8.2f} {times:8.2f} {row['peak']:8.3f}  {gap:.1e}")
    if own:
        share = own["cpu"] / own["bare"]
        print(f"  {'bare':12s} {own['bare']:8.2f} {'':8s} ours is {share:.2f} x bare, {own['passes']} passes")
    if own and "normal" in figures:
        classical, steps = figures["normal"]["bare"], figures["normal"]["steps"]
        words = f"ours is {own['cpu'] / classical:.2f} x that of {steps} steps from the usual start"
        print(f"  {'classical':12s} {classical:8.2f} {'':8s} {words}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--family", choices=["poisson", "binomial"])
    parser.add_argument("--skip", nargs="*", default=[], choices=list(CONTESTANTS))
    parser.add_argument("--timeout", type=float, default=600.0)
    parser.add_argument("--child", choices=list(CONTESTANTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.rows, arguments.columns, arguments.family)
        return
    for family in [arguments.family] if arguments.family else ["poisson", "binomial"]:
        print(f"{family}, {arguments.rows} rows x {arguments.columns} columns")
        names = [name for name in CONTESTANTS if name not in arguments.skip]
        found = {name: run(name, arguments, family) for name in names}
        report(family, {name: row for name, row in found.items() if row is not None})


if __name__ == "__main__":
    main()
