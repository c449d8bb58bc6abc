"""The command line: ``bayesglmm fit``, ``bayesglmm compare``, ``bayesglmm models``."""

from bayesglmm.cli.commands import app

__all__ = ["app"]
