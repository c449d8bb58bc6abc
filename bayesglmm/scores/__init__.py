"""Estimating equations: working weights, scoring, sandwiches (generalized linear models and quasi-likelihood)."""

from bayesglmm.scores.irls import fit_irls

__all__ = ["fit_irls"]
