"""Small problems for every family, link and covariance form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse

from bayesglmm.covariance import Known, bind_covariance
from bayesglmm.covariance.binding import extra_levels
from bayesglmm.design.types import Design, RandomBlock, Response, Term
from bayesglmm.families import FAMILIES, eta_domain, get_family
from bayesglmm.families.base import Family
from bayesglmm.links import get_link
from bayesglmm.priors import resolve_priors
from bayesglmm.problem import Problem

N = 14
LEVELS = ("a", "b", "c", "d")
K = 0.4 * np.ones((4, 4)) + np.diag([0.6, 1.0, 0.8, 1.2])
#: A sparse precision between the levels, of which "e" has no rows.
Q = np.diag([2.0, 1.5, 1.2, 1.8, 1.6]) - 0.5 * (np.eye(5, k=1) + np.eye(5, k=-1))

#: Covariance of the two-column term (1 + x | g), beside the crossed (1 | h).
FORMS: dict[str, dict[str, Any]] = {
    "unstructured": {},
    "diagonal": {"g": "diagonal"},
    "cs": {"g": "cs"},
    "ar1": {"g": "ar1"},
    "known": {"g": Known(K, LEVELS)},
    "precision": {"g": Known(precision=sparse.csc_array(Q), levels=[*LEVELS[::-1], "e"])},
}

LIKELIHOODS: list[Family] = [
    get_family("cumulative", levels=4) if name == "cumulative" else get_family(name)
    for name in FAMILIES
    if not get_family(name).quasi
]
#: Every family with every one of its links (a cumulative family is adapted to one link).
PAIRS = [(f, link) for f in LIKELIHOODS for link in (f.links[:1] if f.categories == "ordered" else f.links)]


def pair_id(pair: tuple[Family, str]) -> str:
    return f"{pair[0].name}-{pair[1]}"


def is_bounded(family: Family, link: str) -> bool:
    return bool(np.isfinite(eta_domain(family, get_link(link, family))).any())


def centre(family: Family, link: str, rng: np.random.Generator, n: int = N) -> np.ndarray:
    """Linear predictors well inside the domain."""
    low, high = eta_domain(family, get_link(link, family))
    if np.isfinite(low) and np.isfinite(high):
        return low + (high - low) * rng.uniform(0.4, 0.6, n)
    if np.isfinite(low):
        return low + rng.uniform(0.8, 1.6, n)
    return high - rng.uniform(0.8, 1.6, n) if np.isfinite(high) else rng.uniform(-0.3, 0.3, n)


def response(family: Family, rng: np.random.Generator, n: int = N) -> tuple[np.ndarray, np.ndarray | None]:
    """Something the family may have produced, and its trials."""
    if family.trials:
        trials = rng.integers(1, 9, n).astype(float)
        return np.floor(rng.uniform(0.0, 1.0, n) * (trials + 1.0)), trials
    if family.categories == "ordered":
        return np.concatenate([np.arange(4.0), rng.integers(0, 4, n - 4)]), None
    if family.support.integer:
        return np.concatenate([[0.0, 1.0], rng.poisson(3.0, n - 2)]), None
    if family.support.high == 1.0:
        return rng.uniform(0.05, 0.95, n), None
    if family.support.low == 0.0:
        y = rng.gamma(2.0, 1.0, n)
        return np.where(np.arange(n) < (0 if family.support.low_open else 3), 0.0, y), None
    return rng.normal(size=n), None


def crossed_problem(
    family: Family,
    link: str,
    form: str = "unstructured",
    priors: Any = "default",
    *,
    weights: bool = True,
    seed: int = 1,
) -> Problem:
    """y ~ x + w + offset + (1 + x | g) + (1 | h), with weights and, where they exist, trials."""
    rng = np.random.default_rng(seed)
    y, trials = response(family, rng)
    x = rng.normal(0.5, 1.0, N)
    X = np.column_stack([np.ones(N), x, rng.integers(0, 2, N)])
    g = RandomBlock(
        "g",
        LEVELS,
        np.concatenate([np.arange(4), rng.integers(0, 4, N - 4)]),
        np.column_stack([np.ones(N), x]),
        ("Intercept", "x"),
        (Term("1 + x | g", 0, 2, True),),
    )
    h = RandomBlock(
        "h",
        ("u", "v", "w"),
        np.concatenate([np.arange(3), rng.integers(0, 3, N - 3)]),
        np.ones((N, 1)),
        ("Intercept",),
        (Term("1 | h", 0, 1, True),),
    )
    design = Design(
        formula=None,
        response=Response("y", y, trials),
        X=X,
        columns=("Intercept", "x", "w"),
        aliased=(),
        offset=centre(family, link, rng),
        weights=rng.uniform(0.5, 2.0, N) if weights else None,
        blocks=(g, h),
        index=None,
    )
    return bound_problem(design, family, link, FORMS[form], priors)


def three_column_problem(form: str, priors: Any = "default") -> Problem:
    """Gaussian with two terms of one group: (0 + t | g) with three columns, and (1 | g)."""
    rng = np.random.default_rng(5)
    t = np.eye(3)[rng.integers(0, 3, N)]
    g = RandomBlock(
        "g",
        LEVELS,
        np.concatenate([np.arange(4), rng.integers(0, 4, N - 4)]),
        np.column_stack([t, np.ones(N)]),
        ("t1", "t2", "t3", "Intercept"),
        (Term("0 + t | g", 0, 3, True), Term("1 | g", 3, 4, True)),
    )
    design = Design(
        None, Response("y", rng.normal(size=N)), np.ones((N, 1)), ("Intercept",), (), np.zeros(N), None, (g,), None
    )
    return bound_problem(design, get_family("gaussian"), "identity", FORMS[form], priors)


def bound_problem(design: Design, family: Family, link: str, covariance: dict[str, Any], priors: Any) -> Problem:
    bound = get_link(link, family)
    extra = extra_levels(design.blocks, covariance)
    design = replace(
        design, blocks=tuple(replace(b, levels=(*b.levels, *extra.get(b.group, ()))) for b in design.blocks)
    )
    maps = bind_covariance(design.blocks, covariance)
    return Problem(design, family, bound, maps, resolve_priors(priors, design, family, bound, maps))
