"""``dfl ab``."""

import glob
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, cast, final

import pyarrow as pa

from dfl.abtest import (
    ESTIMATORS,
    AaResult,
    AbstractEstimator,
    CrossFit,
    LeakWarning,
    Reading,
    ReadOut,
    read_out,
)
from dfl.abtest.reading.forest import forest_plot
from dfl.abtest.streamed import Block, Numbering, read_blocks
from dfl.cli.ab_columns import (
    AbColumns,
    block_of,
    cluster_labels,
    end_to_end,
    experiments_of,
    numbered,
    text_shares,
)
from dfl.cli.changes import free_folder
from dfl.cli.console import errors, literal, say, show
from dfl.cli.document import publish
from dfl.data.sources.reading import column_names, find_file, read_frame
from dfl.errors import DataError, DflError
from dfl.frames import Frame
from dfl.io import check_folder, make_folder, write_bytes, write_json
from dfl.pipeline.dataset import DataSet
from dfl.report import Table
from dfl.stats.multiple_testing import Correction

__all__ = ["AbOptions", "ab_command"]

_WITHOUT_COVARIATES = ("difference-in-means", "winsorised", "huber", "state")
# All but aipw, which trains four models per metric and arm.
_WITH_COVARIATES = ("difference-in-means", "cuped", "cupac", "mlrate", *_WITHOUT_COVARIATES[1:])
_AT_ONCE = 1 << 20  # rows of a folder or pattern up to which it is read as one file is


@final
@dataclass(frozen=True, kw_only=True)
class AbOptions:
    """How an experiment is read.

    Args:
        control: label of the control, or None for 0.
        shares: ``ARM=SHARE`` of each arm, or empty for equal shares.
        estimators: names, or empty for those that suit the columns.
        level: confidence level.
        correction: of p-values.
        splits: of the control in the A/A test; 0: none.
        seed: of folds and splits.
    """

    control: str | None
    shares: tuple[str, ...]
    estimators: tuple[str, ...]
    level: float
    correction: str
    splits: int
    seed: int


def ab_command(file: Path, columns: AbColumns, options: AbOptions, output: Path | None) -> None:
    """Read an experiment, print it, and write ``readout.json`` and ``forest.png``.

    Args:
        file: Parquet or CSV file; or a folder or pattern of Parquet files, read block by block.
        columns: which column is what.
        options: how it is read.
        output: folder, or None for a new one.

    Raises:
        DflError: whatever reading and estimating raise.
    """
    if output is not None:
        check_folder(output)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", LeakWarning)
        if file.is_dir() or (glob.has_magic(str(file)) and not file.is_file()):
            found = _read_data_set(file, columns, options)
        else:
            file = find_file(file)
            columns = columns.resolved(column_names(file))
            table = read_frame(file, columns=columns.all())
            held = table.column(columns.treatment).values.type
            found = _read_table(table, columns, _numbered(options, held))
    for one in warned:
        errors().print(literal(f"warning: {one.message}"))
    _finish(found, file, columns, options, output)


def _estimators(columns: AbColumns, options: AbOptions) -> dict[str, AbstractEstimator]:
    usual = _WITH_COVARIATES if columns.covariates else _WITHOUT_COVARIATES
    return {name: ESTIMATORS.load(name)() for name in options.estimators or usual}


def _numbered(options: AbOptions, held: pa.DataType) -> AbOptions:
    """Return the options, arms that are truth values called 0 and 1."""
    control, shares = numbered(options.control, options.shares, held)
    return replace(options, control=control, shares=shares)


def _read_table(table: Frame, columns: AbColumns, options: AbOptions) -> ReadOut:
    """Read a table, all of its rows at once."""
    experiments, refused = experiments_of(table, columns, options.control, options.shares)
    found = read_out(
        experiments,
        _estimators(columns, options),
        level=options.level,
        correction=cast(Correction, options.correction),
        cross_fit=CrossFit(seed=options.seed),
        splits=options.splits,
        seed=options.seed,
    )
    return replace(found, refusals=(*refused, *found.refusals))


def _read_data_set(file: Path, columns: AbColumns, options: AbOptions) -> ReadOut:
    """Read a folder or pattern of Parquet files: at once if it is small, else block by block.

    Raises:
        DataError: if there is no row.
    """
    columns = columns.resolved(DataSet.of(file, (), ()).schema.names)
    data = DataSet.of(file, columns.all(), ())
    if not data.rows:
        raise DataError(f"there must be rows, {file} has none.")
    options = _numbered(options, data.schema.field(columns.treatment).type)
    if data.rows <= _AT_ONCE:
        tables = [data.read(one, columns.all()) for one in data.blocks]
        return _read_table(end_to_end(tables, columns), columns, options)
    return read_blocks(
        _blocks(data, columns),
        _estimators(columns, options),
        control=options.control,
        shares=text_shares(options.shares),
        level=options.level,
        correction=cast(Correction, options.correction),
        names=columns.covariates,
        cross_fit=CrossFit(seed=options.seed),
        splits=options.splits,
        seed=options.seed,
    )


def _blocks(data: DataSet, columns: AbColumns) -> Iterator[Block]:
    """Yield all rows; clusters are numbered by a pass before.

    Raises:
        DataError: if a block cannot be read; says where it is.
    """
    clusters = columns.clusters
    numbering = None
    if clusters is not None:
        numbering = Numbering.of(
            cluster_labels(Frame.of(data.read(one, [clusters])).column(clusters))[0]
            for one in data.blocks
        )
    for one in chain.from_iterable(block.apart() for block in data.blocks):  # errors name a file
        table = Frame.of(data.read(one, columns.all()))
        try:
            numbers = None if numbering is None else numbering.numbers
            yield block_of(table, columns, numbers, data.where(one))
        except DflError as error:
            raise DataError(f"{data.where(one)}: {error}") from error


def _finish(
    found: ReadOut, file: Path, columns: AbColumns, options: AbOptions, output: Path | None
) -> None:
    """Write what was read, and print it: what is printed may have nowhere to go."""
    stem = re.sub(r"[*?\[\]]", "", file.name.partition(".")[0])  # of a pattern, its letters
    folder = free_folder(f"ab-{stem or 'rows'}") if output is None else output
    written = _write(folder, found, {"file": file.name, **asdict(columns), **asdict(options)})
    _show(found)
    say(f"Written: {', '.join(str(path) for path in written)}")
    publish({"folder": str(folder), **found.content()})


def _show(found: ReadOut) -> None:
    rows = [_row(reading) for reading in found.readings]
    note = f"Adjusted p-values: {found.correction}, over everything that one estimator reads."
    headings = ("metric", "segment", "estimator", "arm", "effect", "relative", "p", "adjusted p")
    show(Table("Effects", headings, rows, note, words=4))
    for reading in found.readings:
        if reading.segment is None and reading.estimator == "state":
            said = f"{reading.metric}, {reading.effect.arm}, state: {reading.effect.verdict}"
            say(said)
    for one in found.refusals:
        say(str(one))
    if found.splits:
        show(_aa_table(found.splits))
    say(f"Sizes of the arms fit the plan: p = {found.sample_ratio.p_value:.2g}.")


def _aa_table(splits: Mapping[str, Mapping[str, AaResult | str]]) -> Table:
    rows = []
    for metric, by_name in splits.items():
        for name, done in by_name.items():
            if isinstance(done, str):
                rows.append((metric, name, f"not read: {done}", ""))
            else:
                alarms = f"{done.false_positive_rate:.1%} [{done.low:.1%}, {done.high:.1%}]"
                ratio = "-" if done.error_ratio is None else f"{done.error_ratio:.3f}"
                alarms += f", {done.refused} splits not read" if done.refused else ""
                rows.append((metric, name, alarms, ratio))
    headings = ("metric", "estimator", "false alarms", "stated over true error")
    note = "The control split at random, again and again; an interval above the expected rate of "
    note += "1 - level says that the errors are too small for this metric."
    return Table("A/A test", headings, rows, note, words=2)


def _row(reading: Reading) -> tuple[str, ...]:
    effect = reading.effect
    return (
        reading.metric,
        "(all)" if reading.segment is None else reading.segment,
        reading.estimator,
        effect.arm,
        f"{effect.estimate:.4g} [{effect.low:.4g}, {effect.high:.4g}]",
        "" if effect.relative is None else f"{effect.relative:+.2%}",
        f"{effect.p_value:.2g}",
        f"{reading.adjusted_p_value:.2g}",
    )


def _write(folder: Path, found: ReadOut, asked: Mapping[str, Any]) -> list[Path]:
    """Write the read-out, then the plot, and return what was written; a plot may fail alone."""
    make_folder(folder)
    readout, plot = folder / "readout.json", folder / "forest.png"
    write_json(readout, {"asked": asked, **found.content()})
    try:
        picture = forest_plot(found)
    except Exception as error:  # whatever the drawing library makes of a name or a number
        errors().print(literal(f"warning: no plot was drawn ({type(error).__name__}: {error})"))
        return [readout]
    write_bytes(plot, picture)
    return [readout, plot]
