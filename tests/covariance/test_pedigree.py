"""The inverse relationship matrix of a pedigree against the recursive tabular method, and what is wrong with some."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesglmm as bg
from bayesglmm.latent.elimination.structure import analyse


def tabular(sire: list[int], dam: list[int]) -> np.ndarray:
    """A by the recursive tabular method; parents come first, -1 is unknown."""
    m = len(sire)
    A = np.zeros((m, m))
    for i, (s, d) in enumerate(zip(sire, dam)):
        for parent in (s, d):
            if parent >= 0:
                A[i, :i] += 0.5 * A[parent, :i]
        A[:i, i] = A[i, :i]
        A[i, i] = 1.0 + (0.5 * A[s, d] if s >= 0 and d >= 0 else 0.0)
    return A


def table(sire: list[int], dam: list[int], order: np.ndarray) -> pd.DataFrame:
    rows = {"id": range(1, len(sire) + 1), "sire": [s + 1 for s in sire], "dam": [d + 1 for d in dam]}
    return pd.DataFrame(rows).iloc[order]


@st.composite
def pedigrees(draw):
    """Parents by individual: any two earlier ones (the same twice now and then), or unknown."""
    m = draw(st.integers(1, 14))
    parents = [[draw(st.integers(-1, i - 1)) for i in range(m)] for _ in range(2)]
    return parents[0], parents[1], np.array(draw(st.permutations(range(m))))


@settings(max_examples=80, deadline=None)
@given(pedigrees())
def test_precision_is_the_inverse_of_the_tabular_relationship(pedigree):
    sire, dam, order = pedigree
    A = tabular(sire, dam)[np.ix_(order, order)]
    known = bg.pedigree(table(*pedigree), id="id", sire="sire", dam="dam")
    assert known.levels == tuple(str(i + 1) for i in order)
    np.testing.assert_allclose(known.precision @ A, np.eye(len(order)), atol=1e-9)
    assert known.log_det == pytest.approx(-np.linalg.slogdet(A)[1], abs=1e-9)


def test_generations_of_brother_sister_mating_are_inbred_as_wright_says():
    """F_t = ¼(1 + 2F_{t−1} + F_{t−2}): 0, ¼, 3/8, 1/2, 19/32, ..."""
    sire, dam = [-1, -1], [-1, -1]
    for generation in range(5):
        sire += [2 * generation] * 2
        dam += [2 * generation + 1] * 2
    known = bg.pedigree(table(sire, dam, np.arange(len(sire))), id="id", sire="sire", dam="dam")
    A = np.linalg.inv(known.precision.toarray())
    np.testing.assert_allclose(np.diag(A)[::2] - 1.0, [0, 0, 0.25, 0.375, 0.5, 0.59375], atol=1e-12)


def test_names_of_any_type_and_any_way_of_saying_unknown():
    plain = {"id": ["1", "2", "3"], "sire": ["", "", "1"], "dam": ["0", "", "2"]}
    expected = np.array([[1.5, 0.5, -1.0], [0.5, 1.5, -1.0], [-1.0, -1.0, 2.0]])
    numbers = {"id": [1, 2, 3], "sire": [np.nan, np.nan, 1.0], "dam": [0, 0, 2]}
    missing = {"id": ["1", "2", "3"], "sire": [None, None, "1"], "dam": [None, None, "2"]}
    for rows in (plain, numbers, missing, pd.DataFrame(missing).convert_dtypes()):
        known = bg.pedigree(rows, id="id", sire="sire", dam="dam")
        assert known.levels == ("1", "2", "3")
        np.testing.assert_allclose(known.precision.toarray(), expected)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "", ""), ("b", "a", ""), ("a", "", "")], "more than once: a"),
        ([("a", "", ""), ("b", "a", "x")], "'dam' names 1 parents that 'id' does not list: x"),
        ([("a", "c", ""), ("b", "a", ""), ("c", "", "b")], "has a loop: (a is a parent of b|b is a parent of c|c is)"),
        ([("a", "", ""), ("b", "b", "a")], "has a loop: b is a parent of b"),
        ([("a", "", ""), (None, "", "a")], "'id' of the pedigree has 1 missing"),
        ([("0", "", "")] + [(str(i + 1), str(i), str(i)) for i in range(40)], "inbred completely"),
    ],
)
def test_what_is_no_pedigree_is_said_so(rows, message):
    frame = pd.DataFrame(rows, columns=["id", "sire", "dam"])
    with pytest.raises(bg.DataError, match=message):
        bg.pedigree(frame, id="id", sire="sire", dam="dam")


def test_a_loop_is_named_in_order():
    frame = pd.DataFrame({"id": list("abcde"), "sire": ["", "e", "b", "", "c"], "dam": ["", "a", "a", "b", "d"]})
    with pytest.raises(bg.DataError, match=r"loop: \w is a parent of \w is a parent of \w is a parent of") as error:
        bg.pedigree(frame, id="id", sire="sire", dam="dam")
    names = str(error.value).split("loop: ")[1].rstrip(".").split(" is a parent of ")
    assert names[0] == names[-1]
    for parent, child in itertools.pairwise(names):
        assert parent in set(frame[frame["id"] == child][["sire", "dam"]].to_numpy()[0])


def generations(n: int, per: int, sires: int, dams: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Parents in discrete generations: every dam has one mate."""
    sire, dam = np.full(n, -1), np.full(n, -1)
    for start in range(per, n, per):
        chosen = rng.choice(np.arange(start - per, start), sires + dams, replace=False)
        mates = rng.choice(chosen[:sires], dams)
        pair = rng.permutation(np.resize(np.arange(dams), per))
        sire[start : start + per], dam[start : start + per] = mates[pair], chosen[sires:][pair]
    return sire, dam


def test_a_pedigree_of_thousands_is_fitted_with_what_its_pattern_costs():
    """An animal model of 6,000, of which the founders have no records: nothing of order m² is held."""
    rng = np.random.default_rng(5)
    m, per = 6_000, 600
    sire, dam = generations(m, per, 30, 300, rng)
    u = np.empty(m)
    for i in range(m):
        known = sire[i] >= 0
        u[i] = rng.standard_normal() * np.sqrt(0.5 if known else 1.0) + (0.5 * (u[sire[i]] + u[dam[i]]) if known else 0)
    rows = np.arange(per, m)
    data = pd.DataFrame({"animal": rows + 1, "y": 2.0 + u[rows] + rng.standard_normal(len(rows))})
    known = bg.pedigree(table(list(sire), list(dam), np.arange(m)), id="id", sire="sire", dam="dam")
    model = bg.Model("y ~ 1 + (1 | animal)", data, covariance={"animal": known})
    fit = model.fit("reml")
    plan = analyse(model.design.blocks, model.problem.covariance).plan
    assert plan.tail.length < 0.02 * m**2
    assert len(plan.tail.updates[1]) < 0.02 * m**2
    assert abs(fit.varcomp["sd"].iloc[0] - 1.0) < 3.0 * fit.varcomp["se"].iloc[0]
    effects = fit.random["animal"]["Intercept"]
    assert len(effects) == m
    predicted = effects.loc[[str(i + 1) for i in range(m)]].to_numpy()
    assert np.corrcoef(predicted[per:], u[per:])[0, 1] > 0.7
    assert 0.3 < np.corrcoef(predicted[:per], u[:per])[0, 1] < 0.7  # founders, by their descendants alone
