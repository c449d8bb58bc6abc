"""What a prior is of, under every name it may be called by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bayesglmm.errors import SpecError
from bayesglmm.names import corr_label, correlated_pairs, scale_columns, sd_label

if TYPE_CHECKING:
    from bayesglmm.covariance import BlockCovariance
    from bayesglmm.design.types import RandomBlock
    from bayesglmm.families.base import Family
    from bayesglmm.priors.prior import Prior


def by_target(
    request: Mapping[str, Prior], blocks: Sequence[RandomBlock], covariance: Sequence[BlockCovariance], family: Family
) -> dict[str, Prior]:
    """Priors by target, those by another name renamed: ``"g.x.sd"`` is ``"g.sd[x]"``, ``"Residual.sd"`` ``"sigma"``.

    Parameters
    ----------
    request : mapping
        As the user named them.
    blocks : sequence of RandomBlock
        The design's grouping factors.
    covariance : sequence of BlockCovariance
        One per block.
    family : Family
        The likelihood.

    Raises
    ------
    SpecError
        The same parameter under both names.
    """
    same = {"Residual.sd": "sigma"} if family.name == "gaussian" else {}
    for block, cov in zip(blocks, covariance):
        scales = [columns[0] for term in scale_columns(block, cov) for columns in term]
        same |= {f"{block.group}.{c}.sd": sd_label(block, block.columns.index(c), len(scales)) for c in scales}
        pairs = list(correlated_pairs(cov))
        if len(pairs) == 1:
            same[corr_label(block, *pairs[0])] = f"{block.group}.corr"
    for name in request:
        if name in same and same[name] in request:
            raise SpecError(f"priors name {name!r} and {same[name]!r}, which are one parameter: leave one of them out.")
    return {same.get(name, name): prior for name, prior in request.items()}
