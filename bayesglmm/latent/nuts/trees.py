"""The no-U-turn sampler for several chains in step: one call of the log-density serves them all.

Trees are built leaf by leaf and the draw is multinomial (Hoffman & Gelman 2014, JMLR 15; Betancourt 2017,
arXiv:1701.02434, appendix A), with U-turns looked for within every balanced subtree from a few stored points
(the iterative form of Phan, Pradhan & Jankowiak 2019, arXiv:1912.11554). Chains do not wait for each other: one begins
its next tree while another is in the middle of its own.

The mass matrix is the identity: coordinates are to be chosen so that the target is nearly a standard normal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: (points, shape (chains, d)) → (log-densities, gradients)
Density = Callable[[Floats], tuple[Floats, Floats]]

#: Doublings of a tree at most.
MAX_DEPTH = 10
#: Fall of the log joint density along a trajectory from which on it has diverged.
DIVERGED = 1000.0
#: Largest step size, in standard deviations.
LARGEST = 1.1

_LEAVES = np.arange(2**MAX_DEPTH)
#: Of every leaf n: how many bits of n // 2 are set (where its subtree's first point is stored), and how many bits at
#: the end of n (how many subtrees end there).
_STORED = np.array([(n >> 1).bit_count() for n in _LEAVES.tolist()])
_ENDING = np.array([(~n & (n + 1)).bit_length() - 1 for n in _LEAVES.tolist()])


class Moves(NamedTuple):
    """Draws of the chains whose trees were finished in a step; one row each.

    Parameters
    ----------
    chains : ndarray of int64
        Which chains.
    z : ndarray, shape (k, d)
        The draws.
    value : ndarray, shape (k,)
        Log-density there.
    acceptance_rate, n_steps, tree_depth, diverging, energy : ndarray, shape (k,)
        Of their trees.
    """

    chains: Ints
    z: Floats
    value: Floats
    acceptance_rate: Floats
    n_steps: Ints
    tree_depth: Ints
    diverging: Bools
    energy: Floats


class Trees:
    """Trees that are being built, one per chain.

    Parameters
    ----------
    density : callable
        Log-density and gradient of all chains' points.
    z : ndarray, shape (chains, d)
        Where the chains are; the density is finite there.
    rng : Generator
        Source of randomness.
    """

    def __init__(self, density: Density, z: Floats, rng: np.random.Generator) -> None:
        c, d = z.shape
        self.density, self.rng = density, rng
        value, slope = density(z)
        # The current draw of the tree, in the end the next draw of the chain.
        self.z, self.value, self.slope = z.copy(), value, slope
        self.start, self.weight, self.total = np.empty(c), np.zeros(c), np.empty((c, d))
        self.depth, self.steps, self.accepted = np.zeros(c, dtype=int), np.zeros(c, dtype=int), np.zeros(c)
        # The tree's first and last point: z, momentum, gradient.
        self.ends = np.empty((2, c, 3, d))
        # The subtree that doubles it: its newest point, its own draw, weight and sum of momenta.
        self.side, self.leaf = np.zeros(c, dtype=int), np.zeros(c, dtype=int)
        self.point = np.empty((c, 3, d))
        self.own = np.empty((c, 2, d))
        self.own_value, self.own_weight, self.own_total = np.empty(c), np.empty(c), np.empty((c, d))
        self.stored, self.newest = np.empty((MAX_DEPTH, 3, c, d)), np.empty((c, d))
        self.first = np.empty((c, d))
        self._begin(np.arange(c))

    def _begin(self, k: Ints) -> None:
        """Draw momenta of some chains, and begin their trees."""
        r = self.rng.standard_normal((len(k), self.z.shape[1]))
        self.start[k] = self.value[k] - 0.5 * np.einsum("kd,kd->k", r, r)
        self.ends[:, k, 0], self.ends[:, k, 1], self.ends[:, k, 2] = self.z[k], r, self.slope[k]
        self.total[k], self.weight[k], self.accepted[k] = r, 0.0, 0.0
        self.depth[k], self.steps[k] = 0, 0
        self._double(k)

    def _double(self, k: Ints) -> None:
        """Begin subtrees of some chains."""
        side = (self.rng.random(len(k)) < 0.5).astype(int)
        self.side[k], self.leaf[k] = side, 0
        self.point[k] = self.ends[side, k]
        self.own_weight[k], self.own_total[k] = -np.inf, 0.0

    def step(self, size: float) -> Moves:
        """Move every chain by one leapfrog step; what came of it for trees that were finished."""
        point = self.point
        half = (0.5 * size * (2.0 * self.side - 1.0))[:, None]
        r = point[:, 1] + half * point[:, 2]
        z = point[:, 0] + 2.0 * half * r
        value, slope = self.density(z)
        r = r + half * slope
        point[:, 0], point[:, 1], point[:, 2] = z, r, slope
        with np.errstate(all="ignore"):
            gain = value - 0.5 * np.einsum("kd,kd->k", r, r) - self.start
            gain = np.where(np.isnan(gain), -np.inf, gain)
            weight = np.logaddexp(self.own_weight, gain)
            take = np.flatnonzero(self.rng.random(len(gain)) < np.exp(gain - weight))
        self.own[take, 0], self.own[take, 1], self.own_value[take] = z[take], slope[take], value[take]
        self.own_weight = weight
        self.own_total += r
        self.accepted += np.exp(np.minimum(gain, 0.0))
        self.steps += 1
        diverged = gain < -DIVERGED
        bad = diverged | self._turned(r)
        self.leaf += 1
        return self._join(np.flatnonzero(bad | (self.leaf == 2**self.depth)), bad, diverged)

    def _turned(self, r: Floats) -> Bools:
        """Whether a subtree that ends at the new leaf has turned; the first point of one that begins is stored."""
        out = np.zeros(len(r), dtype=bool)
        at, ending = _STORED[self.leaf], _ENDING[self.leaf]
        begins = np.flatnonzero(ending == 0)
        # The momentum at a subtree's first leaf, that of the leaf before, and the sum up to it.
        self.stored[at[begins], :, begins] = np.stack([r[begins], self.newest[begins], self.own_total[begins]], axis=1)
        only = begins[self.leaf[begins] == 0]
        self.first[only] = r[only]
        last = np.flatnonzero(ending)
        for back in range(int(ending.max(initial=0))):
            k = last[ending[last] > back]
            begun, _, sums = np.moveaxis(self.stored[at[k] - back, :, k], 1, 0)
            out[k] |= turning(begun, r[k], self.own_total[k] - sums + begun)
            if back:  # halves of more than one leaf
                middle, before, up_to = np.moveaxis(self.stored[at[k] - back + 1, :, k], 1, 0)
                out[k] |= turning(begun, middle, up_to - sums + begun)
                out[k] |= turning(before, r[k], self.own_total[k] - up_to + middle + before)
        self.newest = r
        return out

    def _join(self, k: Ints, bad: Bools, diverged: Bools) -> Moves:
        """Add finished subtrees to their trees; begin new trees where these are finished, else new subtrees."""
        fine = k[~bad[k]]
        gain = self.own_weight[fine] - self.weight[fine]
        take = fine[np.log(self.rng.random(len(fine))) < gain]
        self.z[take], self.slope[take], self.value[take] = self.own[take, 0], self.own[take, 1], self.own_value[take]
        self.weight[fine] = np.logaddexp(self.weight[fine], self.own_weight[fine])
        old, side = self.total[fine], self.side[fine]
        near, far, first = self.ends[side, fine, 1], self.ends[1 - side, fine, 1], self.first[fine]
        last, own = self.point[fine, 1], self.own_total[fine]
        self.total[fine] += own
        self.ends[side, fine] = self.point[fine]
        # The whole, and each half with the other's nearest leaf: a trajectory that has come full circle.
        turned = turning(far, last, self.total[fine])
        turned |= (self.depth[fine] > 0) & (turning(far, first, old + first) | turning(near, last, own + near))
        self.depth[fine] += 1
        full = turned | (self.depth[fine] >= MAX_DEPTH)
        self._double(fine[~full])
        done = np.sort(np.concatenate([k[bad[k]], fine[full]]))
        moves = Moves(
            done,
            self.z[done],
            self.value[done],
            self.accepted[done] / self.steps[done],
            self.steps[done],
            self.depth[done],
            diverged[done],
            -self.start[done],
        )
        self._begin(done)
        return moves


def turning(first: Floats, last: Floats, total: Floats) -> Bools:
    """Whether a trajectory turns back on itself: from the momenta at its ends and their sum, shape (k, d)."""
    along = total - 0.5 * (first + last)
    back = np.minimum(np.einsum("kd,kd->k", along, first), np.einsum("kd,kd->k", along, last))
    return np.asarray(back <= 0.0)


class StepSize:
    """Dual averaging of the log step size towards a mean acceptance rate (Hoffman & Gelman 2014, section 3.2).

    Never above :data:`LARGEST`. For standard normals of 2 to 16 dimensions a step of 1.0 to 1.2 gives the most
    effective draws per gradient, 0.12 to 0.2 of squares and 0.4 to 0.7 of the values themselves (of a step of 0.8: 0.06
    to 0.11 and 0.2 to 0.26); at 1.4 squares hardly mix, though the acceptance rate is still 0.7 in two dimensions.

    Parameters
    ----------
    target : float
        Mean acceptance rate.
    start : float
        First step size.
    """

    def __init__(self, target: float, start: float) -> None:
        self.target, self.count, self.error = target, 0, 0.0
        self.value, self.log_mean = start, np.log(start)

    def update(self, rates: Floats) -> None:
        """Learn from acceptance rates of some trees."""
        for rate in rates.tolist():
            self.count += 1
            self.error += (self.target - rate - self.error) / (self.count + 10.0)
            log_size = min(np.log(LARGEST) - np.sqrt(self.count) / 0.05 * self.error, np.log(LARGEST))
            self.log_mean += self.count**-0.75 * (log_size - self.log_mean)
            self.value = float(np.exp(log_size))

    @property
    def mean(self) -> float:
        """What it settled at."""
        return float(np.exp(self.log_mean))
