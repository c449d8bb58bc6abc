"""Exceptions and warnings.

Every message says what was given, what was expected and what to do. Nothing in the package raises a bare
``ValueError`` at a user; everything derives from :class:`BayesGLMMError`.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

_PACKAGE = f"{Path(__file__).parent}{os.sep}"
_SHOWN = 160  # characters of a formula that an error shows


def shorten(shown: str, limit: int = 60) -> str:
    """At most `limit` characters of a text given by the user, for messages."""
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


class BayesGLMMError(Exception):
    """Base class of every error the package raises on purpose."""


class FormulaError(BayesGLMMError):
    """A formula that cannot be read, or that asks for something a formula may not do.

    Parameters
    ----------
    message : str
        What is wrong and what to do.
    text : str, optional
        The formula as given.
    position : int, optional
        Zero-based index of the offending character in `text`; the message then shows a caret under it.
    """

    def __init__(self, message: str, text: str | None = None, position: int | None = None) -> None:
        self.text = text
        self.position = position
        if text is not None and position is not None:
            start = max(0, position - _SHOWN // 2) if len(text) > _SHOWN else 0
            shown = text[start : start + _SHOWN]
            message = f"{message}\n    {shown}\n    {' ' * (position - start)}^"
        super().__init__(message)


class DataError(BayesGLMMError):
    """A table whose content does not fit the model: unknown columns, wrong support, no variation."""


class FamilyError(BayesGLMMError):
    """An unknown family or link, or a combination that does not exist."""


class MethodError(BayesGLMMError):
    """A method that does not apply to the model, or an option it does not know."""


class ArgumentError(MethodError, TypeError):
    """A call with an argument the function does not have, or without one that it needs."""


class ConvergenceError(BayesGLMMError):
    """A fit that could not be carried out at all (no finite objective anywhere it looked)."""


class SpecError(BayesGLMMError):
    """A model file that cannot be read or that holds an unknown key."""


class BayesGLMMWarning(UserWarning):
    """Base class of every warning the package gives."""


class ConvergenceWarning(BayesGLMMWarning):
    """The fit did not converge; its numbers are not to be used as they are."""


class SingularFitWarning(BayesGLMMWarning):
    """A variance is estimated at zero, or a correlation at plus or minus one."""


class SeparationWarning(BayesGLMMWarning):
    """The response is separated by the predictors: some estimates do not exist (are infinite)."""


class DataWarning(BayesGLMMWarning):
    """Rows or columns were left out, and how many."""


def warn(message: str, category: type[BayesGLMMWarning]) -> None:
    """Warn, at the line outside the package that the call came from, however deep inside it the reason was found.

    Parameters
    ----------
    message : str
        What is the matter and what to do.
    category : type
        The warning's class.
    """
    warnings.warn(message, category, skip_file_prefixes=(_PACKAGE,))
