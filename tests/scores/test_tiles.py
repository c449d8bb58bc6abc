"""Cross-products in register tiles are the cross-products."""

from __future__ import annotations

import numpy as np
import pytest

from bayesglmm.scores.tiles import PACK, weighted_products


@pytest.mark.parametrize("p", [0, 1, 3, 4, 7, 8, 11, 12, 15, 16, 50])
@pytest.mark.parametrize("m", [0, 1, PACK - 1, PACK, PACK + 1, 300])
def test_products(m: int, p: int) -> None:
    rng = np.random.default_rng(m + 1000 * p)
    X, w, r = rng.normal(size=(m, p)), rng.random(m), rng.normal(size=m)
    w[: m // 3] = 0.0
    expected = np.column_stack([X, r]).T @ (w[:, None] * np.column_stack([X, r]))
    wide = np.zeros((2 * m, p + 3))
    wide[::2, 1 : p + 1] = X
    fixed = X.copy()
    fixed.flags.writeable = False
    for layout in (X, np.asfortranarray(X), wide[::2, 1 : p + 1], fixed):
        found = weighted_products(layout, w, r)
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-12)
        assert np.array_equal(found, found.T)


def test_what_is_not_a_number_stays_in_its_column() -> None:
    rng = np.random.default_rng(3)
    X, w, r = rng.normal(size=(100, 12)), rng.random(100), rng.normal(size=100)
    X[40, 9] = np.nan
    bad = np.isnan(weighted_products(X, w, r))
    assert bad[9].all()
    assert bad[:, 9].all()
    assert bad.sum() == 2 * 13 - 1
