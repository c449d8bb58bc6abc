"""Gamma row formulas in s = log μ with ψ = log α, to be compiled; the row's shape is a = α w.

With r = y/μ the log-density a log a − log Γ(a) − a s + (a − 1) log y − a r is written
½ log(a/2π) − S(a) + a (1 − r + log r) − log y, S being Stirling's remainder: no large terms cancel.
"""

# mypy: disable-error-code="no-untyped-def"

import math

from bayesglmm.families.kernels.special import HALF_LOG_2PI, stirling


def derivatives(s, psi, log_y, w, out_value, out_d1, out_d2, out_d3):
    """Value and derivatives in s."""
    a = w * math.exp(psi)
    r = math.exp(log_y - s)
    out_value[0] = 0.5 * math.log(a) - HALF_LOG_2PI - stirling(a)[0] + a * (1.0 - r + (log_y - s)) - log_y
    out_d1[0] = a * (r - 1.0)
    out_d2[0] = -a * r
    out_d3[0] = a * r


def aux(s, psi, log_y, w, out_value, out_d1, out_d2):
    """Derivatives in ψ of value, d1, d2."""
    a = w * math.exp(psi)
    r = math.exp(log_y - s)
    out_value[0] = 0.5 - a * stirling(a)[1] + a * (1.0 - r + (log_y - s))
    out_d1[0] = a * (r - 1.0)
    out_d2[0] = -a * r
