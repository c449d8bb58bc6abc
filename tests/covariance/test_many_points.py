"""Λ at many points of θ at once is Λ at each of them."""

from __future__ import annotations

import numpy as np
import pytest

from bayesglmm.covariance.forms import FORMS


@pytest.mark.parametrize("q", [1, 2, 4])
@pytest.mark.parametrize("name", FORMS)
def test_factors_of_many_points(name, q):
    form, rng = FORMS[name], np.random.default_rng(q)
    low = [c.low if c.kind == "interval" else 0.1 for c in form.coordinates(q)]
    theta = np.array(low) + rng.uniform(0.1, 0.9, (2, 5, len(low)))
    many = form.factor(theta, q)
    assert many.shape == (2, 5, q, q)
    for i in np.ndindex(2, 5):
        np.testing.assert_array_equal(many[i], form.factor(theta[i], q))
        np.testing.assert_array_equal(many[i], np.tril(many[i]))
