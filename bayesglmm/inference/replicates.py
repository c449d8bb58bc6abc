"""Replicates of a parametric bootstrap: one simulated response, fitted again; and what they add up to."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm import quantiles
from bayesglmm.arguments import plain, probability, takes
from bayesglmm.errors import BayesGLMMError, BayesGLMMWarning, MethodError
from bayesglmm.marginals import marginals
from bayesglmm.methods.registry import METHODS
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.simulate import simulate

Floats = NDArray[np.float64]

INTERVALS = ("percentile", "basic", "normal")


@dataclass(frozen=True)
class Refitted:
    """One replicate: estimates by name and perhaps a likelihood ratio, or why there are none."""

    estimates: dict[str, float]
    ratio: float | None = None
    failure: str = ""


@dataclass(frozen=True)
class Task:
    """What every replicate does.

    Parameters
    ----------
    problem : Problem
        The model (or its portable form, on the way to another process).
    options : dict
        Of the method.
    method : str
        Its name.
    point : tuple of ndarray
        (β, θ, ψ) to simulate from.
    alternative : tuple or None
        (problem, method, options) of a larger model.
    """

    problem: Any
    options: dict[str, Any]
    method: str
    point: tuple[Floats, Floats, Floats]
    alternative: tuple[Any, str, dict[str, Any]] | None = None

    def sent(self, take_apart: Callable[[Problem], Any]) -> Task:
        """The same with problems in portable form."""
        other = self.alternative
        return replace(
            self,
            problem=take_apart(self.problem),
            alternative=None if other is None else (take_apart(other[0]), *other[1:]),
        )

    def received(self) -> Task:
        """The same with problems put together again."""
        other = self.alternative
        return replace(
            self,
            problem=self.problem.problem(),
            alternative=None if other is None else (other[0].problem(), *other[1:]),
        )


def run_portable(task: Task, seeds: Sequence[np.random.SeedSequence]) -> list[Refitted]:
    """Run replicates of a task that was sent."""
    return run_here(task.received(), seeds)


def run_here(task: Task, seeds: Sequence[np.random.SeedSequence]) -> list[Refitted]:
    """Run replicates, one per seed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesGLMMWarning)
        return [_one(task, seed) for seed in seeds]


def _one(task: Task, seed: np.random.SeedSequence) -> Refitted:
    rng = np.random.Generator(np.random.PCG64(seed))
    try:
        y = simulate(task.problem, *task.point, rng)[0]
        problem = with_response(task.problem, y)
        result = METHODS[task.method].run(problem, **task.options)
        if not result.status.converged:
            return Refitted({}, failure=f"not converged: {result.status.reason}")
        estimates = {name: m.estimate for name, m in marginals(problem, result).items()}
        if task.alternative is None:
            return Refitted(estimates)
        larger, method, options = task.alternative
        other: Result = METHODS[method].run(with_response(larger, y), **options)
        if not other.status.converged:
            return Refitted({}, failure=f"larger model not converged: {other.status.reason}")
        assert other.loglik is not None
        assert result.loglik is not None
        return Refitted(estimates, 2.0 * (other.loglik - result.loglik))
    except (BayesGLMMError, ArithmeticError, ValueError, np.linalg.LinAlgError) as error:
        return Refitted({}, failure=f"{type(error).__name__}: {error}")


def with_response(problem: Problem, y: Floats) -> Problem:
    """The same problem with another response."""
    return replace(problem, design=replace(problem.design, response=replace(problem.response, y=y)))


@dataclass(frozen=True)
class Bootstrap:
    """Outcome of a parametric bootstrap.

    Parameters
    ----------
    original : Series
        Estimates of the fit itself, by parameter.
    estimates : DataFrame
        A row per replicate that succeeded (indexed by its number), a column per parameter.
    failures : DataFrame
        ``reason`` of every replicate that did not, indexed by its number.
    ratios : Series or None
        Likelihood ratios of the replicates, with an alternative.
    ratio : float or None
        The data's own.
    seed : int or None
        What the seeds of the replicates were spawned from.
    total : int or None
        Replicates asked for; more than there are when it was stopped.

    Examples
    --------
    >>> import bayesglmm as bg, pandas as pd
    >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6], "x": [0.0, 1, 2, 0, 1, 2]})
    >>> found = bg.bootstrap(bg.Model("y ~ x", data, family="poisson").fit("irls"), 50, seed=1)
    >>> found.estimates.shape, len(found.failures)
    ((50, 2), 0)
    """

    original: pd.Series
    estimates: pd.DataFrame
    failures: pd.DataFrame
    ratios: pd.Series | None = None
    ratio: float | None = None
    seed: int | None = None
    total: int | None = None

    @classmethod
    def collect(
        cls, original: dict[str, float], done: Mapping[int, Refitted], ratio: float | None, seed: int, total: int
    ) -> Bootstrap:
        """Put replicates together, by number."""
        good = {k: one for k, one in sorted(done.items()) if not one.failure}
        bad = {k: one.failure for k, one in sorted(done.items()) if one.failure}
        index = pd.Index(list(good), name="replicate", dtype="int64")
        estimates = pd.DataFrame([one.estimates for one in good.values()], index=index, columns=list(original))
        failures = pd.DataFrame({"reason": list(bad.values())}, index=pd.Index(list(bad), name="replicate"))
        ratios = None
        if ratio is not None:
            ratios = pd.Series([one.ratio for one in good.values()], index=index, name="ratio", dtype=float)
        return cls(pd.Series(original, name="estimate"), estimates, failures, ratios, ratio, seed, total)

    @property
    def finished(self) -> dict[int, Refitted]:
        """Every replicate by its number, failures among them."""
        ratios = {} if self.ratios is None else {int(k): float(v) for k, v in self.ratios.items()}
        rows = self.estimates.to_dict("index")
        good = {int(k): Refitted({str(n): float(v) for n, v in r.items()}, ratios.get(k)) for k, r in rows.items()}
        return good | {int(k): Refitted({}, failure=str(why)) for k, why in self.failures["reason"].items()}

    @property
    def table(self) -> pd.DataFrame:
        """One row per parameter: ``estimate, mean, bias, se``."""
        mean = self.estimates.mean()
        columns = {"estimate": self.original, "mean": mean, "bias": mean - self.original, "se": self.estimates.std()}
        return pd.DataFrame(columns).rename_axis("parameter")

    @property
    def p(self) -> float:
        """Bootstrapped p-value of the likelihood ratio, (1 + replicates at least as large)/(1 + replicates).

        Raises
        ------
        MethodError
            There was no alternative.
        """
        if self.ratios is None or self.ratio is None:
            raise MethodError("no larger model was fitted: give bg.bootstrap(small, alternative=large).")
        # Ratios that are zero in truth (a variance at zero) differ by rounding only.
        return float((1 + (self.ratios >= self.ratio - 1e-7).sum()) / (1 + len(self.ratios)))

    @takes(method=plain, level=probability)
    def confint(self, method: str = "percentile", level: float = 0.95) -> pd.DataFrame:
        """Bootstrap intervals.

        Parameters
        ----------
        method : {"percentile", "basic", "normal"}
            Quantiles of the replicates; twice the estimate less those quantiles; estimate less bias ± z standard
            errors. Ends of sds and correlations stay in their range.
        level : float
            Coverage.

        Returns
        -------
        DataFrame
            ``estimate, ci_low, ci_high``, a row per parameter.

        Raises
        ------
        MethodError
            An unknown method, or fewer than two replicates that succeeded.
        """
        if method not in INTERVALS:
            raise MethodError(f"unknown interval {method!r}; {', '.join(INTERVALS)} is expected.")
        if len(self.estimates) < 2:
            raise MethodError(f"{len(self.estimates)} replicates succeeded: too few for an interval. {self._failed()}")
        tail = 0.5 * (1.0 - level)
        low, high = self.estimates.quantile(tail), self.estimates.quantile(1.0 - tail)
        if method == "basic":
            low, high = 2.0 * self.original - high, 2.0 * self.original - low
        elif method == "normal":
            center, reach = 2.0 * self.original - self.estimates.mean(), quantiles.norm.ppf(1.0 - tail)
            low, high = center - reach * self.estimates.std(), center + reach * self.estimates.std()
        sds = self.original.index.str.contains(r"\.sd(?:\[|$)", regex=True)
        corrs = self.original.index.str.contains(".corr[", regex=False)
        floor = np.where(sds, 0.0, np.where(corrs, -1.0, -np.inf))
        ceiling = np.where(corrs, 1.0, np.inf)
        table = {"estimate": self.original, "ci_low": np.clip(low, floor, ceiling)}
        table["ci_high"] = np.clip(high, floor, ceiling)
        return pd.DataFrame(table).rename_axis("parameter")

    def _failed(self) -> str:
        counts = Counter(self.failures["reason"])
        return "; ".join(f"{count} × {reason}" for reason, count in counts.most_common(5))

    def __str__(self) -> str:
        intervals = self.confint()[["ci_low", "ci_high"]] if len(self.estimates) > 1 else None
        table = self.table if intervals is None else self.table.join(intervals)
        total = self.total or len(self.estimates) + len(self.failures)
        lines = [f"Parametric bootstrap, {len(self.estimates)} of {total} replicates", table.to_string()]
        if len(self.failures):
            lines.append(f"failed: {self._failed()}")
        if self.ratios is not None:
            lines.append(f"likelihood ratio {self.ratio:.6g}, bootstrapped p = {self.p:.4g}")
        return "\n".join(lines)
