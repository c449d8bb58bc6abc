"""Random terms: codes, levels, columns, merging, and speed."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_data import frame

from bayesglmm.design import Term, build_design
from bayesglmm.errors import DataError


def dense(block) -> np.ndarray:
    """The n × (q·levels) matrix, levels outside, columns inside."""
    n, q = block.z.shape
    Z = np.zeros((n, len(block.levels), q))
    Z[np.arange(n), block.codes] = block.z
    return Z.reshape(n, -1)


def test_a_correlated_intercept_and_slope():
    data = frame("sleepstudy")
    (block,) = build_design("Reaction ~ Days + (Days | Subject)", data).blocks
    assert block.group == "Subject"
    assert block.levels == tuple(data.Subject.cat.categories)
    assert block.columns == ("Intercept", "Days")
    assert block.terms == (Term("1 + Days | Subject", 0, 2, True),)
    np.testing.assert_array_equal(block.codes, data.Subject.cat.codes)
    np.testing.assert_array_equal(block.z, np.column_stack([np.ones(len(data)), data.Days]))
    assert block.codes.dtype == np.int64
    assert block.z.flags.c_contiguous


def test_terms_of_one_group_share_a_block():
    data = frame("sleepstudy")
    (split,) = build_design("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", data).blocks
    assert split.terms == (Term("1 | Subject", 0, 1, True), Term("0 + Days | Subject", 1, 2, True))
    (bars,) = build_design("Reaction ~ Days + (Days || Subject)", data).blocks
    assert bars.terms == (Term("1 + Days || Subject", 0, 2, False),)
    np.testing.assert_array_equal(split.z, bars.z)
    assert split.columns == bars.columns == ("Intercept", "Days")


def test_a_factor_on_the_left_is_coded_as_in_the_fixed_part():
    data = frame("machines")
    (full,) = build_design("score ~ Machine + (0 + Machine | Worker)", data).blocks
    assert full.columns == ("Machine[A]", "Machine[B]", "Machine[C]")
    np.testing.assert_array_equal(full.z.sum(axis=1), np.ones(len(data)))
    (treatment,) = build_design("score ~ Machine + (Machine | Worker)", data).blocks
    assert treatment.columns == ("Intercept", "Machine[T.B]", "Machine[T.C]")


def test_nested_and_crossed_groups():
    data = frame("pastes")
    outer, inner = build_design("strength ~ 1 + (1 | batch/cask)", data).blocks
    assert (outer.group, len(outer.levels), inner.group, len(inner.levels)) == ("batch", 10, "batch:cask", 30)
    assert inner.levels[:4] == ("A:a", "A:b", "A:c", "B:a")
    labels = data.batch.astype(str) + ":" + data.cask.astype(str)
    assert [inner.levels[code] for code in inner.codes] == list(labels)
    by_column = build_design("strength ~ 1 + (1 | sample)", data).blocks[0]
    np.testing.assert_array_equal(by_column.codes, inner.codes)  # sample is the same factor, ready made


def test_only_combinations_that_occur_are_levels_first_factor_slowest():
    data = pd.DataFrame({"y": [1.0, 2, 3, 4, 5], "a": [2, 10, 2, 10, 2], "b": list("zxxzz"), "c": list("nnmnm")})
    block = build_design("y ~ 1 + (1 | a:b:c)", data).blocks[0]
    assert block.levels == ("2:x:m", "2:z:m", "2:z:n", "10:x:n", "10:z:n")
    assert block.codes.tolist() == [2, 3, 0, 4, 1]


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([3, 1, 3, 2], ("1", "2", "3")),
        ([3.0, 1.0, 3.0, 2.0], ("1", "2", "3")),
        ([10, 9, 9, 10], ("9", "10")),
        ([1.5, 2.0, 1.5, 2.0], ("1.5", "2")),
        (["10", "9", "9", "10"], ("10", "9")),
        ([True, False, True, False], ("False", "True")),
        (pd.Categorical(list("baba"), categories=list("cba")), ("b", "a")),
        (pd.to_datetime(["2024-01-02", "2024-01-01"] * 2).date, ("2024-01-01", "2024-01-02")),
    ],
)
def test_levels_of_any_type_are_labels(values, levels):
    data = pd.DataFrame({"y": [1.0, 2.0, 3.0, 5.0], "g": values})
    block = build_design("y ~ 1 + (1 | g)", data).blocks[0]
    assert block.levels == levels
    names = [str(v) for v in data.g] if data.g.dtype != float else [f"{v:g}" for v in data.g]
    assert [levels[code] for code in block.codes] == names


def test_what_cannot_be_a_grouping_factor_or_slope():
    data = frame("sleepstudy")
    data["one"] = "a"
    data["age"] = data.Subject.cat.codes.astype(float)
    data["sex"] = np.where(data.age > 8, "f", "m")
    for bars, said in (
        ("(1 | one)", r"'one' has one level only \('a'\)"),
        ("(1 + age | Subject)", "'age' is constant within every group"),
        ("(0 + age | Subject)", "'age' is constant within every group"),
        ("(sex | Subject)", r"'sex\[T.m\]' is constant within every group"),
        ("(1 | Subject) + (Days | Subject)", "Intercept varies over 'Subject' more than once"),
        ("(1 | Subject:one) + (1 | one:Subject)", "more than once"),
    ):
        with pytest.raises(DataError, match=said):
            build_design(f"Reaction ~ Days + {bars}", data)
    assert build_design("Reaction ~ Days + (0 + sex | Subject)", data).blocks[0].z.shape == (180, 2)  # a variance a sex


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_permuting_rows_permutes_the_design(seed):
    rng = np.random.default_rng(seed)
    data = frame("sleepstudy")
    data["batch"] = rng.integers(0, 4, len(data))
    order = rng.permutation(len(data))
    text = "Reaction ~ poly(Days, 2) * C(batch) + (Days | Subject) + (1 | batch:Subject) + offset(Days / 2)"
    plain, permuted = build_design(text, data), build_design(text, data.iloc[order])
    assert permuted.columns == plain.columns
    np.testing.assert_allclose(permuted.X, plain.X[order], rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(permuted.response.y, plain.response.y[order])
    np.testing.assert_array_equal(permuted.offset, plain.offset[order])
    for a, b in zip(permuted.blocks, plain.blocks):
        assert (a.levels, a.columns, a.terms) == (b.levels, b.columns, b.terms)
        np.testing.assert_array_equal(a.codes, b.codes[order])
        np.testing.assert_array_equal(a.z, b.z[order])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_relabelling_levels_permutes_the_columns_of_z(seed):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"y": rng.normal(size=30), "x": rng.normal(size=30), "g": rng.integers(0, 6, 30)})
    names = rng.permutation(list("uvwxyz"))
    renamed = data.assign(g=names[data.g])
    a, b = (build_design("y ~ 1 + (x | g)", d).blocks[0] for d in (data, renamed))
    Z = dense(a).reshape(30, len(a.levels), 2)
    W = dense(b).reshape(30, len(b.levels), 2)
    np.testing.assert_array_equal(Z, W[:, [b.levels.index(names[int(level)]) for level in a.levels]])


def test_a_million_rows_and_a_hundred_thousand_levels():
    rng = np.random.default_rng(11)
    n, levels = 1_000_000, 100_000
    data = pd.DataFrame({"y": rng.normal(size=n), "x": rng.normal(size=n), "g": rng.integers(0, levels, n)})
    build_design("y ~ x + (1 | g)", data.head(1000))
    start = time.process_time()
    block = build_design("y ~ x + (x | g)", data).blocks[0]
    assert time.process_time() - start < 3.0  # measured: 0.15 s
    np.testing.assert_array_equal(np.asarray(block.levels, dtype=int)[block.codes], data.g)
    tracemalloc.start()
    build_design("y ~ x + (x | g)", data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * n * 8  # some columns, and nothing of n × levels
