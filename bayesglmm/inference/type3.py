"""Type III hypotheses: each term's contrasts between means averaged equally over the levels of the other factors.

The columns of a design with treatment contrasts are recomputed on a grid of factor levels (numeric factors taking
arbitrary values) together with sum-to-zero columns of the same terms; the map between the two codings gives each
term's hypothesis as a matrix on the coefficients that were fitted (Searle 1987, Linear Models for Unbalanced Data,
section 12.2; the Σ-restricted model). A factor's sum-to-zero columns are those of its differences to the first level,
less their mean over the levels: the rows of the hypothesis are those differences whatever the coding of the fit, which
decides Satterthwaite's denominator (it depends on the rows, not only on what they span) as lmerTest has it.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.inference.terms import model_terms
from bayesglmm.problem import Problem

Floats = NDArray[np.float64]

#: Most combinations of factor levels the grid may have.
LARGEST_GRID = 20_000


@dataclass(frozen=True)
class _Grid:
    """Factor levels and stand-ins for numeric factors, one value per grid point.

    `contrasts` holds the columns of factors coded otherwise than by indicators: factor and value of every level.
    """

    levels: dict[str, tuple[str, ...]]
    contrasts: dict[str, tuple[str, Floats]]
    codes: dict[str, NDArray[np.int64]]
    numbers: dict[str, Floats]
    size: int

    def column(self, column: str) -> Floats:
        """A column of the design, by its name."""
        out = np.ones(self.size)
        for part in _parts(column):
            factor, values, _ = self._read(part)
            out = out * (self.numbers[part] if factor is None else values[self.codes[factor]])
        return out

    def sum_to_zero(self, columns: list[str]) -> Floats:
        """Columns of the same term in sum-to-zero coding, shape (size, k).

        A factor the design codes by all its levels (its own term is left out) stays so.
        """
        out = []
        for kind in dict.fromkeys(tuple(self._kind(part) for part in _parts(c)) for c in columns):
            options = [self._contrasts(name, whole) for name, whole in kind]
            out += [np.prod(choice, axis=0) for choice in itertools.product(*options)]
        return np.column_stack(out)

    def _contrasts(self, name: str, whole: bool) -> list[Floats]:
        if name not in self.levels:
            return [self.numbers[name]]
        last = len(self.levels[name]) - 1
        code = self.codes[name]
        if whole:
            return [(code == j).astype(float) for j in range(last + 1)]
        return [(code == j) - 1.0 / (last + 1.0) for j in range(1, last + 1)]

    def _kind(self, part: str) -> tuple[str, bool]:
        """The factor (or numeric part) and whether all its levels have columns."""
        factor, _, whole = self._read(part)
        return factor or part, whole

    def _read(self, part: str) -> tuple[str | None, Floats, bool]:
        """Factor, value of each of its levels, and whether all are coded, of a categorical part; else no factor."""
        if part in self.contrasts:
            return *self.contrasts[part], False
        found = re.fullmatch(r"(.*)\[(T\.)?(.*)\]", part)
        if found and found[1] in self.levels and found[3] in self.levels[found[1]]:
            levels = np.array(self.levels[found[1]], dtype=object)
            return found[1], (levels == found[3]).astype(float), found[2] is None
        return None, np.empty(0), False


def _parts(column: str) -> list[str]:
    """The factors a column is the product of: split at colons outside brackets."""
    parts, depth, start = [], 0, 0
    for i, letter in enumerate(column):
        depth += letter in "[("
        depth -= letter in "])"
        if letter == ":" and depth == 0:
            parts.append(column[start:i])
            start = i + 1
    return [*parts, column[start:]]


def _make_grid(problem: Problem) -> _Grid:
    state = problem.design.binding.spec.encoder_state
    facts = {name: own for name, (_, own) in state.items() if "levels" in own}
    levels = {name: tuple(map(str, own["levels"])) for name, own in facts.items()}
    contrasts = {c: (name, v) for name, own in facts.items() for c, v in own.get("contrasts", {}).items()}
    used = {p for c in problem.design.columns for p in _parts(c) if c != "Intercept"}
    numeric = [p for p in used if not any(p.startswith(f"{name}[") for name in levels)]
    cells = int(np.prod([len(v) for v in levels.values()], dtype=float))
    repeats = 1 if not numeric else 2 + 2 * len(numeric)
    if cells * repeats > LARGEST_GRID:
        raise MethodError(f"type III tests need a grid of {cells} combinations of factor levels: that is too many.")
    codes = np.array(list(itertools.product(*(range(len(v)) for v in levels.values()), range(repeats))), dtype=np.int64)
    rng = np.random.default_rng(0)  # the stand-ins only have to be in general position
    numbers = {name: rng.normal(size=len(codes)) for name in sorted(numeric)} | {"Intercept": np.ones(len(codes))}
    return _Grid(levels, contrasts, {name: codes[:, k] for k, name in enumerate(levels)}, numbers, len(codes))


def type3_hypotheses(problem: Problem) -> dict[str, Floats]:
    """Matrix L of the hypothesis Lβ = 0 of every term (the intercept left out), each of shape (rank, p).

    Raises
    ------
    MethodError
        A design with aliased columns, or whose terms cannot be coded to sum to zero.
    """
    if problem.design.aliased:
        raise MethodError(
            f"type III hypotheses need every column to be estimable, and {', '.join(problem.design.aliased)} is not."
        )
    grid, terms = _make_grid(problem), model_terms(problem)
    columns = problem.design.columns
    ours = np.column_stack([grid.column(c) for c in columns])
    parts = [grid.sum_to_zero([columns[j] for j in term.columns]) for term in terms]
    theirs = np.hstack(parts)
    map_, _, rank, _ = np.linalg.lstsq(theirs, ours, rcond=1e-10)
    if rank < theirs.shape[1] or np.abs(theirs @ map_ - ours).max() > 1e-8 * np.abs(ours).max():
        raise MethodError(
            "this formula's terms have no type III hypotheses (their columns cannot be coded to sum to zero); test "
            "contrasts of your own with fit.test(...)."
        )
    ends = np.cumsum([0, *(part.shape[1] for part in parts)])
    clean = np.where(np.abs(map_) < 1e-12, 0.0, map_)
    return {t.label: clean[a:b] for t, a, b in zip(terms, ends[:-1], ends[1:]) if t.factors}
