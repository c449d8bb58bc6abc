"""Weighted cross-products of short rows in register tiles (numba, cached on disk). Import only where it is needed.

BLAS reaches half of a core's speed on ``syrk`` of a few dozen columns, and wants the rows weighted in a copy first.
Here a tile of 8 × 8 products stays in vector registers while some rows go by: each row brings eight numbers times its
weight on the one side and eight on the other. Rows are packed, with their weights and residuals, a few at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

#: Side of a tile (a vector of eight doubles, split by the compiler where registers are shorter), rows packed at once.
SIDE, PACK = 8, 64


def _outer(count: int) -> Any:
    """Compile the sum of outer products of `count` numbers and eight."""

    @intrinsic
    def add(typingctx: Any, tile: Any, left: Any, right: Any, rows: Any, width: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            vector, whole = ir.VectorType(ir.DoubleType(), SIDE), ir.IntType(64)
            start = [context.make_array(t)(context, builder, a).data for t, a in zip(signature.args[:3], args)]

            def as_vector(pointer: Any) -> Any:
                return builder.bitcast(pointer, vector.as_pointer())

            def load(pointer: Any) -> Any:
                value = builder.load(as_vector(pointer))
                value.align = 8  # arrays of doubles are no better aligned
                return value

            places = [builder.gep(start[0], [whole(SIDE * i)]) for i in range(count)]
            sums = [cgutils.alloca_once_value(builder, load(place)) for place in places]
            lanes = ir.Constant(ir.VectorType(ir.IntType(32), SIDE), [0] * SIDE)
            empty = ir.Constant(vector, ir.Undefined)
            with cgutils.for_range(builder, args[3]) as loop:
                skip = builder.mul(loop.index, args[4])
                row = load(builder.gep(start[2], [skip]))
                for i in range(count):
                    number = builder.load(builder.gep(start[1], [builder.add(skip, whole(i))]))
                    one = builder.insert_element(empty, number, ir.IntType(32)(0))
                    product = builder.fmul(builder.shuffle_vector(one, empty, lanes), row, flags=("contract",))
                    builder.store(builder.fadd(product, builder.load(sums[i]), flags=("contract",)), sums[i])
            for place, total in zip(places, sums):
                builder.store(builder.load(total), as_vector(place)).align = 8
            return context.get_dummy_value()

        return types.void(tile, left, right, rows, width), generate

    return add


# Add Σ_r left[r, :count] ∘ right[r, :8]' to the numbers at the start of a tile; rows are `width` numbers apart.
_add_eight, _add_four = _outer(SIDE), _outer(SIDE // 2)


@njit(cache=True, nogil=True, error_model="numpy")
def weighted_products(X, weight, residual):  # type: ignore[no-untyped-def]
    """[X, r]' W [X, r], shape (p + 1, p + 1).

    Parameters
    ----------
    X : ndarray, shape (m, p)
        In any order.
    weight, residual : ndarray, shape (m,)
        Diagonal of W, and r.
    """
    m, p = X.shape
    side = p // SIDE + 1
    width = side * SIDE
    left, right = np.zeros(PACK * width), np.zeros(PACK * width)
    tiles = np.zeros(side * side * SIDE * SIDE)
    by_rows = X.strides[1] <= X.strides[0]
    for first in range(0, m, PACK):
        n = min(PACK, m - first)
        if not by_rows:
            for j in range(p):
                column, to = X[first : first + n, j], right[j:]
                for r in range(n):
                    to[r * width] = column[r]
        for r in range(n):
            w, source, to = weight[first + r], right[r * width :], left[r * width :]
            if by_rows:
                row = X[first + r]
                for j in range(p):
                    source[j] = row[j]
            for j in range(p):
                to[j] = w * source[j]
            source[p] = residual[first + r]
            to[p] = w * source[p]
        add_pack(tiles, left, right, n, p)
    return unpacked(tiles, p)


@njit(cache=True, nogil=True, error_model="numpy", inline="never")
def add_pack(tiles, left, right, n, p):  # type: ignore[no-untyped-def]
    """Add the products of `n` packed rows to the tiles of the upper triangle."""
    side = p // SIDE + 1
    width, last, short = side * SIDE, side - 1, p % SIDE < SIDE // 2
    for i in range(side):
        for j in range(i, last):
            _add_eight(tiles[(i * side + j) * SIDE * SIDE :], left[i * SIDE :], right[j * SIDE :], n, width)
        # the last columns are the numbers, and those of the tile the lanes: there may be few of them
        tile = tiles[(i * side + last) * SIDE * SIDE :]
        if short:
            _add_four(tile, left[last * SIDE :], right[i * SIDE :], n, width)
        else:
            _add_eight(tile, left[last * SIDE :], right[i * SIDE :], n, width)


@njit(cache=True, nogil=True, error_model="numpy")
def unpacked(tiles, p):  # type: ignore[no-untyped-def]
    """The symmetric matrix, shape (p + 1, p + 1), that the tiles hold."""
    side = p // SIDE + 1
    last = side - 1
    out = np.empty((p + 1, p + 1))
    for i in range(p + 1):
        for j in range(i, p + 1):
            a, b = (j, i) if j // SIDE == last else (i, j)
            place = (i // SIDE * side + j // SIDE) * SIDE * SIDE + a % SIDE * SIDE + b % SIDE
            out[i, j] = out[j, i] = tiles[place]
    return out
