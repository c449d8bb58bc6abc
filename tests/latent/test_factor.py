"""The structured factor against dense linear algebra."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

from bayesglmm.latent.blocks import NotPositiveDefiniteError
from bayesglmm.latent.structure import Structure, analyse

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


@pytest.mark.parametrize("name", SHAPES)
def test_factor_is_the_dense_one(name):
    structure, lambdas = make(SHAPES[name])
    A, P = dense(structure, lambdas)
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


@pytest.mark.parametrize("name", SHAPES)
def test_a_matrix_that_is_not_positive_definite_is_said_so(name):
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
