"""Binomial row formulas, to be compiled: `y` successes and `f` failures, c the log binomial coefficient."""

# mypy: disable-error-code="no-untyped-def"

import math

from bayesglmm.families.kernels.special import log_gumbel, log_ndtr


def logit(eta, y, f, w, c, out_value, out_d1, out_d2, out_d3):
    """Logit link: everything from e^−|η|, and d1 = y q − f p so that it is exact in both tails."""
    e = math.exp(-abs(eta))
    r = 1.0 / (1.0 + e)
    if eta >= 0.0:
        p, q = r, e * r
    else:
        p, q = e * r, r
    m = y + f
    out_value[0] = w * (c + y * min(eta, 0.0) - f * max(eta, 0.0) - m * math.log1p(e))
    out_d1[0] = w * (y * q - f * p)
    t = w * m * p * q
    out_d2[0] = -t
    out_d3[0] = -t * (q - p)


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
