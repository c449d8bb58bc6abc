"""Text → Formula: our own reader, so that random terms are understood and nothing but a closed list can run."""

from __future__ import annotations

from bayesglmm.formula.algebra import ModelTerm, factor_name
from bayesglmm.formula.bars import RandomTerm
from bayesglmm.formula.formula import Formula, ResponseTerm, parse_formula

__all__ = ["Formula", "ModelTerm", "RandomTerm", "ResponseTerm", "factor_name", "parse_formula"]
