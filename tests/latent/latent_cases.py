"""Small made-up problems of any shape, and fourth-order finite differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.covariance import bind_covariance
from bayesglmm.design.types import Design, RandomBlock, Response, Term
from bayesglmm.families import get_family
from bayesglmm.latent.objective import Objective
from bayesglmm.links import get_link
from bayesglmm.problem import Problem

Floats = NDArray[np.float64]
COLUMNS = ("Intercept", "a", "b")


def block(name: str, codes: Any, z: Floats, correlated: bool = True) -> RandomBlock:
    """One grouping factor with a single term; the levels are all codes from 0 on."""
    codes = np.asarray(codes, dtype=np.int64)
    q = z.shape[1]
    levels = tuple(f"{name}{j}" for j in range(codes.max() + 1))
    columns = tuple(f"c{j}" for j in range(q))
    return RandomBlock(name, levels, codes, z, columns, (Term(f"… | {name}", 0, q, correlated),))


def problem_of(
    blocks: list[RandomBlock],
    X: Floats,
    y: Floats,
    family: str,
    link: str | None = None,
    trials: Floats | None = None,
    weights: Floats | None = None,
    offset: Floats | None = None,
    covariance: Mapping[str, Any] | None = None,
) -> Problem:
    """A problem with flat priors from plain arrays."""
    row = get_family(family)
    offset = np.zeros(len(y)) if offset is None else offset
    names = tuple(COLUMNS[: X.shape[1]])
    design = Design(None, Response("y", y, trials), X, names, (), offset, weights, tuple(blocks), np.arange(len(y)))
    maps = bind_covariance(tuple(blocks), dict(covariance) if covariance else None)
    return Problem(design, row, get_link(link or row.links[0]), maps, None)


def made_up(
    family: str,
    shape: list[tuple[int, int]],
    link: str | None = None,
    covariance: Mapping[str, Any] | None = None,
    n: int = 60,
    seed: int = 1,
) -> Problem:
    """Random data with grouping factors of the given (levels, columns), named g0, g1, ..."""
    rng = np.random.default_rng(seed)
    X = np.c_[np.ones(n), rng.standard_normal((n, 2))]
    blocks = []
    for k, (levels, q) in enumerate(shape):
        codes = rng.permutation(np.r_[np.arange(levels), rng.integers(0, levels, n - levels)])
        blocks.append(block(f"g{k}", codes, np.c_[np.ones(n), rng.standard_normal((n, q - 1))]))
    trials = rng.integers(1, 6, n).astype(float) if family == "binomial" else None
    y = {
        "binomial": lambda: rng.binomial(5 if trials is None else trials.astype(int), 0.4).astype(float),
        "poisson": lambda: rng.poisson(2.0, n).astype(float),
        "negative_binomial": lambda: rng.negative_binomial(2.0, 0.4, n).astype(float),
        "gaussian": lambda: rng.standard_normal(n),
        "gamma": lambda: rng.gamma(2.0, 1.0, n),
    }[family]()
    weights = rng.uniform(0.5, 2.0, n) if family in ("gaussian", "gamma", "poisson") else None
    return problem_of(blocks, X, y, family, link, trials, weights, 0.1 * rng.standard_normal(n), covariance)


def a_point(problem: Problem, n_aux: int, seed: int = 3) -> tuple[Floats, Floats, Floats]:
    """Some (β, natural θ, ψ) inside everything's range."""
    rng = np.random.default_rng(seed)
    theta = [
        rng.uniform(0.4, 0.9) if c.kind == "scale" else rng.uniform(-0.2, 0.4)
        for cov in problem.covariance
        for c in cov.coordinates
    ]
    # An identity link under a positive mean needs η > 0.
    lift = np.array([2.5, 0.0, 0.0]) if problem.link.name == "identity" and problem.family.name != "gaussian" else 0.0
    return 0.3 * rng.standard_normal(3) + lift, np.array(theta), 0.2 * rng.standard_normal(n_aux)


def difference(function: Callable[[Floats], float], x: Floats, h: float = 2e-3) -> Floats:
    """Fourth-order central differences."""
    out = np.empty(len(x))
    for i in range(len(x)):
        e = h * (np.arange(len(x)) == i)
        out[i] = 8 * (function(x + e) - function(x - e)) - (function(x + 2 * e) - function(x - 2 * e))
    return out / (12 * h)


def value_of(objective: Objective, sizes: tuple[int, int]) -> Callable[[Floats], float]:
    """The objective as a function of one vector."""
    p, k = sizes
    return lambda x: objective.evaluate(x[:p], x[p : p + k], x[p + k :], with_gradient=False).value
