"""A known covariance as a sparse precision, and levels that occur in no row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import bayesglmm as bg
from bayesglmm.covariance import bind_covariance
from bayesglmm.design import build_design
from bayesglmm.latent.elimination import ordering
from bayesglmm.latent.elimination.structure import analyse
from bayesglmm.latent.linear.mixed_equations import prediction_errors_at
from bayesglmm.latent.refit import solution_of

NAMES = [f"a{i:02}" for i in range(30)]
FORMULA = "y ~ x + (1 | a) + (1 | h)"


@pytest.fixture(scope="module")
def family() -> bg.Known:
    """Thirty animals in three generations."""
    rng = np.random.default_rng(3)
    sire, dam = [""] * 10, [""] * 10
    for start in (0, 10):
        males, females = rng.permutation(np.arange(start, start + 10)).reshape(2, 5)
        sire += [NAMES[i] for i in rng.choice(males[:3], 10)]
        dam += [NAMES[i] for i in rng.choice(females, 10)]
    return bg.pedigree({"id": NAMES, "sire": sire, "dam": dam}, id="id", sire="sire", dam="dam")


@pytest.fixture(scope="module")
def data(family: bg.Known) -> pd.DataFrame:
    """Records of the last two generations only."""
    rng = np.random.default_rng(4)
    A = np.linalg.inv(family.precision.toarray())
    codes = np.r_[np.arange(10, 30), rng.integers(10, 30, 160)]
    effects = 1.2 * np.linalg.cholesky(A) @ rng.standard_normal(30)
    x = rng.standard_normal(180)
    h = rng.integers(0, 6, 180)
    eta = 0.3 + 0.4 * x + effects[codes] + 0.5 * rng.standard_normal(6)[h]
    return pd.DataFrame(
        {
            "a": np.array(NAMES)[codes],
            "h": h.astype(str),
            "x": x,
            "y": eta + rng.standard_normal(180),
            "sloped": eta + x * (np.linalg.cholesky(A)[codes] @ rng.standard_normal(30)) + rng.standard_normal(180),
            "count": rng.poisson(np.exp(0.5 * eta)),
        }
    )


def covariance_of(family: bg.Known) -> pd.DataFrame:
    return pd.DataFrame(np.linalg.inv(family.precision.toarray()), index=list(family.levels))


def models(animals, data, formula=FORMULA, **options):
    """The same model: precision sparse, in another order, dense; covariance; covariance of the levels with rows."""
    K = covariance_of(animals)
    seen = sorted(set(data["a"]))
    dense = pd.DataFrame(animals.precision.toarray(), index=list(animals.levels))
    ways = {
        "sparse": animals,
        "reordered": bg.Known(precision=animals.precision[::-1][:, ::-1], levels=animals.levels[::-1]),
        "dense": bg.Known(precision=dense),
        "covariance": bg.Known(K),
        "marginal": bg.Known(K.loc[seen].iloc[:, [list(K.index).index(v) for v in seen]]),
    }
    return {k: bg.Model(formula, data, covariance={"a": known}, **options) for k, known in ways.items()}


def assert_same_fit(one, other, rtol=1e-6):
    assert one.loglik == pytest.approx(other.loglik, abs=1e-7)
    np.testing.assert_allclose(one.fixed["estimate"], other.fixed["estimate"], rtol=rtol, atol=1e-8)
    np.testing.assert_allclose(one.fixed["se"], other.fixed["se"], rtol=1e-4)  # by differences of the gradient
    np.testing.assert_allclose(one.varcomp["sd"], other.varcomp["sd"], rtol=rtol)
    np.testing.assert_allclose(one.varcomp["se"].astype(float), other.varcomp["se"].astype(float), rtol=1e-4)
    shared = [v for v in one.random["a"].index if v in other.random["a"].index]
    for column in one.random["a"].columns:
        ours, theirs = (f.random["a"].loc[shared, column] for f in (one, other))
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["reml", "ml", "laplace"])
def test_gaussian_fits_do_not_depend_on_how_the_covariance_is_given(family, data, method):
    fits = {k: m.fit(method) for k, m in models(family, data, priors="flat").items()}
    for name in ("reordered", "dense", "covariance", "marginal"):
        assert_same_fit(fits["sparse"], fits[name])


@pytest.mark.parametrize("method", ["laplace", "pql", "mql"])
def test_count_fits_do_not_depend_on_how_the_covariance_is_given(family, data, method):
    options = {"family": "poisson", "priors": "flat"}
    built = models(family, data, "count ~ x + (1 | a) + (1 | h)", **options)
    fits = {k: m.fit(method) for k, m in built.items()}
    for name in ("covariance", "marginal"):
        if method == "laplace":
            assert_same_fit(fits["sparse"], fits[name])
        np.testing.assert_allclose(fits["sparse"].fixed, fits[name].fixed, rtol=1e-5, atol=1e-8)


def test_ancestors_without_rows_are_predicted(family, data):
    """E(u_0 | y) = A_01 A_11⁻¹ E(u_1 | y), and its variance by the same regression."""
    model = bg.Model(FORMULA, data, covariance={"a": family})
    fit = model.fit("reml")
    effects = fit.random["a"]
    assert list(effects.index) == NAMES[10:] + NAMES[:10]
    K = covariance_of(family).to_numpy()
    regression = K[:10, 10:] @ np.linalg.inv(K[10:, 10:])
    predicted = effects["Intercept"].loc[NAMES[10:]].to_numpy()
    np.testing.assert_allclose(effects["Intercept"].loc[NAMES[:10]], regression @ predicted, rtol=1e-8)
    sd = fit.varcomp["sd"].iloc[0]
    pev = prediction_errors_at(solution_of(model.problem, fit.result))[0][:, 0]
    assert np.all(pev[20:] <= sd * (1 + 1e-9))
    assert np.sum(pev[20:] < 0.95 * sd) == 8  # two have no offspring
    # The mixed-model equations, dense: var(b̂ − b) of every level.
    X, n = model.design.X, len(data)
    Z = np.zeros((n, 30))
    Z[np.arange(n), model.design.blocks[0].codes] = 1.0
    H = np.equal.outer(data["h"].to_numpy(), data["h"].unique()).astype(float)
    back = np.r_[np.arange(10, 30), np.arange(10)]
    sds = fit.varcomp["sd"].to_numpy()
    G = np.zeros((36, 36))
    G[:30, :30] = np.linalg.inv(sds[0] ** 2 * K[np.ix_(back, back)])
    G[30:, 30:] = np.eye(6) / sds[1] ** 2
    W = np.hstack([X, Z, H])
    C = W.T @ W / sds[2] ** 2
    C[2:, 2:] += G
    np.testing.assert_allclose(pev, np.sqrt(np.diag(np.linalg.inv(C)))[2:32], rtol=1e-6)


def test_new_data_may_have_the_levels_without_rows(family, data):
    fit = bg.Model(FORMULA, data, covariance={"a": family}).fit("reml")
    new = pd.DataFrame({"a": [NAMES[0], NAMES[12], "stranger"], "h": ["0", "0", "0"], "x": [0.0, 0.0, 0.0]})
    got = fit.predict(new, kind="linear")["estimate"].to_numpy()
    base = fit.fixed.loc["Intercept", "estimate"] + fit.random["h"]["Intercept"].loc["0"]
    own = fit.random["a"]["Intercept"].loc[[NAMES[0], NAMES[12]]]
    np.testing.assert_allclose(got, base + np.append(own, 0.0), rtol=1e-10)


def test_slopes_over_a_precision(family, data):
    """Two columns per level: K ⊗ ΛΛ'."""
    built = models(family, data, "sloped ~ x + (1 + x | a)", priors="flat")
    assert_same_fit(built["sparse"].fit("laplace"), built["covariance"].fit("laplace"), rtol=1e-4)


def test_a_few_large_levels_do_not_lead_beside_a_sparse_precision():
    """Eliminating herds first would tie all animals of a herd together; one effect per animal ties nothing."""
    m = 400
    Q = sparse.diags_array([np.full(m - 1, -0.5), np.full(m, 1.5), np.full(m - 1, -0.5)], offsets=[-1, 0, 1]).tocsc()
    names = [f"{i:03}" for i in range(m)]
    rows = {"a": names * 2, "p": names * 2, "h": [str(i % 8) for i in range(2 * m)], "y": np.arange(2.0 * m) % 7}
    known = {"a": bg.Known(precision=Q, levels=names)}
    for group, lead, most in (("h", None, 10 * m), ("p", 1, 4 * m)):
        design = build_design(f"y ~ 1 + (1 | a) + (1 | {group})", rows)
        plan = analyse(design.blocks, bind_covariance(design.blocks, known)).plan
        assert plan.lead == lead
        assert plan.tail.length < most


def test_log_determinant_of_a_sparse_precision():
    rng = np.random.default_rng(0)
    root = sparse.random_array((200, 200), density=0.01, rng=rng) + 2 * sparse.eye_array(200)
    Q = sparse.csc_array(root @ root.T)
    assert ordering.sparse_log_det(Q) == pytest.approx(np.linalg.slogdet(Q.toarray())[1], rel=1e-12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"precision": sparse.eye_array(3), "levels": ["a", "b"]}, "has 3 rows but 2 level names"),
        ({"precision": sparse.eye_array(2)}, "no level names"),
        ({"precision": sparse.eye_array(3), "levels": ["a", "b", "a"]}, "more than once: a"),
        ({"precision": np.ones((2, 3)), "levels": ["a", "b"]}, r"shape \(2, 3\)"),
        ({"precision": sparse.eye_array(2), "levels": ["a", "x"]}, "lacks the levels b"),
        ({"precision": sparse.csc_array([[1.0, 0.5], [0.0, 1.0]]), "levels": ["a", "b"]}, "not symmetric"),
        ({"precision": sparse.csc_array([[1.0, 2.0], [2.0, 1.0]]), "levels": ["a", "b"]}, "not positive definite"),
        ({"precision": sparse.csc_array([[1.0, np.nan], [np.nan, 1.0]]), "levels": ["a", "b"]}, "not finite"),
        ({"K": [[1.0, 2.0], [2.0, 1.0]], "levels": ["a", "b"]}, "not positive definite .smallest eigenvalue -1"),
    ],
)
def test_what_is_no_known_covariance_is_said_so(given, message):
    rows = {"y": [1.0, 2.0, 3.0, 5.0], "g": list("abab")}
    with pytest.raises(bg.DataError, match=message):
        bg.Model("y ~ 1 + (1 | g)", rows, covariance={"g": bg.Known(**given)})


def test_one_of_the_two_is_given():
    for given in ({}, {"K": np.eye(2), "precision": np.eye(2)}):
        with pytest.raises(bg.DataError, match="one of the two"):
            bg.Known(**given, levels=["a", "b"])


def test_memory_is_estimated_before_it_is_taken(monkeypatch):
    """A sparse precision that fills (a random graph), and a dense covariance."""
    m = 400
    rng = np.random.default_rng(1)
    i, j = rng.integers(0, m, (2, 3 * m))
    ties = sparse.coo_array((np.ones(3 * m), (i, j)), shape=(m, m)).tocsc()
    Q = sparse.csc_array(ties + ties.T + 40 * sparse.eye_array(m))
    rows = {"y": np.arange(float(m)) % 5, "g": [f"{k:03}" for k in range(m)]}
    known = bg.Known(precision=Q, levels=rows["g"])
    plan = ordering.plan_sparse(Q)
    bytes_taken = 8 * (3 * plan.length + len(plan.rows) + len(plan.updates[1]))
    from bayesglmm.covariance import known as module

    for limit in (ordering, module):
        monkeypatch.setattr(limit, "MEMORY_LIMIT", 1.01 * bytes_taken)
    model = bg.Model("y ~ 1 + (1 | g)", rows, covariance={"g": known})
    assert model.problem.covariance[0].precision.nnz == Q.nnz
    monkeypatch.setattr(ordering, "MEMORY_LIMIT", 0.95 * bytes_taken)
    with pytest.raises(bg.MethodError, match=rf"dense matrix of order {plan.dense}"):
        bg.Model("y ~ 1 + (1 | g)", rows, covariance={"g": known})
    with pytest.raises(bg.MethodError, match=r"of order 400 .* GB of memory"):
        bg.Model("y ~ 1 + (1 | g)", rows, covariance={"g": bg.Known(Q.toarray(), levels=rows["g"])})
