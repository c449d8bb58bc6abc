"""The score test of a variance that is zero: whether a random term should be added, without fitting it.

The score is the derivative of the marginal log-likelihood in the new variance σ² at zero, everything else at the fit;
for a GLM it is ½ Σ_j [(Σ_i z_i ℓ'_i)² + Σ_i z_i² ℓ''_i] over the levels j of the new factor (Lin 1997, Biometrika 84,
309-326, eq. 6). The likelihood is even in σ, so the exact gradient in σ near zero gives it with other random terms too.
Its null variance given the fitted parameters, Var(U) − Cov(U, S)Var(S)⁻¹Cov(S, U) with S their own scores, is that of
responses simulated from the fit: no cumulants are needed, and the bias of Laplace's approximation is in both. Only
positive scores speak against the null: the test is one-sided, which is the mixture ½χ²(0) + ½χ²(1) of the squared
statistic (Verbeke & Molenberghs 2003, Biometrics 59, 254-262).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm import quantiles
from bayesglmm.arguments import seed_or_none, takes, whole
from bayesglmm.covariance import FORMS, BlockCovariance
from bayesglmm.design import build_design
from bayesglmm.design.types import RandomBlock, Term
from bayesglmm.errors import ConvergenceError, DataError, MethodError
from bayesglmm.inference.boundary import MARGINAL
from bayesglmm.inference.outcome import Outcome
from bayesglmm.latent import fit_marginal
from bayesglmm.latent.objective import Objective, make_objective
from bayesglmm.latent.quadrature.nodes import settings
from bayesglmm.latent.threads import one_thread
from bayesglmm.parameters import theta_slices
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.simulate import check_simulable, simulate

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Step in σ, in units of a level's standard error of its effect.
STEP = 1e-4


@takes(simulations=whole(50), seed=seed_or_none)
def score_test_variance(fit: Any, term: str | RandomBlock, *, simulations: int = 1000, seed: int = 0) -> Outcome:
    """Test whether the variance of one more random term is zero.

    Parameters
    ----------
    fit : Fit, or tuple of (Problem, Result)
        The model without the term. A fit that is not by maximum (marginal) likelihood is fitted so first.
    term : str or RandomBlock
        ``"(1 | g)"`` or ``"(0 + x | g)"``: one column; a block of a design where there is no Fit to take data from.
    simulations : int
        Responses simulated under the null for the variance of the score.
    seed : int
        Of the simulations.

    Returns
    -------
    Outcome
        ``statistic`` is the standardised score z, ``p`` its upper tail. ``extras``: ``score`` (the derivative in σ²),
        ``variance`` (of the score, given the fitted parameters), ``p_simulated`` (its rank among the simulated scores,
        right for few levels as well).

    Raises
    ------
    MethodError
        A term of several columns, a quasi-family, a model that cannot be simulated.
    DataError
        Missing values of the grouping factor in rows of the fit.

    Examples
    --------
    >>> import bayesglmm as bg, pandas as pd
    >>> data = pd.DataFrame({"y": [2, 3, 1, 15, 18, 16, 0, 1, 1], "g": list("aaabbbccc")})
    >>> fit = bg.Model("y ~ 1", data, family="poisson").fit("irls")
    >>> fit.score_test("(1 | g)").p < 1e-6
    True
    """
    problem, result, data = _parts(fit)
    check_simulable(problem)
    null, result = _maximum_likelihood(problem, result)
    block = term if isinstance(term, RandomBlock) else _block(null, term, data)
    if block.z.shape[1] != 1:
        raise MethodError(f"the term has the columns {', '.join(block.columns)}; test one, e.g. '(1 | g)', at a time.")
    with one_thread():
        scores = _Scores.of(null, result, block)
        observed = scores.at(null.response.y)
        y = simulate(null, result.beta, result.theta, result.psi, np.random.default_rng(seed), int(simulations))
        drawn = np.stack([s for s in map(scores.at, y) if np.all(np.isfinite(s))])
    return _outcome(block, observed, drawn)


def _parts(fit: Any) -> tuple[Problem, Result, Any]:
    if isinstance(fit, tuple) and len(fit) == 2:
        return (*fit, None)
    if hasattr(fit, "result") and hasattr(fit, "model"):
        return fit.model.problem, fit.result, fit.model.data
    raise MethodError(f"a fit is expected; got {type(fit).__name__}.")


def _maximum_likelihood(problem: Problem, result: Result) -> tuple[Problem, Result]:
    """The fit itself where it maximised the marginal likelihood, else one by Laplace."""
    flat = replace(problem, priors=None)
    if result.method in MARGINAL and (problem.priors is None or result.method == "ml"):
        return flat, result
    found = fit_marginal(flat)
    if not found.status.converged:
        raise ConvergenceError(f"the model without the term could not be fitted: {found.status.message}")
    return flat, found


def _block(problem: Problem, term: str, data: Any) -> RandomBlock:
    """The term's columns in the rows of the fit."""
    if data is None or problem.design.formula is None:
        raise MethodError("a term by its formula needs a Fit: call fit.score_test('(1 | g)').")
    left = str(problem.design.formula).split("~", 1)[0]
    text = term.strip()
    design = build_design(f"{left} ~ 1 + {text if text.startswith('(') else f'({text})'}", data)
    if len(design.blocks) != 1:
        raise MethodError(f"{term!r} is not one random term; write it as '(1 | g)'.")
    rows = design.index.get_indexer(problem.design.index)
    if np.any(rows < 0):
        raise DataError(
            f"{int(np.sum(rows < 0))} rows of the fit have missing values in {term!r}; leave them out of it."
        )
    block = design.blocks[0]
    return replace(block, codes=block.codes[rows], z=block.z[rows])


def _added(problem: Problem, block: RandomBlock) -> tuple[Problem, int]:
    """The model with the term (at a variance to be given), and the place of its sd in θ."""
    blocks, maps = list(problem.design.blocks), list(problem.covariance)
    slices = theta_slices(problem)
    for k, (own, cov) in enumerate(zip(blocks, maps)):
        if own.levels == block.levels and np.array_equal(own.codes, block.codes) and cov.precision is None:
            q = own.z.shape[1]
            t = Term(block.terms[0].label, q, q + 1, False)
            blocks[k] = replace(own, z=np.hstack([own.z, block.z]), columns=(*own.columns, *block.columns))
            blocks[k] = replace(blocks[k], terms=(*own.terms, t))
            maps[k] = BlockCovariance((*cov.terms, t), (*cov.forms, FORMS["diagonal"]))
            larger = replace(problem, design=replace(problem.design, blocks=tuple(blocks)), covariance=tuple(maps))
            return larger, slices[k].stop
    blocks.append(block)
    maps.append(BlockCovariance((Term(block.terms[0].label, 0, 1, True),), (FORMS["unstructured"],)))
    larger = replace(problem, design=replace(problem.design, blocks=tuple(blocks)), covariance=tuple(maps))
    return larger, slices[-1].stop if slices else 0


@dataclass(frozen=True)
class _Scores:
    """Scores of the new variance (first) and of the fitted parameters, at the fit, for any response."""

    problem: Problem
    objective: Objective
    kernel: str
    point: tuple[Floats, Floats, Floats]
    place: int
    step: float
    free: Bools

    @classmethod
    def of(cls, problem: Problem, result: Result, block: RandomBlock) -> _Scores:
        problem.need_independent_errors("a score test of a variance")
        kernel = str(result.options.get("kernel", "auto"))
        larger, place = _added(problem, block)
        objective = make_objective(larger, **settings(result.options))
        weights = np.maximum(problem.kernel(kernel).expected_weight(result.eta, result.psi), 0.0)
        information = np.bincount(block.codes, weights * block.z[:, 0] ** 2)
        step = STEP / float(np.sqrt(np.mean(information)))
        point = (result.beta, np.insert(result.theta, place, step), result.psi)
        joint = np.concatenate([result.beta, result.theta, result.psi])
        known = np.ones(len(joint), dtype=bool) if result.cov_joint is None else np.isfinite(np.diag(result.cov_joint))
        return cls(larger, objective, kernel, point, place, step, known[: len(joint)])

    def at(self, y: Floats) -> Floats:
        """(U, S) of a response; NaN where there are no conditional modes."""
        design = self.problem.design
        assert design.response is not None
        problem = replace(self.problem, design=replace(design, response=replace(design.response, y=y)))
        objective = replace(self.objective, kernel=problem.kernel(self.kernel).subset(self.objective.order))
        e = objective.evaluate(*self.point)
        if not np.isfinite(e.value):
            return np.full(1 + int(self.free.sum()), np.nan)
        others = np.concatenate([e.beta, np.delete(e.theta, self.place), e.psi])
        return np.append(e.theta[self.place] / (2.0 * self.step), others[self.free])


def _outcome(block: RandomBlock, observed: Floats, drawn: Floats) -> Outcome:
    """Standardise the score by what the simulated ones leave given the scores of the fitted parameters."""
    U, S = drawn[:, 0], drawn[:, 1:]
    center = drawn.mean(axis=0)
    slopes = np.linalg.lstsq(S - center[1:], U - center[0], rcond=None)[0]
    rest = U - center[0] - (S - center[1:]) @ slopes
    variance = float(rest @ rest / (len(drawn) - 1 - S.shape[1]))
    # At the maximum the fitted parameters' own scores are zero.
    own = float(observed[0] - center[0] + center[1:] @ slopes)
    z = own / np.sqrt(variance)
    extras = {
        "score": float(observed[0]),
        "variance": variance,
        "p_simulated": float((1 + np.sum(rest >= own)) / (1 + len(rest))),
        "simulations": len(rest),
    }
    name = f"the variance of {block.columns[0]} in {block.group} is zero (one-sided)"
    return Outcome("score", name, "normal", float(z), 1.0, float("inf"), float(quantiles.norm.sf(z)), extras)
