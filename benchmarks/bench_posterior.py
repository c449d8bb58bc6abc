"""Approximate posteriors against long NUTS runs, and what 1,000 effective draws cost.

(a) Every case of ``posterior_cases`` by Laplace, Laplace with importance weights, quadrature with weights, nested
Laplace and NUTS on the marginal posterior: worst bias in standard deviations of the reference, worst ratio of standard
deviations, Pareto k-hat, seconds. References are the summaries in ``benchmarks/references``. Rows go to
``benchmarks/accuracy.csv`` as they are finished.

(b) CPU seconds to 1,000 effective draws, compiling included and not, each route in a process of its own: ours, PyMC on
the same graph, and Bambi where ``BENCH_BAMBI_PYTHON`` names an interpreter that has it. Included: everything but
imports, in a fresh process, from the table of data on. Imports are left out on both sides: what ours would load in the
middle of a fit (its own modules, numba; for the graph PyMC, nutpie and ArviZ) is imported beforehand, as Bambi's script
does. Not included: the least of two more runs in that process (of Bambi, which compiles anew for every model, the
sampler's own time). Of Bambi the better of two processes counts; its compilation cache on disk is full. Effective draws
are the smallest bulk effective size over coefficients, sds and auxiliaries; for weighted draws that of their weights.

Measured: (a) ``laplace+psis``, 4,000 draws: worst bias 0.07 sd and sd ratios 0.93 to 1.07 over the thirteen cases,
k-hat at most 0.5; ``laplace`` alone: bias up to 1.04 sd (ohio), sd ratios 0.80 to 1.32. (b) One run on two cores with
nothing beside it, included (not included), and how many times faster than Bambi's default:

=============  ===============  ==========================  =========================  ===============
case           Bambi (default)  laplace+psis                marginal NUTS              Bambi (nutpie)
=============  ===============  ==========================  =========================  ===============
cbpp           3.51 (2.25)      0.059 (0.019), 60 (120)     0.45 (0.43), 7.8 (5.2)     6.34 (0.27)
contraception  11.4 (10.0)      0.19 (0.10), 59 (97)        1.52 (1.00), 7.5 (10)      9.43 (3.21)
epilepsy       12.9 (10.9)      0.26 (0.21), 50 (53)        1.80 (1.21), 7.1 (9.0)     11.8 (4.90)
=============  ===============  ==========================  =========================  ===============

PyMC on the same graph, cbpp: 3.4 (2.9) by its own sampler, 7.0 (4.3) by nutpie. With an empty compilation cache Bambi
takes 50 s on cbpp.

    python benchmarks/bench_posterior.py accuracy
    python benchmarks/bench_posterior.py accuracy --only cbpp ohio
    BENCH_BAMBI_PYTHON=/path/to/python python benchmarks/bench_posterior.py speed
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path

from posterior_cases import CASES, MODELS, reference, score

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

#: Name in the table → (method, options).
ROUTES = {
    "laplace": ("laplace", {}),
    "laplace+psis": ("laplace+psis", {"draws": 4000, "seed": 1}),
    "agq+psis": ("agq+psis", {"draws": 4000, "seed": 1}),
    "inla": ("inla", {}),
    "marginal NUTS": ("mcmc", {"marginalize": "laplace", "draws": 1000, "seed": 1}),
    "marginal NUTS, agq": ("mcmc", {"marginalize": "agq", "nodes": 9, "draws": 1000, "seed": 1}),
}
#: Where table (a) is kept: the documentation shows it.
TABLE = Path(__file__).parent / "accuracy.csv"

#: Limits on the worst bias and sd ratio where k-hat is below 0.5.
GOOD_K, BIAS, RATIO = 0.5, 0.1, (0.9, 1.1)

SPEED_CASES = ("cbpp", "contraception", "epilepsy")
SPEED_ROUTES = {
    "laplace+psis": ("laplace+psis", {"draws": 1000, "proposals": 2000, "seed": 1}),
    # Chains move in step, so that eight cost little more than four where data are small.
    "marginal NUTS": ("mcmc", {"marginalize": "laplace", "chains": 8, "draws": 500, "seed": 1}),
    "mcmc (nutpie)": ("mcmc", {"seed": 1}),
    "mcmc (pymc)": ("mcmc", {"seed": 1, "sampler": "pymc"}),
}
#: Routes that compile a PyMC graph, what is otherwise loaded when first needed, and further runs of the other routes.
ON_THE_GRAPH = ("mcmc (nutpie)", "mcmc (pymc)")
LIBRARIES = ("numba", "nutpie", "pymc", "arviz")
LAZY = (
    "methods.psis",
    "methods.marginalized",
    "latent.marginal",
    "latent.weights.importance",
    "latent.nuts.chains",
    "latent.elimination.loops",
)
REPEATS = 2
#: Case → (table, Bambi's formula, family); `obs` and the transformed covariates are columns of the tables.
BAMBI = {
    "cbpp": ("cbpp", "p(incidence, size) ~ C(period) + (1|herd)", "binomial"),
    "contraception": ("contraception", "use['Y'] ~ age + urban + livch + (1|district)", "bernoulli"),
    "epilepsy": ("epil", "y ~ lbase * trt + lage + V4 + (1|subject) + (1|obs)", "poisson"),
}
BAMBI_CHILD = """
import json, os, sys, time, warnings
warnings.simplefilter("ignore")
import arviz as az, bambi as bmb, numpy as np, pandas as pd
table, formula, family, sampler = sys.argv[1:]
data = pd.read_csv(table)
for column in ("herd", "district", "subject", "obs"):
    if column in data:
        data[column] = data[column].astype(str)
def used():
    return sum(os.times()[:4])
wall, cpu = time.perf_counter(), used()
model = bmb.Model(formula, data, family=family)
options = {"progressbar": False, "random_seed": 1, "cores": 1}
if sampler != "default":
    options["inference_method"] = sampler
fit = model.fit(**options)
wall, cpu = time.perf_counter() - wall, used() - cpu
posterior = fit["posterior"]
names = [v for v in posterior.data_vars if "|" not in v or v.endswith("_sigma")]
ess = az.ess(fit, var_names=names)
ess = getattr(ess, "dataset", ess) if not hasattr(ess, "data_vars") else ess
smallest = min(float(np.min(ess[v].values)) for v in names)
sampling = fit["sample_stats"].attrs.get("sampling_time", fit["posterior"].attrs.get("sampling_time", float("nan")))
print(json.dumps({"cpu": cpu, "wall": wall, "ess": smallest, "sampling": float(sampling)}))
"""


def used() -> float:
    """CPU seconds of this process and of the children it has waited for."""
    return sum(os.times()[:4])


def keep(row: dict) -> None:
    """Put a row of table (a) in its place."""
    import pandas as pd

    rows = {(r["case"], r["route"]): r for r in pd.read_csv(TABLE).to_dict("records")} if TABLE.exists() else {}
    rows[row["case"], row["route"]] = row
    order = sorted(rows, key=lambda key: (list(CASES).index(key[0]), list(ROUTES).index(key[1])))
    pd.DataFrame([rows[key] for key in order]).to_csv(TABLE, index=False, float_format="%.3f")


def accuracy(names: list[str], routes: list[str]) -> None:
    """Print table (a), and whether k-hat tells good from bad."""
    from bayesglmm.marginals import marginals

    print(f"{'case':20} {'route':18} {'k-hat':>6} {'ESS':>6} {'bias':>7} {'of':30} {'sd ratio':>8} {'of':30} CPU s")
    wrong = []
    for name in names:
        if reference(name) is None:
            print(f"{name:20} no reference: run posterior_references.py")
            continue
        model = CASES[name]()
        for label in routes:
            method, options = ROUTES[label]
            base = method.partition("+")[0]
            if base not in model.methods or (label.endswith(", agq") and "agq" not in model.methods):
                continue
            cpu = used()
            with warnings.catch_warnings(action="ignore"):
                fit = model.fit(method, **options)
            cpu = used() - cpu
            found = {k: (m.estimate, m.sd) for k, m in marginals(model.problem, fit.result).items()}
            s, k, ess = score(found, name), fit.status.pareto_k, fit.status.ess
            weights = ("" if v is None else f"{v:{form}}" for v, form in ((k, ".2f"), (ess, ".0f")))
            line = f"{name:20} {label:18} {next(weights):>6} {next(weights):>6} {s['bias']:7.3f} {s['bias_of']:30} "
            print(f"{line}{s['sd_ratio']:8.3f} {s['sd_ratio_of']:30} {cpu:.2f}", flush=True)
            keep({"case": name, "route": label, "k_hat": k, "ess": ess, **s, "cpu": cpu})
            good = abs(s["bias"]) <= BIAS and RATIO[0] <= s["sd_ratio"] <= RATIO[1]
            if k is not None and k < GOOD_K and not good:
                wrong.append((name, label))
    print(f"k-hat below {GOOD_K} and yet off: {wrong or 'none'}")


def child(name: str, label: str) -> None:
    """One case by one of our routes, several times in this process; figures as JSON."""
    method, options = SPEED_ROUTES[label]
    warnings.simplefilter("ignore")
    CASES[name]()
    own = [f"bayesglmm.{module}" for module in LAZY]
    for library in (*own, *LIBRARIES) if label in ON_THE_GRAPH else (*own, "numba"):
        import_module(library)
    figures, warm = {}, []
    cpu = used()
    fit = CASES[name]().fit(method, **options)
    figures["first"] = used() - cpu
    for _ in range(1 if label in ON_THE_GRAPH else REPEATS):
        cpu = used()
        fit = CASES[name]().fit(method, **options)
        warm.append(used() - cpu)
    print(json.dumps(figures | {"warm": min(warm), "ess": fit.status.ess}))


def ours(name: str, label: str, timeout: float) -> tuple[float, float, float] | None:
    """Effective draws, and seconds to 1,000 of them with and without what a first run pays."""
    found = _json([sys.executable, __file__, "child", name, label], timeout)
    if found is None:
        return None
    drawn = found["warm"] * 1000.0 / found["ess"]
    # What a first run takes beyond a second one is paid once.
    return found["ess"], max(found["first"] - found["warm"], 0.0) + drawn, drawn


def bambi(name: str, sampler: str, timeout: float) -> tuple[float, float, float] | None:
    """The same by Bambi, the faster of two runs."""
    python = os.environ.get("BENCH_BAMBI_PYTHON")
    if python is None:
        return None
    table, formula, family = BAMBI[name]
    command = [python, "-c", BAMBI_CHILD, str(MODELS / "data" / f"{table}.csv"), formula, family, sampler]
    runs = []
    for found in (_json(command, timeout), _json(command, timeout)):
        if found is not None:
            share = min(found["sampling"] / found["wall"], 1.0)
            drawn = found["cpu"] * share * 1000.0 / found["ess"]
            runs.append((found["ess"], found["cpu"] * (1.0 - share) + drawn, drawn))
    return min(runs, key=lambda run: run[1], default=None)


def speed(names: list[str], timeout: float) -> None:
    """Print table (b)."""
    print("CPU seconds to 1000 effective draws, and how many times faster than Bambi's default")
    print(f"{'case':14} {'route':18} {'ESS':>6} {'compile included':>17} {'excluded':>9} {'faster':>7} {'faster':>7}")
    for name in names:
        rows = {f"Bambi ({sampler})": bambi(name, sampler, timeout) for sampler in ("default", "nutpie")}
        rows |= {label: ours(name, label, timeout) for label in SPEED_ROUTES}
        base = rows["Bambi (default)"]
        for label, row in rows.items():
            if row is not None:
                ess, included, excluded = row
                line = f"{name:14} {label:18} {ess:6.0f} {included:17.2f} {excluded:9.3f}"
                line += "" if base is None else f" {base[1] / included:7.1f} {base[2] / excluded:7.1f}"
                print(line, flush=True)


def _json(command: list[str], timeout: float) -> dict | None:
    """Last line of a child's output as JSON; None, and its complaint, when it fails or takes too long."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=ENVIRONMENT, check=False)
    except subprocess.TimeoutExpired:
        print(f"# more than {timeout:.0f} s: {' '.join(command[-3:])}")
        return None
    if run.returncode:
        print(f"# failed: {run.stderr.strip().splitlines()[-1] if run.stderr.strip() else command[-1]}")
        return None
    return json.loads(run.stdout.strip().splitlines()[-1])


def main() -> None:
    """Run the part that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("accuracy", "speed", "child"))
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="+", choices=CASES, default=None)
    parser.add_argument("--routes", nargs="+", choices=ROUTES, default=list(ROUTES), help="of the accuracy table")
    parser.add_argument("--timeout", type=float, default=900.0)
    options = parser.parse_args()
    if options.part == "child":
        child(*options.rest)
    elif options.part == "accuracy":
        accuracy(options.only or list(CASES), options.routes)
    else:
        speed(options.only or list(SPEED_CASES), options.timeout)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
