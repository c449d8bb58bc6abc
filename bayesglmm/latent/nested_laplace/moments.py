"""Means, covariances and skewnesses of coefficients and random effects given the hyperparameters.

With W = −ℓ'', the density of the field about its mode x̂ is exp(−½ d'Jd + ⅙ Σ ℓ'''_i (c_i'd)³ + …), c_i = (a_i, x_i).
To first order in the third derivatives its cumulants are

    E x = x̂ + ½ J⁻¹ Σ c_i ℓ'''_i s_i,   s_i = c_i'J⁻¹c_i,      κ₃(e'x) = Σ ℓ'''_i (e'J⁻¹c_i)³,

the mean and the skewness of the simplified Laplace approximation (Rue, Martino & Chopin 2009, section 3.2.3) for every
coordinate at once: one solve, and sums over rows. For random effects the sum of κ₃ runs over the rows of their own
level: another level's rows reach them through β alone, which is of lower order in the number of levels.

``"variational"`` moves the mean instead to the maximum of E log p(y | x) + log p(x) under a normal with the covariance
kept at J⁻¹ (van Niekerk & Rue 2024, JMLR 25(62)), here over the whole field rather than a low-rank part of it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.elimination.blocks import NotPositiveDefiniteError
from bayesglmm.latent.nested_laplace.field import Field, FieldFactor
from bayesglmm.latent.nested_laplace.hyper import third_order

if TYPE_CHECKING:
    from bayesglmm.latent.mode import Mode
    from bayesglmm.latent.nested_laplace.coefficients import Coefficients
    from bayesglmm.latent.nested_laplace.effects import LevelMoments

Floats = NDArray[np.float64]

STRATEGIES = ("auto", "laplace", "simplified", "variational", "gaussian")
#: Largest skewness given to a skew-normal, whose own limit is 0.995.
MAX_SKEW = 0.9
#: Gauss-Hermite nodes for expectations of ℓ' and ℓ'' under a normal η.
NODES = 15


@dataclass(frozen=True)
class Moments:
    """The field at one point of hyperparameters.

    Parameters
    ----------
    mean : ndarray, shape (m + p,)
        Mean of (u, β).
    beta, beta_sd, beta_skew : ndarray, shape (p,)
        Coefficients.
    beta_cov : ndarray, shape (p, p)
        Their covariance.
    effects, effects_sd, effects_skew : tuple of ndarray, shape (levels, q)
        Random effects b = Λu, per grouping factor.
    """

    mean: Floats
    beta: Floats
    beta_sd: Floats
    beta_skew: Floats
    beta_cov: Floats
    effects: tuple[Floats, ...]
    effects_sd: tuple[Floats, ...]
    effects_skew: tuple[Floats, ...]


def field_moments(
    field: Field,
    mode: Mode,
    lambdas: tuple[Floats, ...],
    strategy: str,
    coefficients: Coefficients | None = None,
    levels: LevelMoments | None = None,
) -> Moments:
    """Moments of the field at its mode.

    Parameters
    ----------
    field, mode
        The field at some hyperparameters and its mode.
    lambdas : tuple of ndarray
        Λ per grouping factor.
    strategy : {"simplified", "variational", "gaussian", "laplace"}
        Which correction of the mean; skewnesses are zero for ``"gaussian"``.
    coefficients : Coefficients, optional
        Better moments of β, which the random effects then follow: u | β ~ N(· − K(β − E β), H⁻¹).
    levels : LevelMoments, optional
        Better moments of the random effects of a single grouping factor.
    """
    factor = mode.factor
    assert isinstance(factor, FieldFactor)
    with np.errstate(all="ignore"):
        mean = _MEANS[strategy](field, mode)
    beta_cov, half = factor.beta_covariance, factor.half
    if coefficients is not None:
        u, beta = field.split(mean)
        mean = np.concatenate([u - factor.K @ (coefficients.mean - beta), coefficients.mean])
        beta_cov, half = coefficients.covariance, np.linalg.cholesky(coefficients.covariance)
    beta_sd = np.sqrt(np.diag(beta_cov))
    layouts = factor.plan.structure.layouts
    effects_sd = tuple(
        np.sqrt(np.einsum("rs,jst,rt->jr", L, own, L)) for L, own in zip(lambdas, factor.level_covariances(half))
    )
    skews: tuple[Floats, ...] = tuple(np.zeros((b.levels, b.size)) for b in layouts)
    beta_skew = np.zeros_like(beta_sd)
    if strategy != "gaussian":
        beta_skew = _clip(_beta_third(field, mode, factor), beta_sd)
        skews = tuple(_clip(k, sd) for k, sd in zip(_effect_thirds(mode, factor, lambdas), effects_sd))
    u, beta = field.split(mean)
    effects = factor.plan.structure.effects(lambdas, u)
    if levels is not None:
        effects, effects_sd = (levels.mean,), (np.sqrt(levels.variance),)
        skews = (_clip(levels.third, effects_sd[0]),)
    return Moments(mean, beta, beta_sd, beta_skew, beta_cov, effects, effects_sd, skews)


def _clip(third: Floats, sd: Floats) -> Floats:
    """Skewness of a third cumulant, within what a skew-normal can have; zero where there is no spread."""
    skew = np.divide(third, sd**3, out=np.zeros_like(third), where=sd > 0)
    return np.clip(np.nan_to_num(skew), -MAX_SKEW, MAX_SKEW)


def _beta_third(field: Field, mode: Mode, factor: FieldFactor) -> Floats:
    of_rows = mode.derivatives.d3 @ factor.beta_rows**3
    return of_rows + field.priors.expand(factor.beta_covariance) ** 3 @ field.bends(mode.u)[1]


def _effect_thirds(mode: Mode, factor: FieldFactor, lambdas: tuple[Floats, ...]) -> list[Floats]:
    out = []
    for b, L in zip(factor.plan.structure.layouts, lambdas):
        reach = factor.row_inverse[:, b.column : b.column + b.size] @ L.T
        weighted = mode.derivatives.d3[:, None] * reach**3
        out.append(np.column_stack([np.bincount(b.codes, weighted[:, r], b.levels) for r in range(b.size)]))
    return out


def _mode(field: Field, mode: Mode) -> Floats:
    return mode.u


def _first_order(field: Field, mode: Mode) -> Floats:
    """x̂ + ½ J⁻¹ Σ c_i ℓ'''_i s_i."""
    curved, pull = third_order(field, mode)
    assert mode.factor is not None
    moved = mode.u + mode.factor.solve(field.rows.collect(curved) + pull)
    return moved if np.all(np.isfinite(moved)) else mode.u


def _variational(field: Field, mode: Mode) -> Floats:
    """Newton steps on the expected log-density; stops where they fail to shrink."""
    factor = mode.factor
    assert isinstance(factor, FieldFactor)
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    weights = weights / weights.sum()
    reach = nodes[:, None] * np.sqrt(np.maximum(factor.row_quad, 0.0))
    structure = field.loadings.structure
    x, best, before = mode.u, mode.u, np.inf
    for _ in range(30):
        d = field.kernel.derivatives(field.fixed + field.rows.expand(x) + reach, field.psi)
        u, beta = field.split(x)
        own = np.concatenate([-structure.penalty(u), field.priors(beta)[1]])
        gradient = field.rows.collect(weights @ d.d1) + own
        if not np.all(np.isfinite(gradient)):
            break
        with suppress(NotPositiveDefiniteError):  # the factor at hand still gives a direction
            factor = field.rows.factorize(-(weights @ d.d2), field.precision(x))
        step = factor.solve(gradient)
        decrement = float(np.sqrt(max(float(gradient @ step), 0.0)))
        if not decrement < 2.0 * before:
            break
        best, before, x = x, min(before, decrement), x + step
        if decrement < 1e-8:
            return x
    return best


_MEANS = {"gaussian": _mode, "simplified": _first_order, "laplace": _first_order, "variational": _variational}
