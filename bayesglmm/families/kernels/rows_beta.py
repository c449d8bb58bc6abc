"""Beta row formulas in A = log μ and B = log(1 − μ) with ψ = log φ, to be compiled.

With a = μφ, b = (1 − μ)φ the log-density log Γ(φ) − log Γ(a) − log Γ(b) + (a − 1) log y + (b − 1) log(1 − y) is
written with Stirling remainders S and differences log y − A, log(1 − y) − B: no large terms cancel.
"""

# mypy: disable-error-code="no-untyped-def"

import math

from numba import njit

from bayesglmm.families.kernels.special import HALF_LOG_2PI, log_gamma_terms, stirling


@njit
def _side(a, log_a, x):
    """−log Γ(a) + a log a − a + ½ log 2π + a x, and its derivative in log a at fixed log-response.

    For a that is small, even underflown, log Γ(a) = log Γ(1 + a) − log a; else by Stirling's remainder S(a).
    """
    if a < 0.5:
        g = log_gamma_terms(a)[0]
        return a * x - math.lgamma(1.0 + a) + (1.0 + a) * log_a - a + HALF_LOG_2PI, a * x + a * log_a - g
    s, s1 = stirling(a)
    return a * x - s + 0.5 * log_a, a * x - a * s1 + 0.5


def derivatives(A, A1, A2, A3, B, B1, B2, B3, psi, log_y, log_1y, w, out_value, out_d1, out_d2, out_d3):
    """Value and derivatives in η."""
    a, b = math.exp(psi + A), math.exp(psi + B)
    value = _side(a, psi + A, log_y - A)[0] + _side(b, psi + B, log_1y - B)[0] - _side(math.exp(psi), psi, 0.0)[0]
    out_value[0] = w * (value - HALF_LOG_2PI - log_y - log_1y)
    f1, f2, f3 = log_gamma_terms(a)
    h1, h2, h3 = log_gamma_terms(b)
    t, u = a * log_y, b * log_1y
    f1, f2, f3 = t - f1, t - f2, t - f3
    h1, h2, h3 = u - h1, u - h2, u - h3
    # From left to right: f2 and f3 vanish before A1² and A1³ overflow.
    out_d1[0] = w * (f1 * A1 + h1 * B1)
    out_d2[0] = w * (f2 * A1 * A1 + f1 * A2 + h2 * B1 * B1 + h1 * B2)
    out_d3[0] = w * (
        f3 * A1 * A1 * A1 + 3.0 * f2 * A1 * A2 + f1 * A3 + h3 * B1 * B1 * B1 + 3.0 * h2 * B1 * B2 + h1 * B3
    )


def aux(A, A1, A2, A3, B, B1, B2, B3, psi, log_y, log_1y, w, out_value, out_d1, out_d2):
    """Derivatives in ψ of value, d1, d2: a and b rise with ψ as with A and B."""
    a, b = math.exp(psi + A), math.exp(psi + B)
    value = _side(a, psi + A, log_y - A)[1] + _side(b, psi + B, log_1y - B)[1] - _side(math.exp(psi), psi, 0.0)[1]
    out_value[0] = w * value
    _, f2, f3 = log_gamma_terms(a)
    _, h2, h3 = log_gamma_terms(b)
    t, u = a * log_y, b * log_1y
    out_d1[0] = w * ((t - f2) * A1 + (u - h2) * B1)
    out_d2[0] = w * ((t - f3) * A1 * A1 + (t - f2) * A2 + (u - h3) * B1 * B1 + (u - h2) * B2)


def weight(A, A1, A2, A3, B, B1, B2, B3, psi, log_y, log_1y, w, out_weight):
    """Fisher information in η: A'² a² ψ'(a) + B'² b² ψ'(b)."""
    a, b = math.exp(psi + A), math.exp(psi + B)
    # a²ψ'(a) is the second log-scale derivative less the first.
    f1, f2, _ = log_gamma_terms(a)
    h1, h2, _ = log_gamma_terms(b)
    out_weight[0] = w * ((f2 - f1) * A1 * A1 + (h2 - h1) * B1 * B1)
