"""Binomial row formulas, to be compiled: `y` successes and `f` failures, c the log binomial coefficient."""

# mypy: disable-error-code="no-untyped-def"

import math

from bayesglmm.families.kernels.special import log_gumbel, log_ndtr


def probit(eta, y, f, w, c, out_value, out_d1, out_d2, out_d3):
    """Probit link: y log Φ(η) + f log Φ(−η)."""
    value = d1 = d2 = d3 = 0.0
    if y > 0.0:
        a0, a1, a2, a3 = log_ndtr(eta)
        value, d1, d2, d3 = y * a0, y * a1, y * a2, y * a3
    if f > 0.0:
        b0, b1, b2, b3 = log_ndtr(-eta)
        value, d1, d2, d3 = value + f * b0, d1 - f * b1, d2 + f * b2, d3 - f * b3
    out_value[0] = w * (value + c)
    out_d1[0] = w * d1
    out_d2[0] = w * d2
    out_d3[0] = w * d3


def cloglog(eta, y, f, w, c, out_value, out_d1, out_d2, out_d3):
    """Complementary log-log link: y log(1 − exp(−e^η)) − f e^η."""
    value = d1 = d2 = d3 = 0.0
    if y > 0.0:
        a0, a1, a2, a3 = log_gumbel(eta)
        value, d1, d2, d3 = y * a0, y * a1, y * a2, y * a3
    if f > 0.0:
        t = f * math.exp(eta)
        value, d1, d2, d3 = value - t, d1 - t, d2 - t, d3 - t
    out_value[0] = w * (value + c)
    out_d1[0] = w * d1
    out_d2[0] = w * d2
    out_d3[0] = w * d3
