"""Names of parameters, variables and dimensions: written once, used by priors, graph, tables and DataTrees.

The variables of a fit's posterior (and of the PyMC graph) are

========================  ==============================================  =====================================
variable                  what                                            dims
========================  ==============================================  =====================================
``beta``                  coefficients                                    ``coefficient``
``<group>``               random effects b                                ``<group>.level``, ``<group>.column``
``<group>.sd``            their standard deviations                       ``<group>.column``
``<group>.corr``          their correlations, when the model has any      ``<group>.pair``
``<group>.u``             standardised random effects (graph only)        ``<group>.level``, ``<group>.column``
``sigma``, ``theta`` ...  auxiliaries of the family, natural scale        none
``zi[x]``, ...            coefficients of an auxiliary's own formula      none
the response's name       observed data, log-likelihood, predictions      ``obs_id``
========================  ==============================================  =====================================

In the graph ``<group>.corr`` is the whole matrix, ``<group>.column`` × ``<group>.column_bis``: its diagonal would be a
constant in every summary of draws.

A column called like one of ours (``beta``, ``sigma``) becomes ``beta_``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bayesglmm.covariance import BlockCovariance
    from bayesglmm.design.types import RandomBlock

#: The vector of coefficients, and its dimension.
COEFFICIENTS = "beta"
COEFFICIENT_DIM = "coefficient"

#: The dimension of rows.
OBS_DIM = "obs_id"

#: Names a column of the user's may not take over: it gets an underscore instead.
RESERVED = frozenset({COEFFICIENTS, COEFFICIENT_DIM, OBS_DIM, "sigma", "theta", "shape", "phi", "zi"})


def safe(name: str) -> str:
    """A column's name as a variable's: ``/`` would open a netCDF or zarr group, and our own names are taken."""
    return name.replace("/", ":") + "_" * (name in RESERVED)


def group_variable(group: str) -> str:
    """Random effects b of a grouping factor."""
    return safe(group)


def standardised_variable(group: str) -> str:
    """Standardised random effects u."""
    return f"{safe(group)}.u"


def sd_variable(group: str) -> str:
    """Standard deviations of a grouping factor's columns."""
    return f"{safe(group)}.sd"


def corr_variable(group: str) -> str:
    """Correlation matrix of a grouping factor's columns."""
    return f"{safe(group)}.corr"


def part_variable(group: str, part: str, term: int, n_terms: int) -> str:
    """A free variable of the graph behind a term's sds or correlation: ``"herd.chol"``, numbered if need be."""
    return f"{safe(group)}.{part}{term + 1 if n_terms > 1 else ''}"


def level_dim(group: str) -> str:
    """Dimension of a grouping factor's levels."""
    return f"{safe(group)}.level"


def column_dim(group: str) -> str:
    """Dimension of a grouping factor's columns."""
    return f"{safe(group)}.column"


def column_dim_bis(group: str) -> str:
    """The same columns as the second dimension of a matrix."""
    return f"{safe(group)}.column_bis"


def pair_dim(group: str) -> str:
    """Dimension of a group's correlated pairs of columns."""
    return f"{safe(group)}.pair"


def auxiliary_label(name: str, column: str) -> str:
    """A coefficient of an auxiliary's linear predictor: ``"zi[mined[T.yes]]"``."""
    return f"{name}[{column.replace('/', ':')}]"


def response_variable(name: str) -> str:
    """Variable of the response: its name, or that of the successes in ``p(successes, trials)``."""
    inside = re.fullmatch(r"p\(\s*([^,]+?)\s*,.*\)", name)
    return safe(inside.group(1) if inside else name)


def has_correlation(cov: BlockCovariance) -> bool:
    """Whether any term of a grouping factor has correlated columns."""
    return any(c.kind != "scale" for c in cov.coordinates)


def scale_columns(block: RandomBlock, cov: BlockCovariance) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """Which columns each standard deviation belongs to, per term: one each, or all of the term (``ar1``)."""
    out = []
    for term, form in zip(block.terms, cov.forms):
        columns = block.columns[term.start : term.stop]
        shared = sum(c.kind == "scale" for c in form.coordinates(term.size)) == 1
        out.append((columns,) if shared else tuple((c,) for c in columns))
    return tuple(out)


def correlated_pairs(cov: BlockCovariance) -> Iterator[tuple[int, int]]:
    """Pairs of columns whose correlations are the model's parameters (one pair where one number rules all)."""
    for term, form in zip(cov.terms, cov.forms):
        pairs = [(i, j) for i in range(term.start, term.stop) for j in range(term.start, i)]
        kinds = [c.kind for c in form.coordinates(term.size)]
        if kinds.count("scale") < len(kinds):
            yield from pairs[: 1 if "interval" in kinds else None]


def sd_label(block: RandomBlock, column: int, count: int) -> str:
    """An sd as one parameter: ``"herd.sd"``, or ``"Subject.sd[Days]"`` where the group has several (`count`)."""
    return f"{block.group}.sd" if count == 1 else f"{block.group}.sd[{block.columns[column]}]"


def corr_label(block: RandomBlock, i: int, j: int) -> str:
    """A correlation as one parameter: ``"Subject.corr[Days, Intercept]"``."""
    return f"{block.group}.corr[{pair_label(block, i, j)}]"


def pair_label(block: RandomBlock, i: int, j: int) -> str:
    """Two columns of a group: ``"Days, Intercept"``."""
    return f"{block.columns[i]}, {block.columns[j]}"
