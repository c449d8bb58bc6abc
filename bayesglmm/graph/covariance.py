"""Covariance forms as PyMC graphs: from a term's priors to its factor Λ, named as :mod:`bayesglmm.names` says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from bayesglmm import names
from bayesglmm.covariance import BlockCovariance
from bayesglmm.design.types import RandomBlock
from bayesglmm.errors import MethodError
from bayesglmm.graph.priors import scalar, scales_distribution, vector, wishart_factor
from bayesglmm.latent.elimination.ordering import MEMORY_LIMIT
from bayesglmm.priors import TermPriors


class TermFactor(NamedTuple):
    """A term's sds (q,) and the lower-triangular factor C (q, q) of its correlations, None for the identity."""

    sd: Any
    factor: Any


#: (name of a part → variable name, priors, number of columns) → TermFactor
Builder = Callable[[Callable[[str], str], TermPriors, int], TermFactor]


def _diagonal(name: Callable[[str], str], priors: TermPriors, q: int) -> TermFactor:
    return TermFactor(vector(name("scale"), priors.scales, [str(i) for i in range(q)]), None)


def _unstructured(name: Callable[[str], str], priors: TermPriors, q: int) -> TermFactor:
    """Packed Cholesky factor with an LKJ or a Wishart prior (PyMC's own coordinates: its diagonal on the log scale)."""
    start = np.eye(q)[np.tril_indices(q)]  # PyMC would draw the sds, and flat ones cannot be drawn
    if priors.covariance is not None:
        packed = wishart_factor(name("chol"), priors.covariance, start)
    elif priors.correlation is None:
        return _diagonal(name, priors, q)
    else:
        packed = pm.LKJCholeskyCov(
            name("chol"),
            eta=dict(priors.correlation.params)["eta"],
            n=q,
            sd_dist=scales_distribution(priors.scales),
            compute_corr=False,
            initval=start,
        )
    L = pm.math.expand_packed_triangular(q, packed, lower=True)
    sd = pt.sqrt(pt.sum(pt.sqr(L), axis=1))
    return TermFactor(sd, L / sd[:, None])


def _exchangeable(name: Callable[[str], str], priors: TermPriors, q: int) -> TermFactor:
    """One correlation ρ for every pair: the Cholesky factor of (1 − ρ)I + ρJ in closed form."""
    sd = _diagonal(name, priors, q).sd
    if priors.correlation is None:
        return TermFactor(sd, None)
    rho = scalar(name("rho"), priors.correlation)
    order = np.arange(q)
    below = 1.0 + (order - 1) * rho
    diagonal = pt.sqrt((1.0 - rho) * (1.0 + order * rho) / below)
    column = rho * (1.0 - rho) / (below * diagonal)
    strict = np.tril(np.ones((q, q)), -1)
    return TermFactor(sd, pt.diag(diagonal) + column[None, :] * strict)


def _autoregressive(name: Callable[[str], str], priors: TermPriors, q: int) -> TermFactor:
    """Correlation ρ^|i−j| and one sd: Cholesky entries ρ^(i−j) √(1 − ρ²), without the root in the first column."""
    sd = pt.repeat(scalar(name("scale"), priors.scales[0])[None], q)
    if priors.correlation is None:
        return TermFactor(sd, None)
    rho = scalar(name("rho"), priors.correlation)
    powers = [pt.ones_like(rho)]  # products, because the gradient of ρ**k is not a number at ρ = 0
    for _ in range(q - 1):
        powers.append(powers[-1] * rho)
    lag = np.subtract.outer(np.arange(q), np.arange(q))
    toeplitz = pt.stack(powers)[np.abs(lag)] * (lag >= 0)
    first = np.arange(q) == 0
    return TermFactor(sd, toeplitz * pt.switch(first, 1.0, pt.sqrt(1.0 - pt.sqr(rho)))[None, :])


BUILDERS: dict[str, Builder] = {
    "unstructured": _unstructured,
    "diagonal": _diagonal,
    "cs": _exchangeable,
    "ar1": _autoregressive,
}


class BlockFactor(NamedTuple):
    """Standard deviations of all columns of a grouping factor (q,), and the correlation factor of every term."""

    sd: Any
    terms: list[TermFactor]


def block_factor(block: RandomBlock, cov: BlockCovariance, priors: Sequence[TermPriors]) -> BlockFactor:
    """Register sds and correlations of a grouping factor."""
    group = block.group
    columns = names.column_dim(group)
    if not names.has_correlation(cov):  # only sds: one vector variable, whatever the terms
        scales = [p for term in priors for p in term.scales]
        sd = vector(names.sd_variable(group), scales, block.columns, columns)
        return BlockFactor(sd, [TermFactor(sd[t.start : t.stop], None) for t in cov.terms])
    factors = _term_factors(block, cov, priors)
    sd = pm.Deterministic(names.sd_variable(group), pt.concatenate([f.sd for f in factors]), dims=columns)
    corr_dims = (columns, names.column_dim_bis(group))
    pm.Deterministic(names.corr_variable(group), _correlations(cov, factors), dims=corr_dims)
    return BlockFactor(sd, factors)


def random_effects(
    block: RandomBlock, cov: BlockCovariance, priors: Sequence[TermPriors], centred: bool = False
) -> Any:
    """Random effects b of a grouping factor, shape (levels, q); registers every variable of it.

    Non-centred, b = A u Λ', with u standard normal, Λ = diag(sd) C per term, and A a factor of the known covariance
    between levels (the identity without one): the sampler moves in u. Centred, it moves in b itself, whose density is
    N(0, ΛΛ') per level.

    Raises
    ------
    MethodError
        Centred effects of levels with a known covariance.
    """
    group = block.group
    dims = (names.level_dim(group), names.column_dim(group))
    sd, factors = block_factor(block, cov, priors)
    if centred:
        return _centred(cov, sd, factors, group, dims)
    u = pm.Normal(names.standardised_variable(group), 0.0, 1.0, dims=dims)
    if cov.precision is not None:
        u = pt.dot(level_factor(cov), u)
    mixed = [
        u[:, t.start : t.stop] if f.factor is None else pt.dot(u[:, t.start : t.stop], f.factor.T)
        for t, f in zip(cov.terms, factors)
    ]
    standard = mixed[0] if len(mixed) == 1 else pt.concatenate(mixed, axis=1)
    return pm.Deterministic(names.group_variable(group), standard * sd[None, :], dims=dims)


def _centred(cov: BlockCovariance, sd: Any, factors: Sequence[TermFactor], group: str, dims: tuple[str, str]) -> Any:
    """Random effects as free variables."""
    if cov.precision is not None:
        raise MethodError(f"the levels of {group} have a known covariance: their effects cannot be centred.")
    variable = names.group_variable(group)
    if all(f.factor is None for f in factors):
        return pm.Normal(variable, 0.0, sd[None, :], dims=dims)
    return pm.MvNormal(variable, mu=np.zeros(cov.size), chol=_lambda(cov, sd, factors), dims=dims)


def lambda_factor(block: RandomBlock, cov: BlockCovariance, priors: Sequence[TermPriors]) -> Any:
    """Λ of a grouping factor, shape (q, q), for random effects that are integrated out."""
    sd, factors = block_factor(block, cov, priors)
    return _lambda(cov, sd, factors)


def _lambda(cov: BlockCovariance, sd: Any, factors: Sequence[TermFactor]) -> Any:
    C = pt.eye(cov.size)
    for t, f in zip(cov.terms, factors):
        if f.factor is not None:
            C = C[t.start : t.stop, t.start : t.stop].set(f.factor)
    return sd[:, None] * C


def _term_factors(block: RandomBlock, cov: BlockCovariance, priors: Sequence[TermPriors]) -> list[TermFactor]:
    n_terms = len(block.terms)
    factors = []
    for k, (term, form) in enumerate(zip(cov.terms, cov.forms)):
        if form.name not in BUILDERS:
            raise MethodError(f"the covariance form {form.name!r} has no PyMC graph; known: {', '.join(BUILDERS)}.")
        name = lambda part, k=k: names.part_variable(block.group, part, k, n_terms)  # noqa: E731
        factors.append(BUILDERS[form.name](name, priors[k], term.size))
    return factors


def _correlations(cov: BlockCovariance, factors: Sequence[TermFactor]) -> Any:
    corr = pt.eye(cov.size)
    for t, f in zip(cov.terms, factors):
        if f.factor is not None:
            corr = corr[t.start : t.stop, t.start : t.stop].set(pt.dot(f.factor, f.factor.T))
    return corr


def level_factor(cov: BlockCovariance) -> np.ndarray:
    """A with AA' = K for a known between-level covariance K, from its precision P = LL': A = L⁻ᵀ.

    Raises
    ------
    MethodError
        When K, which is dense, would not fit in memory.
    """
    needed = 4 * 8.0 * cov.precision.shape[0] ** 2
    if needed > MEMORY_LIMIT:
        raise MethodError(
            f"the PyMC graph takes a known covariance of {cov.precision.shape[0]} levels as a dense factor: about "
            f"{needed / 2**30:.0f} GB of memory (the limit is {MEMORY_LIMIT / 2**30:.0f} GB). 'laplace' and, for "
            "Gaussian models, 'reml' work with a sparse precision as it is."
        )
    L = np.linalg.cholesky(cov.precision.toarray())
    return np.linalg.solve(L, np.eye(len(L))).T
