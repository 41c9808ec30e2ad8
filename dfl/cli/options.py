"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dfl.cli.document import begin
from dfl.errors import ConfigError

__all__ = [
    "Data",
    "Device",
    "Epochs",
    "Hypergrad",
    "Json",
    "Layer",
    "Loss",
    "Members",
    "Output",
    "PerHead",
    "Resume",
    "Seed",
    "Sets",
    "Share",
    "Solver",
    "written",
]

Data = Annotated[
    str | None, typer.Option(help="A data set or simulator by name, or a Parquet or CSV file.")
]
Solver = Annotated[str | None, typer.Option(help="Solver that allocates.")]
Layer = Annotated[str | None, typer.Option(help="Layer of the decision loss.")]
Loss = Annotated[str | None, typer.Option(help="Decision loss.")]
Hypergrad = Annotated[str | None, typer.Option(help="Hypergradient.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.OPTION=VALUE", help="Set one option; repeatable."),
]
PerHead = Annotated[
    list[float] | None,
    typer.Option("--budget-per-head", help="Money per head; repeatable."),
]
Share = Annotated[
    list[float] | None,
    typer.Option(
        "--budget-share", help="Between the cheapest (0) and dearest (1) treatment; repeatable."
    ),
]
Seed = Annotated[int | None, typer.Option(help="Starting point of all randomness.")]
Members = Annotated[int | None, typer.Option(help="Networks per ensemble.")]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training rows.")]


def written(help_: str, *names: str) -> Any:
    """Return an option that names what is written.

    Args:
        help_: of the option.
        names: of the option; none: by the parameter's.
    """
    return typer.Option(*names, callback=_named, help=help_)


def _named(parameter: typer.CallbackParam, path: Path | None) -> Path | None:
    """Refuse '-', which elsewhere is the standard output; here it would be a file or folder.

    Raises:
        ConfigError: if it is that.
    """
    if path is not None and str(path) == "-":
        raise ConfigError(
            f"{parameter.opts[-1]} must name a file or a folder, got '-'; on the standard output "
            "--json prints the results."
        )
    return path


Output = Annotated[
    Path | None,
    written("Run folder; a new one in runs/ if not given.", "-o", "--output"),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --output.")]


def _json(context: typer.Context, wanted: bool) -> None:
    if wanted and context.info_name is not None:
        begin(context.info_name)


Json = Annotated[
    bool,
    typer.Option(
        "--json",
        callback=_json,
        is_eager=True,
        help="Print the results as JSON on stdout, and everything else on stderr.",
    ),
]
Device = Annotated[str | None, typer.Option(help="Where training runs: cpu, cuda, cuda:1.")]
