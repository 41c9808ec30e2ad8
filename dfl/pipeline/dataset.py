"""`DataSet`: Parquet files that together are one table, cut into blocks that fit in memory."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pyarrow as pa
import pyarrow.parquet as pq

from dfl.errors import DataError, DataNotFoundError
from dfl.pipeline.customers import check_columns

__all__ = ["DataBlock", "DataSet"]

_ROWS = 1 << 20  # of a block, unless one row group has more


@final
@dataclass(frozen=True)
class DataBlock:
    """Row groups of one file that are read together.

    Args:
        file: place among the files.
        groups: first row group, and the one behind the last.
        start: number of the first row, counted over all files.
        rows: number of rows.
    """

    file: int
    groups: tuple[int, int]
    start: int
    rows: int


@final
@dataclass(frozen=True, eq=False)
class DataSet:
    """A table in Parquet files, in the order of their names.

    Args:
        files: the files.
        blocks: every row once, in order; none spans two files.
        schema: of the first file; the others have the columns that are read, of the same types.
    """

    files: tuple[Path, ...]
    blocks: tuple[DataBlock, ...]
    schema: pa.Schema

    @staticmethod
    def of(path: Path, columns: Sequence[str], keep: Sequence[str]) -> "DataSet":
        """Find the files and look into them; no row is read.

        Args:
            path: a Parquet file, a folder that is searched with those below it for files
                ``*.parquet``, or a pattern such as ``day-*/*.parquet``; as it stands or inside
                the folder that ``DFL_DATA`` names. Names that begin with ``_`` or ``.`` do not
                count.
            columns: that will be read.
            keep: that will be carried over.

        Raises:
            DataNotFoundError: if there is no such file.
            DataError: if a file is unreadable, lacks a column, or has one of another type.
        """
        files = tuple(_found(path))
        blocks: list[DataBlock] = []
        schema, start = None, 0
        for number, file in enumerate(files):
            try:
                with pq.ParquetFile(file) as opened:
                    metadata, own = opened.metadata, opened.schema_arrow
                    sizes = [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"{file} is not a readable Parquet file ({error}).") from error
            check_columns(file, own.names, columns, keep)
            schema = own if schema is None else schema
            for name in keep:
                if own.field(name).type != schema.field(name).type:
                    raise DataError(
                        f"column {name!r} must have one type in all files, got "
                        f"{schema.field(name).type} in {files[0]} and {own.field(name).type} in "
                        f"{file}."
                    )
            first = 0
            while first < len(sizes):
                behind, rows = first + 1, sizes[first]
                while behind < len(sizes) and rows + sizes[behind] <= _ROWS:
                    rows += sizes[behind]
                    behind += 1
                blocks.append(DataBlock(number, (first, behind), start, rows))
                first, start = behind, start + rows
        return DataSet(files, tuple(blocks), schema)

    @property
    def rows(self) -> int:
        """Number of rows of all files."""
        return sum(block.rows for block in self.blocks)

    def read(self, block: DataBlock, columns: Sequence[str]) -> pa.Table:
        """Return some columns of a block.

        Raises:
            DataError: if the file cannot be read.
        """
        if not columns:
            return pa.table({})
        try:
            with pq.ParquetFile(self.files[block.file]) as file:
                table = file.read_row_groups(range(*block.groups), columns=list(columns))
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.where(block)} cannot be read ({error}).") from error
        if len(table) != block.rows:
            raise DataError(f"{self.where(block)}: the file changed while it was read.")
        return table.select(columns).replace_schema_metadata(None)

    def where(self, block: DataBlock) -> str:
        """Return a block's place, for errors."""
        first, behind = block.groups
        return f"{self.files[block.file]}, row groups {first} to {behind - 1}"

    def fingerprint(self) -> list[list[object]]:
        """Return what tells these files from others: name, size and time of change."""
        stats = [(file, file.stat()) for file in self.files]
        return [[str(file.resolve()), stat.st_size, stat.st_mtime_ns] for file, stat in stats]


def _found(path: Path) -> list[Path]:
    """Return the files that a path means, by name."""
    folder = os.environ.get("DFL_DATA")
    places = [path, *([Path(folder) / path] if folder and not path.is_absolute() else [])]
    for place in places:
        if place.is_dir():
            inside = (one for one in place.rglob("*.parquet") if one.is_file())
            files = [one for one in inside if not _hidden(one.relative_to(place))]
        elif place.is_file():
            files = [place]
        else:
            files = [Path(one) for one in glob.glob(str(place), recursive=True)]
            files = [one for one in files if one.is_file()]
        if files:
            return sorted(files)
    raise DataNotFoundError(
        f"no Parquet file at {path}; looked for {', '.join(map(str, places))}. Give a file, a "
        "folder of files *.parquet, or a pattern in quotation marks."
    )


def _hidden(path: Path) -> bool:
    return any(part.startswith(("_", ".")) for part in path.parts)
