"""Compare methods on one model: who is near the reference, at what price."""

from bayesglmm.comparison.core import Comparison, compare
from bayesglmm.comparison.run import Event, Outcome

__all__ = ["Comparison", "Event", "Outcome", "compare"]
