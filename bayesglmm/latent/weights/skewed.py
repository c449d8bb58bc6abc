"""Normal noise bent towards a skewed density: where random effects are drawn that few data leave skewed.

In units of its standard deviation a density exp(−t²/2 + κt³/6 + ...) has mean κ/2 and skewness κ to first order in κ,
and t = z + κ(z² + 2)/6 has both when z is standard normal (Cornish & Fisher 1938, Rev. Int. Statist. Inst. 5). Terms in
κ² make it monotone for every κ; they are about what the next order is for counts and proportions.

Noise of the estimated log marginal likelihood from two antithetic pairs, and effective share of 2,000 draws' weights:

=============  ===========  ===========
model          normal       bent
=============  ===========  ===========
cbpp           0.09   0.77  0.03   0.80
contraception  0.05   0.82  0.04   0.83
epilepsy       0.26   0.52  0.11   0.61
grouseticks    0.73   0.08  0.39   0.25
=============  ===========  ===========
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bend:
    """t as a function of z.

    Parameters
    ----------
    skew : ndarray
        κ: third derivative of the log-density at its mode, in units of the standard deviation.
    """

    skew: Floats

    @cached_property
    def _terms(self) -> tuple[Floats, Floats, Floats]:
        square = self.skew * self.skew / 12.0
        return self.skew / 6.0, square, square + 1.0

    def pair(self, z: Floats) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        """T and dt/dz, which is positive, at `z` and at −z."""
        sixth, square, rest = self._terms
        z2 = z * z
        even = (z2 + 2.0) * sixth
        z2 *= square
        odd = z * (z2 / 6.0 + rest)
        z2 *= 0.5
        z2 += rest
        tilt = (2.0 * sixth) * z
        return (even + odd, z2 + tilt), (even - odd, z2 - tilt)
