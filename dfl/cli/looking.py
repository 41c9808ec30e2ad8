"""Commands that only look: at a batch's gradients, the installation, errors of runs and of ours."""

from pathlib import Path
from typing import Annotated

import typer

from dfl.cli.options import Data, Json, Seed, Sets, written

__all__ = ["doctor", "help_", "lab", "power"]


def lab(
    data: Data = None,
    set_: Sets = None,
    budget_per_head: Annotated[
        float | None, typer.Option(help="Money per head; else a share of 0.3.")
    ] = None,
    budget_share: Annotated[
        float | None, typer.Option(help="Between the cheapest (0) and dearest (1) treatment.")
    ] = None,
    rows: Annotated[int, typer.Option(min=20, help="Most rows that are used.")] = 20_000,
    draws: Annotated[int, typer.Option(min=2, help="Redraws behind every variance.")] = 8,
    patience: Annotated[
        float, typer.Option(help="Seconds per part; slower ones are not redrawn.")
    ] = 5.0,
    seed: Seed = None,
    output: Annotated[
        Path | None,
        written("Folder for lab.json, lab.csv and lab.png.", "-o", "--output"),
    ] = None,
    json: Json = False,
) -> None:
    """Measure every layer and hypergradient side by side on a batch, and say which to take."""
    from dfl.budget import Budget
    from dfl.cli.changes import Changes
    from dfl.cli.lab import lab_command
    from dfl.lab import Lab

    changes = Changes(data=data, seed=seed, settings=tuple(set_ or ()))
    given = {"per_head": budget_per_head, "share": budget_share}
    budget = Budget(share=0.3) if set(given.values()) == {None} else Budget(**given)
    bench = Lab(budget=budget, rows=rows, draws=draws, patience=patience, seed=seed or 0)
    lab_command(changes, bench, output)


def doctor(json: Json = False) -> None:
    """Say what this installation has: versions, extras, threads, accelerators, data, disk."""
    from dfl.cli.doctor import doctor_command

    doctor_command()


def help_(
    code: Annotated[
        str | None, typer.Argument(help="Of an error, as its message says it; all if left out.")
    ] = None,
    json: Json = False,
) -> None:
    """Say what causes a kind of error and what helps."""
    from dfl.cli.help import help_command

    help_command(code)


def power(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    gain: Annotated[
        float | None,
        typer.Option(help="Money per head over the best constant mix that should be found."),
    ] = None,
    power: Annotated[float, typer.Option(help="Chance of finding it.")] = 0.8,
    level: Annotated[float, typer.Option(help="Confidence that it is not chance.")] = 0.95,
    json: Json = False,
) -> None:
    """Say how many randomised rows a decision needs, by the errors of a run."""
    from dfl.cli.power import power_command

    power_command(run, gain=gain, power=power, level=level)
