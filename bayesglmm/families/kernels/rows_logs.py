"""log μ and its derivatives for links of a proportion, to be compiled."""

# mypy: disable-error-code="no-untyped-def"

import math

from bayesglmm.families.kernels.special import log_ndtr, log_one_minus_exp


def probit(eta, out_a, out_a1, out_a2, out_a3):
    """Log Φ(η)."""
    out_a[0], out_a1[0], out_a2[0], out_a3[0] = log_ndtr(eta)


def cloglog(eta, out_a, out_a1, out_a2, out_a3):
    """log(1 − exp(−e^η)); where e^η is lost in rounding it is η itself, to first order."""
    if eta < -40.0:
        t = math.exp(eta)
        out_a[0], out_a1[0], out_a2[0], out_a3[0] = eta - 0.5 * t, 1.0 - 0.5 * t, -0.5 * t, -0.5 * t
    else:
        out_a[0], out_a1[0], out_a2[0], out_a3[0] = log_one_minus_exp(math.exp(min(eta, 7.0)))
