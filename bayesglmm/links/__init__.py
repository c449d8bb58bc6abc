"""Link functions: η = g(μ) and its inverse with derivatives, as functions of η (never of a clipped μ).

Every inverse is written so that small means, and small complements 1 − μ of a proportion, keep full relative
accuracy far into the tails; ``complement`` gives 1 − μ where the mean is a proportion.
"""

from bayesglmm.links.base import Link
from bayesglmm.links.lookup import LINKS, get_link
from bayesglmm.links.made import interval_link, power_link

__all__ = ["LINKS", "Link", "get_link", "interval_link", "power_link"]
