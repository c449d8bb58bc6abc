"""The site names every public thing, and every method has a page."""

from __future__ import annotations

import re
from pathlib import Path

import bayesglmm as bg
from bayesglmm.methods.registry import METHODS

DOCS = Path(__file__).parent.parent / "docs"


def test_every_public_name_is_in_the_api() -> None:
    listed = re.findall(r"^   ([\w.]+)$", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert {name for name in bg.__all__ if name != "families"} <= set(listed)
    assert len(listed) == len(set(listed))


def test_every_method_has_a_page_that_says_when_it_fails() -> None:
    pages = {"reml": "ml", "mql": "pql"}
    for method in METHODS:
        if "+" in method:  # a step up from another
            continue
        text = (DOCS / "methods" / f"{pages.get(method, method)}.md").read_text()
        assert f"`{method}`" in text
        assert re.search(r"^## When (it|they) fails?", text, re.MULTILINE), method
