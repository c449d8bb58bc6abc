"""Tweedie row formulas in s = log μ for 1 < p < 2, ψ = (log φ, log((p − 1)/(2 − p))), to be compiled.

A compound Poisson sum of gammas. For y > 0 the density is a series over the number j of jumps (Dunn & Smyth 2005,
Statistics and Computing 15, 267-280, eq. 6-8). With a = (2 − p)/(p − 1), the location J = y^(2−p)/(φ(2 − p)) of its
largest term, and Stirling remainders S, the log-density is

    −log y + ½ log a − log 2π + log Σ_j exp((1 + a)(j − J − j log(j/J)) − S(j) − S(aj)) − d(y, μ)/(2φ),

d being the unit deviance: terms of the size of J have cancelled. The row's φ is φ/w.
"""

# mypy: disable-error-code="no-untyped-def"

import math

from numba import njit

from bayesglmm.families.kernels.special import HALF_LOG_2PI, sigmoid, stirling

# Terms below e^−40 of the largest are left out.
NEGLIGIBLE = -40.0
# A bell of terms this wide (sd in j) is summed every 0.6 sd: by Poisson summation the relative error is e^−54.
WIDE = 8.0


@njit
def _term(j, J, a):
    """Logarithm of the j-th term."""
    r = (j - J) / J
    log_ratio = math.log1p(r) if abs(r) < 0.5 else math.log(j / J)
    return (1.0 + a) * (j - J - j * log_ratio) - stirling(j)[0] - stirling(a * j)[0]


@njit
def _slope_in_a(j, J, a):
    """The part of the derivative of a term's logarithm that comes through a at fixed J."""
    return j - J - j * math.log(j / J) - j * stirling(a * j)[1]


@njit
def series(J, a):
    """Log of the sum, and the means under it of j − J and of the derivative in a."""
    sd = math.sqrt(J / (1.0 + a))
    start = max(1.0, math.floor(J + 0.5))
    step = 1.0 if sd < WIDE else 0.6 * sd
    top = _term(start, J, a)
    total, mean, slope = 1.0, start - J, _slope_in_a(start, J, a)
    for direction in (1.0, -1.0):
        j = start + direction * step
        while j >= 1.0:
            t = _term(j, J, a) - top
            if t < NEGLIGIBLE:
                break
            e = math.exp(t)
            total += e
            mean += e * (j - J)
            slope += e * _slope_in_a(j, J, a)
            j += direction * step
    return top + math.log(total * step), mean / total, slope / total


@njit
def _power(psi):
    """p, p − 1 and 2 − p, none of them by subtraction."""
    above, below = sigmoid(psi), sigmoid(-psi)
    return 1.0 + above, above, below


@njit
def _location(y, inverse, below):
    """J."""
    return math.exp(below * math.log(y)) * inverse / below


@njit
def _half_deviance(y, s, above, below):
    """Half the unit deviance, by expm1 of s − log y so that it is exact near y = μ."""
    if y == 0.0:
        return math.exp(below * s) / below
    x = s - math.log(y)
    return math.exp(below * math.log(y)) * (math.expm1(-above * x) / above + math.expm1(below * x) / below)


def derivatives(s, log_phi, psi, y, w, out_value, out_d1, out_d2, out_d3):
    """Value and derivatives in s."""
    _, above, below = _power(psi)
    inverse = w * math.exp(-log_phi)
    up = y * math.exp(-above * s) * inverse if y > 0.0 else 0.0
    down = math.exp(below * s) * inverse
    value = -_half_deviance(y, s, above, below) * inverse
    if y > 0.0:
        a = below / above
        value += series(_location(y, inverse, below), a)[0] + 0.5 * math.log(a) - 2.0 * HALF_LOG_2PI - math.log(y)
    out_value[0] = value
    out_d1[0] = up - down
    out_d2[0] = -above * up - below * down
    out_d3[0] = above * above * up - below * below * down


def aux(s, log_phi, psi, y, w, out_value, out_d1, out_d2, out_value_p, out_d1_p, out_d2_p):
    """Derivatives of value, d1, d2 in log φ, then in the log odds of p − 1."""
    _, above, below = _power(psi)
    inverse = w * math.exp(-log_phi)
    up = y * math.exp(-above * s) * inverse if y > 0.0 else 0.0
    down = math.exp(below * s) * inverse
    value = _half_deviance(y, s, above, below) * inverse
    # dp/dψ = (p − 1)(2 − p); of the exponent −y μ^(1−p)/(p − 1) − μ^(2−p)/(2 − p).
    value_p = up * (s + 1.0 / above) / above + down * (s - 1.0 / below) / below
    if y > 0.0:
        a = below / above
        log_y = math.log(y)
        J = _location(y, inverse, below)
        _, mean, slope = series(J, a)
        value -= (1.0 + a) * mean
        # The sum less (1 + a) J, with a' = −1/(p − 1)² and J'/J = 1/(2 − p) − log y.
        dJ = 1.0 / below - log_y
        value_p += (1.0 + a) * (mean + J) * dJ - (slope + J + 0.5 / a) / above**2
    change = above * below
    out_value[0] = value
    out_d1[0] = down - up
    out_d2[0] = above * up + below * down
    out_value_p[0] = value_p * change
    out_d1_p[0] = -s * (up - down) * change
    out_d2_p[0] = ((above * s - 1.0) * up + (below * s + 1.0) * down) * change
