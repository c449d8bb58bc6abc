"""The model as a PyMC graph, and kernels by automatic differentiation of it. The only room that imports pymc."""

from bayesglmm.graph.model import build_model

__all__ = ["build_model"]
