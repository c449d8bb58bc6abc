"""Likelihood-ratio tests of mixed models: what is compared, and the reference where a variance is zero under the null.

A variance that is zero under the smaller model lies on the boundary of the larger one's parameters: the statistic is
then a mixture of χ² variables. For one more random-effect column, correlated with q others or with none, half of it is
χ²(m − 1) and half χ²(m), m the number of further parameters (Self & Liang 1987, J. Am. Stat. Assoc. 82, 605-610, cases
5 and 6; Stram & Lee 1994, Biometrics 50, 1171-1177, cases 1 to 3). For several columns at once the weights depend on
the information, and no mixture for a cone is larger than that same one (Perlman 1969, Ann. Math. Stat. 40, 549-567):
the p-value is an upper bound, and a parametric bootstrap gives the exact one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.design.types import RandomBlock
from bayesglmm.errors import MethodError
from bayesglmm.inference.outcome import tail_probability
from bayesglmm.inference.score import check_nested
from bayesglmm.problem import Problem
from bayesglmm.result import Result

Floats = NDArray[np.float64]
Pair = tuple[Problem, Result]

#: Methods with a marginal likelihood, all constants kept.
MARGINAL = ("laplace", "agq", "ml")


@dataclass(frozen=True)
class Reference:
    """Distribution of a likelihood ratio under the smaller model.

    Parameters
    ----------
    df : int
        Number of further parameters.
    zero : int
        Number of random-effect columns whose variance is zero under the smaller model.
    """

    df: int
    zero: int

    def tail(self, statistic: float) -> float:
        """Tail probability; an upper bound of it for more than one column."""
        top = tail_probability("chi2", statistic, self.df)
        if not self.zero:
            return top
        below = tail_probability("chi2", statistic, self.df - 1) if self.df > 1 else float(statistic <= 0.0)
        return 0.5 * below + 0.5 * top

    def __str__(self) -> str:
        if not self.zero:
            return f"χ²({self.df})"
        mixture = f"½χ²({self.df - 1}) + ½χ²({self.df})"
        return mixture if self.zero == 1 else f"at most {mixture}"


def reference(small: Pair, full: Pair) -> Reference:
    """The reference of the likelihood ratio of two nested fits.

    Parameters
    ----------
    small, full : tuple of (Problem, Result)
        The fits.

    Raises
    ------
    MethodError
        The fits are not nested.
    """
    if small[0].design.columns != full[0].design.columns or np.any(small[0].design.offset != full[0].design.offset):
        check_nested(small[0], full[0])
    df = int(full[1].df_model - small[1].df_model)
    if df <= 0:
        raise MethodError("two of the fits have the same number of parameters: they are not nested.")
    return Reference(df, _further_columns(small[0], full[0]))


def _further_columns(small: Problem, full: Problem) -> int:
    """Random-effect columns of the larger model that the smaller lacks."""
    count = sum(b.z.shape[1] for b in full.design.blocks)
    left = list(range(len(full.design.blocks)))
    for block, cov in zip(small.design.blocks, small.covariance):
        k = next((k for k in left if _same_levels(block, full.design.blocks[k])), None)
        if k is None or not _spanned(block.z, full.design.blocks[k].z) or cov.n_params > full.covariance[k].n_params:
            raise MethodError(
                f"the fits are not nested: the smaller model's random effects of {block.group} are not among the "
                "larger's."
            )
        left.remove(k)
        count -= block.z.shape[1]
    return count


def _same_levels(a: RandomBlock, b: RandomBlock) -> bool:
    """Whether two grouping factors cut the rows in the same way, whatever their names."""
    if len(a.levels) != len(b.levels):
        return False
    return len(np.unique(a.codes * np.int64(len(b.levels)) + b.codes)) == len(a.levels)


def _spanned(inner: Floats, outer: Floats) -> bool:
    found = np.linalg.lstsq(outer, inner, rcond=None)[0]
    return bool(np.allclose(outer @ found, inner, rtol=1e-7, atol=1e-8 * np.abs(inner).max()))


def check_likelihoods(ordered: list[Pair]) -> None:
    """Refuse likelihoods that say nothing about each other.

    Raises
    ------
    MethodError
        Different weights, a posterior mode in place of a maximum, other approximations of the same likelihood, or
        restricted likelihoods of different fixed effects.
    """
    first, first_result = ordered[0]
    mixed = [(p, r) for p, r in ordered if p.design.blocks]
    for problem, result in ordered:
        if not np.array_equal(problem.case_weights, first.case_weights):
            raise MethodError("the fits have different weights or trials: they are not of the same data.")
        if problem.priors is not None and result.method in MARGINAL and result.method != "ml":
            raise MethodError(
                "a likelihood ratio needs maximum likelihood, and these fits have priors: fit the models with "
                "priors='flat'."
            )
        if result.method != first_result.method and not _comparable(ordered):
            raise MethodError(
                f"the fits were made by different methods: {first_result.method!r} and {result.method!r}."
            )
        if result.method == "reml" and problem.design.columns != first.design.columns:
            raise MethodError("restricted likelihoods of different fixed effects are not comparable; fit by 'ml'.")
    nodes = {str(_plain(r.options.get("nodes", 1))) for _, r in mixed}
    if len(nodes) > 1:
        listed = " and ".join(sorted(nodes))
        raise MethodError(f"the fits used different numbers of quadrature nodes ({listed}); use the same for all.")


def _plain(nodes: Any) -> Any:
    """(k, k) nodes of two nested factors as k."""
    return nodes[0] if isinstance(nodes, tuple | list) and len(set(nodes)) == 1 else nodes


def _comparable(ordered: list[Pair]) -> bool:
    """Whether fits by different methods have one likelihood: Laplace and irls are exact without random effects."""
    methods = {r.method for p, r in ordered if p.design.blocks}
    gaussian = ordered[0][0].family.name == "gaussian" and ordered[0][0].link.name == "identity"
    if len(methods) > 1 and not (gaussian and methods <= {"ml", "laplace"}):
        return False
    return methods <= set(MARGINAL) and all(p.design.blocks or _exact(p, r) for p, r in ordered)


def _exact(problem: Problem, result: Result) -> bool:
    """Whether a fit without random effects maximised the likelihood it reports."""
    if result.method != "irls":
        return result.method in MARGINAL
    own = result.options.get("penalty") is None and result.loglik is not None
    return own and (problem.family.scale is not None or problem.family.name == "gaussian")
