"""REML fits of linear mixed models side by side with lmer, glmmTMB and statsmodels' MixedLM, in one run.

Times are CPU seconds (user + system) of formula, design, optimisation and standard errors; reading the data is left
out, making the inverse relationships of the pedigree is not. ``first`` is the first fit of a fresh process, ``warm``
the median of the next three (one where it takes long); peers are timed at their second fit. A peer that is not
installed, has no such model (glmmTMB and MixedLM: pedigrees, MixedLM: crossed factors) or does not finish in
``--timeout`` seconds is left out. lmer fits a pedigree by multiplying Z with a Cholesky factor.

    python benchmarks/bench_lmm.py
    python benchmarks/bench_lmm.py --only groups-10k groups-125k
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from bench_glmm import ENVIRONMENT

HERE = Path(__file__).parent
DATA = HERE.parent / "models" / "data"
#: A fit longer than this is timed once more only.
LONG = 5.0


@dataclass(frozen=True)
class Case:
    """One model to be timed.

    Parameters
    ----------
    name : str
        Label.
    table : callable
        Makes the data.
    formula : str
        Ours and R's.
    factors : tuple of str
        Columns to be read as labels.
    pedigree : callable or None
        Makes the pedigree of the column ``animal``.
    mixedlm : tuple of str or None
        Formula, groups and random formula for statsmodels, where it has such a model.
    """

    name: str
    table: Callable[[], pd.DataFrame]
    formula: str
    factors: tuple[str, ...]
    pedigree: Callable[[], pd.DataFrame] | None = None
    mixedlm: tuple[str, str, str] | None = None


def insteval() -> pd.DataFrame:
    """Ratings of lectures: 2972 students, 1128 lecturers, crossed."""
    names = ("s", "d", "dept", "service")
    return pd.read_csv(DATA / "insteval.csv.gz", dtype=dict.fromkeys(names, str), keep_default_na=False)


def grouped(levels: int) -> pd.DataFrame:
    """Eight rows a group, an intercept and a slope."""
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(levels), 8)
    x = rng.normal(size=len(g))
    y = 1.0 + 0.5 * x + rng.normal(size=levels)[g] + 0.4 * rng.normal(size=levels)[g] * x + rng.normal(size=len(g))
    return pd.DataFrame({"y": y, "x": x, "g": g})


def family_tree(animals: int = 20_000, generations: int = 6) -> pd.DataFrame:
    """Parents of every animal (0: unknown) by number; a generation's parents are drawn from the one before."""
    rng = np.random.default_rng(6)
    size = animals // generations
    number = np.arange(1, animals + 1)
    generation = np.minimum((number - 1) // size, generations - 1)
    start = (generation - 1) * size + 1
    sire = start + rng.integers(0, size // 20, animals)
    dam = start + size // 20 + rng.integers(0, size - size // 20, animals)
    young = generation == 0
    return pd.DataFrame({"animal": number, "sire": np.where(young, 0, sire), "dam": np.where(young, 0, dam)})


def records() -> pd.DataFrame:
    """One record of every animal but the founders, heritability 0.4."""
    tree, rng = family_tree(), np.random.default_rng(7)
    value = np.zeros(len(tree) + 1)
    for animal, sire, dam in tree.itertuples(index=False):
        known = (sire > 0) + (dam > 0)
        value[animal] = 0.5 * (value[sire] + value[dam]) + rng.normal() * np.sqrt(4.0 * (1 - 0.25 * known))
    own = tree[tree["sire"] > 0]
    x = rng.normal(size=len(own))
    y = 10.0 + x + value[own["animal"]] + rng.normal(size=len(own)) * np.sqrt(6.0)
    return pd.DataFrame({"y": y, "x": x, "animal": own["animal"].to_numpy()})


CASES = {
    c.name: c
    for c in (
        Case("insteval", insteval, "y ~ service + (1 | s) + (1 | d)", ("s", "d", "dept", "service")),
        Case("insteval-dept", insteval, "y ~ service * dept + (1 | s) + (1 | d)", ("s", "d", "dept", "service")),
        Case("groups-10k", lambda: grouped(10_000), "y ~ x + (1 | g)", ("g",), None, ("y ~ x", "g", "1")),
        Case("groups-125k", lambda: grouped(125_000), "y ~ x + (1 | g)", ("g",), None, ("y ~ x", "g", "1")),
        Case("slopes-10k", lambda: grouped(10_000), "y ~ x + (1 + x | g)", ("g",), None, ("y ~ x", "g", "x")),
        Case("slopes-125k", lambda: grouped(125_000), "y ~ x + (1 + x | g)", ("g",), None, ("y ~ x", "g", "x")),
        Case("pedigree-20k", records, "y ~ x + (1 | animal)", ("animal",), family_tree),
    )
}


def fit_once(case: Case, data: pd.DataFrame, tree: pd.DataFrame | None) -> tuple[dict, float]:
    """CPU and wall seconds of one fit with its standard errors, and its log-likelihood."""
    import bayesglmm as bg

    cpu, wall = time.process_time(), time.perf_counter()
    covariance = None if tree is None else {"animal": bg.pedigree(tree, id="animal", sire="sire", dam="dam")}
    fit = bg.Model(case.formula, data, covariance=covariance).fit("reml")
    assert (fit.fixed["se"].dropna() > 0).all()
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}, fit.loglik


def fit_here(case: Case) -> None:
    """Fit a case several times in this process and print the figures as JSON (run in a child process)."""
    warnings.simplefilter("ignore")
    data, tree = case.table(), case.pedigree() if case.pedigree else None
    first, loglik = fit_once(case, data, tree)
    repeats = 3 if first["cpu"] < LONG else 1
    later = sorted((fit_once(case, data, tree)[0] for _ in range(repeats)), key=lambda f: f["cpu"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"first": first, "warm": later[repeats // 2], "loglik": loglik, "peak": peak}))


def mixedlm_here(case: Case) -> None:
    """Fit a case by statsmodels and print the figures as JSON (run in a child process)."""
    import statsmodels.formula.api as smf

    warnings.simplefilter("ignore")
    data = case.table()
    formula, groups, random = case.mixedlm or ("", "", "")
    cpu, wall = time.process_time(), time.perf_counter()
    fit = smf.mixedlm(formula, data, groups=data[groups], re_formula=random).fit(reml=True)
    assert np.isfinite(fit.bse_fe).all()
    seconds = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    print(json.dumps(seconds | {"loglik": float(fit.llf)}))


def run(command: list[str], timeout: float) -> str | dict | None:
    """Last line of a child's output; None when it failed, ``{"late": ...}`` when it was too slow."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=ENVIRONMENT, check=False)
    except subprocess.TimeoutExpired:
        return {"late": timeout}
    if done.returncode:
        print((done.stderr.strip().splitlines() or ["?"])[-1], file=sys.stderr)
        return None
    return done.stdout.strip().splitlines()[-1]


def peer_r(package: str, case: Case, csv: Path, tree: Path | None, timeout: float) -> dict | None:
    """Figures of an R package."""
    if shutil.which("Rscript") is None or (tree is not None and package != "lme4"):
        return None
    command = ["Rscript", str(HERE / "lmm_peer.R"), package, case.formula, str(csv), ",".join(case.factors)]
    line = run(command + ([] if tree is None else [str(tree)]), timeout)
    if not isinstance(line, str):
        return line
    cpu, wall, loglik = map(float, line.split())
    return {"cpu": cpu, "wall": wall, "loglik": loglik}


def child(mode: str, case: Case, timeout: float) -> dict | None:
    """Figures of a fit in a fresh Python process."""
    line = run([sys.executable, __file__, mode, case.name], timeout)
    return json.loads(line) if isinstance(line, str) else line


def _cell(peer: dict | None, warm: float) -> str:
    if peer is None:
        return f"{'–':>19}"
    if "late" in peer:
        return f"{'> ' + format(peer['late'], '.0f') + ' s':>19}"
    return f"{peer['cpu']:>10.2f} {peer['cpu'] / warm:>7.1f}×"


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=sorted(CASES))
    parser.add_argument("--timeout", type=float, default=600.0)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--mixedlm", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child or options.mixedlm:
        fit_here(CASES[options.child]) if options.child else mixedlm_here(CASES[options.mixedlm])
        return
    own = f"{'case':<14}{'first':>8}{'warm':>8}{'wall':>8}{'MB':>7}"
    print(f"{own}{'lmer cpu, ratio':>20}{'glmmTMB cpu, ratio':>20}{'MixedLM cpu, ratio':>20}   REML loglik")
    for case in CASES.values():
        if options.only and case.name not in options.only:
            continue
        mine = child("--child", case, options.timeout)
        if mine is None or "late" in mine:
            print(f"{case.name:<14} did not finish")
            continue
        with tempfile.TemporaryDirectory() as folder:
            csv, tree = Path(folder) / "data.csv", Path(folder) / "tree.csv" if case.pedigree else None
            case.table().to_csv(csv, index=False)
            if case.pedigree and tree:
                case.pedigree().to_csv(tree, index=False)
            peers = [peer_r(package, case, csv, tree, options.timeout) for package in ("lme4", "glmmTMB")]
        has = case.mixedlm is not None and find_spec("statsmodels") is not None
        peers.append(child("--mixedlm", case, options.timeout) if has else None)
        warm = mine["warm"]["cpu"]
        cells = " ".join(_cell(p, warm) for p in peers)
        gaps = " ".join(f"{p['loglik'] - mine['loglik']:+.1e}" for p in peers if p and "loglik" in p)
        head = (
            f"{case.name:<14}{mine['first']['cpu']:>8.2f}{warm:>8.2f}{mine['warm']['wall']:>8.2f}{mine['peak']:>7.0f}"
        )
        print(f"{head} {cells}   {mine['loglik']:.4f} (peers {gaps})", flush=True)


if __name__ == "__main__":
    main()
