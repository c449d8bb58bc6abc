"""Negative binomial (NB2) row formulas in s = log μ with ψ = log θ, to be compiled.

With z = s − ψ, p = μ/(μ + θ) = 1/(1 + e^−z) and q = 1 − p, the log-density is
log Γ(y + θ) − log Γ(θ) − log y! + θ log q + y log p.
"""

# mypy: disable-error-code="no-untyped-def"

import math

from bayesglmm.families.kernels.special import rise, sigmoid, softplus


def derivatives(s, psi, y, w, c, out_value, out_d1, out_d2, out_d3):
    """Value and derivatives in s; c holds log y!."""
    z = s - psi
    theta = math.exp(psi)
    p, q = sigmoid(z), sigmoid(-z)
    out_value[0] = w * (rise(theta, y)[0] - c - theta * softplus(z) - (y * softplus(-z) if y > 0.0 else 0.0))
    t = (y + theta) * p * q
    out_d1[0] = w * (y * q - theta * p)
    out_d2[0] = -w * t
    out_d3[0] = -w * t * (q - p)


def aux(s, psi, y, w, c, out_value, out_d1, out_d2):
    """Derivatives in ψ of value, d1, d2."""
    z = s - psi
    theta = math.exp(psi)
    p, q = sigmoid(z), sigmoid(-z)
    score = y * q - theta * p
    out_value[0] = w * (rise(theta, y)[1] - theta * softplus(z) - score)
    out_d1[0] = w * p * score
    out_d2[0] = w * p * q * ((y + theta) * (q - p) - theta)
