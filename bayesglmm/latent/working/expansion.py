"""The working response of PQL and MQL: the response expanded at a linear predictor, to first or second order.

First order (Breslow & Clayton 1993, JASA 88, eq. 11): with η₀ the point, μ, μ', V there and W = w μ'²/V,

    z = η₀ + (y − μ)/μ',   Var(z | b) = φ/W.

Second order (Goldstein & Rasbash 1996, JRSS A 159, 505-513; Goldstein 1991, Biometrika 78, 45-51): of the next Taylor
term ½ μ''(η₀)(δ_i)², δ_i the part of η_i that is random about η₀, the mean goes into the working response and the
variance into its variance. With v_i = Var(δ_i), κ = μ''/μ', and δ normal (E δ² = v, Var δ² = 2v², Cov(δ, δ²) = 0),

    z = η₀ + (y − μ)/μ' − ½ κv,

    MQL-2:  Var(z) = diag(φ/W) + D ZΛΛ'Z' D,   D = diag √(1 + ½ κ²v),   v_i = z_i'ΛΛ'z_i (in the model)
    PQL-2:  Var(z | b) = φ/W + ½ κ²v²/w,                                v_i = σ² z_i'ΛH⁻¹Λ'z_i (given the data).

MQL-2 thus has the random part's second-order variance v + ½κ²v² in every row, shared within levels as the random part
is (the covariances ½κ_iκ_k Cov(δ_i, δ_k)² themselves where κ is one number and the term a scalar one). In PQL-2 what is
left of the quadratic term given the data is variation of rows, at level 1: of the single trial or unit of weight (hence
/w), so that splitting a binomial row into its trials changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.elimination.structure import Structure
from bayesglmm.latent.linear.solution import Solution
from bayesglmm.parameters import auxiliary_values
from bayesglmm.problem import Problem
from bayesglmm.scores.working import working_quantities

Floats = NDArray[np.float64]

#: Working weights are kept above this: a row whose mean is at the end of its range carries no information.
SMALLEST_WEIGHT = 1e-200


@dataclass(frozen=True)
class Place:
    """Where a response is expanded.

    Parameters
    ----------
    eta : ndarray, shape (n,)
        Linear predictor.
    psi : ndarray, shape (n_aux,)
        Auxiliaries, unconstrained.
    spread : ndarray, shape (n,), or None
        v, the variance of the random part about `eta`; None for an expansion of first order.
    scale : float
        φ, as far as the second-order variance needs it.
    """

    eta: Floats
    psi: Floats
    spread: Floats | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Expansion:
    """The working response (less the offset) and weights at one place, each of shape (n,).

    Parameters
    ----------
    z, weights : ndarray, shape (n,)
        Response, and φ over its variance.
    bend : ndarray, shape (n,), or None
        κ = μ''/μ', for an expansion of second order.
    stretch : ndarray, shape (n,), or None
        D, what the random part's columns are multiplied by, for MQL-2.
    """

    z: Floats
    weights: Floats
    bend: Floats | None = None
    stretch: Floats | None = None


def expand(problem: Problem, place: Place, marginal: bool = False) -> Expansion:
    """Working response and weights at a place; `marginal` for MQL, whose second-order variance is the random part's."""
    aux = auxiliary_values(problem, place.psi)
    work = working_quantities(problem.family, problem.link, place.eta, problem.mean_response, problem.case_weights, aux)
    z, weights = place.eta - problem.design.offset + work.residual, work.weight
    if place.spread is None:
        return Expansion(z, np.maximum(weights, SMALLEST_WEIGHT))
    with np.errstate(all="ignore"):
        bend = problem.link.curvature(place.eta) / work.slope
    bend = np.where(np.isfinite(bend) & (weights > 0.0), bend, 0.0)
    shift = 0.5 * place.spread * bend
    if marginal:
        stretch = np.sqrt(1.0 + shift * bend)
        return Expansion(z - shift, np.maximum(weights, SMALLEST_WEIGHT), bend, stretch)
    one = weights / np.maximum(problem.case_weights, SMALLEST_WEIGHT)  # the weight of a single trial
    weights = weights / (1.0 + one * 2.0 * np.square(shift) / place.scale)
    return Expansion(z - shift, np.maximum(weights, SMALLEST_WEIGHT), bend)


def random_variance(structure: Structure, at: Solution, marginal: bool) -> Floats:
    """Variance of every row's random part: of the model itself when `marginal`, else given the data; shape (n,)."""
    if not structure.m:
        return np.zeros(structure.n)
    # without data H is the prior precision
    factor = structure.at(at.lambdas).factorize(np.zeros(structure.n)) if marginal else at.factor
    return at.scale * np.maximum(factor.row_quad, 0.0)


def second_order_mean(problem: Problem, place: Place) -> Floats:
    """E(y) about a place to second order, μ + ½ v μ''; μ itself for an expansion of first order."""
    mu = problem.link.mean(place.eta)
    return mu if place.spread is None else mu + 0.5 * place.spread * problem.link.curvature(place.eta)
