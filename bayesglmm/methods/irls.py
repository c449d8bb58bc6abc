"""``irls``: generalized linear models and quasi-likelihood by iteratively reweighted least squares."""

from bayesglmm.scores.irls import fit_irls as run

__all__ = ["run"]
