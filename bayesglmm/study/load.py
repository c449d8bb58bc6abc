"""A study from a model file: its ``[study]`` section."""

from __future__ import annotations

from os import PathLike
from typing import Any

from bayesglmm.arguments import takes, texts
from bayesglmm.errors import BayesGLMMError, SpecError
from bayesglmm.spec.data import read_table
from bayesglmm.spec.load import build_model, read_spec
from bayesglmm.spec.shipped import model_path
from bayesglmm.study.core import ONLY, Study

#: What of a file's study may be other than the file says.
CHANGEABLE = frozenset({"replicates", "methods", "seed", "reference", "options"})


@takes()
def load_study(path: str | PathLike[str], **changes: Any) -> Study:
    """Load the study of a model file: data, never code.

    Parameters
    ----------
    path : str or path
        A ``.toml`` file with a ``[study]`` section.
    **changes
        ``replicates``, ``methods``, ``seed``, ``reference``, ``options`` instead of the file's; None leaves those.

    Returns
    -------
    Study

    Raises
    ------
    SpecError
        What is wrong with the file.

    Examples
    --------
    >>> study = load_study("models/breslow_clayton_d1.toml", replicates=2)
    >>> list(study.arms), study.replicates
    (['m = 1', 'm = 2', 'm = 4', 'm = 8'], 2)
    """
    unknown = set(changes) - CHANGEABLE
    if unknown:
        raise SpecError(f"load_study changes {', '.join(sorted(CHANGEABLE))}, not {', '.join(sorted(unknown))}.")
    path = model_path(path)
    spec = read_spec(path)
    if "study" not in spec:
        raise SpecError(f"{path}: has no [study] section: truth and methods are needed to simulate from its model.")
    says = dict(spec["study"])
    table = read_table(path.parent, spec["data"])
    arms = says.pop("arms", {ONLY: {}})
    models, truths = {}, {}
    for name, own in arms.items():
        for column in own.get("set", {}):
            if column not in table:
                raise SpecError(f"{path}: study.arms.{name} sets {column!r}, which is no column of the data.")
        models[name] = build_model(path, spec, table.assign(**own.get("set", {})))
        truths[name] = {**says["truth"], **own.get("truth", {})}
    title = next(iter(models.values())).about["title"]
    changed = {k: v for k, v in changes.items() if v is not None}
    if "methods" in changed:
        changed["methods"] = texts("methods", changed["methods"])
        # what the file says of methods that are left out
        says["options"] = {m: o for m, o in says.get("options", {}).items() if m in changed["methods"]}
        says["reference"] = says.get("reference") if says.get("reference") in changed["methods"] else None
    says |= changed
    says["truth"] = truths
    try:
        return Study(models, title=title, **says)
    except BayesGLMMError as error:
        raise SpecError(f"{path}: {error}") from None
