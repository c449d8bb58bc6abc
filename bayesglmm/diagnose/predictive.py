"""Checks of a fit by responses replicated from it: test statistics, quantile residuals, leave-one-out places.

Replications are of the same groups (``level="conditional"``: their random effects as they were found) or of new groups
(``"marginal"``: random effects drawn anew, one for each level). The same groups have been fitted; whether the *spread
between* groups is that of the model is asked of new ones (Gelman, Meng & Stern 1996, Statistica Sinica 6, 733-807).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from bayesglmm.arguments import listed, plain, refused, seed_or_none, takes, whole
from bayesglmm.diagnose.own_effects import row_log_likelihood, with_fresh
from bayesglmm.errors import MethodError
from bayesglmm.idata import predictive_datatree
from bayesglmm.parameters import response_mean
from bayesglmm.posterior import parameter_draws
from bayesglmm.problem import Problem
from bayesglmm.responses import (
    draws_for,
    posterior_predictive,
    predictors_at,
    response_portions,
    responses_at,
    rows_at,
)
from bayesglmm.result import Result
from bayesglmm.simulate import check_simulable
from bayesglmm.tables import is_posterior

Floats = NDArray[np.float64]
#: From responses of shape (..., n) to one number each, shape (...).
Statistic = Callable[[Floats], Floats]
#: What a user may give: names of statistics, or functions of one response.
Chosen = Iterable[str] | Mapping[str, Callable[[Floats], float]] | None


@takes(draws=whole(2), seed=seed_or_none)
def replicates(problem: Problem, result: Result, draws: int, seed: int | None, level: str) -> Floats:
    """Draw replicated responses, shape (draws, n), of a model that is a distribution.

    Raises
    ------
    MethodError
        A quasi-family, or a scale or weights that no distribution has; fewer than two draws.
    """
    check_simulable(problem, result.scale)
    return posterior_predictive(problem, result, draws, seed, level)


def _with_means(
    problem: Problem, result: Result, draws: int, seed: int | None, level: str
) -> tuple[Floats, Floats | None]:
    """The replications, and the mean of every row at the draw each comes from; those of new groups are not the data's.

    The stream of random numbers is that of :func:`replicates`.
    """
    if (level == "marginal" and problem.design.blocks) or problem.family.categories == "ordered":
        return replicates(problem, result, draws, seed, level), None
    check_simulable(problem, result.scale)
    rng = np.random.default_rng(seed)
    sample, _ = draws_for(problem, result, problem.design, draws, level, rng)
    eta = predictors_at(problem, sample, problem.design, rng, level)
    y = rows_at(problem, sample, problem.design, eta, rng, theta=result.theta)
    if problem.family.expectation is None:
        return y, problem.link.mean(eta)
    return y, np.stack([response_mean(problem, *point) for point in zip(eta, sample.psi[0])])


@dataclass(frozen=True)
class Checked:
    """Test statistics of the observed and of the replicated responses.

    Parameters
    ----------
    observed : dict of str to ndarray, shape () or (draws,)
        Of the data; one for each replication where the statistic has parameters in it.
    replicated : dict of str to ndarray, shape (draws,)
        Of every replication.
    """

    observed: dict[str, Floats]
    replicated: dict[str, Floats]

    @property
    def table(self) -> pd.DataFrame:
        """One row per statistic: ``observed, mean, sd, ci_low, ci_high, p``."""
        rows = {}
        for name, values in self.replicated.items():
            seen = self.observed[name]
            p = np.mean(values > seen) + 0.5 * np.mean(values == seen)
            low, high = np.quantile(values, [0.025, 0.975])
            rows[name] = (float(np.mean(seen)), values.mean(), values.std(ddof=1), low, high, p)
        columns = ["observed", "mean", "sd", "ci_low", "ci_high", "p"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("statistic")


@takes(level=plain, draws=whole(2), seed=seed_or_none)
def check_statistics(
    problem: Problem,
    result: Result,
    statistics: Chosen = None,
    *,
    level: str = "conditional",
    draws: int = 1000,
    seed: int | None = None,
) -> Checked:
    """Test statistics with their posterior predictive distribution; see :meth:`bayesglmm.Fit.ppc_statistics`."""
    replicated, means = _with_means(problem, result, draws, seed, level)
    own = _built_in(problem, replicated, means)
    functions: dict[str, Statistic] = dict(own)
    if isinstance(statistics, Mapping):
        for name, function in statistics.items():
            if not callable(function):
                raise refused(f"statistics[{name!r}]", function, "a function of one response")
        functions |= {str(name): partial(np.apply_along_axis, f, -1) for name, f in statistics.items()}
    elif statistics is not None:
        names = [statistics] if isinstance(statistics, str) else list(listed("statistics", statistics))
        if not names:
            raise refused("statistics", statistics, f"one or more of {', '.join(own)}")
        unknown = [str(s) for s in names if not isinstance(s, str) or s not in own]
        if unknown:
            raise MethodError(
                f"no statistic {', '.join(map(repr, unknown))} for this model; it has {', '.join(own)}. Functions of "
                "your own are given as {'name': function}."
            )
        functions = {name: own[name] for name in names}
    observed, replicated = (_comparable(problem, y) for y in (problem.response.y, replicated))
    return Checked(
        {name: np.asarray(f(observed), dtype=float) for name, f in functions.items()},
        {name: np.asarray(f(replicated), dtype=float) for name, f in functions.items()},
    )


def _comparable(problem: Problem, y: Floats) -> Floats:
    """Responses as statistics see them: proportions where there are trials."""
    return y if problem.response.trials is None else y / problem.response.trials


def _built_in(problem: Problem, replicated: Floats, means: Floats | None) -> dict[str, Statistic]:
    """The statistics that mean something for this response and its groups."""
    support = problem.family.support
    out: dict[str, Statistic] = {}
    if problem.family.categories == "ordered" and problem.response.levels is not None:
        for code, label in enumerate(problem.response.levels):
            out[f"share of {label}"] = partial(_share, code)
    else:
        out["mean"] = lambda y: np.mean(y, axis=-1)
        trials = problem.response.trials
        if not (problem.family.trials and (trials is None or bool((trials == 1).all()))):  # binary: the mean is all
            if support.low == 0.0 and not support.low_open:
                out["zeros"] = partial(_share, 0.0)
            out["maximum"] = lambda y: np.max(y, axis=-1)
            out["sd"] = lambda y: np.std(y, axis=-1, ddof=1)
            out["dispersion"] = _dispersion(problem, replicated, means)
    for name, codes in _groupings(problem):
        between = _Between(codes)
        out[f"sd between {name}"] = between.sd
        out[f"icc {name}"] = between.icc
    return out


def _share(value: float, y: Floats) -> Floats:
    return np.mean(y == value, axis=-1)


def _dispersion(problem: Problem, replicated: Floats, means: Floats | None) -> Statistic:
    """Mean squared deviation of rows from their means at each draw, in units of their predictive variances.

    Deviations from means with the draw's own parameters in them make up for what the fit has taken from the data; those
    from new groups are about the predictive means.
    """
    values = _comparable(problem, replicated)
    center = values.mean(axis=0) if means is None else means
    variance = values.var(axis=0, ddof=1)
    # A value that all replications share is as rare an exception as they are many.
    step = np.ones(len(variance)) if problem.response.trials is None else 1.0 / problem.response.trials
    floor = step**2 / len(values) if problem.family.support.integer else np.finfo(float).tiny
    variance = np.maximum(variance, floor)

    def dispersion(y: Floats) -> Floats:
        return np.mean(np.square(y - center) / variance, axis=-1)

    return dispersion


def _groupings(problem: Problem) -> list[tuple[str, NDArray[np.int64]]]:
    """Grouping factors with two levels or more, and fewer than there are rows."""
    found: dict[str, NDArray[np.int64]] = {}
    for block in problem.design.blocks:
        codes = np.unique(block.codes, return_inverse=True)[1]
        if 1 < codes.max() + 1 < len(codes):
            found.setdefault(block.group, codes)
    return list(found.items())


class _Between:
    """How unlike the groups are: standard deviation of their means, and the intraclass correlation.

    The correlation is the moment estimate of the one-way analysis of variance (Donner 1986, Int. Statist. Rev. 54,
    67-82), of the responses as they are.
    """

    def __init__(self, codes: NDArray[np.int64]) -> None:
        self.order = np.argsort(codes, kind="stable")
        self.sizes = np.bincount(codes).astype(float)
        self.starts = np.concatenate([[0], np.cumsum(self.sizes[:-1])]).astype(np.int64)

    def means(self, y: Floats) -> Floats:
        """Mean of every group, shape (..., groups)."""
        return np.add.reduceat(y[..., self.order], self.starts, axis=-1) / self.sizes

    def sd(self, y: Floats) -> Floats:
        """Standard deviation of the groups' means."""
        return self.means(y).std(axis=-1, ddof=1)

    def icc(self, y: Floats) -> Floats:
        """Share of the variance that is between groups; zero for a constant response."""
        n, groups = self.sizes.sum(), len(self.sizes)
        centred = y - y.mean(axis=-1, keepdims=True)
        between = np.square(self.means(centred)) @ self.sizes
        within = (np.square(centred).sum(axis=-1) - between) / (n - groups)
        between = between / (groups - 1)
        usual = (n - np.square(self.sizes).sum() / n) / (groups - 1)
        total = between + (usual - 1.0) * within
        return np.divide(between - within, total, out=np.zeros_like(total), where=total > 0)


@takes(level=plain, draws=whole(2), seed=seed_or_none)
def predictive_quantile_residuals(
    problem: Problem, result: Result, seed: int | None = 0, *, level: str = "conditional", draws: int = 1000
) -> Floats:
    """Normal scores of the observed responses among responses replicated from the fit, shape (n,).

    The place of y among S replications, ties broken at random and a random point taken within the place, is exactly
    uniform if y is one more of them; it averages over the posterior, and needs no distribution function.

    Parameters
    ----------
    problem, result
        The fit.
    seed : int or None
        Of the replications and of the random points.
    level : {"conditional", "marginal", "population"}
        Same groups, new groups, or random effects at zero.
    draws : int
        Replications S: no residual is larger than the normal quantile of about 1/S.
    """
    check_simulable(problem, result.scale)
    rng, y = np.random.default_rng(seed), problem.response.y
    sample, design = draws_for(problem, result, problem.design, draws, level, rng)
    low, ties = np.zeros((2, len(y)), dtype=np.int64)
    for _, part in response_portions(problem, sample, design, rng, level=level, theta=result.theta):
        low += (part < y).sum(axis=0)
        ties += (part == y).sum(axis=0)
    # A stream of its own: the points must not go together with the replications.
    u = np.random.default_rng(None if seed is None else [seed, 1]).uniform(size=len(y))
    return special.ndtri((low + u * (ties + 1)) / (draws + 1))


@takes(draws=whole(10), seed=seed_or_none)
def loo_tree(problem: Problem, result: Result, draws: int = 1000, seed: int | None = None) -> Any:
    """Replicated responses and the rows' log-likelihood at the same draws from the posterior, for ArviZ.

    Draws of a fit by ``laplace`` or ``agq`` are weighted towards the posterior first (``refine("psis")``). A random
    effect of the row's own is drawn anew, and integrated out of its likelihood.

    Raises
    ------
    MethodError
        A fit without a posterior, or a model that is not a distribution.
    """
    from bayesglmm.diagnose.refine import refine

    check_simulable(problem, result.scale)
    if not is_posterior(problem, result):
        raise MethodError(
            f"leaving a row out needs a posterior, and a {result.method} fit is none: fit by laplace, agq, inla or "
            "mcmc, with priors."
        )
    if result.method in ("laplace", "agq"):
        result = refine(problem, result, "psis", draws=draws, seed=seed)
    rng = np.random.default_rng(seed)
    sample = parameter_draws(problem, result, draws, rng)
    y = responses_at(problem, with_fresh(problem, sample, rng), problem.design, rng, theta=result.theta)
    return predictive_datatree(problem, y[None], row_log_likelihood(problem, sample))


def loo_pit(problem: Problem, result: Result, draws: int = 1000, seed: int | None = None) -> Floats:
    """Place of every row in its leave-one-out predictive distribution; see :meth:`bayesglmm.Fit.loo_pit`."""
    import arviz_stats

    values = arviz_stats.loo_pit(loo_tree(problem, result, draws, seed), pareto_pit=True)
    (name,) = values.data_vars
    return np.asarray(values[name].values, dtype=float)
