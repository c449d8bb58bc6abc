"""More random effects than the rows can bear: variances that no data of this design could show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesglmm.covariance import BlockCovariance
from bayesglmm.design.types import RandomBlock
from bayesglmm.errors import DataError
from bayesglmm.problem import Problem

Floats = NDArray[np.float64]

#: Levels with more rows than this are taken to show their variances.
MANY_ROWS = 50


def check_row_effects(problem: Problem) -> None:
    """Refuse as many random effects as rows where the response has nothing to tell their variances by.

    In a Gaussian model the residual variance is in the data only if no covariance of the random effects gives every
    level the same covariances of its rows: one row per level, or an intercept and a slope with the same two rows
    everywhere. A single trial, or an ordered category, is a threshold on a latent variable of fixed scale: an intercept
    per row only stretches the coefficients. Counts, proportions of several trials and positive responses bear it: it is
    overdispersion.

    Raises
    ------
    DataError
        Naming the grouping factor.
    """
    design, family = problem.design, problem.family
    gaussian = family.name == "gaussian" and problem.link.name == "identity" and not design.auxiliaries
    trial = family.name == "cumulative" or (family.name == "binomial" and bool((problem.case_weights == 1.0).all()))
    for block, covariance in zip(design.blocks, problem.covariance):
        levels = len(np.unique(block.codes)) if covariance.precision is None and (gaussian or trial) else 0
        if trial and levels == design.nobs and bool((block.z == block.z[0]).all(axis=0).any()):
            raise DataError(
                f"The grouping factor {block.group!r} has one row per level: one trial, or one category, does not show "
                "how much it would vary, so the variance of an effect per row is not in the data. Leave the term out."
            )
        many = gaussian and levels * block.z.shape[1] >= design.nobs
        if many and _residual_is_spanned(block, covariance, problem.case_weights):
            rows = "one row" if levels == design.nobs else f"{design.nobs / levels:.3g} rows on average"
            raise DataError(
                f"The grouping factor {block.group!r} has {rows} per level and {block.z.shape[1]} random effect(s): in "
                "a Gaussian model these effects and the residual cannot be told apart. Leave a term out."
            )


def _residual_is_spanned(block: RandomBlock, covariance: BlockCovariance, weights: Floats) -> bool:
    """Whether some covariance of the effects is, in every level, that of independent residuals."""
    order = np.argsort(block.codes, kind="stable")
    codes, z, w = block.codes[order], block.z[order], weights[order]
    if np.bincount(codes).max() > MANY_ROWS:
        return False
    entries = [(i, i) for i in range(z.shape[1])]
    for term, form in zip(covariance.terms, covariance.forms):
        if form.name == "unstructured":
            entries += [(i, j) for j in range(term.start, term.stop) for i in range(term.start, j)]
        elif form.name != "diagonal" and term.size > 1:
            return False
    columns, residual = [], []
    for apart in range(len(codes)):
        same = np.flatnonzero(codes[apart:] == codes[: len(codes) - apart])
        if not len(same):
            break
        one, other = z[same], z[same + apart]
        columns.append(np.stack([one[:, i] * other[:, j] + one[:, j] * other[:, i] for i, j in entries], axis=1))
        residual.append(1.0 / w[same] if apart == 0 else np.zeros(len(same)))
    B, r = np.concatenate(columns), np.concatenate(residual)
    B = B / np.maximum(np.linalg.norm(B, axis=0), 1e-300)
    left = r - B @ np.linalg.lstsq(B, r, rcond=None)[0]
    return bool(np.linalg.norm(left) < 1e-8 * np.linalg.norm(r))
