"""The model as the engines see it: arrays, a family row, covariance maps and priors, bound together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bayesglmm.errors import MethodError

if TYPE_CHECKING:
    from bayesglmm.covariance import BlockCovariance
    from bayesglmm.design.types import Design, Floats, Response
    from bayesglmm.families.base import BoundKernel, Family
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
    """

    design: Design
    family: Family
    link: Link
    covariance: tuple[BlockCovariance, ...]
    priors: PriorSet | None
    priors_given: bool = False

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
        return closed(r.y, r.trials, self.design.weights)
