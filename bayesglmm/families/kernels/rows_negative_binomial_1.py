"""NB1 row formulas in s = log μ with ψ = log φ, Var = μ(1 + φ), to be compiled.

With size r = μ/φ the log-density is log Γ(y + r) − log Γ(r) − log y! − r log(1 + φ) + y log(φ/(1 + φ)).
"""

# mypy: disable-error-code="no-untyped-def"

import math

from bayesglmm.families.kernels.special import rise_terms, sigmoid, softplus


def derivatives(s, psi, y, w, c, out_value, out_d1, out_d2, out_d3):
    """Value and derivatives in s; c holds log y!."""
    r = math.exp(s - psi)
    value, g1, g2, g3 = rise_terms(r, y)
    t = r * softplus(psi)
    out_value[0] = w * (value - t - y * softplus(-psi) - c)
    out_d1[0] = w * (g1 - t)
    out_d2[0] = w * (g2 - t)
    out_d3[0] = w * (g3 - t)


def aux(s, psi, y, w, c, out_value, out_d1, out_d2):
    """Derivatives in ψ of value, d1, d2: r falls with ψ as it rises with s."""
    r = math.exp(s - psi)
    _, g1, g2, g3 = rise_terms(r, y)
    p = sigmoid(psi)
    t = r * (softplus(psi) - p)
    out_value[0] = w * (t - g1 + y * (1.0 - p))
    out_d1[0] = w * (t - g2)
    out_d2[0] = w * (t - g3)
