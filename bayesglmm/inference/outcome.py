"""What every test returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bayesglmm import quantiles


@dataclass(frozen=True)
class Outcome:
    """Outcome of a test.

    Parameters
    ----------
    test : str
        Name of the test.
    hypothesis : str
        What was tested, in words.
    reference : {"chi2", "F", "t", "normal", "W"}
        Distribution under the hypothesis (``"t"`` and ``"normal"`` two-sided; ``"W"`` is that of Shapiro and Wilk).
    statistic : float
        Value of the statistic.
    df : float
        Degrees of freedom (of the numerator).
    df_denominator : float
        Of the denominator of an F, or of a t; infinite otherwise.
    p : float
        Tail probability.
    extras : dict
        Anything more, such as estimates of the contrasts.
    """

    test: str
    hypothesis: str
    reference: str
    statistic: float
    df: float
    df_denominator: float
    p: float
    extras: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        df = f"{self.df:g}"
        if self.reference in ("F", "t"):
            df = f"{df}, {self.df_denominator:g}" if self.reference == "F" else f"{self.df_denominator:g}"
        name = {"chi2": "χ²", "F": "F", "t": "t", "normal": "z", "W": "W"}[self.reference]
        shown = name if self.reference in ("normal", "W") else f"{name}({df})"
        return f"{self.test}: {self.hypothesis}: {shown} = {self.statistic:.6g}, p = {self.p:.4g}"


def tail_probability(reference: str, statistic: float, df: float, df_denominator: float = float("inf")) -> float:
    """Tail probability of a statistic under its reference distribution."""
    if reference == "F":
        return float(quantiles.f.sf(statistic, df, df_denominator)) if df > 0 else 1.0
    if reference == "chi2":
        return float(quantiles.chi2.sf(statistic, df)) if df > 0 else 1.0
    if reference == "t":
        return float(2.0 * quantiles.t.sf(abs(statistic), df_denominator))
    return float(2.0 * quantiles.norm.sf(abs(statistic)))


def outcome(
    test: str,
    hypothesis: str,
    reference: str,
    statistic: float,
    df: float = 1.0,
    df_denominator: float = float("inf"),
    **extras: Any,
) -> Outcome:
    """An :class:`Outcome` with its tail probability worked out."""
    p = tail_probability(reference, statistic, df, df_denominator)
    return Outcome(test, hypothesis, reference, float(statistic), float(df), float(df_denominator), p, extras)
