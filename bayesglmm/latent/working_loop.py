"""The loop behind PQL and MQL: expand the response at a linear predictor, fit the working model, move, repeat."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import ConvergenceError
from bayesglmm.families import eta_domain
from bayesglmm.latent.correlated import correlated_model
from bayesglmm.latent.factor import NotPositiveDefiniteError
from bayesglmm.latent.linear import LinearModel
from bayesglmm.latent.linear_fit import LinearFit, fit_linear
from bayesglmm.latent.linear_start import relative
from bayesglmm.latent.structure import Structure
from bayesglmm.links import get_link
from bayesglmm.parameters import auxiliary_values
from bayesglmm.problem import Problem
from bayesglmm.result import Status
from bayesglmm.scores.working import working_quantities

Floats = NDArray[np.float64]

#: Working weights are kept above this: a row whose mean is at the end of its range carries no information.
SMALLEST_WEIGHT = 1e-200
#: Unconstrained auxiliaries beyond this are at infinity for all purposes.
PSI_LIMIT = 16.0


@dataclass(frozen=True)
class Expansion:
    """The working response and weights at one linear predictor, each of shape (n,)."""

    z: Floats
    weights: Floats


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
    """

    problem: Problem
    structure: Structure
    marginal: bool
    reml: bool
    scale: float | None
    estimates_auxiliary: bool

    def expand(self, eta: Floats, psi: Floats) -> Expansion:
        """Working response (less the offset) and weights at η."""
        p = self.problem
        aux = auxiliary_values(p, psi)
        work = working_quantities(p.family, p.link, eta, p.mean_response, p.case_weights, aux)
        return Expansion(eta - p.design.offset + work.residual, np.maximum(work.weight, SMALLEST_WEIGHT))

    def model(self, at: Expansion) -> LinearModel:
        """The working linear mixed model."""
        p = self.problem
        data = (self.structure, p.covariance, p.design.X, at.z, at.weights)
        if p.errors is not None:
            return correlated_model(p.errors, *data, reml=self.reml, scale=self.scale)
        return LinearModel(*data, self.reml, self.scale)

    def predictor(self, fit: LinearFit, marginal: bool) -> Floats:
        """η at a fit of the working model, offset included; without the random effects when `marginal`."""
        at = fit.solution
        eta = self.problem.design.X @ at.beta + self.problem.design.offset
        return eta if marginal or not self.structure.m else eta + self.structure.at(at.lambdas).expand(at.u)


@dataclass(frozen=True)
class State:
    """Where the loop is.

    Parameters
    ----------
    eta, psi : ndarray
        The linear predictor and the auxiliaries expanded at.
    at : Expansion
        Working response and weights there.
    fit : LinearFit or None
        The working model fitted at the previous expansion.
    move : ndarray, shape (n,)
        The last move of η that the working model asked for.
    change : float
        Its root mean square, in residual sds of the working response.
    step : float
        The part of such a move that is made; below 1 while the moves oscillate.
    evaluations : int
        Of the working models' criteria so far.
    settled : bool
        Whether the last turn changed neither the working response nor the weights.
    stuck : bool
        Whether η could not be moved without leaving the range of the mean.
    """

    eta: Floats
    psi: Floats
    at: Expansion
    fit: LinearFit | None
    move: Floats
    change: float = np.inf
    step: float = 1.0
    evaluations: int = 0
    settled: bool = False
    stuck: bool = False


def iterate(loop: Loop, tolerance: float, max_iterations: int) -> tuple[State, Status]:
    """Alternate between expanding and fitting until the linear predictor stays where it is."""
    state, previous = _start(loop), None
    for iteration in range(1, max_iterations + 1):
        previous, state = state, _turn(loop, state, iteration)
        if state.stuck or state.settled or state.change <= tolerance:
            break
    assert state.fit is not None
    inner = state.fit.minimum
    if state.stuck:
        converged, message = False, "the linear predictor cannot move without leaving the range of the mean"
    elif state.settled or state.change <= tolerance:
        converged, message = inner.converged, "the working response no longer changes"
        message = message if converged else f"working linear mixed model: {inner.message}"
    else:
        assert previous is not None
        converged, message = False, _what_went_wrong(state, previous, iteration)
    return state, Status(converged, message, iteration, state.evaluations)


def _start(loop: Loop) -> State:
    """Expand at the family's own starting mean; an auxiliary starts from the marginal moments."""
    p = loop.problem
    y, w = p.mean_response, p.case_weights
    middle = np.full(len(y), np.average(y, weights=w))
    with np.errstate(all="ignore"):
        candidates = [p.link.eta(p.family.initial_mean(y, w)), p.link.eta(middle)]
    inside = [eta for eta in candidates if _in_range(loop, eta)]
    if not inside:
        raise ConvergenceError(
            f"there is no place to start: the mean of the response, {middle[0]:g}, is outside the range of the "
            f"{p.link.name} link."
        )
    eta = inside[0]
    psi = np.array([float(get_link(a.link).eta(np.asarray(a.start(y, middle, w)))) for a in p.family.auxiliaries])
    return State(eta, psi, loop.expand(eta, psi), None, np.zeros(len(y)))


def _turn(loop: Loop, state: State, iteration: int) -> State:
    """Fit the working model, move η to its fit, expand there."""
    at, w = state.at, state.at.weights
    try:
        fit = fit_linear(loop.model(at), start=state.fit)
    except (ConvergenceError, NotPositiveDefiniteError, np.linalg.LinAlgError) as error:
        raise ConvergenceError(f"working linear mixed model {iteration} could not be fitted: {error}") from None
    move = loop.predictor(fit, loop.marginal) - state.eta
    change = float(np.sqrt(np.mean(w * np.square(move)) / fit.solution.scale))
    # Rows without information (a separated response) do not show in the weighted change: look at them as well.
    change = max(change, 1e-4 * float(np.max(np.abs(move)) / (1.0 + np.max(np.abs(state.eta)))))
    step = state.step
    if iteration > 2:
        turned_back = float(state.move @ (w * move)) < 0.0 and change > 0.8 * state.change
        step = max(0.5 * step, 0.05) if turned_back else min(1.0, 1.2 * step)
    psi = _update_auxiliary(loop, at, fit, state) if loop.estimates_auxiliary else state.psi
    eta = _inside(loop, state.eta, move, step)
    moved = replace(state, fit=fit, move=move, change=change, step=step)
    moved = replace(moved, evaluations=state.evaluations + fit.minimum.evaluations)
    if eta is None:
        return replace(moved, stuck=True)
    following = loop.expand(eta, psi)
    change = max(change, float(np.max(np.abs(psi - state.psi), initial=0.0)))
    return replace(moved, eta=eta, psi=psi, at=following, change=change, settled=_same(at, following))


def _inside(loop: Loop, eta: Floats, move: Floats, step: float) -> Floats | None:
    """η moved as far along as the link and the family's mean allow; None when hardly any way is left."""
    for _ in range(30):
        to = eta + step * move
        if _in_range(loop, to):
            return to
        step *= 0.5
    return None


def _in_range(loop: Loop, eta: Floats) -> bool:
    """Whether every η belongs to a mean the family allows."""
    low, high = eta_domain(loop.problem.family, loop.problem.link)
    return bool(np.all(np.isfinite(eta) & (eta > low) & (eta < high)))


def _same(a: Expansion, b: Expansion) -> bool:
    """Whether two expansions agree to rounding (the Gaussian identity model: at once)."""
    scale = np.sqrt(np.average(np.square(a.z), weights=a.weights))
    close = np.allclose(a.z, b.z, rtol=1e-13, atol=1e-13 * scale)
    return close and np.allclose(a.weights, b.weights, rtol=1e-13, atol=0.0)


def _update_auxiliary(loop: Loop, at: Expansion, fit: LinearFit, state: State) -> Floats:
    """ψ at which the working model's criterion is stationary through the weights, θ and the expansion point held."""
    from scipy.optimize import brentq

    theta, scale = fit.theta, fit.solution.scale

    def score(psi: float) -> float:
        weights, up, down = (loop.expand(state.eta, np.array([psi + d])).weights for d in (0.0, 1e-5, -1e-5))
        model = loop.model(Expansion(at.z, weights))
        slope = (up - down) / 2e-5
        return float(slope @ model.solve(relative(model, theta, scale), scale).weight_gradient)

    low = high = float(state.psi[0])
    step = 0.25
    while score(low) > 0.0 and low > -PSI_LIMIT:
        low, step = max(low - step, -PSI_LIMIT), 2.0 * step
    step = 0.25
    while score(high) < 0.0 and high < PSI_LIMIT:
        high, step = min(high + step, PSI_LIMIT), 2.0 * step
    if low == high or score(high) < 0.0 or score(low) > 0.0:
        return np.array([high if score(high) < 0.0 else low])
    return np.array([float(brentq(score, low, high, xtol=1e-12))])


def _what_went_wrong(state: State, previous: State, iterations: int) -> str:
    """The sentence for a loop that reached its cap."""
    cap = f"stopped at the cap of {iterations} iterations, η still moving by {state.change:.2g} residual sds"
    turned = float(previous.move @ (state.at.weights * state.move)) < 0.0
    if turned:
        return f"{cap}: the working response oscillates, and the estimate is not a fixed point"
    if float(np.max(np.abs(state.eta))) > 30.0 and float(np.max(np.abs(state.move))) > 1e-2:
        return f"{cap}: the linear predictor grows without bound (a response that the predictors separate?)"
    return f"{cap}, in one direction: raise max_iterations, or the estimate does not exist"
