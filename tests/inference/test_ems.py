"""Expected mean squares: textbook tables, printed numbers, REML in balanced designs, and simulation-free identities."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from reference_data import fit, frame, published

import bayesglmm as bg


def model(formula, name):
    return bg.Model(formula, frame(name))


def test_dyestuff():
    """Davies & Goldsmith (1972), section 6.41: mean squares 11271.5 and 2451.25 (56357.5 and 58830 on 5 and 24 df)."""
    found = bg.ems(model("Yield ~ 1 + (1 | Batch)", "dyestuff"))
    np.testing.assert_allclose(found.table["sum_sq"], [56357.5, 58830.0], rtol=1e-12)
    assert found.table["df"].tolist() == [5, 24]
    assert found.table["expected"].tolist() == ["σ² + 5 σ²(Batch)", "σ²"]
    np.testing.assert_allclose(found.components["estimate"], [1764.05, 2451.25], rtol=1e-10)
    assert found.table.loc["Batch", "F"] == pytest.approx(4.598, abs=5e-4)
    assert found.exact


def test_pastes():
    """Davies & Goldsmith (1972), section 6.5: 247.4 on 9 df, 350.9 on 20, 20.34 on 30; components 1.66, 8.43, 0.678."""
    found = bg.ems(model("strength ~ 1 + (1 | batch/cask)", "pastes"))
    np.testing.assert_allclose(found.table["sum_sq"], [247.40, 350.91, 20.34], atol=0.005)
    assert found.table["df"].tolist() == [9, 20, 30]
    assert found.table.loc["batch", "expected"] == "σ² + 6 σ²(batch) + 2 σ²(batch:cask)"
    assert found.table["denominator"].tolist() == ["batch:cask", "Residual", ""]
    # However the lower level is written, and in whatever order.
    other = bg.ems(model("strength ~ 1 + (1 | sample) + (1 | batch)", "pastes"))
    np.testing.assert_allclose(other.components["estimate"], found.components["estimate"], rtol=1e-9)


CASES = {
    "dyestuff": ("Yield ~ 1 + (1 | Batch)", "int-reml"),
    "penicillin": ("diameter ~ 1 + (1 | plate) + (1 | sample)", "crossed-reml"),
    "pastes": ("strength ~ 1 + (1 | batch/cask)", "nested-reml"),
    "machines": ("score ~ Machine + (1 | Worker) + (1 | Worker:Machine)", "nested-reml"),
    "bonds": ("pres ~ metal + (1 | ingot)", "int-reml"),
    "cake": ("angle ~ recipe * temperature + (1 | recipe:replicate)", "full-reml"),
}


@pytest.mark.parametrize("name", CASES)
def test_moments_of_balanced_designs_are_lme4s_reml_estimates(name):
    formula, id = CASES[name]
    found = bg.ems(model(formula, name)).components["estimate"]
    reference = fit(name, id)
    sds = {group: row["sd"][0] for group, row in reference["varcomp"].items()}
    for component, estimate in found.items():
        theirs = reference["dispersion"] if component == "Residual" else sds[_theirs(component, sds)] ** 2
        assert estimate == pytest.approx(theirs, rel=2e-5)


def _theirs(component, sds):
    turned = ":".join(reversed(component.split(":")))
    return component if component in sds else turned


def test_machines_to_the_printed_digits():
    printed = published()["machines"]
    data = frame("machines")
    nested = bg.ems(model("score ~ Machine + (1 | Worker) + (1 | Worker:Machine)", "machines")).table
    # The two-way table with fixed factors: its F tests are all against the residual.
    full = bg.anova(bg.Model("score ~ Machine * Worker", data).fit("irls"))
    names = {"Machine": "Machine", "Worker": "Worker", "interaction": "Machine:Worker"}
    for row, term in names.items():
        entry = printed["full_anova"][row]
        assert full.loc[term, "df"] == entry["df"]
        assert full.loc[term, "change"] == pytest.approx(entry["ss"], abs=0.005)
        assert full.loc[term, "F"] == pytest.approx(entry["F"], abs=0.005)
    assert nested["sum_sq"].iloc[-1] == pytest.approx(printed["full_anova"]["residual"]["ss"], abs=0.005)
    additive = bg.Model("score ~ Machine + Worker", data).fit("irls")
    for term, entry in list(printed["additive_anova"].items())[:2]:
        assert bg.anova(additive).loc[term, "F"] == pytest.approx(entry["F"], abs=0.0005)
    assert additive.deviance == pytest.approx(printed["additive_anova"]["residual"]["ss"], abs=0.005)
    assert nested.loc["Worker:Machine", "df_denominator"] == printed["interaction_test"]["df"][1]
    # Printed as 46.12628: three times the aggregated table's rounded residual sum of squares (142.18) over the rounded
    # one of the full table. With all digits it is 46.12982.
    between, within = (printed[t]["residual"] for t in ("aggregated_anova", "full_anova"))
    rounded = (3 * between["ss"] / between["df"]) / (within["ss"] / within["df"])
    assert rounded == pytest.approx(printed["interaction_test"]["F"], abs=5e-6)
    sums, df = nested["sum_sq"], nested["df"]
    ours = (round(sums["Worker:Machine"] / 3, 2) * 3 / df["Worker:Machine"]) / (round(sums.iloc[-1], 2) / df.iloc[-1])
    assert ours == pytest.approx(printed["interaction_test"]["F"], abs=5e-6)
    assert nested.loc["Worker:Machine", "F"] == pytest.approx(42.653 / (99.86 / 108.0), rel=1e-9)


def test_the_tests_of_the_aggregated_machines_are_those_of_the_whole_table():
    printed = published()["machines"]["aggregated_anova"]
    nested = bg.ems(model("score ~ Machine + (1 | Worker) + (1 | Worker:Machine)", "machines")).table
    means = frame("machines").groupby(["Machine", "Worker"], observed=True, as_index=False)["score"].mean()
    aggregated = bg.ems(bg.Model("score ~ Machine + (1 | Worker)", means)).table
    for term in ("Machine", "Worker"):
        for table in (nested, aggregated):
            assert table.loc[term, "F"] == pytest.approx(printed[term]["F"], abs=5e-5)
            assert table.loc[term, "p"] == pytest.approx(printed[term]["p"], abs=5e-8)
            assert table.loc[term, "df_denominator"] == printed["residual"]["df"]
        assert aggregated.loc[term, "sum_sq"] == pytest.approx(printed[term]["ss"], abs=0.0051)  # 413.965 is a tie
        assert 3 * aggregated.loc[term, "sum_sq"] == pytest.approx(nested.loc[term, "sum_sq"], rel=1e-9)
    assert aggregated.loc["Residual", "sum_sq"] == pytest.approx(printed["residual"]["ss"], abs=0.005)


def test_bonds_to_the_printed_digits():
    printed = published()["bonds"]
    found = model("pres ~ metal + (1 | ingot)", "bonds").fit("reml").ems()
    for term, key in (("metal", "metal_test"), ("ingot", "ingot_test")):
        row = found.table.loc[term]
        assert row["F"] == pytest.approx(printed[key]["F"], abs=5e-5)
        assert [row["df"], row["df_denominator"]] == printed[key]["df"]
        assert row["p"] == pytest.approx(printed[key]["p"], abs=5e-6)
    expected = [printed["reml"]["ingot_variance"], printed["reml"]["residual_variance"]]
    np.testing.assert_allclose(found.components["estimate"], expected, atol=5e-4)
    assert found.table.loc["metal", "expected"] == "σ² + Q(metal)"


def test_fixed_factors_have_kenward_and_rogers_test():
    """Balanced data with positive components: the exact F test and Kenward-Roger's are one."""
    fitted = model("angle ~ recipe * temperature + (1 | replicate) + (1 | recipe:replicate)", "cake").fit("reml")
    exact, table = fitted.ems().table, bg.anova(fitted, kind="III", df="kenward-roger")
    for term in table.index:
        assert exact.loc[term, "F"] == pytest.approx(table.loc[term, "F"], rel=1e-6)
        assert exact.loc[term, "df_denominator"] == pytest.approx(table.loc[term, "df_denominator"], rel=1e-5)
    assert exact.loc["recipe", "denominator"] == "recipe:replicate"


@pytest.fixture(scope="module")
def three_way():
    rng = np.random.default_rng(12)
    cells = pd.MultiIndex.from_product([range(4), range(5), range(3), range(2)], names=list("abcr")).to_frame(
        index=False
    )
    cells["y"] = rng.normal(size=len(cells)) + 2.0 * rng.normal(size=4)[cells["a"]] + rng.normal(size=5)[cells["b"]]
    return cells.drop(columns="r").astype({"a": str, "b": str, "c": str})


def test_mean_squares_are_put_together_where_none_has_the_right_expectation(three_way):
    """Three crossed random factors: a is tested against ab + ac − abc (Satterthwaite 1946)."""
    formula = "y ~ 1 + " + " + ".join(f"(1 | {g})" for g in ("a", "b", "c", "a:b", "a:c", "b:c", "a:b:c"))
    found = bg.ems(bg.Model(formula, three_way))
    row, ms, df = found.table.loc["a"], found.table["mean_sq"], found.table["df"]
    assert row["denominator"] == "a:b + a:c - a:b:c"
    bottom = ms["a:b"] + ms["a:c"] - ms["a:b:c"]
    assert row["F"] == pytest.approx(ms["a"] / bottom)
    below = bottom**2 / (ms["a:b"] ** 2 / df["a:b"] + ms["a:c"] ** 2 / df["a:c"] + ms["a:b:c"] ** 2 / df["a:b:c"])
    assert row["df_denominator"] == pytest.approx(below)
    assert row["expected"] == "σ² + 30 σ²(a) + 6 σ²(a:b) + 10 σ²(a:c) + 2 σ²(a:b:c)"
    assert found.table["sum_sq"].sum() == pytest.approx(((three_way["y"] - three_way["y"].mean()) ** 2).sum())
    assert found.exact


def test_expectations_are_those_of_the_projections(three_way):
    """E(y'P y) at given components, by the dense covariance: unbalanced on purpose."""
    data = three_way.drop(index=[0, 7, 8, 33, 90])
    made = bg.Model("y ~ c + (1 | a) + (1 | b)", data)
    found = bg.ems(made)
    assert not found.exact
    design = made.design
    Z = {b.group: np.eye(len(b.levels))[b.codes] for b in design.blocks}
    before = design.X
    for group in ("a", "b"):
        after = np.hstack([before, Z[group]])
        P = after @ np.linalg.pinv(after) - before @ np.linalg.pinv(before)
        df = np.trace(P)
        assert found.table.loc[group, "df"] == pytest.approx(df)
        assert found.table.loc[group, "sum_sq"] == pytest.approx(made.design.response.y @ P @ made.design.response.y)
        for other, z in Z.items():
            assert found.coefficients.loc[group, other] == pytest.approx(np.trace(z.T @ P @ z) / df, abs=1e-8)
        before = after


def test_a_negative_component_is_left_as_it_is():
    data = frame("dyestuff")
    data["Yield"] = data["Yield"] - data.groupby("Batch", observed=True)["Yield"].transform("mean")
    found = bg.ems(bg.Model("Yield ~ 1 + (1 | Batch)", data))
    assert found.components.loc["Batch", "estimate"] == pytest.approx(-58830 / 24 / 5)
    assert found.table.loc["Batch", "p"] == pytest.approx(1.0)


def test_what_has_no_mean_squares_says_so():
    data = frame("sleepstudy")
    cases = [
        (bg.Model("Reaction ~ Days + (1 + Days | Subject)", data), r"random terms \(1 \| g\)"),
        (bg.Model("Reaction ~ Days + (1 | Subject)", data, weights=np.ones(180)), "leave the weights out"),
        (bg.Model("Reaction ~ Subject + (1 | Subject)", data.astype({"Subject": str})), "adds nothing"),
        (bg.Model("p(incidence, size) ~ 1 + (1 | herd)", frame("cbpp"), "binomial"), "for gaussian models"),
    ]
    for made, words in cases:
        with pytest.raises(bg.MethodError, match=words):
            bg.ems(made)
    with pytest.raises(bg.MethodError, match="a Model or a Fit; got int"):
        bg.ems(3)


def test_it_prints_itself():
    text = str(bg.ems(model("pres ~ metal + (1 | ingot)", "bonds")))
    assert "exact F tests" in text
    assert "σ² + 3 σ²(ingot)" in text
    assert "<table" in bg.ems(model("pres ~ metal + (1 | ingot)", "bonds"))._repr_html_()
