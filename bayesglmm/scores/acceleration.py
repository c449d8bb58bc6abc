"""Leaps along a slowly shrinking sequence of scoring steps.

Fisher scoring converges quadratically for canonical links only; for others each step shrinks by a factor that may be
close to one (an inverse Gaussian with log link: 0.8). Anderson's (1965) mixing of the last few steps, J. ACM 12,
547-560, as analysed by Walker & Ni (2011), SIAM J. Numer. Anal. 49, 1715-1735, makes up for it without second
derivatives of the variance function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: How many steps are mixed, the shrinking factor above which steps count as slow, and from which length on.
_MEMORY, _SLOW, _NEAR = 4, 0.05, 0.1


@dataclass(frozen=True)
class Path:
    """The last points and the full steps from them.

    Parameters
    ----------
    points : tuple of (beta, step)
        Oldest first.
    contraction : float
        Factor by which plain steps shrank when they were seen to be slow; zero until then.
    rate : float
        The last such factor.
    length : float
        Length of the last step.
    """

    points: tuple[tuple[Floats, Floats], ...]
    contraction: float = 0.0
    rate: float = 1.0
    length: float = np.inf

    def extended(self, beta: Floats, step: Floats, rate: float, decrement: float) -> Path:
        """The path with one more point.

        Parameters
        ----------
        beta, step : ndarray, shape (p,)
            The point and the scoring step from it.
        rate : float
            Ratio of this step's length to the last one's; not a number when the last was cut short.
        decrement : float
            This step's length in standard errors: far from the solution nothing is mixed.
        """
        points = (*self.points, (beta, step))[-_MEMORY - 1 :]
        if self.contraction > 0.0:
            return Path(points, self.contraction, rate, decrement)
        if not (decrement < _NEAR and np.isfinite(rate)):
            return Path(points[-1:], length=decrement)
        # a quadratic sequence squares its rate at every step, a linear one keeps it
        slow = rate > _SLOW and self.rate < 1.0 and rate > 0.5 * self.rate
        return Path(points, min(rate, 0.95) if slow else 0.0, min(rate, 1.0), decrement)

    def leap(self, metric: Callable[[Floats], Floats]) -> Floats | None:
        """The point at which the mixed step is shortest; None without history.

        Parameters
        ----------
        metric : callable
            Maps steps, shape (p,) or (p, k), to vectors whose Euclidean length is theirs.
        """
        if self.contraction == 0.0 or len(self.points) < 2:
            return None
        betas = np.array([b for b, _ in self.points])
        steps = np.array([s for _, s in self.points])
        moved, changed = np.diff(betas, axis=0).T, np.diff(steps, axis=0).T
        last = steps[-1]
        gamma = np.linalg.lstsq(metric(changed), metric(last), rcond=1e-10)[0]
        jump = last - (moved + changed) @ gamma
        # plain steps would add up to last / (1 - contraction): a leap far beyond is not to be trusted (separation)
        reach = 2.0 / (1.0 - self.contraction) * float(np.linalg.norm(metric(last)))
        return betas[-1] + jump if float(np.linalg.norm(metric(jump))) <= reach else None
