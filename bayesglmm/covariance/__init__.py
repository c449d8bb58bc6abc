"""Covariance of the random effects of one grouping factor: from parameters θ to the factor Λ, and back.

For each level b = Λ u with u standardised, so Cov(b) = ΛΛ'. A *form* says what θ means for one term; a
:class:`BlockCovariance` puts the forms of a grouping factor's terms on the diagonal of one Λ. With a known
covariance K between levels, u ~ N(0, K ⊗ I) instead of N(0, I); Λ is untouched.

Coordinates. θ is kept in *natural* coordinates (entries of Λ, sds, correlations). Optimisers and samplers move
in *working* coordinates: a correlation is always mapped from its interval to the line; a scale is logged for a
posterior (the coordinates PyMC samples in), but left as it is for maximum likelihood, where a zero variance is
an ordinary stationary point of a function that is even in it.
"""

from bayesglmm.covariance.ar1_errors import AR1Errors
from bayesglmm.covariance.binding import bind_covariance, extra_levels
from bayesglmm.covariance.block import BlockCovariance, sd_corr
from bayesglmm.covariance.forms import FORMS, Coordinate, Form
from bayesglmm.covariance.known import Known
from bayesglmm.covariance.known_errors import KnownErrors
from bayesglmm.covariance.pedigree import pedigree
from bayesglmm.covariance.row_errors import RowErrors, bind_errors

__all__ = [
    "FORMS",
    "AR1Errors",
    "BlockCovariance",
    "Coordinate",
    "Form",
    "Known",
    "KnownErrors",
    "RowErrors",
    "bind_covariance",
    "bind_errors",
    "extra_levels",
    "pedigree",
    "sd_corr",
]
