"""The model as a PyMC graph with the random effects integrated out: a handful of parameters, whatever the data."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.gradient import DisconnectedType, grad_not_implemented
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import generate_fallback_impl, numba_funcify

from bayesglmm.graph.covariance import lambda_factor
from bayesglmm.graph.decorrelate import Whitening
from bayesglmm.graph.model import coords, problem_priors
from bayesglmm.graph.priors import auxiliaries, coefficients
from bayesglmm.problem import Problem

Floats = NDArray[np.float64]

#: (β, Λ per grouping factor, auxiliaries on their natural scale) → value, gradient in each of them.
Loglik = Callable[[Floats, Sequence[Floats], Floats], tuple[float, list[Floats]]]

#: The potential's name.
MARGINAL = "marginal_loglik"


class MarginalLoglikOp(Op):
    """A log-likelihood computed outside the graph, with its gradient.

    Its outputs are the value and the gradient in every input: one evaluation gives them all, and the pullback of the
    value is the gradient's outputs of the same node, so that NUTS evaluates once per step.

    Parameters
    ----------
    loglik : callable
        See :data:`Loglik`.
    """

    __props__ = ()

    def __init__(self, loglik: Loglik) -> None:
        self.loglik = loglik

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.loglik is self.loglik  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self), id(self.loglik)))

    def make_node(self, *inputs: Any) -> Apply:
        """β, every Λ, auxiliaries → value, and one gradient per input."""
        given = [pt.as_tensor_variable(x, dtype="float64") for x in inputs]
        return Apply(self, given, [pt.dscalar(), *(x.type() for x in given)])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: Any) -> None:
        """Evaluate once."""
        beta, *lambdas, auxiliaries = (np.asarray(x, dtype=float) for x in inputs)
        value, gradient = self.loglik(beta, lambdas, auxiliaries)
        output_storage[0][0] = np.asarray(value, dtype=float)
        for storage, g in zip(output_storage[1:], gradient):
            storage[0] = np.ascontiguousarray(g, dtype=float)

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """The value's cotangent times the gradient; second derivatives are not known."""
        value, *others = cotangents
        if not all(isinstance(c.type, DisconnectedType) for c in others):
            why = "the gradient of the marginal log-likelihood is not differentiable by the graph"
            return [grad_not_implemented(self, k, x, why) for k, x in enumerate(inputs)]
        return [value * g for g in outputs[1:]]  # type: ignore[operator]

    def infer_shape(self, node: Apply, input_shapes: Sequence[Any]) -> list[Any]:
        """The gradients have the shapes of the inputs."""
        return [(), *input_shapes]


@numba_funcify.register(MarginalLoglikOp)
def _called_from_numba(op: MarginalLoglikOp, node: Apply, **options: Any) -> Any:
    """Numba calls back into Python, as for any Op it does not know; saying so is of no use to anybody."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Numba will use object mode")
        return generate_fallback_impl(op, node, **options)


def build_marginal_model(problem: Problem, loglik: Loglik) -> pm.Model:
    """Build the model of the parameters alone: priors, and the marginal log-likelihood as a potential.

    Parameters, their names, dimensions and transforms are those of :func:`bayesglmm.graph.model.build_model`; the
    random effects are not in it.

    Parameters
    ----------
    problem : Problem
        The model.
    loglik : callable
        The log-likelihood with the random effects integrated out, see :data:`Loglik`.

    Returns
    -------
    pymc.Model
    """
    design = problem.design
    priors = problem_priors(problem)
    with pm.Model(coords=coords(problem)) as model:
        beta = pt.zeros(0)
        if design.columns:
            beta = coefficients(priors, Whitening(design.X))
        blocks = zip(design.blocks, problem.covariance, priors.blocks)
        lambdas = [lambda_factor(block, cov, terms) for block, cov, terms in blocks]
        entries = list(auxiliaries(priors).values())
        psi = pt.stack(entries) if entries else pt.zeros(0)
        value, *_ = MarginalLoglikOp(loglik).make_node(beta, *lambdas, psi).outputs
        pm.Potential(MARGINAL, value)
    return model
