"""Model files: what they may say, and the one clear error for everything else."""

from __future__ import annotations

import contextlib
import gzip
import re
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bayesglmm as bg
from bayesglmm.spec import list_models, read_spec
from bayesglmm.spec.data import read_table

GOOD = """
[model]
formula = "y ~ x + (1 | g)"
family = "poisson"

[data]
file = "d.csv"
labels = ["g"]
"""
TABLE = "y,x,g\n1,0.5,1\n2,1.5,1\n0,0.1,2\n4,2.5,2\n3,1.1,3\n2,0.3,3\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "d.csv").write_text(TABLE)
    (tmp_path / "m.toml").write_text(GOOD)
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "m.toml"
    path.write_text(text)
    return path


# --- what a good file gives -----------------------------------------------------------------------------------


def test_a_file_is_the_model_written_out(folder: Path) -> None:
    model = bg.load_model(folder / "m.toml")
    data = pd.read_csv(folder / "d.csv", dtype={"g": str})
    same = bg.Model("y ~ x + (1 | g)", data, "poisson")
    assert repr(model) == repr(same)
    assert (model.design.X == same.design.X).all()
    assert model.design.blocks[0].levels == ("1", "2", "3")
    assert model.priors.equals(same.priors)


def test_priors_weights_options_and_texts_arrive(folder: Path) -> None:
    path = write(
        folder,
        GOOD.replace('family = "poisson"', 'family = "poisson"\ntitle = "A title"\nweights = "x"\nexposure = "x"')
        + '[priors]\nx = { dist = "Normal", mu = 0, sigma = 0.25 }\n[covariance]\ng = "diagonal"\n'
        + '[fit.agq]\nnodes = 3\n[about]\nteaches = "something"\n[[numbers.agq]]\nsource = "here"\nloglik = -1.5\n',
    )
    model = bg.load_model(path)
    assert model.priors.loc["x", "prior"] == "Normal(mu=0, sigma=0.25)"
    assert model.design.weights.tolist() == [0.5, 1.5, 0.1, 2.5, 1.1, 0.3]
    assert model.design.offset == pytest.approx(np.log(pd.read_csv(folder / "d.csv").x))
    assert model.defaults == {"agq": {"nodes": 3}}
    assert model.about["title"] == "A title"
    assert model.about["numbers"] == {"agq": [{"source": "here", "loglik": -1.5}]}


def test_options_of_the_file_hold_unless_the_call_says_otherwise(folder: Path) -> None:
    model = bg.load_model(write(folder, GOOD + "[fit.agq]\nnodes = 3\n"), priors="flat")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.SingularFitWarning)
        assert model.fit("agq").result.options["nodes"] == 3
        assert model.fit("agq", nodes=5).result.options["nodes"] == 5


def test_family_options_reach_the_constructor(folder: Path) -> None:
    text = GOOD.replace('"poisson"', '"negative_binomial"') + "[family_options]\ntheta = {}\n"
    model = bg.load_model(write(folder, text.format("2.5")))
    assert model.family.options["theta"] == 2.5
    assert model.family.auxiliaries == ()
    for wrong, message in (("-1", "a positive number"), ("'a'", "a positive number"), ("true", "a positive number")):
        with pytest.raises(bg.FamilyError, match=message):
            bg.load_model(write(folder, text.format(wrong)))
    with pytest.raises(bg.FamilyError, match=r"no option 'thet'\. Did you mean 'theta'"):
        bg.load_model(write(folder, text.replace("theta", "thet").format("1")))


def test_priors_of_the_call_win(folder: Path) -> None:
    assert set(bg.load_model(folder / "m.toml", priors="flat").priors["prior"]) == {"flat"}


def test_categories_set_the_baseline(folder: Path) -> None:
    path = write(
        folder, GOOD.replace("+ (1 | g)", "+ g").replace('labels = ["g"]', 'categories = { g = ["3", "1", "2"] }')
    )
    assert bg.load_model(path).design.columns == ("Intercept", "x", "g[T.1]", "g[T.2]")


def test_gzip_and_missing_values(folder: Path) -> None:
    with gzip.open(folder / "e.csv.gz", "wt") as stream:
        stream.write(TABLE.replace("4,2.5,2", "4,NA,2").replace("0,0.1,2", "0,,2"))
    table = read_table(folder, {"file": "e.csv.gz", "labels": ["g"]})
    assert table.x.isna().sum() == 2
    assert table.g.tolist() == ["1", "1", "2", "2", "3", "3"]
    kept = read_table(folder, {"file": "e.csv.gz", "labels": ["g"], "missing": [""]})
    assert kept.x.tolist() == ["0.5", "1.5", None, "NA", "1.1", "0.3"] or kept.x.isna().sum() == 1


def test_numbers_are_read_exactly(folder: Path) -> None:
    (folder / "d.csv").write_text("y\n0.1\n2.759305210918110\n1e-300\n123456789.123456789\n")
    assert read_table(folder, {"file": "d.csv"}).y.tolist() == [0.1, 2.75930521091811, 1e-300, 123456789.123456789]


def test_models_are_listed_with_what_is_wrong(folder: Path) -> None:
    (folder / "bad.toml").write_text("[model]\nformula = 3\n")
    bad, good = list_models(folder)
    assert (bad.name, good.name, good.formula, good.problem) == ("bad", "m", "y ~ x + (1 | g)", None)
    assert "model.formula is an integer, 3" in str(bad.problem)
    with pytest.raises(bg.SpecError, match="no folder"):
        list_models(folder / "nowhere")


# --- what it may not say --------------------------------------------------------------------------------------

WRONG = {
    "unknown section": (
        GOOD + "[modle]\n",
        r"m\.toml: the model file: unknown section 'modle'. Did you mean 'model'\?",
    ),
    "unknown key": (
        GOOD.replace("family =", "famly ="),
        r"model: unknown key 'famly'. Did you mean 'family'\? Allowed: title, formula, family, link",
    ),
    "no formula": (GOOD.replace('formula = "y ~ x + (1 | g)"', ""), "model: the key 'formula' is required"),
    "no data": ('[model]\nformula = "y ~ 1"\nfamily = "poisson"\n', "the section 'data' is required"),
    "no file": (GOOD.replace('file = "d.csv"', ""), "data: the key 'file' is required"),
    "section is no table": ("model = 3\n[data]\nfile = 'd.csv'\n", "model is an integer, 3; expected a table"),
    "formula is a number": (
        GOOD.replace('"y ~ x + (1 | g)"', "3.5"),
        "model.formula is a number, 3.5; expected a non-empty",
    ),
    "formula is empty": (
        GOOD.replace('"y ~ x + (1 | g)"', "' '"),
        "model.formula is a text, ' '; expected a non-empty",
    ),
    "priors is a word": (
        GOOD.replace("[data]", 'priors = "vague"\n[data]'),
        "model.priors .*expected 'default' or 'flat'",
    ),
    "priors twice": (
        GOOD.replace("[data]", 'priors = "flat"\n[data]') + "[priors]\nx = { dist = 'Flat' }\n",
        "model.priors is 'flat', and there is a .priors. table",
    ),
    "prior without dist": (GOOD + "[priors]\nx = { mu = 0 }\n", "priors.x: the parameter 'dist' is required"),
    "prior dist unknown": (GOOD + "[priors]\nx = { dist = 'Norml' }\n", "priors.x: .*'Norml'.*Did you mean 'Normal'"),
    "prior value a text": (GOOD + "[priors]\nx = { dist = 'Normal', mu = 'a', sigma = 1 }\n", "priors.x.mu is a text"),
    "prior value nan": (
        GOOD + "[priors]\nx = { dist = 'Normal', mu = nan, sigma = 1 }\n",
        "priors.x.mu .*finite number",
    ),
    "prior value inf": (
        GOOD + "[priors]\nx = { dist = 'Normal', mu = 0, sigma = inf }\n",
        "priors.x.sigma .*finite number",
    ),
    "prior target unknown": (GOOD + "[priors]\nz = { dist = 'Flat' }\n", "'z'"),
    "labels is a text": (GOOD.replace('["g"]', '"g"'), "data.labels is a text, 'g'; expected a non-empty list"),
    "labels hold a number": (GOOD.replace('["g"]', "[3]"), r"data.labels\[0\] is an integer, 3"),
    "labels not in the file": (
        GOOD.replace('["g"]', '["gg"]'),
        "data.labels names 'gg'. Did you mean 'g'\\? Columns of d.csv: y, x",
    ),
    "categories not in the file": (GOOD + 'categories = { h = ["1"] }', "data.categories names 'h'"),
    "categories and labels": (GOOD + 'categories = { g = ["1"] }', "'g' is under data.categories and data.labels"),
    "a level twice": (
        GOOD.replace('labels = ["g"]', 'categories = { g = ["1", "1", "2", "3"] }'),
        "data.categories.g lists a level twice",
    ),
    "covariance is a number": (
        GOOD + "[covariance]\ng = 3\n",
        "covariance.g is an integer, 3; expected a non-empty text",
    ),
    "fit of no method": (
        GOOD + "[fit.lapalce]\nkernel = 'auto'\n",
        "fit: unknown method 'lapalce'. Did you mean 'laplace'",
    ),
    "fit option unknown": (GOOD + "[fit.agq]\nnode = 3\n", "fit.agq: unknown option 'node'. Did you mean 'nodes'"),
    "fit option lists a text": (GOOD + '[fit.agq]\nnodes = [3, "x"]\n', r"fit.agq.nodes\[1\] is a text"),
    "fit option lists nothing": (GOOD + "[fit.agq]\nnodes = []\n", "fit.agq.nodes is a list"),
    "fit option is a table": (GOOD + "[fit.agq]\nnodes = { a = 1 }\n", "fit.agq.nodes is a table"),
    "numbers of no method": (GOOD + "[[numbers.lme]]\nsource = 'x'\n", "numbers: unknown method 'lme'"),
    "numbers without source": (
        GOOD + "[[numbers.agq]]\nloglik = 1.0\n",
        r"numbers.agq\[0\]: the key 'source' is required",
    ),
    "numbers not a list": (GOOD + "[numbers.agq]\nloglik = 1.0\n", "numbers.agq is a table.*expected a non-empty list"),
    "numbers with a text": (
        GOOD + "[[numbers.agq]]\nsource = 'x'\nloglik = 'a'\n",
        r"numbers.agq\[0\].loglik is a text",
    ),
    "tolerance of nothing": (
        GOOD + "[[numbers.agq]]\nsource = 'x'\nabsolute = { koef = 1 }\n",
        r"numbers.agq\[0\].absolute: unknown quantity 'koef'. Did you mean 'coef'",
    ),
    "tolerance zero": (
        GOOD + "[[numbers.agq]]\nsource = 'x'\nrelative = { coef = 0 }\n",
        "expected a number above zero",
    ),
    "true is no number": (GOOD + "[[numbers.agq]]\nsource = 'x'\nloglik = true\n", "loglik is true or false, True"),
    "an endless integer": (
        GOOD + "[[numbers.agq]]\nsource = 'x'\nloglik = 0x" + "f" * 9000 + "\n",
        "too long to print",
    ),
    "a date": (GOOD + "[about]\nsource = 2024-01-01\n", "about.source is a date"),
    "not TOML": ("[model\nformula = 3\n", r"m\.toml: not readable as TOML: .*line 1"),
    "not TOML, line 3": ('[model]\nformula = "y ~ 1"\nfamily = poisson\n', "line 3"),
    "a key twice": ('[model]\nformula = "a"\nformula = "b"\n', "not readable as TOML: .*line 3"),
    "nested arrays": ("a = " + "[" * 20000 + "]" * 20000, "nested too deeply"),
    "nested tables": ("a = " + "{a = " * 20000 + "1" + "}" * 20000, "nested too deeply|not readable as TOML"),
    "an endless dotted key": (".".join(["a"] * 30000) + " = 1", "line 1 has more than 200 dots"),
    "an integer of digits": ("a = " + "9" * 5000, "not readable as TOML"),
    "too large": ("# " + "x" * 300_000, "larger than 256 KiB"),
    "NUL": ("\0", "not readable as TOML"),
    "family unknown": (GOOD.replace('"poisson"', '"poison"'), None),
    "family option unknown": (GOOD + "[family_options]\npower = 1.5\n", None),
    "link unknown": (GOOD.replace("[data]", 'link = "logg"\n[data]'), None),
    "column unknown": (GOOD.replace("[data]", 'offset = "w"\n[data]'), None),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_give_one_clear_error(folder: Path, name: str) -> None:
    text, message = WRONG[name]
    start = time.process_time()
    expected = bg.SpecError if message else bg.BayesGLMMError
    with pytest.raises(expected) as caught:
        bg.load_model(write(folder, text))
    assert message is None or re.search(message, str(caught.value)), str(caught.value)
    assert len(str(caught.value)) < 1000
    assert time.process_time() - start < 1.0


def test_not_utf8_and_not_toml_by_name(folder: Path) -> None:
    (folder / "m.toml").write_bytes(b"[model]\ntitle = '\xff'\n")
    with pytest.raises(bg.SpecError, match="not UTF-8 text"):
        bg.load_model(folder / "m.toml")
    with pytest.raises(bg.SpecError, match=r"d\.csv' is not a model file"):
        bg.load_model(folder / "d.csv")
    with pytest.raises(bg.SpecError, match="no file"):
        bg.load_model(folder / "none.toml")
    (folder / "dir.toml").mkdir()
    with pytest.raises(bg.SpecError):
        bg.load_model(folder / "dir.toml")


BAD_TABLES = {
    "empty": ("", "is empty"),
    "only a header": ("y,x,g\n", "no rows"),
    "column twice": ("y,x,x,g\n1,2,3,4\n", "more than one column 'x'"),
    "column without a name": ("y,,g\n1,2,3\n", "column 2 has no name"),
    "a long line": ("y,x,g\n1,2,3\n1,2,3,4\n", "line 3: 4 fields, and the header has 3"),
    "a short line": ("y,x,g\n1,2\n", "line 2: 2 fields"),
    "NUL": ("y,x,g\n1,\0,3\n", "NUL"),
    "an open quote": ('y,x,g\n1,2,"3\n', "line|EOF|CSV"),
    "a huge field": ("y,x,g\n1,2," + "a" * 200_000 + "\n", "not readable as CSV"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_tables_that_are_none(folder: Path, name: str) -> None:
    text, message = BAD_TABLES[name]
    (folder / "d.csv").write_text(text)
    with pytest.raises(bg.DataError, match=message):
        bg.load_model(folder / "m.toml")


def test_a_value_outside_its_categories(folder: Path) -> None:
    path = write(folder, GOOD.replace('labels = ["g"]', 'categories = { g = ["1", "2"] }'))
    with pytest.raises(bg.DataError, match=r"d\.csv: g holds '3' \(1 such values\), which is not among its"):
        bg.load_model(path)


def test_binary_and_latin1_data(folder: Path) -> None:
    (folder / "d.csv").write_bytes("y,x,g\n1,2,Zürich\n".encode("latin-1"))
    with pytest.raises(bg.DataError, match="not UTF-8"):
        bg.load_model(folder / "m.toml")


LIKE_TOML = r"\[(model|data|priors|numbers)\]\n(\w+ = ([\[{]?[\"']?\w*[\"']?[\]}]?)\n){0,5}"


@settings(max_examples=300, deadline=1000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=200) | st.from_regex(LIKE_TOML))
def test_any_text_is_a_model_or_a_spec_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "any.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(bg.SpecError):
        assert isinstance(read_spec(path), dict)
