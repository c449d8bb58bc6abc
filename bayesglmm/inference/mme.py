"""Henderson's mixed-model equations with their labels: what BLUE and BLUP solve, and what their inverse says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.arguments import mapping, optional, takes, texts
from bayesglmm.errors import MethodError
from bayesglmm.latent.linear.mixed_equations import equations_at, prediction_errors_at
from bayesglmm.latent.linear.solution import Solution
from bayesglmm.latent.refit import solution_at, solution_of
from bayesglmm.parameters import pack
from bayesglmm.problem import Problem
from bayesglmm.result import Result

Floats = NDArray[np.float64]

#: Most columns of C⁻¹ that are made at a time.
LARGEST_BLOCK = 5000


@dataclass(frozen=True)
class MixedModelEquations:
    """The equations C (β̂, b̂) = r of a linear (or working linear) mixed model.

        C = [[X'R⁻¹X, X'R⁻¹Z], [Z'R⁻¹X, Z'R⁻¹Z + G⁻¹]],   r = [X'R⁻¹y, Z'R⁻¹y],

    whose solution is the generalised least-squares β̂ = (X'V⁻¹X)⁻¹X'V⁻¹y and the best linear unbiased prediction
    b̂ = GZ'V⁻¹(y − Xβ̂), V = ZGZ' + R, and whose inverse is the covariance of (β̂ − β, b̂ − b): Henderson (1975),
    Biometrics 31, 423-447, eq. 3-8.

    Parameters
    ----------
    coefficients : scipy sparse array, shape (p + m, p + m)
        C, not divided by the residual variance.
    rhs : Series, length p + m
        r, labelled by what each equation is for: coefficients, then ``"group[level] column"``.
    groups : tuple of str
        Grouping factor of every random effect, in order of the equations.
    prediction_error : DataFrame
        One row per random effect: ``group, level, term, blup, pev`` (the prediction-error variance Var(b̂ − b)),
        ``variance`` (of b itself) and ``reliability`` (1 − pev/variance, the squared correlation of b̂ with b).
    at : Solution
        The penalised least-squares solution behind it.
    """

    coefficients: Any
    rhs: pd.Series
    groups: tuple[str, ...]
    prediction_error: pd.DataFrame
    at: Solution

    @property
    def names(self) -> tuple[str, ...]:
        """What each equation is for."""
        return tuple(self.rhs.index)

    @cached_property
    def solution(self) -> pd.Series:
        """(β̂, b̂) by name, from the sparse equations themselves."""
        return pd.Series(self._factor.solve(self.rhs.to_numpy()), index=self.rhs.index, name="solution")

    @cached_property
    def cov_fixed(self) -> pd.DataFrame:
        """Covariance of β̂: the leading block of C⁻¹."""
        names = list(self.names[: len(self.at.beta)])
        return pd.DataFrame(self.at.cov_beta, index=names, columns=names)

    @takes(rows=optional(texts))
    def inverse(self, rows: str | Sequence[str] | None = None) -> pd.DataFrame:
        """Block of C⁻¹ that belongs to some of the equations.

        Parameters
        ----------
        rows : str or list of str, optional
            Names of equations, a grouping factor (all its effects), or ``"fixed"``; all equations when left out.

        Returns
        -------
        DataFrame
            Covariances of β̂ − β and b̂ − b.

        Raises
        ------
        MethodError
            An unknown name, or a block too large to be made.
        """
        where = self._positions(rows)
        if len(where) > LARGEST_BLOCK:
            raise MethodError(
                f"the block has {len(where)} columns, and at most {LARGEST_BLOCK} are made at a time; "
                "prediction_error holds the variances of all effects."
            )
        unit = np.zeros((len(self.rhs), len(where)))
        unit[where, np.arange(len(where))] = 1.0
        names = [self.names[j] for j in where]
        return pd.DataFrame(self._factor.solve(unit)[where], index=names, columns=names)

    @cached_property
    def _factor(self) -> Any:
        from scipy.sparse.linalg import splu

        return splu(self.coefficients.tocsc())

    def _positions(self, rows: str | Sequence[str] | None) -> NDArray[np.int64]:
        p = len(self.at.beta)
        if rows is None:
            return np.arange(len(self.rhs))
        out: list[int] = []
        position = {name: j for j, name in enumerate(self.names)}
        for name in [rows] if isinstance(rows, str) else rows:
            if name in position:
                out.append(position[name])
            elif name == "fixed":
                out += range(p)
            elif name in self.groups:
                out += [p + j for j, group in enumerate(self.groups) if group == name]
            else:
                raise MethodError(
                    f"no equation is named {name!r}: expected a coefficient, 'group[level] column', 'fixed' or one of "
                    f"{', '.join(dict.fromkeys(self.groups))}."
                )
        return np.array(out, dtype=np.int64)


@takes(params=optional(mapping))
def mixed_model_equations(
    problem: Problem, result: Result | None = None, params: Mapping[str, Any] | None = None
) -> MixedModelEquations:
    """The mixed-model equations at a fit, or at given variance parameters.

    Parameters
    ----------
    problem : Problem
        The model.
    result : Result, optional
        A fit by ML or REML; for PQL and MQL the equations of the final working response.
    params : mapping, optional
        ``"<group>.sd"``, ``"<group>.corr"`` and ``"sigma"`` at which the equations of a Gaussian model are set up in
        place of the estimates.

    Raises
    ------
    MethodError
        A fit by another method, a variance of zero (G has no inverse then), or a parameter that is unknown or missing.
    """
    if not problem.design.blocks:
        raise MethodError("mixed-model equations need random effects, and this model has none.")
    if params is not None:
        zeros = dict.fromkeys(problem.design.columns, 0.0)
        strange = [name for name in params if name in zeros]
        if strange:
            raise MethodError(f"the equations are solved for {strange[0]}: give variance parameters only.")
        point = pack(problem, {**zeros, **params})
        sigma = float(np.exp(point.psi[0])) if len(point.psi) else 1.0
        at = solution_at(problem, point.theta, point.psi, sigma**2)
    elif result is not None:
        at = solution_of(problem, result)
    else:
        raise MethodError("mixed-model equations need a fit, or variance parameters.")
    found = equations_at(problem, at)
    table = _predictions(problem, at)
    rhs = pd.Series(found.rhs, index=pd.Index(found.names, name="equation"), name="rhs")
    return MixedModelEquations(found.coefficients, rhs, tuple(table["group"]), table, at)


def _predictions(problem: Problem, at: Solution) -> pd.DataFrame:
    tables = []
    errors = prediction_errors_at(at)
    for block, covariance, L, effects, error in zip(
        problem.design.blocks, problem.covariance, at.lambdas, at.effects, errors
    ):
        levels, q = effects.shape
        prior = np.broadcast_to(at.scale * np.sum(L**2, axis=1), (levels, q))
        if covariance.precision is not None:
            prior = _diagonal_of_inverse(covariance.precision)[:, None] * prior
        table = pd.DataFrame({"group": np.repeat(block.group, levels * q), "level": np.repeat(block.levels, q)})
        table["term"] = np.tile(block.columns, levels)
        table["blup"], table["pev"], table["variance"] = effects.ravel(), error.ravel() ** 2, prior.ravel()
        table["reliability"] = 1.0 - table["pev"] / table["variance"]
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _diagonal_of_inverse(precision: Any) -> Floats:
    """Diagonal of K from its sparse inverse, some columns at a time."""
    from scipy.sparse.linalg import splu

    factor, m = splu(precision.tocsc()), precision.shape[0]
    out = np.empty(m)
    for start in range(0, m, 256):
        where = np.arange(start, min(start + 256, m))
        unit = np.zeros((m, len(where)))
        unit[where, np.arange(len(where))] = 1.0
        out[where] = factor.solve(unit)[where, np.arange(len(where))]
    return out
