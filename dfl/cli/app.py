"""The commands and their options; each imports what it needs when it runs."""

# Imports stand inside the commands so that `dfl list` and `--help` start quickly.
from enum import StrEnum
from pathlib import Path
from typing import Annotated, final

import typer

from dfl.cli.document import begin
from dfl.cli.guard import GuardedGroup

__all__ = ["app", "main"]

app = typer.Typer(
    cls=GuardedGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Decision-focused learning for budgeted marketing: from logs to who gets what.",
)

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
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="Run folder; a new one in runs/ if not given.")
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


@final
class Family(StrEnum):
    """What can be listed."""

    solvers = "solvers"
    layers = "layers"
    hypergrad = "hypergrad"
    losses = "losses"
    methods = "methods"
    data = "data"
    abtest = "abtest"
    suites = "suites"


def _version(wanted: bool) -> None:
    if wanted:
        import dfl

        typer.echo(f"dfl {dfl.__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show errors with traceback.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Decision-focused learning for budgeted marketing: from logs to who gets what."""


@app.command()
def run(
    config: Annotated[
        str | None, typer.Argument(help="A shipped configuration, a method, or a YAML file.")
    ] = None,
    data: Data = None,
    solver: Solver = None,
    layer: Layer = None,
    loss: Loss = None,
    hypergrad: Hypergrad = None,
    set_: Sets = None,
    budget_per_head: PerHead = None,
    budget_share: Share = None,
    seed: Seed = None,
    members: Members = None,
    epochs: Epochs = None,
    device: Device = None,
    output: Output = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Train a method, evaluate it on held-out randomised rows, and write a run folder."""
    from dfl.cli.changes import Changes
    from dfl.cli.run import run_command

    changes = Changes(
        data=data,
        solver=solver,
        loss=loss,
        layer=layer,
        hypergrad=hypergrad,
        per_head=tuple(budget_per_head or ()),
        share=tuple(budget_share or ()),
        seed=seed,
        device=device,
        members=members,
        epochs=epochs,
        settings=tuple(set_ or ()),
    )
    run_command(config, changes, output, resume)


@app.command()
def compare(
    methods: Annotated[
        list[str] | None, typer.Argument(help="Configurations, methods or YAML files.")
    ] = None,
    data: Data = None,
    suite: Annotated[
        str | None,
        typer.Option(help="A study of many methods, data sets and seeds: shipped, or a YAML file."),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Repeat over so many seeds, each with its own data split."),
    ] = None,
    first_seed: Annotated[
        int | None, typer.Option(min=0, help="First seed of a suite; else as the suite says.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Method or data set of a suite; the others are left out. Repeatable."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Subtract this method; the first one if not given.")
    ] = None,
    set_: Sets = None,
    budget_per_head: PerHead = None,
    budget_share: Share = None,
    seed: Seed = None,
    members: Members = None,
    epochs: Epochs = None,
    device: Device = None,
    output: Output = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Train several methods on the same rows and compare them in pairs."""
    from dfl.cli.changes import Changes
    from dfl.cli.compare import compare_command
    from dfl.cli.suite import SuiteOptions, suite_command

    changes = Changes(
        data=data,
        per_head=tuple(budget_per_head or ()),
        share=tuple(budget_share or ()),
        seed=seed,
        device=device,
        members=members,
        epochs=epochs,
        settings=tuple(set_ or ()),
    )
    options = SuiteOptions(source=suite, seeds=seeds, first_seed=first_seed, only=tuple(only or ()))
    if options.wanted(output, again=resume):
        others = [*(methods or ()), *filter(None, [baseline])]
        suite_command(options, changes, others, output, resume)
    else:
        compare_command(methods or [], changes, seeds or 1, baseline, output, resume)


@app.command()
def allocate(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run, or '-' with --revenue.")],
    customers: Annotated[
        Path, typer.Argument(help="Parquet or CSV file, a row per person; or a folder, a pattern.")
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Parquet or CSV file, or a folder, written in blocks."),
    ],
    budget_per_head: Annotated[float | None, typer.Option(help="Money per person.")] = None,
    budget_total: Annotated[float | None, typer.Option(help="Money for all of them.")] = None,
    budget_share: Annotated[
        float | None, typer.Option(help="Between the cheapest (0) and dearest (1) allocation.")
    ] = None,
    solver: Annotated[str | None, typer.Option(help="Another solver than the run's.")] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="Column to carry over, such as an id; repeatable.")
    ] = None,
    revenue: Annotated[
        list[str] | None,
        typer.Option(metavar="A,B,...", help="Columns of revenue by treatment, without a run."),
    ] = None,
    cost: Annotated[
        list[str] | None, typer.Option(metavar="A,B,...", help="Columns of cost by treatment.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
    json: Json = False,
) -> None:
    """Give every row of a Parquet or CSV file, or of many, a treatment within a budget."""
    from dfl.cli.allocate import allocate_command

    given = {"per_head": budget_per_head, "total": budget_total, "share": budget_share}
    columns = (tuple(revenue or ()), tuple(cost or ()))
    allocate_command(
        run, customers, output, given, solver, tuple(keep or ()), columns, overwrite=overwrite
    )


@app.command()
def ab(
    experiment: Annotated[Path, typer.Argument(help="Parquet or CSV file, one row per user.")],
    treatment: Annotated[str, typer.Option(help="Column of the arm.")],
    metric: Annotated[list[str], typer.Option(help="Column to compare; repeatable.")],
    denominator: Annotated[
        list[str] | None,
        typer.Option(help="Column to divide by: one for all metrics, or one each ('-': none)."),
    ] = None,
    covariates: Annotated[
        list[str] | None,
        typer.Option(metavar="A,B,...", help="Columns from before the experiment; repeatable."),
    ] = None,
    clusters: Annotated[str | None, typer.Option(help="Column of what was randomised.")] = None,
    segment: Annotated[str | None, typer.Option(help="Column of groups to read apart.")] = None,
    control: Annotated[str | None, typer.Option(help="Arm to compare with; else 0.")] = None,
    share: Annotated[
        list[str] | None, typer.Option(metavar="ARM=SHARE", help="Planned share; else equal.")
    ] = None,
    estimator: Annotated[
        list[str] | None, typer.Option(help="Name of an estimator; repeatable.")
    ] = None,
    level: Annotated[float, typer.Option(help="Confidence level of the intervals.")] = 0.95,
    correction: Annotated[
        str, typer.Option(help="For many p-values: holm, bonferroni, benjamini-hochberg, none.")
    ] = "holm",
    aa: Annotated[int, typer.Option(help="Also split the control so often into A and A.")] = 0,
    seed: Seed = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder; a new one in runs/ if not given.")
    ] = None,
    json: Json = False,
) -> None:
    """Read an A/B test: effects with errors and verdicts, after checking the assignment."""
    from dfl.cli.ab import AbOptions, ab_command
    from dfl.cli.ab_columns import AbColumns

    columns = AbColumns(
        treatment=treatment,
        metrics=tuple(metric),
        denominators=tuple(denominator or ()),
        covariates=tuple(covariates or ()),
        clusters=clusters,
        segments=segment,
    )
    options = AbOptions(
        control=control,
        shares=tuple(share or ()),
        estimators=tuple(estimator or ()),
        level=level,
        correction=correction,
        splits=aa,
        seed=seed or 0,
    )
    ab_command(experiment, columns, options, output)


@app.command("list")
def list_(
    family: Annotated[Family | None, typer.Argument(help="What to list; all if left out.")] = None,
    json: Json = False,
) -> None:
    """List the names that configurations and options take."""
    from dfl.cli.listing import list_command

    list_command(None if family is None else family.value)


@app.command()
def explain(
    config: Annotated[str, typer.Argument(help="A configuration, a method, or a YAML file.")],
    data: Data = None,
    solver: Solver = None,
    layer: Layer = None,
    loss: Loss = None,
    hypergrad: Hypergrad = None,
    set_: Sets = None,
    budget_per_head: PerHead = None,
    budget_share: Share = None,
    seed: Seed = None,
    members: Members = None,
    epochs: Epochs = None,
    device: Device = None,
) -> None:
    """Show what a configuration puts together and whether the parts fit; runs nothing."""
    from dfl.cli.changes import Changes
    from dfl.cli.explain import explain_command

    changes = Changes(
        data=data,
        solver=solver,
        loss=loss,
        layer=layer,
        hypergrad=hypergrad,
        per_head=tuple(budget_per_head or ()),
        share=tuple(budget_share or ()),
        seed=seed,
        device=device,
        members=members,
        epochs=epochs,
        settings=tuple(set_ or ()),
    )
    explain_command(config, changes)


@app.command()
def report(
    run: Annotated[
        Path, typer.Argument(help="Folder of a finished run or comparison, or of a suite.")
    ],
    reference: Annotated[
        str | None, typer.Option(help="Of a suite: subtract this method instead of its own.")
    ] = None,
    json: Json = False,
) -> None:
    """Print the results of a run again, and draw its plots and page anew."""
    from dfl.cli.report import report_command

    report_command(run, reference)


@app.command()
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
        typer.Option("-o", "--output", help="Folder for lab.json, lab.csv and lab.png."),
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


@app.command()
def doctor(json: Json = False) -> None:
    """Say what this installation has: versions, extras, threads, accelerators, data, disk."""
    from dfl.cli.doctor import doctor_command

    doctor_command()


def main() -> None:
    """Run the command line."""
    app()
