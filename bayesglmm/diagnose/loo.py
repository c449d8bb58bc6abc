"""Leave-one-out cross-validation at the right unit: rows given their groups, or whole groups.

PSIS-LOO (Vehtari, Gelman & Gabry 2017) by ArviZ, on the log-likelihood of rows given the random effects they share with
others (:mod:`bayesglmm.diagnose.own_effects`), or on that of groups with their random effects integrated out. Draws of
an approximation are weighted towards the posterior on the way (Magnusson, Andersen, Jonasson & Vehtari 2019). Where
Pareto k-hat is high, exact refits without the unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.arguments import flag, plain, refused, seed_or_none, takes, whole
from bayesglmm.diagnose.own_effects import alone, integrated, row_log_likelihood
from bayesglmm.errors import BayesGLMMWarning, MethodError, warn
from bayesglmm.idata import MOST_HELD
from bayesglmm.inference.ticker import ticker
from bayesglmm.latent.elimination.ordering import portions
from bayesglmm.latent.unit_loglik import unit_log_likelihood, units_of
from bayesglmm.names import response_variable
from bayesglmm.posterior import DRAWN_LATER, parameter_draws
from bayesglmm.problem import Problem, without_rows
from bayesglmm.result import Draws, Result
from bayesglmm.tables import is_posterior

Floats = NDArray[np.float64]

#: Draws of an approximation, and most draws of a sampled posterior that groups' integrals are found at.
DRAWS = 1000


@dataclass(frozen=True)
class Pointwise:
    """Log-likelihood of every unit at every draw.

    Parameters
    ----------
    unit, labels
        Name of the unit, and one label each.
    of_row : ndarray of int64, shape (n,)
        Unit of every row.
    values : ndarray, shape (chains, draws, units)
        Log-likelihoods.
    ratios : ndarray, shape (chains, draws), or None
        Log of posterior over proposal, for draws of an approximation.
    draws : Draws or None
        What they are at.
    """

    unit: str
    labels: list[Any]
    of_row: NDArray[np.int64]
    values: Floats
    ratios: Floats | None = None
    draws: Draws | None = None


@takes(unit=plain, nodes=whole(), draws=whole(10), seed=seed_or_none)
def pointwise(
    problem: Problem, result: Result, unit: str, *, nodes: int = 15, draws: int = DRAWS, seed: int | None = None
) -> Pointwise:
    """Log-likelihood of the units of a fit at draws from its posterior.

    Raises
    ------
    MethodError
        A fit without a posterior, an unknown unit, or groups that cannot be left out one by one.
    """
    labels: list[Any]
    if unit == "row":
        name, labels, of_row = "row", list(range(problem.design.nobs)), np.arange(problem.design.nobs)
    else:
        name, labels, of_row = units_of(problem)
        if unit not in ("group", name):
            raise MethodError(f"unit is {unit!r}; 'row', 'group' or {name!r} is expected.")
    sample, ratios = _draws(problem, result, unit == "row", draws, seed)
    if unit == "row":
        return Pointwise(name, labels, of_row, row_log_likelihood(problem, sample), ratios, sample)
    values = unit_log_likelihood(problem, sample, nodes)
    if ratios is not None:  # of the parameters: log prior − log q, then the integrated likelihood
        ratios = ratios + values.sum(axis=2)
    return Pointwise(name, labels, of_row, values, ratios, sample)


def _draws(problem: Problem, result: Result, joint: bool, count: int, seed: int | None) -> tuple[Draws, Floats | None]:
    """Draws, and log ratios to the posterior where they are those of an approximation around a mode."""
    if not is_posterior(problem, result):
        flat = " with flat priors" if problem.priors is None and result.method in DRAWN_LATER else ""
        raise MethodError(
            f"a fit by {result.method!r}{flat} is no posterior: fit by laplace, agq, inla or mcmc, with priors."
        )
    rng = np.random.default_rng(seed)
    if result.draws is not None and not (result.draws.independent and result.method in ("laplace", "agq")):
        own = result.draws
        if joint or own.beta.shape[0] * own.beta.shape[1] <= count:
            return own, None
        keep = np.unique(np.linspace(0, own.beta.shape[1] - 1, count // own.beta.shape[0]).astype(int))
        return _thinned(own, keep), None
    if result.method not in ("laplace", "agq"):
        return parameter_draws(problem, result, count, rng), None
    from bayesglmm.latent.draws import pack_draws
    from bayesglmm.latent.weights.importance import per_draw, weigh

    # For groups the integrals that follow are weights enough; for rows the random effects are chosen among candidates,
    # and draws cost little.
    count = count * per_draw(count, problem.design.nobs) if joint else count
    weighted = weigh(problem, result, draws=count, proposals=count, pairs=None if joint else 0, seed=seed)
    sample = pack_draws(weighted.target, weighted.x, weighted.solved.u, {})
    log_p = weighted.log_p if joint else weighted.solved.log_prior
    return sample, (log_p - weighted.log_q)[None]


def _thinned(draws: Draws, keep: NDArray[np.int64]) -> Draws:
    effects = tuple(e[:, keep] for e in draws.effects)
    return Draws(draws.beta[:, keep], draws.theta[:, keep], draws.psi[:, keep], effects, draws.independent)


def as_tree(problem: Problem, found: Pointwise) -> Any:
    """The log-likelihood as ArviZ wants it, with a dimension named after the unit."""
    import xarray as xr

    name = response_variable(problem.response.name)
    chains, draws = found.values.shape[:2]
    coords = {"chain": np.arange(chains), "draw": np.arange(draws), found.unit: found.labels}
    values = xr.Dataset({name: (["chain", "draw", found.unit], found.values)}, coords)
    dummy = xr.Dataset({"log_likelihood_of": (["chain", "draw"], found.values.sum(axis=2))}, coords)
    return xr.DataTree.from_dict({"log_likelihood": values, "posterior": dummy})


@takes(unit=plain, nodes=whole(), draws=whole(10), seed=seed_or_none, moment_match=flag)
def loo(
    problem: Problem,
    result: Result,
    unit: str = "row",
    *,
    nodes: int = 15,
    draws: int = DRAWS,
    refit: bool | float = False,
    moment_match: bool = False,
    seed: int | None = None,
    resume: Any = None,
) -> Any:
    """Leave-one-out cross-validation; see :meth:`bayesglmm.Fit.loo`."""
    if not isinstance(refit, bool | int | float | np.number):
        raise MethodError(f"refit is {refit!r}; True, False or a limit of Pareto k-hat such as 0.7 is expected.")
    if unit == "row" and refit is False and not moment_match and draws * problem.design.nobs > MOST_HELD:
        return _in_portions(problem, result, draws, seed)
    found = pointwise(problem, result, unit, nodes=nodes, draws=draws, seed=seed)
    tree = as_tree(problem, found)
    elpd = _smoothed(result, found, tree)
    if moment_match:
        from bayesglmm.diagnose.moment_match import matched

        elpd = matched(problem, found, tree, elpd, nodes)
    if refit is False:
        return elpd
    limit = elpd.good_k if refit is True else float(refit)
    poor = np.flatnonzero(~(elpd.pareto_k.to_numpy() <= limit))
    if resume is not None:
        _take_over(resume, found, elpd)
        poor = poor[elpd.pareto_k.to_numpy()[poor] != 0.0]
    return _with_exact(problem, result, found, elpd, poor, nodes=nodes, draws=draws, seed=seed)


def _smoothed(result: Result, found: Pointwise, tree: Any) -> Any:
    """ArviZ's answer for the units."""
    import warnings

    import arviz_stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # k-hat is in the result, and looked at here
        if found.ratios is None:
            return arviz_stats.loo(tree, pointwise=True, reff=None if result.draws is not None else 1.0)
        zero = np.zeros(found.ratios.size)
        return arviz_stats.loo_approximate_posterior(tree, found.ratios.ravel(), zero, pointwise=True)


def _in_portions(problem: Problem, result: Result, draws: int, seed: int | None) -> Any:
    """The same of rows that are very many, whose log-likelihoods are not held together."""
    import xarray as xr

    sample, ratios = _draws(problem, result, True, draws, seed)
    parts, n, singles = [], problem.design.nobs, alone(problem)
    for some in portions(n, sample.beta.shape[0] * sample.beta.shape[1]):
        rows = np.arange(n)[some]
        own = without_rows(problem, ~np.isin(np.arange(n), rows))
        values = row_log_likelihood(own, sample, singles[:, rows])
        found = Pointwise("row", rows.tolist(), rows, values, ratios, sample)
        parts.append(_smoothed(result, found, as_tree(problem, found)))
    whole = parts[0]
    whole.elpd_i, whole.pareto_k = (xr.concat([p[name] for p in parts], "row") for name in ("elpd_i", "pareto_k"))
    whole.n_data_points, whole.elpd = n, float(whole.elpd_i.sum())
    whole.se, whole.p = _standard_error(whole.elpd_i.to_numpy()), float(sum(p.p for p in parts))
    whole.warning, whole.log_weights = any(p.warning for p in parts), None
    return whole


def _take_over(earlier: Any, found: Pointwise, elpd: Any) -> None:
    """Put the exact values of an earlier answer, whose k-hat is zero, into this one."""
    if getattr(earlier, "elpd_i", None) is None or earlier.elpd_i.shape != elpd.elpd_i.shape:
        raise refused("resume", earlier, f"what loo() of the same {len(found.labels)} units returned")
    exact_before = earlier.pareto_k == 0.0
    elpd.elpd_i = elpd.elpd_i.where(~exact_before, earlier.elpd_i)
    elpd.pareto_k = elpd.pareto_k.where(~exact_before, 0.0)


def _with_exact(
    problem: Problem, result: Result, found: Pointwise, elpd: Any, poor: NDArray[np.int64], **options: Any
) -> Any:
    """Put exact values where importance sampling failed."""
    elpd_i, k = elpd.elpd_i.copy(), elpd.pareto_k.copy()
    done = 0
    try:
        with ticker(len(poor), "auto", "fits without a unit") as advance:
            for j in poor:
                elpd_i[j] = exact(problem, result, found, int(j), **options)
                k[j] = 0.0
                done += 1
                advance(1)
    except KeyboardInterrupt:
        if not done:
            raise KeyboardInterrupt("stopped before the first fit without a unit was finished.") from None
        warn(
            f"stopped: {done} of {len(poor)} fits without a unit are finished, the other units keep their weighted "
            "estimates; loo(..., refit=..., resume=...) with what is returned goes on.",
            BayesGLMMWarning,
        )
    return with_values(found, elpd, elpd_i, k)


def with_values(found: Pointwise, elpd: Any, elpd_i: Any, k: Any) -> Any:
    """ArviZ's answer with other values of its units, and their sums."""
    full = np.array([_log_mean(found.values[..., j].ravel()) for j in range(len(found.labels))])
    values = elpd_i.to_numpy()
    elpd.elpd_i, elpd.pareto_k = elpd_i, k
    elpd.elpd, elpd.se = float(values.sum()), _standard_error(values)
    elpd.p = float(full.sum() - values.sum())
    elpd.warning = bool(np.any(k.to_numpy() > elpd.good_k))
    return elpd


def exact(
    problem: Problem, result: Result, found: Pointwise, j: int, *, nodes: int, draws: int, seed: int | None
) -> float:
    """Log predictive density of one unit, by a fit without it."""
    from bayesglmm.methods.registry import METHODS

    without = without_rows(problem, found.of_row == j)
    method = METHODS[result.method.removesuffix("+psis")]
    options = {k: v for k, v in result.options.items() if k in method.options and k != "progress"}
    again = method.run(without, **options)
    rows = found.unit == "row"
    sample, ratios = _draws(without, again, rows, draws, seed)
    if rows:
        values = integrated(problem, sample, [j])[..., 0]
    else:
        held = unit_log_likelihood(problem, sample, nodes)
        values = held[..., j]
        if ratios is not None:
            ratios = ratios + np.delete(held, j, axis=2).sum(axis=2)
    if ratios is None:
        return _log_mean(values.ravel())
    from bayesglmm.latent.weights.importance import smooth

    weights = smooth(ratios.ravel()).log_weights
    return _log_mean(values.ravel() + weights + np.log(len(weights)))


def waic(problem: Problem, result: Result, unit: str = "row", **options: Any) -> dict[str, float]:
    """Widely applicable information criterion; see :meth:`bayesglmm.Fit.waic`."""
    found = pointwise(problem, result, unit, **options)
    if found.ratios is not None:
        raise MethodError("WAIC takes draws as they are, and these are an approximation's: use loo(), or refine().")
    values = found.values.reshape(-1, len(found.labels))
    density = np.array([_log_mean(v) for v in values.T])
    penalty = values.var(axis=0, ddof=1)
    each = density - penalty
    return {
        "elpd": float(each.sum()),
        "se": _standard_error(each),
        "p": float(penalty.sum()),
        "poor": int(np.sum(penalty > 0.4)),
    }


def _standard_error(each: Floats) -> float:
    """Of the sum of values that vary from unit to unit, as ArviZ has it."""
    return float(np.sqrt(len(each) * each.var(ddof=1)))


def _log_mean(x: Floats) -> float:
    top = float(x.max())
    return top + float(np.log(np.mean(np.exp(x - top)))) if np.isfinite(top) else -np.inf
