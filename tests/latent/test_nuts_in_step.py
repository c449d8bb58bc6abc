"""NUTS for chains in step: the sampler on known densities, and the density of all chains against one at a time."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import pytest

import bayesglmm as bg
from bayesglmm.graph.runner import Plan, progress_words, teller, ticking
from bayesglmm.latent import many
from bayesglmm.latent.many import Many
from bayesglmm.latent.nuts.trees import LARGEST, StepSize, Trees, turning
from bayesglmm.latent.posterior import found_optimum
from bayesglmm.latent.target import make_target
from bayesglmm.methods.marginalized import sample

SHIPPED = Path(__file__).parents[2] / "models"

#: Model → nodes. One factor, two effects a level, nested, crossed, a linear predictor of the zeros, two auxiliaries,
#: quadrature, and nested quadrature (one vector at a time).
MODELS = [
    ("cbpp", 1),
    ("cbpp", 9),
    ("sleepstudy", 1),
    ("epilepsy", 1),
    ("shun1995", 1),
    ("salamanders", 1),
    ("owls", 1),
    ("owls", 5),
    ("epilepsy", (3, 3)),
]


@pytest.mark.parametrize(("name", "nodes"), MODELS)
def test_many_vectors_at_once_are_the_target_at_each(name: str, nodes: int | tuple[int, int]) -> None:
    model = bg.load_model(SHIPPED / f"{name}.toml")
    _, optimum = found_optimum(model.problem, model.fit("laplace").result)
    target = make_target(model.problem, nodes)
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(optimum.curvature.covariance)
    x = optimum.point.x + rng.standard_normal((5, len(root))) @ root.T
    value, gradient = Many(target, optimum, 3, 1e-10).at(x)
    for row, v, g in zip(x, value, gradient):
        one = target.at(row, optimum.point.mode)
        assert v == pytest.approx(one.value, abs=1e-7)
        np.testing.assert_allclose(g, one.gradient, rtol=1e-6, atol=1e-6)


def test_a_vector_without_density_does_not_spoil_the_others() -> None:
    """Two outside the range of a prior."""
    priors = {"herd.sd": bg.Prior("Uniform", lower=0, upper=2)}
    base = bg.load_model(SHIPPED / "cbpp.toml")
    model = bg.Model(base.formula, base.data, "binomial", priors=priors)
    target, optimum = found_optimum(model.problem, model.fit("laplace").result)
    x = np.repeat(optimum.point.x[None], 4, axis=0)
    x[1, -1] = np.log(2.5)
    x[2, 0] = np.inf
    value, gradient = Many(target, optimum, 4, 1e-8).at(x)
    assert np.isfinite(value).tolist() == [True, False, False, True]
    np.testing.assert_allclose(value[[0, 3]], optimum.point.value, atol=1e-8)
    assert np.all(np.isfinite(gradient[[0, 3]]))


def test_copies_that_fail_together_are_tried_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = bg.load_model(SHIPPED / "cbpp.toml")
    target, optimum = found_optimum(model.problem, model.fit("laplace").result)
    x = optimum.point.x + 0.1 * np.random.default_rng(0).standard_normal((3, len(optimum.point.x)))
    value, gradient = Many(target, optimum, 3, 1e-10).at(x)
    whole = many._Copied.at

    def fails_together(self, target, x, *rest):
        return None if len(x) > 1 else whole(self, target, x, *rest)

    monkeypatch.setattr(many._Copied, "at", fails_together)
    again, slopes = Many(target, optimum, 3, 1e-10).at(x)
    np.testing.assert_allclose(again, value, rtol=1e-12)
    np.testing.assert_allclose(slopes, gradient, rtol=1e-8, atol=1e-8)
    monkeypatch.setattr(many._Copied, "at", lambda *_: None)
    assert np.all(Many(target, optimum, 3, 1e-10).at(x)[0] == -np.inf)


def normal(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return -0.5 * np.sum(z * z, axis=1), -z


def draws_of(density, z, count, size, seed=0):
    trees, out = Trees(density, z, np.random.default_rng(seed)), [[] for _ in z]
    steps = 0
    while min(map(len, out)) < count:
        moves = trees.step(size)
        steps += len(z)
        for k, one in zip(moves.chains, moves.z):
            out[k].append(one)
    return np.array([own[:count] for own in out]), steps


def test_standard_normals_with_few_gradients() -> None:
    z, steps = draws_of(normal, np.random.default_rng(1).standard_normal((20, 5)), 300, 1.0)
    flat = z.reshape(-1, 5)
    np.testing.assert_allclose(flat.mean(axis=0), 0.0, atol=0.05)
    np.testing.assert_allclose(flat.var(axis=0), 1.0, atol=0.1)
    assert (flat**4).mean() == pytest.approx(3.0, abs=0.25)
    # A trajectory that comes full circle does not go round again.
    assert steps < 4.5 * len(flat)


def test_a_skewed_density_keeps_its_moments() -> None:
    """The log of a gamma variable of shape two, and a half as wide normal beside it."""

    def density(z):
        e = np.exp(z[:, 0])
        value = 2.0 * z[:, 0] - e - 2.0 * z[:, 1] ** 2
        return value, np.stack([2.0 - e, -4.0 * z[:, 1]], axis=1)

    z, _ = draws_of(density, np.zeros((20, 2)), 500, 0.6)
    kept = np.exp(z[:, 50:, 0])
    assert kept.mean() == pytest.approx(2.0, abs=0.1)
    assert kept.var() == pytest.approx(2.0, abs=0.25)
    assert z[:, 50:, 1].var() == pytest.approx(0.25, abs=0.02)


def test_a_chain_does_not_move_where_there_is_no_density() -> None:
    """A uniform density on a box: draws stay inside, and trees that leave it are told as divergent."""

    def density(z):
        inside = np.all(np.abs(z) < 1.0, axis=1)
        return np.where(inside, 0.0, -np.inf), np.zeros(z.shape)

    trees = Trees(density, np.zeros((8, 2)), np.random.default_rng(0))
    moves = [trees.step(0.5) for _ in range(400)]
    z = np.concatenate([m.z for m in moves])
    assert np.abs(z).max() < 1.0
    assert z.var(axis=0) == pytest.approx(1.0 / 3.0, abs=0.06)
    assert np.concatenate([m.diverging for m in moves]).all()


def test_turning_is_told_from_the_ends() -> None:
    first, last, total = (np.array([v]) for v in ([1.0, 0.0], [-1.0, 0.1], [0.2, 0.1]))
    assert turning(first, last, total).tolist() == [True]
    assert turning(first, first, 4.0 * first).tolist() == [False]


def test_step_size_settles_where_the_acceptance_rate_is_the_target() -> None:
    size = StepSize(0.65, 0.9)
    for _ in range(2000):
        size.update(np.array([np.exp(-size.value)]))
    assert size.mean == pytest.approx(-np.log(0.65), rel=0.05)
    easy = StepSize(0.65, 0.9)
    easy.update(np.ones(200))
    assert easy.mean == pytest.approx(LARGEST, rel=0.02)


def test_progress_is_told_and_ends_at_one(capsys) -> None:
    problem = bg.load_model(SHIPPED / "cbpp.toml").problem
    told: list[tuple[float, str]] = []
    sample(problem, draws=30, tune=30, chains=2, seed=1, progress=lambda fraction, text: told.append((fraction, text)))
    fractions = [fraction for fraction, _ in told]
    assert fractions[-1] == 1.0
    assert fractions.count(1.0) == 1
    assert all(a <= b for a, b in itertools.pairwise(fractions))
    assert "of 120 draws" in told[-1][1]
    tell = teller(Plan(1, 1, 1, 0, 0.65, True))
    tell(1.0, "done")
    assert "100 %  done" in capsys.readouterr().err


def test_words_of_progress_say_what_is_left_and_nothing_when_all_is_done() -> None:
    assert progress_words(0, 400, 0, 3.0) == "0 of 400 draws, 0 divergences"
    assert progress_words(100, 400, 2, 3.0) == "100 of 400 draws, 2 divergences, about 9 s left"
    assert progress_words(400, 400, 2, 12.0) == "400 of 400 draws, 2 divergences"


def test_a_sampler_that_says_nothing_is_timed() -> None:
    told: list[tuple[float, str]] = []
    plan = Plan(1, 1, 1, 0, 0.65, lambda fraction, text: told.append((fraction, text)))
    with ticking(plan, "sampling", every=0.01):
        time.sleep(0.1)
    assert len(told) >= 2
    assert set(told) == {(0.0, "sampling, 0 s so far")}
    count = len(told)
    with ticking(plan._replace(progress=None), "sampling", every=0.01):
        time.sleep(0.03)
    assert len(told) == count


def test_nutpie_on_the_same_density_finds_the_same() -> None:
    problem = bg.load_model(SHIPPED / "cbpp.toml").problem
    ours, theirs = (sample(problem, draws=500, seed=2, sampler=sampler) for sampler in (None, "nutpie"))
    assert ours.options["sampler"] == "in step"
    assert theirs.options["sampler"] == "nutpie"
    se, own = np.sqrt(np.diag(theirs.cov_beta)), np.sqrt(np.diag(ours.cov_beta))
    np.testing.assert_allclose((ours.beta - theirs.beta) / se, 0.0, atol=0.15)
    np.testing.assert_allclose(own / se, 1.0, atol=0.12)
    np.testing.assert_allclose(ours.theta, theirs.theta, rtol=0.1)
    assert ours.status.ess > 0.6 * theirs.status.ess
    # Random effects are drawn given the parameters, level by level.
    gap = (ours.effects[0] - theirs.effects[0]) / theirs.effects_sd[0]
    np.testing.assert_allclose(gap, 0.0, atol=0.2)
