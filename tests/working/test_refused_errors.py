"""What leaves the correlation of errors aside is refused, and so are structures that do not fit the rows."""

from __future__ import annotations

import numpy as np
import pytest
from error_series import series

import bayesglmm as bg


def test_what_leaves_the_correlation_aside_is_refused():
    data = series()
    model = bg.Model("y ~ x + (1 | id)", data, priors="flat", errors=bg.AR1Errors("id", time="t"))
    assert model.methods == ("ml", "reml")
    assert bg.Model("y ~ x", data, errors=bg.AR1Errors("id")).natural_method == "reml"
    for method in ("laplace", "pql", "mcmc"):
        with pytest.raises(bg.MethodError, match="go together: AR"):
            model.fit(method)
    with pytest.raises(bg.MethodError, match="independent errors"):
        model.to_pymc()
    fit = model.fit("ml")
    with pytest.raises(bg.MethodError, match="independent errors"):
        fit.confint(method="profile")
    with pytest.raises(bg.MethodError, match="satterthwaite"):
        model.fit("reml", df="kenward-roger")
    with pytest.raises(bg.MethodError, match="independent errors"):
        bg.Model("y ~ x", data, errors=bg.AR1Errors("id")).fit("ml").influence()


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ("ar1", "AR1Errors"),
        (bg.AR1Errors("id", time="same"), "twice"),
        (bg.AR1Errors("row"), "one row"),
        (bg.AR1Errors("id", time="word"), "numbers"),
        (bg.KnownErrors(np.eye(2), "id"), "has 2 rows; a group has"),
        (bg.KnownErrors(np.ones((8, 8)), "id"), "positive definite"),
        (bg.KnownErrors(np.arange(4.0).reshape(2, 2), "id"), "symmetric"),
        (bg.KnownErrors(np.eye(3), "id", position="t"), "lacks the position"),
        (bg.KnownErrors({0: np.eye(2)}, "id"), "no matrix|rows"),
        (bg.KnownErrors({0: np.eye(2)}, "id", position="t"), "without position"),
    ],
)
def test_bad_errors_are_refused(errors, message):
    data = series().assign(same=1.0, word="a")
    data["row"] = np.arange(len(data))
    with pytest.raises(bg.BayesGLMMError, match=message):
        bg.Model("y ~ x + (1 | id)", data, errors=errors)


def test_errors_across_levels_and_other_families_are_refused():
    data = series().assign(item=lambda d: d["t"].astype(str))
    with pytest.raises(bg.MethodError, match="within one level"):
        bg.Model("y ~ x + (1 | id) + (1 | item)", data, errors=bg.AR1Errors("id", time="t")).fit("reml")
    with pytest.raises(bg.MethodError, match="gaussian family"):
        bg.Model("y ~ x", data.assign(y=np.arange(len(data))), "poisson", errors=bg.AR1Errors("id"))
