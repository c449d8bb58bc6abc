"""From the graph's variables (sds, correlations, auxiliaries by name) to the engines' vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm import names
from bayesglmm.covariance import BlockCovariance
from bayesglmm.links import get_link
from bayesglmm.problem import Problem

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Values:
    """Parameters and random effects with any leading axes (chains, draws).

    Parameters
    ----------
    beta : ndarray, shape (..., p)
        Coefficients.
    theta : ndarray, shape (..., k)
        Covariance parameters, natural coordinates.
    psi : ndarray, shape (..., n_aux)
        Auxiliaries, unconstrained.
    effects : tuple of ndarray, shape (..., levels, q)
        Random effects b, one array per block.
    """

    beta: Floats
    theta: Floats
    psi: Floats
    effects: tuple[Floats, ...]


def variable_names(problem: Problem, *, effects: bool = True) -> list[str]:
    """Names of the graph's variables that say everything about a point; without `effects` about its parameters."""
    out = [names.COEFFICIENTS] if problem.design.columns else []
    for block, cov in zip(problem.design.blocks, problem.covariance):
        out += [names.group_variable(block.group)] if effects else []
        out.append(names.sd_variable(block.group))
        if names.has_correlation(cov):
            out.append(names.corr_variable(block.group))
    return out + [a.name for a in problem.auxiliaries]


def users_variables(problem: Problem, variables: Iterable[Any]) -> list[str]:
    """Names of those of a graph's variables that are not of the problem: what a user has added to it."""
    own = set(variable_names(problem))
    prefixes = tuple(f"{block.group}." for block in problem.design.blocks)
    return [v.name for v in variables if v.name not in own and not v.name.startswith(prefixes)]


def to_values(
    problem: Problem, get: Callable[[str], Any], leading: tuple[int, ...] = (), *, with_effects: bool = True
) -> Values:
    """Vectors of the named arrays.

    Parameters
    ----------
    problem : Problem
        The model.
    get : callable
        Name of a variable (see :func:`variable_names`) → array, shape (*leading, *its own).
    leading : tuple of int
        Sizes of the leading axes.
    with_effects : bool
        False leaves ``effects`` empty.
    """
    thetas, effects = [np.empty((*leading, 0))], []
    for block, cov in zip(problem.design.blocks, problem.covariance):
        if with_effects:
            effects.append(np.asarray(get(names.group_variable(block.group)), dtype=float))
        sd = np.asarray(get(names.sd_variable(block.group)), dtype=float)
        corr = get(names.corr_variable(block.group)) if names.has_correlation(cov) else None
        thetas.append(theta_of(cov, sd, corr))
    psi = [np.asarray(get_link(a.link).eta(np.asarray(get(a.name)))) for a in problem.auxiliaries]
    return Values(
        beta=np.asarray(get(names.COEFFICIENTS)) if problem.design.columns else np.empty((*leading, 0)),
        theta=np.concatenate(thetas, axis=-1),
        psi=np.stack(psi, axis=-1) if psi else np.empty((*leading, 0)),
        effects=tuple(effects),
    )


def theta_of(cov: BlockCovariance, sd: Floats, corr: Floats | None) -> Floats:
    """Natural θ of sds, shape (..., q), and correlations, shape (..., q, q), in any number of draws."""
    if corr is None and cov.n_params == sd.shape[-1]:
        return sd
    q = sd.shape[-1]
    flat_sd = sd.reshape(-1, q)
    flat_corr = np.broadcast_to(np.eye(q), (len(flat_sd), q, q)) if corr is None else corr.reshape(-1, q, q)
    theta = np.stack([cov.from_sd_corr(s, r) for s, r in zip(flat_sd, flat_corr)])
    return theta.reshape(*sd.shape[:-1], -1)


def scalars(variables: Mapping[str, Floats]) -> dict[str, Floats]:
    """Every entry of variables of shape (chains, draws, ...) by name: ``"shift"``, ``"knots[0]"``."""
    out = {}
    for name, values in variables.items():
        for at in np.ndindex(*values.shape[2:]):
            out[f"{name}[{', '.join(map(str, at))}]" if at else name] = values[(..., *at)]
    return out


def scalar_parameters(problem: Problem, get: Callable[[str], Any]) -> dict[str, Floats]:
    """Every parameter by the name the tables give it, each shape (chains, draws): what convergence is judged on."""
    out = {c: np.asarray(get(names.COEFFICIENTS))[..., j] for j, c in enumerate(problem.design.columns)}
    for block, cov in zip(problem.design.blocks, problem.covariance):
        sd = np.asarray(get(names.sd_variable(block.group)))
        scales = [columns[0] for term in names.scale_columns(block, cov) for columns in term]
        for j in map(block.columns.index, scales):
            out[names.sd_label(block, j, len(scales))] = sd[..., j]
        if names.has_correlation(cov):
            corr = np.asarray(get(names.corr_variable(block.group)))
            out |= {names.corr_label(block, i, j): corr[..., i, j] for i, j in names.correlated_pairs(cov)}
    return out | {a.name: np.asarray(get(a.name)) for a in problem.auxiliaries}
