"""Parameters by name: from ``{"Intercept": 1.0, "herd.sd": 0.6}`` to the engines' vectors, and back.

Names are coefficient columns, ``"<group>.sd"`` (a number, or one per column), ``"<group>.corr"`` (a matrix; a
number when there are two columns), and the family's auxiliaries (``"sigma"``, ``"theta"``, ...), all on their natural
scale.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.links import get_link
from bayesglmm.problem import Problem

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
    names = list(problem.design.columns)
    for block in problem.design.blocks:
        names.append(f"{block.group}.sd")
        if any(t.correlated and t.size > 1 for t in block.terms):
            names.append(f"{block.group}.corr")
    return names + [a.name for a in problem.family.auxiliaries]


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
    psi = [float(get_link(a.link).eta(np.asarray(values[a.name], float))) for a in problem.family.auxiliaries]
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
    for auxiliary, value in zip(problem.family.auxiliaries, point.psi):
        values[auxiliary.name] = float(get_link(auxiliary.link).mean(np.asarray(value)))
    return values


def auxiliary_values(problem: Problem, psi: Floats) -> tuple[float, ...]:
    """Auxiliaries on their natural scale, from unconstrained ψ."""
    return tuple(
        float(get_link(a.link).mean(np.asarray(v, dtype=float))) for a, v in zip(problem.family.auxiliaries, psi)
    )


def likelihood_scale(problem: Problem, psi: Floats) -> float:
    """φ of a likelihood: what the family fixes, or what its auxiliaries say."""
    family = problem.family
    if family.scale is not None or family.dispersion is None:
        return 1.0 if family.scale is None else float(family.scale)
    return float(family.dispersion(auxiliary_values(problem, psi)))
