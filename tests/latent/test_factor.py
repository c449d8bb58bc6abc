"""The structured factor against dense linear algebra."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

from bayesglmm.errors import MethodError
from bayesglmm.latent.elimination import analysis, border, generations, ordering
from bayesglmm.latent.elimination.blocks import NotPositiveDefiniteError
from bayesglmm.latent.elimination.structure import Structure, analyse

N = 60
SHAPES = {
    "one scalar": [(7, 1, False)],
    "one vector": [(6, 3, False)],
    "crossed scalars": [(9, 1, False), (5, 1, False)],
    "crossed vectors": [(9, 2, False), (5, 3, False), (4, 1, False)],
    "vector led by scalar": [(4, 2, False), (20, 1, False), (3, 1, False)],
    "known": [(6, 2, True)],
    "known crossed": [(6, 2, True), (12, 2, False), (4, 1, True)],
}


def make(shape: list[tuple[int, int, bool]], seed: int = 1):
    rng = np.random.default_rng(seed)
    blocks, covs, lambdas = [], [], []
    for levels, q, known in shape:
        codes = np.r_[np.arange(levels), rng.integers(0, levels, N - levels)]
        z = np.c_[np.ones(N), rng.standard_normal((N, q - 1))]
        blocks.append(SimpleNamespace(codes=codes, z=z, levels=tuple(map(str, range(levels)))))
        root = rng.standard_normal((levels, levels)) * (rng.random((levels, levels)) < 0.3) + 2 * np.eye(levels)
        P = root @ root.T
        covs.append(
            SimpleNamespace(
                precision=sparse.csc_array(P) if known else None,
                log_det_precision=np.linalg.slogdet(P)[1] if known else 0.0,
            )
        )
        lambdas.append(np.tril(rng.standard_normal((q, q))))
    return analyse(blocks, covs), lambdas


def dense(structure: Structure, lambdas: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    A = np.zeros((structure.n, structure.m))
    P = np.eye(structure.m)
    for b, L in zip(structure.layouts, lambdas):
        for i in range(structure.n):
            first = b.start + b.codes[i] * b.size
            A[i, first : first + b.size] = L.T @ b.z[i]
        if b.precision is not None:
            P[b.start : b.stop, b.start : b.stop] = np.kron(b.precision.toarray(), np.eye(b.size))
    return A, P


def force(monkeypatch, full: float) -> None:
    """Order even small and full remainders, and go on until a column is this full."""
    for module in (analysis, ordering):
        monkeypatch.setattr(module, "SMALL", 2)
    monkeypatch.setattr(analysis, "FILLED", 2.0)
    monkeypatch.setattr(ordering, "FULL", full)


@pytest.fixture(params=["usual", "sparse"])
def cut(request, monkeypatch):
    if request.param == "sparse":
        force(monkeypatch, 10.0)
    return request.param


@pytest.mark.parametrize("name", SHAPES)
def test_factor_is_the_dense_one(name, cut):
    structure, lambdas = make(SHAPES[name])
    A, P = dense(structure, lambdas)
    assert (structure.plan.tail.sparse > 0) == (cut != "usual" and structure.plan.size > 2)
    rng = np.random.default_rng(2)
    weights = rng.uniform(0.2, 2.0, N)
    H = A.T @ (weights[:, None] * A) + P
    inverse = np.linalg.inv(H)
    factor = structure.factorize(weights, lambdas)
    loadings = structure.at(lambdas)
    u, v, X = rng.standard_normal(structure.m), rng.standard_normal(N), rng.standard_normal((N, 3))

    assert np.isclose(factor.logdet, np.linalg.slogdet(H)[1], rtol=1e-12)
    np.testing.assert_allclose(factor.solve(u), inverse @ u, rtol=1e-9, atol=1e-11)
    R = rng.standard_normal((structure.m, 2))
    np.testing.assert_allclose(factor.solve(R), inverse @ R, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(loadings.expand(u), A @ u, atol=1e-12)
    np.testing.assert_allclose(loadings.expand(R), A @ R, atol=1e-12)
    np.testing.assert_allclose(loadings.collect(v), A.T @ v, atol=1e-12)
    np.testing.assert_allclose(loadings.cross(weights, X), A.T @ (weights[:, None] * X), atol=1e-11)
    np.testing.assert_allclose(structure.penalty(u), P @ u, atol=1e-11)
    np.testing.assert_allclose(factor.row_quad, np.einsum("ij,jk,ik->i", A, inverse, A), rtol=1e-9)
    C = factor.half_solve(np.eye(structure.m))
    np.testing.assert_allclose(C @ C.T, inverse, atol=1e-10)
    for k, b in enumerate(structure.layouts):
        for j in range(b.levels):
            own = slice(b.start + j * b.size, b.start + (j + 1) * b.size)
            np.testing.assert_allclose(factor.level_covariances[k][j], inverse[own, own], atol=1e-10)
            rows = b.codes == j
            np.testing.assert_allclose(
                factor.row_inverse[rows, b.column : b.column + b.size], (A[rows] @ inverse)[:, own], atol=1e-10
            )


def scalars(*codes):
    """Scalar factors from their codes, and the dense H at some weights."""
    n = len(codes[0])
    blocks = [SimpleNamespace(codes=c, z=np.ones((n, 1)), levels=tuple(map(str, range(c.max() + 1)))) for c in codes]
    structure = analyse(blocks, [SimpleNamespace(precision=None, log_det_precision=0.0)] * len(codes))
    lambdas = [(1.0 - 0.3 * k) * np.eye(1) for k in range(len(codes))]
    A, P = dense(structure, lambdas)
    weights = np.random.default_rng(1).uniform(0.2, 2.0, n)
    inverse = np.linalg.inv(A.T @ (weights[:, None] * A) + P)
    return structure, structure.factorize(weights, lambdas), A, inverse


def assert_inverse(factor, A, inverse):
    u = np.random.default_rng(2).standard_normal(len(inverse))
    assert np.isclose(factor.logdet, -np.linalg.slogdet(inverse)[1], rtol=1e-12)
    np.testing.assert_allclose(factor.solve(u), inverse @ u, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(factor.row_quad, np.einsum("ij,jk,ik->i", A, inverse, A), rtol=1e-9)
    C = factor.half_solve(np.eye(len(inverse)))
    np.testing.assert_allclose(C @ C.T, inverse, atol=1e-10)


def test_nested_factors_stay_sparse():
    fine = np.r_[np.arange(300), np.random.default_rng(0).integers(0, 300, 300)]
    structure, factor, A, inverse = scalars(fine, fine // 3, fine // 30)
    plan = structure.plan.tail
    assert plan.dense == 0
    assert len(plan.rows) == 100  # each of the 100 middle levels meets one outer level, and nothing fills in
    assert factor.plan.flops < 1e5
    assert_inverse(factor, A, inverse)


def test_levels_within_one_other_factor_need_no_loops(monkeypatch):
    """One entry of the border a level, nothing between the others: array operations, and the numbers of the loops."""
    force(monkeypatch, 10.0)
    fine = np.r_[np.arange(300), np.random.default_rng(0).integers(0, 300, 300)]
    structure, factor, A, inverse = scalars(fine, fine // 5)
    assert structure.plan.border.each == 1
    assert len(structure.plan.tail.generations) == 1
    assert_inverse(factor, A, inverse)
    R = np.random.default_rng(3).standard_normal((structure.m, 4))
    np.testing.assert_allclose(factor.solve(R), inverse @ R, rtol=1e-9, atol=1e-11)
    assert_row_inverse(factor, A, inverse)
    with pytest.raises(NotPositiveDefiniteError):
        structure.factorize(np.full(600, -50.0), [np.eye(1)] * 2)


@pytest.mark.parametrize("arrays", [True, False])
def test_nested_factors_by_arrays_and_by_loops(monkeypatch, arrays):
    if not arrays:
        monkeypatch.setattr(border, "MOST_NUMBERS", 0)
        monkeypatch.setattr(generations, "MOST_NUMBERS", 0)
    fine = np.r_[np.arange(300), np.random.default_rng(0).integers(0, 300, 300)]
    structure, factor, A, inverse = scalars(fine, fine // 3, fine // 30)
    assert structure.plan.border.each == (2 if arrays else 0)
    assert (structure.plan.tail.generations is not None) == arrays
    assert_inverse(factor, A, inverse)
    R = np.random.default_rng(3).standard_normal((structure.m, 4))
    np.testing.assert_allclose(factor.solve(R), inverse @ R, rtol=1e-9, atol=1e-11)
    assert_row_inverse(factor, A, inverse)
    with pytest.raises(NotPositiveDefiniteError):
        structure.factorize(np.full(600, -50.0), [np.eye(1)] * 3)


def assert_row_inverse(factor, A, inverse):
    for k, b in enumerate(factor.plan.structure.layouts):
        own = (A @ inverse)[np.arange(len(A)), b.start + b.codes]
        np.testing.assert_allclose(factor.row_inverse[:, k], own, atol=1e-10)


def test_a_remainder_that_is_sparse_first_and_dense_then(monkeypatch):
    force(monkeypatch, 0.05)
    fine = np.r_[np.arange(300), np.random.default_rng(0).integers(0, 300, 300)]
    moved = (fine + np.arange(600) % 5) // 4  # levels meet their neighbours: a band
    structure, factor, A, inverse = scalars(fine, moved, fine // 60)
    assert 5 < structure.plan.tail.sparse < structure.plan.size - 5
    assert_inverse(factor, A, inverse)


@pytest.mark.parametrize("name", SHAPES)
def test_a_matrix_that_is_not_positive_definite_is_said_so(name, cut):
    structure, lambdas = make(SHAPES[name])
    with pytest.raises(NotPositiveDefiniteError):
        structure.factorize(np.full(N, -50.0), lambdas)
    with pytest.raises(NotPositiveDefiniteError):
        structure.factorize(np.full(N, np.nan), lambdas)


def test_no_random_effects():
    structure = analyse([], [], n=4)
    factor = structure.factorize(np.ones(4), [])
    assert factor.logdet == 0.0
    assert factor.solve(np.empty(0)).shape == (0,)
    assert np.array_equal(structure.at([]).expand(np.empty(0)), np.zeros(4))
    assert np.array_equal(factor.row_quad, np.zeros(4))


def test_memory_is_estimated_before_it_is_taken(monkeypatch):
    monkeypatch.setattr(ordering, "MEMORY_LIMIT", 3000)
    structure, lambdas = make([(30, 1, False), (20, 1, False)])
    with pytest.raises(MethodError, match=r"order 20 and about 0 GB"):
        structure.factorize(np.ones(N), lambdas)
