"""Score equations of data in chunks: the sums of the in-memory fit, part by part, and one more pass per extra.

The solver is the same; its row source reads the chunks again at every pass. What the in-memory fit takes from a
linear predictor of all rows (log-likelihood, auxiliaries, sandwich covariances) is summed here part by part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.design.chunked import BoundPart, ChunkedDesign
from bayesglmm.design.chunks import map_ordered
from bayesglmm.design.types import Design
from bayesglmm.errors import DataError, MethodError
from bayesglmm.families.base import Family
from bayesglmm.links import Link
from bayesglmm.problem import Problem
from bayesglmm.scores.alternate import Profile
from bayesglmm.scores.chunked_clusters import ClusterTotals, merged
from bayesglmm.scores.likelihood import aux_score, loglik_at, maximise_score
from bayesglmm.scores.rows import BLOCK_ROWS, MANY_ROWS, Rows, RowSource, design_rows, problem_rows
from bayesglmm.scores.sandwich import check_small_sample, covariance_of_clusters, heteroscedastic_covariance
from bayesglmm.scores.scale import fletcher_terms
from bayesglmm.scores.scoring import Scored
from bayesglmm.scores.solution import Solution
from bayesglmm.scores.working import Aux, pearson_terms

Floats = NDArray[np.float64]

#: Rows that are one task of an executor when the data are in memory.
TASK_ROWS = 16 * BLOCK_ROWS


def chunked_design(problem: Problem) -> ChunkedDesign:
    """The design of a problem whose data come in chunks."""
    assert isinstance(problem.design, ChunkedDesign)
    return problem.design


def chunked_rows(problem: Problem, executor: Any = None) -> RowSource:
    """The rows of data in chunks; every pass reads them again.

    Parameters
    ----------
    problem : Problem
        Its design is a :class:`~bayesglmm.design.chunked.ChunkedDesign`.
    executor : concurrent.futures.Executor, optional
        Sums the parts; they are added up in their order, so that the result does not depend on who was first.
    """
    design = chunked_design(problem)

    def blocks() -> Iterator[Rows]:
        for part in design.map(_itself):
            yield from part_blocks(part)

    whole = RowSource(blocks, design.columns, map=lambda function: design.map(_OfPart(function), executor))
    if design.looked is not None:
        whole = replace(whole, opening=partial(design.looked.opening, p=len(design.columns)))
    if design.nobs < MANY_ROWS:
        return whole
    return replace(whole, n=design.nobs, sample=partial(design_rows, design.sample))


def memory_rows(problem: Problem, executor: Any = None) -> RowSource:
    """The rows of data in memory, in tasks for an executor where there is one."""
    source = problem_rows(problem)
    if executor is None:
        return source
    starts = range(0, problem.design.nobs, TASK_ROWS)

    def slices(function: Callable[[RowSource], Any]) -> Iterator[Any]:
        designs = (_rows_of(problem.design, slice(start, start + TASK_ROWS)) for start in starts)
        return map_ordered(_OfDesign(function), designs, executor)

    return replace(source, map=slices)


def _rows_of(design: Design, rows: slice) -> Design:
    """Some rows of a design in memory, as views."""
    r = design.response
    assert r is not None
    return Design(
        formula=None,
        response=replace(r, y=r.y[rows], trials=None if r.trials is None else r.trials[rows]),
        X=design.X[rows],
        columns=design.columns,
        aliased=design.aliased,
        offset=design.offset[rows],
        weights=None if design.weights is None else design.weights[rows],
        blocks=(),
        index=None,
    )


def _itself(part: BoundPart) -> BoundPart:
    return part


def part_blocks(part: BoundPart) -> Iterator[Rows]:
    """Blocks of the rows of one part."""
    for design, _ in part.designs():
        yield from design_rows(design).blocks()


@dataclass(frozen=True)
class _OfPart:
    """Function of a row source → function of a part."""

    function: Callable[[RowSource], Any]

    def __call__(self, part: BoundPart) -> Any:
        return self.function(RowSource(partial(part_blocks, part), part.bound.columns))


@dataclass(frozen=True)
class _OfDesign:
    """Function of a row source → function of a design in memory."""

    function: Callable[[RowSource], Any]

    def __call__(self, design: Design) -> Any:
        return self.function(design_rows(design))


@dataclass(frozen=True)
class OverParts:
    """Sums over the parts of functions of a problem in memory and its linear predictor.

    Parameters
    ----------
    problem : Problem
        Of data in chunks.
    beta : ndarray, shape (p,)
        Coefficients.
    executor : concurrent.futures.Executor or None
        Who sums.
    scored : Scored or None
        The solution, whose sums may hold what another pass would give.
    """

    problem: Problem
    beta: Floats
    executor: Any = None
    scored: Scored | None = None

    def sum(self, function: Callable[[Problem, Floats], Any]) -> Any:
        """Sum what a function (problem, linear predictor) → number or array gives for each part."""
        task = _OfProblem(function, self.problem.family, self.problem.link, self.beta)
        parts = [value for value in chunked_design(self.problem).map(task, self.executor) if value is not None]
        return sum(parts[1:], start=parts[0])

    def loglik(self, psi: Floats) -> float:
        """Log-likelihood with all constants, at unconstrained auxiliaries.

        Without auxiliaries it is half the deviance below what the first pass found that a perfect fit would have.
        """
        scored = self.scored
        if scored is not None and scored.opening is not None:
            loglik = scored.opening.saturated - 0.5 * scored.sums.deviance
            if np.isfinite(loglik):
                return loglik
        return float(self.sum(partial(loglik_at, psi=psi)))

    def aux_score(self, psi: Floats) -> Floats:
        """Derivative of the log-likelihood in the unconstrained auxiliaries, shape (n_aux,)."""
        return self.sum(partial(aux_score, psi=psi))

    def maximise_auxiliary(self, psi: Floats) -> tuple[Floats, bool]:
        """As :func:`bayesglmm.scores.likelihood.maximise_auxiliary`, one pass an evaluation."""
        return maximise_score(lambda value: float(self.aux_score(np.array([value]))[0]), psi)

    @property
    def eta(self) -> Floats:
        """Empty: the linear predictor of all rows is not kept."""
        return np.empty(0)

    def scale(self, kind: str, df: float, aux: Aux) -> float:
        """Fletcher's estimate of the scale, in one pass; Huber's needs all residuals at once."""
        if kind == "huber":
            raise MethodError("scale='huber' needs all residuals in memory; use 'pearson', 'fletcher' or 'deviance'.")
        pearson, bend, n = self.sum(partial(_fletcher_sums, aux=aux))
        return float(pearson / df / (1.0 + bend / n))

    def heteroscedastic(self, kind: str, state: Solution) -> Floats:
        """HC0 to HC3 covariance, shape (p, p), in one pass."""
        source, family, link = chunked_rows(self.problem, self.executor), self.problem.family, self.problem.link
        return heteroscedastic_covariance(kind, source, family, link, state.aux, self.beta, state.scored.factor)

    def clustered(self, groups: Any, small_sample: str, state: Solution) -> tuple[Floats, tuple[int, ...]]:
        """Cluster-robust covariance, shape (p, p), in one pass, and the numbers of clusters."""
        check_small_sample(small_sample)
        names = (groups,) if isinstance(groups, str) else tuple(groups) if isinstance(groups, tuple | list) else ()
        if len(names) not in (1, 2) or not all(isinstance(name, str) for name in names):
            raise MethodError("cov='cluster' with data in chunks needs groups=: the name of a column, or of two.")
        task = ClusterTotals(self.problem.family, self.problem.link, state.aux, self.beta, names)
        totals = merged(chunked_design(self.problem).map(task, self.executor, names), len(self.beta))
        sizes = tuple(len(u) for u in totals[: len(names)])
        if min(sizes) < 2:
            raise DataError("groups has a single cluster; a cluster-robust covariance needs at least two.")
        n = chunked_design(self.problem).nobs
        return covariance_of_clusters(totals, state.scored.factor, n=n, small_sample=small_sample), sizes


def chunked_profile(problem: Problem, executor: Any = None) -> Profile:
    """How the auxiliary of a variance function is found from data in chunks."""

    def maximise(beta: Floats, psi: Floats) -> tuple[Floats, bool]:
        return OverParts(problem, beta, executor).maximise_auxiliary(psi)

    return Profile(replace(problem, design=chunked_design(problem).sample), maximise)


def _fletcher_sums(problem: Problem, eta: Floats, aux: Aux) -> Floats:
    """Pearson statistic, Σ s of Fletcher's estimate, and rows."""
    family, mu, y = problem.family, problem.link.mean(eta), problem.mean_response
    pearson = pearson_terms(family, mu, y, problem.case_weights, aux).sum()
    return np.array([pearson, fletcher_terms(family, mu, y, aux).sum(), len(y)])


@dataclass(frozen=True)
class _OfProblem:
    """Function of a problem and its linear predictor → function of a part."""

    function: Callable[[Problem, Floats], Any]
    family: Family
    link: Link
    beta: Floats

    def __call__(self, part: BoundPart) -> Any:
        total = None
        for design, _ in part.designs():
            problem = Problem(design, self.family, self.link, (), None)
            value = self.function(problem, design.X @ self.beta + design.offset)
            total = value if total is None else total + value
        return total
