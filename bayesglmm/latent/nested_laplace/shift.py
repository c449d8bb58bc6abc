"""How far Laplace's approximation of the random effects moves posterior means: a first-order answer in milliseconds.

With e(x) = log of the exact integral over the random effects less Laplace's, x = (β, ϑ), a posterior that is nearly
normal with covariance C has its means moved by C∇e. In sds no linear combination of the parameters moves by more than
√(∇e' C ∇e). One gradient by quadrature with few nodes, at the mode, gives it; C is at hand: β given ϑ has the field's
covariance, and the coefficients' mode moves with ϑ as the field's does.

Measured on the shipped models: 0.86 on ``ohio`` (four binary responses per child) and 1.2 on ``rodriguez_goldman``
(children of mothers of communities), where Laplace is wrong by about as much; 0.11 at most on the others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bayesglmm.latent.laplace_error import affordable, can_look, looking_nodes
from bayesglmm.latent.mode import Warm
from bayesglmm.latent.quadrature.nodes import Nodes
from bayesglmm.latent.target import make_target

if TYPE_CHECKING:
    from bayesglmm.latent.nested_laplace.hyper import HyperTarget
    from bayesglmm.latent.outer import Optimum
    from bayesglmm.problem import Problem


def laplace_shift(
    problem: Problem, target: HyperTarget, optimum: Optimum, kernel: str, nodes: Nodes = 1, more: Nodes | None = None
) -> float:
    """Most sds by which an integral with few nodes moves the posterior mean of a linear combination of parameters.

    Parameters
    ----------
    problem, target, optimum
        The model, the hyperparameters' posterior by the field's approximation, and its mode.
    kernel : {"auto", "graph"}
        Which kernel to use.
    nodes : int or (int, int)
        Whose error is asked for; 1 is Laplace.
    more : int or (int, int), optional
        Nodes that stand for the integral itself.

    Returns
    -------
    float
        NaN where there is no quadrature for the model, where it would take too long, or where it fails.
    """
    structure = target.objective.structure
    if not can_look(structure):
        return np.nan
    more = looking_nodes(structure) if more is None else more
    if not affordable(structure, more):
        return np.nan
    whole = make_target(replace(problem, priors=target.priors), 1, kernel)
    _, theta, psi = target.coordinates.split(optimum.point.x)
    u, beta = target.field(optimum.point.x).split(optimum.point.mode.u)
    x = whole.coordinates.join(beta, theta, psi)
    gradients = [replace(whole, objective=replace(whole.objective, nodes=k)).at(x, Warm(u)) for k in (nodes, more)]
    if not all(np.isfinite(point.value) for point in gradients):
        return np.nan
    difference = gradients[1].gradient - gradients[0].gradient
    p = len(beta)
    own, hyper = difference[:p], difference[p:]
    # What the hyperparameters gain by way of the coefficients that follow them.
    hyper = hyper + optimum.curvature.mode_slopes[len(u) :].T @ own
    factor = optimum.point.mode.factor
    total = own @ factor.beta_covariance @ own + hyper @ optimum.curvature.covariance @ hyper  # type: ignore[union-attr]
    return float(np.sqrt(max(float(total), 0.0)))
