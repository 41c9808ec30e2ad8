"""The commands and their options; each imports what it needs when it runs."""

# Imports stand inside the commands so that `dfl list` and `--help` start quickly.
from pathlib import Path
from typing import Annotated

import typer

from dfl.cli.families import Family
from dfl.cli.guard import GuardedGroup, refuse_several
from dfl.cli.looking import doctor, help_, lab, power
from dfl.cli.options import (
    Data,
    Device,
    Epochs,
    Hypergrad,
    Json,
    Layer,
    Loss,
    Members,
    Output,
    PerHead,
    Resume,
    Seed,
    Sets,
    Share,
    Solver,
    written,
)
from dfl.cli.plan_options import plan

__all__ = ["app"]

app = typer.Typer(
    cls=GuardedGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Decision-focused learning for budgeted marketing: from logs to who gets what.",
)


def _version(wanted: bool) -> None:
    if wanted:
        import dfl

        typer.echo(f"dfl {dfl.__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show errors with traceback.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Decision-focused learning for budgeted marketing: from logs to who gets what."""
    refuse_several(ctx.invoked_subcommand)


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
    track: Annotated[
        list[str] | None,
        typer.Option(help="Also tell tensorboard (in the run folder) or mlflow; repeatable."),
    ] = None,
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
    run_command(config, changes, output, resume, track or ())


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
        compare_command(methods or [], changes, seeds, baseline, output, resume)


@app.command()
def allocate(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run, or '-' with --revenue.")],
    customers: Annotated[
        Path, typer.Argument(help="Parquet or CSV file, a row per person; or a folder, a pattern.")
    ],
    output: Annotated[
        Path,
        written("Parquet or CSV file, or a folder, written in blocks.", "-o", "--output"),
    ],
    budget_per_head: Annotated[float | None, typer.Option(help="Money per person.")] = None,
    budget_total: Annotated[float | None, typer.Option(help="Money for all of them.")] = None,
    budget_share: Annotated[
        float | None, typer.Option(help="Between the cheapest (0) and dearest (1) allocation.")
    ] = None,
    solver: Annotated[str | None, typer.Option(help="Another solver than the run's.")] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="Confidence, such as 0.95, that the true spend is within the budget."),
    ] = None,
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
    engine: Annotated[
        str, typer.Option(help="What shares the blocks of a folder: 'processes' or 'ray'.")
    ] = "processes",
    json: Json = False,
) -> None:
    """Give every row of a Parquet or CSV file, or of many, a treatment within a budget."""
    from dfl.cli.allocate import allocate_command

    given = {"per_head": budget_per_head, "total": budget_total, "share": budget_share}
    columns = (tuple(revenue or ()), tuple(cost or ()))
    kept = tuple(keep or ())
    allocate_command(
        *(run, customers, output, given, solver, margin, kept, columns),
        overwrite=overwrite,
        engine=engine,
    )


app.command()(plan)


@app.command()
def segment(
    config: Annotated[
        str, typer.Argument(help="Of hrc or policy-tree, or a run's folder.")
    ] = "hrc",
    data: Data = None,
    solver: Solver = None,
    set_: Sets = None,
    budget_per_head: PerHead = None,
    budget_share: Share = None,
    seed: Seed = None,
    levels: Annotated[int, typer.Option(min=2, help="Budgets of the plan.")] = 10,
    student: Annotated[
        str, typer.Option(help="Classifier that serves: logistic, network or boosting.")
    ] = "network",
    nested: Annotated[
        bool, typer.Option("--nested", help="No cheaper treatment at a larger budget.")
    ] = False,
    customers: Annotated[
        Path | None, typer.Option(help="Parquet files, or a CSV file, to serve.")
    ] = None,
    assign: Annotated[Path | None, written("File to write for --customers.")] = None,
    keep: Annotated[list[str] | None, typer.Option(help="Column to carry over.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --assign.")] = False,
    output: Output = None,
    json: Json = False,
) -> None:
    """Find a few kinds of customers, what works on each, and what each gets at every budget."""
    from dfl.cli.changes import Changes
    from dfl.cli.segment import Customers, segment_command

    changes = Changes(
        data=data,
        solver=solver,
        per_head=tuple(budget_per_head or ()),
        share=tuple(budget_share or ()),
        seed=seed,
        settings=tuple(set_ or ()),
    )
    served = Customers.of(customers, assign, keep or (), overwrite=overwrite)
    segment_command(config, changes, output, levels, student, nested=nested, customers=served)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    output: Annotated[Path, written("ONNX file to write.", "-o", "--output")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
    json: Json = False,
) -> None:
    """Write a run's model and its decision at a price as one ONNX file, to be served anywhere."""
    from dfl.cli.export import export_command

    export_command(run, output, overwrite=overwrite)


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
        Path | None,
        written("Folder; a new one in runs/ if not given.", "-o", "--output"),
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


app.command()(lab)
app.command()(doctor)
app.command()(power)
app.command("help")(help_)
