"""``gee``: marginal models by generalized estimating equations."""

from bayesglmm.scores.gee import fit_gee as run

__all__ = ["run"]
