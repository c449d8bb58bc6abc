"""One reading of the rows for everything that a scoring step sums (numba, cached on disk). Import only where needed.

A few rows at a time are copied next to each other; their linear predictor, means, working weights and residuals,
deviance and cross-products follow while they are in the nearest cache. Exponentials and logarithms are written without
branches, so that the compiler computes eight rows at once.
"""

# mypy: disable-error-code="no-untyped-def,misc"

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from bayesglmm.scores.tiles import PACK, SIDE, add_pack, unpacked

#: Pairs of variance function and link whose rows are computed here.
POISSON, BINOMIAL, GAMMA, GAUSSIAN, NEGATIVE_BINOMIAL = range(5)

#: log 2 in two parts, the first with so few digits that its small multiples are exact.
_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33")
_LOG2E = float(np.log2(np.e))
#: Adding it rounds a number below 2⁵¹ to a whole one, which stands in its lowest bits.
_ROUND = 1.5 * 2.0**52
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
_EXP = tuple(
    1.0 / float(f) for f in (6227020800, 479001600, 39916800, 3628800, 362880, 40320, 5040, 720, 120, 24, 6, 2)
)
_ATANH = tuple(2.0 / k for k in range(23, 1, -2))


@intrinsic
def _as_bits(typingctx: Any, value: Any) -> Any:
    """Bits of a double as an integer."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), generate


@intrinsic
def _as_double(typingctx: Any, bits: Any) -> Any:
    """The double of some bits."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), generate


@intrinsic
def _number_at(typingctx: Any, address: Any) -> Any:
    """The double at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], ir.DoubleType().as_pointer()))

    return types.float64(types.int64), generate


_EIGHT, _LANES = ir.VectorType(ir.DoubleType(), SIDE), ir.VectorType(ir.IntType(32), SIDE)


def _load(builder: Any, pointer: Any) -> Any:
    value = builder.load(builder.bitcast(pointer, _EIGHT.as_pointer()))
    value.align = 8  # arrays of doubles are no better aligned
    return value


def _store(builder: Any, value: Any, pointer: Any) -> None:
    builder.store(value, builder.bitcast(pointer, _EIGHT.as_pointer())).align = 8


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    return context.make_array(kind)(context, builder, array).data


@intrinsic
def _copied_dot(typingctx: Any, address: Any, to: Any, beta: Any, eights: Any) -> Any:
    """Copy eight times so many doubles from an address, and multiply them by β on the way: the inner product."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source = builder.inttoptr(args[0], ir.DoubleType().as_pointer())
        to, beta = (_data(context, builder, t, a) for t, a in zip(signature.args[1:3], args[1:3]))
        total = cgutils.alloca_once_value(builder, ir.Constant(_EIGHT, [0.0] * SIDE))
        with cgutils.for_range(builder, args[3]) as loop:
            place = [builder.mul(loop.index, ir.IntType(64)(SIDE))]
            value = _load(builder, builder.gep(source, place))
            _store(builder, value, builder.gep(to, place))
            product = builder.fmul(value, _load(builder, builder.gep(beta, place)), flags=("contract",))
            builder.store(builder.fadd(product, builder.load(total), flags=("contract",)), total)
        lanes = builder.load(total)
        for half in (4, 2, 1):
            order = [(k + half) % SIDE for k in range(SIDE)]
            lanes = builder.fadd(lanes, builder.shuffle_vector(lanes, lanes, ir.Constant(_LANES, order)))
        return builder.extract_element(lanes, ir.IntType(32)(0))

    return types.float64(address, to, beta, eights), generate


@intrinsic
def _weighted(typingctx: Any, to: Any, source: Any, weight: Any, eights: Any) -> Any:
    """Eight times so many doubles times a weight."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to, source = (_data(context, builder, t, a) for t, a in zip(signature.args[:2], args[:2]))
        one = builder.insert_element(ir.Constant(_EIGHT, ir.Undefined), args[2], ir.IntType(32)(0))
        weights = builder.shuffle_vector(one, one, ir.Constant(_LANES, [0] * SIDE))
        with cgutils.for_range(builder, args[3]) as loop:
            place = [builder.mul(loop.index, ir.IntType(64)(SIDE))]
            _store(builder, builder.fmul(weights, _load(builder, builder.gep(source, place))), builder.gep(to, place))
        return context.get_dummy_value()

    return types.void(to, source, weight, eights), generate


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def exponential(x):
    """exp(x) for |x| ≤ 708, to a unit or two in the last place."""
    shifted = x * _LOG2E + _ROUND
    k = shifted - _ROUND
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    total = _EXP[0]
    for c in _EXP[1:]:
        total = total * r + c
    return (total * r * r + r + 1.0) * _as_double((_as_bits(shifted) + 1023) << 52)


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def logarithm(x):
    """log(x) of a positive normal number, to a unit or two in the last place: 2 atanh((x − 1)/(x + 1)) near one."""
    # the exponent of x / √½, so that the rest lies between √½ and √2
    k = (_as_bits(x) - _SQRT_HALF_BITS) >> 52
    m = _as_double(_as_bits(x) - (k << 52))
    f = m - 1.0
    s = f / (m + 1.0)
    z = s * s
    total = _ATANH[0]
    for c in _ATANH[1:]:
        total = total * z + c
    exponent = _as_double(_as_bits(_ROUND) + k) - _ROUND
    # f − f²/2 carries the leading digits: 2s = f − s f
    rest = s * (total * z - f)
    return (exponent * _LN2_LOW + rest) + f + exponent * _LN2_HIGH


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def _log1p(t):
    """log(1 + t) for t > −1 with full relative accuracy."""
    u = 1.0 + t
    return logarithm(u) + (t - (u - 1.0)) / u


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _row_terms(kind, theta, eta, y, case, weight, residual, terms):
    """Working weights and residuals of some rows, and what they add to the sums in their lanes.

    The lanes of `terms` are deviance, Pearson statistic, W η², W, and the lowest and highest linear predictor.
    """
    n = len(y)
    if kind == POISSON:
        for r in range(n):
            mu = exponential(eta[r])
            gap, log = y[r] - mu, logarithm(y[r] / mu if y[r] > 0.0 else 1.0)
            weight[r], residual[r] = case[r] * mu, gap / mu
            terms[0, r] += 2.0 * case[r] * max(y[r] * log - gap, 0.0)
    elif kind == BINOMIAL:
        mixed = False
        for r in range(n):
            mixed |= (y[r] != 0.0) & (y[r] != 1.0)
            t = exponential(-abs(eta[r]))
            low = 1.0 / (1.0 + t)
            slope = t * low * low
            gap = y[r] - (low if eta[r] >= 0.0 else t * low)
            # −log μ = log(1 + t) + max(−η, 0), −log(1 − μ) = log(1 + t) + max(η, 0)
            terms[0, r] += 2.0 * case[r] * (_log1p(t) + (max(eta[r], 0.0) - y[r] * eta[r]))
            weight[r], residual[r] = case[r] * slope, gap / slope
        if mixed:
            for r in range(n):
                a, b = y[r], 1.0 - y[r]
                entropy = a * logarithm(a if a > 0.0 else 1.0) + b * logarithm(b if b > 0.0 else 1.0)
                terms[0, r] += 2.0 * case[r] * entropy
    elif kind == GAMMA:
        for r in range(n):
            ratio = y[r] / exponential(eta[r])
            weight[r], residual[r] = case[r], ratio - 1.0
            terms[0, r] += 2.0 * case[r] * max(ratio - 1.0 - logarithm(ratio), 0.0)
    elif kind == GAUSSIAN:
        for r in range(n):
            gap = y[r] - eta[r]
            weight[r], residual[r] = case[r], gap
            terms[0, r] += case[r] * (gap * gap)
    else:
        for r in range(n):
            mu = exponential(eta[r])
            gap, log = y[r] - mu, logarithm(y[r] / mu if y[r] > 0.0 else 1.0)
            other = (y[r] + theta) * _log1p(gap / (mu + theta))
            weight[r], residual[r] = case[r] * (mu * theta / (mu + theta)), gap / mu
            terms[0, r] += 2.0 * case[r] * max(y[r] * log - other, 0.0)
    for r in range(n):
        terms[1, r] += weight[r] * (residual[r] * residual[r])
        terms[2, r] += weight[r] * (eta[r] * eta[r])
        terms[3, r] += weight[r]
        terms[4, r] = min(terms[4, r], eta[r])
        terms[5, r] = max(terms[5, r], eta[r])


_READ = types.Array(types.float64, 1, "C", readonly=True)
_SIGNATURE = types.Tuple((types.float64[:, ::1], types.float64[::1]))(
    types.Array(types.int64, 1, "C", readonly=True),
    types.int64,
    _READ,
    _READ,
    _READ,
    _READ,
    types.int64,
    types.float64,
)


@njit(_SIGNATURE, cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def fused_products(addresses, stride, y, case, offset, beta, kind, theta):
    """[X, r]' W [X, r], shape (p + 1, p + 1), and what else a scoring step sums, in one reading of X.

    Parameters
    ----------
    addresses : ndarray of int64, shape (p,)
        Where each column of X starts.
    stride : int
        Bytes from one row of X to the next.
    y, case, offset : ndarray, shape (m,)
        Response, case weights, offset.
    beta : ndarray, shape (p,)
        Coefficients.
    kind : int
        Variance function and link.
    theta : float
        Parameter of the variance function, where it has one.

    Returns
    -------
    products : ndarray, shape (p + 1, p + 1)
    totals : ndarray, shape (6,)
        Deviance, Pearson statistic, Σ W η², Σ W, and the lowest and highest linear predictor. What is not a number
        stays one; linear predictors beyond ±700 are for somebody else.
    """
    m, p = len(y), len(beta)
    width = (p // SIDE + 1) * SIDE
    left, right = np.zeros(PACK * width), np.zeros(PACK * width)
    tiles = np.zeros(width * width)
    eta, weight, residual = np.empty(PACK), np.empty(PACK), np.empty(PACK)
    terms = np.zeros((6, PACK))
    terms[4], terms[5] = np.inf, -np.inf
    by_rows = p > 0 and stride != 8 and (p == 1 or addresses[1] - addresses[0] == 8)
    for first in range(0, m, PACK):
        n = min(PACK, m - first)
        for r in range(n):
            eta[r] = offset[first + r]
        if by_rows:
            for r in range(n):
                start, source = addresses[0] + (first + r) * stride, right[r * width :]
                total = eta[r] + _copied_dot(start, source, beta, p // SIDE)
                for j in range(p // SIDE * SIDE, p):
                    source[j] = _number_at(start + 8 * j)
                    total += source[j] * beta[j]
                eta[r] = total
        else:
            for j in range(p):
                start, to, b = addresses[j] + first * stride, right[j:], beta[j]
                for r in range(n):
                    x = _number_at(start + r * stride)
                    to[r * width] = x
                    eta[r] += b * x
        rows = slice(first, first + n)
        _row_terms(kind, theta, eta, y[rows], case[rows], weight, residual, terms)
        for r in range(n):
            right[r * width + p] = residual[r]
        for r in range(n):  # a loop of its own: what is read at once should not have been written just now
            _weighted(left[r * width :], right[r * width :], weight[r], width // SIDE)
        add_pack(tiles, left, right, n, p)
    totals = np.empty(6)
    for k in range(4):
        totals[k] = terms[k].sum()
    totals[4], totals[5] = terms[4].min(), terms[5].max()
    return unpacked(tiles, p), totals
