"""Formula + table → Design, and the same columns again from new data."""

from __future__ import annotations

from bayesglmm.design.bind import rebind
from bayesglmm.design.build import build_design
from bayesglmm.design.chunked import ChunkedDesign, build_chunked_design
from bayesglmm.design.chunks import Chunks, as_chunks
from bayesglmm.design.groups import with_levels
from bayesglmm.design.options import row_values
from bayesglmm.design.response import check_constant_response
from bayesglmm.design.types import Design, RandomBlock, Response, Term

__all__ = [
    "ChunkedDesign",
    "Chunks",
    "Design",
    "RandomBlock",
    "Response",
    "Term",
    "as_chunks",
    "build_chunked_design",
    "build_design",
    "check_constant_response",
    "rebind",
    "row_values",
    "with_levels",
]
