"""What is summed over all rows once the coefficients are found: likelihood, scale and sandwich covariances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bayesglmm.problem import Problem
from bayesglmm.scores.likelihood import aux_score, loglik_at, maximise_auxiliary
from bayesglmm.scores.rows import BLOCK_ROWS, RowSource, problem_rows
from bayesglmm.scores.sandwich import cluster_codes, cluster_covariance, heteroscedastic_covariance
from bayesglmm.scores.scale import SCALES
from bayesglmm.scores.solution import Solution
from bayesglmm.scores.working import Aux

Floats = NDArray[np.float64]


class Totals(Protocol):
    """Sums over all rows at fixed coefficients, wherever the rows are."""

    @property
    def eta(self) -> Floats:
        """Linear predictor to report, shape (n,); empty where it is not kept."""
        ...

    def loglik(self, psi: Floats) -> float:
        """Log-likelihood with all constants, at unconstrained auxiliaries."""
        ...

    def aux_score(self, psi: Floats) -> Floats:
        """Derivative of the log-likelihood in the unconstrained auxiliaries, shape (n_aux,)."""
        ...

    def maximise_auxiliary(self, psi: Floats) -> tuple[Floats, bool]:
        """Maximum-likelihood auxiliary, and whether it is an interior maximum."""
        ...

    def scale(self, kind: str, df: float, aux: Aux) -> float:
        """Estimate the scale φ by one of ``SCALES``."""
        ...

    def heteroscedastic(self, kind: str, state: Solution) -> Floats:
        """HC0 to HC3 covariance, shape (p, p)."""
        ...

    def clustered(self, groups: Any, small_sample: str, state: Solution) -> tuple[Floats, tuple[int, ...]]:
        """Cluster-robust covariance, shape (p, p), and the numbers of clusters."""
        ...


@dataclass(frozen=True)
class InMemory:
    """Totals of rows in memory.

    Parameters
    ----------
    problem : Problem
        The model.
    source : RowSource
        Its rows.
    eta : ndarray, shape (n,)
        Linear predictor.
    """

    problem: Problem
    source: RowSource
    eta: Floats

    def loglik(self, psi: Floats) -> float:
        """Log-likelihood with all constants, at unconstrained auxiliaries."""
        return loglik_at(self.problem, self.eta, psi)

    def aux_score(self, psi: Floats) -> Floats:
        """Derivative of the log-likelihood in the unconstrained auxiliaries, shape (n_aux,)."""
        return aux_score(self.problem, self.eta, psi)

    def maximise_auxiliary(self, psi: Floats) -> tuple[Floats, bool]:
        """Maximum-likelihood auxiliary, and whether it is an interior maximum."""
        return maximise_auxiliary(self.problem, self.eta, psi)

    def scale(self, kind: str, df: float, aux: Aux) -> float:
        """Estimate the scale φ by one of ``SCALES``."""
        problem = self.problem
        mu = problem.link.mean(self.eta)
        return SCALES[kind](problem.family, mu, problem.mean_response, problem.case_weights, df, aux)

    def heteroscedastic(self, kind: str, state: Solution) -> Floats:
        """HC0 to HC3 covariance, shape (p, p)."""
        short = problem_rows(self.problem, BLOCK_ROWS // 8)  # leverages need three temporaries of a block's size
        scored, family, link = state.scored, self.problem.family, self.problem.link
        return heteroscedastic_covariance(kind, short, family, link, state.aux, scored.beta, scored.factor)

    def clustered(self, groups: Any, small_sample: str, state: Solution) -> tuple[Floats, tuple[int, ...]]:
        """Cluster-robust covariance, shape (p, p), and the numbers of clusters."""
        n, scored = self.problem.design.nobs, state.scored
        codes = cluster_codes(groups, n)
        cov = cluster_covariance(
            codes,
            self.source,
            self.problem.family,
            self.problem.link,
            state.aux,
            scored.beta,
            scored.factor,
            n=n,
            small_sample=small_sample,
        )
        return cov, tuple(int(c.max()) + 1 for c in codes)
