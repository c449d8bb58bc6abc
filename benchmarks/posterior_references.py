"""Long NUTS runs of the full posterior, kept as small summaries in ``benchmarks/references``.

A run is kept when R-hat is below 1.005 and the bulk effective size above 4000 for every parameter; it is repeated
with twice as many draws until then.

    python benchmarks/posterior_references.py                  # those that are missing
    python benchmarks/posterior_references.py --only cbpp      # these, anew
"""

from __future__ import annotations

import argparse
import json
import time
import warnings

import numpy as np
from posterior_cases import CASES, PROBABILITIES, REFERENCES

from bayesglmm.marginals import marginals

MAX_R_HAT = 1.005
MIN_ESS = 4000.0


def summary(name: str, draws: int, tune: int, most: int) -> dict:
    """Sample one case for as long as it takes, and summarise it."""
    from arviz_stats.base import array_stats

    model = CASES[name]()
    while True:
        begin = time.perf_counter()
        fit = model.fit("mcmc", draws=draws, tune=tune, chains=4, seed=1, target_accept=0.95)
        seconds = time.perf_counter() - begin
        found = marginals(model.problem, fit.result)
        axes = {"chain_axis": 0, "draw_axis": 1}
        rows = {}
        for parameter, m in found.items():
            rows[parameter] = {
                "kind": m.kind,
                "mean": m.estimate,
                "sd": m.sd,
                "quantiles": np.quantile(m.draws, PROBABILITIES).tolist(),
                "mcse": float(array_stats.mcse(m.draws, method="mean", **axes)),
                "mcse_sd": float(array_stats.mcse(m.draws, method="sd", **axes)),
                "ess": float(array_stats.ess(m.draws, method="bulk", **axes)),
                "r_hat": float(array_stats.rhat(m.draws, **axes)),
            }
        worst = max(r["r_hat"] for r in rows.values()), min(r["ess"] for r in rows.values())
        print(f"{name}: {draws} draws a chain, R-hat {worst[0]:.4f}, ESS {worst[1]:.0f}, {seconds:.0f} s", flush=True)
        if (worst[0] < MAX_R_HAT and worst[1] > MIN_ESS) or 2 * draws > most:
            break
        draws *= 2
    out = fit.result.draws
    effects = {
        b.group: {"mean": e.mean(axis=(0, 1)).round(6).tolist(), "sd": e.std(axis=(0, 1), ddof=1).round(6).tolist()}
        for b, e in zip(model.design.blocks, out.effects)
    }
    return {
        "case": name,
        "formula": model.formula,
        "family": model.family.name,
        "chains": 4,
        "draws": draws,
        "tune": tune,
        "seconds": seconds,
        "divergences": fit.status.divergences,
        "good": bool(worst[0] < MAX_R_HAT and worst[1] > MIN_ESS),
        "parameters": rows,
        "effects": effects,
    }


def main() -> None:
    """Make the summaries asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=None)
    parser.add_argument("--draws", type=int, default=5000)
    parser.add_argument("--tune", type=int, default=2000)
    parser.add_argument("--most", type=int, default=40000, help="most draws a chain")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    REFERENCES.mkdir(exist_ok=True)
    for name in options.only or [c for c in CASES if not (REFERENCES / f"{c}.json").exists()]:
        found = summary(name, options.draws, options.tune, options.most)
        (REFERENCES / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
