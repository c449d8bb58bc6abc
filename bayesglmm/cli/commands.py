"""The commands: thin, every one a few calls of the Python interface."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from bayesglmm.cli.options import parse_options, split_names
from bayesglmm.cli.screen import err, out
from bayesglmm.errors import BayesGLMMError, BayesGLMMWarning

app = typer.Typer(
    name="bayesglmm",
    help="One generalized linear mixed model, every method worth comparing, and a verdict on each approximation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ModelFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="A model file (.toml), or the name of one of `bayesglmm models`.")
]
Priors = Annotated[
    str | None, typer.Option(help="'default' or 'flat', instead of what the file says. Flat is maximum likelihood.")
]
Seed = Annotated[int, typer.Option(help="Seed of the methods that draw.")]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", metavar="METHOD.NAME=VALUE", help="An option of a method, e.g. agq.nodes=25."),
]
Traceback = Annotated[bool, typer.Option("--traceback", help="Show where an error comes from.")]


def _plain_errors[**P, R](command: Callable[P, R]) -> Callable[P, R]:
    """Turn the package's own errors into one red line and exit code 1."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except BayesGLMMError as error:
            if kwargs.get("traceback"):
                raise
            err.print(f"[bold red]Error:[/] [red]{escape(str(error))}[/]", soft_wrap=True)
            raise typer.Exit(1) from None

    return wrapped


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show the package's own warnings as one yellow line each."""
    usual = warnings.showwarning

    def show(message: Any, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, BayesGLMMWarning):
            err.print(f"[yellow]Warning:[/] {escape(str(message))}", soft_wrap=True)
        else:
            usual(message, category, *rest, **more)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _show_version(wanted: bool) -> None:
    if wanted:
        from bayesglmm import __version__

        out.print(f"bayesglmm {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Bind the options that belong to no command."""


@app.command()
@_plain_errors
def fit(
    file: ModelFile,
    method: Annotated[
        str | None, typer.Option("--method", "-m", help="How to fit; the model's natural method when left out.")
    ] = None,
    priors: Priors = None,
    seed: Seed = 1,
    option: Options = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for summary.txt, the tables (CSV) and idata.nc.")
    ] = None,
    traceback: Traceback = False,
) -> None:
    """Fit the model of a file by one method and print its summary."""
    from bayesglmm.cli.files import write_fit
    from bayesglmm.methods.registry import get_method
    from bayesglmm.spec import load_model

    with _plain_warnings():
        model = load_model(file, priors=priors)
        name = method or model.natural_method
        options = parse_options(option or [], [name])[name]
        if "seed" in get_method(name).options:
            options.setdefault("seed", seed)
        with err.status(f"Fitting by {name} …"):
            result = model.fit(name, **options)
    out.print(result.summary(), markup=False, highlight=False, soft_wrap=True)
    if folder is not None:
        write_fit(result, folder)
        out.print(f"\nWritten to {escape(str(folder))}", soft_wrap=True)


@app.command()
@_plain_errors
def compare(
    file: ModelFile,
    methods: Annotated[str, typer.Option(metavar="A,B,C", help="Methods, separated by commas.")] = "pql,laplace,mcmc",
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for report.html, table.csv and idata.nc.")
    ] = None,
    reference: Annotated[str, typer.Option(help="The method to measure the others against.")] = "mcmc",
    priors: Priors = None,
    seed: Seed = 1,
    draws: Annotated[int | None, typer.Option(min=1, help="Draws per chain of mcmc.")] = None,
    tune: Annotated[int | None, typer.Option(min=0, help="Warm-up steps per chain of mcmc.")] = None,
    chains: Annotated[int | None, typer.Option(min=1, help="Chains of mcmc.")] = None,
    option: Options = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Take the fits that a stopped comparison left in --out, and go on.")
    ] = False,
    traceback: Traceback = False,
) -> None:
    """Fit the model of a file by many methods, measure each against a reference, and write the report."""
    from bayesglmm.cli.files import keep_fits, kept_fits
    from bayesglmm.cli.progress import show_progress
    from bayesglmm.cli.tables import print_comparison
    from bayesglmm.comparison import compare as run
    from bayesglmm.comparison.run import check_request
    from bayesglmm.spec import load_model

    order = check_request(split_names(methods), reference, {})
    options = parse_options(option or [], order)
    for name, value in (("draws", draws), ("tune", tune), ("chains", chains)):
        if value is not None and "mcmc" in order:
            options["mcmc"].setdefault(name, value)
    with _plain_warnings():
        model = load_model(file, priors=priors)
        title = str(model.about.get("title") or file.stem)
        out.print(f"[bold]{escape(title)}[/]\n{escape(model.formula)}", soft_wrap=True)
        fits = kept_fits(folder, order) if resume else []
        try:
            with show_progress(order) as progress:
                comparison = run(model, order, reference, fits=fits, seed=seed, options=options, progress=progress)
        except KeyboardInterrupt as stopped:
            err.print(f"\n[yellow]{escape(keep_fits([*fits, *getattr(stopped, 'fits', ())], folder))}[/]")
            raise typer.Exit(130) from None
    print_comparison(comparison)
    if folder is not None:
        with err.status("Writing the report …"):
            path = comparison.report(folder)
        out.print(f"\nReport: [bold]{escape(str(path))}[/]", soft_wrap=True)
    if not comparison.fits:
        raise typer.Exit(1)


@app.command()
@_plain_errors
def models(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of model files; the ones that ship when left out.")
    ] = None,
    traceback: Traceback = False,
) -> None:
    """List the models of a folder: name, title, formula, and what each teaches."""
    from bayesglmm.cli.tables import print_models
    from bayesglmm.spec import list_models, models_folder

    place = folder if folder is not None else models_folder()
    print_models(list_models(place), place)


@app.command()
@_plain_errors
def study(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A model file (.toml) with a [study] section, or its name.")
    ],
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for record, report and tables; out/NAME when left out."),
    ] = None,
    methods: Annotated[str | None, typer.Option(metavar="A,B,C", help="Methods, instead of the file's.")] = None,
    replicates: Annotated[int | None, typer.Option(min=1, help="Replicates per arm, instead of the file's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the file's.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one per core when left out.")] = None,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A dask scheduler's address, or 'local' for a cluster here.")
    ] = None,
    traceback: Traceback = False,
) -> None:
    """Simulate from the model of a file, fit by many methods, many times; stop and run again to go on."""
    from bayesglmm.cli.tables import print_study
    from bayesglmm.study import load_study
    from bayesglmm.study.dask import cluster

    with _plain_warnings():
        chosen = None if methods is None else split_names(methods)
        wanted = load_study(file, methods=chosen, replicates=replicates, seed=seed)
        place = folder if folder is not None else Path("out") / file.stem
        out.print(f"[bold]{escape(wanted.title)}[/]", soft_wrap=True)

        def tell(text: str) -> None:
            err.print(escape(text), soft_wrap=True)

        try:
            with cluster(dask, workers) as executor:
                result = wanted.run(place / "study.sqlite", executor=executor, workers=workers, tell=tell)
        except KeyboardInterrupt as stopped:
            err.print(f"\n[yellow]{escape(str(stopped))}[/]", soft_wrap=True)
            raise typer.Exit(130) from None
    print_study(result)
    with err.status("Writing the report …"):
        path = result.report(place)
    out.print(f"\nReport: [bold]{escape(str(path))}[/]", soft_wrap=True)
