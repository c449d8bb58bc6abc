"""Small made-up problems with two nested grouping factors."""

from __future__ import annotations

import numpy as np
from latent_cases import block, made_up, problem_of

from bayesglmm.problem import Problem


def nested(
    family: str,
    sizes: tuple[int, int] = (1, 1),
    link: str | None = None,
    n: int = 60,
    seed: int = 1,
    outer: int = 4,
    per: int = 3,
    covariance: dict | None = None,
) -> Problem:
    """Random data: `outer` units "a" of `per` units "b" each, `sizes` effects per level; rows and labels shuffled."""
    rng = np.random.default_rng(seed)
    units = outer * per
    own = rng.permutation(np.r_[np.arange(units), rng.integers(0, units, n - units)])
    label = rng.permutation(units)
    base = made_up(family, [(units, 1)], link, n=n, seed=seed)
    d = base.design
    z = [np.c_[np.ones(n), rng.standard_normal((n, q - 1))] for q in sizes]
    pair = [block("a", own // per, z[0]), block("b", label[own], z[1])]
    made = pair if seed % 2 else pair[::-1]
    return problem_of(made, d.X, base.response.y, family, link, base.response.trials, d.weights, d.offset, covariance)
