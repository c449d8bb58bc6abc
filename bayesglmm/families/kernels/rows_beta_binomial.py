"""Beta-binomial row formulas in A = log μ and B = log(1 − μ) with ψ = log φ, to be compiled.

With a = μφ, b = (1 − μ)φ, f = m − y, and rising factorials (a)_y = Γ(a + y)/Γ(a), the log-density is
log (a)_y + log (b)_f − log (φ)_m + log C(m, y).
"""

# mypy: disable-error-code="no-untyped-def"

import math

from bayesglmm.families.kernels.special import rise, rise_from, rise_terms


def derivatives(A, A1, A2, A3, B, B1, B2, B3, psi, y, f, w, c, out_value, out_d1, out_d2, out_d3):
    """Value and derivatives in η; c holds log C(m, y)."""
    up, f1, f2, f3 = rise_from(psi + A, y)
    down, h1, h2, h3 = rise_from(psi + B, f)
    out_value[0] = w * (up + down - rise(math.exp(psi), y + f)[0] + c)
    out_d1[0] = w * (f1 * A1 + h1 * B1)
    out_d2[0] = w * (f2 * A1 * A1 + f1 * A2 + h2 * B1 * B1 + h1 * B2)
    out_d3[0] = w * (
        f3 * A1 * A1 * A1 + 3.0 * f2 * A1 * A2 + f1 * A3 + h3 * B1 * B1 * B1 + 3.0 * h2 * B1 * B2 + h1 * B3
    )


def aux(A, A1, A2, A3, B, B1, B2, B3, psi, y, f, w, c, out_value, out_d1, out_d2):
    """Derivatives in ψ of value, d1, d2."""
    _, f1, f2, f3 = rise_from(psi + A, y)
    _, h1, h2, h3 = rise_from(psi + B, f)
    out_value[0] = w * (f1 + h1 - rise_terms(math.exp(psi), y + f)[1])
    out_d1[0] = w * (f2 * A1 + h2 * B1)
    out_d2[0] = w * (f3 * A1 * A1 + f2 * A2 + h3 * B1 * B1 + h2 * B2)
