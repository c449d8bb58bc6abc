"""The model as a PyMC graph, and kernels by automatic differentiation of it. The only room that imports pymc."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayesglmm.graph.marginalized import build_marginal_model
    from bayesglmm.graph.model import build_model

__all__ = ["build_marginal_model", "build_model"]


def __getattr__(name: str) -> Any:
    """Import PyMC only when a graph is asked for: names, plans and progress of samplers need none."""
    if name == "build_model":
        from bayesglmm.graph.model import build_model

        return build_model
    if name == "build_marginal_model":
        from bayesglmm.graph.marginalized import build_marginal_model

        return build_marginal_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
