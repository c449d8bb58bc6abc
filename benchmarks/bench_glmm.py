"""Laplace fits side by side with glmmTMB, lme4 and gpboost, in one run.

Times are CPU seconds (user + system) of formula, design, optimisation and standard errors; reading the data is
left out. ``first`` is the first fit of a fresh process, ``warm`` the median of the next ones (a single one where they
take long); peers are timed at their second fit. A peer that is not installed is left out; so is one that does not
finish in ``--timeout`` seconds. gpboost is given its design matrix, has no formula, and no slopes or trials.

    python benchmarks/bench_glmm.py                 # the quick cases
    python benchmarks/bench_glmm.py --large         # all of them
    python benchmarks/bench_glmm.py --only cbpp verbagg
    python benchmarks/bench_glmm.py --growth        # cost from 1e4 to 1e6 rows, as benchmarks/growth.png
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from glmm_cases import CASES, Case

if TYPE_CHECKING:
    import pandas as pd

    from bayesglmm import Fit

HERE = Path(__file__).parent
#: Fits after the first, where that takes less than so many seconds.
WARM_FITS, LONG = 5, 5.0
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def fit_once(case: Case, data: pd.DataFrame) -> tuple[dict, Fit]:
    """CPU and wall seconds of one fit with its standard errors, and the fit."""
    import bayesglmm as bg

    cpu, wall = time.process_time(), time.perf_counter()
    fit = bg.Model(case.formula, data, family=case.family, priors="flat").fit("laplace")
    se = np.sqrt(np.diag(fit.cov))  # the peers' vcov
    seconds = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    assert np.all(se > 0)
    return seconds, fit


def fit_here(name: str) -> None:
    """Fit one case several times in this process and print the figures as JSON (run in a child process)."""
    case = CASES[name]
    data = case.table()
    first, fit = fit_once(case, data)
    repeats = WARM_FITS if first["cpu"] < LONG else 1
    later = sorted((fit_once(case, data)[0] for _ in range(repeats)), key=lambda f: f["cpu"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"first": first, "warm": later[repeats // 2], "loglik": fit.loglik, "peak": peak}))


def ours(case: Case, timeout: float) -> dict | None:
    """Figures of this package, from a fresh process."""
    command = [sys.executable, __file__, "--child", case.name]
    return _json(command, timeout)


def peer_r(package: str, case: Case, csv: Path, timeout: float) -> dict | None:
    """Figures of an R package, or None when R or the package is missing or too slow."""
    if shutil.which("Rscript") is None:
        return None
    formula = case.r_formula or case.formula
    command = ["Rscript", str(HERE / "glmm_peer.R"), package, formula, case.family, str(csv), ",".join(case.factors)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=ENVIRONMENT, check=False)
    except subprocess.TimeoutExpired:
        return {"late": timeout}
    if run.returncode:
        return None
    cpu, wall, loglik = map(float, run.stdout.split()[-3:])
    return {"cpu": cpu, "wall": wall, "loglik": loglik}


def peer_gpboost(case: Case, timeout: float) -> dict | None:
    """Figures of gpboost, or None when it is missing or has no such model."""
    slopes = any(bar.split("|")[0].strip() != "1" for bar in re.findall(r"\(([^()]*\|[^()]*)\)", case.formula))
    if find_spec("gpboost") is None or slopes or case.family == "negative_binomial" or case.formula.startswith("p("):
        return None
    return _json([sys.executable, str(HERE / "gpboost_peer.py"), case.name], timeout)


def _json(command: list[str], timeout: float) -> dict | None:
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=ENVIRONMENT, check=False)
    except subprocess.TimeoutExpired:
        return {"late": timeout}
    if run.returncode:
        print(run.stderr.strip().splitlines()[-1], file=sys.stderr)
        return None
    return json.loads(run.stdout.splitlines()[-1])


def growth(path: Path) -> None:
    """Cost of the simulated models from 1e4 to 1e6 rows, levels of the largest factor in proportion, as a picture."""
    import matplotlib.pyplot as plt
    from glmm_cases import crossed, poisson

    rows = [10_000, 30_000, 100_000, 300_000, 1_000_000]
    lines = {
        "Poisson, one factor, 10 rows a level": ("poisson-1e6-1e5", lambda n: poisson(n, n // 10)),
        "binary, crossed with 200 levels, 20 rows a level of the other": (
            "crossed-1e6",
            lambda n: crossed(n, n // 20, 200),
        ),
    }
    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    for label, (name, table) in lines.items():
        fit_once(CASES[name], table(rows[0]))  # what is loaded once is not growth
        seconds = [fit_once(CASES[name], table(n))[0]["cpu"] for n in rows]
        print(label, " ".join(f"{n:.0e}: {s:.2f} s" for n, s in zip(rows, seconds)), flush=True)
        axes.plot(rows, seconds, "o-", label=label)
    axes.plot(rows, [seconds[-1] * n / rows[-1] for n in rows], ":", color="grey", label="in proportion to rows")
    axes.set(xscale="log", yscale="log", xlabel="rows", ylabel="CPU seconds: formula to standard errors")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=100)


def _cell(peer: dict | None, warm: float) -> str:
    if peer is None:
        return f"{'–':>18}"
    if "late" in peer:
        return f"{'> ' + format(peer['late'], '.0f') + ' s':>18}"
    return f"{peer['cpu']:>9.3f} {peer['cpu'] / warm:>7.1f}×"


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=sorted(CASES))
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--timeout", type=float, default=600.0)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        fit_here(options.child)
        return
    if options.growth:
        growth(HERE / "growth.png")
        return
    chosen = [c for c in CASES.values() if (c.name in options.only if options.only else options.large or not c.large)]
    own = f"{'case':<21}{'first':>8}{'warm':>8}{'wall':>8}{'MB':>7}"
    print(f"{own}{'glmmTMB cpu, ratio':>19}{'lme4 cpu, ratio':>19}{'gpboost cpu, ratio':>19}   loglik")
    for case in chosen:
        with tempfile.TemporaryDirectory() as folder:
            csv = Path(folder) / "data.csv"
            case.table().to_csv(csv, index=False)
            mine = ours(case, options.timeout)
            if mine is None or "late" in mine:
                print(f"{case.name:<21} did not finish")
                continue
            peers = [peer_r(package, case, csv, options.timeout) for package in ("glmmTMB", "lme4")]
            peers.append(peer_gpboost(case, options.timeout))
        warm = mine["warm"]["cpu"]
        cells = " ".join(_cell(p, warm) for p in peers)
        gaps = " ".join(f"{p['loglik'] - mine['loglik']:+.1e}" for p in peers if p and "loglik" in p)
        head = (
            f"{case.name:<21}{mine['first']['cpu']:>8.3f}{warm:>8.3f}{mine['warm']['wall']:>8.3f}{mine['peak']:>7.0f}"
        )
        print(f"{head} {cells}   {mine['loglik']:.4f} (peers {gaps})", flush=True)


if __name__ == "__main__":
    main()
