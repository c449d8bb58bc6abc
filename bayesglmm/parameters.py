"""Parameters by name: from ``{"Intercept": 1.0, "herd.sd": 0.6}`` to the engines' vectors, and back.

Names are coefficient columns, ``"<group>.sd"`` (a number, or one per column), ``"<group>.corr"`` (a matrix; a
number when there are two columns), and the family's auxiliaries (``"sigma"``, ``"theta"``, ...), all on their natural
scale; the coefficients of an auxiliary's own linear predictor (``"zi[Intercept]"``) are on its link's.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm import names
from bayesglmm.arguments import mapping, takes
from bayesglmm.covariance import sd_corr
from bayesglmm.errors import MethodError
from bayesglmm.links import get_link
from bayesglmm.problem import Problem

if TYPE_CHECKING:
    from bayesglmm.design.types import Design
    from bayesglmm.result import Draws

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Parameters:
    """A point in parameter space: coefficients, covariance parameters (natural), auxiliaries (unconstrained)."""

    beta: Floats
    theta: Floats
    psi: Floats


def theta_slices(problem: Problem) -> tuple[slice, ...]:
    """Where each block's covariance parameters stand in θ."""
    ends = np.cumsum([0, *(c.n_params for c in problem.covariance)])
    return tuple(slice(int(a), int(b)) for a, b in itertools.pairwise(ends))


def parameter_names(problem: Problem) -> list[str]:
    """Every name :func:`pack` expects."""
    out = list(problem.design.columns)
    for block, covariance in zip(problem.design.blocks, problem.covariance):
        out.append(f"{block.group}.sd")
        if names.has_correlation(covariance):
            out.append(f"{block.group}.corr")
    return out + error_names(problem) + [a.name for a in problem.auxiliaries]


def error_names(problem: Problem) -> list[str]:
    """Names of the parameters of the errors' correlation, which end θ: ``"errors.rho"``."""
    return [] if problem.errors is None else [f"errors.{name}" for name in problem.errors.names]


@takes(values=mapping)
def pack(problem: Problem, values: Mapping[str, Any]) -> Parameters:
    """Vectors of named parameter values.

    Parameters
    ----------
    problem : Problem
        The model.
    values : mapping
        Name → value; correlations may be left out (zero), everything else must be there.

    Raises
    ------
    MethodError
        An unknown, missing or misshapen parameter.
    """
    known = parameter_names(problem)
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise MethodError(f"unknown parameter {name!r}.{hint} This model has: {', '.join(known)}.")
    missing = [n for n in known if n not in values and not n.endswith(".corr")]
    if missing:
        raise MethodError(f"no value given for {', '.join(missing)}. This model has: {', '.join(known)}.")
    beta = np.array([float(values[c]) for c in problem.design.columns])
    theta = [_pack_block(problem, k, values) for k in range(len(problem.design.blocks))]
    theta.append(np.array([float(values[name]) for name in error_names(problem)]))
    psi = [float(get_link(a.link).eta(np.asarray(values[a.name], float))) for a in problem.auxiliaries]
    return Parameters(beta, np.concatenate([*theta, np.empty(0)]), np.array(psi))


def _pack_block(problem: Problem, k: int, values: Mapping[str, Any]) -> Floats:
    block, covariance = problem.design.blocks[k], problem.covariance[k]
    q = len(block.columns)
    sd = np.asarray(values[f"{block.group}.sd"], dtype=float)
    if sd.ndim > 1 or sd.size not in (1, q) or np.any(sd < 0):
        raise MethodError(f"{block.group}.sd is {sd.tolist()}; expected {q} non-negative number(s).")
    corr = np.asarray(values.get(f"{block.group}.corr", np.eye(q)), dtype=float)
    if corr.ndim == 0 and q == 2:
        corr = np.array([[1.0, float(corr)], [float(corr), 1.0]])
    if corr.shape != (q, q) or not np.allclose(np.diag(corr), 1.0) or np.linalg.eigvalsh(corr)[0] < -1e-10:
        raise MethodError(f"{block.group}.corr must be a {q} x {q} correlation matrix.")
    return covariance.from_sd_corr(np.broadcast_to(sd, (q,)), corr)


def unpack(problem: Problem, point: Parameters) -> dict[str, Any]:
    """Named values of a point; the inverse of :func:`pack`."""
    values: dict[str, Any] = dict(zip(problem.design.columns, map(float, point.beta)))
    known = parameter_names(problem)
    for block, covariance, where in zip(problem.design.blocks, problem.covariance, theta_slices(problem)):
        sd, corr = covariance.sd_corr(point.theta[where])
        values[f"{block.group}.sd"] = float(sd[0]) if len(sd) == 1 else sd
        if f"{block.group}.corr" in known:
            values[f"{block.group}.corr"] = corr
    own = error_names(problem)
    values |= dict(zip(own, map(float, point.theta[len(point.theta) - len(own) :])))
    for auxiliary, value in zip(problem.auxiliaries, point.psi):
        values[auxiliary.name] = float(get_link(auxiliary.link).mean(np.asarray(value)))
    return values


def auxiliary_values(problem: Problem, psi: Floats, design: Design | None = None) -> tuple[Any, ...]:
    """Auxiliaries on their natural scale, from unconstrained ψ.

    Parameters
    ----------
    problem : Problem
        The model.
    psi : ndarray, shape (n_aux,)
        One entry per ``problem.auxiliaries``.
    design : Design, optional
        Rows to take them at; the problem's own when left out.

    Returns
    -------
    tuple
        One number per auxiliary of the family; an array, shape (n,), for one with a linear predictor.
    """
    out: list[Any] = []
    start = 0
    for auxiliary, X in zip(problem.family.auxiliaries, problem.aux_designs(design or problem.design)):
        link = get_link(auxiliary.link)
        if X is None:
            out.append(float(link.mean(np.asarray(psi[start], dtype=float))) if start < len(psi) else np.nan)
            start += 1
        else:
            out.append(link.mean(X @ psi[start : start + X.shape[1]]))
            start += X.shape[1]
    return tuple(out) if len(psi) else ()


def psi_of_draws(problem: Problem, psi: Floats, design: Design | None = None) -> Floats:
    """ψ of draws as families are drawn from: as it is, shape (draws, n_aux), or per row, (n_aux, draws, n)."""
    design = design or problem.design
    if not design.auxiliaries:
        return psi
    from bayesglmm.families.kernels.modelled import expand_rows

    return expand_rows(problem.aux_designs(design), psi)


def response_mean(problem: Problem, eta: Floats, psi: Floats, design: Design | None = None) -> Floats:
    """E(y) of every row (a proportion when there are trials): μ, but for zero-inflated and hurdle families.

    Parameters
    ----------
    problem : Problem
        The model.
    eta : ndarray, shape (n,)
        Linear predictors.
    psi : ndarray, shape (n_aux,)
        Auxiliaries, unconstrained.
    design : Design, optional
        The rows of `eta`; the problem's own when left out.
    """
    mu = problem.link.mean(eta)
    if problem.family.expectation is None:
        return mu
    return problem.family.expectation(mu, auxiliary_values(problem, psi, design))


def likelihood_scale(problem: Problem, psi: Floats) -> float:
    """φ of a likelihood: what the family fixes, or what its auxiliaries say; 1 where every row has its own."""
    family = problem.family
    if family.scale is not None or family.dispersion is None:
        return 1.0 if family.scale is None else float(family.scale)
    phi = np.asarray(family.dispersion(auxiliary_values(problem, psi)))
    return 1.0 if phi.ndim else float(phi)


def row_dispersion(problem: Problem, psi: Floats) -> Floats | None:
    """φ_i of every row, shape (n,), under a dispersion model; None where one φ holds for all rows."""
    family = problem.family
    if family.scale is not None or family.dispersion is None or not problem.design.auxiliaries:
        return None
    phi = np.asarray(family.dispersion(auxiliary_values(problem, psi)), dtype=float)
    return phi if phi.ndim else None


def posterior_variables(problem: Problem, draws: Draws) -> dict[str, Floats]:
    """Draws as the variables a user knows: coefficients, random effects, sds, correlations, auxiliaries."""
    out: dict[str, Floats] = {names.COEFFICIENTS: draws.beta}
    for k, (block, where) in enumerate(zip(problem.design.blocks, theta_slices(problem))):
        covariance = problem.covariance[k]
        flat = draws.theta[..., where].reshape(-1, covariance.n_params)
        sd, corr = sd_corr(covariance.factor(flat))
        shape = draws.beta.shape[:2]
        out[names.sd_variable(block.group)] = sd.reshape(*shape, -1)
        if names.has_correlation(covariance):
            out[names.corr_variable(block.group)] = corr.reshape(*shape, *corr.shape[-2:])
        out[names.group_variable(block.group)] = draws.effects[k]
    for j, auxiliary in enumerate(problem.auxiliaries):
        out[auxiliary.name] = np.asarray(get_link(auxiliary.link).mean(draws.psi[..., j]))
    return out


def mean_theta(problem: Problem, theta: Floats) -> Floats:
    """θ of the means of sds and correlations over draws, shape (draws, k)."""
    out, start = [np.empty(0)], 0
    for cov in problem.covariance:
        sd, corr = sd_corr(cov.factor(theta[:, start : start + cov.n_params]))
        start += cov.n_params
        out.append(cov.from_sd_corr(sd.mean(axis=0), corr.mean(axis=0)))
    return np.concatenate(out)


def mean_psi(problem: Problem, psi: Floats) -> Floats:
    """ψ of the means of auxiliaries, on their natural scale, over draws, shape (draws, n_aux)."""
    links = [get_link(a.link) for a in problem.auxiliaries]
    natural = [float(np.mean(link.mean(psi[:, j]))) for j, link in enumerate(links)]
    return np.array([float(link.eta(np.asarray(v))) for link, v in zip(links, natural)])
