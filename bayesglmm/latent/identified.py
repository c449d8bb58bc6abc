"""Which parameters the data do not tell apart, by the curvature at the optimum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.curvature import Curvature
from bayesglmm.latent.target import Coordinates
from bayesglmm.problem import Problem

Floats = NDArray[np.float64]

#: Curvature of a direction of variances and shapes, relative to that of its parameters alone, that is next to nothing.
#: Along a curved ridge the differences of the gradient cannot show less than about 1e-4.
HARDLY = 1e-3


def identification_notes(problem: Problem, coordinates: Coordinates, curvature: Curvature) -> tuple[str, ...]:
    """Name the parameters that the flattest direction mixes; nothing where all are told apart.

    Parameters
    ----------
    problem : Problem
        For the names.
    coordinates : Coordinates
        Meaning of the optimiser's vector.
    curvature : Curvature
        At the optimum.
    """
    names = list(problem.design.columns)
    for block, cov in zip(problem.design.blocks, coordinates.covariance):
        names += [f"the covariance of {block.group}"] * cov.n_params
    names += [a.name for a in problem.auxiliaries]
    if not curvature.definite:
        size = np.abs(curvature.worst) * np.sqrt(np.abs(np.diag(curvature.information)))
        return (f"not identified by the data, alone or apart from each other: {_mixed(names, size)}",)
    ridge = _ridge(curvature, coordinates.p)
    return () if ridge is None else (f"the data hardly tell apart the parameters of {_mixed(names, ridge)}",)


def _mixed(names: list[str], size: Floats) -> str:
    return ", ".join(dict.fromkeys(n for n, s in zip(names, size) if s > 0.2 * size.max()))


def _ridge(curvature: Curvature, p: int) -> Floats | None:
    """Sizes of the parts of a nearly flat direction among variances and shapes, β profiled out; None without one."""
    keep = curvature.free & (np.arange(len(curvature.free)) >= p)
    if keep.sum() < 2:
        return None
    information = np.linalg.inv(curvature.covariance[np.ix_(keep, keep)])
    scale = 1.0 / np.sqrt(np.abs(np.diag(information)))
    values, vectors = np.linalg.eigh(information * np.outer(scale, scale))
    if not values[0] < HARDLY:
        return None
    size = np.zeros(len(keep))
    size[keep] = np.abs(vectors[:, 0])
    return size
