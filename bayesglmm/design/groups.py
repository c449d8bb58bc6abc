"""Random terms + columns → one RandomBlock per grouping factor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bayesglmm.design.columns import Column, Factor, recode
from bayesglmm.design.matrix import build_matrix
from bayesglmm.design.types import Design, Floats, Ints, RandomBlock, Term
from bayesglmm.errors import DataError
from bayesglmm.formula import RandomTerm


@dataclass(frozen=True)
class GroupBinding:
    """What is needed to find a block's codes and columns in new data.

    Parameters
    ----------
    terms : tuple of RandomTerm
        The terms of the block.
    specs : tuple of ModelSpec
        One per term.
    levels : tuple of tuple of str
        Levels of each column of the grouping factor.
    cells : ndarray of int64
        Combinations that occur, sorted; a combination is the mixed-radix number of its codes.
    """

    terms: tuple[RandomTerm, ...]
    specs: tuple[Any, ...]
    levels: tuple[tuple[str, ...], ...]
    cells: Ints


def build_blocks(
    terms: Sequence[RandomTerm], columns: Mapping[str, Column], groups: Mapping[str, Factor], index: pd.Index
) -> tuple[tuple[RandomBlock, ...], tuple[GroupBinding, ...]]:
    """Build the blocks of the random terms, in the order in which their grouping factors appear.

    Parameters
    ----------
    terms : sequence of RandomTerm
    columns : mapping of str to ndarray or Factor
        Columns for the left sides of the bars.
    groups : mapping of str to Factor
        Columns for the grouping factors.
    index : pandas Index
        Labels of the rows, for errors.

    Raises
    ------
    DataError
        For a grouping factor with one level, an effect that varies twice over the same groups, or a slope that does
        not vary within any group.
    """
    merged: dict[frozenset[str], list[RandomTerm]] = {}
    for term in terms:
        merged.setdefault(frozenset(term.factors), []).append(term)
    built = [_build_block(tuple(same), columns, groups, index) for same in merged.values()]
    return tuple(block for block, _ in built), tuple(binding for _, binding in built)


def _build_block(
    terms: tuple[RandomTerm, ...], columns: Mapping[str, Column], groups: Mapping[str, Factor], index: pd.Index
) -> tuple[RandomBlock, GroupBinding]:
    factors = [groups[name] for name in terms[0].factors]
    shape = tuple(factor.levels for factor in factors)
    codes, cells = _occurring(_cells([factor.codes for factor in factors], shape), shape)
    if len(cells) < 2:
        only = _cell_names(cells, shape)[0]
        raise DataError(
            f"The grouping factor {terms[0].group!r} has one level only ({only!r}). "
            "A variance between groups needs at least two; leave the term out."
        )
    built = [build_matrix(term.terms, columns, index) for term in terms]
    binding = GroupBinding(terms, tuple(spec for _, spec in built), shape, cells)
    block = _assemble(binding, codes, [matrix for matrix, _ in built])
    if len(set(block.levels)) < len(block.levels):
        raise DataError(f"The grouping factor {block.group!r} has different levels that print alike. Rename them.")
    _check_columns(block)
    return block, binding


def rebind_block(
    binding: GroupBinding,
    columns: Mapping[str, Column],
    groups: Mapping[str, Factor],
    index: pd.Index,
) -> RandomBlock:
    """Build the same block from new data.

    Levels that were not seen get the codes -1, -2, ... in the order in which they appear, so that rows of one such
    level can share what is drawn for it; where a column is absent every row counts as a level of its own.
    """
    names = binding.terms[0].factors
    if all(name in groups for name in names):
        parts = [recode(groups[name], levels) for name, levels in zip(names, binding.levels)]
        cells = _cells(parts, binding.levels)
        position = np.minimum(np.searchsorted(binding.cells, cells), len(binding.cells) - 1)
        known = np.logical_and.reduce([part >= 0 for part in parts]) & (binding.cells[position] == cells)
        codes = np.where(known, position, -1)
        if not known.all():
            own = _cells([groups[name].codes for name in names], [groups[name].levels for name in names])
            codes[~known] = -1 - pd.factorize(own[~known])[0]
    else:
        codes = -1 - np.arange(len(index), dtype=np.int64)
    matrices = [build_matrix(t.terms, columns, index, spec)[0] for t, spec in zip(binding.terms, binding.specs)]
    return _assemble(binding, codes, matrices)


def with_levels(design: Design, extra: Mapping[str, tuple[str, ...]]) -> Design:
    """A design whose grouping factors have levels that occur in no row, after those that do.

    Parameters
    ----------
    design : Design
        From :func:`~bayesglmm.design.build.build_design`.
    extra : mapping
        Group → names of the levels to add.
    """
    if not any(extra.values()):
        return design
    pairs = [_widen(b, g, extra.get(b.group, ())) for b, g in zip(design.blocks, design.binding.groups)]
    binding = replace(design.binding, groups=tuple(g for _, g in pairs))
    return replace(design, blocks=tuple(b for b, _ in pairs), binding=binding)


def _widen(block: RandomBlock, binding: GroupBinding, extra: tuple[str, ...]) -> tuple[RandomBlock, GroupBinding]:
    """New data may have the added levels too; not where several columns make the factor: they are unseen there."""
    wide = replace(block, levels=(*block.levels, *extra))
    if len(binding.levels) > 1:
        return wide, binding
    return wide, replace(binding, levels=(wide.levels,), cells=np.arange(len(wide.levels)))


def _assemble(binding: GroupBinding, codes: Ints, matrices: list[Floats]) -> RandomBlock:
    names = [name for spec in binding.specs for name in spec.column_names]
    terms, start = [], 0
    for term, spec in zip(binding.terms, binding.specs):
        stop = start + len(spec.column_names)
        terms.append(Term(term.label, start, stop, term.correlated))
        start = stop
    z = matrices[0] if len(matrices) == 1 else np.hstack(matrices)
    levels = _cell_names(binding.cells, binding.levels)
    return RandomBlock(binding.terms[0].group, levels, codes, z, tuple(names), tuple(terms))


def _cells(codes: Sequence[Ints], levels: Sequence[tuple[str, ...]]) -> Ints:
    """Number the combinations of codes with the first factor slowest; meaningless where a code is -1."""
    cells = codes[0]
    size = len(levels[0])
    for part, names in zip(codes[1:], levels[1:]):
        size *= len(names)
        if size >= 2**62:
            raise DataError(
                "The grouping factor has too many combinations of levels. Combine its columns in the table."
            )
        cells = cells * len(names) + part
    return cells


def _occurring(cells: Ints, levels: Sequence[tuple[str, ...]]) -> tuple[Ints, Ints]:
    """Number the combinations that occur from 0, in order."""
    if len(levels) == 1:  # unused levels are already dropped
        return cells, np.arange(len(levels[0]))
    codes, occurring = pd.factorize(cells, sort=True)
    return codes.astype(np.int64, copy=False), occurring


def _cell_names(cells: Ints, levels: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    if len(levels) == 1:
        return levels[0]
    parts = []
    for names in reversed(levels):
        parts.append(np.asarray(names, dtype=object)[cells % len(names)])
        cells = cells // len(names)
    return tuple(":".join(cell) for cell in zip(*reversed(parts)))


def _check_columns(block: RandomBlock) -> None:
    doubled = {name for name in block.columns if block.columns.count(name) > 1}
    if doubled:
        both = " and ".join(f"({term.label})" for term in block.terms)
        raise DataError(
            f"The effect of {', '.join(sorted(doubled))} varies over {block.group!r} more than once, in {both}. "
            "Write one term (1 + x | g), or leave out the second intercept: (1 | g) + (0 + x | g)."
        )
    first = np.empty(len(block.levels), dtype=np.int64)
    first[block.codes[::-1]] = np.arange(len(block.codes) - 1, -1, -1)
    intercept = "Intercept" in block.columns
    for name, values in zip(block.columns, block.z.T):
        indicator = not intercept and ((values == 0) | (values == 1)).all()
        if name == "Intercept" or indicator:
            continue
        if (values == values[first][block.codes]).all():
            raise DataError(
                f"The slope of {name!r} cannot vary over {block.group!r}: {name!r} is constant within every group. "
                "Leave the slope out of the random term; as a fixed effect it is fine."
            )
