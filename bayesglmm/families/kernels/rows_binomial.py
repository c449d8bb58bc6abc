"""Binomial row formulas, to be compiled: `y` successes and `f` failures, c the log binomial coefficient."""

import math


def logit(eta, y, f, w, c, out_value, out_d1, out_d2, out_d3):  # type: ignore[no-untyped-def]
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
