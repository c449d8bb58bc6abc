"""What the response is distributed as: families, one file each, and how to find them."""

from bayesglmm.families.base import (
    AuxDerivatives,
    Auxiliary,
    BoundKernel,
    Derivatives,
    Family,
    KernelFactory,
    Support,
)
from bayesglmm.families.check import check_response
from bayesglmm.families.cumulative import Cumulative
from bayesglmm.families.negative_binomial import NegativeBinomial
from bayesglmm.families.quasi import Quasi, QuasiNegativeBinomial
from bayesglmm.families.registry import FAMILIES, auxiliary_range, eta_domain, get_family
from bayesglmm.families.student_t import StudentT
from bayesglmm.families.tweedie import Tweedie

__all__ = [
    "FAMILIES",
    "AuxDerivatives",
    "Auxiliary",
    "BoundKernel",
    "Cumulative",
    "Derivatives",
    "Family",
    "KernelFactory",
    "NegativeBinomial",
    "Quasi",
    "QuasiNegativeBinomial",
    "StudentT",
    "Support",
    "Tweedie",
    "auxiliary_range",
    "check_response",
    "eta_domain",
    "get_family",
]
