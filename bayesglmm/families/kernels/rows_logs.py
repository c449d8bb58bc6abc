"""log μ and its derivatives for links of a proportion, to be compiled."""

# mypy: disable-error-code="no-untyped-def"

from bayesglmm.families.kernels.special import log_gumbel, log_ndtr


def probit(eta, out_a, out_a1, out_a2, out_a3):
    """Log Φ(η)."""
    out_a[0], out_a1[0], out_a2[0], out_a3[0] = log_ndtr(eta)


def cloglog(eta, out_a, out_a1, out_a2, out_a3):
    """log(1 − exp(−e^η))."""
    out_a[0], out_a1[0], out_a2[0], out_a3[0] = log_gumbel(eta)
