"""What the loop behind PQL and MQL works on: what stays fixed, and where it is."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.elimination.structure import Structure
from bayesglmm.latent.linear.correlated import correlated_model
from bayesglmm.latent.linear.criterion import LinearModel
from bayesglmm.latent.linear.fit import LinearFit
from bayesglmm.latent.working.expansion import Expansion, Place, expand, random_variance
from bayesglmm.problem import Problem
from bayesglmm.scores.acceleration import Path

Floats = NDArray[np.float64]

#: Second-order variance over the first-order one at which an expansion is given up.
OUTGROWN = 20.0
#: Working weight below which a row says nothing.
NO_INFORMATION = 1e-100


@dataclass(frozen=True)
class Loop:
    """What stays fixed while the working response is iterated.

    Parameters
    ----------
    problem : Problem
        The model.
    structure : Structure
        The random part's pattern.
    marginal : bool
        Expand at zero random effects (MQL) rather than at their modes (PQL).
    reml : bool
        Fit the working model by restricted likelihood.
    scale : float or None
        φ when it is fixed, None when it is estimated.
    estimates_auxiliary : bool
        Whether an auxiliary of the variance function (a negative binomial's θ) is estimated.
    order : {1, 2}
        Of the expansion.
    """

    problem: Problem
    structure: Structure
    marginal: bool
    reml: bool
    scale: float | None
    estimates_auxiliary: bool
    order: int = 1

    def expand(self, place: Place) -> Expansion:
        """Working response (less the offset) and weights at a place."""
        return expand(self.problem, place, self.marginal)

    def model(self, at: Expansion) -> LinearModel:
        """The working linear mixed model."""
        p = self.problem
        structure = self.structure
        if at.stretch is not None:
            structure = structure.with_columns([at.stretch[:, None] * b.z for b in structure.layouts])
        data = (structure, p.covariance, p.design.X, at.z, at.weights)
        if p.errors is not None:
            return correlated_model(p.errors, *data, reml=self.reml, scale=self.scale)
        return LinearModel(*data, self.reml, self.scale)

    def predictor(self, fit: LinearFit, marginal: bool) -> Floats:
        """η at a fit of the working model, offset included; without the random effects when `marginal`."""
        at = fit.solution
        eta = self.problem.design.X @ at.beta + self.problem.design.offset
        return eta if marginal or not self.structure.m else eta + self.structure.at(at.lambdas).expand(at.u)

    def place(self, fit: LinearFit, psi: Floats) -> Place:
        """Where a fit of the working model says to expand."""
        eta = self.predictor(fit, self.marginal)
        if self.order == 1:
            return Place(eta, psi)
        return Place(eta, psi, random_variance(self.structure, fit.solution, self.marginal), fit.solution.scale)


@dataclass(frozen=True)
class State:
    """Where the loop is.

    Parameters
    ----------
    place : Place
        What is expanded at.
    at : Expansion
        Working response and weights there.
    fit : LinearFit or None
        The working model fitted at the previous expansion.
    move : ndarray, shape (n,)
        The last move of η that the working model asked for.
    change : float
        Its root mean square, in residual sds of the working response.
    step, longest : float
        The part of such a move that is made, and its bound; below 1 while the moves oscillate.
    path : Path
        The last places and moves, from which the rest of the way is extrapolated.
    least, idle : float, int
        The smallest change so far, and the turns since it was last halved (counted where it is small).
    leapt : bool
        Whether the last move was such an extrapolation.
    evaluations : int
        Of the working models' criteria so far.
    settled : bool
        Whether the last turn changed neither the working response nor the weights.
    stuck : bool
        Whether η could not be moved without leaving the range of the mean.
    """

    place: Place
    at: Expansion
    fit: LinearFit | None
    move: Floats
    change: float = np.inf
    step: float = 1.0
    longest: float = 1.0
    path: Path = field(default_factory=lambda: Path(()))
    least: float = np.inf
    idle: int = 0
    leapt: bool = False
    evaluations: int = 0
    settled: bool = False
    stuck: bool = False

    @property
    def lost(self) -> bool:
        """Whether the second-order variance ½κ²v² is far above the first-order one, v, in the rows on average.

        Also where the expansion has run to where no row carries information any more.
        """
        bend, spread = self.at.bend, self.place.spread
        if bend is None or spread is None:
            return False
        gone = float(np.max(self.at.weights)) < NO_INFORMATION
        return gone or float(np.mean(0.5 * bend**2 * spread)) > OUTGROWN
