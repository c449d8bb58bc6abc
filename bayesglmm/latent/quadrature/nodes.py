"""How many quadrature nodes a model can have: what is asked for made plain, and refused where it cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesglmm.errors import MethodError
from bayesglmm.latent.nesting import nesting
from bayesglmm.latent.quadrature.grid import grid

if TYPE_CHECKING:
    from bayesglmm.latent.elimination.structure import Structure

#: One number per dimension; (outer, inner) numbers for two nested factors. 1 is the Laplace approximation.
Nodes = int | tuple[int, int]

#: Most nodes per level, and most node × row values of one evaluation.
MAX_GRID = 20_000
MAX_VALUES = 4 * 10**8
#: Most copies of a row at the nodes of the outer of two nested factors: their conditional modes are kept.
MAX_COPIES = 5 * 10**6
#: Tensor products larger than this are not made, not even to drop most of their nodes.
MAX_TENSOR = 2 * 10**6
#: Nodes per dimension when none are named, by the number of random effects per level: of one factor, of each of two.
DEFAULT_NODES = {1: 25, 2: 15, 3: 9}
DEFAULT_NESTED = {1: 15, 2: 7}
DEFAULT_BEYOND = 5


def default_nodes(factors: Sequence[Any]) -> Nodes:
    """Nodes when none are named.

    Parameters
    ----------
    factors : sequence
        Blocks of a design, or layouts: with ``codes`` and ``z``.
    """
    order = nesting(factors)
    if order is None:
        return DEFAULT_NODES.get(factors[0].z.shape[1], DEFAULT_BEYOND) if factors else 1
    outer, inner = (DEFAULT_NESTED.get(factors[k].z.shape[1], DEFAULT_BEYOND) for k in order)
    return outer, inner


def settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """The quadrature's part of a fit's options, as arguments of :func:`~bayesglmm.latent.objective.make_objective`."""
    kept = {k: options[k] for k in ("nodes", "kernel", "prune") if k in options}
    return {"nodes": 1, "kernel": "auto"} | kept


def in_words(nodes: Nodes) -> str:
    """As a message says it: ``"25"``, ``"15 outer and 9 inner"``."""
    return f"{nodes[0]} outer and {nodes[1]} inner" if isinstance(nodes, tuple) else str(nodes)


def settle_nodes(structure: Structure, nodes: Any, prune: float = 0.0) -> Nodes:
    """The nodes of a model, checked.

    Parameters
    ----------
    structure : Structure
        The random part.
    nodes : int or pair of int
        What was asked for; one number for two nested factors is meant for both.
    prune : float
        Share of the weight that may be dropped.

    Returns
    -------
    int or tuple of int
        A pair for two nested factors, unless both are 1.

    Raises
    ------
    MethodError
        Nodes that are not positive whole numbers; crossed grouping factors, or a known covariance between levels, with
        more than one node; more nodes than memory or patience bear.
    """
    asked = _asked(nodes)
    if not (isinstance(prune, int | float) and not isinstance(prune, bool) and 0.0 <= prune < 0.1):
        raise MethodError(
            f"prune={prune!r}: the share of the weight that dropped nodes may have is a number from 0 (drop none) to "
            "below 0.1, such as 1e-8."
        )
    if all(k == 1 for k in asked):
        return 1
    layouts = structure.layouts
    order = nesting(layouts)
    words = " and ".join(map(str, asked))
    if len(layouts) != 1 and order is None:
        what = "no random terms" if not layouts else f"{len(layouts)} grouping factors, not nested in one another"
        what = f"{len(layouts)} grouping factors" if len(layouts) > 2 else what
        raise MethodError(
            f"quadrature with {words} nodes needs exactly one grouping factor, or two of which one is strictly nested "
            f"in the other; the model has {what}. Use method='laplace' (one node), or 'mcmc'."
        )
    if any(b.precision is not None for b in layouts):
        raise MethodError(
            "quadrature works level by level, but a known covariance ties the levels together. "
            "Use method='laplace' (one node), or 'mcmc'."
        )
    if order is None:
        if len(asked) != 1:
            raise MethodError(
                f"nodes={nodes!r}: (outer, inner) numbers of nodes are for two nested grouping factors; the model has "
                "one: give one number."
            )
        order = (0,)  # type: ignore[assignment]
    sizes = [layouts[k].size for k in order]  # type: ignore[union-attr]
    asked = asked if len(asked) == len(sizes) else asked * 2
    _check_size(structure.n, sizes, asked, prune)
    return asked[0] if len(asked) == 1 else (asked[0], asked[1])


def evaluations(structure: Structure, nodes: Nodes, prune: float = 0.0) -> float:
    """Density values of one evaluation: nodes × rows."""
    order = nesting(structure.layouts) or range(len(structure.layouts))
    asked = nodes if isinstance(nodes, tuple) else (nodes,) * len(structure.layouts)
    counts = [_count(k, structure.layouts[b].size, prune) for k, b in zip(asked, order)]
    return float(np.prod([float(c) for c in counts])) * structure.n


def plain_nodes(nodes: Any) -> Nodes:
    """What was asked for as plain integers: one, or a pair.

    Raises
    ------
    MethodError
        Anything but positive whole numbers.
    """
    asked = _asked(nodes)
    return asked[0] if len(asked) == 1 else (asked[0], asked[1])


def _asked(nodes: Any) -> tuple[int, ...]:
    pair = isinstance(nodes, tuple | list)
    given = tuple(nodes) if pair else (nodes,)
    whole = all(isinstance(k, int | np.integer) and not isinstance(k, bool) and k >= 1 for k in given)
    if not whole or (pair and len(given) != 2):
        raise MethodError(
            f"nodes={nodes!r}: the number of quadrature nodes is a whole number, 1 or more; for two nested grouping "
            "factors also a pair of them, (outer, inner)."
        )
    return tuple(int(k) for k in given)


def _count(nodes: int, size: int, prune: float) -> int:
    """Nodes of a grid."""
    full = nodes**size
    return len(grid(nodes, size, prune)) if prune and full <= MAX_TENSOR else full


def _too_many(n: int, sizes: Sequence[int], nodes: Sequence[int], prune: float) -> bool:
    counts = [_count(k, q, prune) for k, q in zip(nodes, sizes)]
    total = int(np.prod([float(c) for c in counts]))
    return total > MAX_GRID or total * n > MAX_VALUES or (len(counts) == 2 and counts[0] * n > MAX_COPIES)


def _check_size(n: int, sizes: Sequence[int], nodes: Sequence[int], prune: float) -> None:
    if not _too_many(n, sizes, nodes, prune):
        return
    total = int(np.prod([float(_count(k, q, prune)) for k, q in zip(nodes, sizes)]))
    fits = 1
    while not _too_many(n, sizes, [fits + 1] * len(sizes), prune):
        fits += 1
    asked = " and ".join(map(str, nodes))
    where = f"{sizes[0]} dimensions" if len(sizes) == 1 else f"{sizes[0]} outer and {sizes[1]} inner dimensions"
    most = f"at most {fits} nodes fit here" if len(sizes) == 1 else f"at most nodes={fits} (at both levels) fit here"
    drop = "" if prune or max(sizes) == 1 else ", prune=1e-6 (nodes of negligible weight are left out)"
    raise MethodError(
        f"{asked} nodes in {where} are {total} evaluations for each of {n} rows; {most}. "
        f"Use fewer nodes{drop}, or method='laplace'."
    )
