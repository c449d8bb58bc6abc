"""The model as the engines see it: arrays, a family row, covariance maps and priors, bound together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from bayesglmm.design.auxiliary import psi_entries
from bayesglmm.errors import MethodError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bayesglmm.covariance import BlockCovariance, RowErrors
    from bayesglmm.design.types import Design, Floats, Response
    from bayesglmm.families.base import Auxiliary, BoundKernel, Family
    from bayesglmm.links import Link
    from bayesglmm.priors import PriorSet


@dataclass(frozen=True)
class Problem:
    """What is believed about the data, ready for any method.

    Parameters
    ----------
    design : Design
        Arrays from formula and table.
    family : Family
        The family row.
    link : Link
        The link in use.
    covariance : tuple of BlockCovariance
        One per ``design.blocks``.
    priors : PriorSet or None
        None means flat: the methods with a likelihood are then maximum likelihood.
    priors_given : bool
        Whether the user wrote priors (a method that has no posterior warns that it leaves them aside).
    errors : RowErrors or None
        How the errors of a Gaussian model go together within groups; None where they are independent.
    """

    design: Design
    family: Family
    link: Link
    covariance: tuple[BlockCovariance, ...]
    priors: PriorSet | None
    priors_given: bool = False
    errors: RowErrors | None = None

    @property
    def response(self) -> Response:
        """The response; always there on a problem that is to be fitted."""
        assert self.design.response is not None
        return self.design.response

    @property
    def case_weights(self) -> Floats:
        """Prior weights times trials, shape (n,): the w_i of Var(y_i) = φ V(μ_i) / w_i."""
        w = np.ones(self.design.nobs) if self.design.weights is None else self.design.weights
        return w if self.response.trials is None else w * self.response.trials

    @property
    def mean_response(self) -> Floats:
        """The response on the scale of μ, shape (n,): the proportion when there are trials."""
        r = self.response
        return r.y if r.trials is None else r.y / r.trials

    def need_independent_errors(self, what: str) -> None:
        """Refuse something that would leave the correlation of the errors aside.

        Raises
        ------
        MethodError
            A model whose errors go together.
        """
        if self.errors is not None:
            raise MethodError(f"{what} takes independent errors; those of this model go together: {self.errors.label}.")

    @cached_property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        """One row per entry of ψ: the family's auxiliaries, or the coefficients of their linear predictors."""
        return psi_entries(self.family.auxiliaries, self.design.auxiliaries)

    @cached_property
    def aux_units(self) -> Floats | None:
        """Size of the predictor of each entry of ψ, shape (n_aux,): one for a number; None when all are numbers."""
        if not self.design.auxiliaries:
            return None
        parts = [np.ones(1) if X is None else np.abs(X).max(axis=0) for X in self.aux_designs(self.design)]
        return np.concatenate(parts)

    def aux_designs(self, design: Design) -> tuple[Floats | None, ...]:
        """Columns of every auxiliary's linear predictor in `design` (this problem's, or new data); None without."""
        own = {a.name: a.X for a in design.auxiliaries}
        return tuple(own.get(a.name) for a in self.family.auxiliaries)

    def kernel(self, kind: str = "auto") -> BoundKernel:
        """The η-scale log-density with this problem's data bound to it.

        Parameters
        ----------
        kind : {"auto", "graph"}
            ``"auto"`` takes the closed form where there is one; ``"graph"`` always differentiates the PyMC graph.
        """
        if kind not in ("auto", "graph"):
            raise MethodError(f"kernel is {kind!r}; 'auto' or 'graph' is expected.")
        closed = self.family.kernel(self.link.name) if self.family.kernel is not None and kind == "auto" else None
        r = self.response
        if closed is None:
            from bayesglmm.graph.kernel import graph_kernel

            closed = graph_kernel(self.family, self.link)
        bound = closed(r.y, r.trials, self.design.weights)
        if not self.design.auxiliaries:
            return bound
        from bayesglmm.families.kernels.modelled import ModelledKernel

        return ModelledKernel(bound, self.aux_designs(self.design))


def without_rows(problem: Problem, out: NDArray[np.bool_]) -> Problem:
    """The same model of fewer rows; priors, columns and levels stay as they are."""
    design, keep = problem.design, ~out
    y = problem.response
    response = replace(y, y=y.y[keep], trials=None if y.trials is None else y.trials[keep])
    return replace(
        problem,
        design=replace(
            design,
            response=response,
            X=design.X[keep],
            offset=design.offset[keep],
            weights=None if design.weights is None else design.weights[keep],
            blocks=tuple(replace(b, codes=b.codes[keep], z=b.z[keep]) for b in design.blocks),
            auxiliaries=tuple(replace(a, X=a.X[keep]) for a in design.auxiliaries),
            index=design.index[keep],
        ),
    )
