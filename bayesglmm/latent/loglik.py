"""The log marginal likelihood as a plain function of named quantities, with its gradient: for graphs and samplers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.mode import Warm
from bayesglmm.latent.objective import make_objective
from bayesglmm.latent.threads import one_thread
from bayesglmm.links import get_link

if TYPE_CHECKING:
    from bayesglmm.latent.mode import Mode
    from bayesglmm.problem import Problem

Floats = NDArray[np.float64]


class MarginalLoglik:
    """(β, Λ per grouping factor, auxiliaries) → log marginal likelihood and its gradient in each of them.

    An evaluation starts at the conditional modes of the last one that had any: the only thing it remembers.

    Parameters
    ----------
    problem : Problem
        The model.
    nodes : int or (int, int)
        Quadrature nodes per dimension; 1 is Laplace's approximation.
    kernel : {"auto", "graph"}
        Closed forms where there are some, or derivatives of the PyMC graph.
    """

    def __init__(self, problem: Problem, nodes: Any = 1, kernel: str = "auto") -> None:
        self._objective = make_objective(problem, nodes, kernel)
        self._links = [get_link(a.link) for a in problem.auxiliaries]
        self._last: Mode | None = None

    def __call__(self, beta: Floats, lambdas: Sequence[Floats], auxiliaries: Floats) -> tuple[float, list[Floats]]:
        """Evaluate.

        Parameters
        ----------
        beta : ndarray, shape (p,)
            Coefficients.
        lambdas : sequence of ndarray, shape (q, q)
            Lower-triangular factors of the covariance matrices of the random effects.
        auxiliaries : ndarray, shape (n_aux,)
            Natural scale.

        Returns
        -------
        value : float
            −inf where the random effects have no mode.
        gradient : list of ndarray
            In beta, every Λ and the auxiliaries, in this order and of their shapes; zero where the value is −inf.
        """
        inputs = [beta, *lambdas, auxiliaries]
        psi = np.array([float(link.eta(np.asarray(v))) for link, v in zip(self._links, auxiliaries)])
        if not all(np.all(np.isfinite(v)) for v in (*inputs, psi)):
            return -np.inf, [np.zeros(np.shape(v)) for v in inputs]
        start = None if self._last is None else Warm(self._last.u)
        with one_thread():
            at = self._objective.at_factors(beta, lambdas, psi, start)
        if at.gradient is None:
            return -np.inf, [np.zeros(np.shape(v)) for v in inputs]
        self._last = at.mode
        slopes = np.array([float(link.slope(np.asarray(v))) for link, v in zip(self._links, psi)])
        g = at.gradient
        return at.value, [g.beta, *g.lambdas, g.psi / slopes if len(psi) else g.psi]
