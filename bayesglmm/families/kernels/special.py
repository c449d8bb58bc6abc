"""Special functions on one float each, for the compiled row formulas.

Asymptotic series are those of Abramowitz & Stegun (1964): 6.1.41 (log Γ), 6.3.18 (digamma), 6.4.12-14 (polygamma),
and the continued fraction 26.2.14 for the normal tail. Differences that tend to zero are formed analytically.
"""

# mypy: disable-error-code="no-untyped-def"

import math

from numba import njit

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
SQRT_HALF = math.sqrt(0.5)
# From here on the asymptotic series, cut where they are below, are exact to double precision.
LARGE = 12.0


@njit
def sigmoid(x):
    """1 / (1 + e^−x)."""
    e = math.exp(-abs(x))
    return 1.0 / (1.0 + e) if x >= 0.0 else e / (1.0 + e)


@njit
def softplus(x):
    """log(1 + e^x)."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@njit
def _stirling_series(x):
    """Log Γ(x) − [(x − ½) log x − x + ½ log 2π] for large x."""
    r = 1.0 / x
    s = r * r
    return r * (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s * (1 / 1680 - s * (1 / 1188 - s * (691 / 360360))))))


@njit
def _psi_series(x):
    """x(ψ − log x), x²(ψ' − 1/x) and x³(ψ'' + 1/x²) for large x: scaled so that they neither over- nor underflow."""
    r = 1.0 / x
    s = r * r
    p0 = r * (1 / 12 - s * (1 / 120 - s * (1 / 252 - s * (1 / 240 - s * (1 / 132 - s * (691 / 32760))))))
    p1 = r * (1 / 6 - s * (1 / 30 - s * (1 / 42 - s * (1 / 30 - s * (5 / 66 - s * (691 / 2730 - s * (7 / 6)))))))
    p2 = r * (1 / 2 - s * (1 / 6 - s * (1 / 6 - s * (3 / 10 - s * (5 / 6 - s * (691 / 210 - s * 17.5))))))
    return -0.5 - p0, 0.5 + p1, -1.0 - p2


@njit
def stirling(x):
    """Log Γ(x) − [(x − ½) log x − x + ½ log 2π], and its derivative, for x > 0."""
    if x >= LARGE:
        return _stirling_series(x), (_psi_series(x)[0] + 0.5) / x
    return math.lgamma(x) - (x - 0.5) * math.log(x) + x - HALF_LOG_2PI, polygamma(x)[0] - math.log(x) + 0.5 / x


@njit
def polygamma(x):
    """ψ(x), ψ'(x), ψ''(x) for x > 0: recurrence up to a large argument, then the series."""
    a0 = a1 = a2 = 0.0
    while x < LARGE:
        r = 1.0 / x
        a0 -= r
        a1 += r * r
        a2 -= 2.0 * r * r * r
        x += 1.0
    p0, p1, p2 = _psi_series(x)
    r = 1.0 / x
    return a0 + math.log(x) + p0 * r, a1 + r + p1 * r * r, a2 - r * r + p2 * r * r * r


@njit
def log_gamma_terms(a):
    """Derivatives in log a of log Γ(a): aψ, then twice more; exact as a → 0, where they tend to −1, 0, 0."""
    p0, p1, p2 = polygamma(1.0 + a)
    g = a * p0
    h = a * a * p1
    return g - 1.0, g + h, g + 3.0 * h + a * a * a * p2


@njit
def _rise_far(x, d):
    """As :func:`rise`, for large x."""
    z = x + d
    q = x / z
    a0, a1, a2 = _psi_series(x)
    b0, b1, b2 = _psi_series(z)
    log = math.log1p(d / x)
    value = (z - 0.5) * log + d * (math.log(x) - 1.0) + _stirling_series(z) - _stirling_series(x)
    return value, x * log + (q * b0 - a0), q * q * b1 - a1 - d * q, q * q * q * b2 - a2 + d * q * (1.0 + q)


@njit
def rise(x, d):
    """Log Γ(x + d) − log Γ(x) for x > 0, d ≥ 0, and x Δψ, x² Δψ', x³ Δψ'' with Δf = f(x + d) − f(x).

    For whole d the differences are sums of same-signed terms until x is large, so that none of them cancels.
    """
    if d == 0.0:
        return 0.0, 0.0, 0.0, 0.0
    if x >= LARGE:
        return _rise_far(x, d)
    if d != math.floor(d):
        a0, a1, a2 = polygamma(x)
        b0, b1, b2 = polygamma(x + d)
        return math.lgamma(x + d) - math.lgamma(x), x * (b0 - a0), x * x * (b1 - a1), x * x * x * (b2 - a2)
    first, product, s0, s1, s2 = x, 1.0, 0.0, 0.0, 0.0
    while d > 0.0 and x < LARGE:
        r = first / x
        product *= x
        s0 += r
        s1 -= r * r
        s2 += 2.0 * r * r * r
        x += 1.0
        d -= 1.0
    value = math.log(product)
    if d > 0.0:
        far = _rise_far(x, d)
        r = first / x
        return value + far[0], s0 + r * far[1], s1 + r * r * far[2], s2 + r * r * r * far[3]
    return value, s0, s1, s2


@njit
def rise_terms(x, d):
    """Log Γ(x + d) − log Γ(x) and its three derivatives in log x; exact as x → 0, where they tend to 1, 0, 0."""
    if d == 0.0:
        return 0.0, 0.0, 0.0, 0.0
    if x >= 1.0 or d < 1.0:
        value, g, h, k = rise(x, d)
        return value, g, g + h, g + 3.0 * h + k
    # Γ(x + d)/Γ(x) = x Γ(x + d)/Γ(1 + x); the scaled differences at 1 + x are rescaled to x.
    return _rise_small(math.log(x), x, d)


@njit
def _rise_small(log_x, x, d):
    value, g, h, k = rise(1.0 + x, d - 1.0)
    r = x / (1.0 + x)
    g, h, k = r * g, r * r * h, r * r * r * k
    return log_x + value, 1.0 + g, g + h, g + 3.0 * h + k


@njit
def rise_from(log_x, d):
    """As :func:`rise_terms`, of log x: for an x that may have underflown."""
    x = math.exp(log_x)
    return _rise_small(log_x, x, d) if x < 1.0 <= d else rise_terms(x, d)


@njit
def _mills_tail(x):
    """The three tails d, e, f of x + 1/(x + 2/(x + 3/(x + ...))): φ/Φ(−x) = x + d, d = 1/(x + e), e = 2/(x + f).

    The depth was found by trial so that h'' is exact to 2e-14; the innermost tail solves t (x + t) = depth + ½.
    """
    depth = int(7.0 + 70.0 / x + 104.0 / (x * x))
    tail = 0.5 * (math.sqrt(x * x + 4.0 * depth + 2.0) - x)
    for k in range(depth, 3, -1):
        tail = k / (x + tail)
    f = 3.0 / (x + tail)
    e = 2.0 / (x + f)
    return 1.0 / (x + e), e, f


@njit
def log_ndtr(eta):
    """Log Φ(η) and its three derivatives.

    On the left the inverse Mills ratio h(x), x = −η, is a continued fraction with tails d, e, f; then h' = h d,
    1 − h' = (e − d) d and h'' = h d² e (f − e), none of which cancels (as h − x, 1 − h' and h'' do when subtracted).
    """
    if eta < -2.5:
        x = -eta
        d, e, f = _mills_tail(x)
        h = x + d
        log = -0.5 * x * x - HALF_LOG_2PI - math.log(h)
        return log, h, -h * d, h * d * d * e * (f - e)
    tail = 0.5 * math.erfc(eta * SQRT_HALF)
    log = math.log1p(-tail) if eta > 0.0 else math.log(0.5 * math.erfc(-eta * SQRT_HALF))
    h = math.exp(-0.5 * eta * eta - log) / math.sqrt(2.0 * math.pi)
    s = eta + h
    return log, h, -h * s, h * (s * (s + h) - 1.0)


@njit
def log_one_minus_exp(t):
    """log(1 − e^−t) for t > 0, and its three derivatives in log t.

    With r = t/(e^t − 1) they are r, t r' and t(t r')'; below 1 from the series r = Σ B_k t^k / k!, whose terms the
    operator t d/dt multiplies by k (Abramowitz & Stegun 23.1.1).
    """
    if t > 745.0:
        return 0.0, 0.0, 0.0, 0.0
    r = t / math.expm1(t) if t < 700.0 else t * math.exp(-t)
    value = math.log(-math.expm1(-t)) if t < 0.7 else math.log1p(-math.exp(-t))
    if t < 1.0:
        s = t * t
        r1, r2 = -0.5 * t, -0.5 * t
        power = s
        for k, b in BERNOULLI:
            r1 += k * b * power
            r2 += k * k * b * power
            power *= s
        return value, r, r1, r2
    u = 1.0 - t - r
    r1 = r * u
    return value, r, r1, r1 * u - r * (t + r1)


@njit
def log_gumbel(eta):
    """log(1 − exp(−e^η)) and three derivatives; where e^η is lost in rounding it is η itself, to first order."""
    t = math.exp(min(eta, 7.0))
    if eta < -40.0:
        return eta - 0.5 * t, 1.0 - 0.5 * t, -0.5 * t, -0.5 * t
    return log_one_minus_exp(t)


# (k, B_k / k!) for k = 2, 4, ...
BERNOULLI = (
    (2.0, 1 / 12),
    (4.0, -1 / 720),
    (6.0, 1 / 30240),
    (8.0, -1 / 1209600),
    (10.0, 1 / 47900160),
    (12.0, -691 / 1307674368000),
    (14.0, 1 / 74724249600),
    (16.0, -3617 / 10670622842880000),
    (18.0, 43867 / 5109094217170944000),
    (20.0, -174611 / 802857662698291200000),
)
