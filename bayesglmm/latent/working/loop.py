"""The loop behind PQL and MQL: expand the response at a linear predictor, fit the working model, move, repeat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import ConvergenceError
from bayesglmm.families import eta_domain
from bayesglmm.latent.elimination.factor import NotPositiveDefiniteError
from bayesglmm.latent.linear.fit import LinearFit, fit_linear
from bayesglmm.latent.linear.start import relative
from bayesglmm.latent.working.expansion import Expansion, Place
from bayesglmm.latent.working.model import Loop, State
from bayesglmm.links import get_link
from bayesglmm.parameters import auxiliary_values
from bayesglmm.result import Status
from bayesglmm.scores.acceleration import Path
from bayesglmm.scores.fitted import deviance_at
from bayesglmm.scores.working import deviance_terms

Floats = NDArray[np.float64]

#: Unconstrained auxiliaries beyond this are at infinity for all purposes.
PSI_LIMIT = 16.0
#: Moves this small that have not been halved for so many turns are rounding errors of the working models' fits.
ROUNDING, PATIENCE = 1e-8, 10
#: Moves that turn back and forth are mixed from this length on.
OSCILLATION = 0.5
#: Deviance over that of a constant mean from which on a move went too far.
TOO_FAR = 10.0


def iterate(loop: Loop, tolerance: float, max_iterations: int) -> tuple[State, Status]:
    """Alternate between expanding and fitting until the linear predictor stays where it is."""
    state, previous = _start(loop), None
    for iteration in range(1, max_iterations + 1):
        previous, state = state, _turn(loop, state, iteration)
        if state.stuck or state.lost or state.settled or state.change <= tolerance or state.idle >= PATIENCE:
            break
    assert state.fit is not None
    inner = state.fit.minimum
    if state.stuck:
        converged, message = False, "the linear predictor cannot move without leaving the range of the mean"
    elif state.lost:
        converged, message = (
            False,
            (
                "the second-order terms outgrow the first-order ones and the variances run away: this expansion has no "
                "solution here; take order=1, or 'laplace'"
            ),
        )
    elif state.settled or state.change <= tolerance or state.idle >= PATIENCE:
        rounding = "" if state.settled or state.change <= tolerance else " but for rounding errors"
        converged, message = inner.converged, f"the working response no longer changes{rounding}"
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
    place = Place(eta, psi) if loop.order == 1 else Place(eta, psi, np.zeros(len(y)))
    return State(place, loop.expand(place), None, np.zeros(len(y)))


def _turn(loop: Loop, state: State, iteration: int) -> State:
    """Fit the working model, move η to its fit, expand there."""
    at, w = state.at, state.at.weights
    try:
        fit = fit_linear(loop.model(at), start=state.fit)
    except (ConvergenceError, NotPositiveDefiniteError, np.linalg.LinAlgError) as error:
        raise ConvergenceError(f"working linear mixed model {iteration} could not be fitted: {error}") from None
    psi = _update_auxiliary(loop, at, fit, state.place) if loop.estimates_auxiliary else state.place.psi
    here, to = state.place, loop.place(fit, psi)
    move = to.eta - here.eta
    change = float(np.sqrt(np.mean(w * np.square(move)) / fit.solution.scale))
    # Rows without information (a separated response) do not show in the weighted change: look at them as well.
    change = max(change, 1e-4 * float(np.max(np.abs(move)) / (1.0 + np.max(np.abs(here.eta)))))
    total = max(change, _other_change(loop, at, here, to, fit))
    step, longest = state.step, state.longest
    if iteration > 2:
        turned_back = float(state.move @ (w * move)) < 0.0 and change > 0.8 * state.change
        grew = loop.order == 2 and total > 1.2 * state.change
        worse = (turned_back or grew) and not state.leapt
        longest = max(0.9 * longest, 0.1) if worse and iteration > 20 else longest
        step = max(0.5 * step, 0.05) if worse else min(longest, 1.2 * step)
    path, ahead = _extrapolate(state, fit, to, step)
    place = None if ahead is None or not _possible(loop, ahead) else ahead
    leapt = place is not None
    place = place or _inside(loop, here, to, step)
    moved = replace(state, fit=fit, move=move, change=total, step=step, longest=longest, path=path, leapt=leapt)
    moved = replace(moved, evaluations=state.evaluations + fit.minimum.evaluations)
    if place is None:
        return replace(moved, stuck=True)
    following = loop.expand(place)
    settled, halved = not leapt and _same(at, following), total < 0.5 * state.least
    idle = 0 if halved or state.least > ROUNDING else state.idle + 1
    moved = replace(moved, least=total if halved else state.least, idle=idle)
    return replace(moved, place=place, at=following, settled=settled)


def _other_change(loop: Loop, at: Expansion, here: Place, to: Place, fit: LinearFit) -> float:
    """The change of what besides η decides the working response, in units like η's."""
    change = float(np.max(np.abs(to.psi - here.psi), initial=0.0))
    if here.spread is None or to.spread is None or at.bend is None:
        return change
    shift = 0.5 * at.bend * (to.spread - here.spread)
    moved = float(np.sqrt(np.mean(at.weights * np.square(shift)) / fit.solution.scale))
    return max(change, moved, abs(float(np.log(to.scale / here.scale))) if loop.scale is None else 0.0)


def _extrapolate(state: State, fit: LinearFit, to: Place, step: float) -> tuple[Path, Place | None]:
    """The path with this turn on it, and where its moves lead if they go on shrinking as they have (or None).

    The moves of the loop shrink linearly, by a factor near one where single rows have effects of their own; the last
    few are mixed as scoring steps are (see :mod:`bayesglmm.scores.acceleration`). After a leap that lengthened the
    moves the path begins anew.
    """
    here, w = state.place, state.at.weights
    units = np.sqrt(w / (len(w) * fit.solution.scale))
    parts = [(here.eta, to.eta, units), (here.psi, to.psi, np.ones(len(to.psi)))]
    if here.spread is not None and to.spread is not None and state.at.bend is not None:
        parts.append((here.spread, to.spread, 0.5 * units * np.abs(state.at.bend)))
        parts.append((np.log([here.scale]), np.log([to.scale]), np.ones(1)))
    x, target, metric = (np.concatenate(p) for p in zip(*parts))
    length = float(np.linalg.norm(metric * (target - x)))
    previous = Path(()) if state.leapt and length > 2.0 * state.path.length else state.path
    if step < 1.0 and length < OSCILLATION:
        previous = replace(previous, contraction=max(previous.contraction, 0.9))
    rate = length / previous.length if previous.points and not state.leapt else np.nan
    path = previous.extended(x, target - x, rate, length)
    leap = path.leap(lambda v: (metric * v.T).T)
    if leap is None:
        return path, None
    n, k = len(here.eta), len(here.psi)
    if here.spread is None:
        return path, Place(leap[:n], leap[n:])
    spread, scale = np.maximum(leap[n + k : -1], 0.0), float(np.exp(leap[-1]))
    return path, Place(leap[:n], leap[n : n + k], spread, scale)


def _inside(loop: Loop, here: Place, to: Place, step: float) -> Place | None:
    """The place as far along as the link and the family's mean allow; None when hardly any way is left."""
    for _ in range(30):
        there = Place(here.eta + step * (to.eta - here.eta), to.psi)
        if here.spread is not None and to.spread is not None:
            there = replace(there, spread=here.spread + step * (to.spread - here.spread), scale=to.scale)
        if _possible(loop, there):
            return there
        step *= 0.5
    return None


def _possible(loop: Loop, place: Place) -> bool:
    """Whether the means there are ones the family allows, and not wildly further from the response than a constant.

    A response expanded where the variance is tiny (inverse Gaussian, large powers of the mean) may send η far past any
    mean of the data; from there no working model leads back.
    """
    if not _in_range(loop, place.eta):
        return False
    p = loop.problem
    if p.family.name == "gaussian" and p.link.name == "identity":
        return True
    y, w = p.mean_response, p.case_weights
    middle = np.full(len(y), np.average(y, weights=w))
    constant = float(deviance_terms(p.family, middle, y, w, auxiliary_values(p, place.psi)).sum())
    return constant <= 0.0 or float(deviance_at(p, place.eta, place.psi).sum()) <= TOO_FAR * constant


def _in_range(loop: Loop, eta: Floats) -> bool:
    """Whether every η belongs to a mean the family allows."""
    low, high = eta_domain(loop.problem.family, loop.problem.link)
    return bool(np.all(np.isfinite(eta) & (eta > low) & (eta < high)))


def _same(a: Expansion, b: Expansion) -> bool:
    """Whether two expansions agree to rounding (the Gaussian identity model: at once)."""
    scale = np.sqrt(np.average(np.square(a.z), weights=a.weights))
    close = np.allclose(a.z, b.z, rtol=1e-13, atol=1e-13 * scale)
    return close and np.allclose(a.weights, b.weights, rtol=1e-13, atol=0.0)


def _update_auxiliary(loop: Loop, at: Expansion, fit: LinearFit, place: Place) -> Floats:
    """ψ at which the working model's criterion is stationary through the weights, θ and the expansion point held."""
    from scipy.optimize import brentq

    theta, scale = fit.theta, fit.solution.scale

    def score(psi: float) -> float:
        places = (replace(place, psi=np.array([psi + d])) for d in (0.0, 1e-5, -1e-5))
        weights, up, down = (loop.expand(there).weights for there in places)
        model = loop.model(Expansion(at.z, weights))
        slope = (up - down) / 2e-5
        return float(slope @ model.solve(relative(model, theta, scale), scale).weight_gradient)

    low = high = float(place.psi[0])
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
    if float(np.max(np.abs(state.place.eta))) > 30.0 and float(np.max(np.abs(state.move))) > 1e-2:
        return f"{cap}: the linear predictor grows without bound (a response that the predictors separate?)"
    return f"{cap}, in one direction: raise max_iterations, or the estimate does not exist"
