"""Student-t row formulas in μ with ψ = (log σ, log ν), to be compiled.

The normalising constant depends on ν alone and comes in as an argument.
With z = (y − μ)/σ and k = 1/(ν + z²), everything is in u = z² k and v = ν k = 1 − u, both between 0 and 1.
"""

# mypy: disable-error-code="no-untyped-def"

import math

from numba import njit

from bayesglmm.families.kernels.special import HALF_LOG_2PI, rise


@njit
def _parts(z, nu):
    """log(1 + z²/ν), z k, k, u, v; the first three without forming z² where it overflows."""
    r = abs(z) / math.sqrt(nu)
    tail = math.log1p(r * r) if r < 1e100 else 2.0 * math.log(r)
    k = 1.0 / (nu + z * z)
    if abs(z) > math.sqrt(nu):
        zk = 1.0 / (nu / z + z)
        return tail, zk, k, zk * z, nu * k
    return tail, z * k, k, z * z * k, nu * k


def normaliser(log_nu, out_constant, out_difference):
    """Log Γ((ν + 1)/2) − log Γ(ν/2) − ½ log(πν), and the difference of digammas."""
    half = 0.5 * math.exp(log_nu)
    value, out_difference[0], _, _ = rise(half, 0.5)
    out_constant[0] = value - 0.5 * math.log(half) - HALF_LOG_2PI


def derivatives(mu, log_sigma, log_nu, constant, y, w, out_value, out_d1, out_d2, out_d3):
    """Value and derivatives in μ."""
    nu, inverse = math.exp(log_nu), math.exp(-log_sigma)
    tail, zk, k, u, v = _parts((y - mu) * inverse, nu)
    c = w * (nu + 1.0) * inverse
    out_value[0] = w * (constant - log_sigma - 0.5 * (nu + 1.0) * tail)
    out_d1[0] = c * zk
    out_d2[0] = -c * inverse * k * (v - u)
    out_d3[0] = -2.0 * c * inverse * inverse * zk * k * (3.0 * v - u)


def aux(mu, log_sigma, log_nu, difference, y, w, out_value, out_d1, out_d2, out_value_nu, out_d1_nu, out_d2_nu):
    """Derivatives of value, d1, d2 in log σ, then in log ν."""
    nu, inverse = math.exp(log_nu), math.exp(-log_sigma)
    tail, zk, k, u, v = _parts((y - mu) * inverse, nu)
    c = w * (nu + 1.0) * inverse
    out_value[0] = w * ((nu + 1.0) * u - 1.0)
    out_d1[0] = -2.0 * c * zk * v
    out_d2[0] = 2.0 * c * inverse * k * v * (v - 3.0 * u)
    out_value_nu[0] = 0.5 * w * (2.0 * difference - nu * tail - 1.0 + (nu + 1.0) * u)
    out_d1_nu[0] = w * inverse * zk * nu * (u - k)
    out_d2_nu[0] = -w * inverse * inverse * v * (3.0 * (nu + 1.0) * u * k - u * u - v * k)
