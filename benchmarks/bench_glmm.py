"""Laplace fits side by side with glmmTMB, lme4 and gpboost, in one run.

Times are CPU seconds (user + system) of formula, design, optimisation and standard errors; reading the data is
left out. ``first`` is the first fit of a fresh process, ``warm`` the second. A peer that is not installed is left
out; so is one that does not finish in ``--timeout`` seconds.

    python benchmarks/bench_glmm.py                 # the quick cases
    python benchmarks/bench_glmm.py --large         # all of them
    python benchmarks/bench_glmm.py --only cbpp verbagg
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from glmm_cases import CASES, Case

HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def fit_here(name: str) -> None:
    """Fit one case twice in this process and print the figures as JSON (run in a child process)."""
    import bayesglmm as bg

    case = CASES[name]
    data = case.table()
    figures = {}
    for label in ("first", "warm"):
        cpu, wall = time.process_time(), time.perf_counter()
        fit = bg.Model(case.formula, data, family=case.family, priors="flat").fit("laplace")
        se = fit.fixed["se"].to_numpy()
        figures[label] = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(figures | {"loglik": fit.loglik, "peak": peak, "se_finite": bool((se > 0).all())}))


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


def _json(command: list[str], timeout: float) -> dict | None:
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=ENVIRONMENT, check=False)
    except subprocess.TimeoutExpired:
        return {"late": timeout}
    if run.returncode:
        print(run.stderr.strip().splitlines()[-1], file=sys.stderr)
        return None
    return json.loads(run.stdout.splitlines()[-1])


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
    parser.add_argument("--timeout", type=float, default=600.0)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        fit_here(options.child)
        return
    chosen = [c for c in CASES.values() if (c.name in options.only if options.only else options.large or not c.large)]
    own = f"{'case':<21}{'first':>8}{'warm':>8}{'wall':>8}{'MB':>7}"
    print(f"{own}{'glmmTMB cpu, ratio':>19}{'lme4 cpu, ratio':>19}   loglik")
    for case in chosen:
        with tempfile.TemporaryDirectory() as folder:
            csv = Path(folder) / "data.csv"
            case.table().to_csv(csv, index=False)
            mine = ours(case, options.timeout)
            if mine is None or "late" in mine:
                print(f"{case.name:<21} did not finish")
                continue
            peers = [peer_r(package, case, csv, options.timeout) for package in ("glmmTMB", "lme4")]
        warm = mine["warm"]["cpu"]
        cells = " ".join(_cell(p, warm) for p in peers)
        gaps = " ".join(f"{p['loglik'] - mine['loglik']:+.1e}" for p in peers if p and "loglik" in p)
        head = (
            f"{case.name:<21}{mine['first']['cpu']:>8.3f}{warm:>8.3f}{mine['warm']['wall']:>8.3f}{mine['peak']:>7.0f}"
        )
        print(f"{head} {cells}   {mine['loglik']:.4f} (peers {gaps})", flush=True)


if __name__ == "__main__":
    main()
