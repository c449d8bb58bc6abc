"""Parameters that live in scales and intervals: natural coordinates to working ones and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesglmm.covariance.forms import Coordinate

Floats = NDArray[np.float64]


class Charted:
    """Something with parameters θ, one :class:`Coordinate` each."""

    @property
    def coordinates(self) -> tuple[Coordinate, ...]:
        """One per entry of θ."""
        raise AttributeError(f"{type(self).__name__} says nothing of its coordinates.")

    @property
    def n_params(self) -> int:
        """Length of θ."""
        return len(self.coordinates)

    def to_working(self, theta: Floats, log_scales: bool) -> Floats:
        """Working coordinates of natural θ; `log_scales` for a posterior, not for maximum likelihood."""
        out = np.array(theta, dtype=float)
        for k, c in enumerate(self.coordinates):
            if c.logged(log_scales):
                out[k] = np.log(out[k])
            elif c.kind == "interval":
                out[k] = np.log(out[k] - c.low) - np.log(c.high - out[k])
        return out

    def from_working(self, work: Floats, log_scales: bool) -> Floats:
        """Natural θ of working coordinates; further axes of `work` are points."""
        out = np.array(work, dtype=float)
        for k, c in enumerate(self.coordinates):
            if c.logged(log_scales):
                out[k] = np.exp(out[k])
            elif c.kind == "interval":
                out[k] = c.low + (c.high - c.low) / (1.0 + np.exp(-out[k]))
        return out

    def working_slope(self, theta: Floats, log_scales: bool) -> Floats:
        """dθ/dw, elementwise: the Jacobian of :meth:`from_working` is diagonal. Further axes of `theta` are points."""
        out = np.ones(np.shape(theta))
        for k, c in enumerate(self.coordinates):
            if c.logged(log_scales):
                out[k] = theta[k]
            elif c.kind == "interval":
                out[k] = (theta[k] - c.low) * (c.high - theta[k]) / (c.high - c.low)
        return out
