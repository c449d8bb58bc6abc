"""Row formulas in NumPy: a cache's worth at a time gives what all at once would."""

from __future__ import annotations

import numpy as np
import pytest

from bayesglmm.families.kernels import arrays


@pytest.mark.parametrize("shape", [(7,), (5, 7), (3, 4, 50), (40,), (2, 40)])
@pytest.mark.parametrize("name", ["poisson", "binomial_logit"])
def test_chunks_change_nothing(name: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    formula, n = getattr(arrays, name), shape[-1]
    eta = 3.0 * rng.normal(size=shape)
    data = [rng.poisson(2.0, n).astype(float) for _ in range({"poisson": 1, "binomial_logit": 2}[name])]
    data += [rng.uniform(0.5, 2.0, n), rng.normal(size=n)]
    whole = formula(eta, *data)
    monkeypatch.setattr(arrays, "CHUNK", 11)
    for a, b in zip(whole, formula(eta, *data), strict=True):
        assert b.shape == shape
        np.testing.assert_allclose(a, b, rtol=1e-14)
