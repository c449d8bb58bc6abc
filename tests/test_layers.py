"""Data flows left to right and never back: a room imports only from rooms to its left.

Imports inside functions count. Imports under ``TYPE_CHECKING`` do not: they name types and load nothing.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bayesglmm"

# Left to right. Names on one line are neighbours that know nothing of each other; a module (``design.types``) may stand
# elsewhere than the rest of its room.
ORDER = [
    ["errors", "look", "names", "quantiles"],
    ["arguments"],
    ["links"],
    ["design.types", "formula"],
    ["families"],
    ["design"],
    ["latent.elimination.blocks", "latent.elimination.loops"],
    ["latent.elimination.generations"],
    ["latent.elimination.tail"],
    ["latent.elimination.ordering"],
    ["covariance"],
    ["priors"],
    ["problem"],
    ["parameters", "joint", "result"],
    ["scores", "graph"],
    ["latent"],
    ["methods"],
    ["tables", "idata", "posterior", "simulate"],
    ["marginals", "prior_predictive"],
    ["inference"],
    ["responses", "forecast"],
    ["predict"],
    ["diagnose"],
    ["plots"],
    ["plots_predictive"],
    ["effects"],
    ["summary"],
    ["fit"],
    ["definition"],
    ["model"],
    ["storage"],
    ["spec"],
    ["comparison"],
    ["report"],
    ["study"],
    ["cli"],
    ["__main__"],
]
LEVEL = {room: k for k, rooms in enumerate(ORDER) for room in rooms}

# Calls into the room that serves a request, made when it is asked for and not before.
DEFERRED = {
    ("problem", "graph"): "a family without a closed form takes its kernel from the PyMC graph",
    ("fit", "storage"): "a fit is written to a file when asked to",
    ("comparison", "report"): "a comparison writes its own report when asked to",
}

# The one room that may load PyMC and PyTensor.
GRAPH_ONLY = ("pymc", "pytensor")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


def room(name: str) -> str:
    """The longest prefix of a module's name that has a place in the order."""
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        if ".".join(parts[:k]) in LEVEL:
            return ".".join(parts[:k])
    raise AssertionError(f"bayesglmm.{name} has no place in the order of rooms: give it one.")


def imports(tree: ast.AST, known: set[str]) -> list[tuple[str, bool]]:
    """Imported modules, each with whether the import is inside a function."""
    found: list[tuple[str, bool]] = []

    def visit(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                visit(child, inside)
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, inside) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import; write the whole name."
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.append((whole if whole in known else str(node.module), inside))
        inside = inside or isinstance(node, ast.FunctionDef | ast.Lambda | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(tree, False)
    return found


KNOWN = {f"bayesglmm.{dotted(p)}" for p in modules()}


@pytest.mark.parametrize("path", [p for p in modules() if dotted(p)], ids=dotted)
def test_a_room_imports_only_from_its_left(path: Path) -> None:
    here = room(dotted(path))
    for name, inside in imports(ast.parse(path.read_text()), KNOWN):
        if not name.startswith("bayesglmm."):
            continue
        there = room(name.removeprefix("bayesglmm."))
        same = there.split(".")[0] == here.split(".")[0] and there == here
        deferred = inside and (here.split(".")[0], there.split(".")[0]) in DEFERRED
        assert same or deferred or LEVEL[there] < LEVEL[here], f"{dotted(path)} imports {name}: not to its left"


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_only_the_graph_room_loads_pymc(path: Path) -> None:
    loaded = {name.split(".")[0] for name, _ in imports(ast.parse(path.read_text()), KNOWN)}
    assert dotted(path).split(".")[0] == "graph" or not loaded & set(GRAPH_ONLY)


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_heavy_packages_are_imported_inside_functions(path: Path) -> None:
    top = {name.split(".")[0] for name, inside in imports(ast.parse(path.read_text()), KNOWN) if not inside}
    heavy = {"arviz", "arviz_base", "arviz_stats", "arviz_plots", "matplotlib", "xarray", "nutpie"}
    assert not top & heavy


def test_the_order_names_rooms_that_exist() -> None:
    for name in LEVEL:
        place = PACKAGE / Path(*name.split("."))
        assert place.is_dir() or place.with_suffix(".py").is_file(), f"no room {name}"


def test_a_wrong_import_is_seen() -> None:
    tree = ast.parse("def f():\n    from bayesglmm.model import Model\n")
    assert imports(tree, {"bayesglmm.model"}) == [("bayesglmm.model", True)]
    assert LEVEL["model"] > LEVEL["latent"]
    assert room("design.types") == "design.types"
    assert room("design.build") == "design"
    with pytest.raises(AssertionError, match="no place"):
        room("nowhere")
