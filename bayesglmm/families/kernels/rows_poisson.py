"""Poisson row formulas in log μ, to be compiled."""

import math


def derivatives(s, y, w, c, out_value, out_d1, out_d2, out_d3):  # type: ignore[no-untyped-def]
    """Value w(y s − e^s − c) and its derivatives; c holds log y!."""
    mu = math.exp(s)
    out_value[0] = w * (y * s - mu - c)
    out_d1[0] = w * (y - mu)
    out_d2[0] = -w * mu
    out_d3[0] = -w * mu
