"""Coordinates in which one parameter of a model is one number of a vector.

A coefficient, an auxiliary, the sd of an independent term are coordinates of the optimiser's vector already. For the
sds and correlations of an unstructured term the same covariance is written in other coordinates, in which the
parameter is one coordinate: its column first (then its sd is the first entry of Λ), or its two columns first, with two
sds and their correlation in place of the first rows of Λ (:data:`PAIR`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesglmm.covariance import FORMS, BlockCovariance, Coordinate, Form
from bayesglmm.design.types import RandomBlock
from bayesglmm.problem import Problem

Floats = NDArray[np.float64]


def _pair_coordinates(q: int) -> tuple[Coordinate, ...]:
    first = (Coordinate("scale", even=False), Coordinate("scale", even=False), Coordinate("interval", -1.0, 1.0))
    return first + FORMS["unstructured"].coordinates(q)[3:]


def _pair_entries(theta: Floats) -> Floats:
    """Entries of an unstructured Λ from (sd₁, sd₂, ρ, the later rows)."""
    sd1, sd2, rho = theta[:3]
    return np.concatenate([[sd1, rho * sd2, np.sqrt(1.0 - rho**2) * sd2], theta[3:]])


def _pair_pullback(theta: Floats, q: int, G: Floats) -> Floats:
    g = FORMS["unstructured"].pullback(_pair_entries(theta), q, G)
    _, sd2, rho = theta[:3]
    rest = np.sqrt(1.0 - rho**2)
    return np.concatenate([[g[0], rho * g[1] + rest * g[2], sd2 * (g[1] - rho / rest * g[2])], g[3:]])


def _pair_from(sd: Floats, corr: Floats) -> Floats:
    return np.concatenate([[sd[0], sd[1], corr[1, 0]], FORMS["unstructured"].from_sd_corr(sd, corr)[3:]])


#: An unstructured covariance whose first two columns have sds and a correlation for coordinates.
PAIR = Form(
    "pair",
    _pair_coordinates,
    lambda theta, q: FORMS["unstructured"].factor(_pair_entries(theta), q),
    _pair_pullback,
    _pair_from,
    lambda theta, q: theta,
)


@dataclass(frozen=True)
class Chart:
    """A problem written so that one parameter is one coordinate.

    Parameters
    ----------
    problem : Problem
        The same model, columns of a random term perhaps in another order.
    beta, theta, psi : ndarray
        The estimate.
    index : int
        The parameter's place in (β, θ, ψ).
    low, high : float
        Its range.
    """

    problem: Problem
    beta: Floats
    theta: Floats
    psi: Floats
    index: int
    low: float = -np.inf
    high: float = np.inf

    @property
    def estimate(self) -> float:
        """The parameter's estimate."""
        return float(np.concatenate([self.beta, self.theta, self.psi])[self.index])


def covariance_chart(chart: Chart, k: int, i: int, j: int) -> Chart:
    """The chart of an sd (i = j) or a correlation (i ≠ j) of grouping factor `k`; i and j are columns of one term.

    Parameters
    ----------
    chart : Chart
        Problem and estimate; its index is not read.
    k : int
        Position of the grouping factor.
    i, j : int
        Columns of its z.
    """
    problem = chart.problem
    block, cov = problem.design.blocks[k], problem.covariance[k]
    starts = np.cumsum([0, *(c.n_params for c in problem.covariance)])
    own = chart.theta[starts[k] : starts[k + 1]]
    t = next(t for t, term in enumerate(cov.terms) if term.start <= i < term.stop)
    offset = len(chart.beta) + int(starts[k])
    if cov.forms[t].name == "unstructured" and cov.terms[t].size > 1:
        form = cov.forms[t] if i == j else PAIR
        wanted = [i] if i == j else sorted((i, j))
        block, cov, own = _reordered(block, cov, own, t, wanted, form)
        problem = replace(
            problem,
            design=replace(problem.design, blocks=_with(problem.design.blocks, k, block)),
            covariance=_with(problem.covariance, k, cov),
        )
        place = 0 if i == j else 2
    else:
        coordinates = cov.forms[t].coordinates(cov.terms[t].size)
        scales = sum(c.kind == "scale" for c in coordinates)
        place = len(coordinates) - 1 if i != j else (0 if scales == 1 else i - cov.terms[t].start)
    place += cov.slices[t].start
    coordinate = cov.coordinates[place]
    low, high = (0.0, np.inf) if coordinate.kind == "scale" else (coordinate.low, coordinate.high)
    theta = np.concatenate([chart.theta[: starts[k]], own, chart.theta[starts[k + 1] :]])
    return Chart(problem, chart.beta, theta, chart.psi, offset + place, low, high)


def _with(items: tuple, k: int, item: object) -> tuple:
    return (*items[:k], item, *items[k + 1 :])


def _reordered(
    block: RandomBlock, cov: BlockCovariance, theta: Floats, t: int, wanted: list[int], form: Form
) -> tuple[RandomBlock, BlockCovariance, Floats]:
    """The block with the wanted columns first in term `t`, and that term's covariance in the given form."""
    term = cov.terms[t]
    order = np.arange(block.z.shape[1])
    order[term.start : term.stop] = [*wanted, *(c for c in range(term.start, term.stop) if c not in wanted)]
    sd, corr = cov.sd_corr(theta)
    block = replace(block, z=block.z[:, order], columns=tuple(block.columns[c] for c in order))
    cov = replace(cov, forms=_with(cov.forms, t, form))
    return block, cov, cov.from_sd_corr(sd[order], corr[np.ix_(order, order)])
