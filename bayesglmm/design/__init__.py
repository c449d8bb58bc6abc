"""Formula + table → Design, and the same columns again from new data."""

from __future__ import annotations

from bayesglmm.design.build import build_design, rebind
from bayesglmm.design.options import row_values
from bayesglmm.design.response import check_constant_response
from bayesglmm.design.types import Design, RandomBlock, Response, Term

__all__ = ["Design", "RandomBlock", "Response", "Term", "build_design", "check_constant_response", "rebind", "row_values"]
