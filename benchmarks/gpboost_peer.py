"""One case by gpboost, with its Cholesky factorisation and a tight stop, on one thread; figures as JSON.

    python benchmarks/gpboost_peer.py CASE

The fixed-effects matrix is made beforehand and not timed; mapping the labels, optimisation and standard errors are.
"""

from __future__ import annotations

import json
import sys
import time

import gpboost
import numpy as np
from glmm_cases import CASES

LIKELIHOODS = {"binomial": "bernoulli_logit", "poisson": "poisson", "gaussian": "gaussian"}
#: Relative change of its objective at which gpboost stops: looser ones end 1e-4 and more short of the optimum.
TIGHT = 1e-9


def main(name: str) -> None:
    """Fit twice, and print the second fit's figures and the log-likelihood."""
    import bayesglmm as bg

    case = CASES[name]
    data = case.table()
    design = bg.Model(case.formula, data, family=case.family, priors="flat").problem.design
    y, X = design.response.y, np.array(design.X)
    groups = data[[block.group for block in design.blocks]]
    params = {"delta_rel_conv": TIGHT, "maxit": 1000}
    for _ in range(2):
        cpu, wall = time.process_time(), time.perf_counter()
        model = gpboost.GPModel(
            group_data=groups,
            likelihood=LIKELIHOODS[case.family],
            matrix_inversion_method="cholesky",
            num_parallel_threads=1,
        )
        model.fit(y, X, params=params)
        se = np.asarray(model.get_coef(std_err=True))[-1]
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        if cpu > 20.0:
            break
    figures = {"cpu": cpu, "wall": wall, "loglik": -float(model.get_current_neg_log_likelihood())}
    print(json.dumps(figures | {"se_finite": bool(np.all(np.isfinite(se)))}))


if __name__ == "__main__":
    main(sys.argv[1])
