"""Choose the covariance of every grouping factor: what the user asked for, or the default of its terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bayesglmm.covariance.block import BlockCovariance
from bayesglmm.covariance.forms import FORMS, Form
from bayesglmm.covariance.known import Known, known_levels, known_precision
from bayesglmm.design.types import RandomBlock
from bayesglmm.errors import MethodError


def bind_covariance(blocks: tuple[RandomBlock, ...], requested: dict[str, Any] | None) -> tuple[BlockCovariance, ...]:
    """Choose each block's forms: what the user asked for, else unstructured (diagonal for ``||``).

    Parameters
    ----------
    blocks : tuple of RandomBlock
        The design's grouping factors.
    requested : dict or None
        Group name → form name or :class:`Known`.

    Raises
    ------
    MethodError
        An unknown group or form.
    DataError
        A known covariance of the wrong size or levels, or not positive definite.
    """
    requested = requested or {}
    groups = [b.group for b in blocks]
    for key in requested:
        if key not in groups:
            raise MethodError(
                f"covariance names the group {key!r}, but the model's groups are {', '.join(groups) or 'none'}."
            )
    return tuple(_bind_block(b, requested.get(b.group)) for b in blocks)


def extra_levels(blocks: tuple[RandomBlock, ...], requested: Mapping[str, Any] | None) -> dict[str, tuple[str, ...]]:
    """Levels of known covariances and precisions that occur in no row, by group; they have random effects too."""
    out = {}
    for block in blocks:
        known = (requested or {}).get(block.group)
        if isinstance(known, Known):
            seen = set(block.levels)
            out[block.group] = tuple(v for v in known_levels(block.group, known) if v not in seen)
    return out


def _bind_block(block: RandomBlock, request: Any) -> BlockCovariance:
    if isinstance(request, Known):
        precision, log_det = known_precision(block, request)
        return BlockCovariance(block.terms, _default_forms(block), precision, log_det)
    if request is None:
        return BlockCovariance(block.terms, _default_forms(block))
    if not isinstance(request, str) or request not in FORMS:
        given = repr(request) if isinstance(request, str | int | float) else f"a {type(request).__name__}"
        matrix = "; a matrix is given as bg.Known(K, levels=[...])" if hasattr(request, "shape") else ""
        raise MethodError(
            f"covariance of {block.group!r} is {given}; known forms are {', '.join(FORMS)}, or bg.Known(...){matrix}."
        )
    return BlockCovariance(block.terms, (FORMS[request],) * len(block.terms))


def _default_forms(block: RandomBlock) -> tuple[Form, ...]:
    return tuple(FORMS["unstructured" if t.correlated else "diagonal"] for t in block.terms)
